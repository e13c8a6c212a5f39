"""No acceleration: every step is computed."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..memory import Entry
from ..schedule import Unit
from .base import Decision, Mode, Skip


@dataclass(frozen=True)
class Off:
    signal = "sigma"
    aggregate = "max"
    depth = 0

    def init(self) -> None:
        return None

    def decide(self, state: None, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        return Decision(Mode.RECOMPUTE, 0.0, "off")

    def settle(self, state: None, unit: Unit, change: float, decision: Decision) -> None:
        return None

    def value(self, state: None, unit: Unit, decision: Decision, history: Sequence[Entry]) -> Tensor:
        raise NotImplementedError("every step is computed")

    def observe(self, state: None, unit: Unit, history: Sequence[Entry], velocity: Tensor | None) -> None:
        return None

    def skip(self, unit: Unit, blocks: int) -> Skip | None:
        return None
