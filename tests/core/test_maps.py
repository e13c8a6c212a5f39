"""What earlier runs teach about a model's signals."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scope_core import FAMILIES, MAGI, SKYREELS
from scope_core.demo.shipped import DEMOS, Captioned, MagiDemo, signals_of
from scope_core.families.skyreels import Guided
from scope_core.networks.wan import WanConfig, WanTransformer
from scope_core.signals import change_table
from scope_core.signals.maps import SignalMaps, fingerprint


def make_term(seed: int) -> Guided:
    torch.manual_seed(seed)
    model = WanTransformer(WanConfig(dim=32, ffn_dim=64, num_heads=2, num_layers=1, text_dim=8, in_dim=4, out_dim=4))
    return Guided(model.requires_grad_(False), torch.zeros(1, 3, 8))


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    maps = SignalMaps(tmp_path_factory.mktemp("maps") / "new")
    maps.learn("first", make_term(0), SKYREELS.schedule(25))
    maps.learn("second", make_term(1), SKYREELS.schedule(25))
    return maps


def test_a_fingerprint_is_the_same_on_every_device():
    """What is rounded otherwise does not change it, a change of the weights does; a shipped plan knows its model."""
    chance = torch.Generator().manual_seed(0)

    def blurred(model, by):
        def features(name, sigma):
            made = model.features(name, sigma).float()
            return made * (1 + by * torch.randn(made.shape, generator=chance))

        return SimpleNamespace(features=features)

    plans = [plan for demo in DEMOS.values() for plan in demo().plans]
    for plan in plans:
        family = FAMILIES[plan.family]
        model = signals_of(family.schedule(24, len(plan.levels)))
        assert plan.model == fingerprint(model, family)
        assert all(fingerprint(blurred(model, 1e-5), family) == plan.model for _ in range(20))
        assert fingerprint(blurred(model, 0.1), family) != plan.model
    assert fingerprint(make_term(0), SKYREELS) != fingerprint(make_term(1), SKYREELS)
    turned = SimpleNamespace(features=lambda *what: make_term(0).features(*what).flip(1))
    assert fingerprint(make_term(0), SKYREELS) != fingerprint(turned, SKYREELS)


@pytest.mark.parametrize("signal", ["modulation", "embedding"])
@pytest.mark.parametrize("steps, shift", [(50, 8.0), (12, 5.0), (2, 1.0)])
def test_one_map_answers_for_all_steps_and_shifts(maps, signal, steps, shift):
    schedule = SKYREELS.schedule(25, steps, shift=shift)
    for key, seed in (("first", 0), ("second", 1)):
        table, why = maps.table(key, signal, schedule)
        expected = change_table(signal, schedule.sigmas, make_term(seed))
        assert why == "" and table == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_a_model_that_has_not_run_gets_the_last_one_s_signal_and_says_so(maps):
    schedule = SKYREELS.schedule(25, 20)
    table, why = maps.table("third", "modulation", schedule)
    assert "has not run yet" in why and (table == maps.table("second", "modulation", schedule)[0]).all()


@pytest.mark.parametrize("family", [family for family in FAMILIES.values() if family.features], ids=lambda f: f.name)
def test_the_last_model_of_another_family_stands_in_for_nothing(maps, tmp_path, family):
    """Not even where their maps have as many levels, as those of SkyReels and causal Wan."""
    schedule = SKYREELS.schedule(25, 20)
    maps.learn_content("second", "sea", schedule, {step: [float(step)] for step in range(1, 21)})
    other = family.schedule(24, 20)
    for signal in ("modulation", "sea"):
        table, why = maps.table("never run", signal, other)
        mine = family is SKYREELS
        assert (table == change_table("sigma", other.sigmas, None)).all() != mine
        assert mine == ("the last one's signal stands in" in why or "changes of the last run" in why)


def test_before_any_run_the_noise_level_stands_in(tmp_path):
    schedule = SKYREELS.schedule(25, 20)
    for signal in ("modulation", "latent"):
        table, why = SignalMaps(tmp_path).table("first", signal, schedule)
        assert why and (table == change_table("sigma", schedule.sigmas, None)).all()
    assert SignalMaps(tmp_path).table("first", "sigma", schedule)[1] == ""


def test_same_weights_are_one_model_and_others_are_not(maps):
    maps.learn("renamed", make_term(0), SKYREELS.schedule(25))
    models = maps.models()
    assert models["renamed"] == models["first"] != models["second"] and list(models)[-1] == "renamed"
    maps.learn("second", make_term(1), SKYREELS.schedule(25))


def test_a_content_signal_is_remembered_and_spread_over_other_step_counts(maps):
    schedule, coarse = SKYREELS.schedule(25, 20), SKYREELS.schedule(25, 10)
    seen = {step: [0.01 * step, 0.03 * step] for step in range(1, 21)}
    maps.learn_content("first", "latent", schedule, seen)
    table, why = maps.table("first", "latent", schedule)
    assert "last run" in why and table == pytest.approx(np.arange(21) * 0.02)
    other, _ = maps.table("first", "latent", coarse)
    until = schedule.sigmas[:-1] >= coarse.sigmas[9]
    assert len(other) == 11 and other.sum() == pytest.approx(table[1:][until].sum(), rel=0.1)


@pytest.mark.parametrize("steps", [8, 12, 16, 24, 32, 64])
def test_magi_s_map_has_the_levels_of_the_usual_steps(steps):
    schedule = MAGI.schedule(24, steps)
    where, exact = MAGI.place(schedule)
    assert exact and np.abs(MAGI.levels()[where] - schedule.sigmas[:-1]).max() < 1e-6
    assert not MAGI.place(MAGI.schedule(24, 36))[1] and not MAGI.place(replace(schedule, shift=5.0))[1]


def test_a_distilled_magi_is_another_model_at_another_number_of_steps(tmp_path):
    demo, maps = MagiDemo(), SignalMaps(tmp_path)
    for steps in (64, 32):
        network = Captioned(demo.transformer, torch.zeros(1, 8, 64), torch.ones(1, 8, dtype=torch.bool), steps)
        schedule = MAGI.schedule(24, steps)
        maps.learn("demo", network, schedule)
        table, why = maps.table("demo", "modulation", schedule)
        expected = change_table("modulation", schedule.sigmas, network)
        assert why == "" and table == pytest.approx(expected, rel=1e-3, abs=1e-6)
    other = MAGI.schedule(24, 16)
    assert len(set(maps.models().values())) == 2 and "has not run" in maps.table("demo", "modulation", other)[1]
    assert maps.knows("demo", schedule) and not maps.knows("demo", other)


def test_content_of_a_model_that_could_not_be_learnt_is_left_out(tmp_path):
    """Where the folder could not be written when the model ran, the end of the run must not fail for it."""
    SignalMaps(tmp_path).learn_content("first", "latent", SKYREELS.schedule(25, 20), {1: [0.1]})
    assert not list(tmp_path.iterdir())
