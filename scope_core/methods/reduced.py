"""Reduced steps: compute some of each unit's steps, spread evenly, and hold the velocity in between. The baseline of
every caching method.

Holding the velocity with Euler is Euler on the computed steps alone (docs/methods.md, Holding a velocity with Euler is
taking fewer steps), so whatever a method adds has to beat this at the same number of forwards. Steps are counted since
the unit was last computed, with the remainder carried on: where one joint forward computes all units, those fall into
step with each other instead of asking for it in turn, as units on fixed grids of their own would.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..schedule import ARSchedule, Unit
from .base import Method, Speed, register
from .gate import Gate
from .knobs import count, steps_text
from .listed import beyond
from .vocabulary import Decision, Entry, Mode


@register
@dataclass(frozen=True)
class Reduced(Method):
    """Raises ValueError for settings out of range."""

    name = "reduced"
    title = "Reduced steps"

    gate = Gate(50, 0, 0)
    speed = Speed("computed", 64, 4)

    computed: int = count(
        25,
        "Steps of every chunk that are computed, evenly spread; in between the last velocity is held.",
        least=1,
        usual="for example 25 of 50",
    )
    steps: tuple[int, ...] = steps_text(
        "Steps to compute instead, for example 1, 3, 6, 10: a grid of your own, or that of another method. Empty:"
        " evenly spread."
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        super().__post_init__()

    def caveat(self, schedule: ARSchedule) -> str:
        return beyond(self.title, self.steps, schedule.steps)

    def init(self) -> int:
        """Computed steps due, times the number of steps."""
        return 0

    def decide(self, state: int, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        due = float(unit.step in self.steps) if self.steps else (state + self.computed) / unit.steps
        return (
            Decision(Mode.RECOMPUTE, due, "threshold")
            if unit.step == 1 or due >= 1
            else Decision(Mode.REUSE, due, "cache")
        )

    def settle(self, state: int, unit: Unit, change: float, decision: Decision) -> int:
        due = state + self.computed
        return max(0, due - unit.steps) if decision.mode is Mode.RECOMPUTE else due
