"""No acceleration: every step is computed."""

from dataclasses import dataclass

from .base import Decision, Mode, Policy


@dataclass(frozen=True)
class Off(Policy):
    name = "off"
    title = "Off"
    depth = 0
    off = True

    def decide(self, state, unit, change, history) -> Decision:
        return Decision(Mode.RECOMPUTE, 0.0, "off")
