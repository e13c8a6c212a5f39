"""SkyReels-V2 diffusion forcing: one network over a window whose frames stand at their own noise levels.

What is exact, and against what it was checked: docs/skyreels.md.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..loop.residuals import BlockPass
from ..loop.rollout import Field
from ..schedule import ARSchedule, Defaults, Family, ScheduleError, Segment, Step, Unit
from ..schedule.ar import STRIDE
from ..schedule.columns import window_columns
from ..schedule.levels import WholeTimesteps, shifted, timesteps
from ..signals import Features

WINDOW, OVERLAP = 25, 5
"""Latent frames that the released 540P models see at once, and that a segment takes over from the one before it."""
WINDOW_720P, SIZE_720P = 31, 1280 * 720
"""Latent frames that the 720P models see at once, and pixels of a frame from which a video is one for them."""
CONDITION_NOISE = 20.0
"""Mixed into clean prefix frames, as a timestep."""
SEED_STEP = 7919
"""Between the seeds of the conditioning noise of segments."""


class SkyReels(WholeTimesteps):
    name = "skyreels"
    title = "SkyReels-V2"
    architecture = "Wan"
    defaults = Defaults(steps=50, cfg=6.0, shift=8.0, solver="unipc")
    tables = ("official", "diffusers")

    def schedule(
        self,
        frames: int,
        steps: int = defaults.steps,
        window: int = WINDOW,
        overlap: int = OVERLAP,
        block: int = 1,
        ar_step: int = 0,
        prefix: int = 0,
        tail: int = 0,
        condition_noise: float = CONDITION_NOISE,
        shift: float = defaults.shift,
        table: str = tables[0],
        levels: tuple[float, ...] | None = None,
        causal: bool = False,
    ) -> ARSchedule:
        """Windows that overlap; see ARSchedule for what each means, all lengths in latent frames."""
        return ARSchedule(
            family=self,
            frames=frames,
            steps=steps,
            window=window,
            overlap=overlap,
            block=block,
            shift=shift,
            table=table,
            ar_step=ar_step,
            prefix=prefix,
            tail=tail,
            condition_noise=condition_noise,
            levels=levels,
            causal=causal,
        )

    def sigmas(self, steps: int, shift: float, table: str) -> np.ndarray:
        """`official` is the table of the release, `diffusers` the one of its UniPC scheduler (docs/skyreels.md 4.2).
        Their arithmetic is followed, because a last digit decides where `timesteps` cuts."""
        if table not in self.tables:
            raise ScheduleError(f"sigma table {table!r} is unknown; use {' or '.join(map(repr, self.tables))}")
        if table == "official":
            return np.append(shifted(steps, shift), 0.0)
        sigma = shifted(steps, shift, 1.0, 0.001)
        sigma[0] = np.float32(min(sigma[0], 1 - 1e-6))
        return np.append(sigma, 0.0)

    def columns(self, segment: Segment, selective: str, *, causal: bool) -> list[slice]:
        return window_columns(segment, selective, causal=causal)

    def warnings(self, schedule: ARSchedule, selective: str, solver: str) -> list[str]:
        found = []
        if selective == "paper" and not schedule.causal:
            found.append(
                "selective is 'paper' under full attention: frames that have not started are left out although others"
                " would attend to them, which changes the picture. 'auto' does it only under causal attention, where it"
                " is exact."
            )
        if selective == "paper" and not schedule.asynchronous:
            found.append(
                "selective computation has nothing to leave out: all chunks are denoised together. Set ar_step above 0."
            )
        return found


SKYREELS = SkyReels()


def snap_length(pixels: int, *, window: int, overlap: int, block: int, prefix: int = 0) -> tuple[int, str]:
    """A valid length of at least `pixels` pixel frames, and why it differs (empty if it does not).

    Valid is what fills latent frames (4n + 1) and, where that needs no further segment, ends with a full block;
    otherwise the last block is a short one. The released code drops remaining frames silently. `window`, `overlap`,
    `block` and `prefix` in latent frames; a video that fits the window has no overlap, so any will do.
    """
    reasons = []
    latents = SKYREELS.latent_frames(pixels)
    if SKYREELS.pixel_frames(latents) != pixels:
        reasons.append(f"{STRIDE} pixel frames make one latent frame, after the first")
    known, end = prefix, window
    while end < latents:
        known, end = end, end + window - overlap
    rounded = known + -(-(latents - known) // block) * block
    if latents < rounded <= end:
        latents = rounded
        reasons.append(f"the last chunk of {block} latent frames has to be full")
    snapped = SKYREELS.pixel_frames(latents)
    return snapped, f"{pixels} frames became {snapped}: " + " and ".join(reasons) if reasons else ""


def window_advice(frames: int, size: int, *, window: int, block: int) -> list[str]:
    """What to know of the window of a video of `frames` latent frames that starts from none, in sentences: how large it
    is for the video's `size` in pixels, and whether its chunks are whole. `block` is 1 where all frames go together."""
    pixels, short, found = SKYREELS.pixel_frames, window % block, []
    if size >= SIZE_720P and window == WINDOW:
        found.append(
            f"the 720P models were released with a window of {pixels(WINDOW_720P)} frames, this has {pixels(window)}"
        )
    if frames >= window and short:
        found.append(
            f"the last chunk of a window has {short} of {block} latent frames; in a window of"
            f" {pixels(window - short)} frames all are whole"
        )
    return found


class Term(Features, ABC):
    """The right-hand side of the ODE: a guided velocity model whose frames stand at their own levels
    (`loop.sample.Model`). The host's model is one, behind the user's guider; so is any plain network."""

    family: Family = SKYREELS
    layers: int
    """Transformer blocks of the network."""
    forwards: float = 0.0
    """Forward passes so far, one for each guidance branch; of those that reuse blocks only the share of blocks that
    ran."""

    @abstractmethod
    def velocity(
        self, x: Tensor, timestep: np.ndarray, attended: tuple[slice, ...] | None, around: BlockPass | None
    ) -> Tensor:
        """Velocity after guidance [B, C, F, H, W] of latents x at `timestep` [F] (1000 sigma, truncated as in the
        release).

        `attended` are the columns of the blocks of block-causal attention, None for full attention. `around`, where
        given, is called around every transformer block.
        """

    def field(
        self, segment: Segment, schedule: ARSchedule, seed: int, apart: bool, start: Tensor | None
    ) -> "DiffusionForcing":
        """See `loop.sample.Model`."""
        return DiffusionForcing(
            self, segment, schedule, torch.Generator().manual_seed((seed + SEED_STEP * (segment.index + 1)) % 2**64)
        )


class DiffusionForcing(Field):
    """The field of a segment (`loop.rollout.Field`); `noise` feeds the conditioning noise of the prefix."""

    def __init__(self, term: Term, segment: Segment, schedule: ARSchedule, noise: torch.Generator):
        self.term, self.segment, self.schedule, self.noise = term, segment, schedule, noise
        self.layers = term.layers
        self.attended = segment.blocks if schedule.causal else None

    def state(self, step: Step) -> Tensor:
        return self.noise.get_state()

    def resume(self, x: Tensor, done: list[tuple[Step, list[Unit]]], state: Tensor) -> None:
        self.noise.set_state(state)

    def show(self, x: Tensor, step: Step) -> tuple[Tensor, Any]:
        return x, condition(x, self.segment, self.schedule, step, self.noise)

    def due(self, step: Step) -> bool:
        return False

    def velocity(self, shown: Any, step: Step, columns: slice, units: list[Unit], around: BlockPass | None) -> Tensor:
        x, t = shown
        return widen(self.term.velocity(x[:, :, columns], t[columns], cut(self.attended, columns), around), x)


def condition(
    x: Tensor, segment: Segment, schedule: ARSchedule, step: Step, noise: torch.Generator
) -> tuple[Tensor, np.ndarray]:
    """What the model is shown: latents and timesteps [F]. Clean prefix frames get a little fresh noise
    (docs/skyreels.md 4.3)."""
    t = timesteps(step.sigma)
    if not segment.prefix or not schedule.condition_noise:
        return x, t
    level = schedule.condition_noise / 1000
    clean = x[:, :, : segment.prefix]
    fresh = torch.randn(clean.shape, generator=noise, dtype=x.dtype).to(x.device, non_blocking=True)
    shaken = clean * (1 - level) + fresh * level
    t[: segment.prefix] = schedule.condition_noise
    return torch.cat([shaken, x[:, :, segment.prefix :]], dim=2), t


def cut(blocks: tuple[slice, ...] | None, columns: slice) -> tuple[slice, ...] | None:
    """Attention blocks within the forwarded columns."""
    if blocks is None:
        return None
    return tuple(slice(b.start, min(b.stop, columns.stop)) for b in blocks if b.start < columns.stop)


def widen(v: Tensor, x: Tensor) -> Tensor:
    """Velocities of the first columns, with zeros for those that were not forwarded."""
    return v if v.shape[2] == x.shape[2] else torch.nn.functional.pad(v, (0, 0, 0, 0, 0, x.shape[2] - v.shape[2]))


class Guided(Term):
    """Classifier-free guidance over a plain network `model(x, t, context, mask, around)` such as
    `networks.wan.WanTransformer`."""

    def __init__(self, model: Any, positive: Tensor, negative: Tensor | None = None, cfg: float = 1.0):
        """`positive`, `negative`: text features [B or 1, L, text_dim]. No guidance at a cfg of 1 or less, as in the
        release, or without a negative."""
        self.model, self.positive, self.negative, self.cfg = model, positive, negative, cfg
        self.layers = len(model.blocks)

    @torch.no_grad()
    def velocity(
        self, x: Tensor, timestep: np.ndarray, attended: tuple[slice, ...] | None, around: BlockPass | None
    ) -> Tensor:
        t = torch.as_tensor(timestep, dtype=torch.float32).to(x.device, non_blocking=True).expand(x.shape[0], -1)
        mask = None
        if attended is not None:
            mask = block_causal_mask(attended, x.shape[2]).to(x.device, non_blocking=True)

        def run(context: Tensor, branch: str) -> Tensor:
            hook: Callable | None = None if around is None else lambda i, h, block: around(i, h, block, [(branch,)])
            v = self.model(x, t, context.expand(x.shape[0], -1, -1), mask, hook)
            self.forwards += 1 if around is None else around.take() / self.layers
            return v

        v = run(self.positive, "cond")
        if self.cfg <= 1 or self.negative is None:
            return v
        uncond = run(self.negative, "uncond")
        return uncond + self.cfg * (v - uncond)

    @torch.no_grad()
    def features(self, name: str, sigma: np.ndarray) -> Tensor:
        t = torch.as_tensor(timesteps(sigma), dtype=torch.float32)
        e = self.model.time_embed(t.to(self.positive.device, non_blocking=True))
        return e if name == "embedding" else self.model.time_projection(e)

    @torch.no_grad()
    def patch_embedding(self, x: Tensor) -> Tensor:
        return self.model.patch_embedding(x)


def block_causal_mask(blocks: tuple[slice, ...], frames: int) -> Tensor:
    """[F, F] bool, True where the frame of a row may attend to the frame of a column."""
    owner = torch.zeros(frames, dtype=torch.long)
    for i, columns in enumerate(blocks):
        owner[columns] = i
    return owner[:, None] >= owner[None]
