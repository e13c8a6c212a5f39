"""Which latent frame is at which noise level at which iteration: SkyReels-V2 diffusion forcing (MAGI-1: see `magi`).

A long video is cut into segments (windows that overlap). Within a segment frames are grouped into blocks, and each
block starts `ar_step` iterations after the one before it, which makes the step matrix a staircase.
Source: skyreels.md section 4; arXiv 2504.13074.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import NamedTuple

import numpy as np

TEMPORAL_STRIDE = 4
"""Pixel frames per latent frame of the Wan VAE, except the first, which holds one."""


class ScheduleError(ValueError):
    """A schedule that cannot be sampled. The message names the value, the allowed range and the way out."""


def sigma_table(steps: int, shift: float, table: str = "official") -> np.ndarray:
    """Noise levels [steps + 1], from almost 1 down to 0, float64.

    `official` is the table of the SkyReels-V2 release, `diffusers` the one of its UniPC scheduler (skyreels.md 4.2), `magi` that of
    MAGI-1 (magi1.md 4.7), released with shift 3; its 12 steps are short-cuts of 16, `magi 16,16,8` the other kind of them.
    """
    if table.startswith("magi"):
        return 1 - magi_times(steps, table.partition(" ")[2] or "8,16,16", shift)
    if table == "official":
        sigma = np.linspace(0.999, 0, steps + 1)[:-1]
        sigma = shift * sigma / (1 + (shift - 1) * sigma)
    elif table == "diffusers":
        sigma = np.linspace(1, 0.001, steps + 1)[:-1]
        sigma = shift * sigma / (1 + (shift - 1) * sigma)
        sigma[0] = np.float32(min(sigma[0], 1 - 1e-6))
    else:
        raise ScheduleError(f"sigma table {table!r} is unknown; use 'official' or 'diffusers'")
    return np.append(sigma, 0.0)


def magi_times(steps: int, shortcut: str, shift: float = 3.0) -> np.ndarray:
    """Times [steps + 1] of MAGI-1 from 0 (noise) to 1 (clean), the released fp32 arithmetic as float64; magi1.md 4.7."""
    base = np.arange(steps + 1, dtype=np.float32) / np.float32(steps)
    if steps == 12:
        within = {"8,16,16": (0, 2, 3), "16,16,8": (0, 1, 2)}[shortcut]
        base = np.array([*(stage / 4 + step / 16 for stage in range(4) for step in within), 1], dtype=np.float32)
    square = base**2
    times = square * np.float32(1 / shift) / (1 + np.float32(1 / shift - 1) * square)
    return np.minimum(times, 1).astype(float)


def latent_frames(pixel_frames: int) -> int:
    """Latent frames that hold a number of pixel frames, rounded up."""
    return -(-(pixel_frames - 1) // TEMPORAL_STRIDE) + 1


def pixel_frames(latents: int) -> int:
    return (latents - 1) * TEMPORAL_STRIDE + 1


def step_matrix(steps: int, blocks: int, ar_step: int) -> np.ndarray:
    """Progress index u [T, blocks] of blocks that all still have to be denoised, T = steps + (blocks - 1) * ar_step.

    0: not started, 1..steps: about to take that step, steps + 1: done. Each block follows the one before it by
    `ar_step` iterations. Closed form of the recurrence in skyreels.md 4.1, for ar_step <= steps.
    """
    rows = np.arange(1, steps + (blocks - 1) * ar_step + 1)[:, None]
    return np.clip(rows - ar_step * np.arange(blocks)[None], 0, steps + 1)


class Unit(NamedTuple):
    """What decisions are made for: neighbouring frames that share one noise level, at one iteration."""

    index: int
    frames: slice
    """Columns of the segment."""
    step: int
    """0: not started, 1..steps: about to take that step, steps + 1: done."""
    steps: int
    sigma: float
    """Noise level before this iteration."""
    advances: bool
    """Whether this iteration denoises the unit."""


@dataclass(frozen=True)
class Step:
    """One iteration of a segment."""

    index: int
    units: tuple[Unit, ...]
    sigma: np.ndarray
    """[F] noise level of every frame before this iteration; 0 for clean ones."""
    k: np.ndarray
    """[F] index into the sigma table of the step each frame takes; meaningful where `update` is True."""
    update: np.ndarray
    """[F] bool: the frames that take a step."""

    @property
    def active(self) -> list[Unit]:
        return [unit for unit in self.units if unit.advances]


@dataclass(frozen=True)
class Segment:
    """One window of a video. Columns: `prefix` clean frames, the frames to denoise, `tail` clean end frames."""

    index: int
    start: int
    """Position of column 0 in the video, in latent frames."""
    prefix: int
    free: int
    """Frames to denoise."""
    tail: int
    block: int
    ar_step: int
    sigmas: np.ndarray

    @property
    def frames(self) -> int:
        return self.prefix + self.free + self.tail

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @cached_property
    def blocks(self) -> tuple[slice, ...]:
        """Columns of every block, for block-causal attention. Blocks are counted from the end of the prefix in both directions."""
        head = self.prefix % self.block
        edges = [0, *range(head or self.block, self.prefix, self.block)] if self.prefix else []
        edges += [*range(self.prefix, self.prefix + self.free, self.block), self.prefix + self.free]
        edges += [self.frames] if self.tail else []
        return tuple(slice(a, b) for a, b in zip(edges, edges[1:]))

    @cached_property
    def units(self) -> tuple[slice, ...]:
        """Columns of every decision unit: the blocks to denoise, or all of them as one where they advance together."""
        end = self.prefix + self.free
        size = self.block if self.ar_step else self.free
        return tuple(slice(a, min(a + size, end)) for a in range(self.prefix, end, size))

    @cached_property
    def matrix(self) -> np.ndarray:
        """Progress index u [T, F]; prefix and tail are done from the start."""
        columns = step_matrix(self.steps, len(self.units), self.ar_step)
        sizes = [unit.stop - unit.start for unit in self.units]
        columns = np.repeat(columns, sizes, axis=1)
        return np.pad(columns, ((0, 0), (self.prefix, self.tail)), constant_values=self.steps + 1)

    @cached_property
    def update(self) -> np.ndarray:
        """Update mask m [T, F] of paper Eq. 8: the index changed and is not yet the terminal one."""
        start = np.where(self.matrix[:1] > self.steps, self.steps + 1, 0)
        start[:, self.prefix:self.prefix + self.free] = 0
        before = np.concatenate([start, self.matrix[:-1]])
        return (self.matrix != before) & (self.matrix != self.steps + 1)

    @cached_property
    def iterations(self) -> tuple[Step, ...]:
        levels = np.concatenate([self.sigmas[:1], self.sigmas])
        first = [columns.start for columns in self.units]
        rows = zip(self.matrix, self.update, *(table[:, first].tolist() for table in (self.matrix, levels[self.matrix], self.update)))
        result = []
        for t, (u, update, steps, sigmas, advances) in enumerate(rows):
            units = tuple(map(Unit, range(len(first)), self.units, steps, repeat(self.steps), sigmas, advances))
            result.append(Step(t, units, levels[u], np.clip(u - 1, 0, self.steps - 1), update))
        return tuple(result)


@dataclass(frozen=True)
class ARSchedule:
    """How a video of `frames` latent frames is unrolled. All lengths in latent frames.

    Raises ScheduleError for settings that do not fit together.
    """

    frames: int
    steps: int = 50
    window: int = 25
    overlap: int = 5
    block: int = 1
    ar_step: int = 0
    prefix: int = 0
    """Clean frames the video starts from."""
    tail: int = 0
    """Clean frames the video leads to. They are shown to the model behind the last window and are not part of the result."""
    condition_noise: float = 20
    """Noise mixed into clean prefix frames before the model sees them, as a timestep of 1000."""
    shift: float = 8.0
    table: str = "official"
    levels: tuple[float, ...] | None = None
    """Noise levels [steps + 1] to use instead of the table, from a host's scheduler; the last one is 0."""
    causal: bool = False
    """Block-causal attention: a block sees itself and the blocks before it."""

    def __post_init__(self) -> None:
        def check(ok: bool, message: str) -> None:
            if not ok:
                raise ScheduleError(message)

        check(self.steps >= 2, f"steps is {self.steps}, but at least 2 are needed; 30 to 50 are usual")
        check(self.frames >= 1, f"the video has {self.frames} latent frames; it needs at least 1")
        check(self.shift > 0, f"shift is {self.shift:g}; it must be above 0 (8 for text to video, 5 for image to video)")
        check(1 <= self.block <= self.window,
              f"chunk is {self.block} latent frames; it must lie between 1 and the window of {self.window}")
        check(0 <= self.ar_step <= self.steps,
              f"ar_step is {self.ar_step}; it must lie between 0 (all chunks together) and steps = {self.steps}")
        check(0 <= self.condition_noise < 1000, f"condition_noise is {self.condition_noise:g}; it must lie in [0, 1000), 20 is usual")
        check(self.prefix >= 0 and self.tail >= 0, f"prefix is {self.prefix} and tail {self.tail} latent frames; neither can be negative")
        check(self.prefix < min(self.frames, self.window),
              f"the start has {self.prefix} latent frames, which leaves nothing to make in a window of "
              f"{min(self.frames, self.window)}; give fewer start frames, or a longer video and window")
        if self.levels is not None:
            check(len(self.levels) == self.steps + 1 and 0.9 <= self.levels[0] <= 1 and self.levels[-1] == 0 and all(a > b for a, b in zip(self.levels, self.levels[1:])),
                  f"the sigmas have to fall from about 1 to 0 in {self.steps} steps, without repeats; they are "
                  f"{', '.join(f'{s:.3g}' for s in self.levels[:3])} ... {', '.join(f'{s:.3g}' for s in self.levels[-1:])}. Use a scheduler such as simple, with denoise 1")
        if self.frames > self.window:
            check(1 <= self.overlap < self.window,
                  f"overlap is {self.overlap} latent frames; for a video longer than the window ({self.frames} > {self.window}) "
                  f"it must lie between 1 and {self.window - 1} ({pixel_frames(self.window - 1)} frames)")
            check(self.overlap % self.block == 0 or not self.ar_step and not self.causal,
                  f"overlap is {self.overlap} latent frames, not a multiple of the chunk of {self.block}; use "
                  f"{' or '.join(str(pixel_frames(n)) for n in self.fitting_overlaps()) or 'no other'} frames, or another chunk")

    def fitting_overlaps(self) -> list[int]:
        """The nearest overlaps below and above that are whole chunks and fit the window, in latent frames."""
        below = self.overlap // self.block * self.block
        return [n for n in (below, below + self.block) if 1 <= n < self.window]

    @cached_property
    def sigmas(self) -> np.ndarray:
        if self.levels is None:
            return sigma_table(self.steps, self.shift, self.table)
        levels = np.array(self.levels)
        if self.chunked:
            return levels
        levels[0] = min(levels[0], max(1 - 1e-4, (1 + levels[1]) / 2))
        return levels

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Windows of the video: the first of at most `window` frames, each later one starts with `overlap` known frames."""
        spans = [(0, min(self.frames, self.window), self.prefix)]
        stride = self.window - self.overlap
        while spans[-1][0] + spans[-1][1] < self.frames:
            start = len(spans) * stride
            spans.append((start, min(self.window, self.frames - start), self.overlap))
        last = len(spans) - 1
        return tuple(
            Segment(i, start, prefix, frames - prefix, self.tail if i == last else 0, self.block, self.ar_step, self.sigmas)
            for i, (start, frames, prefix) in enumerate(spans))

    @property
    def chunked(self) -> bool:
        """Chunks go through the network on their own, as in MAGI-1, and not as parts of a window that is forwarded as a whole."""
        return self.table.startswith("magi")

    @property
    def iterations(self) -> int:
        return sum(len(segment.matrix) for segment in self.segments)

    @property
    def asynchronous(self) -> bool:
        return self.ar_step > 0 and any(len(segment.units) > 1 for segment in self.segments)


def snap_length(pixels: int, *, window: int, overlap: int, block: int, prefix: int = 0) -> tuple[int, str]:
    """A valid length of at least `pixels` pixel frames, and why it differs (empty if it does not).

    Valid is what fills latent frames (4n + 1) and, where that needs no further segment, ends with a full block; otherwise the
    last block is a short one. The released code drops remaining frames silently. `window`, `overlap`, `block` and `prefix`
    in latent frames.
    """
    reasons = []
    latents = latent_frames(pixels)
    if pixel_frames(latents) != pixels:
        reasons.append(f"{TEMPORAL_STRIDE} pixel frames make one latent frame, after the first")
    stride = window - overlap
    segments = max(0, -(-(latents - window) // stride))
    known = segments * stride + overlap if segments else prefix
    rounded = known + -(-(latents - known) // block) * block
    if latents < rounded <= segments * stride + window:
        latents = rounded
        reasons.append(f"the last chunk of {block} latent frames has to be full")
    snapped = pixel_frames(latents)
    return snapped, f"{pixels} frames became {snapped}: " + " and ".join(reasons) if reasons else ""
