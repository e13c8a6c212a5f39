"""The step matrix of a segment: a staircase in which every block of frames starts `ar_step` iterations after the one
before it.

Source: docs/skyreels.md 4.1; arXiv 2504.13074.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, repeat
from typing import NamedTuple

import numpy as np


def step_matrix(steps: int, blocks: int, ar_step: int) -> np.ndarray:
    """Progress index u [T, blocks] of blocks that all still have to be denoised, T = steps + (blocks - 1) * ar_step.

    0: not started, 1..steps: about to take that step, steps + 1: done. Each block follows the one before it by
    `ar_step` iterations. Closed form of the recurrence in docs/skyreels.md 4.1, for ar_step <= steps.
    """
    rows = np.arange(1, steps + (blocks - 1) * ar_step + 1)[:, None]
    return np.clip(rows - ar_step * np.arange(blocks)[None], 0, steps + 1)


class Unit(NamedTuple):
    """What decisions are made for: neighbouring frames that share one noise level, at one iteration."""

    index: int  # type: ignore[assignment]  # a tuple has a method of this name
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
        """Columns of every block, for block-causal attention. Blocks are counted from the end of the prefix in both
        directions."""
        head = self.prefix % self.block
        edges = [0, *range(head or self.block, self.prefix, self.block)] if self.prefix else []
        edges += [*range(self.prefix, self.prefix + self.free, self.block), self.prefix + self.free]
        edges += [self.frames] if self.tail else []
        return tuple(slice(a, b) for a, b in pairwise(edges))

    @cached_property
    def units(self) -> tuple[slice, ...]:
        """Columns of every decision unit: the blocks to denoise, or all of them as one where they advance together."""
        end = self.prefix + self.free
        size = self.block if self.ar_step else self.free
        return tuple(slice(a, min(a + size, end)) for a in range(self.prefix, end, size))

    @property
    def rows(self) -> int:
        """T, the iterations."""
        return self.steps + (len(self.units) - 1) * self.ar_step

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
        start[:, self.prefix : self.prefix + self.free] = 0
        before = np.concatenate([start, self.matrix[:-1]])
        return (self.matrix != before) & (self.matrix != self.steps + 1)

    @cached_property
    def iterations(self) -> tuple[Step, ...]:
        levels = np.concatenate([self.sigmas[:1], self.sigmas])
        first = [columns.start for columns in self.units]
        of_units = (table[:, first].tolist() for table in (self.matrix, levels[self.matrix], self.update))
        result = []
        for t, (u, update, steps, sigmas, advances) in enumerate(zip(self.matrix, self.update, *of_units)):
            units = tuple(map(Unit, range(len(first)), self.units, steps, repeat(self.steps), sigmas, advances))
            result.append(Step(t, units, levels[u], np.clip(u - 1, 0, self.steps - 1), update))
        return tuple(result)
