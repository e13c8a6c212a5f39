"""What every method is: a frozen set of settings that decides, per unit and step, whether the network has to run.

Its state belongs to one unit of one segment, is made by `init` and passed from step to step; it never touches modules, and tensors
only through what it is given. The safety rules that all methods share are in `gate`, what units and signals are in `schedule` and
`signal`.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from ..memory import Entry
from ..residuals import Skip
from ..schedule import ARSchedule, Unit


class Mode(str, Enum):
    """What a unit does for its velocity at a step. The letters are those of the trace."""

    RECOMPUTE = "R"
    REUSE = "C"
    PREDICT = "P"


class Decision(NamedTuple):
    mode: Mode
    score: float
    rule: str
    """Key of trace.RULES: why."""


class Seen(NamedTuple):
    """What a computed step of a unit showed."""

    velocity: Tensor
    """[B, C, frames, H, W]"""
    latent: Tensor
    """What it was computed at."""
    change: float | None = None
    """Relative change of the blocks' outputs since the last computed step; only where the method watches (`Skip.watch`)."""
    growth: float | None = None
    """How much larger the residual of all blocks became, mean of |R_k| / |R_k-1| over the tokens; likewise."""


class Policy:
    """A method that reuses the output: the last computed velocity. What differs is overridden.

    Methods that reuse inside the network return a Skip and keep no velocities (`depth` 0); for them one decision holds for all units.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    """For people."""
    signal: str = "sigma"
    """Name of the discrepancy signal `decide` wants, see `signal.SIGNALS` and `signal.CONTENT`."""
    aggregate: str = "max"
    """How the change of several units becomes the one each of them sees, see `signal.AGGREGATES`."""
    depth: int = 1
    """Computed velocities of each unit to keep."""
    latents: ClassVar[bool] = False
    """Keep the latents they were computed at as well."""
    plannable: ClassVar[bool] = True
    """Decides from the schedule and its signal alone, not from what the network returns."""

    @property
    def off(self) -> bool:
        """Settings under which nothing can be skipped."""
        return False

    def caveat(self, schedule: ARSchedule) -> str:
        """What a user should know before a run of this schedule; empty where there is nothing to say."""
        return ""

    def init(self) -> Any:
        """State of a unit that has not been decided for yet."""
        return None

    def decide(self, state: Any, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        """The mode this method wants. `change` is the relative change of its signal since the previous iteration."""
        raise NotImplementedError

    def settle(self, state: Any, unit: Unit, change: float, decision: Decision) -> Any:
        """State after the decision that was carried out, which the gate or other units may have turned into RECOMPUTE."""
        return state

    def value(self, state: Any, unit: Unit, decision: Decision, history: Sequence[Entry], x: Tensor) -> Tensor:
        """Velocity of a unit at latents x that is not computed, from its history (computed steps only, newest first)."""
        return history[0].value

    def observe(self, state: Any, unit: Unit, history: Sequence[Entry], seen: Seen | None) -> Any:
        """State after the network computed a step (`seen` is None in a dry run); `history` is what was known before it."""
        return state

    def skip(self, unit: Unit, blocks: int) -> Skip | None:
        """Spans reused inside a network of this many blocks, told by the unit furthest on; None for methods that reuse its output."""
        return None

    def weights(self, state: Any, unit: Unit) -> tuple[float, ...]:
        """The weights of that Skip, which may depend on the unit's state; always equally many."""
        return (1.0,)
