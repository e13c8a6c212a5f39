"""What is kept between steps: computed velocities of every unit, and the change some methods reuse inside the network.

A memory belongs to one segment of one run and holds computed values only; predictions never enter (law 3).
"""

from collections import deque
from collections.abc import Callable, Hashable
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

    Called around every block: `residuals(i, x, run, branch)`, with x [B, tokens, dim], `run(x)` the block and `branch` a
    key that tells guidance branches apart. Methods that reuse inside the network (TeaCache over all blocks, Delta-DiT over
    some) set `record` before a computed step and `replay` before a skipped one.
    """

    def __init__(self) -> None:
        self.stored: dict[tuple[Hashable, range], Tensor] = {}
        self.entered: dict[tuple[Hashable, range], Tensor] = {}
        self.record: tuple[range, ...] = ()
        self.replay: range | None = None

    def __call__(self, index: int, x: Tensor, run: Callable[[Tensor], Tensor], branch: Hashable) -> Tensor:
        if self.replay is not None and index in self.replay:
            return x + self.stored[branch, self.replay] if index == self.replay[0] else x
        for span in self.record:
            if index == span[0]:
                self.entered[branch, span] = x.clone()
        x = run(x)
        for span in self.record:
            if index == span[-1]:
                self.stored[branch, span] = torch.sub(x, self.entered.pop((branch, span)))
        return x

    def fits(self, span: range, branches: int, tokens: int) -> bool:
        """Whether every branch has a recorded change of this span for this many tokens."""
        held = [t for (_, s), t in self.stored.items() if s == span]
        return len(held) >= branches and all(t.shape[1] == tokens for t in held)
