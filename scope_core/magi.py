"""MAGI-1: chunks of six latent frames go through the noise levels one after the other, each attending to those before it.

The schedule is a staircase like that of SkyReels-V2; what differs is how the network is called. A finished chunk is forwarded
once more, clean, so that later chunks read its keys and values. Source: magi1.md section 4.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .kv import Compression
from .residuals import BlockResiduals
from .models.magi import ChunkCache
from .schedule import ARSchedule, ScheduleError, Segment, Step, Unit

CHUNK = 6
"""Latent frames."""
CLEAN = 0.9999
"""Time at which clean chunks are shown."""
NEAR_CLEAN = 0.3
"""From this time on, the one-branch model sees the oldest chunk a second time, alone."""
WITH_HISTORY = 0.7
"""Weight of its velocity beside the history."""
STAGES = (0.0, 0.0217, 0.1, 0.3, 0.999)
TEXT_SCALE = 7.5
TEXT_SHARES = (1.0, 1.0, 1.0, 0.0, 0.0)
HISTORY_SCALES = (1.5, 1.5, 1.5, 1.0, 1.0)
"""Three-branch guidance by time."""


@dataclass(frozen=True)
class Reach:
    """How many chunks a chunk attends to, itself included, by the part of its steps it is in; empty: all before it."""

    noisy: tuple[int, ...] = (5, 4, 3, 2)
    clean: int = 1
    """The same for a chunk that is shown clean; -1: as in the last part."""

    def of_noisy(self, chunk: int, step: int, steps: int) -> tuple[int, int]:
        """Range [start, end) of a chunk about to take `step` (0..steps - 1)."""
        return (max(0, chunk + 1 - self.noisy[step * len(self.noisy) // steps]) if self.noisy else 0, chunk + 1)

    def of_clean(self, chunk: int) -> tuple[int, int]:
        reach = self.clean if self.clean != -1 else (self.noisy or (8,))[-1]
        return (max(0, chunk + 1 - reach) if self.noisy else 0, chunk + 1)

    def of_prefix(self, chunk: int) -> tuple[int, int]:
        reach = self.clean if self.clean != -1 else (self.noisy or (8,))[-1]
        return max(0, chunk + 1 - reach), chunk + 1

    def first_needed(self, oldest: int) -> int:
        """First chunk that a window whose oldest chunk is `oldest` may still read."""
        return max(0, oldest + 1 - max(self.noisy)) if self.noisy else 0


def magi_schedule(frames: int, steps: int = 64, window: int = 4, prefix: int = 0, reach: Reach = Reach(), shortcut: str = "8,16,16") -> ARSchedule:
    """Staircase of a video of at least `frames` latent frames, `prefix` known ones included, with `window` chunks in the works at a time.

    Whole known chunks are the schedule's prefix; the rest of the known frames is put back at every step (`ChunkField`).
    Raises ScheduleError for settings that do not fit together.
    """
    if reach.noisy and steps % len(reach.noisy):
        raise ScheduleError(f"{steps} steps cannot be divided into {len(reach.noisy)} parts of different reach; use a multiple of {len(reach.noisy)}")
    if not 1 <= window <= steps or steps % window:
        raise ScheduleError(f"{steps} steps cannot be spread over a window of {window} chunks; use a window that divides them, such as "
                            f"{', '.join(str(w) for w in range(1, 9) if steps % w == 0)}")
    if prefix >= frames:
        raise ScheduleError(f"the known start has {prefix} latent frames and the video {frames}; make the video longer or give fewer start frames")
    whole = -(-frames // CHUNK) * CHUNK
    return ARSchedule(whole, steps, window=whole, overlap=CHUNK, block=CHUNK, ar_step=steps // window, prefix=prefix // CHUNK * CHUNK, condition_noise=0,
                      shift=3.0, table=f"magi {shortcut}", causal=True)


def step_size(steps: int, shortcut: str = "8,16,16", within: int = 0) -> float:
    """What a distilled model is told about its steps: half their number, and for the short-cuts how long step `within` of a stage is
    (magi1.md 3.2)."""
    if steps != 12:
        return steps / 2
    return 8 / {"8,16,16": (2, 1, 1), "16,16,8": (1, 1, 2)}[shortcut][within % 3]


def twice(step: Step) -> bool:
    """Whether a one-branch model sees the oldest chunk a second time."""
    return float(np.float32(1 - step.active[0].sigma)) > NEAR_CLEAN


class Network(Protocol):
    """The transformer with its captions."""

    blocks: int

    def __call__(self, x: Tensor, times: Sequence[float], chunks: Sequence[int], ranges: Sequence[tuple[int, int]], text: Sequence[int | None],
                 cache: ChunkCache | None, keep: Sequence[int], dt: float | None, dropped: bool, around: Callable | None) -> Tensor:
        """Velocity clean - noise [B, C, 6r, H, W] of r chunks (see MagiTransformer.forward); `text`: the chunk whose caption is
        told, None for the null caption."""
        ...


@dataclass(frozen=True)
class Shown:
    """A chunk in a call."""

    chunk: int
    time: float
    reach: tuple[int, int]
    text: bool


class ChunkField:
    """The field of MAGI-1 (rollout.Field)."""

    def __init__(self, network: Network, schedule: ARSchedule, reach: Reach = Reach(), text_scale: float | None = None, start: Tensor | None = None,
                 skips: bool = True, kv_bytes: float = math.inf, compress: Compression | None = None):
        """`text_scale`: guidance of a base model in its first three stages, released with 7.5; None for distilled models, which have none.
        `start` [B, C, P, H, W] are known first frames, of which those behind the last whole chunk are put back at every step. `skips`:
        chunks may be left out of calls. `kv_bytes`: keys and values beyond wait in the CPU's memory. `compress`: how those of
        finished chunks lose tokens, for a reach over all of them."""
        self.network, self.reach, self.text_scale, self.start, self.skips = network, reach, text_scale, start, skips
        self.segment, = schedule.segments
        self.residuals: BlockResiduals | None = None
        self.steps, self.shortcut = schedule.steps, schedule.table.partition(" ")[2]
        self.blocks, segment = network.blocks, self.segment
        self.first = segment.prefix // CHUNK
        """First chunk to denoise."""
        self.times = (1 - segment.sigmas).astype(np.float32)
        self.cache = ChunkCache(kv_bytes, compress=compress)
        self.text_cache = ChunkCache(kv_bytes, behind=self.cache)
        """Of the branch with text, for chunks that are left out of a call; finished chunks are read from `cache` by all."""
        self.forwards = 0.0
        """Chunks forwarded so far, in all branches; where blocks are reused only the share of blocks that ran."""

    @property
    def guided(self) -> bool:
        return self.text_scale is not None

    def show(self, x: Tensor, step: Step) -> Tensor:
        known = 0 if self.start is None else self.start.shape[2]
        oldest = step.active[0].frames
        if oldest.start >= known:
            return x
        return torch.cat([x[:, :, :oldest.start], self.latents(x, oldest), x[:, :, oldest.stop:]], 2)

    def latents(self, x: Tensor, frames: slice) -> Tensor:
        """Latents of one chunk with known frames put back."""
        known = 0 if self.start is None else min(self.start.shape[2], frames.stop) - frames.start
        if known <= 0:
            return x[:, :, frames]
        return torch.cat([self.start[:, :, frames.start:frames.start + known], x[:, :, frames.start + known:frames.stop]], 2)

    def due(self, step: Step) -> bool:
        """A chunk was finished: it has to be shown clean. Others are in the works than before, so nothing is reused inside the network."""
        return step.index % self.segment.ar_step == 0 and step.active[0].index > 0

    def velocity(self, x: Tensor, step: Step, columns: slice, units: list[Unit], residuals: BlockResiduals | None) -> Tensor:
        oldest = self.cache.finished = self.first + step.active[0].index
        self.within = step.index % self.segment.ar_step
        if step.index == 0 and self.first:
            self.read_prefix(x)
        shown = [Shown(oldest - 1, CLEAN, self.reach.of_clean(oldest - 1), False)] if self.due(step) else []
        for unit in units:
            chunk = self.first + unit.index
            shown.append(Shown(chunk, float(self.times[unit.step - 1]), self.reach.of_noisy(chunk, unit.step - 1, unit.steps), True))
        self.residuals = residuals
        made = self.guide(x, shown, oldest)
        for chunk in range(self.reach.first_needed(oldest)):
            self.cache.drop(chunk)
        v = torch.zeros_like(x)
        for place, entry in enumerate(shown):
            v[:, :, entry.chunk * CHUNK:(entry.chunk + 1) * CHUNK] = -made[:, :, place * CHUNK:(place + 1) * CHUNK]
        return v

    def read_prefix(self, x: Tensor) -> None:
        shown = [Shown(chunk, CLEAN, self.reach.of_prefix(chunk), False) for chunk in range(self.first)]
        self.call(x, shown, self.cache, dropped=self.guided)

    def guide(self, x: Tensor, shown: list[Shown], oldest: int) -> Tensor:
        """Velocity clean - noise of the chunks shown, after guidance."""
        return self.three_branches(x, shown) if self.guided else self.one_branch(x, shown, oldest)

    def one_branch(self, x: Tensor, shown: list[Shown], oldest: int) -> Tensor:
        """magi1.md 4.5: late in its steps the oldest chunk is also shown alone, and both velocities are mixed."""
        again = [entry for entry in shown if entry.chunk == oldest and entry.time > NEAR_CLEAN]
        made = self.call(x, shown, self.cache, alone=again)
        for entry in again:
            place = shown.index(entry) * CHUNK
            history = slice(place, place + CHUNK)
            made[:, :, history] = WITH_HISTORY * made[:, :, history] + (1 - WITH_HISTORY) * made[:, :, -CHUNK:]
        return made

    def three_branches(self, x: Tensor, shown: list[Shown]) -> Tensor:
        """magi1.md 4.6: text and history, history, neither."""
        noisy = [entry for entry in shown if entry.text]
        with_text = self.call(x, shown, self.text_cache, keep=noisy if self.skips else [])
        with_history = self.call(x, [Shown(e.chunk, e.time, e.reach, False) for e in shown], self.cache, dropped=True)
        bare = torch.zeros_like(with_text)
        if noisy:
            bare[:, :, -len(noisy) * CHUNK:] = self.call(
                x, [Shown(e.chunk, e.time, (e.chunk, e.chunk + 1), False) for e in noisy], None, keep=[], dropped=True)
        for entry in shown:
            if not entry.text:
                self.text_cache.drop(entry.chunk)
        stages = [sum(edge - 1e-7 < entry.time for edge in STAGES) - 1 for entry in shown]
        p, s = (torch.tensor([scales[q] for q in stages], device=x.device).repeat_interleave(CHUNK).view(1, 1, -1, 1, 1)
                for scales in (HISTORY_SCALES, [self.text_scale * share for share in TEXT_SHARES]))
        return (1 - p) * bare + (p - s) * with_history + s * with_text

    def call(self, x: Tensor, shown: list[Shown], cache: ChunkCache | None, keep: list[Shown] | None = None, dropped: bool = False,
             alone: list[Shown] = []) -> Tensor:
        """Velocity of the chunks shown, then of those shown `alone`. `keep`: whose keys and values are kept, by default all."""
        beyond = self.segment.frames // CHUNK
        copies = [Shown(beyond + i, entry.time, (beyond + i, beyond + i + 1), entry.text) for i, entry in enumerate(alone)]
        entries = [*shown, *copies]
        branch = "bare" if cache is None else "history" if dropped else "text"
        residuals, around = self.residuals, None
        if residuals is not None:
            residuals.frames = CHUNK
            keys = [None if e.time == CLEAN else (branch, e.chunk) for e in entries]

            def around(i: int, hidden: Tensor, block: Callable[[Tensor], Tensor]) -> Tensor:
                return residuals(i, hidden, block, keys, dim=1, copies=len(copies))
        inputs = torch.cat([self.latents(x, slice(e.chunk * CHUNK, (e.chunk + 1) * CHUNK)) for e in [*shown, *alone]], 2)
        told = [e.chunk if e.text else None for e in [*shown, *alone]]
        dt = None if self.guided else step_size(self.steps, self.shortcut, self.within)
        made = self.network(inputs, [e.time for e in entries], [e.chunk for e in entries], [e.reach for e in entries], told, cache,
                            [e.chunk for e in (shown if keep is None else keep)], dt, dropped, around)
        self.forwards += len(entries) if residuals is None else residuals.take() / self.blocks
        return made
