"""MotionCache: FlowCache whose change counts most where the video moves (arXiv 2605.01725; docs/methods.md,
MotionCache).

The change of a token is weighted by 0.6 where it differs least from the frame before it, up to 1 where it differs most
(signal `motion`). The paper lets every token decide for itself; the host's joint forward computes a unit or leaves it,
so here the weighted change decides for the unit. Its first joint updates (6, on MAGI-1 20) are for tokens to start from
and have no counterpart. Published is 0.0065 after 5 steps of warm-up on MAGI-1; the 0.1 published for SkyReels-V2 is of
a rescaled modulation and not of latents, so it is not offered.
"""

from dataclasses import dataclass
from typing import ClassVar

from .base import Speed, register
from .flowcache import FlowCache
from .gate import Gate
from .knobs import number


@register
@dataclass(frozen=True)
class MotionCache(FlowCache):
    """Raises ValueError for settings out of range."""

    name = "motioncache"
    title = "MotionCache"
    gate = Gate(12, 5, 1)
    points: ClassVar = {"MAGI-1": {}}
    speed = Speed("threshold", 0.005, 1)

    threshold: float = number(
        0.0065,
        "Accumulated change of a chunk's latents, weighted by motion, below which its velocity is reused. 0 never"
        " skips.",
        usual="published is 0.0065 for MAGI-1",
    )
    polynomial: str = "none"
    signal: str = "motion"
