"""What is kept between steps: computed velocities of every unit, and the change some methods reuse inside the network.

A memory belongs to one segment of one run and holds computed values only; predictions never enter (law 3).
"""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

DEPTH = 3


class Entry(NamedTuple):
    sigma: float
    value: Tensor | None
    """Velocity [B, C, frames, H, W] after guidance, fp32; None in a dry run."""


class Memory:
    """The last computed velocities of each unit, newest first, at distinct noise levels."""

    def __init__(self, depth: int = DEPTH):
        self.depth = depth
        self.velocities: dict[int, deque[Entry]] = {}
        self.residuals = BlockResiduals()

    def push(self, unit: int, sigma: float, value: Tensor | None) -> None:
        entries = self.velocities.setdefault(unit, deque(maxlen=self.depth))
        if entries and entries[0].sigma == sigma:
            entries.popleft()
        entries.appendleft(Entry(sigma, value))

    def of(self, unit: int) -> tuple[Entry, ...]:
        return tuple(self.velocities.get(unit, ()))

    def drop(self, unit: int) -> None:
        self.velocities.pop(unit, None)

    def bytes(self) -> int:
        """Bytes of the tensors held, each storage counted once: units share the tensor they were computed in."""
        tensors = [entry.value for entries in self.velocities.values() for entry in entries if entry.value is not None]
        tensors += self.residuals.stored.values()
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


class BlockResiduals:
    """Recorded change of the hidden states across a span of transformer blocks, and its replay.

    Called around every block: `residuals(i, x, run, branches)`, with x [B, tokens, dim], `run(x)` the block and `branches`
    one key for each equal part of the batch, so that guidance branches never mix, however they are batched. Methods that
    reuse inside the network (TeaCache over all blocks, Delta-DiT over some) set `record` before a computed step and
    `replay` before a skipped one.
    """

    def __init__(self) -> None:
        self.stored: dict[tuple[Hashable, range], Tensor] = {}
        self.record: tuple[range, ...] = ()
        self.replay: range | None = None

    def __call__(self, index: int, x: Tensor, run: Callable[[Tensor], Tensor], branches: Sequence[Hashable]) -> Tensor:
        if self.replay is not None and index in self.replay:
            if index != self.replay[0]:
                return x
            return x + torch.cat([self.stored[branch, self.replay] for branch in branches])
        parts = list(zip(branches, range(len(branches))))
        size = x.shape[0] // len(branches)
        for span in self.record:
            if index == span[0]:
                for branch, i in parts:
                    self.stored[branch, span] = x[i * size:(i + 1) * size].clone()
        x = run(x)
        for span in self.record:
            if index == span[-1]:
                for branch, i in parts:
                    self.stored[branch, span] = x[i * size:(i + 1) * size] - self.stored[branch, span]
        return x
