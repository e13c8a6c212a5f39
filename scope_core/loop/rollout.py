"""The sampling loop of SCOPE: schedule -> signal -> decisions -> gate -> forward -> solver -> trace."""

from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Protocol

import torch
from torch import Tensor

from ..schedule import ARSchedule, Segment, Step, Unit
from .control import Control, computed, probed
from .reading import measured
from .residuals import BlockPass
from .solver import Steps, per_frame
from .trace import SegmentTrace

OnStep = Callable[[Step, Tensor], None]


class Field(Protocol):
    """The velocity field of a segment: a network, and how its family is shown a half-denoised window."""

    layers: int
    """Transformer blocks of the network."""

    def show(self, x: Tensor, step: Step) -> tuple[Tensor, Any]:
        """Called at every iteration, skipped ones too: the latents that the solver steps from, which differ from x
        where the family puts known frames back, and what the network would be shown of them."""
        ...

    def due(self, step: Step) -> bool:
        """Whether the network has to run at this iteration even if every unit is skipped."""
        ...

    def border(self, step: Step) -> bool:
        """Whether the field becomes another one at this iteration, as where prompts or weights change: it is computed,
        and what is remembered is forgotten."""
        return False

    def hold(self, v: Tensor, x: Tensor, step: Step) -> Tensor:
        """Velocity [B, C, F, H, W] of latents x that was not computed, with what the field knows of the result put into
        it, as into a computed one."""
        return v

    def state(self, step: Step) -> Any:
        """What has to be kept after an iteration for `resume` beside the latents: a tree as `loop.codec` knows them."""
        return None

    def resume(self, x: Tensor, done: list[tuple[Step, list[Unit]]], state: Any) -> None:
        """Bring about what these iterations, with the units that the network was shown, have left in the field of a run
        that was ended after them, at latents x and with what `state` gave. Exact to the last bit."""
        return

    def velocity(self, shown: Any, step: Step, columns: slice, units: list[Unit], around: BlockPass | None) -> Tensor:
        """Velocity after guidance [B, C, F, H, W] of the frames of `units`, anything finite elsewhere.

        `shown` is what `show` prepared, `columns` the frames to forward. `around`, where given, is called around every
        block.
        """
        ...


def rollout(
    field: Field,
    x: Tensor,
    segment: Segment,
    control: Control,
    solver: Steps,
    trace: SegmentTrace,
    on_step: OnStep = lambda step, x0: None,
    keep: OnStep = lambda step, x: None,
    done: int = 0,
) -> Tensor:
    """Denoise one segment: x [B, C, F, H, W] holds noise in the free columns and clean latents in the others.

    `on_step(step, x0)` sees the estimate of the clean latents after every iteration, skipped ones too, and before it
    `keep(step, x)` the latents. `done` iterations were made before, and x is as they left it. Raises NotFiniteError.
    """
    for step, columns in zip(segment.iterations[done:], control.columns[done:]):
        began = perf_counter()
        x, shown = field.show(x, step)
        if field.border(step):
            control.forget()
            solver.forget()
        changes = control.signal(step, x)
        decisions = control.decide(step, changes)
        fresh = computed(step, decisions)
        v = field.hold(control.values(step, decisions, x), x, step)
        if fresh or not control.method.depth or field.due(step):
            call = partial(forward, field, control, shown, step, fresh)
            made, around = control.room.attempt(call, [control, solver], [field])
            made = made.to(x.dtype)
            decisions = probed(decisions, around)
            fresh = computed(step, decisions)
            if fresh:
                control.observe(step, fresh, x, made, v, around)
            else:
                measured(made, step)
            if around or (fresh and control.joint):
                v = made
        control.settle(step, decisions, changes)

        predicted = step.update.copy()
        for unit in fresh:
            predicted[unit.frames] = False
        x0 = x - per_frame(step.sigma, x) * v
        x = solver.step(x, v, step.k, step.update, predicted)
        trace.add(step, columns, decisions, perf_counter() - began)
        keep(step, x)
        on_step(step, x0)
    return x


def forward(
    field: Field, control: Control, shown: Any, step: Step, fresh: list[Unit]
) -> tuple[Tensor, BlockPass | None]:
    """What the network makes for the units to compute [B, C, F, H, W], and what was around its blocks."""
    around = control.around(step, fresh, field.layers)
    units = step.active if around else fresh
    return field.velocity(shown, step, control.columns[step.index], units, around), around


def compose(segment: Segment, noise: Tensor, known: Tensor) -> Tensor:
    """Start of a segment: noise in the free columns, known clean latents in prefix and tail; all [B, C, F, H, W]."""
    x = known.clone()
    free = slice(segment.prefix, segment.prefix + segment.free)
    x[:, :, free] = noise[:, :, free]
    return x


def unroll(
    sample: Callable[[Segment, Tensor, Tensor], Tensor],
    noise: Tensor,
    schedule: ARSchedule,
    start: Tensor | None = None,
    end: Tensor | None = None,
    bridge: Callable[[Tensor], Tensor] | None = None,
) -> list[Tensor]:
    """Make a whole video segment by segment from noise [B, C, L, H, W]: the latents of every segment as they were
    sampled, with its known first frames and without end frames. `join` makes one video of them.

    `sample(segment, noise, known)` denoises one segment (see `compose`) and returns all its columns. `start`, `end` are
    clean latents of the first frames and of the target behind the last one. `bridge(made)` turns a segment, as it was
    sampled, into the prefix of the next one; by default that is the last `overlap` frames of the video so far.
    """
    nothing = noise[:, :, :0]
    segments: list[Tensor] = []
    prefix, end = nothing if start is None else start, nothing if end is None else end
    for segment in schedule.segments:
        if segments and segment.prefix:
            prefix = bridge(segments[-1]) if bridge else join(segments, schedule.overlap)[:, :, -schedule.overlap :]
        part = noise[:, :, segment.start : segment.start + segment.prefix + segment.free]
        if segment.tail:
            part = torch.cat([part, torch.zeros_like(end)], dim=2)
        known = torch.zeros_like(part)
        if segment.prefix:
            known[:, :, : segment.prefix] = prefix
        if segment.tail:
            known[:, :, -segment.tail :] = end
        segments.append(sample(segment, part, known)[:, :, : segment.prefix + segment.free])
    return segments


def join(segments: Sequence[Tensor], overlap: int) -> Tensor:
    """One video [B, C, L, H, W] of segments, each of which begins with `overlap` frames of the one before."""
    first, *later = segments
    return torch.cat([first, *(made[:, :, overlap:] for made in later)], dim=2)
