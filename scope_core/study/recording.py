"""Recording of a run with every step computed: inner products of what the network returned, from which the error of any
forecast that is linear in computed steps follows without another run.

An error sum_k c_k v_k has the squared length c^T G c, with G the Gram matrix of the velocities; so a schedule is judged
from S^2 numbers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..methods import Decision, Entry, Method, Mode, Seen, Skip
from ..methods.magcache import Record
from ..schedule import Unit

BLOCK = 2**18
"""Numbers of every tensor that are multiplied at a time, in double precision."""


class Noted(NamedTuple):
    """What was seen of a unit, on the CPU."""

    x0: tuple[Tensor, ...]
    """Latents before its first step [B, C, frames, H, W], then the x0 prediction m_k at each own step,"""
    v: tuple[Tensor, ...]
    """and velocity; both until its last one."""
    gram: tuple[np.ndarray, np.ndarray] | None
    """Inner products of either, from its last step on."""
    growths: dict[int, float]
    """See `magcache.Record`."""


@dataclass(frozen=True)
class Recorder(Method):
    """Computes every step and keeps what came of it, 2 S tensors of each unit until it is done; the run is the one
    without it. Not a method for users."""

    name = "recorder"
    title = "recording of a run"
    plannable = False
    depth = 0

    signal: str = "sigma"
    ratios: bool = False
    """Note the growth of the residual as well, see `magcache.Record`."""

    def init(self) -> Noted:
        return Noted((), (), None, {})

    def forget(self, state: Noted) -> Noted:
        """What was seen was seen."""
        return state

    def decide(self, state: Noted, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        return Decision(Mode.RECOMPUTE, change, "off")

    def observe(self, state: Noted, unit: Unit, history: Sequence[Entry], seen: Seen | None) -> Noted:
        if seen is None:
            return state
        start = state.x0 or (kept(seen.latent),)
        x0, v = (*start, kept(seen.latent - unit.sigma * seen.velocity)), (*state.v, kept(seen.velocity))
        growths = Record().observe(state.growths, unit, history, seen)
        if unit.step < unit.steps:
            return Noted(x0, v, None, growths)
        return Noted((), (), (gram(x0), gram(v)), growths)

    def skip(self, state: Noted, unit: Unit, layers: int) -> Skip | None:
        return Record().skip({}, unit, layers) if self.ratios else None


def kept(x: Tensor) -> Tensor:
    return x.to("cpu", torch.float32, copy=True)


class Grams(NamedTuple):
    """Inner products, summed over all elements of a unit, float64."""

    x0: np.ndarray
    """Of [x_start, m_0, ..., m_S-1]: [units, S + 1, S + 1]."""
    v: np.ndarray
    """Of the velocities v_0, ..., v_S-1: [units, S, S]."""


def grams(states: Iterable[Noted]) -> Grams:
    """Gram matrices of the units of one segment or of several (`Control.states`), after a run of `Recorder`."""
    return Grams(*map(np.stack, zip(*(state.gram for state in states))))


def gram(tensors: Sequence[Tensor]) -> np.ndarray:
    """Inner products of tensors of one shape [n, n]."""
    flat = [x.flatten() for x in tensors]
    total = np.zeros((len(flat), len(flat)))
    for at in range(0, len(flat[0]), BLOCK):
        part = torch.stack([x[at : at + BLOCK] for x in flat]).double()
        total += (part @ part.T).numpy()
    return total
