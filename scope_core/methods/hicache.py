"""HiCache: TaylorSeer's cadence, forecast in scaled Hermite polynomials instead of powers (arXiv 2508.16984;
docs/methods.md, HiCache).

    v_hat = v + D_1 H_1(x) + D_2 / 2 H_2(x),   H_1 = 2 s^2 x,   H_2 = s^2 (4 s^2 x^2 - 2)

with x the steps since the last compute, D_i TaylorSeer's differences, and s the scale, published as 0.5. At that scale
order 1 is half of TaylorSeer's, and order 2 is off by D_2 / 4 where it should be exact, at x = 0. On a straight line
it is exact at s^2 = 1/2 alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .base import register
from .knobs import number
from .predict import Weights
from .taylorseer import TaylorSeer


@register
@dataclass(frozen=True)
class HiCache(TaylorSeer):
    """Raises ValueError for settings out of range."""

    name = "hicache"
    title = "HiCache"
    points: ClassVar = {
        "FLUX, every 7, order 2": {"interval": 7, "order": 2, "first": 3, "site": "residual"},
        "half of a line": {},
    }

    scale: float = number(
        0.5,
        "Scale of the polynomials. On a straight line they are right at 0.7071.",
        high=1.0,
        usual="published is 0.5",
    )
    """s"""

    def weights(self, step: int, computed: Sequence[int]) -> Weights:
        known = min(self.order, len(computed) - 1)
        x, square = step - computed[0], self.scale**2
        w = [1.0] + [0.0] * self.order
        if known >= 1:
            gap = computed[0] - computed[1]
            change = 2 * square * x / gap
            w[0] += change
            w[1] -= change
        if known == 2:
            before = computed[1] - computed[2]
            curve = square * (4 * square * x**2 - 2) / (gap + before)
            w[0] += curve / gap
            w[1] -= curve / gap + curve / before
            w[2] += curve / before
        return tuple(w)
