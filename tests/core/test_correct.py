"""Correcting the past: a gap is walked again once its end is computed (docs/scope.md, Correcting the past)."""

# ruff: noqa: F811 - tests take fixtures that are imported

from dataclasses import replace

import numpy as np
import pytest
import torch

from scope_core import MAGI, PRESETS, SKYREELS, Gate, Settings, plan, sample
from scope_core.loop.correct import Corrected
from scope_core.loop.reading import NotFiniteError
from scope_core.loop.rollout import Field
from scope_core.loop.solver import SOLVERS, Euler, UniPC, per_frame
from scope_core.methods import Planned, TaylorSeer
from scope_core.signals import Features
from tests.core.test_magi_loop import Fixture
from tests.core.test_rollout import SCHEDULES, Run, guided, hooked, model  # noqa: F401

OFF = PRESETS["off"]
ON, NO = np.array([True]), np.array([False])
LEVELS = np.array([1.0, 0.9, 0.75, 0.6, 0.5, 0.35, 0.3, 0.2, 0.1, 0.05, 0.0])
TEN = dict(enumerate((3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, -6.0, 5.0, 3.0)))
"""x0 predictions by step."""


class Line(Features, Field):
    """A model and its field whose x0 prediction of a frame is a + b k at its step k, wherever the latents are."""

    layers = 0

    def __init__(self, schedule, height=2, dtype=torch.float64):
        generator = torch.Generator().manual_seed(0)
        size = (1, 16, schedule.frames, height, height)
        self.family, self.forwards, self.spoiled = schedule.family, 0, 0
        self.met, self.returned = [], []
        """Latents before every iteration, and what was answered."""
        self.noise, self.a, self.b = (torch.randn(size, generator=generator, dtype=dtype) for _ in range(3))

    def field(self, segment, schedule, seed, apart, start):
        return self

    def show(self, x, step):
        self.met.append(x)
        return x, x

    def due(self, step):
        return False

    def velocity(self, shown, step, columns, units, around):
        self.forwards += 1
        m = self.a + per_frame(step.k, shown) * self.b
        v = (shown - m) / per_frame(np.where(step.sigma > 0, step.sigma, 1.0), shown)
        self.returned.append(v * float("nan") if self.forwards == self.spoiled else v)
        return self.returned[-1]

    def features(self, name, sigma):
        return torch.as_tensor(sigma)[:, None]


STAIRCASE = SKYREELS.schedule(6, 12, 6, 2, 2, 3)
CHUNKS = MAGI.schedule(24, 16, 4)
EACH = Settings(TaylorSeer(3), Gate(9, 0, 1), correct=True)
GAPS = {
    "together": (SKYREELS.schedule(4, 12), Settings(Planned(computed=(1, 6, 8, 11, 12)))),
    "staircase": (STAIRCASE, Settings(Planned(computed=(1, 3)))),
    "staircase, a step predicted from what was computed while waiting": (STAIRCASE, Settings(Planned(computed=(3,)))),
    "chunks in step": (CHUNKS, Settings(Planned(computed=(1, 3)))),
    "chunks each by itself": (CHUNKS, EACH),
    "TaylorSeer": (STAIRCASE, EACH),
}


@pytest.mark.parametrize("solver", ["euler", "unipc"])
@pytest.mark.parametrize("schedule, settings", GAPS.values(), ids=GAPS)
def test_what_is_on_a_line_is_made_whole(schedule, settings, solver):
    """The x0 predictions of every gap lie on a line, so behind each computed step the corrected run is the one that
    computes all steps. Without the correction it is not."""
    assert settings.correct
    full = Line(schedule)
    sample(full, full.noise, schedule, OFF, solver=solver)
    error = {}
    for correct in (True, False):
        model = Line(schedule)
        trace = sample(model, model.noise, schedule, replace(settings, correct=correct), solver=solver).trace
        error[correct] = max(
            (model.met[i + 1] - full.met[i + 1])[:, :, unit.frames].abs().max().item()
            for i, (step, made) in enumerate(zip(schedule.segments[0].iterations[:-1], trace.segments[0].steps))
            for unit in step.active
            if made["modes"][unit.index] == "R"
        )
    assert error[True] < 1e-10 and error[False] > 1e-2


def test_euler_by_hand():
    """Levels halve. Computed at step 0 (m = 0) and 3 (m = 3), the velocity 8 is held at 1 and 2, which leads to 1. In
    the m form x_3 / sigma_3 = x_1 / sigma_1 + sum m_k (1 / sigma_k+1 - 1 / sigma_k) with m = 1, 2 in the gap, which is
    4 / 0.5 + 1 (4 - 2) + 2 (8 - 4) = 18, so x_3 = 2.25; half of the way to 3 is left at the next level."""
    solver = Corrected(Euler(levels := np.array([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 0])), levels)
    x, met = torch.full((1, 1, 1, 1, 1), 8.0, dtype=torch.float64), []
    for k, predicted in enumerate((False, True, True, False)):
        v = torch.full_like(x, 8.0) if k < 3 else (x - 3) / levels[3]
        x = solver.step(x, v, np.array([k]), ON, np.array([predicted]))
        met.append(x.item())
    assert met == [4, 2, 1, 2.625]


def steps(solver, m, predicted=(), sigmas=LEVELS, count=None):
    """Latents after some steps towards x0 predictions m, one a step; where they are predicted the velocity 1 is."""
    x = torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)
    for k in range(count or len(m)):
        v = torch.ones_like(x) if k in predicted else (x - m[k]) / sigmas[k]
        x = solver.step(x, v, np.array([k]), ON, np.array([k in predicted]))
    return x.item()


def lines(m, predicted):
    """m with the predicted steps on lines between those around them."""
    known = [k for k in m if k not in predicted]
    return {k: float(np.interp(k, known, [m[i] for i in known])) for k in m}


@pytest.mark.parametrize("predicted", [(1,), (1, 2), (3, 4), (1, 4, 5, 7), (2, 3, 5, 7)])
@pytest.mark.parametrize("name", SOLVERS)
def test_a_replay_is_the_solver_s_run_over_the_gap(name, predicted):
    """With every solver, gap after gap, all that it remembers put back."""
    for count in range(predicted[-1] + 2, 10):
        plain, corrected = (
            steps(solver, TEN, predicted, count=count)
            for solver in (SOLVERS[name](LEVELS), Corrected(SOLVERS[name](LEVELS), LEVELS))
        )
        whole = steps(SOLVERS[name](LEVELS), lines(TEN, predicted), count=count)
        assert corrected == pytest.approx(whole, abs=1e-12) and abs(plain - whole) > 1e-4


@pytest.mark.parametrize("predicted, walked", [((1, 2, 3, 4), True), ((2, 3, 4), False), ((2, 3), True)])
def test_beyond_the_reach_only_the_first_gap_is_corrected(predicted, walked):
    plain, corrected = (
        steps(solver, TEN, predicted, count=8) for solver in (UniPC(LEVELS), Corrected(UniPC(LEVELS), LEVELS))
    )
    assert (plain != corrected) == walked
    euler = steps(Corrected(Euler(LEVELS), LEVELS), TEN, predicted, count=8)
    assert euler == pytest.approx(steps(Euler(LEVELS), lines(TEN, predicted), count=8)), "Euler's has no end"


def test_a_first_step_on_what_was_computed_while_waiting_ends_no_gap_and_begins_one():
    """It is the same whether it counts as predicted or not."""
    runs = []
    for first in (False, True):
        solver, x = Corrected(UniPC(LEVELS), LEVELS), torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)
        for k, predicted in enumerate((first, True, True, False, False)):
            v = torch.ones_like(x) if predicted and k else (x - TEN[k]) / LEVELS[k]
            x = solver.step(x, v, np.array([k]), ON, np.array([predicted]))
        runs.append(x.item())
    assert runs[0] == runs[1] == pytest.approx(steps(UniPC(LEVELS), lines(TEN, (1, 2)), count=5))


@pytest.mark.parametrize("make", SOLVERS.values(), ids=SOLVERS)
def test_frames_of_other_ages_do_not_mix(make):
    """Two frames, the second one a step behind and with other gaps, against each on its own; what stands still keeps
    its value."""
    alone = [steps(Corrected(make(LEVELS), LEVELS), TEN, gaps, count=9) for gaps in ((1, 2, 5), (3, 4))]
    solver, x = Corrected(make(LEVELS), LEVELS), torch.ones(1, 1, 2, 1, 1, dtype=torch.float64)
    for t in range(10):
        k, update = np.array([min(t, 8), max(t - 1, 0)]), np.array([t < 9, t >= 1])
        predicted = np.array([t in (1, 2, 5), t - 1 in (3, 4)])
        m = torch.tensor([TEN[i] for i in k], dtype=x.dtype).view(1, 1, 2, 1, 1)
        v = torch.where(torch.from_numpy(predicted).view(m.shape), 1.0, (x - m) / per_frame(LEVELS[k], x))
        before, x = x, solver.step(x, v, k, update, predicted)
        assert torch.equal(x[:, :, ~update], before[:, :, ~update])
    assert x.flatten().tolist() == pytest.approx(alone, abs=1e-12)


@pytest.mark.parametrize("solver", ["euler", "unipc"])
@pytest.mark.parametrize("name", ["synchronous", "asynchronous", "long"])
def test_without_gaps_nothing_is_corrected(model, name, solver):
    """docs/architecture.md, law 1: bit for bit."""
    schedule, make = SCHEDULES[name], SOLVERS[solver]
    period = schedule.ar_step or schedule.steps
    expected = Run(guided(model), schedule, OFF, solver=make).latents
    for correct in (True, False):
        every = Settings(Planned(computed=range(1, period + 1)), correct=correct)
        assert torch.equal(Run(guided(model), schedule, every, solver=make).latents, expected)
        assert torch.equal(Run(guided(model), schedule, replace(OFF, correct=correct), solver=make).latents, expected)


def test_without_gaps_nothing_is_corrected_on_magi():
    fixture = Fixture("t2v_distill")
    expected = fixture.run()
    for correct in (True, False):
        assert torch.equal(fixture.run(Settings(TaylorSeer(2), Gate(1, 99), correct=correct)), expected)
    plain, corrected = (fixture.run(Settings(TaylorSeer(2), Gate(1), correct=each)) for each in (False, True))
    assert not torch.equal(plain, corrected)


@pytest.mark.parametrize("name", ["synchronous", "asynchronous"])
def test_the_history_is_what_the_network_returned(model, name):
    """docs/architecture.md, laws 3 and 6: and forwards are those of the plan, those counted and those that hooks
    see, with the correction as without."""
    schedule, seen = SCHEDULES[name], {}
    for correct in (False, True):
        term, returned, kept = guided(model), [], 0
        counts, handles = hooked(model)
        velocity = term.velocity

        def record(*args):
            returned.append(velocity(*args))
            return returned[-1]

        def watch(control, step, x0):
            nonlocal kept
            for unit in step.units:
                for entry in control.memory.of(unit.index):
                    kept += 1
                    assert any(torch.equal(entry.value, v[:, :, unit.frames]) for v in returned)

        term.velocity, settings = record, Settings(Planned(2.5), correct=correct)
        run = Run(term, schedule, settings, watch=watch)
        for handle in handles:
            handle.remove()
        assert kept and counts == [run.trace.forwards] * 2
        planned = plan(schedule, settings)
        assert [step["modes"] for step in planned.segments[0].steps] == [step["modes"] for step in run.steps]
        assert planned.totals["computed"] == run.trace.totals["computed"] == len(returned) < len(run.steps)
        seen[correct] = run.latents
    assert not torch.equal(seen[True], seen[False])


def test_a_network_that_returns_no_numbers_still_stops_the_run():
    schedule, settings = GAPS["together"]
    model = Line(schedule)
    model.spoiled = 2
    with pytest.raises(NotFiniteError, match="iteration 6"):
        sample(model, model.noise, schedule, settings, solver="unipc")


@pytest.mark.parametrize("solver, latents", [("euler", 2), ("unipc", 5), ("ab2", 4)])
@pytest.mark.parametrize("name", ["together", "staircase", "chunks in step"])
def test_what_is_kept_is_counted(name, solver, latents):
    """Two velocities for the line, and of the last computed step the latents, its x0 prediction and what the solver
    remembers: three for UniPC and two for AB2."""
    schedule, settings = GAPS[name]
    model = Line(schedule)
    one = model.noise.nbytes
    plain, corrected = (
        sample(model, model.noise, schedule, replace(settings, correct=each), solver=solver).trace.memory
        for each in (False, True)
    )
    assert (plain, corrected) == (2 * one, (2 + latents) * one)


def test_what_is_kept_at_257_frames_of_544x960_is_small():
    """100 MB at most, counted on tensors of the real size: windows of 97 frames, chunks of 5 latent ones."""
    made = []
    for size in (2, 4):
        schedule = SKYREELS.schedule(25, 10, 25, 5, 5, 5)
        model = Line(schedule, size, torch.float32)
        _, trace, _ = sample(model, model.noise, schedule, PRESETS["balanced"], solver="unipc")
        made.append(trace.memory)
        assert trace.memory == 7 * model.noise.nbytes
    assert made[1] == 4 * made[0] and made[0] / (2 * 2) * (544 // 8) * (960 // 8) < 100e6
