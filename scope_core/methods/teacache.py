"""TeaCache: reuse the transformer's residual while the accumulated, rescaled change of the timestep embedding is small.

arXiv 2411.19108; facts, coefficients and pitfalls: docs/methods.md, TeaCache. The polynomial is valid only where it was
fitted, so its input is clamped to that range and its output to non-negative values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..schedule import ARSchedule, Unit
from .base import CANDIDATES, Method, Speed, register
from .gate import Gate
from .knobs import choice, number
from .vocabulary import Decision, Entry, Mode, Skip

POLYNOMIALS: dict[tuple[str, str], tuple[tuple[float, ...], tuple[float, float]]] = {
    ("1.3B", "embedding"): ((2396.76752, -1311.10545, 201.331979, -8.29855975, 0.137887774), (0.0, 0.119)),
    ("1.3B", "modulation"): ((-52186.2437, 9230.41404, -528.275948, 13.6987616, -0.0499875664), (0.0044, 0.079)),
    ("I2V 540P", "embedding"): ((-302.331670, 223.948934, -52.5463970, 5.87348440, -0.201973289), (0.0569, 0.3439)),
    ("I2V 540P", "modulation"): ((257151.496, -35422.9917, 1402.86849, -13.5890334, 0.132517977), (0.0063, 0.0332)),
    ("I2V 720P", "embedding"): ((-114.36346466, 65.26524496, -18.82220707, 4.91518089, -0.23412683), (0.0583, 0.2706)),
    ("I2V 720P", "modulation"): ((8107.05460, 2133.93892, -372.934672, 16.6203073, -0.0417769401), (0.0027, 0.0336)),
    ("14B", "embedding"): ((-5784.54975374, 5449.50911966, -1811.16591783, 256.27178429, -13.02252404), (0.130, 0.348)),
    ("14B", "modulation"): ((-303318.725, 49053.7029, -2655.30556, 58.7365115, -0.315583525), (0.0077, 0.066)),
}
"""(model, signal) -> coefficients, highest power first, and the range of inputs on which they are not negative and do
not fall again."""


MODELS = sorted({model for model, _ in POLYNOMIALS})
FITTED_TO = "Wan"


@register
@dataclass(frozen=True)
class TeaCache(Method):
    """Raises ValueError for settings out of range."""

    name = "teacache"
    title = "TeaCache"
    gate = Gate(5, 5, 1)
    points_came_later = True
    tuned = True
    points: ClassVar = {
        "Wan 1.3B, 0.05": {
            "threshold": 0.05,
            "polynomial": "1.3B",
            "signal": "embedding",
            "max_skip": 12,
            "warm_up": 1,
        },
        "Wan 1.3B, 0.08": {
            "threshold": 0.08,
            "polynomial": "1.3B",
            "signal": "embedding",
            "max_skip": 12,
            "warm_up": 1,
        },
        "Wan 14B, 0.20": {"threshold": 0.2, "polynomial": "14B", "signal": "embedding", "max_skip": 12, "warm_up": 1},
        "SkyReels 1.3B, 0.3": {
            "threshold": 0.3,
            "polynomial": "1.3B",
            "signal": "modulation",
            "max_skip": 12,
            "tail": 0,
        },
        "MAGI-1, 0.01": {"threshold": 0.01, "signal": "latent", "max_skip": 12, "tail": 0},
    }
    speed = Speed("threshold", 0.02, 2)

    threshold: float = number(
        0.2,
        "Accumulated change of the timestep embedding below which the transformer's residual is reused. 0 never skips.",
        high=10.0,
        usual="published values are 0.05 to 0.3",
    )
    polynomial: str = choice(
        "none",
        "Published rescaling of the change, fitted to that model with all frames at one noise level.",
        ["none", *MODELS],
        free=True,
    )
    signal: str = choice(
        "modulation",
        "What the change is measured on. Published: an embedding of the timestep; for MAGI-1 the latent.",
        ["modulation", "embedding", "latent"],
        free=True,
    )
    aggregate: str = "max"
    depth = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.polynomial != "none" and (self.polynomial, self.signal) not in POLYNOMIALS:
            known = ", ".join(sorted({f"{model}/{signal}" for model, signal in POLYNOMIALS}))
            raise ValueError(
                f"no {self.title} polynomial for {self.polynomial}/{self.signal}; there is one for {known}; "
                "'none' uses the change as it is"
            )

    @classmethod
    def candidates(cls, ratios: tuple[float, ...]) -> Iterator[tuple[Method, Gate]]:
        return ((cls(threshold), Gate(12, 2, 1)) for threshold in CANDIDATES)

    @property
    def off(self) -> bool:
        return self.threshold == 0

    def caveat(self, schedule: ARSchedule) -> str:
        if self.polynomial == "none" or schedule.family.architecture == FITTED_TO:
            return ""
        return (
            f"The polynomial {self.polynomial} was fitted to {FITTED_TO} and says nothing about"
            f" {schedule.family.title}. Set polynomial to none."
        )

    def rescale(self, change: float) -> float:
        if self.polynomial == "none":
            return change
        coefficients, (low, high) = POLYNOMIALS[self.polynomial, self.signal]
        return max(0.0, float(np.polyval(coefficients, min(max(change, low), high))))

    def init(self) -> float:
        return 0.0

    def decide(self, state: float, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        a = state + self.rescale(change)
        return Decision(Mode.REUSE, a, "cache") if a < self.threshold else Decision(Mode.RECOMPUTE, a, "threshold")

    def settle(self, state: float, unit: Unit, change: float, decision: Decision) -> float:
        return 0.0 if decision.mode is Mode.RECOMPUTE else state + self.rescale(change)

    def skip(self, state: float, unit: Unit, layers: int) -> Skip | None:
        return Skip((range(layers),), range(layers))
