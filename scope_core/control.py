"""Decisions of one segment: signal, policy, gate and memory, made before the model runs and outside it.

The sampling loop and the dry run share this, so that a plan and a run cannot differ.
"""

from typing import Any

import torch
from torch import Tensor

from .gate import Gate, couple
from .memory import BlockResiduals, Memory
from .policy import Decision, Mode, Policy
from .schedule import Segment, Step, Unit
from .signal import Signal

Decisions = dict[int, Decision]
"""By unit, for the units that advance."""


class Control:
    def __init__(self, policy: Policy, gate: Gate, signal: Signal, segment: Segment, columns: list[slice], joint: bool = True):
        """`columns`: what each iteration forwards, see `interval.intervals`. `joint`: one forward computes all units or none."""
        self.policy, self.gate, self.signal, self.columns, self.joint = policy, gate, signal, columns, joint
        self.memory = Memory(policy.depth)
        self.states: list[Any] = [policy.init() for _ in segment.units]
        self.skipped = [0] * len(segment.units)
        self.recorded: slice | None = None
        """Columns of the last computed forward, which is what a reuse inside the network fits."""
        self.peak_bytes = 0
        """Most bytes held between two steps."""

    def decide(self, step: Step, x: Tensor | None) -> Decisions:
        """Mode of every unit that advances. `x` [B, C, F, H, W] only matters to signals that look at the content."""
        changes = self.signal(step, x)
        wanted = []
        for unit, change in zip(step.active, changes):
            history = self.memory.of(unit.index)
            decision = self.policy.decide(self.states[unit.index], unit, float(change), history)
            available = bool(history) if self.policy.depth else self.recorded == self.columns[step.index]
            wanted.append(self.gate(unit, decision, self.skipped[unit.index], available))
        decisions = {}
        for unit, change, decision in zip(step.active, changes, couple(wanted) if self.joint else wanted):
            decisions[unit.index] = decision
            self.states[unit.index] = self.policy.settle(self.states[unit.index], unit, float(change), decision)
            self.skipped[unit.index] = 0 if decision.mode is Mode.RECOMPUTE else self.skipped[unit.index] + 1
        return decisions

    def residuals(self, step: Step, fresh: list[Unit], blocks: int) -> BlockResiduals | None:
        """What to call around the blocks of a network: set to record where units are computed, to replay where they are not."""
        skip = self.policy.skip(step.active[0], blocks)
        if skip is None:
            return None
        self.memory.residuals.record, self.memory.residuals.replay = (skip.record, None) if fresh else ((), skip.replay)
        return self.memory.residuals

    def values(self, step: Step, decisions: Decisions, x: Tensor) -> Tensor:
        """Velocities [B, C, F, H, W] of the units that are reused or predicted, zero elsewhere."""
        v = torch.zeros_like(x)
        for unit in step.active:
            if decisions[unit.index].mode is not Mode.RECOMPUTE and self.policy.depth:
                v[:, :, unit.frames] = self.policy.value(self.states[unit.index], unit, decisions[unit.index], self.memory.of(unit.index))
        return v

    def observe(self, step: Step, fresh: list[Unit], made: Tensor | None, v: Tensor | None) -> Tensor | None:
        """Take in what the network made [B, C, F, H, W] for the units computed (None in a dry run); returns it put into v."""
        seen = step.units if self.joint else fresh
        columns = self.recorded = self.columns[step.index]
        for unit in seen:
            if unit.step > unit.steps or unit.frames.start >= columns.stop:
                self.memory.drop(unit.index)
                continue
            value = None if made is None else made[:, :, unit.frames]
            if value is not None and not self.joint:
                value = v[:, :, unit.frames] = value.clone()
            if unit.advances:
                history = self.memory.of(unit.index)
                self.states[unit.index] = self.policy.observe(self.states[unit.index], unit, history, value)
            self.memory.push(unit.index, unit.sigma, value)
        self.peak_bytes = max(self.peak_bytes, self.memory.bytes() + self.signal.nbytes)
        return made if self.joint else v


def computed(step: Step, decisions: Decisions) -> list[Unit]:
    """The units that the network has to compute."""
    return [unit for unit in step.active if decisions[unit.index].mode is Mode.RECOMPUTE]
