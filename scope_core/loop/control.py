"""Decisions of one segment: signal, method, gate and memory, made before the model runs and outside it.

The sampling loop and the dry run share this, so that a plan and a run cannot differ.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..methods import Decision, Mode, Seen, couple
from ..schedule import ARSchedule, Segment, Step, Unit
from ..settings import Settings
from ..signals import Features, make_signal
from .memory import Memory
from .reading import measured
from .residuals import BlockPass
from .room import HISTORY, Holder, Room

Decisions = dict[int, Decision]
"""By unit, for the units that advance."""


class Control(Holder):
    """Decision maker of one segment, fresh."""

    spilling = HISTORY

    def __init__(
        self,
        settings: Settings,
        schedule: ARSchedule,
        segment: Segment,
        model: Features | None = None,
        table: np.ndarray | None = None,
        room: Room | None = None,
    ):
        """`table` [S + 1], where given, stands in for the model behind the signal; `room` is the run's."""
        family, apart = schedule.family, settings.apart(schedule)
        self.method, self.gate = settings.acting.fit(schedule, segment, apart), settings.gate
        self.signal = make_signal(self.method.signal, self.method.aggregate, schedule, segment, model, table)
        self.columns = family.columns(segment, settings.forwarded, causal=schedule.causal)
        """What each iteration forwards."""
        self.layouts = family.layouts(segment, self.columns)
        self.joint = not apart or self.method.depth == 0
        """One forward computes all units or none."""
        self.part_frames = segment.block if family.by_chunk else None
        """Frames of hidden states that belong together; None: all that are forwarded."""
        self.room = room or Room()
        self.memory = self.empty_memory()
        self.states: list[Any] = [self.method.init() for _ in segment.units]
        self.skipped = [0] * len(segment.units)
        self.recorded: object = None
        """Layout of the last computed forward, which is what a reuse inside the network fits."""
        self.border = False
        """The field has become another one, and nothing was computed of it yet."""
        self.peak_bytes = 0
        """Most bytes held between two steps."""

    def empty_memory(self) -> Memory:
        return Memory(self.method.depth, self.method.latents, self.room)

    def forget(self) -> None:
        """What was computed holds no longer (`Field.border`)."""
        self.memory = self.empty_memory()
        self.states = [self.method.forget(state) for state in self.states]
        self.recorded, self.border = None, True

    def release(self) -> None:
        """The segment is made: leave the tensors to whoever needs the room, and keep what was learnt."""
        self.memory = self.empty_memory()
        self.signal.release()

    @property
    def spillable(self) -> bool:
        return not self.room.short and bool(self.memory.velocities or self.memory.residuals.stored)

    def spill(self) -> None:
        self.memory.spill()

    def mark(self) -> Callable[[], None]:
        """The residuals, which a forward replaces one by one."""
        before, self.memory.residuals = self.memory.residuals, self.memory.residuals.copy()
        return lambda: setattr(self.memory, "residuals", before)

    def decide(self, step: Step, changes: np.ndarray) -> Decisions:
        """Mode of every unit that advances, from the changes of the signal [active units]."""
        wanted = []
        for unit, change in zip(step.active, changes):
            history = self.memory.of(unit.index)
            decision = self.method.decide(self.states[unit.index], unit, float(change), history)
            available = bool(history) if self.method.depth else self.recorded == self.layouts[step.index]
            wanted.append(self.gate(unit, decision, self.skipped[unit.index], available, self.border))
        return dict(zip((unit.index for unit in step.active), couple(wanted) if self.joint else wanted))

    def around(self, step: Step, fresh: list[Unit], layers: int) -> BlockPass | None:
        """What to call around the blocks of a network of so many layers, for methods that reuse inside it; the unit
        furthest on tells."""
        furthest = step.active[0]
        skip = self.method.skip(self.states[furthest.index], furthest, layers)
        if skip is None:
            return None
        if self.recorded != self.layouts[step.index]:
            self.memory.residuals.forget()
        columns = self.columns[step.index]
        return BlockPass(self.memory.residuals, skip, not fresh, self.part_frames or columns.stop - columns.start)

    def values(self, step: Step, decisions: Decisions, x: Tensor) -> Tensor:
        """Velocities [B, C, F, H, W] of the units that are reused or predicted, zero elsewhere."""
        v = torch.zeros_like(x)
        for unit in step.active:
            decision = decisions[unit.index]
            if decision.mode is not Mode.RECOMPUTE and self.method.depth:
                v[:, :, unit.frames] = self.value(unit, decision, self.memory, x[:, :, unit.frames])
        return v

    def value(self, unit: Unit, decision: Decision, memory: Memory, x: Tensor) -> Tensor:
        """Velocity of a unit that is reused or predicted, at its latents x, from what a memory has of it."""
        history = [entry.on(x.device) for entry in memory.of(unit.index)]
        return self.method.value(self.states[unit.index], unit, decision, history, x)

    def observe(
        self,
        step: Step,
        fresh: list[Unit],
        x: Tensor | None,
        made: Tensor | None,
        v: Tensor | None,
        around: BlockPass | None = None,
    ) -> None:
        """Take in what the network made [B, C, F, H, W] of latents x for the units computed; where each is computed on
        its own, v gets it as well. All three are None in a dry run. Raises NotFiniteError."""
        columns, self.recorded, self.border = self.columns[step.index], self.layouts[step.index], False
        units = step.units if self.joint else fresh
        held = [unit for unit in units if unit.step <= unit.steps and unit.frames.start < columns.stop]
        seen: dict[int, Seen] = {}
        if x is not None and made is not None and v is not None:
            watched = None if around is None else self.watched(around, columns)
            seen = self.room.attempt(lambda: self.seen(step, held, x, made, v, watched), [self])
        for unit in units:
            if unit not in held:
                self.memory.drop(unit.index)
                continue
            of_unit = seen.get(unit.index)
            if unit.advances:
                self.states[unit.index] = self.method.observe(
                    self.states[unit.index], unit, self.memory.of(unit.index), of_unit
                )
            self.memory.push(unit, *((None, None) if of_unit is None else (of_unit.velocity, of_unit.latent)))
        self.peak_bytes = max(self.peak_bytes, self.memory.bytes() + self.signal.nbytes)

    def seen(
        self, step: Step, units: list[Unit], x: Tensor, made: Tensor, v: Tensor, watched: Tensor | None
    ) -> dict[int, Seen]:
        """What a computed step showed of every unit. All numbers in it are read in one transfer; see `observe`."""
        seen, wanted, start = {}, [], self.columns[step.index].start
        for unit in units:
            value, latent = made[:, :, unit.frames], x[:, :, unit.frames]
            if not self.joint:
                value = v[:, :, unit.frames] = value.clone()
                latent = latent.clone() if self.method.latents else latent
            seen[unit.index] = Seen(value, latent)
            numbers: Tensor | None = None
            if unit.advances and watched is None:
                history = [entry.on(x.device) for entry in self.memory.of(unit.index)]
                numbers = self.method.measure(unit, history, value, latent)
            elif watched is not None and unit.advances and unit.step > 1:
                numbers = watched[:, unit.frames.start - start : unit.frames.stop - start].mean(1)
            if numbers is not None:
                wanted.append((unit.index, numbers))
        for (index, _), values in zip(wanted, measured(made, step, [numbers for _, numbers in wanted])):
            told = {"measured": tuple(values)} if watched is None else dict(zip(("change", "growth"), values))
            seen[index] = seen[index]._replace(**told)
        return seen

    def watched(self, around: BlockPass, columns: slice) -> Tensor | None:
        """What was watched inside the network, mean over guidance branches: [change and growth, forwarded frames]. It
        says nothing of a unit's first step, before which it only waited."""
        seen = around.seen()
        if seen is None:
            return None
        return torch.stack([x.unflatten(0, (-1, columns.stop - columns.start)).mean(0) for x in seen])

    def settle(self, step: Step, decisions: Decisions, changes: np.ndarray) -> None:
        """Take note of what was done."""
        for unit, change in zip(step.active, changes):
            decision = decisions[unit.index]
            self.states[unit.index] = self.method.settle(self.states[unit.index], unit, float(change), decision)
            self.skipped[unit.index] = 0 if decision.mode is Mode.RECOMPUTE else self.skipped[unit.index] + 1


def probed(decisions: Decisions, around: BlockPass | None) -> Decisions:
    """The decisions, after a probe inside the network had its say."""
    if around is None or around.score is None:
        return decisions
    mode, rule = (Mode.REUSE, "cache") if around.skipping else (Mode.RECOMPUTE, "threshold")
    return {unit: Decision(mode, around.score, rule) for unit in decisions}


def computed(step: Step, decisions: Decisions) -> list[Unit]:
    """The units that the network has to compute."""
    return [unit for unit in step.active if decisions[unit.index].mode is Mode.RECOMPUTE]
