"""A setting on several clips: means with their 95 % intervals, and settings compared clip by clip.

Clips differ more from each other than settings do, so that two settings are compared by their differences on the same
clips (Student's t for paired samples).
"""

from collections.abc import Sequence
from functools import cache
from math import inf
from statistics import fmean, stdev
from typing import Any

from .metrics import METRICS

EQUAL_DB = 100.0
"""That stand for equal videos, whose PSNR is infinite."""
COSTS = ("computed", "forwards", "seconds")
FIGURES = {name: figure for name, figure in METRICS.items() if name != "difference"}
"""Of a point, where `difference` is something to look at."""

Point = dict[str, Any]
"""A run as the chart shows it; of several clips the means, with the runs themselves under `clips`."""


@cache
def quantile(clips: int) -> float:
    """Of Student's t: the 95 % interval of a mean is so many standard errors to both sides."""
    from scipy.stats import t

    return float(t.ppf(0.975, clips - 1))


def mean_of(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half of its 95 % interval; infinite for one value."""
    if len(values) < 2:
        return fmean(values), inf
    return fmean(values), quantile(len(values)) * stdev(values) / len(values) ** 0.5


def clips_of(point: Point) -> list[Point]:
    clips: list[Point] = point.get("clips", [point])
    return clips


def values(point: Point, name: str) -> list[float]:
    """A cost or a figure on every clip; empty where it was not measured."""
    clips = clips_of(point)
    found = [clip.get(name) for clip in clips]
    if name == "psnr" and not all(clip.get("identical") for clip in clips):
        found = [EQUAL_DB if clip.get("identical") else value for clip, value in zip(clips, found)]
    return [] if None in found else [float(value) for value in found if value is not None]


def together(clips: list[Point]) -> Point:
    """One point of a setting's runs on several clips. The worst frame is that of all clips, what can be watched that
    of the first."""
    if len(clips) == 1:
        return clips[0]
    point = {**clips[0], "clips": clips}
    point |= {name: fmean(values(point, name)) for name in (*COSTS, *FIGURES) if values(point, name)}
    for name, figure in FIGURES.items():
        frames = [clip[f"{name}_worst"] for clip in clips if clip.get(f"{name}_worst") is not None]
        if frames:
            point[f"{name}_worst"] = max(frames) if figure["better"] == "lower" else min(frames)
    return point | {
        "memory_bytes": max(clip["memory_bytes"] for clip in clips),
        **({"identical": all(clip["identical"] for clip in clips)} if "identical" in clips[0] else {}),
    }


def worst_clip(point: Point, name: str) -> tuple[float, Point]:
    """Its figure, and the clip."""
    least = max if FIGURES[name]["better"] == "lower" else min
    return least(zip(values(point, name), clips_of(point)), key=lambda pair: pair[0])


def difference(a: Point, b: Point, name: str) -> tuple[float, float]:
    """By how much a is above b on the clips that both have, and half of its 95 % interval."""
    others = {(clip["seed"], clip["prompt"]): value for clip, value in zip(clips_of(b), values(b, name))}
    pairs = [((clip["seed"], clip["prompt"]), value) for clip, value in zip(clips_of(a), values(a, name))]
    return mean_of([value - others[clip] for clip, value in pairs if clip in others])
