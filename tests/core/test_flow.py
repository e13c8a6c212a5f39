"""Any flow model as one chunk: arithmetic, parts of a schedule, borders between fields, known latents, packed
streams."""

import pytest
import torch

from scope_core import FLOW, PRESETS, SKYREELS, Gate, ScheduleError, Settings, sample
from scope_core.families.flow import FlowModel
from scope_core.loop.solver import SOLVERS
from scope_core.methods import Planned, Scope, SeaCache, TaylorSeer

STEPS = 10
EVERY_THIRD = Settings(TaylorSeer(3), Gate(9, 0, 0))


class Pull(FlowModel):
    """Its estimate leans from the latents towards a target, less the cleaner they are; from an iteration on another
    target, and some of the result may be known."""

    layers = 1

    def __init__(self, size=(1, 4, 3, 4, 4), turns=(), mask=None, parts=None):
        generator = torch.Generator().manual_seed(7)
        self.noise, self.known_latent, *self.targets = (torch.randn(size, generator=generator) for _ in range(6))
        self.turns, self.mask, self.parts = turns, mask, parts
        self.met = []
        """Own step and latents of every call."""

    def target(self, step):
        return self.targets[sum(step.index >= turn for turn in self.turns)]

    def denoised(self, x, step, around):
        self.forwards += 1
        self.met.append((step.index, x))
        sigma = step.active[0].sigma
        return self.known(torch.tanh(x * sigma) * sigma + (1 - sigma) * self.target(step), step)

    def known(self, x0, step):
        if self.mask is None:
            return x0
        mask = self.mask(step.index)
        return x0 * mask + self.known_latent * (1 - mask)

    def border(self, step):
        return step.index in self.turns

    def features(self, name, sigma):
        return torch.as_tensor(sigma)[:, None]

    def streams(self, x):
        return [x] if self.parts is None else list(x.split(self.parts, -1))


def run(model, settings=PRESETS["off"], steps=STEPS, levels=None, noise=None, solver="euler"):
    noise = model.noise if noise is None else noise
    schedule = FLOW.schedule(noise.shape[2], steps if levels is None else len(levels) - 1, levels=levels)
    return sample(model, noise, schedule, settings, solver=solver)


def rules(trace):
    return "".join(step["rules"] for segment in trace.segments for step in segment.steps)


def test_a_schedule_is_one_segment_with_one_unit():
    schedule = FLOW.schedule(21, 50, 5.0)
    (segment,) = schedule.segments
    assert segment.units == (slice(0, 21),) and segment.rows == schedule.iterations == 50
    assert FLOW.place(FLOW.schedule(21, 30))[1], "every table at the usual shift is on the map of signals"


def test_off_is_euler_bit_for_bit():
    model = Pull()
    x, sigmas = model.noise, torch.from_numpy(FLOW.sigmas(STEPS, 8.0, "simple")).float()
    for k in range(STEPS):
        (step,) = [s for s in FLOW.schedule(3, STEPS).segments[0].iterations if s.index == k]
        x = x + (x - model.denoised(x, step, None)) / sigmas[k] * (sigmas[k + 1] - sigmas[k])
    assert torch.equal(run(Pull())[0], x)


@pytest.mark.parametrize("solver", SOLVERS)
def test_parts_of_a_schedule_are_runs_of_their_own(solver):
    """As KSampler (Advanced) and SplitSigmas give them, down to a single step; history begins empty in each."""
    levels = tuple(FLOW.sigmas(STEPS, 8.0, "simple"))
    whole = run(Pull(), solver=solver)[0]
    x = Pull().noise
    for part in (levels[:5], levels[4:6], levels[5:]):
        x, trace, _ = run(Pull(), EVERY_THIRD, levels=part, noise=x, solver=solver)
        assert trace.segments[0].steps[0]["modes"] == "R" and torch.isfinite(x).all()
    parts = Pull().noise
    for part in (levels[:5], levels[4:6], levels[5:]):
        parts = run(Pull(), levels=part, noise=parts, solver=solver)[0]
    assert torch.equal(parts, whole) == (solver == "euler") and (parts - whole).abs().max() < 0.2


@pytest.mark.parametrize("levels", [(1.0, 0.5, 0.5, 0.0), (1.2, 0.5, 0.0), (0.5, 0.7), (0.5, -0.1)])
def test_levels_that_do_not_fall_are_answered(levels):
    with pytest.raises(ScheduleError, match=r"within 1 and 0 in \d steps, without repeats; they are .*SplitSigmas"):
        run(Pull(), levels=levels)


def test_other_families_still_want_whole_schedules():
    with pytest.raises(ScheduleError, match="from about 1 to 0 in 2 steps"):
        SKYREELS.schedule(4, 2, levels=(1.0, 0.5, 0.2))
    with pytest.raises(ScheduleError, match="steps is 1, but at least 2"):
        SKYREELS.schedule(4, 1)


@pytest.mark.parametrize("settings", [PRESETS["balanced"], EVERY_THIRD, Settings(Scope(tau_c=5, tau_p=9), Gate(9))])
@pytest.mark.parametrize("turn", [4, 5])
def test_a_border_is_computed_and_says_why(settings, turn):
    model = Pull(turns=(turn,))
    _, trace, _ = run(model, settings)
    assert rules(trace)[turn] == "b" and rules(trace).count("b") == 1
    assert trace.totals["computed"] == model.forwards < STEPS


@pytest.mark.parametrize("correct", [False, True])
def test_nothing_is_forecast_or_corrected_across_a_border(correct):
    """From there on it is a run of the other field that begins there."""
    turn, levels = 4, tuple(FLOW.sigmas(STEPS, 8.0, "simple"))
    model = Pull(turns=(turn,))
    made, _, _ = run(model, Settings(Planned(computed=(1, 2, 6, 10)), correct=correct))
    assert [index for index, _ in model.met] == [0, 1, 4, 5, 9]
    other = Pull()
    other.targets[0] = model.targets[1]
    (start,) = [x for index, x in model.met if index == turn]
    later = run(other, Settings(Planned(computed=(1, 2, 6)), correct=correct), levels=levels[turn:], noise=start)[0]
    assert torch.equal(made, later)


def test_a_border_at_the_start_changes_nothing():
    model = Pull(turns=(0,))
    model.targets[1] = model.targets[0]
    made, trace, _ = run(model, EVERY_THIRD)
    assert torch.equal(made, run(Pull(), EVERY_THIRD)[0]) and rules(trace)[0] == "b"


@pytest.mark.parametrize("settings", [PRESETS["off"], PRESETS["fast"], EVERY_THIRD])
def test_what_is_known_is_put_into_predicted_estimates_too(settings):
    """Also where the mask moves from step to step, as the host's differential diffusion has it: the second frame is
    known in every second step."""

    def mask(index):
        kept = torch.ones(1, 1, 3, 4, 4)
        kept[:, :, : 1 + index % 2] = 0
        return kept

    seen, model = [], Pull(mask=mask)
    made, trace, _ = sample(
        model,
        model.noise,
        FLOW.schedule(3, STEPS),
        settings,
        solver="euler",
        on_step=lambda segment, step, x0, record: seen.append(x0),
    )
    assert settings.off or trace.totals["computed"] < STEPS
    for index, x0 in enumerate(seen):
        frames = slice(0, 1 + index % 2)
        assert (x0 - model.known_latent)[:, :, frames].abs().max() < 2e-6
    assert torch.allclose(made, seen[-1]) and (made - model.known_latent)[:, :, 2].abs().max() > 0.1


def test_the_stream_that_changes_most_tells():
    """Of packed video and audio: where the few numbers of one change, the many of the other do not hide it."""
    settings = Settings(SeaCache(0.5), Gate(9, 0, 0))
    size = (1, 1, 1, 1, 1004)
    still, packed, apart = (Pull(size), Pull(size), Pull(size, parts=(1000, 4)))
    for model in (packed, apart):
        model.noise[..., 1000:] *= 0.01
        for target in model.targets:
            target[..., 1000:] *= 50
    assert still.streams(still.noise)[0] is still.noise
    computed = [run(model, settings)[1].totals["computed"] for model in (packed, apart)]
    assert computed[0] < computed[1]
