"""The protocol every method satisfies.

A policy is a frozen set of settings. Its state belongs to one unit of one segment, is made by `init` and passed from step
to step; it never touches modules, and tensors only through the memory. The safety rules that all methods share are in
`gate`, what units and signals are in `schedule` and `signal`.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from ..memory import Entry
from ..schedule import Unit


class Mode(str, Enum):
    """What a unit does for its velocity at a step. The letters are those of the trace."""

    RECOMPUTE = "R"
    REUSE = "C"
    PREDICT = "P"


class Skip(NamedTuple):
    """Where a method that reuses inside the network does so: the spans it records, and the one it replays on REUSE."""

    record: tuple[range, ...]
    replay: range


class Decision(NamedTuple):
    mode: Mode
    score: float
    rule: str
    """Key of trace.RULES: why."""


class Policy(Protocol):
    signal: str
    """Name of the discrepancy signal `decide` wants, see `signal.SIGNALS`."""
    aggregate: str
    """How the change of several units becomes the one each of them sees, see `signal.AGGREGATES`."""

    depth: int
    """Computed velocities of each unit to keep."""

    def init(self) -> Any:
        """State of a unit that has not been decided for yet."""
        ...

    def decide(self, state: Any, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        """The mode this method wants. `change` is the relative change of its signal since the previous iteration."""
        ...

    def settle(self, state: Any, unit: Unit, change: float, decision: Decision) -> Any:
        """State after the decision that was carried out, which the gate or other units may have turned into RECOMPUTE."""
        ...

    def value(self, state: Any, unit: Unit, decision: Decision, history: Sequence[Entry]) -> Tensor:
        """Velocity of a unit that is not computed, from its history."""
        ...

    def observe(self, state: Any, unit: Unit, history: Sequence[Entry], velocity: Tensor | None) -> Any:
        """State after the network computed `velocity` (None in a dry run); `history` is what was known before it."""
        ...

    def skip(self, unit: Unit, blocks: int) -> Skip | None:
        """Spans reused inside a network of this many blocks; None for methods that reuse its output."""
        ...
