"""Solvers of the flow ODE dx/dsigma = v whose frames each stand at their own step.

Latents are [B, C, F, H, W]; every frame f takes step k[f] of one shared sigma table, in one vectorised update.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Steps(Protocol):
    """Takes the step of every frame that advances; leaves the others as they are."""

    def step(self, x: Tensor, v: Tensor, k: np.ndarray, update: np.ndarray, predicted: np.ndarray) -> Tensor:
        """x, v [B, C, F, H, W]; k [F] step index, update [F] bool, predicted [F] bool: v was not computed."""
        ...

    def forget(self) -> None:
        """The field becomes another one; a step that was taken is not taken again."""
        return


class Solver(Steps, Protocol):
    """One whose steps can be taken again."""

    reach: float
    """Longest gap between computed steps that is worth correcting afterwards, see `loop.correct`."""
    memory: tuple[Tensor, ...]
    """What it remembers of every frame's last steps, [B, C, F, H, W] each; put back, it goes on from there."""


def per_frame(values: np.ndarray, x: Tensor) -> Tensor:
    """Coefficients [F] shaped to multiply latents [B, C, F, H, W]."""
    return torch.as_tensor(values, dtype=x.dtype).to(x.device, non_blocking=True).view(1, 1, -1, 1, 1)


def keep(update: np.ndarray, new: Tensor, old: Tensor) -> Tensor:
    """New values for the frames that advance, old ones for the rest."""
    if update.all():
        return new
    return torch.where(torch.as_tensor(update).to(new.device, non_blocking=True).view(1, 1, -1, 1, 1), new, old)


class Euler(Solver):
    """First order: x + (sigma_next - sigma) v. Paper Eq. 1."""

    reach = math.inf

    def __init__(self, sigmas: np.ndarray):
        self.delta = np.diff(sigmas)
        self.memory: tuple[Tensor, ...] = ()

    def step(self, x: Tensor, v: Tensor, k: np.ndarray, update: np.ndarray, predicted: np.ndarray) -> Tensor:
        return x + per_frame(np.where(update, self.delta[k], 0.0), x) * v


MOST_NOISE = 1 - 1e-6
"""Level that stands for 1 in logarithms, as in diffusers' scheduler."""


@dataclass(frozen=True)
class UniPCTable:
    """Coefficients by step index k, [S] each; docs/skyreels.md 4.2 gives their derivation and symbols."""

    sigma: np.ndarray
    r: np.ndarray
    slope: np.ndarray
    """Predictor: weight of (m_{k-1} - m_k); 0 for the first and the last step, which are of order 1."""
    r_c: np.ndarray
    past: np.ndarray
    """Corrector: weight of (m_{k-2} - m_{k-1})."""
    now: np.ndarray
    """Corrector: weight of (m_k - m_{k-1})."""

    @classmethod
    def build(cls, sigmas: np.ndarray) -> "UniPCTable":
        steps = len(sigmas) - 1
        r = sigmas[1:] / sigmas[:-1]
        with np.errstate(divide="ignore"):
            lam = np.log1p(-np.minimum(sigmas, MOST_NOISE)) - np.log(sigmas)
        h = np.diff(lam)
        slope, past, now = (np.zeros(steps) for _ in range(3))
        for k in range(1, steps - 1):
            slope[k] = 0.5 * h[k] / (lam[k - 1] - lam[k])
        now[1:2] = 0.5
        for k in range(2, steps):
            hh = -h[k - 1]
            e = np.expm1(hh)
            b1 = (e / hh - 1) / e
            b2 = 2 * ((e / hh - 1) / hh - 0.5) / e
            rho = (lam[k - 2] - lam[k - 1]) / h[k - 1]
            past[k] = (b1 - b2) / (1 - rho) / rho
            now[k] = b1 - past[k] * rho
        return cls(sigmas[:-1], r, slope, np.concatenate([[1.0], r[:-1]]), past, now)


class UniPC(Solver):
    """UniPC of order 2 (B(h) = e^h - 1, x0 prediction, lower order in the last step), the host solver of SkyReels-V2.

    The corrector looks back with the model's newest output, so it is applied only where that output was computed
    (docs/scope.md C11). `match_reference` repeats a quirk of the released code, in which the first corrector starts
    from the already updated sample.
    """

    reach: float = 3

    def __init__(self, sigmas: np.ndarray, match_reference: bool = True):
        self.table = UniPCTable.build(sigmas)
        self.match_reference = match_reference
        self.memory: tuple[Tensor, ...] = ()
        """Of every frame's last step: its latents, its estimate m and that of the step before."""

    def step(self, x: Tensor, v: Tensor, k: np.ndarray, update: np.ndarray, predicted: np.ndarray) -> Tensor:
        c = self.table
        m = x - per_frame(c.sigma[k], x) * v
        x_last, m_last, m_before = self.memory or (x, m, m)
        correct = update & ~predicted & (k >= 1)
        if correct.any():
            start = x_last
            if self.match_reference:
                start = keep(k == 1, x, start)
            r = per_frame(c.r_c[k], x)
            slope = per_frame(c.past[k], x) * (m_before - m_last) + per_frame(c.now[k], x) * (m - m_last)
            x = keep(correct, r * start + (1 - r) * (m_last + slope), x)
        r = per_frame(c.r[k], x)
        moved = r * x + (1 - r) * (m + per_frame(c.slope[k], x) * (m_last - m))
        self.memory = keep(update, x, x_last), keep(update, m, m_last), keep(update, m_last, m_before)
        return keep(update, moved, x)


class AB2(Solver):
    """Adams-Bashforth of order 2 in the noise level: x + h [(1 + rho / 2) v_k - rho / 2 v_k-1] with h the step and rho
    its ratio to the one before; the first step is Euler's. For runs of few steps (docs/methods.md, Fewer steps)."""

    reach = math.inf
    theta = 0.0

    def __init__(self, sigmas: np.ndarray):
        self.delta = np.diff(sigmas)
        self.rho = np.append(0.0, self.delta[1:] / self.delta[:-1])
        """0 for the first step."""
        self.memory: tuple[Tensor, ...] = ()
        """Velocities of every frame's last two steps, newest first."""

    def step(self, x: Tensor, v: Tensor, k: np.ndarray, update: np.ndarray, predicted: np.ndarray) -> Tensor:
        last, before = self.memory or (v, v)
        slope = v + per_frame(self.rho[k] / 2, x) * (v - last)
        if self.theta:
            forecast = last + per_frame(np.where(k >= 2, self.rho[k - 1], 0.0), x) * (last - before)
            slope = slope + per_frame(np.where(k >= 2, self.theta, 0.0), x) * (v - forecast)
        self.memory = keep(update, v, last), keep(update, last, before)
        return keep(update, x + per_frame(self.delta[k], x) * slope, x)


class CAB(AB2):
    """AB2 with theta times what the newest velocity differs from its own linear forecast by, from the third step on
    (arXiv 2605.16736). theta 0.2 was published for Qwen-Image, and 0.9 as the default."""

    theta = 0.2


SOLVERS = {"unipc": UniPC, "euler": Euler, "ab2": AB2, "cab": CAB}
