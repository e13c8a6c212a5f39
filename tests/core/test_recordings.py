"""Runs are what they were before the house was rearranged: decisions, counts, latents.

On the kind of machine that recorded them the latents are equal to the last bit. Elsewhere, which the unaccelerated run
tells, they are equal within what other kernels round differently, and so are decisions that do not look at the content.
"""

import json

import numpy as np
import pytest
import torch

from scope_core import METHODS
from tests import recordings

KEPT = json.loads(recordings.FILE.read_text())
CLOSE = 2e-3


@pytest.fixture(scope="module")
def made():
    threads = torch.get_num_threads()
    torch.set_num_threads(recordings.THREADS)
    yield dict(recordings.runs(KEPT["settings"]))
    torch.set_num_threads(threads)


def test_every_preset_and_method_is_recorded():
    assert KEPT["settings"].keys() >= {
        "off",
        "quality",
        "balanced",
        "fast",
        "paper_slow",
        "paper_fast",
        "paper_magi_slow",
        "paper_magi_fast",
        *(name for name, method in METHODS.items() if method.offered),
    }
    assert KEPT["runs"].keys() == {f"{way}, {name}" for way in recordings.SCHEDULES for name in KEPT["settings"]}


@pytest.mark.parametrize("name", KEPT["settings"])
@pytest.mark.parametrize("way", recordings.SCHEDULES)
def test_runs_are_what_they_were(made, way, name):
    before, now = KEPT["runs"][f"{way}, {name}"], made[f"{way}, {name}"]
    if made[f"{way}, off"]["latents"] == KEPT["runs"][f"{way}, off"]["latents"]:
        assert now == before
        return
    difference = np.abs(recordings.numbers(now) - recordings.numbers(before)).max()
    decided = [segment["modes"] for segment in now["segments"]] == [segment["modes"] for segment in before["segments"]]
    method = METHODS[KEPT["settings"][name]["method"]]
    if method.plannable and method.signal not in ("latent", "motion", "sea"):
        assert decided
    assert not decided or difference < CLOSE


def test_methods_skipped_something():
    """A recording of nothing but computed steps would say little."""
    full = {way: KEPT["runs"][f"{way}, off"]["totals"]["forwards"] for way in recordings.SCHEDULES}
    for name in KEPT["settings"].keys() - {"off"}:
        made = {way: KEPT["runs"][f"{way}, {name}"]["totals"]["forwards"] for way in full}
        assert any(made[way] < full[way] for way in full), name
