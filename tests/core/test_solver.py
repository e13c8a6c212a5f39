"""Solvers whose frames each stand at their own step."""

import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler

from scope_core import MAGI, PRESETS, SKYREELS, Gate, Settings, sample
from scope_core.families.skyreels import Term
from scope_core.loop.solver import AB2, CAB, SOLVERS, Euler, UniPC
from scope_core.methods import Scope

FRAMES = 3


def scheduler(steps, shift, disable_corrector=()):
    made = UniPCMultistepScheduler(
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        flow_shift=shift,
        solver_order=2,
        disable_corrector=list(disable_corrector),
    )
    made.set_timesteps(steps)
    return made


def compare(steps, shift, dtype, views, skipped=()):
    """Largest difference between our solver and one diffusers scheduler per frame, over a staircase with random
    velocities.

    `views`: the reference gets views of the latents that are then overwritten, as its pipeline does. `skipped`: own
    steps whose velocity counts as predicted.
    """
    (segment,) = SKYREELS.schedule(FRAMES, steps, FRAMES, 1, 1, min(2, steps), shift=shift, table="diffusers").segments
    references = [scheduler(steps, shift, [k - 1 for k in skipped]) for _ in range(FRAMES)]
    if dtype == torch.float64:
        for reference in references:
            reference.sigmas = torch.from_numpy(segment.sigmas)
    solver = UniPC(segment.sigmas, match_reference=views)
    generator = torch.Generator().manual_seed(steps)
    x = torch.randn(1, 2, FRAMES, 2, 2, generator=generator, dtype=dtype)
    expected = x.clone()
    for step in segment.iterations:
        v = torch.randn(x.shape, generator=generator, dtype=dtype)
        x = solver.step(x, v, step.k, step.update, step.update & np.isin(step.k, skipped))
        for f in np.flatnonzero(step.update):
            sample = expected[:, :, f] if views else expected[:, :, f].clone()
            t = references[f].timesteps[step.k[f]]
            expected[:, :, f] = references[f].step(v[:, :, f], t, sample, return_dict=False)[0]
    return (x - expected).abs().max() / expected.abs().max()


@pytest.mark.parametrize("views", [True, False], ids=["as released", "textbook"])
@pytest.mark.parametrize(
    "shift, dtype, tolerance",
    [(1.0, torch.float64, 1e-11), (3.0, torch.float64, 1e-11), (8.0, torch.float64, 1e-11), (8.0, torch.float32, 2e-5)],
    ids=["shift 1", "shift 3", "shift 8", "fp32"],
)
def test_unipc_equals_diffusers_per_frame(shift, dtype, tolerance, views):
    differences = {steps: compare(steps, shift, dtype, views).item() for steps in range(2, 21)}
    assert {steps: d for steps, d in differences.items() if not d <= tolerance} == {}


def test_released_code_and_textbook_differ():
    """The quirk is real: without it the first corrector starts from the sample before its step."""
    sigmas = SKYREELS.sigmas(6, 8.0, "official")
    v = torch.randn(6, 1, 1, 1, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)
    released, textbook = (run(UniPC(sigmas, quirk), v, x) for quirk in (True, False))
    assert (released - textbook).abs().max() > 1e-3


def run(solver, velocities, x, predicted=()):
    for k, v in enumerate(velocities):
        x = solver.step(x, v, np.array([k]), np.array([True]), np.array([k in predicted]))
    return x


@pytest.mark.parametrize("skipped", [(2,), (1,), (3, 4, 5), (9,), (1, 2, 4, 5, 7, 8)])
def test_corrector_is_left_out_where_the_velocity_was_predicted(skipped):
    assert compare(10, 8.0, torch.float64, views=False, skipped=skipped) <= 1e-11


def test_first_and_last_predictor_step_are_euler():
    sigmas = SKYREELS.sigmas(5, 8.0, "official")
    generator = torch.Generator().manual_seed(0)
    x, v = (torch.randn(1, 2, 1, 2, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    on, off = np.array([True]), np.array([False])
    euler = Euler(sigmas)
    first = UniPC(sigmas)
    k = np.array([0])
    assert torch.allclose(first.step(x, v, k, on, off), euler.step(x, v, k, on, off), atol=1e-13)
    for k in range(1, 4):
        x = first.step(x, torch.randn(x.shape, generator=generator, dtype=x.dtype), np.array([k]), on, off)
    last = first.step(x, v, np.array([4]), on, on)
    assert torch.allclose(last, euler.step(x, v, np.array([4]), on, off), atol=1e-13)
    assert torch.allclose(last, x - sigmas[4] * v, atol=1e-13)


@pytest.mark.parametrize("make", SOLVERS.values(), ids=SOLVERS)
def test_frames_that_do_not_advance_are_untouched(make):
    """Bit for bit, and what they have seen meanwhile leaves no mark on their later steps."""
    solver, alone = (make(SKYREELS.sigmas(6, 8.0, "official")) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 2, 2, 2, generator=generator)
    waits, other = x[:, :, :1].clone(), x[:, :, 1:].clone()
    for t in range(9):
        v = torch.randn(x.shape, generator=generator)
        update = np.array([t >= 3, t < 6])
        before = x
        x = solver.step(x, v, np.array([max(0, t - 3), min(t, 5)]), update, ~update)
        assert torch.equal(x[:, :, ~update], before[:, :, ~update])
        if t >= 3:
            waits = alone.step(waits, v[:, :, :1], np.array([t - 3]), np.array([True]), np.array([False]))
    assert torch.equal(x[:, :, :1], waits)
    assert not torch.equal(x[:, :, 1:], other)


GATE = Gate(2, warm_up=1, tail=1)


class Smooth(Term):
    """A smooth velocity field in place of a network."""

    layers = 0

    def velocity(self, x, timestep, attended, around):
        self.forwards += 1
        return torch.sin(x) + x.mean(2, keepdim=True) + torch.as_tensor(timestep / 1000).view(1, 1, -1, 1, 1)


@pytest.mark.parametrize("max_skip", [1, 2, 4])
def test_reuse_with_euler_is_euler_on_the_recomputed_levels(max_skip):
    """docs/methods.md, Holding a velocity with Euler is taking fewer steps."""
    schedule = SKYREELS.schedule(4, 20)
    x = torch.randn(1, 2, 4, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    held = Settings(Scope(1e9, 1e9, signal="sigma"), Gate(max_skip, warm_up=1, tail=1))
    reused, trace, _ = sample(Smooth(), x, schedule, held, solver="euler")
    computed = [k for k, step in enumerate(trace.segments[0].steps) if step["modes"] == "R"]
    assert computed == [*range(0, 19, max_skip + 1), *([19] if 19 % (max_skip + 1) else [])]
    levels = (*schedule.sigmas[computed], 0.0)
    fewer = SKYREELS.schedule(4, len(computed), levels=levels)
    coarse, _, _ = sample(Smooth(), x, fewer, PRESETS["off"], solver="euler")
    assert (reused - coarse).abs().max() < 1e-13


@pytest.mark.parametrize("steps", [3, 4, 16])
def test_unipc_begins_at_pure_noise(steps):
    """MAGI-1's levels begin at exactly 1, where the logarithm of the signal is minus infinity. A constant velocity is
    followed exactly."""
    sigmas = MAGI.sigmas(steps, 3.0, MAGI.tables[0])
    assert sigmas[0] == 1
    solver, noise, v = UniPC(sigmas, match_reference=False), torch.ones(1, 1, 1, 1, 1), torch.full((1, 1, 1, 1, 1), 0.5)
    x, all_of = noise, np.ones(1, dtype=bool)
    for k in range(steps):
        x = solver.step(x, v, np.array([k]), all_of, ~all_of)
    assert (x - (noise - v)).abs().max() <= 1e-6


UNEVEN = np.array([1.0, 0.9, 0.6, 0.5, 0.1, 0.0])


def test_ab2_is_exact_where_the_velocity_is_a_line():
    """v = 3 - 2 sigma, so x = 3 sigma - sigma^2; only the first step, Euler's, is off, by h^2."""
    v = torch.from_numpy(3 - 2 * UNEVEN[:-1]).view(5, 1, 1, 1, 1, 1)
    made = run(AB2(UNEVEN), v, torch.zeros(1, 1, 1, 1, 1, dtype=torch.float64))
    assert made.item() == pytest.approx(-(3 * 1 - 1) + 0.1**2)
    assert torch.allclose(run(CAB(UNEVEN), v, torch.zeros_like(made)), made), "what it adds is 0 on a line"


def test_ab2_and_cab_by_hand():
    """Three steps over 1, 0.9, 0.6, 0.5 with velocities 1, 2, 5: rho is 3 and 1/3. The forecast of the third velocity
    is 2 + 3 (2 - 1) = 5 - 0, which it is; with 6 in its place CAB adds 0.2 h (6 - 5)."""
    start = torch.zeros(1, 1, 1, 1, 1, dtype=torch.float64)
    by_hand = -0.1 * 1 - 0.3 * (2.5 * 2 - 1.5 * 1)
    for third in (5.0, 6.0):
        v = torch.tensor([1.0, 2.0, third], dtype=torch.float64).view(3, 1, 1, 1, 1, 1)
        ab2 = by_hand - 0.1 * ((1 + 1 / 6) * third - 2 / 6)
        assert run(AB2(UNEVEN), v, start).item() == pytest.approx(ab2)
        assert run(CAB(UNEVEN), v, start).item() == pytest.approx(ab2 - 0.2 * 0.1 * (third - 5))


def test_cab_of_5_12_is_ab3_on_even_steps():
    cab, v = CAB(np.linspace(1, 0, 5)), torch.tensor([3.0, -1.0, 4.0], dtype=torch.float64).view(3, 1, 1, 1, 1, 1)
    cab.theta = 5 / 12
    start = torch.zeros(1, 1, 1, 1, 1, dtype=torch.float64)
    before, after = (run(solver, v[:n], start) for solver, n in ((AB2(np.linspace(1, 0, 5)), 2), (cab, 3)))
    assert (after - before).item() == pytest.approx(-0.25 * (23 * 4 - 16 * -1 + 5 * 3) / 12)


@pytest.mark.parametrize("name", SOLVERS)
def test_fewer_steps_at_planned_levels_run_with_every_solver(name):
    """Each frame on its own levels, one forward a step; all of its steps are the run that it was."""
    x = torch.randn(1, 2, 6, 2, 2, generator=torch.Generator().manual_seed(0))
    schedule = SKYREELS.schedule(6, 20, 6, 2, 2, 5)
    whole, same = (
        sample(Smooth(), x, made, PRESETS["off"], solver=name) for made in (schedule, schedule.only(range(1, 21)))
    )
    assert torch.equal(whole.latents, same.latents)
    fewer = sample(Smooth(), x, schedule.only((1, 3, 6, 9, 13, 16, 18, 20)), PRESETS["off"], solver=name)
    assert fewer.trace.totals["computed"] == 8 + 2 * 2 and torch.isfinite(fewer.latents).all()


@pytest.mark.parametrize("solver", ["ab2", "cab"])
def test_multistep_solvers_can_be_corrected(solver):
    """Which brings a run on held velocities closer to the one that computes all steps."""
    x, schedule = torch.randn(1, 2, 4, 2, 2, generator=torch.Generator().manual_seed(0)), SKYREELS.schedule(4, 20)
    full = sample(Smooth(), x, schedule, PRESETS["off"], solver=solver).latents
    plain, corrected = (
        sample(Smooth(), x, schedule, Settings(Scope(1e9, 1e9, signal="sigma"), GATE, correct=correct), solver=solver)
        for correct in (False, True)
    )
    assert (corrected.latents - full).abs().max() < (plain.latents - full).abs().max() / 2
