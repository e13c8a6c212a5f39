"""Signals that depend on the schedule alone.

modulation: e0, what AdaLN modulates with (MAGI-1: the gates of its first block). embedding: e, before its projection.
sigma: the noise level itself, the same for every model.
"""

import numpy as np
from torch import Tensor

from ..ranks import read
from ..schedule import Segment, Step
from .base import Features, Signal, aggregated, relative_change, require_finite

SCHEDULED = ("modulation", "embedding", "sigma")


def change_table(name: str, sigmas: np.ndarray, features: Features | None) -> np.ndarray:
    """Change at each own step 1..S of a unit, [S + 1] with index 0 unused. A unit waits at the level of its first step.

    Only 'sigma' can do without `features`; raises ValueError for others, and NotFiniteSignalError.
    """
    levels = np.concatenate([sigmas[:1], sigmas[:-1]])
    if name == "sigma":
        return np.concatenate([[0.0], np.abs(np.diff(levels)) / levels[:-1]])
    if features is None:
        raise ValueError(f"the signal {name!r} needs the model or its change table; without either, use 'sigma'")
    seen = features.features(name, levels).float().flatten(1)
    require_finite(name, seen, levels)
    return np.array([0.0, *read(relative_change(seen[1:], seen[:-1], dim=(1,)))])


class TableSignal(Signal):
    nbytes = 0

    def __init__(self, table: np.ndarray, segment: Segment, aggregate: str):
        """`table` [S + 1]: see `change_table`."""
        self.table, self.aggregate, self.frames = table, aggregate, segment.frames

    def __call__(self, step: Step, x: Tensor | None) -> np.ndarray:
        return aggregated(np.array([self.table[unit.step] for unit in step.active]), step, self.aggregate, self.frames)
