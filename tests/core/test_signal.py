"""The discrepancy signals: paper Eq. 4, per unit, and how units are put together."""

import numpy as np
import pytest
import torch

from scope_core import SKYREELS
from scope_core.families.skyreels import Guided, timesteps
from scope_core.networks.wan import WanConfig, WanTransformer
from scope_core.signals import change_table, make_signal

SCHEDULE = SKYREELS.schedule(6, 8, 6, 2, 2, 3, prefix=1)
(SEGMENT,) = SCHEDULE.segments


@pytest.fixture(scope="module")
def term():
    torch.manual_seed(0)
    model = WanTransformer(WanConfig(dim=32, ffn_dim=64, num_heads=2, num_layers=1, text_dim=8, in_dim=4, out_dim=4))
    return Guided(model.requires_grad_(False), torch.zeros(1, 3, 8))


def relative(now, before):
    """Eq. 4."""
    return float((now - before).abs().sum() / (before.abs().sum() + 1e-8))


@pytest.mark.parametrize(
    "name, feature", [("modulation", lambda m, e: m.time_projection(e)), ("embedding", lambda m, e: e)]
)
def test_table_is_the_change_of_the_model_s_own_features(term, name, feature):
    table = change_table(name, SEGMENT.sigmas, term)
    t = timesteps(SEGMENT.sigmas)
    features = [feature(term.model, term.model.time_embed(torch.tensor([level]))) for level in t]
    expected = [relative(features[k], features[k - 1]) for k in range(1, 8)]
    assert len(table) == 9
    assert table[:2].tolist() == [0, 0]
    assert table[2:] == pytest.approx(expected, rel=1e-4)
    assert min(expected) > 1e-3


def test_noise_level_as_signal_changes_relative_to_the_level_before(term):
    """Whatever the model is."""
    sigmas = np.array([0.9, 0.6, 0.3, 0.0])
    for model in (None, term):
        assert change_table("sigma", sigmas, model) == pytest.approx([0, 0, 0.3 / 0.9, 0.3 / 0.6])


def test_every_unit_sees_its_own_change_at_its_own_step(term):
    table = change_table("modulation", SEGMENT.sigmas, term)
    signal = make_signal("modulation", "max", SCHEDULE, SEGMENT, term)
    for step in SEGMENT.iterations:
        assert signal(step, None).tolist() == [table[unit.step] for unit in step.active]


def test_means_dilute_by_the_frames_that_stand_still():
    """docs/scope.md C3: two frames of five change at the first steps of a chunk, four when two chunks run."""
    table = np.arange(9) / 10
    active, everything = (
        make_signal("sigma", name, SCHEDULE, SEGMENT, None, table) for name in ("mean_active", "mean_all")
    )
    first, both = SEGMENT.iterations[2], SEGMENT.iterations[4]
    assert [(u.step, u.frames) for u in both.active] == [(5, slice(1, 3)), (2, slice(3, 5))]
    assert active(first, None) == pytest.approx([0.3])
    assert everything(first, None) == pytest.approx([0.3 * 2 / 6])
    assert active(both, None) == pytest.approx([0.35, 0.35])
    assert everything(both, None) == pytest.approx([0.35 * 4 / 6] * 2)


@pytest.mark.parametrize("aggregate", ["max", "mean_active", "mean_all"])
def test_latent_signal_is_the_change_of_the_patch_embedding(term, aggregate):
    signal = make_signal("latent", aggregate, SCHEDULE, SEGMENT, term)
    generator = torch.Generator().manual_seed(0)
    step = SEGMENT.iterations[4]
    before, now = (torch.randn(1, 4, 6, 4, 4, generator=generator) for _ in range(2))
    now[:, :, [0, 3, 5]] = before[:, :, [0, 3, 5]]
    embedded = [term.model.patch_embedding(x) for x in (before, now)]
    frames = [relative(embedded[1][:, :, f], embedded[0][:, :, f]) for f in range(6)]
    own = [np.mean(frames[1:3]), np.mean(frames[3:5])]
    assert signal(step, before).tolist() == [0, 0]
    expected = {"max": own, "mean_active": [np.mean(frames[1:5])] * 2, "mean_all": [np.mean(frames)] * 2}[aggregate]
    assert signal(step, now) == pytest.approx(expected, rel=1e-4)
    assert signal(step, now).tolist() == [0, 0]


@pytest.mark.parametrize(
    "name, aggregate, message",
    [
        ("noise", "max", "'noise'.*modulation, embedding, sigma, latent, displacement, motion, sea"),
        ("sigma", "sum", "'sum'.*max, mean_active, mean_all"),
    ],
)
def test_unknown_signals_are_answered(name, aggregate, message):
    with pytest.raises(ValueError, match=message):
        make_signal(name, aggregate, SCHEDULE, SEGMENT, None)
