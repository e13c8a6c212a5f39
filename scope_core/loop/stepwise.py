"""The loop of `rollout` taken apart, for samplers that are somebody else's: they take the steps, and ask at each
whether the network has to run.

Such a sampler may need several results of the network at a step (one for each prompt, for each window of a longer
video, for guidance by a weakened model) and makes one velocity of them itself. Each of these parts has a memory of its
own; one decision holds for all, from the velocity that they became.
"""

from collections.abc import Hashable
from time import perf_counter

from torch import Tensor

from ..methods import Decision, Mode
from ..schedule import Segment, Step
from .control import Control, Decisions, computed
from .memory import Memory
from .trace import Trace


class NothingKeptError(LookupError):
    """A part of a skipped step was not computed before; the step has to be computed after all."""


class Stepwise:
    """One segment, which is one unit, while somebody else samples it. Each step: `begin`, for every part `value` or
    `keep`, `end`."""

    def __init__(self, control: Control, segment: Segment, trace: Trace):
        self.control, self.trace, self.record = control, trace, trace.begin(segment)
        self.iterations = segment.iterations
        self.parts: dict[Hashable, Memory] = {}

    def begin(self, index: int, x: Tensor) -> None:
        """Decide for a step (from 0) at latents x [B, C, F, H, W], which are kept and must not change afterwards."""
        self.began, self.x = perf_counter(), x
        self.step: Step = self.iterations[index]
        self.changes = self.control.signal(self.step, x)
        self.decisions: Decisions = self.control.decide(self.step, self.changes)

    @property
    def computes(self) -> bool:
        """Whether the network has to run at the step that was begun."""
        return bool(computed(self.step, self.decisions))

    def compute(self, rule: str) -> None:
        """Have the step that was begun computed, by a key of RULES, if it is not anyway."""
        if not self.computes:
            self.decisions = {
                unit: Decision(Mode.RECOMPUTE, decision.score, rule) for unit, decision in self.decisions.items()
            }

    def value(self, part: Hashable, x: Tensor) -> Tensor:
        """Velocity of a part that is not computed, at latents x of its size. Raises NothingKeptError."""
        if part not in self.parts:
            raise NothingKeptError(part)
        (unit,) = self.step.active
        return self.control.value(unit, self.decisions[unit.index], self.parts[part], x)

    def keep(self, part: Hashable, value: Tensor, x: Tensor) -> None:
        """Remember what the network made of latents x for a part; neither may change afterwards."""
        (unit,) = self.step.active
        method = self.control.method
        self.parts.setdefault(part, Memory(method.depth, method.latents, self.control.room)).push(unit, value, x)

    def end(self, made: Tensor | None) -> None:
        """Take note of the step: the velocity [B, C, F, H, W] that its parts became where it was computed. Raises
        NotFiniteError."""
        if made is not None:
            self.control.observe(self.step, computed(self.step, self.decisions), self.x, made, made)
        self.control.settle(self.step, self.decisions, self.changes)
        columns = self.control.columns[self.step.index]
        self.record.add(self.step, columns, self.decisions, perf_counter() - self.began)
        held = self.control.peak_bytes + sum(memory.bytes() for memory in self.parts.values())
        self.trace.memory = max(self.trace.memory, held)

    def forget(self) -> None:
        """What was computed holds no longer."""
        self.control.forget()
        self.parts.clear()
