"""Any flow-matching model as one chunk: all frames of a video, or an image, go through the noise levels together.

Nothing is unrolled: a schedule is one segment with one unit. The noise levels are those of a host's scheduler, so that
a run without skipping is the host's own. What is exact, and against what it was checked: docs/one-chunk.md.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..loop.residuals import BlockPass
from ..loop.rollout import Field
from ..schedule import ARSchedule, Defaults, Family, ScheduleError, Segment, Step, Unit
from ..schedule.ar import falling, some_of
from ..signals import Features

TRAINED = 1000
"""Noise levels that the models were trained on, of which schedulers choose."""


class Flow(Family):
    name = "flow"
    title = "Flow matching, one chunk"
    architecture = "Wan"
    defaults = Defaults(steps=30, cfg=6.0, shift=8.0, solver="euler")
    solver_options: ClassVar = {"unipc": {"match_reference": False}}
    tables = ("simple",)
    fewest_steps = 1

    def schedule(
        self,
        frames: int,
        steps: int = defaults.steps,
        shift: float = defaults.shift,
        levels: tuple[float, ...] | None = None,
    ) -> ARSchedule:
        """All of `frames` latent frames (1 for an image) together, at `steps` levels of the table or at `levels`."""
        return ARSchedule(
            family=self,
            frames=frames,
            steps=steps,
            window=frames,
            overlap=0,
            block=1,
            shift=shift,
            table=self.tables[0],
            levels=levels,
        )

    def sigmas(self, steps: int, shift: float, table: str) -> np.ndarray:
        """Every so many of the trained levels, in single precision: the table of ComfyUI's scheduler `simple`."""
        if table not in self.tables:
            raise ScheduleError(f"sigma table {table!r} is unknown; use {self.tables[0]!r}")
        kept = [-(1 + int(step * (TRAINED / steps))) for step in range(steps)]
        return np.append(trained(shift)[kept], 0.0)

    def check_given(self, levels: Sequence[float], steps: int) -> None:
        """A part of a schedule is one, so any levels will do that fall."""
        if not (len(levels) == steps + 1 and levels[-1] >= 0 and levels[0] <= 1 and falling(levels)):
            raise ScheduleError(
                f"the sigmas have to fall within 1 and 0 in {steps} steps, without repeats; they are {some_of(levels)};"
                " use a scheduler such as simple, and SplitSigmas for a part of it"
            )

    def columns(self, segment: Segment, selective: str, *, causal: bool) -> list[slice]:
        return [slice(0, segment.frames)] * segment.rows

    def levels(self) -> np.ndarray:
        """The trained ones at the usual shift."""
        return trained(self.defaults.shift)


FLOW = Flow()


def trained(shift: float) -> np.ndarray:
    """The trained noise levels, rising, with a shift: single precision as float64."""
    one, of = np.float32(1), np.float32(TRAINED)
    t = np.arange(1, TRAINED + 1, dtype=np.float32) / of * of / of
    if shift == 1:
        return t.astype(float)
    return (np.float32(shift) * t / (one + np.float32(shift - 1) * t)).astype(float)


class FlowModel(Features, ABC):
    """A network with its prompts, behind whatever guides it (`loop.sample.Model`)."""

    family: Family = FLOW
    layers: int
    """Transformer blocks of the network that can be reused one by one; 0 where nothing is known of them."""
    forwards: float = 0.0
    """Forward passes so far, one for each guidance branch; of those that reuse blocks only the share of blocks that
    ran."""

    @abstractmethod
    def denoised(self, x: Tensor, step: Step, around: BlockPass | None) -> Tensor:
        """The estimate x0 of the clean latents, after guidance and with what is known of them put in, of latents
        x = (1 - sigma) x0 + sigma noise, both [B, C, F, H, W]. `around`, where given, is called around every
        transformer block."""

    def known(self, x0: Tensor, step: Step) -> Tensor:
        """An estimate that was not computed, with what is known of the clean latents put in; x0 itself where nothing
        is."""
        return x0

    def border(self, step: Step) -> bool:
        """See `loop.rollout.Field`. Called once at every iteration, in order."""
        return False

    def field(self, segment: Segment, schedule: ARSchedule, seed: int, apart: bool, start: Tensor | None) -> "OneChunk":
        """See `loop.sample.Model`."""
        return OneChunk(self)


class OneChunk(Field):
    """The field of a run: the slope (x - x0) / sigma of the path that leads to the model's estimate."""

    def __init__(self, model: FlowModel):
        self.model, self.layers = model, model.layers

    def show(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        return x, x

    def due(self, step: Step) -> bool:
        return False

    def border(self, step: Step) -> bool:
        return self.model.border(step)

    def resume(self, x: Tensor, done: list[tuple[Step, list[Unit]]], state: Any) -> None:
        self.model.border(done[-1][0])

    def velocity(
        self, shown: Tensor, step: Step, columns: slice, units: list[Unit], around: BlockPass | None
    ) -> Tensor:
        return slope(shown, self.model.denoised(shown, step, around), step)

    def hold(self, v: Tensor, x: Tensor, step: Step) -> Tensor:
        x0 = x - level(x, step) * v
        known = self.model.known(x0, step)
        return v if known is x0 else slope(x, known, step)


def slope(x: Tensor, x0: Tensor, step: Step) -> Tensor:
    return (x - x0) / level(x, step)


def level(x: Tensor, step: Step) -> Tensor:
    """The noise level of an iteration, in the precision of latents x."""
    return torch.full((), step.active[0].sigma, dtype=x.dtype, device=x.device)
