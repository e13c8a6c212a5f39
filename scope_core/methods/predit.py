"""PrediT: forecast the velocity by Adams-Bashforth, over a horizon that shrinks where it changes fast (arXiv
2602.18093; docs/methods.md, PrediT).

A re-derivation from second-hand descriptions: the full text and code were not reachable. With f = dv/dsigma, order 1
continues the last slope and order 2 is Adams-Bashforth 2 over uneven gaps of the noise level. delta_n is the relative
change |v_n - v_n-1| / |v_n-1| of the last two computed velocities, not divided by the steps between them. The corrector
is a compute. Every unit has its own horizon; one joint forward follows the shortest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..schedule import Unit
from .base import Method, Speed, register
from .knobs import count, number
from .predict import ab2, combine, taylor1
from .vocabulary import Decision, Entry, Mode, Seen

EPS = 1e-8


@register
@dataclass(frozen=True)
class PrediT(Method):
    """Raises ValueError for settings out of range."""

    name = "predit"
    title = "PrediT"
    plannable = False
    speed = Speed("tau", 0.02, 8)

    tau: float = number(
        1.0,
        "Tolerance: how far ahead the velocity is predicted before the next computed step. 0 never skips.",
        usual="for example 1",
    )
    """The horizon is floor(tau / (delta_n + eps)^(1 / (order + 1))) steps."""
    order: int = count(2, "Order of the Adams-Bashforth prediction.", least=1, most=2, high=2, usual="for example 2")
    longest: int = count(8, "Most steps skipped in a row.", least=1, high=50, usual="reported is 8")
    """J_max"""

    @property
    def off(self) -> bool:
        return self.tau == 0

    @property
    def depth(self) -> int:
        return self.order + 1

    def decide(self, state: float | None, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        """`state`: (delta_n + eps)^(1 / (order + 1)), once two velocities are known. The score is the steps to reach
        over, in its measure."""
        if state is None:
            return Decision(Mode.RECOMPUTE, 0.0, "history")
        reach = unit.step - history[0].step
        if reach > self.longest:
            return Decision(Mode.RECOMPUTE, reach * state, "max_skip")
        mode, rule = (Mode.PREDICT, "predict") if reach * state <= self.tau else (Mode.RECOMPUTE, "threshold")
        return Decision(mode, reach * state, rule)

    def measure(self, unit: Unit, history: Sequence[Entry], velocity: Tensor, latent: Tensor) -> Tensor | None:
        """delta_n"""
        if not history or history[0].sigma == unit.sigma:
            return None
        before = history[0].value
        return torch.dist(velocity, before, 1) / before.abs().sum().add(EPS)

    def observe(self, state: float | None, unit: Unit, history: Sequence[Entry], seen: Seen | None) -> float | None:
        if seen is None or not seen.measured:
            return state
        return (seen.measured[0] + EPS) ** (1 / (self.order + 1))

    def value(self, state: float | None, unit: Unit, decision: Decision, history: Sequence[Entry], x: Tensor) -> Tensor:
        weigh = ab2 if len(history) == 3 else taylor1
        return combine(weigh(unit.sigma, [entry.sigma for entry in history]), [entry.value for entry in history])
