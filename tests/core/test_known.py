"""What earlier runs teach about a model's signals."""

import numpy as np
import pytest
import torch
from scope_core.known import Known
from scope_core.models.wan import WanConfig, WanTransformer
from scope_core.schedule import sigma_table
from scope_core.signal import change_table
from scope_core.term import Guided


def make_term(seed: int) -> Guided:
    torch.manual_seed(seed)
    model = WanTransformer(WanConfig(dim=32, ffn_dim=64, num_heads=2, num_layers=1, text_dim=8, in_dim=4, out_dim=4))
    return Guided(model.requires_grad_(False), torch.zeros(1, 3, 8))


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    known = Known(tmp_path_factory.mktemp("known") / "new")
    known.learn("first", make_term(0))
    known.learn("second", make_term(1))
    return known


@pytest.mark.parametrize("signal", ["modulation", "embedding"])
@pytest.mark.parametrize("steps, shift", [(50, 8.0), (12, 5.0), (2, 1.0)])
def test_one_map_answers_for_all_steps_and_shifts(known, signal, steps, shift):
    sigmas = sigma_table(steps, shift)
    for key, seed in (("first", 0), ("second", 1)):
        table, why = known.table(key, signal, sigmas)
        assert why == "" and table == pytest.approx(change_table(signal, sigmas, make_term(seed)), rel=1e-4, abs=1e-7)


def test_a_model_that_has_not_run_gets_the_last_one_s_signal_and_says_so(known):
    sigmas = sigma_table(20, 8.0)
    table, why = known.table("third", "modulation", sigmas)
    assert "has not run yet" in why and (table == known.table("second", "modulation", sigmas)[0]).all()


def test_before_any_run_the_noise_level_stands_in(tmp_path):
    sigmas = sigma_table(20, 8.0)
    for signal in ("modulation", "latent"):
        table, why = Known(tmp_path).table("first", signal, sigmas)
        assert why and (table == change_table("sigma", sigmas, None)).all()
    assert Known(tmp_path).table("first", "sigma", sigmas)[1] == ""


def test_same_weights_are_one_model_and_others_are_not(known):
    known.learn("renamed", make_term(0))
    models = known.models()
    assert models["renamed"] == models["first"] != models["second"] and list(models)[-1] == "renamed"
    known.learn("second", make_term(1))


def test_a_content_signal_is_remembered_and_spread_over_other_step_counts(known):
    sigmas, coarse = sigma_table(20, 8.0), sigma_table(10, 8.0)
    seen = {step: [0.01 * step, 0.03 * step] for step in range(1, 21)}
    known.learn_content("first", "latent", sigmas, seen)
    table, why = known.table("first", "latent", sigmas)
    assert "last run" in why and table == pytest.approx(np.arange(21) * 0.02)
    other, _ = known.table("first", "latent", coarse)
    assert len(other) == 11 and other.sum() == pytest.approx(table[1:][sigmas[:-1] >= coarse[9]].sum(), rel=0.1)
