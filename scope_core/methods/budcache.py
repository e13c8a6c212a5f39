"""BudCache: compute the steps of a list that was searched by what the final latents become, and reuse in between (arXiv
2606.13496; docs/methods.md, BudCache). The search is `study/budcache.py`.

Published lists are in no repository, so steps come from a search of one's own. Without any, those are computed from
which a search starts here: the first 0.3 B, and the rest evenly.

Steps are iterations where one forward serves all chunks, because that is what a computed step costs; each chunk's own
where they are forwarded one by one.
"""

from dataclasses import dataclass

import numpy as np

from ..schedule import ARSchedule, Segment
from .base import Method, register
from .gate import Gate
from .knobs import choice, count, steps_text
from .listed import SITES, Listed, beyond

PREFIX = 0.3
"""Share of the computed steps that are the first ones, and stay."""


def start(computed: int, steps: int) -> tuple[int, ...]:
    """From 1 on."""
    computed = min(computed, steps)
    first = max(1, int(PREFIX * computed))
    rest = np.linspace(first + 1, steps, computed - first).round().astype(int)
    return (*range(1, first + 1), *rest.tolist())


def clock(schedule: ARSchedule, segment: Segment) -> int:
    """The last step of a segment as they are counted here."""
    return segment.steps if schedule.family.by_chunk else segment.rows


@register
@dataclass(frozen=True)
class BudCache(Method):
    """Raises ValueError for settings out of range."""

    name = "budcache"
    title = "BudCache"
    gate = Gate(50, 0, 0)

    computed: int = count(
        20, "Steps that are computed where none are written down; a search starts from these.", least=1
    )
    """B"""
    steps: tuple[int, ...] = steps_text(
        "Steps to compute, as a search found them, for example 1, 2, 3, 6, 10. Of SkyReels counted in iterations, of"
        " MAGI-1 in each chunk's own steps."
    )
    site: str = choice(
        "output", "What is reused: the velocity, or as published the change across all blocks (residual).", SITES
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        super().__post_init__()

    def caveat(self, schedule: ARSchedule) -> str:
        if self.steps:
            return beyond(self.title, self.steps, max(clock(schedule, segment) for segment in schedule.segments))
        return (
            "BudCache has no steps and computes those that its search would start from. Write into steps what a search"
            " has found for this model."
        )

    def fit(self, schedule: ARSchedule, segment: Segment, apart: bool = False) -> Listed:
        lag = 0 if schedule.family.by_chunk else segment.ar_step
        steps = self.steps or start(self.computed, clock(schedule, segment))
        return Listed(steps, site=self.site, lag=lag)
