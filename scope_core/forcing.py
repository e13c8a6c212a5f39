"""Diffusion forcing, SkyReels-V2: one network over a window whose frames stand at their own noise levels."""

import numpy as np
import torch
from torch import Tensor

from .residuals import BlockResiduals
from .schedule import ARSchedule, Segment, Step, Unit
from .term import Term, timesteps


class DiffusionForcing:
    """The field of a segment (rollout.Field); `noise` feeds the conditioning noise of the prefix."""

    def __init__(self, term: Term, segment: Segment, schedule: ARSchedule, noise: torch.Generator):
        self.term, self.segment, self.schedule, self.noise = term, segment, schedule, noise
        self.blocks = term.blocks
        self.attended = segment.blocks if schedule.causal else None

    def show(self, x: Tensor, step: Step) -> Tensor:
        self.inputs, self.t = condition(x, self.segment, self.schedule, step, self.noise)
        return x

    def due(self, step: Step) -> bool:
        return False

    def velocity(self, x: Tensor, step: Step, columns: slice, units: list[Unit], residuals: BlockResiduals | None) -> Tensor:
        return widen(self.term.velocity(self.inputs[:, :, columns], self.t[columns], cut(self.attended, columns), residuals), x)


def condition(x: Tensor, segment: Segment, schedule: ARSchedule, step: Step, noise: torch.Generator) -> tuple[Tensor, np.ndarray]:
    """What the model is shown: latents and timesteps [F]. Clean prefix frames get a little fresh noise (skyreels.md 4.3)."""
    t = timesteps(step.sigma)
    if not segment.prefix or not schedule.condition_noise:
        return x, t
    level = schedule.condition_noise / 1000
    clean = x[:, :, :segment.prefix]
    shaken = clean * (1 - level) + torch.randn(clean.shape, generator=noise, dtype=x.dtype).to(x.device) * level
    t[:segment.prefix] = schedule.condition_noise
    return torch.cat([shaken, x[:, :, segment.prefix:]], dim=2), t


def cut(blocks: tuple[slice, ...] | None, columns: slice) -> tuple[slice, ...] | None:
    """Attention blocks within the forwarded columns."""
    if blocks is None:
        return None
    return tuple(slice(b.start, min(b.stop, columns.stop)) for b in blocks if b.start < columns.stop)


def widen(v: Tensor, x: Tensor) -> Tensor:
    """Velocities of the first columns, with zeros for those that were not forwarded."""
    return v if v.shape[2] == x.shape[2] else torch.nn.functional.pad(v, (0, 0, 0, 0, 0, x.shape[2] - v.shape[2]))
