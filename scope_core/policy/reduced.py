"""Reduced steps: compute some of each unit's steps, spread evenly, and hold the velocity in between. The baseline of every caching method.

Holding the velocity with Euler is Euler on the computed steps alone (methods.md 0.1), so whatever a method adds has to beat this at the same number of
forwards. Steps are counted since the unit was last computed, with the remainder carried on: where one joint forward computes all units, those fall into
step with each other instead of asking for it in turn, as units on fixed grids of their own would.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..memory import Entry
from ..schedule import Unit
from .base import Decision, Mode, Policy


@dataclass(frozen=True)
class Reduced(Policy):
    """Raises ValueError for settings out of range."""

    name = "reduced"
    title = "Reduced steps"

    computed: int = 25
    """Of a unit's steps."""
    steps: tuple[int, ...] = ()
    """Own steps to compute instead, from 1 on."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if self.computed < 1:
            raise ValueError(f"computed is {self.computed} steps; it must be at least 1, for example 25 of 50")
        if any(step < 1 for step in self.steps):
            raise ValueError(f"steps are {', '.join(map(str, self.steps))}; they count from 1, for example 1, 3, 6, 10")

    def init(self) -> int:
        """Computed steps due, times the number of steps."""
        return 0

    def decide(self, state: int, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        due = float(unit.step in self.steps) if self.steps else (state + self.computed) / unit.steps
        return Decision(Mode.RECOMPUTE, due, "threshold") if unit.step == 1 or due >= 1 else Decision(Mode.REUSE, due, "cache")

    def settle(self, state: int, unit: Unit, change: float, decision: Decision) -> int:
        due = state + self.computed
        return max(0, due - unit.steps) if decision.mode is Mode.RECOMPUTE else due
