"""DPCache: Taylor forecasts between steps that a path search chose from one recorded run (arXiv 2602.22654;
docs/methods.md, DPCache).

    C[i, j, k] = sum of |v_t - v_hat_t(i, j)| for t = j + 1 ... k        i, j computed last, k next

v_hat is the Taylor series from what was computed at j and i, at order 2 also at i - 1, for the step computed before i
is not known of an edge. k may be the end behind the last step. The published recurrence keeps for every step the one
predecessor that was best so far; `exact` keeps every pair. The first three steps are computed.

Published are features of the last block and their 1-norm; here it is the velocity and its 2-norm, for then the Gram
matrix of a recorded run's velocities says it all: |sum_k c_k v_k|^2 = c G c.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np

from ..schedule import ARSchedule, Segment
from .base import Gram, Method, Speed, register
from .gate import Gate
from .knobs import choice, count, steps_text
from .listed import SITES, Listed
from .predict import Weights
from .taylorseer import forecast

FORCED = 3
"""First steps."""


def costs(gram: np.ndarray, order: int) -> np.ndarray:
    """C [S, S, S + 1] from the Gram matrix of the velocities [S, S]; infinite unless i < j < k."""
    steps = len(gram)
    made = np.full((steps, steps, steps + 1), np.inf)
    for j in range(1, steps):
        for i in range(j):
            nodes = (j, i, i - 1)[: order + 1 if i else 2]
            errors = np.eye(steps)[j + 1 :]
            for row, t in zip(errors, range(j + 1, steps)):
                row[list(nodes)] -= forecast(len(nodes) - 1, t, nodes)
            lengths = np.sqrt(np.maximum(((errors @ gram) * errors).sum(1), 0))
            made[i, j, j + 1 : steps] = lengths.cumsum()
            made[i, j, steps] = lengths.sum()
    return made


def path(cost: np.ndarray, computed: int, exact: bool) -> tuple[int, ...]:
    """So many steps of cost [S, S, S + 1], from 0 on, by the published recurrence or exactly."""
    steps = len(cost)
    if computed >= steps:
        return tuple(range(steps))
    total = np.full((steps, steps), np.inf)
    total[FORCED - 2, FORCED - 1] = 0.0
    """Of the best path that computed i and then j last."""
    before = []
    for _ in range(FORCED, computed):
        sums = total[:, :, None] + cost[:, :, :steps]
        before.append(sums.argmin(0))
        total = sums.min(0)
        if not exact:
            total[np.arange(steps)[:, None] != total.argmin(0)] = np.inf
    i, j = np.unravel_index((total + cost[:, :, steps]).argmin(), total.shape)
    found = [int(j), int(i)]
    for parents in reversed(before):
        found.append(int(parents[found[-1], found[-2]]))
    return (*range(FORCED - 2), *reversed(found))


@register
@dataclass(frozen=True)
class DPCache(Method):
    """Raises ValueError for settings out of range."""

    name = "dpcache"
    title = "DPCache"
    gate = Gate(50, 0, 0)
    points: ClassVar = {
        "FLUX, 13 of 50": {},
        "FLUX, 9 of 50": {"computed": 9},
        "HunyuanVideo, 11 of 50": {"computed": 11},
    }
    speed = Speed("computed", 64, 4)

    computed: int = count(
        13,
        "Steps of every chunk that are computed, chosen from a recorded run.",
        least=FORCED,
        usual="published are 9 to 13 of 50",
    )
    """B"""
    order: int = count(
        2,
        "Order of the prediction: 1 along a line, 2 along a parabola.",
        least=1,
        most=2,
        high=2,
        usual="published is 2",
    )
    search: str = choice(
        "published",
        "How the steps are chosen. published: the recurrence as printed, which is not exact. exact: the best path.",
        ["published", "exact"],
    )
    site: str = choice("output", "What is predicted: the velocity, or the change across all blocks.", SITES)
    steps: tuple[int, ...] = steps_text(
        "Steps to compute instead, for example 1, 2, 3, 6, 10. Empty: chosen from what SCOPE Calibrate recorded of this"
        " model, steps, shift, guidance and schedule."
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        super().__post_init__()

    @property
    def depth(self) -> int:
        return self.order + 1 if self.site == "output" else 0

    @property
    def needs_calibration(self) -> bool:
        return not self.steps

    def calibrated(self, ratios: tuple[float, ...], gram: Gram = ()) -> "DPCache":
        if self.steps or not gram:
            return self
        chosen = path(costs(np.array(gram), self.order), self.computed, self.search == "exact")
        return replace(self, steps=tuple(step + 1 for step in chosen))

    def fit(self, schedule: ARSchedule, segment: Segment, apart: bool = False) -> Listed:
        if not self.steps:
            raise ValueError(
                f"{self.title} has no recorded run to choose its steps from; run SCOPE Calibrate once with this model"
                " and these settings, or write the steps yourself"
            )
        return Listed(self.steps, partial(series, self.order), self.order + 1, self.site)


def series(order: int, step: int, computed: Sequence[int]) -> Weights:
    return forecast(order, step, computed)[: len(computed)]
