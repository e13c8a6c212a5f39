"""MAGI-1: chunks of six latent frames go through the noise levels one after the other, each attending to those before
it.

The schedule is a staircase like that of SkyReels-V2; what differs is how the network is called. A finished chunk is
forwarded once more, clean, so that later chunks read its keys and values. What is exact, and against what it was
checked: docs/magi1.md.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..loop.residuals import BlockPass
from ..loop.rollout import Field
from ..loop.room import KEYS_AND_VALUES, Holder
from ..networks.chunk_cache import Budget, ChunkCache
from ..networks.compression import Compression
from ..schedule import ARSchedule, Defaults, Family, ScheduleError, Segment, Step, Unit
from ..schedule.columns import active_columns
from ..signals import Features

CHUNK = 6
"""Latent frames."""
STRIDE = 4
"""Pixel frames per latent frame."""
MAPPED_STEPS = 960
"""Of the map of signals: divisible by 8, 12, 16, 24, 32, 40, 48, 64 ..."""
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
    """How many chunks a chunk attends to, itself included, by the part of its steps it is in; empty: all before it.
    Raises ScheduleError."""

    noisy: tuple[int, ...] = (5, 4, 3, 2)
    clean: int = 1
    """The same for a chunk that is shown clean; -1: as in the last part."""

    def __post_init__(self) -> None:
        if any(chunks < 1 for chunks in self.noisy) or (self.clean < 1 and self.clean != -1):
            raise ScheduleError(
                f"the reach is {self.noisy} chunks, {self.clean} for a clean one; a chunk sees at least itself, so use"
                " 1 or more, and -1 for a clean one to see as many as in the last part"
            )

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
        """First chunk that a window whose oldest chunk is `oldest`, or the clean one before it, may still read."""
        return max(0, oldest + 1 - max(*self.noisy, self.clean)) if self.noisy else 0


class ShortCut(NamedTuple):
    """Which of 16 steps a table of 12 keeps (docs/magi1.md 4.7, 3.2)."""

    within: tuple[int, ...]
    """Steps of each quarter of four."""
    lengths: tuple[int, ...]
    """Of these steps, in sixteenths."""


TABLES = {"magi 8,16,16": ShortCut((0, 2, 3), (2, 1, 1)), "magi 16,16,8": ShortCut((0, 1, 2), (1, 1, 2))}
"""They differ at 12 steps only."""


class Magi(Family):
    name = "magi"
    title = "MAGI-1"
    defaults = Defaults(steps=64, cfg=7.5, shift=3.0, solver="euler")
    paper = "paper_magi_fast"
    by_chunk = True
    tables = tuple(TABLES)

    def defaults_of(self, model: str) -> Defaults:
        """Of the published models: 4.5B, 24B base and 24B distilled."""
        steps = (16 if "distilled" in model else 32) if "24B" in model else self.defaults.steps
        return self.defaults._replace(steps=steps)

    def schedule(
        self,
        frames: int,
        steps: int = defaults.steps,
        window: int = 4,
        prefix: int = 0,
        reach: Reach = Reach(),
        table: str = tables[0],
        shift: float = defaults.shift,
        levels: tuple[float, ...] | None = None,
    ) -> ARSchedule:
        """Staircase of a video of at least `frames` latent frames, `prefix` known ones included, with `window` chunks
        in the works at a time.

        Whole known chunks are the schedule's prefix; the rest of the known frames is put back at every step
        (`ChunkField`).
        """
        if reach.noisy and steps % len(reach.noisy):
            raise ScheduleError(
                f"{steps} steps cannot be divided into {len(reach.noisy)} parts of different reach; "
                f"use a multiple of {len(reach.noisy)}"
            )
        if not 1 <= window <= steps or steps % window:
            raise ScheduleError(
                f"{steps} steps cannot be spread over a window of {window} chunks; use a window that divides them, such"
                f" as {', '.join(str(w) for w in range(1, 9) if steps % w == 0)}"
            )
        if prefix >= frames:
            raise ScheduleError(
                f"the known start has {prefix} latent frames and the video {frames}; "
                "make the video longer or give fewer start frames"
            )
        whole = -(-frames // CHUNK) * CHUNK
        return ARSchedule(
            family=self,
            frames=whole,
            steps=steps,
            window=whole,
            overlap=CHUNK,
            block=CHUNK,
            shift=shift,
            table=table,
            ar_step=steps // window,
            prefix=prefix // CHUNK * CHUNK,
            levels=levels,
            causal=True,
        )

    def sigmas(self, steps: int, shift: float, table: str) -> np.ndarray:
        if table not in TABLES:
            raise ScheduleError(f"sigma table {table!r} is unknown; use {' or '.join(map(repr, TABLES))}")
        return 1 - times(steps, table, shift)

    def columns(self, segment: Segment, selective: str, *, causal: bool) -> list[slice]:
        """The chunks that advance, which is exact by itself."""
        return active_columns(segment)

    def layouts(self, segment: Segment, columns: list[slice]) -> list[object]:
        return [(part, twice(step)) for part, step in zip(columns, segment.iterations)]

    def latent_frames(self, pixels: int) -> int:
        return -(-pixels // STRIDE)

    def pixel_frames(self, latents: int) -> int:
        return latents * STRIDE

    def levels(self) -> np.ndarray:
        """A fine grid that has the levels of all usual numbers of steps."""
        return self.sigmas(MAPPED_STEPS, self.defaults.shift, self.tables[0])[:-1]

    def told(self, schedule: ARSchedule) -> str:
        """A distilled model is told its number of steps."""
        return str(schedule.steps)

    def warnings(self, schedule: ARSchedule, selective: str, solver: str) -> list[str]:
        if solver == self.defaults.solver:
            return []
        return [
            (
                f"the solver is {solver}; MAGI-1 was released with {self.defaults.solver}, what it makes with another"
                " was not compared."
            )
        ]


MAGI = Magi()


def times(steps: int, table: str, shift: float) -> np.ndarray:
    """Times [steps + 1] from 0 (noise) to 1 (clean), the released fp32 arithmetic as float64; docs/magi1.md 4.7."""
    base = np.arange(steps + 1, dtype=np.float32) / np.float32(steps)
    if steps == 12:
        kept = TABLES[table].within
        base = np.array([*(stage / 4 + step / 16 for stage in range(4) for step in kept), 1], dtype=np.float32)
    square = base**2
    shifted = square * np.float32(1 / shift) / (1 + np.float32(1 / shift - 1) * square)
    return np.minimum(shifted, 1).astype(float)


def step_size(steps: int, table: str = Magi.tables[0], within: int = 0) -> float:
    """What a distilled model is told about its steps: half their number, and for the short-cuts how long step `within`
    of a stage is (docs/magi1.md 3.2)."""
    if steps != 12:
        return steps / 2
    return 8 / TABLES[table].lengths[within % 3]


def twice(step: Step) -> bool:
    """Whether a one-branch model sees the oldest chunk a second time."""
    return float(np.float32(1 - step.active[0].sigma)) > NEAR_CLEAN


class Call(NamedTuple):
    """What `ChunkModel` is called with."""

    x: Tensor
    times: Sequence[float]
    chunks: Sequence[int]
    ranges: Sequence[tuple[int, int]]
    text: Sequence[int | None]
    """The chunk whose caption is told, None for the null caption."""
    cache: ChunkCache | None
    keep: Sequence[int]
    dt: float | None
    dropped: bool
    around: Callable | None


class ChunkModel(Features, ABC):
    """The transformer with its captions, and how it is run (`loop.sample.Model`)."""

    family: Family = MAGI
    layers: int
    """Transformer blocks of the network."""
    forwards: float = 0.0
    """Chunks forwarded so far, in all branches; where blocks are reused only the share of blocks that ran."""
    reach: Reach = Reach()
    text_scale: float | None = None
    """Guidance of a base model in its first three stages, released with 7.5; None for distilled models, which have
    none."""
    kv_bytes: float = math.inf
    """Keys and values beyond, of all guidance branches together, wait in the CPU's memory."""
    compress: Compression | None = None
    """How keys and values of finished chunks lose tokens, for a reach over all of them."""

    @abstractmethod
    def __call__(
        self,
        x: Tensor,
        times: Sequence[float],
        chunks: Sequence[int],
        ranges: Sequence[tuple[int, int]],
        text: Sequence[int | None],
        cache: ChunkCache | None,
        keep: Sequence[int],
        dt: float | None,
        dropped: bool,
        around: Callable | None,
    ) -> Tensor:
        """Velocity clean - noise [B, C, 6r, H, W] of r chunks (see MagiTransformer.forward)."""

    def together(self, calls: Sequence[Call]) -> list[Tensor]:
        """Velocities of calls none of which needs what another one leaves behind."""
        return [self(*call) for call in calls]

    def forwarded(self, chunks: float) -> None:
        """Called after calls with the chunks that they forwarded."""
        self.forwards += chunks

    def field(
        self, segment: Segment, schedule: ARSchedule, seed: int, apart: bool, start: Tensor | None
    ) -> "ChunkField":
        """See `loop.sample.Model`."""
        return ChunkField(self, segment, schedule, start, apart)


@dataclass(frozen=True)
class Shown:
    """A chunk in a call."""

    chunk: int
    time: float
    reach: tuple[int, int]
    text: bool


@dataclass(frozen=True)
class Iteration:
    """What all calls of an iteration share."""

    x: Tensor
    dt: float | None
    """Step size that a distilled model is told."""
    around: BlockPass | None


class ChunkField(Holder, Field):
    """The field of MAGI-1 (`loop.rollout.Field`)."""

    spilling = KEYS_AND_VALUES

    def __init__(
        self, model: ChunkModel, segment: Segment, schedule: ARSchedule, start: Tensor | None = None, apart: bool = True
    ):
        """`start` [B, C, P, H, W]: known first frames, of which those behind the last whole chunk are put back at every
        step. `apart`: chunks may be left out of calls."""
        self.model, self.reach, self.segment, self.start, self.apart = model, model.reach, segment, start, apart
        self.steps, self.table, self.layers = schedule.steps, schedule.table, model.layers
        self.first = segment.prefix // CHUNK
        """First chunk to denoise."""
        self.times = (1 - segment.sigmas).astype(np.float32)
        self.cache = ChunkCache(Budget(model.kv_bytes), compress=model.compress)
        self.text_cache = ChunkCache(behind=self.cache)
        """Of the branch with text, for chunks that are left out of a call; finished chunks are read from `cache` by
        all."""

    @property
    def guided(self) -> bool:
        return self.model.text_scale is not None

    @property
    def spillable(self) -> bool:
        return self.cache.budget.spillable

    def spill(self) -> None:
        self.cache.budget.spill()

    def mark(self) -> Callable[[], None]:
        """Keys and values that compression takes tokens from; all others that a call replaces it puts in again."""
        finished = self.cache.finished if self.cache.compress else 0
        before = {at: pair for at, pair in self.cache.stored.items() if at[1] < finished}
        return lambda: self.cache.stored.update(before)

    def show(self, x: Tensor, step: Step) -> tuple[Tensor, Any]:
        known = 0 if self.start is None else self.start.shape[2]
        oldest = step.active[0].frames
        if oldest.start < known:
            x = torch.cat([x[:, :, : oldest.start], self.latents(x, oldest), x[:, :, oldest.stop :]], 2)
        return x, x

    def latents(self, x: Tensor, frames: slice) -> Tensor:
        """Latents of one chunk with known frames put back."""
        if self.start is None or self.start.shape[2] <= frames.start:
            return x[:, :, frames]
        known = self.start[:, :, frames]
        return torch.cat([known, x[:, :, frames.start + known.shape[2] : frames.stop]], 2)

    def due(self, step: Step) -> bool:
        """A chunk was finished: it has to be shown clean. Others are in the works than before, so nothing is reused
        inside the network."""
        return step.index % self.segment.ar_step == 0 and step.active[0].index > 0

    def velocity(self, shown: Any, step: Step, columns: slice, units: list[Unit], around: BlockPass | None) -> Tensor:
        x: Tensor = shown
        oldest = self.cache.finished = self.first + step.active[0].index
        within = step.index % self.segment.ar_step
        this = Iteration(x, None if self.guided else step_size(self.steps, self.table, within), around)
        if step.index == 0 and self.first:
            self.read_prefix(this)
        entries = [Shown(oldest - 1, CLEAN, self.reach.of_clean(oldest - 1), False)] if self.due(step) else []
        for unit in units:
            chunk = self.first + unit.index
            reach = self.reach.of_noisy(chunk, unit.step - 1, unit.steps)
            entries.append(Shown(chunk, float(self.times[unit.step - 1]), reach, True))
        scale = self.model.text_scale
        made = self.one_branch(this, entries, oldest) if scale is None else self.three_branches(this, entries, scale)
        for chunk in range(self.reach.first_needed(oldest)):
            self.cache.drop(chunk)
        v = torch.zeros_like(x)
        for place, entry in enumerate(entries):
            v[:, :, entry.chunk * CHUNK : (entry.chunk + 1) * CHUNK] = -made[:, :, place * CHUNK : (place + 1) * CHUNK]
        return v

    def state(self, step: Step) -> Any:
        """Keys and values that cannot be made again: of chunks in the works that may be left out of the next call, and
        all where they lose tokens, for which ones depends on the chunks that asked."""
        working = {self.first + unit.index for unit in step.active if unit.step < unit.steps} if self.apart else set()
        return [
            {at: pair for at, pair in cache.stored.items() if self.model.compress or at[1] in working}
            for cache in (self.cache, self.text_cache)
        ]

    def resume(self, x: Tensor, done: list[tuple[Step, list[Unit]]], state: Any) -> None:
        """Finished chunks are shown clean again, each in a call of the same shape as then, so that the kernels are the
        same; what stands in it beside the clean chunk does not matter, for no row reads another chunk's."""
        for cache, stored in zip((self.cache, self.text_cache), state):
            cache.stored.update(stored)
        if self.model.compress:
            return
        first = self.reach.first_needed(self.first + done[-1][0].active[0].index) if self.reach.clean == 1 else 0
        this = Iteration(x, None if self.guided else step_size(self.steps, self.table), None)
        if first < self.first:
            self.read_prefix(this)
        for step, units in done:
            oldest = self.first + step.active[0].index
            if self.due(step) and oldest > first:
                self.show_clean(this, oldest, units)
            for chunk in range(self.reach.first_needed(oldest)):
                self.cache.drop(chunk)

    def show_clean(self, this: Iteration, oldest: int, units: list[Unit]) -> None:
        """Leave the keys and values of the chunk before the `oldest`, as the call with these units did."""
        clean = Shown(oldest - 1, CLEAN, self.reach.of_clean(oldest - 1), False)
        beside = [
            Shown(chunk, float(self.times[unit.step - 1]), (chunk, chunk + 1), not self.guided)
            for unit in units
            for chunk in [self.first + unit.index]
        ]
        alone = [] if self.guided else [entry for entry in beside if entry.chunk == oldest and entry.time > NEAR_CLEAN]
        call = self.call(this, [clean, *beside], self.cache, keep=[clean], dropped=self.guided, alone=alone)
        self.run(None, [call])

    def read_prefix(self, this: Iteration) -> None:
        shown = [Shown(chunk, CLEAN, self.reach.of_prefix(chunk), False) for chunk in range(self.first)]
        self.run(None, [self.call(Iteration(this.x, this.dt, None), shown, self.cache, dropped=self.guided)])

    def one_branch(self, this: Iteration, shown: list[Shown], oldest: int) -> Tensor:
        """docs/magi1.md 4.5: late in its steps the oldest chunk is also shown alone, and both velocities are mixed."""
        again = [entry for entry in shown if entry.chunk == oldest and entry.time > NEAR_CLEAN]
        (made,) = self.run(this.around, [self.call(this, shown, self.cache, alone=again)])
        for entry in again:
            place = shown.index(entry) * CHUNK
            history = slice(place, place + CHUNK)
            made[:, :, history] = WITH_HISTORY * made[:, :, history] + (1 - WITH_HISTORY) * made[:, :, -CHUNK:]
        return made

    def three_branches(self, this: Iteration, shown: list[Shown], text_scale: float) -> Tensor:
        """docs/magi1.md 4.6: text and history, history, neither."""
        noisy = [entry for entry in shown if entry.text]
        calls = [
            self.call(this, shown, self.text_cache, keep=noisy if self.apart else []),
            self.call(this, [Shown(e.chunk, e.time, e.reach, False) for e in shown], self.cache, dropped=True),
        ]
        if noisy:
            alone = [Shown(e.chunk, e.time, (e.chunk, e.chunk + 1), False) for e in noisy]
            calls.append(self.call(this, alone, None, keep=[], dropped=True))
        with_text, with_history, *last = self.run(this.around, calls)
        bare = torch.zeros_like(with_text)
        if noisy:
            bare[:, :, -len(noisy) * CHUNK :] = last[0]
        for entry in shown:
            if not entry.text:
                self.text_cache.drop(entry.chunk)
        stages = [sum(edge - 1e-7 < entry.time for edge in STAGES) - 1 for entry in shown]
        p, s = (
            torch.tensor([scales[q] for q in stages])
            .to(this.x.device, non_blocking=True)
            .repeat_interleave(CHUNK)
            .view(1, 1, -1, 1, 1)
            for scales in (HISTORY_SCALES, [text_scale * share for share in TEXT_SHARES])
        )
        return (1 - p) * bare + (p - s) * with_history + s * with_text

    def call(
        self,
        this: Iteration,
        shown: list[Shown],
        cache: ChunkCache | None,
        keep: list[Shown] | None = None,
        dropped: bool = False,
        alone: Sequence[Shown] = (),
    ) -> Call:
        """For the velocity of the chunks shown, then of those shown `alone`. `keep`: whose keys and values are kept, by
        default all."""
        beyond = self.segment.frames // CHUNK
        copies = [
            Shown(beyond + i, entry.time, (beyond + i, beyond + i + 1), entry.text) for i, entry in enumerate(alone)
        ]
        entries = [*shown, *copies]
        branch = 2 if cache is None else int(dropped)
        around, hook = this.around, None
        if around is not None:
            keys = [None if entry.time == CLEAN else (branch, entry.chunk) for entry in entries]

            def hook(i: int, hidden: Tensor, block: Callable[[Tensor], Tensor]) -> Tensor:
                return around(i, hidden, block, keys, dim=1, copies=len(copies))

        parts = [*shown, *alone]
        inputs = torch.cat(
            [self.latents(this.x, slice(entry.chunk * CHUNK, (entry.chunk + 1) * CHUNK)) for entry in parts], 2
        )
        told = [entry.chunk if entry.text else None for entry in parts]
        kept = [entry.chunk for entry in (shown if keep is None else keep)]
        return Call(
            inputs,
            [entry.time for entry in entries],
            [entry.chunk for entry in entries],
            [entry.reach for entry in entries],
            told,
            cache,
            kept,
            this.dt,
            dropped,
            hook,
        )

    def run(self, around: BlockPass | None, calls: list[Call]) -> list[Tensor]:
        """Compression changes what other calls read, and a probe in the first call decides for the others."""
        in_turn = self.cache.compress is not None or (around is not None and around.skip.probe is not None)
        together = [[call] for call in calls] if in_turn else [calls]
        made = [v for part in together for v in self.model.together(part)]
        chunks = sum(len(call.chunks) for call in calls)
        self.model.forwarded(chunks if around is None else around.take() / self.layers)
        return made
