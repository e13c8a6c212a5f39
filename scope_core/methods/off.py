"""No acceleration: every step is computed."""

from dataclasses import dataclass
from typing import Any

from .base import Method, register
from .gate import Gate
from .vocabulary import Decision, Mode


@register
@dataclass(frozen=True)
class Off(Method):
    name = "off"
    title = "Off"
    offered = False
    gate = Gate()
    depth = 0
    off = True

    def decide(self, state: Any, unit: Any, change: float, history: Any) -> Decision:
        return Decision(Mode.RECOMPUTE, 0.0, "off")
