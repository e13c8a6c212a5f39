"""Decisions of one segment: signal, policy, gate and memory, made before the model runs and outside it.

The sampling loop and the dry run share this, so that a plan and a run cannot differ.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from .gate import Gate, couple
from .memory import Memory
from .policy import Decision, Mode, Policy, Seen
from .residuals import BlockResiduals
from .schedule import Segment, Step, Unit
from .signal import Signal

Decisions = dict[int, Decision]
"""By unit, for the units that advance."""


class Control:
    def __init__(self, policy: Policy, gate: Gate, signal: Signal, segment: Segment, columns: list[slice], joint: bool = True,
                 layouts: Sequence[Hashable] | None = None):
        """`columns`: what each iteration forwards, see `interval.intervals`. `joint`: one forward computes all units or none. `layouts`: what
        hidden states are made of at each iteration, where columns do not tell; what was kept under another layout cannot be reused."""
        self.policy, self.gate, self.signal, self.columns, self.joint = policy, gate, signal, columns, joint
        self.layouts = layouts or columns
        self.memory = Memory(policy.depth, policy.latents)
        self.states: list[Any] = [policy.init() for _ in segment.units]
        self.skipped = [0] * len(segment.units)
        self.recorded: Hashable | None = None
        """Layout of the last computed forward, which is what a reuse inside the network fits."""
        self.peak_bytes = 0
        """Most bytes held between two steps."""

    def decide(self, step: Step, x: Tensor | None) -> Decisions:
        """Mode of every unit that advances. `x` [B, C, F, H, W] only matters to signals that look at the content."""
        self.changes = self.signal(step, x)
        wanted = []
        for unit, change in zip(step.active, self.changes):
            history = self.memory.of(unit.index)
            decision = self.policy.decide(self.states[unit.index], unit, float(change), history)
            available = bool(history) if self.policy.depth else self.recorded == self.layouts[step.index]
            wanted.append(self.gate(unit, decision, self.skipped[unit.index], available))
        return dict(zip((unit.index for unit in step.active), couple(wanted) if self.joint else wanted))

    def residuals(self, step: Step, fresh: list[Unit], blocks: int) -> BlockResiduals | None:
        """What to call around the blocks of a network, for methods that reuse inside it."""
        furthest = step.active[0]
        skip = self.policy.skip(furthest, blocks)
        if skip is None:
            return None
        skip = skip._replace(weights=self.policy.weights(self.states[furthest.index], furthest))
        columns, residuals = self.columns[step.index], self.memory.residuals
        if self.recorded != self.layouts[step.index]:
            residuals.forget()
        residuals.begin(skip, skipping=not fresh, frames=columns.stop - columns.start)
        return residuals

    def values(self, step: Step, decisions: Decisions, x: Tensor) -> Tensor:
        """Velocities [B, C, F, H, W] of the units that are reused or predicted, zero elsewhere."""
        v = torch.zeros_like(x)
        for unit in step.active:
            decision = decisions[unit.index]
            if decision.mode is not Mode.RECOMPUTE and self.policy.depth:
                v[:, :, unit.frames] = self.policy.value(self.states[unit.index], unit, decision, self.memory.of(unit.index), x[:, :, unit.frames])
        return v

    def probed(self, step: Step, decisions: Decisions) -> Decisions:
        """The decisions, after a probe inside the network had its say."""
        score = self.memory.residuals.score
        if score is None:
            return decisions
        mode, rule = (Mode.REUSE, "cache") if self.memory.residuals.skipping else (Mode.RECOMPUTE, "threshold")
        return {unit: Decision(mode, float(score), rule) for unit in decisions}

    def observe(self, step: Step, fresh: list[Unit], x: Tensor | None, made: Tensor | None, v: Tensor | None) -> Tensor | None:
        """Take in what the network made [B, C, F, H, W] of latents x for the units computed (both None in a dry run); returns it put into v."""
        columns, self.recorded = self.columns[step.index], self.layouts[step.index]
        watched = self.watched(columns) if made is not None else None
        for unit in step.units if self.joint else fresh:
            if unit.step > unit.steps or unit.frames.start >= columns.stop:
                self.memory.drop(unit.index)
                continue
            value = None if made is None else made[:, :, unit.frames]
            latent = None if x is None else x[:, :, unit.frames]
            if value is not None and not self.joint:
                value = v[:, :, unit.frames] = value.clone()
                latent = latent.clone() if self.policy.latents else latent
            if unit.advances:
                seen = None if value is None else Seen(value, latent, *self.of_unit(watched, unit, columns))
                self.states[unit.index] = self.policy.observe(self.states[unit.index], unit, self.memory.of(unit.index), seen)
            self.memory.push(unit, value, latent)
        self.peak_bytes = max(self.peak_bytes, self.memory.bytes() + self.signal.nbytes)
        return made if self.joint else v

    def watched(self, columns: slice) -> Tensor | None:
        """What was watched inside the network, mean over guidance branches: [change and growth, forwarded frames]."""
        seen = self.memory.residuals.seen()
        return None if seen is None else torch.stack([x.unflatten(0, (-1, columns.stop - columns.start)).mean(0) for x in seen]).cpu()

    def of_unit(self, watched: Tensor | None, unit: Unit, columns: slice) -> list[float]:
        """Means of what was watched over a unit's frames; nothing at its first step, before which it only waited."""
        return [] if watched is None or unit.step == 1 else watched[:, unit.frames.start - columns.start:unit.frames.stop - columns.start].mean(1).tolist()

    def settle(self, step: Step, decisions: Decisions) -> None:
        """Take note of what was done."""
        for unit, change in zip(step.active, self.changes):
            decision = decisions[unit.index]
            self.states[unit.index] = self.policy.settle(self.states[unit.index], unit, float(change), decision)
            self.skipped[unit.index] = 0 if decision.mode is Mode.RECOMPUTE else self.skipped[unit.index] + 1


def computed(step: Step, decisions: Decisions) -> list[Unit]:
    """The units that the network has to compute."""
    return [unit for unit in step.active if decisions[unit.index].mode is Mode.RECOMPUTE]
