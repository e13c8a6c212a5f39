"""FlowCache: every chunk of an autoregressive video skips by its own accumulated change (arXiv 2602.10825;
docs/methods.md, FlowCache).

TeaCache's accumulation per unit, of the patch-embedded latent on MAGI-1 and of the modulation, rescaled by TeaCache's
polynomial, on SkyReels-V2. Published are thresholds of 0.01 and 0.015 after 5 steps of warm-up there, 0.1 and 0.15
after 4 here (`polynomial` 1.3B or 14B, `signal` modulation).

What is reused is the velocity, times the current step: the published displacement x_k+1 - x_k on MAGI-1 ignores that
later steps are up to twice as long. On SkyReels-V2 the published code reuses each block's residual; in the host's joint
forward, where one decision holds for all, that is TeaCache, so the velocity is reused there as well. The published code
also drops MAGI-1's clean pass of finished chunks and its nearly-clean copy, and forwards blocks of SkyReels-V2 one by
one; here the host stays as it is. Its compression of keys and values is in `kv`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from ..schedule import Unit
from .base import Speed, register
from .gate import Gate
from .knobs import choice, number
from .teacache import MODELS, TeaCache


@register
@dataclass(frozen=True)
class FlowCache(TeaCache):
    """Raises ValueError for settings out of range."""

    name = "flowcache"
    title = "FlowCache"
    gate = Gate(12, 4, 1)
    points_came_later = False
    tuned = False
    points: ClassVar = {
        "SkyReels slow": {},
        "SkyReels fast": {"threshold": 0.15},
        "MAGI-1 slow": {"threshold": 0.01, "polynomial": "none", "signal": "latent", "warm_up": 5},
        "MAGI-1 fast": {"threshold": 0.015, "polynomial": "none", "signal": "latent", "warm_up": 5},
    }
    speed = Speed("threshold", 0.005, 1)

    threshold: float = number(
        0.1,
        "Accumulated change of a chunk below which its velocity is reused. 0 never skips.",
        usual="published values are 0.01 and 0.015 for MAGI-1, 0.1 and 0.15 for SkyReels-V2",
    )
    polynomial: str = choice(
        "1.3B",
        "Published rescaling of the change, fitted to that model with all frames at one noise level.",
        ["none", *MODELS],
        free=True,
    )
    signal: str = choice(
        "modulation",
        "What the change is measured on. Published: modulation for SkyReels, latent for MAGI-1.",
        ["modulation", "embedding", "latent"],
        free=True,
    )
    depth = 1

    def skip(self, state: Any, unit: Unit, layers: int) -> None:
        return None
