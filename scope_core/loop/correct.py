"""Correction of the past: once a frame is computed again, the steps that it took on forecasts are taken again with
what is known by then.

A forecast looks ahead from computed steps; at the next computed step j the gap since the last one i lies between two
that are known. Its x0 predictions m are put on the line from m_i to m_j in the step index, the solver takes the steps of
the gap again from the latent at i, and goes on from where that leads, with m_j kept: the velocity becomes (x - m_j) /
sigma_j (docs/scope.md, Correcting the past). No forward is spent, and what methods remember is untouched: the history
has what the network returned, and where.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .solver import Solver, keep, per_frame


class Anchor(NamedTuple):
    """Of every frame's last computed step."""

    x: Tensor
    """Latents before it [B, C, F, H, W],"""
    m: Tensor
    """the x0 prediction,"""
    memory: tuple[Tensor, ...]
    """what the solver remembered,"""
    k: np.ndarray
    """and its index in the sigma table [F]; -1 where there was none."""


class Corrected:
    """A solver (`solver.Solver`) around another one."""

    def __init__(self, solver: Solver, sigmas: np.ndarray):
        self.solver, self.sigmas = solver, sigmas
        self.anchor: Anchor | None = None

    def step(self, x: Tensor, v: Tensor, k: np.ndarray, update: np.ndarray, predicted: np.ndarray) -> Tensor:
        """See `Solver`."""
        computed = update & ~predicted
        if not computed.any():
            return self.solver.step(x, v, k, update, predicted)
        sigma = per_frame(self.sigmas[k], x)
        m = x - sigma * v
        if self.anchor is not None:
            gap = np.where(computed & (self.anchor.k >= 0), k - self.anchor.k, 0)
            if (gap > 1).any():
                x = keep(gap > 1, self.replay(x, m, gap), x)
                v = (x - m) / sigma
        memory = self.solver.memory(x, m)
        old = self.anchor or Anchor(x, m, memory, np.full_like(k, -1))
        self.anchor = Anchor(
            keep(computed, x, old.x),
            keep(computed, m, old.m),
            tuple(keep(computed, new, kept) for new, kept in zip(memory, old.memory)),
            np.where(computed, k, old.k),
        )
        return self.solver.step(x, v, k, update, predicted)

    def replay(self, x: Tensor, m: Tensor, gap: np.ndarray) -> Tensor:
        """Latents of the frames with a `gap` [F] of more than one step, taken through it again; the others are left
        undefined. m [B, C, F, H, W] are the x0 predictions at its end."""
        start, again = self.anchor, gap > 1
        now = self.solver.memory(x, m)
        self.solver.recall(tuple(keep(again, old, new) for old, new in zip(start.memory, now)))
        y = keep(again, start.x, x)
        for i in range(gap.max()):
            taken = again & (i < gap)
            k = np.where(taken, start.k + i, 0)
            between = start.m + per_frame(np.where(taken, i / np.maximum(gap, 1), 0.0), x) * (m - start.m)
            v = (y - between) / per_frame(self.sigmas[k], x)
            y = self.solver.step(y, v, k, taken, np.zeros_like(taken))
        return y
