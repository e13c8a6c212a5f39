"""Rival methods that reuse the output: traces by hand, off, fresh state, numbers published for them; signals of the
content; compressed keys and values."""

# ruff: noqa: F811 - tests take fixtures that are imported

import json
import re
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch

from scope_core import MAGI, SKYREELS, sample
from scope_core.families.magi import CHUNK, TEXT_SCALE, Reach
from scope_core.loop.plan import plan
from scope_core.loop.solver import Euler
from scope_core.methods import (
    ARCache,
    BudCache,
    DPCache,
    EasyCache,
    Entry,
    FlowCache,
    Gate,
    HiCache,
    LeMiCa,
    MeanCache,
    Mode,
    MotionCache,
    PrediT,
    Reduced,
    Scope,
    SeaCache,
    Seen,
    TaylorSeer,
)
from scope_core.methods.taylorseer import forecast
from scope_core.methods.teacache import POLYNOMIALS
from scope_core.networks.chunk_cache import ChunkCache
from scope_core.networks.compression import Compression, importance, redundancy
from scope_core.schedule import Unit
from scope_core.settings import PRESETS, Settings, knobs
from scope_core.signals import CONTENT, SIGNALS, change_table, make_signal
from scope_core.signals.content import Look, wiener
from tests.core.test_magi_loop import Blank, Captioned, Fixture
from tests.core.test_rollout import SCHEDULES, Run, guided, model, plain  # noqa: F401

RULES = Gate(max_skip=5, warm_up=2, tail=1)
UNGATED = Gate(max_skip=99, warm_up=0, tail=0)
DRIFT = tuple(tuple(float(min(i, j)) for j in range(1, 17)) for i in range(1, 17))
"""Inner products of velocities that drift at random."""
METHODS = {
    "reduced": Reduced(5),
    "taylorseer": TaylorSeer(3),
    "taylorseer 2": TaylorSeer(3, 2),
    "hicache": HiCache(3),
    "hicache 2": HiCache(3, 2),
    "hicache residual": HiCache(3, 2, site="residual"),
    "taylorseer residual": TaylorSeer(3, 2, site="residual"),
    "predit": PrediT(1.2, 1),
    "predit 2": PrediT(1.2),
    "easycache": EasyCache(2.0),
    "easycache velocity": EasyCache(2.0, "velocity"),
    "flowcache": FlowCache(0.03, "none", "latent"),
    "flowcache modulation": FlowCache(0.6, "none", "modulation"),
    "motioncache": MotionCache(0.03),
    "seacache": SeaCache(),
    "seacache output": SeaCache(site="output"),
    "lemica": LeMiCa(5),
    "meancache": MeanCache(5),
    "meancache paper": MeanCache(5, form="paper"),
    "arcache": ARCache(0.1, "none"),
    "arcache measured": ARCache(0.1, gram=DRIFT),
    "budcache": BudCache(steps=(1, 2, 5, 6, 9)),
    "dpcache": DPCache(steps=(1, 2, 3, 6, 9)),
}
OFF = {
    "taylorseer": TaylorSeer(1),
    "hicache": HiCache(1),
    "arcache": ARCache(0.0),
    "predit": PrediT(0.0),
    "easycache": EasyCache(0.0),
    "flowcache": FlowCache(0.0),
    "motioncache": MotionCache(0.0),
    "seacache": SeaCache(0.0),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def unit(step=10, steps=20, sigma=0.5):
    return Unit(0, slice(0, 1), step, steps, sigma, True)


def shown(method, at, history, velocity, latent=None):
    """What a computed step shows of a unit."""
    numbers = method.measure(at, history, velocity, latent)
    return Seen(velocity, latent, measured=() if numbers is None else tuple(numbers.flatten().tolist()))


def modes(method, steps, changes=None, gate=UNGATED, observed=None, forced=()):
    """Modes of a unit on its own, with its history; `observed(step)` is the velocity at a computed step, `forced` steps
    others compute."""
    state, history, skipped, made = method.init(), [], 0, ""
    for step in range(1, steps + 1):
        at, change = unit(step, steps, 1 - step / (steps + 1)), 0.0 if changes is None else changes[step - 1]
        available = bool(history) or (not method.depth and step > 1)
        decision = gate(at, method.decide(state, at, change, tuple(history)), skipped, available)
        if step in forced:
            decision = decision._replace(mode=Mode.RECOMPUTE)
        if decision.mode is Mode.RECOMPUTE:
            seen = None
            if observed is not None:
                seen = shown(method, at, tuple(history), observed(step), torch.full((1, 1), float(step)))
            state = method.observe(state, at, tuple(history), seen)
            history = [Entry(at.sigma, seen and seen.velocity, step, seen and seen.latent), *history][: method.depth]
        state = method.settle(state, at, change, decision)
        skipped = 0 if decision.mode is Mode.RECOMPUTE else skipped + 1
        made += decision.mode.value
    return made


@pytest.mark.parametrize(
    "method, steps, expected",
    [
        (Reduced(5), 10, "RCRCRCRCRC"),
        (Reduced(4), 10, "RCCRCRCCRC"),
        (Reduced(1), 5, "RCCCC"),
        (Reduced(10), 10, "R" * 10),
        (Reduced(99), 4, "RRRR"),
        (Reduced(3, (1, 2, 7)), 8, "RRCCCCRC"),
        (Reduced(3, [4]), 5, "RCCRC"),
        (TaylorSeer(5), 12, "RPPPPRPPPPRP"),
        (TaylorSeer(3, first=3), 10, "RRRPPRPPRP"),
        (TaylorSeer(2, 2, site="residual"), 5, "RPRPR"),
    ],
)
def test_cadence(method, steps, expected):
    assert modes(method, steps) == expected


@pytest.mark.parametrize("computed", [1, 7, 13, 24, 25, 49, 50])
def test_reduced_computes_as_many_steps_as_asked_evenly(computed):
    made = modes(Reduced(computed), 50)
    at = [i for i, mode in enumerate(made) if mode == "R"]
    assert len(at) == computed and set(np.diff([*at, 50])) <= {50 // computed, 50 // computed + 1, -(-50 // computed)}


def test_what_others_force_restarts_the_cadence():
    """Counted from the last compute, units of a joint forward fall into step."""
    assert modes(TaylorSeer(4), 12, forced=(3,)) == "RPRPPPRPPPRP"
    assert modes(Reduced(3), 12, forced=(3,)) == "RCRCCCRCCCRC"


@pytest.mark.parametrize("method, share", [(Reduced(25), 0.5), (Reduced(10), 0.2), (TaylorSeer(3), 1 / 3)])
def test_units_that_lag_share_their_forwards(method, share):
    """Seven units, each three steps behind the one before; on fixed grids of their own nearly every iteration would be
    computed."""
    schedule = SKYREELS.schedule(7, 50, 7, 5, 1, 3)
    trace = plan(schedule, Settings(method, UNGATED))
    assert trace.totals["computed"] <= share * schedule.iterations + 8


@pytest.mark.parametrize("method, grid", [(Reduced(4), (1, 4, 6, 9)), (Reduced(9, (1, 2, 3, 5, 9)), (1, 2, 3, 5, 9))])
def test_reuse_with_euler_is_euler_on_the_computed_steps(model, method, grid):
    """docs/methods.md, Holding a velocity with Euler is taking fewer steps."""
    schedule = SCHEDULES["synchronous"]
    run = Run(guided(model), schedule, Settings(method, UNGATED), solver=Euler)
    assert [i + 1 for i, step in enumerate(run.steps) if "R" in step["modes"]] == list(grid)
    sigmas = [schedule.sigmas[step - 1] for step in grid] + [0.0]
    x, term = torch.randn(1, 4, 6, 4, 4, generator=torch.Generator().manual_seed(2)), guided(model)
    for now, after in pairwise(sigmas):
        x = x + (after - now) * term.velocity(x, np.full(6, min(np.floor(1000 * now + 1e-9), 999)), None, None)
    assert (run.latents - x).abs().max() < 2e-5


def test_taylor_forecast_on_even_gaps_is_the_published_one():
    """F + D1 x + D2 x^2 / 2, every derivative divided by the latest gap N."""
    f, n, x = [5.0, 3.0, 2.5], 4, 3
    d1, before = (f[0] - f[1]) / n, (f[1] - f[2]) / n
    values = [w * v for w, v in zip(forecast(2, 20 + x, (20, 20 - n, 20 - 2 * n)), f)]
    assert sum(values) == pytest.approx(f[0] + d1 * x + (d1 - before) / n * x**2 / 2)
    assert forecast(1, 23, (20, 16)) == pytest.approx((1.75, -0.75))
    assert forecast(2, 23, (20, 16)) == pytest.approx((1.75, -0.75, 0.0))
    assert forecast(2, 23, (20,)) == (1.0, 0.0, 0.0)


def test_taylor_derivatives_are_right_on_uneven_gaps():
    """Of 3 + 2 s + s^2 at 20, 18, 11 the second derivative is 2; the published one, divided by the latest gap alone,
    would be 4.5."""
    f = [3 + 2 * s + s * s for s in (20, 18, 11)]
    slope = (f[0] - f[1]) / 2
    forecasted = sum(w * v for w, v in zip(forecast(2, 24, (20, 18, 11)), f))
    assert forecasted == pytest.approx(f[0] + 4 * slope + 2 * 16 / 2)
    assert sum(w * (7 - 3 * s) for w, s in zip(forecast(1, 24, (20, 18)), (20, 18))) == pytest.approx(7 - 3 * 24)


@pytest.mark.parametrize("method", [TaylorSeer(4, 2), SeaCache(site="output")])
def test_forecast_of_the_output_goes_by_own_steps(method):
    history = tuple(Entry(0.5 + 0.01 * s, torch.full((1, 1), 2.0 * s), s) for s in (9, 6, 2)[: method.depth])
    assert method.value(None, unit(11), None, history, None).item() == pytest.approx(22.0)


@pytest.mark.parametrize("method", [TaylorSeer(3, 1, 2, "residual"), SeaCache(9.0)])
def test_forecast_of_the_residual_continues_what_was_recorded(model, method):
    """Skipped steps put back (1 + t) R_n - t R_m, with t the steps since the last compute over those between the last
    two."""
    term, put_back, kept = guided(model), [], []
    velocity = term.velocity

    def noted(x, timestep, attended, around):
        put_back.append(around.skip.weights if around.skipping else None)
        return velocity(x, timestep, attended, around)

    def watch(control, step, x0):
        kept.append({key: list(values) for key, values in control.memory.residuals.stored.items()})

    term.velocity = noted
    run = Run(term, SCHEDULES["synchronous"], Settings(method, RULES), watch=watch)
    made = [i + 1 for i, step in enumerate(run.steps) if "R" in step["modes"]]
    for step, weights in enumerate(put_back, 1):
        if weights is not None:
            last, before = [s for s in made if s < step][:-3:-1]
            t = (step - last) / (last - before)
            assert weights == pytest.approx((1 + t, -t))
    assert sum(weights is not None for weights in put_back) == 10 - len(made) > 3
    assert all(len(values) == 2 for values in kept[-1].values()) and len(kept[-1]) == 2


def test_hicache_by_hand():
    """Values 5, 3, 2.5 at steps 20, 16, 12, three steps on: D_1 = 1/2, D_2 = (1/2 - 1/8) / 4; with scale 1/2 H_1 = 3/2
    and H_2 = (9 - 2) / 4."""
    values, d2 = (5.0, 3.0, 2.5), (1 / 2 - 1 / 8) / 4
    assert np.dot(HiCache(order=1).weights(23, (20, 16)), values[:2]) == pytest.approx(5 + 3 / 4)
    assert np.dot(HiCache(order=2).weights(23, (20, 16, 12)), values) == pytest.approx(5 + 3 / 4 + d2 / 2 * 7 / 4)
    assert np.dot(HiCache(order=2).weights(20, (20, 16, 12)), values) == pytest.approx(5 - d2 / 4), "as published"
    assert HiCache(order=2).weights(23, (20,)) == (1.0, 0.0, 0.0)
    line = TaylorSeer().weights(23, (20, 16))
    assert HiCache().weights(23, (20, 16)) == pytest.approx(((1 + line[0]) / 2, line[1] / 2)), "half of TaylorSeer's"


@pytest.mark.parametrize("order", [1, 2])
def test_hermite_is_exact_on_a_line_at_one_scale_only(order):
    """A test that a wrong sign of x cannot pass."""
    computed = (20, 18, 11)[: order + 1]
    on_line = np.array([7.0 - 3 * s for s in computed])
    exact, published = (
        np.dot(HiCache(order=order, scale=scale).weights(26, computed), on_line) for scale in (0.5**0.5, 0.5)
    )
    assert exact == pytest.approx(7 - 3 * 26) and published == pytest.approx(7 - 3 * 23)


def test_arcache_reuses_until_the_history_has_changed():
    assert modes(ARCache(0.025, "none"), 8, [0.0, *[0.01] * 7]) == "RCCRCCRC"
    assert modes(ARCache(0.025, gram=DRIFT), 8, [0.0, *[0.01] * 7]) == "RCCRPPRP"


def test_arcache_continues_as_long_as_was_measured():
    """Velocities 0, 1, (2, 1), (1, 3) at steps 1 to 4: from steps 1 and 2 on, step 4 is sqrt(10) long, 1 of it along
    the last change."""
    v = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 1.0], [1.0, 3.0]])
    gram = tuple(map(tuple, (v @ v.T).tolist()))
    for length, along in (("measured", 10**0.5), ("projected", 1.0)):
        method = ARCache(length=length).calibrated((), gram)
        assert method.weights(4, (2, 1)) == pytest.approx((along, 1 - along)) and not method.needs_calibration
        assert method.weights(2, (2, 1)) == pytest.approx((1.0, 0.0)) and method.weights(4, (2,)) == (1.0,)
    assert ARCache().needs_calibration and not ARCache(length="none").needs_calibration
    assert ARCache(length="none").weights(4, (2, 1)) == (1.0,)
    with pytest.raises(ValueError, match="ARCache has no recorded run .* set length to none"):
        ARCache().weights(4, (2, 1))
    still = ((1.0,) * 4,) * 4
    assert ARCache(gram=still).weights(4, (2, 1)) == (1.0,), "nothing changed, so nothing is continued"


def test_history_is_what_lies_ahead(model):
    """Each unit sees the mean change of those before it; the first one its own."""
    before, now = drawn()
    made = []
    for aggregate in ("max", "history"):
        signal = make_signal("latent", aggregate, SCHEDULE, SEGMENT, guided(model))
        made.append([signal(step, x) for step, x in ((SEGMENT.iterations[6], before), (SEGMENT.iterations[7], now))][1])
    own, seen = made
    assert len(own) == 3 and seen == pytest.approx([own[0], own[0], own[:2].mean()])


def test_predit_reaches_as_far_as_its_horizon():
    """delta = 1/2: J = floor(tau / delta^(1/2)) for order 1, delta^(1/3) for order 2; J_max at most."""

    def growing():
        made = (torch.full((1, 2), 1.5**n) for n in range(99))
        return lambda step: next(made)

    assert modes(PrediT(1.6, 1), 9, observed=growing()) == "RRPPRPPRP"
    assert modes(PrediT(1.5, 2), 6, observed=growing()) == "RRPRPR"
    assert modes(PrediT(0.5, 2), 4, observed=growing()) == "RRRR"
    assert modes(PrediT(1.0, 2, longest=3), 10, observed=lambda s: torch.ones(1, 2)) == "RRPPPRPPPR"


def test_predit_forecasts_by_adams_bashforth():
    """Order 1 is exact on a line; order 2 on even gaps is 5/2, -2, 1/2."""
    line = tuple(Entry(s, torch.full((1, 1), 1 - 2 * s), 0) for s in (0.5, 0.6, 0.8))
    assert PrediT(order=1).value(None, unit(sigma=0.3), None, line[:2], None).item() == pytest.approx(0.4)
    assert PrediT(order=2).value(None, unit(sigma=0.3), None, line, None).item() == pytest.approx(0.4)
    units = [
        tuple(Entry(s, torch.tensor([[float(i == j)]]), 0) for j, s in enumerate((0.5, 0.6, 0.7))) for i in range(3)
    ]
    weights = [PrediT(order=2).value(None, unit(sigma=0.4), None, history, None).item() for history in units]
    assert weights == pytest.approx([2.5, -2, 0.5])


def test_predit_ignores_a_velocity_at_the_same_noise_level():
    same = (Entry(0.5, torch.ones(1, 1), 0),)
    at = unit(sigma=0.5)
    assert PrediT().observe(None, at, same, shown(PrediT(), at, same, torch.ones(1, 1))) is None
    assert PrediT().observe(0.3, unit(sigma=0.4), same, None) == 0.3


def test_easycache_by_hand():
    """Velocities 1, 3, 1 at latents 1, 2, 5: k = 2 and 2/3, k / |v| = 2/3; latents move 0.1 a step, so a = 0.0667 a
    step."""
    method, one = EasyCache(0.15), torch.ones(1, 1)
    assert modes(method, 7, [0.1] * 7, observed=lambda step: torch.full((1, 1), 3.0 if step == 2 else 1.0)) == "RRCCRCC"
    before = (Entry(0.9, one, 1, one),)
    state = method.observe(method.init(), unit(2), before, shown(method, unit(2), before, 3 * one, 2 * one))
    assert state.rate == pytest.approx(2 / 3)
    assert method.decide(state, unit(3), 0.1, ()).score == pytest.approx(0.2 / 3)
    same = (Entry(0.5, one, 0, one),)
    at = unit(sigma=0.5)
    assert method.observe(method.init(), at, same, shown(method, at, same, one, one)).rate is None


def test_easycache_puts_back_the_offset_or_the_velocity():
    history = (Entry(0.5, torch.full((1, 1), 3.0), 4, torch.full((1, 1), 2.0)),)
    x = torch.full((1, 1), 1.5)
    assert EasyCache(form="paper").value(None, unit(), None, history, x).item() == 2.5
    assert EasyCache(form="velocity").value(None, unit(), None, history, x).item() == 3.0


@pytest.mark.parametrize(
    "method, change, expected",
    [
        (FlowCache(0.025, "none", "latent"), 0.01, "RCCRCCRC"),
        (FlowCache(0.01, "none", "latent"), 0.01, "RRRR"),
        (MotionCache(0.025), 0.01, "RCCRCC"),
        (SeaCache(0.25), 0.01, "RRPPRPPRPP"),
        (SeaCache(0.25), 0.13, "RRPRPR"),
        (SeaCache(0.25, 4), 0.01, "RCCCCRPPPPR"),
    ],
)
def test_modes_at_constant_change(method, change, expected):
    gate = Gate(99, 2 if expected.startswith("RRP") else 0, 0)
    assert modes(method, len(expected), [change] * len(expected), gate) == expected


def test_flowcache_rescales_on_skyreels_as_teacache_does():
    method = FlowCache(0.1, "1.3B", "modulation")
    coefficients, _ = POLYNOMIALS["1.3B", "modulation"]
    assert method.rescale(0.03) == pytest.approx(np.polyval(coefficients, 0.03)) and method.rescale(-1.0) >= 0
    assert method.depth == 1 and method.skip(method.init(), unit(), 30) is None


def test_flowcache_reuses_the_velocity_times_the_current_step():
    """Of a constant velocity nothing is lost; the displacement of the last computed step would be wrong by the ratio of
    the steps."""

    class Constant(Blank):
        def show(self, x, step):
            return x, x

        def velocity(self, shown, step, columns, units, around):
            return torch.ones_like(shown)

    schedule = MAGI.schedule(18, 64, 1)
    settings = Settings(FlowCache(1e9, "none", "latent"), Gate(5, 5, 1))
    made, trace, _ = sample(Constant(), torch.full((1, 1, 18, 2, 2), 2.0), schedule, settings)
    assert (made - (2 - schedule.sigmas[0])).abs().max() < 1e-5
    assert trace.totals["computed"] < 0.3 * trace.totals["iterations"]


def test_settings_that_skip_nothing_are_off():
    for method in OFF.values():
        assert method.off and Settings(method).off
    for method in METHODS.values():
        assert not method.off and Settings(method, Gate(0)).off


ON_MAGI = {name: method for name, method in METHODS.items() if method.signal != "modulation"}
COMPUTED = Gate(max_skip=5, warm_up=99, tail=1)
"""The method runs, and the gate makes it compute every step."""


@every_method
def test_computing_all_is_the_run_without(model, method):
    """docs/architecture.md, law 1, bit for bit."""
    expected = plain(guided(model), SCHEDULES["image"])
    for settings in (Settings(method, COMPUTED), Settings(method, Gate(0))):
        assert torch.equal(Run(guided(model), SCHEDULES["image"], settings).latents, expected)


def magi(steps=16):
    """A short run of MAGI-1: three chunks, two at a time."""
    fixture = Fixture("t2v_distill")
    fixture.steps, fixture.window = steps, 2
    return fixture


@pytest.mark.parametrize("joint", [True, False])
def test_computing_all_is_the_run_without_on_magi(joint):
    fixture = magi(8)
    expected = fixture.run(joint=joint)
    for method in ON_MAGI.values():
        made = fixture.run(Settings(method, COMPUTED), joint)
        assert torch.equal(made, expected) if method.depth else (made - expected).abs().max() < 1e-5
    assert torch.equal(fixture.run(Settings(Reduced(3), Gate(0)), joint), expected)


@cache
def whole():
    fixture = magi()
    return fixture.run(), fixture.network.forwards


@pytest.mark.parametrize("method", ON_MAGI.values(), ids=ON_MAGI)
@pytest.mark.parametrize("joint", [True, False])
def test_chunks_of_magi_skip(method, joint):
    fixture, (full, forwards) = magi(), whole()
    made = fixture.run(Settings(method, RULES), joint)
    assert torch.isfinite(made).all() and not torch.equal(made, full) and fixture.network.forwards < forwards
    rows = [step["modes"] for step in fixture.trace.segments[0].steps]
    assert all("R" not in row or set(row) <= {"R", "."} for row in rows) or (not joint and method.depth)
    assert torch.equal(fixture.run(Settings(method, RULES), joint), made), "the second run knows of the first"


@every_method
def test_counted_forwards_are_those_that_hooks_see(model, method):
    """docs/architecture.md, law 6: two guidance branches, every block or none."""
    calls = []
    hooks = [block.register_forward_hook(lambda *_: calls.append(1)) for block in model.blocks]
    run = Run(guided(model), SCHEDULES["image"], Settings(method, RULES))
    for hook in hooks:
        hook.remove()
    computed = sum("R" in step["modes"] for step in run.steps)
    assert run.trace.forwards == len(calls) / len(model.blocks) == 2 * computed and computed < len(run.steps)


@every_method
@pytest.mark.parametrize("name", ["synchronous", "image"])
def test_same_inputs_same_output(model, name, method):
    """docs/architecture.md, law 4: after an aborted run and runs of other length and resolution, equal to a fresh
    run."""
    settings, schedule = Settings(method, RULES), SCHEDULES[name]
    fresh, term = Run(guided(model), schedule, settings), guided(model)

    def abort(control, step, x0):
        if step.index == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(term, schedule, settings, watch=abort)
    Run(term, SKYREELS.schedule(5, 6, 6, 2), settings, torch.randn(1, 4, 5, 6, 8))
    for _ in range(2):
        again = Run(term, schedule, settings)
        assert torch.equal(again.latents, fresh.latents) and again.timeline == fresh.timeline
    assert fresh.trace.totals["computed"] < len(fresh.steps)


@every_method
@pytest.mark.parametrize(
    "steps, ar_step, frames, selective, causal",
    [
        (7, 1, 5, "full", False),
        (5, 5, 6, "paper", False),
        (2, 1, 5, "auto", True),
        (3, 2, 10, "full", False),
        (3, 2, 10, "auto", True),
    ],
)
def test_units_that_enter_and_finish_at_odd_times(model, method, steps, ar_step, frames, selective, causal):
    schedule = SKYREELS.schedule(frames, steps, 6, 2, 2, ar_step, causal=causal)
    run = Run(guided(model), schedule, Settings(method, Gate(3), selective))
    assert torch.isfinite(run.latents).all() and len(run.steps) == schedule.iterations


PLANNED = {name: method for name, method in METHODS.items() if method.plannable and method.signal not in CONTENT}


@pytest.mark.parametrize("method", PLANNED.values(), ids=PLANNED)
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_plan_is_the_run(model, name, method):
    settings, schedule, term = Settings(method, RULES), SCHEDULES[name], guided(model)
    planned = plan(schedule, settings, change_table(method.signal, schedule.sigmas, term))
    run = Run(term, schedule, settings)
    assert [[{**step, "seconds": 0} for step in segment.steps] for segment in planned.segments] == [
        [{**step, "seconds": 0} for step in segment.steps] for segment in run.trace.segments
    ]


@pytest.mark.parametrize("method", [PrediT(), EasyCache()])
def test_what_needs_the_network_cannot_be_planned(method):
    with pytest.raises(ValueError, match=f"{method.title} decides from what the network returns"):
        plan(SCHEDULES["long"], Settings(method))


@pytest.mark.parametrize("method", [FlowCache(0.01, "none", "latent"), MotionCache(), SeaCache()])
def test_what_needs_the_content_is_planned_with_its_table_only(method):
    with pytest.raises(ValueError, match=f"'{method.signal}' signal looks at the video"):
        plan(SCHEDULES["long"], Settings(method))
    assert plan(SCHEDULES["long"], Settings(method), np.full(11, 0.004)).totals["iterations"]


@every_method
def test_bytes_are_counted(model, method):
    """Velocities and latents of the whole window [1, 4, 6, 4, 4] fp32, or residuals [24 tokens, 64] of two branches;
    the signal keeps latents."""
    held = []

    def watch(control, step, x0):
        held.append(control.memory.bytes())

    run = Run(guided(model), SCHEDULES["synchronous"], Settings(method, RULES), watch=watch)
    latents = 4 * 6 * 4 * 4 * 4
    residuals = (3 if isinstance(method, TaylorSeer) else 2) * 2 * 24 * 64 * 4
    depth = min(method.depth, sum("R" in step["modes"] for step in run.steps))
    kept = depth * (1 + method.latents) * latents or residuals
    assert held[-1] == kept
    shared = latents if method.latents else 0
    assert kept <= run.trace.memory <= kept + latents * (method.signal in CONTENT) + shared


@every_method
def test_settings_survive_json(method):
    settings = Settings(method, RULES)
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    replaced = Settings(Reduced(4, (1, 3)))
    assert Settings.from_json(json.loads(json.dumps(replaced.to_json()))) == replaced


@pytest.mark.parametrize(
    "make, parts",
    [
        (lambda: Reduced(0), ["computed is 0", "at least 1", "25 of 50"]),
        (lambda: Reduced(3, (0, 2)), ["steps are 0, 2", "from 1", "1, 3, 6, 10"]),
        (lambda: TaylorSeer(0), ["interval is 0", "at least 1", "3 to 6"]),
        (lambda: TaylorSeer(order=3), ["order is 3", "[1, 2]", "published is 1"]),
        (lambda: TaylorSeer(first=0), ["first is 0", "at least 1", "1 and 3"]),
        (lambda: TaylorSeer(site="block"), ["'block'", "output, residual"]),
        (lambda: HiCache(scale=-0.5), ["HiCache scale is -0.5", "at least 0", "published is 0.5"]),
        (lambda: ARCache(-0.1), ["ARCache threshold is -0.1", "at least 0", "0.1 to 0.3"]),
        (lambda: ARCache(length="x"), ["'x'", "measured, projected, none"]),
        (lambda: PrediT(-1.0), ["tau is -1", "at least 0", "example 1"]),
        (lambda: PrediT(float("nan")), ["tau is nan"]),
        (lambda: PrediT(order=0), ["order is 0", "[1, 2]"]),
        (lambda: PrediT(longest=0), ["longest is 0", "at least 1", "8"]),
        (lambda: EasyCache(-0.1), ["tau is -0.1", "at least 0", "0.05"]),
        (lambda: EasyCache(form="x"), ["'x'", "paper, velocity"]),
        (lambda: FlowCache(-1.0), ["FlowCache threshold is -1", "at least 0", "0.01 and 0.015"]),
        (lambda: FlowCache(polynomial="1.3B", signal="latent"), ["1.3B/latent", "1.3B/modulation", "none"]),
        (lambda: MotionCache(float("nan")), ["MotionCache threshold is nan", "0.0065"]),
        (lambda: SeaCache(-1.0), ["threshold is -1", "at least 0", "0.25"]),
        (lambda: SeaCache(max_skips=0), ["max_skips is 0", "at least 1", "published is 2"]),
        (lambda: SeaCache(site="x"), ["'x'", "residual, output"]),
        (lambda: Compression(1), ["1 chunks", "at least 2", "5 and 6"]),
        (lambda: Compression(importance=2.0), ["importance is 2", "[0, 1]", "0.07"]),
        (lambda: Compression(queries=0), ["0 tokens", "at least 1", "50"]),
    ],
)
def test_settings_out_of_range_are_answered(make, parts):
    with pytest.raises(ValueError, match=re.escape(parts[0])) as error:
        make()
    assert [part for part in parts if part not in str(error.value)] == []


SCHEDULE = SKYREELS.schedule(6, 8, 6, 2, 2, 3)
(SEGMENT,) = SCHEDULE.segments
STEP = SEGMENT.iterations[4]
"""Units of two frames: the first at its fifth step, the second at its second."""


def signals(name, term, xs):
    signal = make_signal(name, "max", SCHEDULE, SEGMENT, term)
    return signal, [signal(step, x) for step, x in zip((SEGMENT.iterations[3], STEP), xs)]


def drawn(count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 4, 6, 4, 4, generator=generator) for _ in range(count)]


def test_displacement_is_the_mean_absolute_change(model):
    before, now = drawn()
    signal, (first, second) = signals("displacement", None, (before, now))
    assert first.tolist() == [0.0] * len(first)
    expected = [(now - before)[:, :, frames].abs().mean().item() for frames in (slice(0, 2), slice(2, 4))]
    assert second == pytest.approx(expected)
    assert signal.nbytes == now.nbytes and set(signal.seen) == {4, 5, 1, 2}


def test_motion_weighs_the_change_by_how_frames_differ(model):
    term = guided(model)
    before, now = drawn()
    plainly, weighed = (signals(name, term, (before, now))[1][1] for name in ("latent", "motion"))
    assert (0.6 * plainly < weighed).all() and (weighed < plainly).all()
    after, past = (term.patch_embedding(x[:, :, :2]) for x in (now, before))
    difference = (after[0, :, 1] - after[0, :, 0]).abs().mean(0)
    w = 0.6 + 0.4 * (difference - difference.min()) / (difference.max() - difference.min())
    by_frame = [((after - past)[0, :, f].abs() * w).sum() / past[0, :, f].abs().sum() for f in range(2)]
    assert weighed[0] == pytest.approx(np.mean([float(v) for v in by_frame]), rel=1e-4)


def test_motion_of_single_frames_is_the_latent_signal(model):
    schedule = SKYREELS.schedule(6, 8, 6, 2, 1, 3)
    (segment,) = schedule.segments
    before, now = drawn()
    made = []
    for name in ("latent", "motion"):
        signal = make_signal(name, "max", schedule, segment, guided(model))
        made.append([signal(segment.iterations[i], x).tolist() for i, x in ((4, before), (5, now))])
    assert made[0] == made[1]


def test_wiener_filter_sees_content_and_not_noise():
    """At high noise only low frequencies pass; at none all do, unchanged. A change of fine noise counts less than one
    of the whole."""
    x = torch.randn(1, 4, 6, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(wiener(Look(x, 0.0)), x, atol=1e-5)
    rows = torch.fft.rfftn(wiener(Look(x, 0.9)), dim=(2, 3, 4)).abs() / torch.fft.rfftn(x, dim=(2, 3, 4)).abs()
    assert rows[..., 0, 0, 1].mean() > 20 * rows[..., 3, 8, 8].mean()
    f = np.array([1 / 16, np.sqrt(0.5**2 + 0.5**2 + 0.5**2)])
    axes = np.meshgrid(np.fft.fftfreq(6), np.fft.fftfreq(16), np.fft.rfftfreq(16), indexing="ij")
    scale = (np.maximum(np.sqrt(sum(a**2 for a in axes)), 1 / 16) ** -3).mean()
    s = f**-3 / scale
    expected = s / (0.1**2 * s + 0.9**2)
    ratio = (rows[..., 0, 0, 1].mean() / rows[..., 3, 8, 8].mean()).item()
    assert ratio == pytest.approx(expected[0] / expected[1], rel=1e-3)


def test_sea_compares_each_level_behind_its_own_filter(model):
    before, now = drawn()
    _, (_, second) = signals("sea", None, (before, now))
    earlier = SEGMENT.iterations[3]
    for value, u, past in zip(second, STEP.active, earlier.active):
        a, b = wiener(Look(now[:, :, u.frames], u.sigma)), wiener(Look(before[:, :, u.frames], past.sigma))
        expected = ((a - b).abs().sum() / b.abs().sum()).item()
        assert past.sigma > u.sigma and value == pytest.approx(expected, rel=1e-4)


def test_the_widget_of_scope_offers_what_it_did():
    (offered,) = (knob.options for knob in knobs(Scope) if knob.name == "signal")
    assert tuple(offered) == ("modulation", "embedding", "sigma", "latent")
    assert CONTENT == ("latent", "displacement", "motion", "sea")
    assert ("modulation", "embedding", "sigma", *CONTENT) == SIGNALS


GROUPS, DIM = 2, 4


def drawn_keys(n=20, heads=6, batch=2):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(batch, 9, heads * DIM, generator=generator)
    return (query, *(torch.randn(batch, n, GROUPS * DIM, generator=generator) for _ in range(2)))


def test_kept_tokens_are_those_of_the_best_score_head_by_head():
    """lambda Imp - (1 - lambda) Red, with loops."""
    query, key, value = drawn_keys()
    compress = Compression(importance=0.3, queries=5)
    kept_key, kept_value = compress.keep(7, query, key, value, GROUPS)
    assert kept_key.shape == kept_value.shape == (2, 7, GROUPS * DIM)
    chosen = []
    for b in range(2):
        for g in range(GROUPS):
            k = key[b, :, g * DIM : (g + 1) * DIM]
            attention = []
            for q in query[b, -5:]:
                heads = q.view(6, DIM)[3 * g : 3 * g + 3]
                attention.append(torch.stack([heads @ row for row in k]).amax(1).div(DIM**0.5).softmax(0))
            mean = torch.stack(attention).mean(0)
            imp = torch.stack([mean[max(0, i - 3) : i + 4].max() for i in range(20)])
            likeness = torch.nn.functional.cosine_similarity(k[:, None], k[None], dim=-1)
            red = ((likeness.sum(1) - 1) / 19).softmax(0)
            best = (0.3 * imp - 0.7 * red).topk(7).indices.sort().values
            chosen.append(best.tolist())
            assert torch.equal(kept_key[b, :, g * DIM : (g + 1) * DIM], k[best])
            assert torch.equal(kept_value[b, :, g * DIM : (g + 1) * DIM], value[b, best, g * DIM : (g + 1) * DIM])
    assert len({tuple(best) for best in chosen}) > 1


def test_keys_that_repeat_go_first():
    query, key, value = drawn_keys(batch=1)
    key[:, 10:15] = key[:, 10:11]
    kept, _ = Compression(importance=0.0).keep(15, query, key, value, GROUPS)
    assert sum(torch.equal(row, key[0, 10]) for row in kept[0]) < 5
    k = key.unflatten(2, (GROUPS, -1)).transpose(1, 2)
    q = query.unflatten(2, (GROUPS, -1)).transpose(1, 2)
    assert redundancy(k).sum(-1) == pytest.approx(torch.ones(1, GROUPS)) and importance(q, k).shape == (1, GROUPS, 20)


class Long(Captioned):
    """The tiny MAGI-1 over five chunks with all of the past in reach: its latents, and what its cache held."""

    def __init__(self, compress, name="t2v_distill"):
        fixture = Fixture(name)
        scale = TEXT_SCALE if fixture.guided else None
        super().__init__(fixture.model, fixture.caption, fixture.mask, Reach(()), scale)
        self.compress, self.tokens = compress, []
        x = torch.randn(1, 16, 30, 4, 6, generator=torch.Generator().manual_seed(0))
        schedule = MAGI.schedule(5 * CHUNK, 8, 2, reach=self.reach)
        with torch.inference_mode():
            self.latents = sample(self, x, schedule, PRESETS["off"], on_step=self.watch).latents

    @property
    def cache(self):
        return self.made.cache

    def watch(self, segment, step, x0, record):
        stored = self.cache.stored
        self.tokens.append([sum(pair[0].shape[1] for at, pair in stored.items() if at[0] == layer) for layer in (0, 1)])


@pytest.mark.parametrize("name", ["t2v_distill", "t2v_base"])
def test_compressed_cache_stays_in_its_buffer_and_a_roomy_one_changes_nothing(name):
    """36 tokens a chunk. Off and a buffer that is never full: bit for bit the same."""
    plainly, roomy, tight = (Long(compress, name) for compress in (None, Compression(5), Compression(3)))
    assert {long.cache.compress for long in (plainly, roomy, tight)} == {None, Compression(5), Compression(3)}
    assert torch.equal(plainly.latents, roomy.latents) and max(plainly.tokens)[0] == 5 * 36
    assert max(tight.tokens) == [3 * 36] * 2 and torch.isfinite(tight.latents).all()
    chunks = [(tight.latents - plainly.latents)[:, :, c * CHUNK : (c + 1) * CHUNK].abs().max() for c in range(5)]
    assert max(chunks[:2]) == 0 and chunks[4] > 1e-4 and tight.cache.bytes() < plainly.cache.bytes()


def test_compression_needs_finished_chunks():
    cache = ChunkCache(compress=Compression(2))
    query, key, value = drawn_keys()
    for chunk in range(4):
        cache.put(0, chunk, key, value)
    cache.shrink(0, 20, query, GROUPS)
    assert all(torch.equal(cache.get(0, chunk, key.device)[0], key) for chunk in range(4))
    cache.finished = 3
    cache.shrink(0, 20, query, GROUPS)
    assert [cache.get(0, chunk, key.device)[0].shape[1] for chunk in range(4)] == [0, 0, 20, 20]
