"""The live preview shows every chunk, with the active ones outlined."""

import latent_preview
import numpy as np
import torch
from comfy.cli_args import LatentPreviewMethod
from scope_pack.nodes.host import demo
from scope_pack.nodes.host.preview import OUTLINE, FilmstripPreview
from scope_pack.scope_core.schedule import ARSchedule


def test_filmstrip_outlines_the_active_chunks(monkeypatch):
    monkeypatch.setattr(latent_preview.args, "preview_method", LatentPreviewMethod.Auto)
    schedule = ARSchedule(8, 20, 8, 0, 1, 5)
    segment, = schedule.segments
    preview = FilmstripPreview(demo.load_demo_model(), schedule)
    step = segment.iterations[22]
    strip = np.array(preview.filmstrip(segment, step, torch.zeros(1, 16, 8, 8, 8)))
    rows, columns = 2, 4
    tiles = strip.reshape(rows, strip.shape[0] // rows, columns, strip.shape[1] // columns, 3).swapaxes(1, 2).reshape(rows * columns, -1, strip.shape[1] // columns, 3)
    outlined = [bool((tile[0] == OUTLINE).all()) for tile in tiles]
    assert outlined == step.update.tolist() and 0 < sum(outlined) < 8
