"""Delta-DiT: early steps reuse the change that the rear blocks make, later ones that of the front blocks (arXiv 2406.01125).

The outline of a picture is made early and mostly by the front blocks, its details late and by the rear ones; so before step b the rear
blocks are skipped, afterwards the front blocks, and every N steps all are computed. Facts: methods.md 2.4; there is no official code.

Read where the paper is silent: both spans are kept at every computed step, so that the change of sides at b needs no extra one; N is counted
from the last computed step, so that one that the gate or another chunk asked for starts a new count; skips within a span are told apart by
each unit's own step, never by a counter of calls. One joint forward has one side: on a staircase the chunk furthest on tells it, so chunks
behind it change to the front blocks up to a staircase's length early.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..memory import Entry
from ..residuals import Skip
from ..schedule import Unit
from .base import Decision, Mode, Policy


@dataclass(frozen=True)
class DeltaDiT(Policy):
    """Raises ValueError for settings out of range."""

    name = "delta_dit"
    title = "Delta-DiT"

    every: int = 2
    """N: one step in so many is computed whole; 1: all are."""
    share: float = 0.5
    """Of the blocks, in a skipped span; rounded, one block at least."""
    turn: float = 0.5
    """b, as a share of a unit's steps."""
    depth = 0

    def __post_init__(self) -> None:
        if not self.every >= 1:
            raise ValueError(f"Delta-DiT computes one step in {self.every:g}; it must be 1 (every step) or more, for example 2")
        if not 0 < self.share <= 1:
            raise ValueError(f"Delta-DiT's share of the blocks is {self.share:g}; it must lie in (0, 1], for example 0.5")
        if not 0 <= self.turn <= 1:
            raise ValueError(f"Delta-DiT turns to the front blocks after {self.turn:g} of the steps; it must lie in [0, 1], for example 0.5")

    @property
    def off(self) -> bool:
        return self.every == 1

    def init(self) -> int:
        return 0

    def decide(self, state: int, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        """The state counts the steps since the last computed one; the score is its share of N."""
        score = (state + 1) / self.every
        return Decision(Mode.REUSE, score, "cache") if score < 1 else Decision(Mode.RECOMPUTE, score, "threshold")

    def settle(self, state: int, unit: Unit, change: float, decision: Decision) -> int:
        return 0 if decision.mode is Mode.RECOMPUTE else state + 1

    def skip(self, unit: Unit, blocks: int) -> Skip | None:
        size = max(1, round(self.share * blocks))
        front, rear = range(size), range(blocks - size, blocks)
        return Skip((front, rear), rear if unit.step <= self.turn * unit.steps else front)
