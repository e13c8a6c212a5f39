"""FBCache and DBCache: run the first blocks; where their change is like that of the last computed step, reuse that of
the blocks behind.

FBCache (ParaAttention, no paper) runs one block, DBCache (cache-dit) more, and always the last ones as well. The change
of the first blocks is compared with that of the last step computed, not summed up. Facts: docs/methods.md, FBCache and
DBCache.

The branch of guidance that is called first decides for both, so they are never at different steps. State is kept per
branch and dropped when the window changes; in the published ones it outlives the run or depends on the order of calls.
With `front` or `back` too large for the network, one block remains to be skipped; a network of a single block is
refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..schedule import Unit
from .base import Method, Speed, register
from .knobs import count, number
from .vocabulary import Decision, Entry, Mode, Skip


@register
@dataclass(frozen=True)
class FBCache(Method):
    """Raises ValueError for settings out of range."""

    name = "fbcache"
    title = "FBCache / DBCache"

    points: ClassVar = {"FBCache": {}, "DBCache F8B0": {"threshold": 0.08, "front": 8, "warm_up": 8}}
    speed = Speed("threshold", 0.01, 1)

    threshold: float = number(
        0.05,
        "Change of the first blocks' residual below which the others are reused. 0 never skips.",
        usual="published values are 0.05 to 0.12, DBCache's is 0.08",
    )
    front: int = count(
        1, "Blocks that always run first and decide.", least=1, high=100, usual="FBCache has 1, DBCache 8 for example"
    )
    back: int = count(0, "Blocks that always run last.", high=100, usual="0 is usual")
    probes = True
    plannable = False
    depth = 0

    @property
    def off(self) -> bool:
        return self.threshold == 0

    def decide(self, state: None, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        """Reuse, unless the probe finds otherwise."""
        return Decision(Mode.REUSE, 0.0, "cache")

    def skip(self, state: None, unit: Unit, layers: int) -> Skip | None:
        if layers < 2:
            raise ValueError(
                f"{self.title} decides by a network's first blocks whether to skip the others, and this network has"
                f" {layers} block; it needs 2 or more, so choose another method"
            )
        front = min(self.front, layers - 1)
        middle = range(front, max(front + 1, layers - self.back))
        return Skip((middle,), middle, probe=(range(front), self.threshold))
