"""The sampling loop of SCOPE: schedule -> interval -> decisions -> gate -> forward -> solver -> trace."""

from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from .control import Control, computed
from .schedule import ARSchedule, Segment, Step
from .solver import Solver, per_frame
from .term import Term, timesteps
from .trace import SegmentTrace


class NotFiniteError(FloatingPointError):
    """The model returned NaN or infinity."""


def rollout(term: Term, x: Tensor, segment: Segment, schedule: ARSchedule, control: Control, solver: Solver, trace: SegmentTrace,
            noise: torch.Generator, on_step: Callable[[Step, Tensor], None] = lambda step, x0: None) -> Tensor:
    """Denoise one segment: x [B, C, F, H, W] holds noise in the free columns and clean latents in the others.

    `noise` feeds the conditioning noise of the prefix. `on_step(step, x0)` sees the estimate of the clean latents after
    every iteration, skipped ones too. Raises NotFiniteError.
    """
    blocks = segment.blocks if schedule.causal else None
    for step, columns in zip(segment.iterations, control.columns):
        began = perf_counter()
        decisions = control.decide(step, x)
        inputs, t = condition(x, segment, schedule, step, noise)
        inputs, t = inputs[:, :, columns], t[columns]
        residuals = control.memory.residuals
        skip = control.policy.skip(step.active[0], term.blocks)

        if computed(decisions):
            residuals.record, residuals.replay = skip.record if skip else (), None
            v = widen(term.velocity(inputs, t, cut(blocks, columns), residuals if skip else None), x)
            require_finite(v, step)
            control.observe(step, v)
        elif skip:
            residuals.record, residuals.replay = (), skip.replay
            v = widen(term.velocity(inputs, t, cut(blocks, columns), residuals), x)
            require_finite(v, step)
        else:
            v = control.values(step, decisions, x)

        predicted = step.update & (not computed(decisions))
        x0 = x - per_frame(step.sigma, x) * v
        x = solver.step(x, v, step.k, step.update, predicted)
        trace.add(step, columns, decisions, perf_counter() - began)
        on_step(step, x0)
    return x


def condition(x: Tensor, segment: Segment, schedule: ARSchedule, step: Step, noise: torch.Generator) -> tuple[Tensor, np.ndarray]:
    """What the model is shown: latents and timesteps [F]. Clean prefix frames get a little fresh noise (skyreels.md 4.3)."""
    t = timesteps(step.sigma)
    if not segment.prefix or not schedule.condition_noise:
        return x, t
    level = schedule.condition_noise / 1000
    clean = x[:, :, :segment.prefix]
    shaken = clean * (1 - level) + torch.randn(clean.shape, generator=noise, dtype=x.dtype).to(x.device) * level
    t[:segment.prefix] = schedule.condition_noise
    return torch.cat([shaken, x[:, :, segment.prefix:]], dim=2), t


def cut(blocks: tuple[slice, ...] | None, columns: slice) -> tuple[slice, ...] | None:
    """Attention blocks within the forwarded columns."""
    if blocks is None:
        return None
    return tuple(slice(b.start, min(b.stop, columns.stop)) for b in blocks if b.start < columns.stop)


def widen(v: Tensor, x: Tensor) -> Tensor:
    """Velocities of the first columns, with zeros for those that were not forwarded."""
    v = v.to(x.dtype)
    return v if v.shape[2] == x.shape[2] else torch.nn.functional.pad(v, (0, 0, 0, 0, 0, x.shape[2] - v.shape[2]))


def require_finite(v: Tensor, step: Step) -> None:
    if not torch.isfinite(v.sum()):
        sigma = max(unit.sigma for unit in step.active)
        raise NotFiniteError(f"the model returned NaN or infinity at iteration {step.index + 1}, noise level {sigma:.3f}. "
                             "Load it in bf16 or fp32 instead of fp16 or fp8, or check the file and the LoRA strength.")


def compose(segment: Segment, noise: Tensor, known: Tensor) -> Tensor:
    """Start of a segment: noise in the free columns, known clean latents in prefix and tail; all [B, C, F, H, W]."""
    x = known.clone()
    free = slice(segment.prefix, segment.prefix + segment.free)
    x[:, :, free] = noise[:, :, free]
    return x


def unroll(sample: Callable[[Segment, Tensor, Tensor], Tensor], noise: Tensor, schedule: ARSchedule,
           start: Tensor | None = None, end: Tensor | None = None, bridge: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Make a whole video segment by segment: noise [B, C, L, H, W] -> latents [B, C, L, H, W].

    `sample(segment, noise, known)` denoises one segment (see `compose`) and returns all its columns. `start`, `end` are
    clean latents of the first frames and of the target behind the last one. `bridge(latents)` turns the latents made so
    far into the prefix of the next segment; by default its last `overlap` frames.
    """
    video = None
    for segment in schedule.segments:
        prefix = start if video is None else bridge(video) if bridge else video[:, :, -schedule.overlap:]
        part = noise[:, :, segment.start:segment.start + segment.prefix + segment.free]
        if segment.tail:
            part = torch.cat([part, torch.zeros_like(end)], dim=2)
        known = torch.zeros_like(part)
        if segment.prefix:
            known[:, :, :segment.prefix] = prefix
        if segment.tail:
            known[:, :, -segment.tail:] = end
        made = sample(segment, part, known)[:, :, :segment.prefix + segment.free]
        video = made if video is None else torch.cat([video, made[:, :, segment.prefix:]], dim=2)
    return video
