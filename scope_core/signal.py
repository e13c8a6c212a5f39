"""What a method looks at before a step: the relative change of a cheap feature, per unit (paper Eq. 4).

Everything derived from the noise level depends on the schedule alone, so it is a table and a run can be planned; `latent`
looks at the content and costs one device-to-host read per step.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .schedule import Segment, Step
from .term import Term

SIGNALS = ("modulation", "embedding", "sigma", "latent")
"""modulation: e0, what AdaLN modulates with (MAGI-1: the gates of its first block). embedding: e, before its projection. sigma: the noise level itself, the same
for every model. latent: the patch-embedded latent."""
AGGREGATES = ("max", "mean_active", "mean_all")
"""max: every unit sees its own change, and with one joint forward the neediest decides. mean_active, mean_all: all see the
mean over the frames that advance, or over the whole window, which dilutes it by the frames that stand still (C3)."""
EPS = 1e-8


class Signal(Protocol):
    nbytes: int
    """Bytes held between two steps."""

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
    features = term.features(name, levels).float().flatten(1)
    changes = relative_change(features[1:], features[:-1], dim=(1,))
    return np.concatenate([[0.0], changes.double().cpu().numpy()])


def aggregated(changes: np.ndarray, step: Step, aggregate: str, frames: int) -> np.ndarray:
    """What every active unit sees of the units' changes [active units], see AGGREGATES; a window has `frames`."""
    if aggregate == "max":
        return changes
    sizes = np.array([unit.frames.stop - unit.frames.start for unit in step.active])
    return np.full(len(changes), (changes * sizes).sum() / (sizes.sum() if aggregate == "mean_active" else frames))


class TableSignal:
    """A signal that depends on the schedule alone."""

    nbytes = 0

    def __init__(self, table: np.ndarray, segment: Segment, aggregate: str):
        self.table, self.aggregate, self.frames = table, aggregate, segment.frames

    def __call__(self, step: Step, x: Tensor | None) -> np.ndarray:
        return aggregated(np.array([self.table[unit.step] for unit in step.active]), step, self.aggregate, self.frames)


class LatentSignal:
    """The patch-embedded latent of every frame that advances against that of the previous iteration. Latents are kept and embedded
    again, unit by unit, because embedded ones are a hundred times larger."""

    def __init__(self, term: Term, segment: Segment, aggregate: str):
        self.term, self.aggregate, self.frames = term, aggregate, segment.frames
        self.before: Tensor | None = None
        self.seen: dict[int, list[float]] = {}
        """Changes so far, by own step."""

    @property
    def nbytes(self) -> int:
        return 0 if self.before is None else self.before.nbytes

    def __call__(self, step: Step, x: Tensor | None) -> np.ndarray:
        before, self.before = x if self.before is None else self.before, x
        changes = torch.stack([self.change(x[:, :, unit.frames], before[:, :, unit.frames]) for unit in step.active]).tolist()
        for unit, change in zip(step.active, changes):
            self.seen.setdefault(unit.step, []).append(change)
        return aggregated(np.array(changes), step, self.aggregate, self.frames)

    def change(self, now: Tensor, before: Tensor) -> Tensor:
        return relative_change(*(self.term.patch_embedding(x).float() for x in (now, before)), dim=(0, 1, 3, 4)).mean()


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
