"""How an autoregressive video is unrolled: segments (windows that overlap), within them blocks that follow each other
through the noise levels.

What differs between families of models, as far as a schedule, a plan and a person can tell, is a `Family`: one object,
made once in its own file under `families`, beside the field that shows its network a half-denoised video. Everything
else asks the object and never its name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .matrix import Segment


class ScheduleError(ValueError):
    """A schedule that cannot be sampled. The message names the value, the allowed range and the way out."""


STRIDE = 4
"""Pixel frames per latent frame of most video autoencoders, except the first, which holds one."""
SHIFTS = 0.01, 1000.0
"""Beyond, almost all steps would fall on one noise level."""


def check_shift(shift: float) -> None:
    """Raises ScheduleError."""
    low, high = SHIFTS
    if not low <= shift <= high:
        raise ScheduleError(
            f"shift is {shift:g}; it must lie between {low:g} and {high:g} (8 for text to video, 5 for image to video)"
        )


def levels_at(steps: Sequence[int], sigmas: np.ndarray) -> np.ndarray:
    """Noise levels before some steps (from 1 on, and always the first) of those in `sigmas` [S + 1], and the last one.
    Raises ScheduleError."""
    chosen = sorted({1, *steps})
    if chosen[0] < 1 or chosen[-1] >= len(sigmas):
        raise ScheduleError(
            f"steps are {', '.join(map(str, steps))}; they count from 1 to {len(sigmas) - 1}, for example 1, 3, 6, 10"
        )
    return np.append(sigmas[np.array(chosen) - 1], sigmas[-1])


def falling(levels: Sequence[float]) -> bool:
    return all(a > b for a, b in pairwise(levels))


def some_of(levels: Sequence[float]) -> str:
    """The first and the last of many noise levels, for people."""
    return f"{', '.join(f'{s:.3g}' for s in levels[:3])} ... {levels[-1]:.3g}"


class Defaults(NamedTuple):
    """How a family is sampled where nobody says otherwise."""

    steps: int
    cfg: float
    """Scale of classifier-free guidance; 1 is none."""
    shift: float
    """Of the noise levels towards 1; 0 where it follows the size of the video."""
    solver: str
    """Key of `loop.solver.SOLVERS`."""


class Family(ABC):
    name: ClassVar[str]
    """Key in `families.FAMILIES`."""
    title: ClassVar[str]
    """For people."""
    architecture: ClassVar[str] = ""
    """Of the network, where numbers that methods published for an architecture may hold for it: 'Wan'."""
    defaults: ClassVar[Defaults]
    paper: ClassVar[str] = "paper_fast"
    """Preset of what the SCOPE paper printed for it."""
    solver_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Keywords of solvers, by key, where its published code takes steps otherwise than they do by default."""
    fps: ClassVar[int] = 24
    """Frames per second of its videos."""
    by_chunk: ClassVar[bool] = False
    """Units go through the network on their own, so that each may decide for itself and counts as an evaluation;
    otherwise an iteration forwards its whole interval, for which all decide together."""
    history: ClassVar[int] = 0
    """Latent frames before a window that the network looks back on. They are no part of the window, so that windows
    need not overlap."""
    tables: ClassVar[tuple[str, ...]]
    """Names of its tables of noise levels, the usual one first."""
    features: ClassVar[tuple[str, ...]] = ("modulation", "embedding")
    """Signals of them that depend on the noise level alone and are asked of the network; they are mapped once and known
    for ever after."""
    signals: ClassVar[tuple[str, ...]] = ("modulation", "embedding", "sigma", "latent", "displacement", "motion", "sea")
    """What decisions can look at, see `signals`."""

    def defaults_of(self, model: str) -> Defaults:
        """The defaults of one of its models, by the name that its loader gives, such as 'MAGI-1 24B distilled'."""
        return self.defaults

    @abstractmethod
    def schedule(self, frames: int, steps: int = ...) -> ARSchedule:
        """A schedule for a video of `frames` latent frames; what else it takes is the family's own. Raises
        ScheduleError."""

    @abstractmethod
    def sigmas(self, steps: int, shift: float, table: str) -> np.ndarray:
        """Noise levels [steps + 1] of one of its `tables`, from almost 1 down to 0, float64. Raises ScheduleError for
        other names."""

    fewest_steps: ClassVar[int] = 2
    """Steps that a schedule has at least."""

    def check_given(self, levels: Sequence[float], steps: int) -> None:
        """Raises ScheduleError for noise levels of somebody else's scheduler that this family cannot go through."""
        if not (len(levels) == steps + 1 and 0.9 <= levels[0] <= 1 and levels[-1] == 0 and falling(levels)):
            raise ScheduleError(
                f"the sigmas have to fall from about 1 to 0 in {steps} steps, without repeats; they are"
                f" {some_of(levels)}; use AR Sigmas, or a scheduler such as simple with denoise 1, because"
                f" {self.title} makes every frame from noise"
            )

    def given(self, levels: np.ndarray) -> np.ndarray:
        """Noise levels [steps + 1] that somebody else's scheduler gave, as this family's network can take them."""
        return levels

    def single(self, levels: np.ndarray) -> np.ndarray:
        """Noise levels [steps + 1] in single precision, for somebody else's sampler."""
        return levels.astype(np.float32)

    @abstractmethod
    def columns(self, segment: Segment, selective: str, *, causal: bool) -> list[slice]:
        """Columns of a segment forwarded at each iteration, T slices."""

    def layouts(self, segment: Segment, columns: list[slice]) -> list[object]:
        """What the hidden states are made of at each iteration, to be compared: what was kept inside the network under
        another layout cannot be reused."""
        return list(columns)

    def latent_frames(self, pixels: int) -> int:
        """Latent frames that hold a number of pixel frames, rounded up."""
        return -(-(pixels - 1) // STRIDE) + 1

    def pixel_frames(self, latents: int) -> int:
        """Pixel frames that a number of latent frames decodes to."""
        return (latents - 1) * STRIDE + 1

    @abstractmethod
    def levels(self) -> np.ndarray:
        """Noise levels of a map of its signals (`signals.maps`), which answers for every number of steps."""

    def place(self, schedule: ARSchedule) -> tuple[np.ndarray, bool]:
        """Where in `levels` those before each own step of a schedule are [S], and whether they are exactly there."""
        distance = np.abs(self.levels()[:, None] - schedule.sigmas[None, :-1])
        return distance.argmin(0), bool(distance.min(0).max() < 1e-6)

    def told(self, schedule: ARSchedule) -> str:
        """What the network is told of a schedule beside the noise level, so that a map holds for that alone; empty
        where it is nothing."""
        return ""

    def warnings(self, schedule: ARSchedule, selective: str, solver: str) -> list[str]:
        """What a user should know of these choices before trusting a result, in sentences."""
        return []

    def unusual(self, cfg: float, shift: float) -> str:
        """What to tell somebody who samples with settings that are surely not meant for its models; empty for
        others."""
        return ""

    def describe(self, schedule: ARSchedule) -> dict[str, Any]:
        """A schedule for the head of a trace."""
        names = (
            "frames",
            "steps",
            "window",
            "overlap",
            "block",
            "ar_step",
            "prefix",
            "tail",
            "condition_noise",
            "shift",
            "causal",
        )
        return {name: getattr(schedule, name) for name in names}


@dataclass(frozen=True)
class ARSchedule:
    """How a video of `frames` latent frames is unrolled; made by `Family.schedule`, which knows what is usual. All
    lengths in latent frames.

    Raises ScheduleError for settings that do not fit together.

    >>> from scope_core import SKYREELS
    >>> schedule = SKYREELS.schedule(25, steps=50, block=5, ar_step=5)
    >>> schedule.iterations, [unit.stop - unit.start for unit in schedule.segments[0].units]
    (70, [5, 5, 5, 5, 5])
    """

    family: Family
    frames: int
    steps: int
    window: int
    """Frames that the model sees at once."""
    overlap: int
    """Frames that a segment takes over from the one before it."""
    block: int
    """Frames that advance together where blocks follow each other, and see each other under block-causal attention."""
    shift: float
    table: str
    """Which of the family's tables of noise levels."""
    ar_step: int = 0
    """Iterations by which a block starts after the one before it; 0: all together."""
    prefix: int = 0
    """Clean frames the video starts from."""
    tail: int = 0
    """Clean frames the video leads to. They are shown to the model behind the last window and are not part of the
    result."""
    condition_noise: float = 0.0
    """Noise mixed into clean prefix frames before the model sees them, as a timestep of 1000."""
    levels: tuple[float, ...] | None = None
    """Noise levels [steps + 1] to use instead of the table, from a host's scheduler, see `Family.check_given`."""
    causal: bool = False
    """Block-causal attention: a block sees itself and the blocks before it."""

    def __post_init__(self) -> None:
        def check(ok: bool, message: str) -> None:
            if not ok:
                raise ScheduleError(message)

        fewest = self.family.fewest_steps
        check(self.steps >= fewest, f"steps is {self.steps}, but at least {fewest} are needed; 30 to 50 are usual")
        check(self.frames >= 1, f"the video has {self.frames} latent frames; it needs at least 1")
        check_shift(self.shift)
        check(
            1 <= self.block <= self.window,
            f"chunk is {self.block} latent frames; it must lie between 1 and the window of {self.window}",
        )
        check(
            0 <= self.ar_step <= self.steps,
            f"ar_step is {self.ar_step}; it must lie between 0 (all chunks together) and steps = {self.steps}",
        )
        check(
            self.table in self.family.tables,
            f"sigma table {self.table!r} is unknown; use {' or '.join(map(repr, self.family.tables))}",
        )
        check(
            0 <= self.condition_noise < 1000,
            f"condition_noise is {self.condition_noise:g}; it must lie in [0, 1000), 20 is usual",
        )
        check(
            self.prefix >= 0 and self.tail >= 0,
            f"prefix is {self.prefix} and tail {self.tail} latent frames; each must be 0 or more",
        )
        check(
            self.prefix < min(self.frames, self.window),
            f"the start has {self.prefix} latent frames, which leaves nothing to make in a window of "
            f"{min(self.frames, self.window)}; give fewer start frames, or a longer video and window",
        )
        check(
            not (self.tail and self.causal),
            f"the end has {self.tail} latent frame{'s' if self.tail > 1 else ''}, which no other frame would see: with"
            " causal attention a chunk sees itself and what lies before it. Turn causal off, or disconnect the end",
        )
        if self.levels is not None:
            self.family.check_given(self.levels, self.steps)
        if self.frames > self.window and not self.family.history:
            pixels = self.family.pixel_frames
            check(
                1 <= self.overlap < self.window,
                f"overlap is {self.overlap} latent frames; for a video longer than the window ({self.frames} >"
                f" {self.window}) it must lie between 1 and {self.window - 1} ({pixels(self.window - 1)} frames)",
            )
            check(
                self.overlap % self.block == 0 or (not self.ar_step and not self.causal),
                f"overlap is {self.overlap} latent frames, not a multiple of the chunk of {self.block}; use "
                f"{' or '.join(str(pixels(n)) for n in self.fitting_overlaps()) or 'no other'} frames, or another"
                " chunk",
            )

    def fitting_overlaps(self) -> list[int]:
        """The nearest overlaps below and above that are whole chunks and fit the window, in latent frames."""
        below = self.overlap // self.block * self.block
        return [n for n in (below, below + self.block) if 1 <= n < self.window]

    @cached_property
    def sigmas(self) -> np.ndarray:
        """Noise levels [steps + 1] that every frame goes through, from almost 1 down to 0."""
        if self.levels is None:
            return self.family.sigmas(self.steps, self.shift, self.table)
        return self.family.given(np.array(self.levels))

    def only(self, steps: Sequence[int]) -> ARSchedule:
        """The schedule that goes through these of its own steps alone (from 1 on): fewer steps, at the noise levels
        that somebody has chosen. The lag shrinks with their number. Raises ScheduleError.

        >>> from scope_core import SKYREELS
        >>> SKYREELS.schedule(25, steps=50, ar_step=5).only(range(1, 51, 5)).ar_step
        1
        """
        levels = levels_at(steps, self.sigmas)
        lag = max(1, round(self.ar_step * (len(levels) - 1) / self.steps)) if self.ar_step else 0
        return replace(self, steps=len(levels) - 1, levels=tuple(levels.tolist()), ar_step=lag)

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Windows of the video: the first of at most `window` frames, each later one starts with `overlap` known
        frames."""
        spans = [(0, min(self.frames, self.window), self.prefix)]
        stride = self.window - self.overlap
        while spans[-1][0] + spans[-1][1] < self.frames:
            start = len(spans) * stride
            spans.append((start, min(self.window, self.frames - start), self.overlap))
        last = len(spans) - 1
        return tuple(
            Segment(
                i, start, prefix, frames - prefix, self.tail if i == last else 0, self.block, self.ar_step, self.sigmas
            )
            for i, (start, frames, prefix) in enumerate(spans)
        )

    @property
    def iterations(self) -> int:
        """Iterations of all segments."""
        return sum(segment.rows for segment in self.segments)

    @property
    def asynchronous(self) -> bool:
        return self.ar_step > 0 and any(len(segment.units) > 1 for segment in self.segments)
