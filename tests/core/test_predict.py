"""Extrapolators of the velocity in the noise level, their limits, and the paper's error bounds."""

import numpy as np
import pytest
import torch

from scope_core.loop.solver import Euler
from scope_core.methods.predict import PREDICTORS, ab2, best, extrapolate, taylor1, taylor2_paper

NODES = (0.7, 0.8, 0.95)
EVEN = (0.7, 0.8, 0.9)


def on(function, nodes):
    """A trajectory sampled at noise levels, as velocities [1, 1]."""
    return [torch.tensor([[function(s)]], dtype=torch.float64) for s in nodes]


def guess(name, function, target, nodes=NODES):
    return extrapolate(name, target, nodes, on(function, nodes), clipped=False).item()


def test_taylor1_weights_by_hand():
    """Eq. 6: v + (v - v1) D / D1 with D = -0.2, D1 = -0.1."""
    assert taylor1(0.5, EVEN) == pytest.approx((3.0, -2.0))


def test_taylor2_paper_weights_by_hand():
    """Eq. 7 with D = -0.2, D1 = -0.1, D2 = -0.15: Eq. 6 plus ((v - v1)/D1 - (v1 - v2)/D2) / (D1 + D2) D^2."""
    curve = 0.04 / -0.25
    by_hand = (3 + curve / -0.1, -2 - curve / -0.1 - curve / -0.15, curve / -0.15)
    assert taylor2_paper(0.5, NODES) == pytest.approx(by_hand)
    assert taylor2_paper(0.6, EVEN) == pytest.approx((2.5, -2.0, 0.5))


def test_ab2_is_eq_7_on_an_even_grid_for_one_step():
    """docs/methods.md, PrediT: (5/2) v - 2 v1 + (1/2) v2."""
    assert ab2(0.6, EVEN) == pytest.approx((2.5, -2.0, 0.5))
    for gaps in (2, 3):
        assert ab2(0.7 - 0.1 * gaps, EVEN) == pytest.approx(taylor2_paper(0.7 - 0.1 * gaps, EVEN))
    assert ab2(0.6, NODES) != pytest.approx(taylor2_paper(0.6, NODES), rel=1e-3)


@pytest.mark.parametrize("name", PREDICTORS)
def test_every_predictor_keeps_a_constant(name):
    assert guess(name, lambda s: 3.0, 0.4) == pytest.approx(3.0)


@pytest.mark.parametrize("name", ["taylor1", "taylor2_paper", "newton2", "ab2"])
def test_exact_on_lines(name):
    assert guess(name, lambda s: 2 - 3 * s, 0.4) == pytest.approx(2 - 3 * 0.4)


def test_newton2_is_exact_on_quadratics():
    assert guess("newton2", lambda s: 2 - 3 * s + 5 * s**2, 0.4) == pytest.approx(2 - 3 * 0.4 + 5 * 0.4**2)
    assert guess("newton2", lambda s: s**3, 0.4) != pytest.approx(0.4**3, rel=0.1)


@pytest.mark.parametrize("target", [0.65, 0.5, 0.1])
@pytest.mark.parametrize("nodes", [NODES, EVEN])
def test_taylor2_paper_is_off_by_its_missing_cross_term(nodes, target):
    """docs/scope.md C7: on a s^2 the printed Eq. 7 misses a D_k D_{k-1}."""
    error = 5 * target**2 - guess("taylor2_paper", lambda s: 5 * s**2, target, nodes)
    assert error == pytest.approx(5 * (target - nodes[0]) * (nodes[0] - nodes[1]))


@pytest.mark.parametrize("name", PREDICTORS)
def test_at_the_last_level_the_last_velocity_returns(name):
    velocities = on(lambda s: np.sin(9 * s), NODES)
    assert extrapolate(name, NODES[0], NODES, velocities) == pytest.approx(velocities[0])


def test_with_fewer_velocities_the_strongest_that_they_allow():
    assert [best(name, 2) for name in PREDICTORS] == ["hold", "taylor1", "taylor1", "taylor1", "taylor1"]
    assert {best(name, 1) for name in PREDICTORS} == {"hold"}
    assert [best(name, 3) for name in PREDICTORS] == list(PREDICTORS)
    velocities = on(lambda s: s**2, NODES[:2])
    assert extrapolate("newton2", 0.5, NODES[:2], velocities) == extrapolate("taylor1", 0.5, NODES[:2], velocities)


def norm(v):
    return v.flatten(1).norm(dim=1)


@pytest.mark.parametrize("name", ["taylor1", "taylor2_paper", "newton2", "ab2"])
@pytest.mark.parametrize("scale", [0.01, 1.0], ids=["slow", "fast"])
def test_predictions_stay_within_the_limits(name, scale):
    """docs/scope.md C14: at most 1.5 times the linear change, and half of the last velocity's norm; the direction is
    kept."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(2, 3, 2, 2, 2, generator=generator)
    velocities = [base + scale * torch.randn(base.shape, generator=generator) for _ in NODES]
    held = 0
    for target in (0.69, 0.6, 0.3):
        free, kept = (
            extrapolate(name, target, NODES, velocities, clipped) - velocities[0] for clipped in (False, True)
        )
        linear = (0.7 - target) / 0.1 * norm(velocities[0] - velocities[1])
        limit = torch.minimum(1.5 * linear, 0.5 * norm(velocities[0]))
        assert torch.allclose(norm(kept), torch.minimum(norm(free), limit), rtol=1e-4)
        assert torch.allclose(torch.cosine_similarity(free.flatten(1), kept.flatten(1)), torch.ones(2))
        held += (norm(free) > limit).sum()
    assert held > 0 or (name, scale) == ("taylor1", 0.01)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_prediction_that_is_not_finite_holds(bad):
    """The other sample of the batch is predicted as if alone."""
    last, before = torch.tensor([[1.0, 2.0], [1.0, 2.0]]), torch.tensor([[1.1, 2.0], [bad, 2.0]])
    predicted = extrapolate("taylor1", 0.65, EVEN[:2], [last, before])
    assert torch.equal(predicted[1], last[1])
    assert torch.equal(predicted[:1], extrapolate("taylor1", 0.65, EVEN[:2], [last[:1], before[:1]]))
    assert not torch.equal(predicted[0], last[0])


def test_change_from_equal_velocities_is_none():
    same = torch.ones(1, 2)
    assert torch.equal(extrapolate("newton2", 0.5, NODES, [same, same, same]), same)
    assert torch.equal(extrapolate("taylor1", 0.5, NODES, [0 * same, 0 * same]), 0 * same)


@pytest.mark.parametrize(
    "name, nodes", [("taylor1", (0.7, 0.7)), ("newton2", (0.7, 0.8, 0.8)), ("ab2", (0.7, float("nan"), 0.9))]
)
def test_equal_noise_levels_are_answered(name, nodes):
    with pytest.raises(ValueError, match=r"equal noise levels \[0\.7.*keep only the newest"):
        extrapolate(name, 0.5, nodes, on(lambda s: s, nodes))


def test_nodes_behind_those_a_predictor_uses_do_not_matter():
    assert guess("taylor1", lambda s: s, 0.5, (0.7, 0.8, 0.8)) == pytest.approx(0.5)


GRID = np.linspace(1.0, 0.0, 21)


def drift(field, velocity):
    """|x^_k - x_k| of an Euler run whose velocity is velocity(k, x^), against one that takes field(x, sigma); and both
    runs."""
    start = torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)
    solver, exact, approximate = Euler(GRID), [start], [start]
    on, off = np.array([True]), np.array([False])
    for k in range(20):
        exact.append(solver.step(exact[-1], field(exact[-1], GRID[k]), np.array([k]), on, off))
        v = velocity(k, approximate[-1])
        approximate.append(solver.step(approximate[-1], v, np.array([k]), on, off))
    return [abs((a - b).item()) for a, b in zip(approximate, exact)], exact, approximate


def predicted_run(field, every):
    """Eq. 6 on two computed steps out of every so many. Returns drift, velocity errors on the own and on the exact
    path."""
    used, computed = [], []

    def velocity(k, x):
        if k % every < 2:
            computed.insert(0, (GRID[k], field(x, GRID[k])))
            used.append(computed[0][1])
        else:
            nodes, values = zip(*computed[:2])
            used.append(extrapolate("taylor1", GRID[k], nodes, values, clipped=False))
        return used[-1]

    errors, exact, own = drift(field, velocity)
    return (
        errors,
        [abs((v - field(x, s)).item()) for v, x, s in zip(used, own, GRID)],
        [abs((v - field(x, s)).item()) for v, x, s in zip(used, exact, GRID)],
    )


def test_drift_bound_holds_with_the_error_on_the_exact_path():
    """Eq. 10 and 11, on dx/dsigma = -3 x + cos(4 sigma)."""
    errors, _, along_exact = predicted_run(lambda x, s: -3 * x + np.cos(4 * s), 5)
    for k in range(20):
        assert errors[k + 1] <= errors[k] + 0.05 * along_exact[k] + 1e-12
    for k in range(0, 20, 5):
        assert errors[k + 5] <= errors[k] + 0.05 * sum(along_exact[k : k + 5]) + 1e-12
    assert errors[-1] > 1e-3


def test_drift_bound_needs_the_lipschitz_factor_with_measurable_errors():
    """docs/scope.md C18: with the error at the state that is really reached, Eq. 10 fails; a factor (1 + L |D|) on the
    drift repairs it."""
    errors, along_own, _ = predicted_run(lambda x, s: -3 * x + np.cos(4 * s), 5)
    assert any(errors[k + 1] > errors[k] + 0.05 * along_own[k] + 1e-6 for k in range(20))
    for k in range(20):
        assert errors[k + 1] <= (1 + 3 * 0.05) * errors[k] + 0.05 * along_own[k] + 1e-12


def test_prediction_error_grows_with_the_distance_since_the_last_recompute():
    """docs/scope.md C18: Eq. 12 takes the step size; the remainder is L2/2 D (D + D_{k-1}) with D the distance, exact
    on a parabola."""
    errors, _, local = predicted_run(lambda x, s: 2.0 * s**2 + 0 * x, 7)
    distance = [0.05 * max(0, k % 7 - 1) for k in range(20)]
    assert local == pytest.approx([2 * d * (d + 0.05) for d in distance], abs=1e-12)
    printed = np.cumsum([2 * 0.05**3 if d else 0.0 for d in distance])
    exact = np.cumsum([0.05 * 2 * d * (d + 0.05) for d in distance])
    assert errors[1:] == pytest.approx(exact, abs=1e-12)
    assert errors[-1] > 10 * printed[-1]
