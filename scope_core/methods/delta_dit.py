"""Delta-DiT: early steps reuse the change that the rear blocks make, later ones that of the front blocks (arXiv
2406.01125).

The outline of a picture is made early and mostly by the front blocks, its details late and by the rear ones; so before
step b the rear blocks are skipped, afterwards the front blocks, and every N steps all are computed. Facts:
docs/methods.md, Delta-DiT; there is no official code.

Read where the paper is silent: both spans are kept at every computed step, so that the change of sides at b needs no
extra one; N is counted from the last computed step, so that one that the gate or another chunk asked for starts a new
count; skips within a span are told apart by each unit's own step, never by a counter of calls. One joint forward has
one side: on a staircase the chunk furthest on tells it, so chunks behind it change to the front blocks up to a
staircase's length early.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..schedule import Unit
from .base import Method, Speed, register
from .knobs import count, number
from .vocabulary import Decision, Entry, Mode, Skip


@register
@dataclass(frozen=True)
class DeltaDiT(Method):
    """Raises ValueError for settings out of range."""

    name = "delta_dit"
    title = "Delta-DiT"

    speed = Speed("every", 2, 13)

    every: int = count(
        2, "One step in so many is computed whole; 1 computes all.", least=1, high=50, usual="for example 2"
    )
    """N"""
    share: float = number(
        0.5,
        "Share of the blocks that are skipped in between.",
        above=0.0,
        most=1.0,
        low=0.05,
        high=1.0,
        usual="for example 0.5",
    )
    """Rounded, one block at least."""
    turn: float = number(
        0.5,
        "Share of a chunk's steps after which the front blocks are skipped instead of the rear ones.",
        most=1.0,
        high=1.0,
        usual="for example 0.5",
    )
    """b"""
    depth = 0

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

    def skip(self, state: int, unit: Unit, layers: int) -> Skip | None:
        size = max(1, round(self.share * layers))
        front, rear = range(size), range(layers - size, layers)
        return Skip((front, rear), rear if unit.step <= self.turn * unit.steps else front)
