"""LeMiCa: compute the steps of a table that was searched for one model by what skipping does to the final latents, and
reuse the residual of all blocks in between (arXiv 2511.00090; docs/methods.md, LeMiCa).

The tables are the released ones, by model and number of computed steps of 50 (40 for image to video). They are carried
over by noise level, not by index, because noise levels are what their models were at; numbers of steps that none of
them has are made by thinning a longer one, which is ours (`listed.Table`).

The site `output` holds the velocity instead, which lets chunks of MAGI-1 decide on their own and costs nothing at a
skipped step.
"""

from dataclasses import dataclass
from typing import ClassVar

from ..schedule import ARSchedule, Segment
from .base import Method, Speed, register
from .gate import Gate
from .knobs import choice
from .listed import SITES, Listed, Table, how_many, over_to, searched_for

TABLES: dict[str, Table] = {
    "Wan 1.3B": Table(
        50,
        5.0,
        (
            (*range(13), 14, 16, 18, 21, 24, 29, 35, 40, 44, 47, 48, 49),
            (*range(10), 11, 13, 16, 20, 26, 33, 40, 45, 48, 49),
            (*range(9), 10, 13, 18, 25, 32, 39, 46, 49),
            (*range(6), 7, 10, 16, 23, 30, 37, 44, 49),
        ),
    ),
    "Wan 14B": Table(
        50,
        5.0,
        (
            (*range(12), 13, 15, 18, 21, 25, 29, 34, 38, 42, 45, 47, 48, 49),
            (*range(10), 11, 14, 18, 23, 29, 36, 42, 46, 48, 49),
            (*range(8), 9, 12, 16, 22, 29, 36, 43, 47, 49),
            (*range(6), 7, 10, 17, 24, 31, 38, 45, 49),
        ),
    ),
    "Wan I2V": Table(
        40,
        5.0,
        ((*range(7), 8, 10, 12, 15, 18, 21, 25, 29, 32, 35, 37, 38, 39), (*range(5), 6, 8, 11, 15, 22, 29, 34, 37, 39)),
    ),
    "HunyuanVideo-1.5": Table(
        50,
        5.0,
        (
            (*range(14), 15, 17, 19, 21, 24, 28, 33, 39, 45, 48, 49),
            (*range(12), 13, 15, 18, 22, 28, 36, 44, 49),
            (*range(7), 8, 10, 13, 17, 25, 33, 41, 49),
            (0, 1, 3, 5, 9, 17, 25, 33, 41, 49),
        ),
    ),
    "FLUX.1-dev": Table(
        50, 3.16, ((*range(8), 9, 12, 15, 19, 24, 31, 38, 43, 46, 47, 48, 49), (0, 1, 3, 7, 14, 21, 28, 35, 42, 49))
    ),
    "Qwen-Image": Table(50, 2.3, ((*range(11), 15, 22, 29, 36, 42, 49),)),
}
"""By model. The shifts of Wan are those it was released with; HunyuanVideo-1.5's is that of its 480p models, and those
of FLUX and Qwen-Image are what their schedulers make of images of 1024 and 1328 pixels."""


@register
@dataclass(frozen=True)
class LeMiCa(Method):
    """Raises ValueError for settings out of range."""

    name = "lemica"
    title = "LeMiCa"
    gate = Gate(12, 0, 0)
    points: ClassVar = {
        f"{model}, {len(steps)} of {table.steps}": {"table": model, "computed": len(steps), "site": "residual"}
        for model, table in TABLES.items()
        for steps in table.lists
    }
    speed = Speed("computed", 50, 4)

    computed: int = how_many(20)
    """B"""
    table: str = searched_for("Wan 1.3B", "steps", TABLES)
    site: str = choice(
        "output", "What is reused: the velocity, or as published the change across all blocks (residual).", SITES
    )
    carry: str = over_to()

    def fit(self, schedule: ARSchedule, segment: Segment, apart: bool = False) -> Listed:
        table = TABLES[self.table]
        return Listed(table.carried(table.of(self.computed), segment.sigmas, self.carry), site=self.site)
