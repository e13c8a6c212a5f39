"""Decisions of one segment: signal, policy, gate and memory, made before the model runs and outside it.

The sampling loop and the dry run share this, so that a plan and a run cannot differ.
"""

from typing import Any

import torch
from torch import Tensor

from .gate import Gate, couple
from .memory import Memory
from .policy import Decision, Mode, Policy
from .schedule import Segment, Step
from .signal import Signal

Decisions = dict[int, Decision]
"""By unit, for the units that advance."""


class Control:
    def __init__(self, policy: Policy, gate: Gate, signal: Signal, segment: Segment, columns: list[slice]):
        """`columns`: what each iteration forwards, see `interval.intervals`."""
        self.policy, self.gate, self.signal, self.columns = policy, gate, signal, columns
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
        for unit, change, decision in zip(step.active, changes, couple(wanted)):
            decisions[unit.index] = decision
            self.states[unit.index] = self.policy.settle(self.states[unit.index], unit, float(change), decision)
            self.skipped[unit.index] = 0 if decision.mode is Mode.RECOMPUTE else self.skipped[unit.index] + 1
        return decisions

    def values(self, step: Step, decisions: Decisions, x: Tensor) -> Tensor:
        """Velocities of a step that is not computed: [B, C, F, H, W], zero where nothing advances."""
        v = torch.zeros_like(x)
        for unit in step.active:
            v[:, :, unit.frames] = self.policy.value(self.states[unit.index], unit, decisions[unit.index], self.memory.of(unit.index))
        return v

    def observe(self, step: Step, v: Tensor | None) -> None:
        """Take in the computed velocities [B, C, F, H, W] (None in a dry run) of every forwarded unit that is not done."""
        columns = self.recorded = self.columns[step.index]
        for unit in step.units:
            if unit.step > unit.steps or unit.frames.start >= columns.stop:
                self.memory.drop(unit.index)
                continue
            value = None if v is None else v[:, :, unit.frames]
            if unit.advances:
                history = self.memory.of(unit.index)
                self.states[unit.index] = self.policy.observe(self.states[unit.index], unit, history, value)
            self.memory.push(unit.index, unit.sigma, value)
        self.peak_bytes = max(self.peak_bytes, self.memory.bytes())


def computed(decisions: Decisions) -> bool:
    return any(decision.mode is Mode.RECOMPUTE for decision in decisions.values())
