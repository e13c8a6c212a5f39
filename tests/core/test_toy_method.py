"""A new method is one file: it then appears in settings, plans, runs, traces and the benchmark (tests/host has the
selector)."""

import pytest
import torch

from scope_core import METHODS, SKYREELS, Gate, Settings, methods, plan, sample
from scope_core.families.skyreels import Guided
from scope_core.networks.wan import WanConfig, WanTransformer
from scope_core.settings import name_of, presets, read, write
from tests import toy_method
from tests.bench.methods import GATES
from tests.bench.methods import methods as ranked

OPTIONS = {"joint": False, "correct": False}
"""Every method that reuses the output has them."""


@pytest.fixture(autouse=True)
def toy():
    toy_method.load(methods)
    yield METHODS["toy"]
    del METHODS["toy"]


def test_settings_are_read_written_and_named(toy):
    assert read("toy", {}) == Settings(toy(3, "new"), Gate(9, 1, 0))
    seldom = presets("toy")["seldom"]
    assert seldom == Settings(toy(6, "old"), Gate(5, 1, 0)) == read("toy", {"every": 2, "preset": "seldom"})
    assert write(seldom) == {"every": 6, "kind": "old", "max_skip": 5, "warm_up": 1, "tail": 0, **OPTIONS}
    assert Settings.from_json(seldom.to_json()) == seldom and name_of(seldom) == "toy 6, kind old"
    with pytest.raises(ValueError, match="Toy cadence every is 0; it must be at least 1, for example 3"):
        toy(0)
    with pytest.raises(ValueError, match="Toy cadence kind is 'odd'; choose one of new, old"):
        toy(3, "odd")


def test_it_is_planned_run_and_traced(toy):
    torch.manual_seed(0)
    network = WanTransformer(WanConfig(dim=48, ffn_dim=64, num_heads=2, num_layers=2, text_dim=8))
    schedule, settings = SKYREELS.schedule(4, 12), Settings(toy(4))
    planned = plan(schedule, settings).to_json()
    latents, trace, _ = sample(Guided(network, torch.randn(1, 4, 8)), torch.randn(1, 16, 4, 4, 4), schedule, settings)
    made = trace.to_json()
    modes = ["".join(step["modes"] for step in each["segments"][0]["steps"]) for each in (planned, made)]
    assert modes == ["RCCCRCCCRCCC"] * 2 and torch.isfinite(latents).all()
    assert made["run"]["method"] == "toy" and made["run"]["settings"]["every"] == 4


def test_it_is_ranked(toy):
    method = ranked("synchronous", SKYREELS, ())["toy"]
    assert method.title == "Toy cadence" and method.knobs == (2, 3, 4, 5, 6, 7, 8)
    assert method.settings(5.0) == Settings(toy(5), Gate(**GATES["synchronous"]))
