"""The safety rules common to every method, so that methods are compared fairly. They may only turn a decision into
RECOMPUTE."""

from dataclasses import dataclass

from ..schedule import Unit
from .knobs import check, count
from .vocabulary import Decision, Mode


@dataclass(frozen=True)
class Gate:
    """Raises ValueError for settings out of range. Steps are each unit's own."""

    max_skip: int = count(
        2, "Most steps skipped in a row. Where the method has a limit of its own, the smaller one wins.", high=50
    )
    """H in the paper."""
    warm_up: int = count(0, "First steps of every chunk that are always computed.", high=50)
    tail: int = count(0, "Last steps of every chunk that are always computed.", high=50)

    def __post_init__(self) -> None:
        check(self, "")

    def __call__(self, unit: Unit, decision: Decision, skipped: int, available: bool, border: bool = False) -> Decision:
        """`skipped`: steps since the unit was last computed. `available`: there is something to reuse. `border`: it
        would be of another field."""

        def recompute(rule: str) -> Decision:
            return Decision(Mode.RECOMPUTE, decision.score, rule)

        if border:
            return recompute("border")
        if decision.mode is Mode.RECOMPUTE:
            return decision
        if unit.step <= self.warm_up:
            return recompute("warm_up")
        if unit.step > unit.steps - self.tail:
            return recompute("tail")
        if not available:
            return recompute("entered")
        if skipped >= self.max_skip:
            return recompute("max_skip")
        return decision


def couple(decisions: list[Decision]) -> list[Decision]:
    """One joint forward computes all units or none: if any needs it, all are computed."""
    if all(decision.mode is not Mode.RECOMPUTE for decision in decisions):
        return decisions
    return [d if d.mode is Mode.RECOMPUTE else Decision(Mode.RECOMPUTE, d.score, "joint") for d in decisions]
