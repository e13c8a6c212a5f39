"""What a method looks at before a step: the relative change of a cheap feature, per unit (paper Eq. 4).

On SkyReels-V2 everything derived from the timestep depends on the schedule alone, so it is a table and a run can be
planned; `latent` looks at the content and costs one device-to-host read per step.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .schedule import Segment, Step
from .term import Term, timesteps

SIGNALS = ("modulation", "embedding", "sigma", "latent")
"""modulation: e0, what AdaLN modulates with. embedding: e, before its projection. sigma: the noise level itself, the same
for every model. latent: the patch-embedded latent."""
AGGREGATES = ("max", "mean_active", "mean_all")
"""max: every unit sees its own change, and with one joint forward the neediest decides. mean_active, mean_all: all see the
mean over the frames that advance, or over the whole window, which dilutes it by the frames that stand still (C3)."""
EPS = 1e-8


class Signal(Protocol):
    def __call__(self, step: Step, x: Tensor | None) -> np.ndarray:
        """Change d_k of every active unit since the previous iteration, [active units]."""
        ...


def relative_change(now: Tensor, before: Tensor, dim: tuple[int, ...]) -> Tensor:
    """d = |phi_k - phi_{k-1}|_1 / (|phi_{k-1}|_1 + eps), Eq. 4."""
    return (now - before).abs().sum(dim) / (before.abs().sum(dim) + EPS)


def change_table(name: str, sigmas: np.ndarray, term: Term | None) -> np.ndarray:
    """Change at each own step 1..S of a unit, [S + 1] with index 0 unused. A unit waits at the level of its first step."""
    levels = np.concatenate([sigmas[:1], sigmas[:-1]])
    if name == "sigma":
        return np.concatenate([[0.0], np.abs(np.diff(levels)) / levels[:-1]])
    features = term.features(name, timesteps(levels)).float().flatten(1)
    changes = relative_change(features[1:], features[:-1], dim=(1,))
    return np.concatenate([[0.0], changes.double().cpu().numpy()])


class TableSignal:
    """A signal that depends on the schedule alone."""

    def __init__(self, table: np.ndarray, segment: Segment, aggregate: str):
        self.table, self.aggregate, self.frames = table, aggregate, segment.frames

    def __call__(self, step: Step, x: Tensor | None) -> np.ndarray:
        own = np.array([self.table[unit.step] for unit in step.active])
        if self.aggregate == "max":
            return own
        sizes = np.array([unit.frames.stop - unit.frames.start for unit in step.active])
        total = sizes.sum() if self.aggregate == "mean_active" else self.frames
        return np.full(len(own), (own * sizes).sum() / total)


class LatentSignal:
    """The patch-embedded latent of every frame against that of the previous iteration."""

    def __init__(self, term: Term, segment: Segment, aggregate: str):
        self.term, self.aggregate, self.before = term, aggregate, None
        self.seen: dict[int, list[float]] = {}
        """Changes so far, by own step."""

    def __call__(self, step: Step, x: Tensor | None) -> np.ndarray:
        now = self.term.patch_embedding(x).float()
        before, self.before = now if self.before is None else self.before, now
        per_frame = relative_change(now, before, dim=(0, 1, 3, 4)).tolist()
        own = np.array([np.mean(per_frame[unit.frames]) for unit in step.active])
        for unit, change in zip(step.active, own):
            self.seen.setdefault(unit.step, []).append(float(change))
        if self.aggregate == "max":
            return own
        frames = [d for unit in step.active for d in per_frame[unit.frames]] if self.aggregate == "mean_active" else per_frame
        return np.full(len(own), np.mean(frames))


def make_signal(name: str, aggregate: str, segment: Segment, term: Term | None, table: np.ndarray | None = None) -> Signal:
    """Raises ValueError for unknown names. `table`, where given, is used instead of asking the term."""
    if name not in SIGNALS:
        raise ValueError(f"signal is {name!r}; choose one of {', '.join(SIGNALS)}")
    if aggregate not in AGGREGATES:
        raise ValueError(f"aggregate is {aggregate!r}; choose one of {', '.join(AGGREGATES)}")
    if name == "latent" and table is None:
        return LatentSignal(term, segment, aggregate)
    if name != "sigma" and term is None and table is None:
        raise ValueError(f"the signal {name!r} needs the model or its change table; without either, use 'sigma'")
    return TableSignal(change_table(name, segment.sigmas, term) if table is None else table, segment, aggregate)
