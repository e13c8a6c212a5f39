"""MeanCache: compute the steps of a table, and in between turn the last velocity by how the mean velocity of a span of
steps changed (arXiv 2601.19961; docs/methods.md, MeanCache).

The paper puts v + (s - t) J into a gap, with J the change of the velocity over a span of K steps before it; the
released code another thing: over a window of the last K steps, skipped ones included,

    u = (x_e - x_s) / (sigma_e - sigma_s)
    J = (v_s - u) / (sigma_e - sigma_s)
    v_hat = v_last - J (sigma' - sigma_last)

which on a straight line turns by (K - 1) / 2 K of what it should. Both are offered. K = 1 holds in either.

By Euler's rule u is the mean of the velocities that were applied in the window, each a weighted sum of computed ones.
So the recursion runs on weights here and needs no prediction to be kept; it starts at the oldest velocity that is,
before which there is nothing in the weights that counts. In the paper's form the span ends at the newest computed step
that is K - 1 or more before the last one.

Tables are the released ones, by model, with K for each gap; they are carried over as those of `listed.Table` are. A
step that no gap follows in its table takes the K of the next gap there.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar

import numpy as np

from ..schedule import ARSchedule, Segment
from .base import Method, Speed, register
from .gate import Gate
from .knobs import choice
from .listed import Listed, Table, how_many, over_to, searched_for
from .predict import Weights, taylor1

KEPT = 6
"""Velocities; the longest released span is 5."""

TABLES: dict[str, Table] = {
    "Z-Image": Table(
        50,
        3.0,
        (
            (*range(7), 8, 10, 11, 12, 13, 15, 16, 17, 18, 20, 22, 29, 37, 42, 45, 47, 48, 49),
            (0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 30, 38, 43, 46, 48, 49),
            (0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 19, 27, 35, 43, 46, 48, 49),
            (0, 1, 2, 3, 5, 9, 15, 22, 29, 36, 43, 47, 49),
        ),
    ),
    "Qwen-Image": Table(
        50,
        2.3,
        (
            (*range(17), 24, 32, 40, 43, 45, 47, 48, 49),
            (*range(9), 10, 17, 24, 31, 38, 45, 48, 49),
            (0, 1, 3, 7, 14, 21, 28, 35, 42, 49),
        ),
    ),
    "Qwen-Image-2512": Table(50, 2.3, ((*range(10), 11, 19, 27, 35, 43, 47, 49),)),
}
"""By model. Z-Image's shift is the one its authors recommend; that of Qwen-Image what its scheduler makes of 1328
pixels."""
SPANS: dict[tuple[str, int], tuple[int, ...]] = {
    ("Z-Image", 25): (2, 2, 2, 5, 5, 1, 1, 1, 5, 5),
    ("Z-Image", 20): (2, 2, 2, 2, 2, 5, 4, 5, 5, 1, 1, 1, 5, 2),
    ("Z-Image", 17): (2, 2, 2, 2, 2, 1, 1, 1, 1, 5, 2),
    ("Z-Image", 13): (2, 1, 1, 1, 1, 1, 1, 5, 2),
    ("Qwen-Image", 25): (1, 1, 1, 5, 5, 5),
    ("Qwen-Image", 17): (2, 1, 1, 1, 1, 1, 4),
    ("Qwen-Image", 10): (2, 1, 1, 1, 1, 1, 1, 4),
    ("Qwen-Image-2512", 17): (2, 1, 1, 1, 1, 5, 5),
}
"""K of the gaps of a list, in order: (model, computed steps) -> one for each gap in which something is skipped."""


def spans_of(model: str, count: int) -> list[tuple[int, int]]:
    """The step from which on each K holds in the list from which one of `count` steps is made, and K; from 0 on."""
    lists = TABLES[model].lists
    steps = min((steps for steps in lists if len(steps) >= count), key=len, default=lists[0])
    gaps = [after for before, after in pairwise(steps) if after - before > 1]
    return list(zip([0, *gaps], SPANS[model, len(steps)]))


def released(step: int, computed: Sequence[int], sigmas: np.ndarray, span: Callable[[int], int]) -> Weights:
    """Of the released recursion at own step `step`, on the velocities computed at those steps, newest first. `sigmas`
    [S + 1] are the noise levels before each step; `span` is K after a computed step."""
    oldest, basis = computed[-1], np.eye(len(computed))
    delta = np.diff(sigmas)
    applied: list[np.ndarray] = []
    """Weights of the velocity at each step from the oldest on."""
    for now in range(oldest, step + 1):
        if now in computed:
            applied.append(basis[computed.index(now)])
            continue
        k = span(max(at for at in computed if at < now))
        taken, h = np.array(applied[-k:]), delta[max(oldest, now - k) - 1 : now - 1]
        u = h @ taken / h.sum()
        applied.append(applied[-1] - (taken[0] - u) / h.sum() * h[-1])
    return tuple(applied[-1].tolist())


def paper(step: int, computed: Sequence[int], sigmas: np.ndarray, span: Callable[[int], int]) -> Weights:
    """Of the line through the last velocity and the one a span before it; see `released`."""
    last, k = computed[0], span(computed[0])
    before = next((i for i, at in enumerate(computed) if at <= last - (k - 1)), len(computed) - 1)
    if before == 0:
        return (1.0,)
    new, old = taylor1(sigmas[step - 1], (sigmas[last - 1], sigmas[computed[before] - 1]))
    return (float(new), *[0.0] * (before - 1), float(old))


FORMS = {"released": released, "paper": paper}


@register
@dataclass(frozen=True)
class MeanCache(Method):
    """Raises ValueError for settings out of range."""

    name = "meancache"
    title = "MeanCache"
    gate = Gate(12, 0, 0)
    points: ClassVar = {
        f"{model}, {len(steps)} of {table.steps}": {"table": model, "computed": len(steps)}
        for model, table in TABLES.items()
        for steps in table.lists
    }
    speed = Speed("computed", 50, 4)
    depth = KEPT

    computed: int = how_many(17)
    """B"""
    table: str = searched_for("Z-Image", "steps and spans", TABLES)
    form: str = choice(
        "released",
        "How the velocity is continued. released: as the published code does, which turns it by half of what a line"
        " would, at most. paper: along the line through a span of steps.",
        list(FORMS),
    )
    carry: str = over_to()

    def fit(self, schedule: ARSchedule, segment: Segment, apart: bool = False) -> Listed:
        table = TABLES[self.table]
        source = table.of(self.computed)
        steps, starts = table.carried(source, segment.sigmas, self.carry), spans_of(self.table, self.computed)
        spans = [max((start, k) for start, k in starts if start <= step)[1] for step in source]

        def span(computed: int) -> int:
            return spans[bisect_right(steps, computed) - 1]

        return Listed(steps, partial(FORMS[self.form], sigmas=segment.sigmas, span=span), KEPT)
