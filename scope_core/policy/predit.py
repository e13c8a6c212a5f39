"""PrediT: forecast the velocity by Adams-Bashforth, over a horizon that shrinks where it changes fast (arXiv 2602.18093; methods.md 2.6).

A re-derivation from second-hand descriptions: the full text and code were not reachable. With f = dv/dsigma, order 1 continues the last slope and order 2
is Adams-Bashforth 2 over uneven gaps of the noise level. delta_n is the relative change |v_n - v_n-1| / |v_n-1| of the last two computed velocities, not
divided by the steps between them. The corrector is a compute. Every unit has its own horizon; one joint forward follows the shortest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..memory import Entry
from ..predict import ab2, combine, taylor1
from ..schedule import Unit
from .base import Decision, Mode, Policy, Seen

EPS = 1e-8


@dataclass(frozen=True)
class PrediT(Policy):
    """Raises ValueError for settings out of range."""

    name = "predit"
    title = "PrediT"
    plannable = False

    tau: float = 1.0
    """Tolerance: the horizon is floor(tau / (delta_n + eps)^(1 / (order + 1))) steps."""
    order: int = 2
    longest: int = 8
    """J_max."""

    def __post_init__(self) -> None:
        if not self.tau >= 0:
            raise ValueError(f"PrediT tau is {self.tau:g}; it must be at least 0, for example 1")
        if self.order not in (1, 2):
            raise ValueError(f"PrediT order is {self.order}; it must be 1 or 2, for example 2")
        if self.longest < 1:
            raise ValueError(f"PrediT's longest horizon is {self.longest}; it must be at least 1, reported is 8")

    @property
    def off(self) -> bool:
        return self.tau == 0

    @property
    def depth(self) -> int:
        return self.order + 1

    def decide(self, state: float | None, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        """`state`: (delta_n + eps)^(1 / (order + 1)), once two velocities are known. The score is the steps to reach over, in its measure."""
        if state is None:
            return Decision(Mode.RECOMPUTE, 0.0, "history")
        reach = unit.step - history[0].step
        if reach > self.longest:
            return Decision(Mode.RECOMPUTE, reach * state, "max_skip")
        mode, rule = (Mode.PREDICT, "predict") if reach * state <= self.tau else (Mode.RECOMPUTE, "threshold")
        return Decision(mode, reach * state, rule)

    def observe(self, state: float | None, unit: Unit, history: Sequence[Entry], seen: Seen | None) -> float | None:
        if seen is None or not history or history[0].sigma == unit.sigma:
            return state
        before = history[0].value
        delta = float(torch.dist(seen.velocity, before, 1) / before.abs().sum().add(EPS))
        return (delta + EPS) ** (1 / (self.order + 1))

    def value(self, state: float | None, unit: Unit, decision: Decision, history: Sequence[Entry], x: Tensor) -> Tensor:
        weigh = ab2 if len(history) == 3 else taylor1
        return combine(weigh(unit.sigma, [entry.sigma for entry in history]), [entry.value for entry in history])
