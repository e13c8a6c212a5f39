"""What a report of the benchmark says in figures: PSNR of every clip, and differences with their intervals."""

from collections.abc import Iterable, Iterator
from statistics import mean
from typing import Any

import numpy as np

from scope_core.study.paired import EQUAL_DB, mean_of

from .methods import OURS

Row = dict[str, Any]
Place = tuple[str, float]
"""A schedule and a budget."""
SCHEDULES = {
    "synchronous": "SkyReels layout, all frames together",
    "asynchronous": "SkyReels layout, frames 5 steps apart",
    "chunk_by_chunk": "MAGI-1 layout, 4 chunks at a time",
    "long_synchronous": "SkyReels layout, a long video of three segments",
    "long_chunk_by_chunk": "MAGI-1 layout, a long video of eight chunks",
}
SHORT = {
    "synchronous": "SkyReels together",
    "asynchronous": "SkyReels apart",
    "chunk_by_chunk": "MAGI-1",
    "long_synchronous": "SkyReels long",
    "long_chunk_by_chunk": "MAGI-1 long",
}
LONG = tuple(way for way in SCHEDULES if way.startswith("long"))
PRESETS = ("quality", "balanced", "fast")
CHANGED = 25.0
"""dB to the full run below which a clip counts as another video. The same prompts from other noise stay below 19
dB; a clip in which only the object went elsewhere keeps its background, and is above that."""
NEAR = 0.04
"""How far from a budget a cost may be, in shares of the full run, to count there."""


class Measured:
    """Rows of the ranked methods, by method and place."""

    def __init__(self, report: dict[str, Any], ways: Iterable[str] | None = None):
        """`ways`: schedules, by default all but those of long videos."""
        self.of_way = {
            way: rows for way, rows in by_schedule(report) if (way not in LONG if ways is None else way in ways)
        }
        ranked = [row for rows in self.of_way.values() for row in rows if "form" in row]
        self.rows: dict[str, dict[Place, Row]] = {row["title"]: {} for row in ranked}
        for row in ranked:
            self.rows[row["title"]][row["schedule"], row["budget"]] = row
        self.form = {row["title"]: row["form"] for row in ranked}
        self.places = sorted({place for rows in self.rows.values() for place in rows}, key=self.order)
        self.ours = next((title for title, form in self.form.items() if form == OURS), None)

    def order(self, place: Place) -> tuple[int, float]:
        return list(SCHEDULES).index(place[0]), -place[1]

    def counted(self, title: str) -> dict[Place, Row]:
        """Where a method reaches the budget."""
        return {place: row for place, row in self.rows[title].items() if not missed(row)}

    def gain(self, row: Row) -> np.ndarray:
        """dB over fewer steps at the same cost, of each clip."""
        return difference(psnrs(row), fewer_at(self.of_way[row["schedule"]], row["share"]))

    def mean_gain(self, title: str) -> tuple[float, float]:
        """Over the places that it reaches, with the interval over clips; nan where it reaches none."""
        return over_places([self.gain(row) for row in self.counted(title).values()])

    def against(self, title: str, other: str) -> tuple[float, float]:
        """By how much a method is ahead of another one over the places that both reach."""
        mine, theirs = self.counted(title), self.counted(other)
        return over_places([difference(psnrs(mine[p]), psnrs(theirs[p])) for p in mine if p in theirs])

    def ranking(self) -> list[str]:
        return sorted(self.rows, key=lambda title: -np.nan_to_num(self.mean_gain(title)[0], nan=-np.inf))


def by_schedule(report: dict[str, Any]) -> Iterator[tuple[str, list[Row]]]:
    for way in dict.fromkeys(row["schedule"] for row in report["rows"]):
        yield way, [row for row in report["rows"] if row["schedule"] == way]


def full_of(rows: list[Row]) -> Row:
    return next(row for row in rows if row["method"] == "full")


def psnrs(row: Row) -> np.ndarray:
    """Of every clip."""
    return np.array([EQUAL_DB if clip["psnr"] is None else clip["psnr"] for clip in row["clips"]])


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Over the clips that both have."""
    both = min(len(a), len(b))
    return a[:both] - b[:both]


def over_clips(values: np.ndarray) -> tuple[float, float]:
    """Mean, and half of its 95 % interval."""
    return mean_of(values.tolist())


def paired(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Mean difference over clips, and half of its 95 % interval."""
    return over_clips(difference(a, b))


def over_places(values: list[np.ndarray]) -> tuple[float, float]:
    """Of per-clip values at some places: averaged over these in each clip that all have, then over clips."""
    if not values:
        return float("nan"), float("nan")
    clips = min(map(len, values))
    return over_clips(np.mean([each[:clips] for each in values], 0))


def along(rows: list[Row], share: float) -> np.ndarray:
    """PSNR of each clip at a share of the full run's operations, along the line between rows, which rise in share."""
    clips = min(len(row["clips"]) for row in rows)
    shares, values = [row["share"] for row in rows], np.array([psnrs(row)[:clips] for row in rows])
    return np.array([np.interp(share, shares, values[:, clip]) for clip in range(clips)])


def fewer_at(rows: list[Row], share: float) -> np.ndarray:
    """PSNR of each clip with fewer steps at this share of the full run's operations. Numbers of steps that are worse
    than a smaller one are left out, for nobody would take them."""
    better: list[Row] = []
    for row in sorted((row for row in rows if row["method"] == "fewer"), key=lambda row: row["share"]):
        if not better or average(row, "psnr") > average(better[-1], "psnr"):
            better.append(row)
    return along(better, share)


def average(row: Row, name: str) -> float:
    return float(mean(EQUAL_DB if clip[name] is None else clip[name] for clip in row["clips"]))


def worst_frame(row: Row) -> float:
    return min(EQUAL_DB if clip["worst_frame"] is None else clip["worst_frame"] for clip in row["clips"])


def lost_share(values: np.ndarray) -> float:
    return float((values < CHANGED).mean())


def faithfulness(row: Row, clips: int | None = None) -> float:
    """Mean over what is looked at of the share in which it is as asked; the first `clips`."""
    goals: dict[str, list[float]] = {}
    for clip in row["clips"][:clips]:
        for goal, value in clip["faithful"].items():
            goals.setdefault(goal, []).append(value)
    return mean(map(mean, goals.values()))


def points_to_full(row: Row, full: Row) -> float:
    """Faithfulness above the full run's, on the same clips."""
    return 100 * (faithfulness(row) - faithfulness(full, len(row["clips"])))


def missed(row: Row) -> bool:
    """No setting of the method comes near the budget."""
    return abs(row["share"] - row["budget"]) > NEAR + 1e-6
