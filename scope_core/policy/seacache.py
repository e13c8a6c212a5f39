"""SeaCache: skip by the change of the latents behind a Wiener filter, which sees content and not noise (arXiv 2602.18993; methods.md 2.8).

The filtered change (signal `sea`) is summed since the last compute; below the threshold, and for two steps at most, the residual of all blocks is continued along
a line through the last two. The coordinate of that line is not described: here it is the unit's own step. A unit with one record reuses it, as does a window
that grew. The site `output` extrapolates the velocity instead, which lets chunks of MAGI-1 decide on their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ..memory import Entry
from ..predict import Weights, combine
from ..residuals import Skip
from ..schedule import Unit
from .base import Decision, Mode, Policy
from .taylorseer import SITES, forecast


class State(NamedTuple):
    a: float = 0.0
    skips: int = 0
    computed: tuple[int, ...] = ()
    """Own steps computed last, newest first."""


@dataclass(frozen=True)
class SeaCache(Policy):
    """Raises ValueError for settings out of range."""

    name = "seacache"
    title = "SeaCache"
    signal = "sea"

    threshold: float = 0.25
    max_skips: int = 2
    """Steps skipped in a row, at most."""
    site: str = "residual"

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise ValueError(f"SeaCache threshold is {self.threshold:g}; it must be at least 0, published is 0.25")
        if self.max_skips < 1:
            raise ValueError(f"SeaCache skips {self.max_skips} steps in a row; it must be at least 1, published is 2")
        if self.site not in SITES:
            raise ValueError(f"site is {self.site!r}; choose one of {', '.join(SITES)}")

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

    def skip(self, unit: Unit, blocks: int) -> Skip | None:
        return Skip((range(blocks),), range(blocks)) if self.site == "residual" else None

    def weights(self, state: State, unit: Unit) -> Weights:
        return forecast(1, unit.step, state.computed or (unit.step,))
