"""ARCache: compute when the history that frames attend to has changed, and in between lengthen the last change by what
a recorded run measured (CVPR 2026; docs/methods.md, ARCache).

    HGC   a <- a + relative change of the history between two steps;   reuse while a <= threshold
    ERC   r_hat_t = r_b + lambda_t (r_a - r_b),   lambda_t = |r_t - r_b| / |r_a - r_b|          r_a newest, r_b before

History is what lies ahead: for each unit the units at lower noise levels, by their patch-embedded latents. The unit
furthest on, and all units where they go through the noise levels together, have none that changes, and look at
themselves; as published they would never compute again.

Published is lambda measured on the first segment of a video and used for the later ones, on residuals and their 1-norm;
here it is from the inner products of a recorded run's velocities, for every pair of computed steps alike. `projected`
is ours: the length along r_a - r_b, with its sign.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor

from ..schedule import Unit
from .base import Gram, Method, Speed, register
from .gate import Gate
from .knobs import choice, number
from .listed import SITES
from .predict import Weights, combine
from .vocabulary import Decision, Entry, Mode, Skip

LENGTHS = ("measured", "projected", "none")
DIGITS = 9


class State(NamedTuple):
    a: float = 0.0
    computed: tuple[int, ...] = ()
    """Own steps computed last, newest first."""


@register
@dataclass(frozen=True)
class ARCache(Method):
    """Raises ValueError for settings out of range."""

    name = "arcache"
    title = "ARCache"
    gate = Gate(12, 0, 0)
    points: ClassVar = {
        "SkyReels slow": {"threshold": 0.1, "site": "residual"},
        "SkyReels fast": {"threshold": 0.3, "site": "residual"},
    }
    speed = Speed("threshold", 0.005, 4)
    signal = "latent"
    aggregate = "history"

    threshold: float = number(
        0.1,
        "Accumulated change of the history up to which the last result is reused. 0 never skips.",
        high=10.0,
        usual="published are 0.1 to 0.3",
    )
    """delta"""
    length: str = choice(
        "measured",
        "How far the last change is continued. measured: as long as it was in the run that SCOPE Calibrate recorded."
        " projected: the same with its sign. none: not at all, which needs no recorded run.",
        LENGTHS,
    )
    site: str = choice(
        "output", "What is reused: the velocity, or as published the change across all blocks (residual).", SITES
    )
    gram: Gram = ()
    """Of a recorded run's velocities, relative to their mean square."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "gram", tuple(map(tuple, self.gram)))
        super().__post_init__()

    @property
    def depth(self) -> int:
        return (1 if self.length == "none" else 2) if self.site == "output" else 0

    @property
    def off(self) -> bool:
        return self.threshold == 0

    @property
    def needs_calibration(self) -> bool:
        return self.length != "none" and not self.gram

    def calibrated(self, ratios: tuple[float, ...], gram: Gram = ()) -> "ARCache":
        if not gram:
            return self
        scaled = np.round(np.array(gram) / np.trace(gram) * len(gram), DIGITS)
        return replace(self, gram=tuple(map(tuple, scaled.tolist())))

    def init(self) -> State:
        return State()

    def decide(self, state: State, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        a = state.a + change
        if a > self.threshold or not state.computed:
            return Decision(Mode.RECOMPUTE, a, "threshold")
        if self.length == "none" or len(state.computed) < 2:
            return Decision(Mode.REUSE, a, "cache")
        return Decision(Mode.PREDICT, a, "predict")

    def settle(self, state: State, unit: Unit, change: float, decision: Decision) -> State:
        if decision.mode is Mode.RECOMPUTE:
            return State(0.0, (unit.step, *state.computed)[:2])
        return state._replace(a=state.a + change)

    def weights(self, step: int, computed: Sequence[int]) -> Weights:
        """On what was computed at two own steps, newest first, at another one."""
        if self.length == "none" or len(computed) < 2:
            return (1.0,)
        if not self.gram:
            raise ValueError(
                f"{self.title} has no recorded run to measure lengths on; run SCOPE Calibrate once with this model and"
                " these settings, or set length to none"
            )
        t, a, b = (at - 1 for at in (step, *computed[:2]))

        def product(i: int, j: int) -> float:
            """(v_i - v_b) (v_j - v_b)"""
            return self.gram[i][j] - self.gram[i][b] - self.gram[b][j] + self.gram[b][b]

        size = product(a, a)
        if size <= 0:
            return (1.0,)
        along = product(t, a) / size if self.length == "projected" else (max(product(t, t), 0.0) / size) ** 0.5
        return along, 1 - along

    def value(self, state: Any, unit: Unit, decision: Decision, history: Sequence[Entry], x: Tensor) -> Tensor:
        weights = self.weights(unit.step, [entry.step for entry in history])
        return combine(weights, [entry.value for entry in history])

    def skip(self, state: State, unit: Unit, layers: int) -> Skip | None:
        if self.site == "output":
            return None
        weights = self.weights(unit.step, state.computed)
        kept = 1 if self.length == "none" else 2
        return Skip((range(layers),), range(layers), weights + (0.0,) * (kept - len(weights)))
