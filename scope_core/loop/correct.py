"""Correction of the past: once a frame is computed again, the steps that it took on forecasts are taken again with what
is known by then.

A forecast looks ahead from computed steps; at the next computed step j the gap since the last one i lies between two
that are known. The x0 predictions of the gap are put on the line from m_i to m_j in the step index, the solver takes
its steps again, and goes on from where that leads with m_j kept: the velocity becomes (x - m_j) / sigma_j
(docs/scope.md, Correcting the past). No forward is spent, and what methods remember is untouched: the history has what
the network returned, and where.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .memory import held
from .room import CPU, HISTORY, Holder, Room
from .solver import Solver, Steps, keep, per_frame


class Anchor(NamedTuple):
    """What every frame's last computed step left behind."""

    x: Tensor
    """Latents after it [B, C, F, H, W],"""
    m: Tensor
    """its x0 prediction,"""
    memory: tuple[Tensor, ...]
    """what the solver remembers of it,"""
    k: np.ndarray
    """and its index in the sigma table [F]; meaningful where `known`."""
    known: np.ndarray
    """[F] bool: there was one."""

    def on(self, device: torch.device) -> "Anchor":
        """The same on a device."""
        memory = tuple(tensor.to(device) for tensor in self.memory)
        return self._replace(x=self.x.to(device), m=self.m.to(device), memory=memory)


class Corrected(Holder, Steps):
    """Steps of a solver, with the past corrected (`solver.Steps`)."""

    spilling = HISTORY

    def __init__(self, solver: Solver, sigmas: np.ndarray, room: Room | None = None):
        """`room` decides where the anchor lives."""
        self.solver, self.sigmas, self.reach = solver, sigmas, solver.reach
        self.room = room or Room()
        self.anchor: Anchor | None = None

    def step(self, x: Tensor, v: Tensor, k: np.ndarray, update: np.ndarray, predicted: np.ndarray) -> Tensor:
        """See `Steps`. A first step always counts as computed: a chunk that has never been cannot be forecast, so what
        it is given was computed while it waited, at the same noise level."""
        computed = update & (~predicted | (k == 0))
        if not computed.any():
            return self.solver.step(x, v, k, update, predicted)
        sigma = per_frame(np.where(update, self.sigmas[k], 1.0), x)
        m = x - sigma * v
        before = None if self.anchor is None else self.anchor.on(x.device)
        if before is not None:
            again = computed & before.known & self.worth(before.k, k)
            if again.any():
                x = self.replay(before, x, m, k, again)
                v = keep(again, (x - m) / sigma, v)
        x = self.solver.step(x, v, k, update, predicted)
        fresh = Anchor(x, m, self.solver.memory, k, computed)
        old = before or fresh
        anchor = Anchor(
            keep(computed, x, old.x),
            keep(computed, m, old.m),
            tuple(keep(computed, new, kept) for new, kept in zip(fresh.memory, old.memory)),
            np.where(computed, k, old.k),
            computed | old.known,
        )
        self.anchor = anchor.on(CPU) if self.room.short else anchor
        return x

    @property
    def spillable(self) -> bool:
        return self.anchor is not None and self.anchor.x.device != CPU

    def spill(self) -> None:
        if self.anchor is not None:
            self.anchor = self.anchor.on(CPU)

    def forget(self) -> None:
        """Between two fields there is no line."""
        self.anchor = None

    def worth(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Whether a gap from step i to step j [F] is corrected: beyond the solver's reach the line between its ends is
        no better than the forecast, except for the first gap, where a chunk's course is set."""
        gap = j - i
        return (gap > 1) & ((gap <= self.reach) | (i == 0))

    def replay(self, anchor: Anchor, x: Tensor, m: Tensor, k: np.ndarray, again: np.ndarray) -> Tensor:
        """Latents before step k [F] of the frames `again` [F], whose gap is walked a second time towards the x0
        predictions m [B, C, F, H, W] at its end. The others are as in x."""
        gap = np.where(again, k - anchor.k, 1)
        self.solver.memory = tuple(keep(again, old, new) for old, new in zip(anchor.memory, self.solver.memory))
        x = keep(again, anchor.x, x)
        for i in range(1, gap.max()):
            taken = again & (i < gap)
            now = np.where(taken, anchor.k + i, 0)
            between = anchor.m + per_frame(i / gap, x) * (m - anchor.m)
            v = (x - between) / per_frame(self.sigmas[now], x)
            x = self.solver.step(x, v, now, taken, np.zeros_like(taken))
        return x

    @property
    def nbytes(self) -> int:
        """Bytes held between steps beside what the solver itself remembers, each storage counted once."""
        if self.anchor is None:
            return 0
        return held((self.anchor.x, self.anchor.m, *self.anchor.memory))
