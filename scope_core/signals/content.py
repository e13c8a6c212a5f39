"""Signals that look at the latents."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..ranks import read
from ..schedule import Segment, Step, Unit
from .base import EPS, Features, NotFiniteSignalError, Signal, aggregated, relative_change


class Look(NamedTuple):
    """A unit at an iteration."""

    x: Tensor
    """Latents [B, C, frames, H, W]."""
    sigma: float


def latent(model: Features | None, now: Look, before: Look) -> Tensor:
    """Of the patch-embedded latent of every frame, mean over the frames."""
    after, past = (embedded(model, look) for look in (now, before))
    return relative_change(after, past, dim=(0, 1, 3, 4)).mean()


def displacement(model: Features | None, now: Look, before: Look) -> Tensor:
    """Mean absolute change of the latents, not relative to anything."""
    return (now.x - before.x).abs().mean()


def motion(model: Features | None, now: Look, before: Look) -> Tensor:
    """As `latent`, a token counting 0.6 where it differs least from the frame before it, up to 1 where it differs most.
    The first frame of a unit has the next one's weights, for the frame before it may be at another noise level; a unit
    of one frame has weight 1."""
    after, past = (embedded(model, look) for look in (now, before))
    weights = torch.ones_like(after[:, :1])
    if after.shape[2] > 1:
        difference = after.diff(dim=2).abs().mean(1, keepdim=True)
        low, high = difference.amin((2, 3, 4), keepdim=True), difference.amax((2, 3, 4), keepdim=True)
        weights[:, :, 1:] = 0.6 + 0.4 * (difference - low) / (high - low + EPS)
        weights[:, :, 0] = weights[:, :, 1]
    change, size = ((part.abs() * w).sum((0, 1, 3, 4)) for part, w in ((after - past, weights), (past, 1.0)))
    return (change / (size + EPS)).mean()


def sea(model: Features | None, now: Look, before: Look) -> Tensor:
    """Of the latents behind the Wiener filter of each one's noise level."""
    return relative_change(wiener(now), wiener(before), dim=(0, 1, 2, 3, 4))


def embedded(model: Features | None, look: Look) -> Tensor:
    """Patch-embedded latents. Raises ValueError without a model."""
    if model is None:
        raise ValueError("a signal of the patch-embedded latent needs the model")
    return model.patch_embedding(look.x).float()


def wiener(look: Look, power: float = 3.0) -> Tensor:
    """The latents x = (1 - sigma) x0 + sigma e through the best linear estimate of x0, where x0 has the spectrum S ~
    f^-power, as much in all as the white noise. Gains are scaled to a mean of 1, so that the filter passes as much at
    every level."""
    lengths = look.x.shape[2:]
    axes = [torch.fft.fftfreq(n, device=look.x.device) for n in lengths[:2]] + [
        torch.fft.rfftfreq(lengths[2], device=look.x.device)
    ]
    t, y, x = torch.meshgrid(*axes, indexing="ij")
    f = (t**2 + y**2 + x**2).sqrt()
    spectrum = f.clamp(min=1 / max(lengths)) ** -power
    spectrum = spectrum / spectrum.mean()
    gain = spectrum / ((1 - look.sigma) ** 2 * spectrum + look.sigma**2)
    return torch.fft.irfftn(
        torch.fft.rfftn(look.x.float(), dim=(2, 3, 4)) * (gain / gain.mean()), s=lengths, dim=(2, 3, 4)
    )


MEASURES: dict[str, Callable[[Features | None, Look, Look], Tensor]] = {
    "latent": latent,
    "displacement": displacement,
    "motion": motion,
    "sea": sea,
}
"""Change of a unit between two iterations, a number on its device."""


class ContentSignal(Signal):
    """A signal that looks at the latents. They are kept, and what it looks at is made again, unit by unit, because
    embedded latents are a hundred times larger."""

    def __init__(self, name: str, model: Features | None, segment: Segment, aggregate: str):
        self.name, self.measure, self.model = name, MEASURES[name], model
        self.aggregate, self.frames = aggregate, segment.frames
        self.before: tuple[Tensor, np.ndarray] | None = None
        """Latents and noise level of every frame at the previous iteration."""
        self.seen: dict[int, list[float]] = {}
        """Changes so far, by own step."""

    @property
    def nbytes(self) -> int:
        return 0 if self.before is None else self.before[0].nbytes

    def release(self) -> None:
        self.before = None

    def __call__(self, step: Step, x: Tensor | None) -> np.ndarray:
        assert x is not None, "a dry run has a table instead"
        now = x, step.sigma
        before, self.before = self.before or now, now
        changes = read(
            torch.stack([self.change(self.look(now, unit), self.look(before, unit)) for unit in step.active])
        )
        for unit, change in zip(step.active, changes):
            if not np.isfinite(change):
                raise NotFiniteSignalError(self.name, unit.sigma)
            self.seen.setdefault(unit.step, []).append(change)
        return aggregated(np.array(changes), step, self.aggregate, self.frames)

    def change(self, now: Look, before: Look) -> Tensor:
        """Of the stream that changed most."""
        if self.model is None:
            return self.measure(None, now, before)
        streams = zip(self.model.streams(now.x), self.model.streams(before.x))
        changes = [self.measure(self.model, now._replace(x=x), before._replace(x=past)) for x, past in streams]
        return torch.stack(changes).amax()

    def look(self, at: tuple[Tensor, np.ndarray], unit: Unit) -> Look:
        x, sigma = at
        return Look(x[:, :, unit.frames], float(sigma[unit.frames.start]))
