"""SeaCache: skip by the change of the latents behind a Wiener filter, which sees content and not noise (arXiv
2602.18993; docs/methods.md, SeaCache).

The filtered change (signal `sea`) is summed since the last compute; below the threshold, and for two steps at most, the
residual of all blocks is continued along a line through the last two. The coordinate of that line is not described:
here it is the unit's own step. A unit with one record reuses it, as does a window that grew. The site `output`
extrapolates the velocity instead, which lets chunks of MAGI-1 decide on their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from ..schedule import Unit
from .base import Method, Speed, register
from .gate import Gate
from .knobs import choice, count, number
from .listed import SITES
from .predict import combine
from .taylorseer import forecast
from .vocabulary import Decision, Entry, Mode, Skip


class State(NamedTuple):
    a: float = 0.0
    skips: int = 0
    computed: tuple[int, ...] = ()
    """Own steps computed last, newest first."""


@register
@dataclass(frozen=True)
class SeaCache(Method):
    """Raises ValueError for settings out of range."""

    name = "seacache"
    title = "SeaCache"
    gate = Gate(12, 1, 1)
    points: ClassVar = {"published": {}}
    speed = Speed("threshold", 0.01, 2)
    signal = "sea"

    threshold: float = number(
        0.25,
        "Accumulated change of the denoised spectrum below which the residual is predicted. 0 never skips.",
        usual="published is 0.25",
    )
    max_skips: int = count(2, "Most steps skipped in a row.", least=1, high=50, usual="published is 2")
    site: str = choice(
        "residual", "What is predicted: the change across all blocks as published, or the velocity.", SITES[::-1]
    )

    @property
    def off(self) -> bool:
        return self.threshold == 0

    @property
    def depth(self) -> int:
        return 2 if self.site == "output" else 0

    def init(self) -> State:
        return State()

    def decide(self, state: State, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        a = state.a + change
        if a >= self.threshold:
            return Decision(Mode.RECOMPUTE, a, "threshold")
        if state.skips >= self.max_skips:
            return Decision(Mode.RECOMPUTE, a, "max_skip")
        return Decision(Mode.PREDICT, a, "predict") if len(state.computed) > 1 else Decision(Mode.REUSE, a, "cache")

    def settle(self, state: State, unit: Unit, change: float, decision: Decision) -> State:
        if decision.mode is Mode.RECOMPUTE:
            return State(computed=(unit.step, *state.computed)[:2])
        return State(state.a + change, state.skips + 1, state.computed)

    def value(self, state: State, unit: Unit, decision: Decision, history: Sequence[Entry], x: Tensor) -> Tensor:
        return combine(forecast(1, unit.step, [entry.step for entry in history]), [entry.value for entry in history])

    def skip(self, state: State, unit: Unit, layers: int) -> Skip | None:
        if self.site == "output":
            return None
        return Skip((range(layers),), range(layers), forecast(1, unit.step, state.computed or (unit.step,)))
