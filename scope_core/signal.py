"""What a method looks at before a step: the relative change of a cheap feature, per unit (paper Eq. 4).

Everything derived from the noise level depends on the schedule alone, so it is a table and a run can be planned; the others
look at the content and cost one device-to-host read per step.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from .schedule import Segment, Step, Unit
from .term import Term

SIGNALS = ("modulation", "embedding", "sigma", "latent")
"""modulation: e0, what AdaLN modulates with (MAGI-1: the gates of its first block). embedding: e, before its projection. sigma: the noise level itself, the same
for every model. latent: the patch-embedded latent."""
CONTENT = ("latent", "displacement", "motion", "sea")
"""Signals that look at the latents, see `MEASURES`."""
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


class Look(NamedTuple):
    """A unit at an iteration."""

    x: Tensor
    """Latents [B, C, frames, H, W]."""
    sigma: float


def latent(term: Term, now: Look, before: Look) -> Tensor:
    """Of the patch-embedded latent of every frame, mean over the frames."""
    return relative_change(*(term.patch_embedding(look.x).float() for look in (now, before)), dim=(0, 1, 3, 4)).mean()


def displacement(term: Term, now: Look, before: Look) -> Tensor:
    """Mean absolute change of the latents, not relative to anything."""
    return (now.x - before.x).abs().mean()


def motion(term: Term, now: Look, before: Look) -> Tensor:
    """As `latent`, a token counting 0.6 where it differs least from the frame before it, up to 1 where it differs most. The first frame of a unit has
    the next one's weights, for the frame before it may be at another noise level; a unit of one frame has weight 1."""
    after, past = (term.patch_embedding(look.x).float() for look in (now, before))
    weights = torch.ones_like(after[:, :1])
    if after.shape[2] > 1:
        difference = after.diff(dim=2).abs().mean(1, keepdim=True)
        low, high = difference.amin((2, 3, 4), keepdim=True), difference.amax((2, 3, 4), keepdim=True)
        weights[:, :, 1:] = 0.6 + 0.4 * (difference - low) / (high - low + EPS)
        weights[:, :, 0] = weights[:, :, 1]
    change, size = ((part.abs() * w).sum((0, 1, 3, 4)) for part, w in ((after - past, weights), (past, 1.0)))
    return (change / (size + EPS)).mean()


def sea(term: Term, now: Look, before: Look) -> Tensor:
    """Of the latents behind the Wiener filter of each one's noise level."""
    return relative_change(*(wiener(look) for look in (now, before)), dim=(0, 1, 2, 3, 4))


def wiener(look: Look, power: float = 3.0) -> Tensor:
    """The latents x = (1 - sigma) x0 + sigma e through the best linear estimate of x0, where x0 has the spectrum S ~ f^-power, as much in all as the white
    noise. Gains are scaled to a mean of 1, so that the filter passes as much at every level."""
    lengths = look.x.shape[2:]
    axes = [torch.fft.fftfreq(n, device=look.x.device) for n in lengths[:2]] + [torch.fft.rfftfreq(lengths[2], device=look.x.device)]
    f = sum(axis**2 for axis in torch.meshgrid(*axes, indexing="ij")).sqrt()
    spectrum = f.clamp(min=1 / max(lengths)) ** -power
    spectrum = spectrum / spectrum.mean()
    gain = spectrum / ((1 - look.sigma) ** 2 * spectrum + look.sigma**2)
    return torch.fft.irfftn(torch.fft.rfftn(look.x.float(), dim=(2, 3, 4)) * (gain / gain.mean()), s=lengths, dim=(2, 3, 4))


MEASURES: dict[str, Callable[[Term, Look, Look], Tensor]] = {"latent": latent, "displacement": displacement, "motion": motion, "sea": sea}
"""Change of a unit between two iterations, a number on its device."""


class ContentSignal:
    """A signal that looks at the latents. They are kept, and what it looks at is made again, unit by unit, because embedded latents are a
    hundred times larger."""

    def __init__(self, name: str, term: Term, segment: Segment, aggregate: str):
        self.measure, self.term, self.aggregate, self.frames = MEASURES[name], term, aggregate, segment.frames
        self.before: tuple[Tensor, np.ndarray] | None = None
        """Latents and noise level of every frame at the previous iteration."""
        self.seen: dict[int, list[float]] = {}
        """Changes so far, by own step."""

    @property
    def nbytes(self) -> int:
        return 0 if self.before is None else self.before[0].nbytes

    def __call__(self, step: Step, x: Tensor | None) -> np.ndarray:
        now = x, step.sigma
        before, self.before = self.before or now, now
        changes = torch.stack([self.measure(self.term, self.look(now, unit), self.look(before, unit)) for unit in step.active]).tolist()
        for unit, change in zip(step.active, changes):
            self.seen.setdefault(unit.step, []).append(change)
        return aggregated(np.array(changes), step, self.aggregate, self.frames)

    def look(self, at: tuple[Tensor, np.ndarray], unit: Unit) -> Look:
        x, sigma = at
        return Look(x[:, :, unit.frames], float(sigma[unit.frames.start]))


def make_signal(name: str, aggregate: str, segment: Segment, term: Term | None, table: np.ndarray | None = None) -> Signal:
    """Raises ValueError for unknown names. `table`, where given, is used instead of asking the term."""
    names = dict.fromkeys((*SIGNALS, *CONTENT))
    if name not in names:
        raise ValueError(f"signal is {name!r}; choose one of {', '.join(names)}")
    if aggregate not in AGGREGATES:
        raise ValueError(f"aggregate is {aggregate!r}; choose one of {', '.join(AGGREGATES)}")
    if name in CONTENT and table is None:
        return ContentSignal(name, term, segment, aggregate)
    if name != "sigma" and term is None and table is None:
        raise ValueError(f"the signal {name!r} needs the model or its change table; without either, use 'sigma'")
    return TableSignal(change_table(name, segment.sigmas, term) if table is None else table, segment, aggregate)
