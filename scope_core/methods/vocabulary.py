"""The words in which methods, gate and loop speak to each other."""

from enum import Enum
from typing import NamedTuple

from torch import Tensor, device


class Mode(str, Enum):
    """What a unit does for its velocity at a step. The letters are those of the trace."""

    RECOMPUTE = "R"
    REUSE = "C"
    PREDICT = "P"


class Decision(NamedTuple):
    mode: Mode
    score: float
    rule: str
    """Key of RULES: why."""


RULES = {
    "off": ("o", "SCOPE is off"),
    "cache": ("c", "the score is below the cache threshold"),
    "predict": ("p", "the score is below the predict threshold"),
    "threshold": ("t", "the score reached the threshold"),
    "history": ("n", "not enough computed velocities to predict from"),
    "warm_up": ("w", "warm-up: a chunk's first steps are computed"),
    "tail": ("z", "a chunk's last steps are computed"),
    "entered": ("e", "nothing computed yet that could be reused"),
    "border": ("b", "other prompts, weights or controls hold from here on"),
    "max_skip": ("h", "the longest allowed run of skipped steps was reached"),
    "planned": ("s", "the plan computes this step"),
    "forecast": ("f", "the plan predicts this step"),
    "probe": ("x", "the sampler is not a known one: its first steps show how it goes"),
    "joint": ("j", "computed because another chunk needed it"),
}
"""Rule -> letter in the trace, sentence for people."""


class Entry(NamedTuple):
    """A computed step of a unit, as it is remembered."""

    sigma: float
    value: Tensor
    """Velocity [B, C, frames, H, W] after guidance, fp32. A dry run has none, and asks for none."""
    step: int = 0
    """The unit's own, 1..steps."""
    latent: Tensor = None  # type: ignore[assignment]
    """Latents that the velocity was computed at, for methods that keep them (`Method.latents`)."""

    def on(self, device: device) -> "Entry":
        """The same on a device."""
        latent = self.latent if self.latent is None else self.latent.to(device)
        return self._replace(value=self.value.to(device), latent=latent)


class Seen(NamedTuple):
    """What a computed step of a unit showed."""

    velocity: Tensor
    """[B, C, frames, H, W]"""
    latent: Tensor
    """What it was computed at."""
    change: float | None = None
    """Relative change of the blocks' outputs since the last computed step; only where the method watches
    (`Skip.watch`)."""
    growth: float | None = None
    """How much larger the residual of all blocks became, mean of |R_k| / |R_k-1| over the tokens; likewise."""
    measured: tuple[float, ...] = ()
    """What the method asked for (`Method.measure`)."""


class Skip(NamedTuple):
    """Where a method reuses inside the network."""

    record: tuple[range, ...]
    """Spans of blocks whose change is kept at computed steps."""
    replay: range
    """The one of them that is put back at skipped steps; blocks outside of it run."""
    weights: tuple[float, ...] = (1.0,)
    """Of the changes kept last, newest first: extrapolation over more than one of them. Where fewer are kept the newest
    is put back as it is."""
    probe: tuple[range, float] | None = None
    """A span that runs first, and the relative change of its own change since the last computed step below which this
    one is skipped; else it is computed after all."""
    watch: bool = False
    """Measure at computed steps how the blocks' outputs and the residual's size changed since the last one
    (`BlockResiduals.seen`)."""
