"""Methods and the gate: what is decided, and by which rule."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from scope_core.methods import METHODS, Decision, Entry, Gate, Method, Mode, Off, Scope, Skip, TeaCache, couple
from scope_core.methods.predict import PREDICTORS
from scope_core.methods.teacache import POLYNOMIALS
from scope_core.schedule import Unit
from tests.core.test_rivals_output import shown

KNOWN = (Entry(0.8, None), Entry(0.9, None))
PAPER = Scope(tau_c=0.18, tau_p=0.42, decay=0.75, decay_mode="paper", predictor="taylor2_paper")
"""Of Table 2, the faster one."""


def unit(step=10, steps=20, sigma=0.5):
    return Unit(0, slice(0, 1), step, steps, sigma, True)


def sequence(method, change, steps):
    """Modes and scores of a unit whose signal always changes by the same amount, without the gate."""
    state, decisions = method.init(), []
    for _ in range(steps):
        decisions.append(method.decide(state, unit(), change, KNOWN))
        state = method.settle(state, unit(), change, decisions[-1])
    return "".join(d.mode.value for d in decisions), [d.score for d in decisions]


@pytest.mark.parametrize(
    "decay_mode, change, modes",
    [
        ("paper", 0.1, "C" + "P" * 29),
        ("paper", 0.11, "CPPPPPPPPPRCPPPPPPPPPR"),
        ("inverse", 0.1, "CPPRCPPRCPPR"),
        ("none", 0.1, "CPPPRCPPPR"),
        ("paper", 0.2, "PPRPPRPPR"),
        ("inverse", 0.2, "PRPRPR"),
        ("none", 0.2, "PPRPPR"),
        ("paper", 0.5, "RRRR"),
        ("paper", 0.0, "CCCC"),
    ],
    ids=lambda value: str(value) if not isinstance(value, str) or value in ("paper", "inverse", "none") else "",
)
def test_modes_at_constant_change(decay_mode, change, modes):
    """Eq. 3-5 with the paper's thresholds, by hand. Below (1 - lambda) tau_p its decay never lets a recompute come
    (docs/scope.md C4)."""
    assert sequence(replace(PAPER, decay_mode=decay_mode), change, len(modes))[0] == modes


@pytest.mark.parametrize(
    "decay_mode, scores",
    [
        ("paper", [0.1, 0.2, 0.25, 0.2875, 0.315625]),
        ("inverse", [0.1, 0.2, 0.2 / 0.75 + 0.1, (0.2 / 0.75 + 0.1) / 0.75 + 0.1, 0.1]),
        ("none", [0.1, 0.2, 0.3, 0.4, 0.5]),
    ],
)
def test_scores_at_constant_change(decay_mode, scores):
    """r- = r + d; r <- r- after reuse, lambda r- after a prediction, 0 after a recompute."""
    assert sequence(replace(PAPER, decay_mode=decay_mode), 0.1, 5)[1] == pytest.approx(scores)


def test_paper_decay_converges_to_a_score_below_the_threshold():
    assert sequence(PAPER, 0.1, 200)[1][-1] == pytest.approx(0.1 / (1 - 0.75))


def test_only_monotone_keeps_reuse_from_returning_to_an_older_velocity():
    """docs/scope.md C5: with decay 0.5 and d = 0.3 tau_c the printed rule zigzags between cache and predict."""
    method = replace(PAPER, tau_c=1.0, tau_p=3.0, decay=0.5)
    assert sequence(replace(method, monotone=False), 0.3, 8)[0] == "CCCPCPCP"
    assert sequence(replace(method, monotone=True), 0.3, 8)[0] == "CCCPPPPP"


def test_monotone_streak_ends_with_a_recompute():
    method = replace(PAPER, tau_c=1.0, tau_p=3.0, decay=0.5)
    state = method.init()
    state = method.settle(state, unit(), 1.5, method.decide(state, unit(), 1.5, KNOWN))
    assert method.decide(state, unit(), 0.0, KNOWN).mode is Mode.PREDICT
    state = method.settle(state, unit(), 0.0, Decision(Mode.RECOMPUTE, 0.0, "max_skip"))
    assert method.decide(state, unit(), 0.5, KNOWN) == (Mode.REUSE, 0.5, "cache")


@pytest.mark.parametrize(
    "change, mode, rule",
    [(0.2499, "C", "cache"), (0.25, "P", "predict"), (0.4999, "P", "predict"), (0.5, "R", "threshold")],
)
def test_thresholds_are_strict(change, mode, rule):
    """Eq. 5: cache below tau_c, predict below tau_p, else recompute."""
    decision = Scope(tau_c=0.25, tau_p=0.5).decide(Scope().init(), unit(), change, KNOWN)
    assert (decision.mode.value, decision.score, decision.rule) == (mode, change, rule)


def test_prediction_needs_two_computed_velocities():
    method = Scope(tau_c=0.1, tau_p=0.5)
    assert method.decide(method.init(), unit(), 0.3, KNOWN[:1]) == (Mode.RECOMPUTE, 0.3, "history")


def test_score_restarts_after_a_recompute_that_others_forced():
    method = PAPER
    state = method.settle(method.init(), unit(), 0.1, Decision(Mode.REUSE, 0.1, "cache"))
    assert method.decide(state, unit(), 0.05, KNOWN).score == pytest.approx(0.15)
    state = method.settle(state, unit(), 0.05, Decision(Mode.RECOMPUTE, 0.15, "joint"))
    assert method.decide(state, unit(), 0.05, KNOWN).score == pytest.approx(0.05)


def test_values_are_the_last_velocity_or_its_extrapolation():
    history = (Entry(0.6, torch.full((1, 2), 4.0)), Entry(0.7, torch.full((1, 2), 4.5)))
    method = Scope(predictor="taylor1")
    at = unit(sigma=0.5)
    reused = method.value(method.init(), at, Decision(Mode.REUSE, 0.0, "cache"), history, None)
    assert torch.equal(reused, history[0].value)
    predicted = method.value(method.init(), at, Decision(Mode.PREDICT, 0.2, "predict"), history, None)
    assert torch.allclose(predicted, torch.full((1, 2), 3.5))


@pytest.mark.parametrize(
    "predictor, depth", [("hold", 2), ("taylor1", 2), ("taylor2_paper", 3), ("newton2", 3), ("ab2", 3), ("auto", 3)]
)
def test_depth_is_what_the_predictor_needs(predictor, depth):
    assert Scope(predictor=predictor).depth == depth


@pytest.mark.parametrize(
    "trajectory, winner",
    [
        (lambda s: torch.tensor([[1 + s**2, 2 - 3 * s**2]]), "newton2"),
        (lambda s: torch.tensor([[1.0, 0.1 * (-1.0) ** round(20 * s)]]), "hold"),
    ],
    ids=["parabola", "zigzag"],
)
def test_auto_settles_on_the_predictor_that_was_right(trajectory, winner):
    method = Scope(predictor="auto", clipped=False)
    levels = [0.95 - 0.05 * k for k in range(12)]
    state = method.init()
    assert method.choose(state) == "taylor1"
    for k in range(3, 12):
        history = tuple(Entry(s, trajectory(s)) for s in levels[k - 3 : k][::-1])
        at = unit(sigma=levels[k])
        state = method.observe(state, at, history, shown(method, at, history, trajectory(levels[k])))
    assert method.choose(state) == winner
    assert set(state.errors) == set(PREDICTORS)


def test_auto_ignores_what_teaches_it_nothing():
    method = Scope(predictor="auto")
    history = tuple(Entry(s, torch.ones(1, 2)) for s in (0.7, 0.8))
    assert method.observe(method.init(), unit(sigma=0.6), history, None) == method.init()
    for at, known in (unit(sigma=0.7), history), (unit(sigma=0.6), history[:1]):
        seen = shown(method, at, known, torch.ones(1, 2))
        assert method.observe(method.init(), at, known, seen) == method.init()


SKIP = Decision(Mode.REUSE, 0.1, "cache")


@pytest.mark.parametrize(
    "step, skipped, available, rule",
    [
        (1, 9, False, "warm_up"),
        (3, 9, False, "warm_up"),
        (4, 9, False, "entered"),
        (4, 9, True, "max_skip"),
        (19, 9, False, "tail"),
        (20, 0, True, "tail"),
        (18, 5, True, "max_skip"),
        (18, 4, True, "cache"),
        (4, 0, True, "cache"),
    ],
)
def test_gate_rules_in_their_order(step, skipped, available, rule):
    """Warm-up, tail, entered, longest run: the first that applies is the reason given."""
    decision = Gate(max_skip=5, warm_up=3, tail=2)(unit(step), SKIP, skipped, available)
    assert decision.rule == rule and decision.score == 0.1
    assert decision.mode is (Mode.REUSE if rule == "cache" else Mode.RECOMPUTE)


def test_gate_never_turns_a_recompute_into_anything():
    asked = Decision(Mode.RECOMPUTE, 0.7, "threshold")
    for step, skipped, available in itertools.product((1, 10, 20), (0, 9), (True, False)):
        assert Gate(5, 5, 1)(unit(step), asked, skipped, available) is asked


def test_gate_without_warm_up_and_tail_leaves_the_ends_to_the_method():
    gate = Gate(max_skip=5, warm_up=0, tail=0)
    assert gate(unit(1), SKIP, 0, True) is SKIP and gate(unit(20), SKIP, 0, True) is SKIP


def test_one_joint_forward_computes_all_units_or_none():
    predict, recompute = Decision(Mode.PREDICT, 0.3, "predict"), Decision(Mode.RECOMPUTE, 0.5, "threshold")
    assert couple([SKIP, predict]) == [SKIP, predict]
    joint = [(Mode.RECOMPUTE, 0.1, "joint"), recompute, (Mode.RECOMPUTE, 0.3, "joint")]
    assert couple([SKIP, recompute, predict]) == joint
    assert couple([]) == []


@pytest.mark.parametrize("key", POLYNOMIALS)
def test_teacache_rescaling_is_clamped_to_where_its_polynomial_was_fitted(key):
    model, signal = key
    coefficients, (low, high) = POLYNOMIALS[key]
    method = TeaCache(polynomial=model, signal=signal)
    inside = np.linspace(low, high, 200)
    assert min(np.polyval(coefficients, inside)) > -5e-3
    assert method.rescale(0.0) == method.rescale(low)
    assert method.rescale(9.0) == method.rescale(high)
    middle = (low + high) / 2
    assert method.rescale(middle) == pytest.approx(np.polyval(coefficients, middle)) and method.rescale(middle) > 0


@pytest.mark.parametrize("key", POLYNOMIALS)
def test_teacache_takes_no_large_change_for_none(key):
    """Beyond its last maximum each polynomial falls to zero and below: clamped there, the largest changes would count
    least."""
    model, signal = key
    method = TeaCache(polynomial=model, signal=signal)
    largest = max(method.rescale(change) for change in np.linspace(0, 1, 500))
    assert method.rescale(9.0) == largest or method.rescale(9.0) > 0.1


@pytest.mark.parametrize("key", POLYNOMIALS)
def test_teacache_accumulator_is_never_negative(key):
    """docs/methods.md, TeaCache: unclamped, the published polynomials go far below zero and the method would never
    compute again."""
    model, signal = key
    method = TeaCache(0.2, model, signal)
    state, computed = method.init(), 0
    for change in [*np.linspace(0, 1, 200), 0.0, 1e-6, 50.0] * 2:
        decision = method.decide(state, unit(), change, ())
        after = method.settle(state, unit(), change, decision)
        assert after >= 0 and (decision.mode is Mode.RECOMPUTE or after >= state)
        computed += decision.mode is Mode.RECOMPUTE
        state = after
    unclamped = np.polyval(POLYNOMIALS[key][0], np.linspace(0, 1, 200))
    assert (unclamped.min() < -0.01 or key == ("I2V 540P", "modulation")) and computed > 0


def test_teacache_accumulates_the_raw_change_without_a_polynomial():
    assert sequence(TeaCache(threshold=0.25), 0.1, 9) == ("CCRCCRCCR", pytest.approx([0.1, 0.2, 0.3] * 3))


def test_teacache_reuses_all_blocks():
    assert TeaCache().skip(TeaCache().init(), unit(), 30) == Skip((range(30),), range(30))
    assert TeaCache().depth == 0


def test_off_computes_and_keeps_nothing():
    assert sequence(Off(), 0.0, 3) == ("RRR", [0.0, 0.0, 0.0])
    assert Off().depth == 0 and Off().skip(Off().init(), unit(), 30) is None


@pytest.mark.parametrize(
    "make, parts",
    [
        (
            lambda: Scope(tau_c=0.5, tau_p=0.4),
            ["cache_threshold is 0.5", "predict_threshold 0.4", "must not be above the second", "0.18 and 0.42"],
        ),
        (lambda: Scope(tau_c=-0.1), ["cache_threshold is -0.1", "at least 0"]),
        (lambda: Scope(tau_p=float("nan")), ["predict_threshold is nan"]),
        (lambda: Scope(decay=0.0), ["SCOPE decay is 0", "(0, 1]", "0.75"]),
        (lambda: Scope(decay=1.5), ["SCOPE decay is 1.5", "(0, 1]"]),
        (lambda: Scope(decay_mode="exp"), ["'exp'", "paper, inverse, none"]),
        (lambda: Scope(predictor="taylor3"), ["'taylor3'", *PREDICTORS, "auto"]),
        (lambda: TeaCache(threshold=-1.0), ["threshold is -1", "at least 0", "0.05 to 0.3"]),
        (lambda: TeaCache(threshold=float("nan")), ["threshold is nan", "at least 0"]),
        (lambda: TeaCache(polynomial="5B"), ["5B/modulation", "1.3B/modulation", "14B/embedding", "none"]),
        (lambda: TeaCache(polynomial="1.3B", signal="latent"), ["1.3B/latent"]),
        (lambda: Gate(max_skip=-1), ["max_skip is -1", "at least 0"]),
        (lambda: Gate(warm_up=-2), ["warm_up is -2", "at least 0"]),
        (lambda: Gate(tail=-3), ["tail is -3", "at least 0"]),
    ],
)
def test_settings_out_of_range_are_answered(make, parts):
    """docs/architecture.md, law 7: the message names the value, the allowed range and the way out."""
    with pytest.raises(ValueError, match=re.escape(parts[0])) as error:
        make()
    assert [part for part in parts if part not in str(error.value)] == []


def test_registry_makes_every_method():
    for name, made in METHODS.items():
        method = made()
        assert method.name == name and isinstance(method, Method) and method.off == (name == "off") and method.title
        assert (method.depth == 0) == (method.skip(method.init(), unit(), 30) is not None or name == "off")
