"""The live preview shows every chunk, with the active ones outlined."""

from types import SimpleNamespace

import latent_preview
import numpy as np
import pytest
import torch
from comfy.cli_args import LatentPreviewMethod
from scope_pack.nodes.comfy import demo
from scope_pack.nodes.comfy.preview import OUTLINE, FilmstripPreview
from scope_pack.scope_core import MAGI, SKYREELS
from server import PromptServer


def test_filmstrip_outlines_the_active_chunks(monkeypatch):
    monkeypatch.setattr(latent_preview.args, "preview_method", LatentPreviewMethod.Auto)
    schedule = SKYREELS.schedule(8, 20, 8, 0, 1, 5)
    (segment,) = schedule.segments
    preview = FilmstripPreview(demo.load_demo_model(), schedule)
    step = segment.iterations[22]
    strip = np.array(preview.filmstrip(segment, step, torch.zeros(1, 16, 8, 8, 8)))
    rows, columns = 2, 4
    tiles = (
        strip.reshape(rows, strip.shape[0] // rows, columns, strip.shape[1] // columns, 3)
        .swapaxes(1, 2)
        .reshape(rows * columns, -1, strip.shape[1] // columns, 3)
    )
    outlined = [bool((tile[0] == OUTLINE).all()) for tile in tiles]
    assert outlined == step.update.tolist() and 0 < sum(outlined) < 8


def test_finished_chunks_are_decoded_with_a_vae(monkeypatch):
    """Without previews of its own a model still shows what is finished: one decoded frame a chunk, once."""
    monkeypatch.setattr(latent_preview.args, "preview_method", LatentPreviewMethod.NoPreviews)
    schedule = MAGI.schedule(24, 8, 4)
    (segment,) = schedule.segments
    vae = demo.DemoVideoVAE()
    decoded, decode = [], vae.decode
    monkeypatch.setattr(vae, "decode", lambda latents: decoded.append(latents.shape[2]) or decode(latents))
    preview = FilmstripPreview(demo.load_demo_magi(), schedule, vae)
    for step in segment.iterations:
        preview(segment, step, torch.zeros(1, 16, 24, 8, 8))
    assert decoded == [6, 6, 6, 6] and sorted(preview.decoded) == [0, 1, 2, 3]
    strip = np.array(preview.filmstrip(segment, segment.iterations[-1], torch.zeros(1, 16, 24, 8, 8)))
    assert strip.shape[0] > 100 and strip.std() > 1


@pytest.mark.parametrize(("extra", "is_shown"), [({}, True), ({"preview_method": "none"}, False)])
def test_previews_are_shown_unless_somebody_declined_them(monkeypatch, extra, is_shown):
    monkeypatch.setattr(latent_preview.args, "preview_method", LatentPreviewMethod.NoPreviews)
    queue = SimpleNamespace(currently_running={0: (0, "prompt", {}, extra, [], {})})
    monkeypatch.setattr(PromptServer, "instance", SimpleNamespace(prompt_queue=queue), raising=False)
    schedule = SKYREELS.schedule(8, 20, 8, 0, 1, 5)
    (segment,) = schedule.segments
    preview = FilmstripPreview(demo.load_demo_model(), schedule)
    sent = []
    monkeypatch.setattr(preview.progress, "update_absolute", lambda value, total, picture: sent.append(picture))
    preview(segment, segment.iterations[0], torch.zeros(1, 16, 8, 8, 8))
    assert [picture is not None for picture in sent] == [is_shown]
