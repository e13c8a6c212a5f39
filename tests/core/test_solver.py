"""Solvers whose frames each stand at their own step."""

import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler
from scope_core.control import Control
from scope_core.forcing import DiffusionForcing
from scope_core.gate import Gate
from scope_core.interval import intervals
from scope_core.policy import Off, Scope
from scope_core.rollout import rollout
from scope_core.schedule import ARSchedule, sigma_table
from scope_core.signal import make_signal
from scope_core.solver import Euler, UniPC
from scope_core.trace import SegmentTrace

FRAMES = 3


def scheduler(steps, shift, disable_corrector=()):
    made = UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=shift, solver_order=2,
                                   disable_corrector=list(disable_corrector))
    made.set_timesteps(steps)
    return made


def compare(steps, shift, dtype, views, skipped=()):
    """Largest difference between our solver and one diffusers scheduler per frame, over a staircase with random velocities.

    `views`: the reference gets views of the latents that are then overwritten, as its pipeline does. `skipped`: own steps
    whose velocity counts as predicted.
    """
    segment, = ARSchedule(FRAMES, steps, FRAMES, 1, 1, min(2, steps), shift=shift, table="diffusers").segments
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
@pytest.mark.parametrize("shift, dtype, tolerance", [
    (1.0, torch.float64, 1e-11), (3.0, torch.float64, 1e-11), (8.0, torch.float64, 1e-11), (8.0, torch.float32, 2e-5),
], ids=["shift 1", "shift 3", "shift 8", "fp32"])
def test_unipc_equals_diffusers_per_frame(shift, dtype, tolerance, views):
    differences = {steps: compare(steps, shift, dtype, views).item() for steps in range(2, 21)}
    assert {steps: d for steps, d in differences.items() if not d <= tolerance} == {}


def test_released_code_and_textbook_differ():
    """The quirk is real: without it the first corrector starts from the sample before its step."""
    sigmas = sigma_table(6, 8.0)
    v = torch.randn(6, 1, 1, 1, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    released, textbook = (run(UniPC(sigmas, quirk), v, torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)) for quirk in (True, False))
    assert (released - textbook).abs().max() > 1e-3


def run(solver, velocities, x, predicted=()):
    for k, v in enumerate(velocities):
        x = solver.step(x, v, np.array([k]), np.array([True]), np.array([k in predicted]))
    return x


@pytest.mark.parametrize("skipped", [(2,), (1,), (3, 4, 5), (9,), (1, 2, 4, 5, 7, 8)])
def test_corrector_is_left_out_where_the_velocity_was_predicted(skipped):
    assert compare(10, 8.0, torch.float64, views=False, skipped=skipped) <= 1e-11


def test_first_and_last_predictor_step_are_euler():
    sigmas = sigma_table(5, 8.0)
    generator = torch.Generator().manual_seed(0)
    x, v = (torch.randn(1, 2, 1, 2, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    on, off = np.array([True]), np.array([False])
    euler = Euler(sigmas)
    first = UniPC(sigmas)
    assert torch.allclose(first.step(x, v, np.array([0]), on, off), euler.step(x, v, np.array([0]), on, off), atol=1e-13)
    for k in range(1, 4):
        x = first.step(x, torch.randn(x.shape, generator=generator, dtype=x.dtype), np.array([k]), on, off)
    last = first.step(x, v, np.array([4]), on, on)
    assert torch.allclose(last, euler.step(x, v, np.array([4]), on, off), atol=1e-13)
    assert torch.allclose(last, x - sigmas[4] * v, atol=1e-13)


@pytest.mark.parametrize("make", [UniPC, Euler])
def test_frames_that_do_not_advance_are_untouched(make):
    """Bit for bit, and what they have seen meanwhile leaves no mark on their later steps."""
    solver, alone = make(sigma_table(6, 8.0)), make(sigma_table(6, 8.0))
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


class Smooth:
    """A smooth velocity field in place of a network."""

    blocks, forwards = 0, 0

    def velocity(self, x, timestep, blocks, residuals):
        self.forwards += 1
        return torch.sin(x) + x.mean(2, keepdim=True) + torch.as_tensor(timestep / 1000).view(1, 1, -1, 1, 1)


@pytest.mark.parametrize("max_skip", [1, 2, 4])
def test_reuse_with_euler_is_euler_on_the_recomputed_levels(max_skip):
    """Methods 0.1: reusing the velocity is taking one longer step."""
    schedule = ARSchedule(4, 20)
    segment, = schedule.segments
    x = torch.randn(1, 2, 4, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def sample(schedule, policy):
        segment, = schedule.segments
        control = Control(policy, Gate(max_skip, warm_up=1), make_signal("sigma", "max", segment, None), segment,
                          intervals(segment, "full", causal=False))
        trace = SegmentTrace(segment)
        return rollout(DiffusionForcing(Smooth(), segment, schedule, torch.Generator()), x, segment, control, Euler(schedule.sigmas), trace), trace

    reused, trace = sample(schedule, Scope(tau_c=1e9, tau_p=1e9))
    computed = [k for k, step in enumerate(trace.steps) if step["modes"] == "R"]
    assert computed == [*range(0, 19, max_skip + 1), *([19] if 19 % (max_skip + 1) else [])]
    levels = tuple(segment.sigmas[computed]) + (0.0,)
    coarse, _ = sample(ARSchedule(4, len(computed), levels=levels), Off())
    assert (reused - coarse).abs().max() < 1e-13
