"""FlowCache: every chunk of an autoregressive video skips by its own accumulated change (arXiv 2602.10825; methods.md 2.3).

TeaCache's accumulation per unit, of the patch-embedded latent on MAGI-1 and of the modulation, rescaled by TeaCache's polynomial, on SkyReels-V2. Published
are thresholds of 0.01 and 0.015 after 5 steps of warm-up there, 0.1 and 0.15 after 4 here (`polynomial` 1.3B or 14B, `signal` modulation).

What is reused is the velocity, times the current step: the published displacement x_k+1 - x_k on MAGI-1 ignores that later steps are up to twice as long.
On SkyReels-V2 the published code reuses each block's residual; in the host's joint forward, where one decision holds for all, that is TeaCache, so the
velocity is reused there as well. The published code also drops MAGI-1's clean pass of finished chunks and its nearly-clean copy, and forwards blocks of
SkyReels-V2 one by one; here the host stays as it is. Its compression of keys and values is in `kv`.
"""

from dataclasses import dataclass

from ..residuals import Skip
from ..schedule import Unit
from .teacache import TeaCache


@dataclass(frozen=True)
class FlowCache(TeaCache):
    """Raises ValueError for settings out of range."""

    name = "flowcache"
    title = "FlowCache"
    published = "0.01 and 0.015 for MAGI-1, 0.1 and 0.15 for SkyReels-V2"

    threshold: float = 0.01
    signal: str = "latent"
    depth = 1

    def skip(self, unit: Unit, blocks: int) -> Skip | None:
        return None
