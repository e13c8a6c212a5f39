"""TaylorSeer: compute at a fixed cadence and forecast in between by a Taylor series in steps (arXiv 2503.06923;
docs/methods.md, TaylorSeer).

The published derivatives divide by the gap between the last two computes, which is wrong as soon as gaps differ
(another unit's or the gate's recompute); here each divides by the gap it spans, which is the same on even gaps. Steps
are each unit's own and counted since its own last compute: a counter shared by frames at different levels is what made
it collapse on SkyReels-V2.

The published method forecasts every module m of every block and adds them up, gated: sum_m g_m sum_i w_i F_m,i with
weights w_i that the steps alone decide. Exchange the sums and put the gates of the recorded steps in the place of fresh
ones: sum_i w_i sum_m g_m,i F_m,i, the forecast of the residual of all blocks, at a hundredth of the memory. That is the
site `residual`; `output` is TaylorSeer-Lite, which forecasts the velocity.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..schedule import Unit
from .base import Method, Speed, register
from .knobs import choice, count
from .listed import SITES
from .predict import Weights, combine, hold, taylor1, taylor2_paper
from .vocabulary import Decision, Entry, Mode, Skip

SERIES = (hold, taylor1, taylor2_paper)
"""By order. On evenly spaced nodes they are the published series."""


def forecast(order: int, step: int, computed: Sequence[int]) -> Weights:
    """Weights on what was computed at these own steps, newest first: order + 1 of them, as far as there are so many."""
    known = min(order, len(computed) - 1)
    return SERIES[known](step, computed) + (0.0,) * (order - known)


@register
@dataclass(frozen=True)
class TaylorSeer(Method):
    """Raises ValueError for settings out of range."""

    name = "taylorseer"
    title = "TaylorSeer"

    points: ClassVar = {
        "Wan, every 5": {"site": "residual"},
        "Wan, every 5, Lite": {},
        "diffusers, every 5 after 3": {"first": 3, "site": "residual"},
        "ComfyUI, every 6, order 2": {"interval": 6, "order": 2, "first": 3, "site": "residual", "tail": 1},
    }
    speed = Speed("interval", 2, 13)

    interval: int = count(
        5, "One step in so many is computed; 1 never skips.", least=1, high=50, usual="published are 3 to 6"
    )
    """N"""
    order: int = count(
        1,
        "Order of the prediction: 1 along a line, 2 along a parabola.",
        least=1,
        most=2,
        high=2,
        usual="published is 1",
    )
    first: int = count(
        1, "Steps computed at the start of every chunk.", least=1, high=100, usual="published are 1 and 3"
    )
    """E"""
    site: str = choice(
        "output",
        "What is predicted: the velocity (Lite), or the change across all blocks, which is the sum of what the modules"
        " add.",
        SITES,
    )

    @property
    def off(self) -> bool:
        return self.interval == 1

    @property
    def depth(self) -> int:
        return self.order + 1 if self.site == "output" else 0

    def init(self) -> tuple[int, ...]:
        """Own steps computed last, newest first."""
        return ()

    def decide(self, state: tuple[int, ...], unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        since = float(unit.step - state[0] if state else 0)
        if unit.step <= self.first:
            return Decision(Mode.RECOMPUTE, since, "warm_up")
        return (
            Decision(Mode.PREDICT, since, "predict")
            if since < self.interval
            else Decision(Mode.RECOMPUTE, since, "threshold")
        )

    def settle(self, state: tuple[int, ...], unit: Unit, change: float, decision: Decision) -> tuple[int, ...]:
        return (unit.step, *state)[: self.order + 1] if decision.mode is Mode.RECOMPUTE else state

    def weights(self, step: int, computed: Sequence[int]) -> Weights:
        """See `forecast`."""
        return forecast(self.order, step, computed)

    def value(
        self, state: tuple[int, ...], unit: Unit, decision: Decision, history: Sequence[Entry], x: Tensor
    ) -> Tensor:
        return combine(self.weights(unit.step, [entry.step for entry in history]), [entry.value for entry in history])

    def skip(self, state: tuple[int, ...], unit: Unit, layers: int) -> Skip | None:
        if self.site == "output":
            return None
        return Skip((range(layers),), range(layers), self.weights(unit.step, state or (unit.step,)))
