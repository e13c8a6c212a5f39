"""FBCache and DBCache: run the first blocks; where their change is like that of the last computed step, reuse that of the blocks behind.

FBCache (ParaAttention, no paper) runs one block, DBCache (cache-dit) more, and always the last ones as well. The change of the first blocks is
compared with that of the last step computed, not summed up. Facts: methods.md 2.8.

The branch of guidance that is called first decides for both, so they are never at different steps. State is kept per branch and dropped when the window
changes; in the published ones it outlives the run or depends on the order of calls. With `front` or `back` too large for the network, one block remains to
be skipped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..memory import Entry
from ..residuals import Skip
from ..schedule import Unit
from .base import Decision, Mode, Policy


@dataclass(frozen=True)
class FBCache(Policy):
    """Raises ValueError for settings out of range."""

    name = "fbcache"
    title = "FBCache / DBCache"

    threshold: float = 0.05
    """Largest relative change of the first blocks' residual at which the rest is reused."""
    front: int = 1
    """Blocks that always run first: 1 in FBCache, 8 in DBCache."""
    back: int = 0
    """Blocks that always run last."""
    plannable = False
    depth = 0

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise ValueError(f"FBCache threshold is {self.threshold:g}; it must be at least 0, published values are 0.05 to 0.12, DBCache's is 0.08")
        if not self.front >= 1:
            raise ValueError(f"FBCache runs {self.front:g} blocks first; it must be 1 (FBCache) or more, DBCache's 8 for example")
        if not self.back >= 0:
            raise ValueError(f"FBCache runs {self.back:g} blocks last; it must be at least 0, which is usual")

    @property
    def off(self) -> bool:
        return self.threshold == 0

    def decide(self, state: None, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        """Reuse, unless the probe finds otherwise."""
        return Decision(Mode.REUSE, 0.0, "cache")

    def skip(self, unit: Unit, blocks: int) -> Skip | None:
        front = min(self.front, blocks - 1)
        middle = range(front, max(front + 1, blocks - self.back))
        return Skip((middle,), middle, probe=(range(front), self.threshold))
