"""EasyCache: skip while the change of the velocity, guessed from how far the latents moved, adds up to little
(docs/methods.md, EasyCache).

a += k mean|x_n - x_n-1| / mean|v|, with k = |v_n - v_m| / |x_n - x_m| of the last two computed steps. The latents'
movement is summed over all steps, as in the paper and unlike ComfyUI's node, which adds up growing distances to the
last compute; and k is unknown, not 0, until a unit was computed twice, which is the bug by which that node skips
everything after a change of shape.

The paper puts back v = x + (v - x)_cached: the cached velocity and, on top, how far the latents have moved since it was
computed. That is no part of the velocity's change, so `form` velocity, which holds the velocity, is offered as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from ..schedule import Unit
from .base import Method, Speed, register
from .gate import Gate
from .knobs import choice, number
from .vocabulary import Decision, Entry, Mode, Seen

FORMS = ("paper", "velocity")
EPS = 1e-8


class State(NamedTuple):
    a: float = 0.0
    rate: float | None = None
    """k / mean|v|."""


@register
@dataclass(frozen=True)
class EasyCache(Method):
    """Raises ValueError for settings out of range."""

    name = "easycache"
    title = "EasyCache"
    gate = Gate(12, 10, 0)
    points: ClassVar = {"paper": {}, "ComfyUI's node at 50 steps": {"tau": 0.2, "warm_up": 8, "tail": 3}}
    speed = Speed("tau", 0.005, 1)
    signal = "displacement"
    latents = True
    plannable = False

    tau: float = number(
        0.05,
        "Accumulated change of the output, guessed from that of the latents, below which it is reused. 0 never skips.",
        usual="for example 0.05; ComfyUI's node has 0.2",
    )
    form: str = choice(
        "paper", "What is reused: the output's distance to its input as published, or the velocity.", FORMS
    )

    @property
    def off(self) -> bool:
        return self.tau == 0

    def init(self) -> State:
        return State()

    def decide(self, state: State, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        if state.rate is None:
            return Decision(Mode.RECOMPUTE, 0.0, "history")
        a = state.a + state.rate * change
        return Decision(Mode.REUSE, a, "cache") if a < self.tau else Decision(Mode.RECOMPUTE, a, "threshold")

    def measure(self, unit: Unit, history: Sequence[Entry], velocity: Tensor, latent: Tensor) -> Tensor | None:
        """The rate."""
        if not history or history[0].sigma == unit.sigma:
            return None
        before = history[0]
        dv, dx = (velocity - before.value).abs().mean(), (latent - before.latent).abs().mean()
        return dv / (dx * velocity.abs().mean() + EPS)

    def observe(self, state: State, unit: Unit, history: Sequence[Entry], seen: Seen | None) -> State:
        return state._replace(rate=seen.measured[0]) if seen is not None and seen.measured else state

    def settle(self, state: State, unit: Unit, change: float, decision: Decision) -> State:
        if decision.mode is Mode.RECOMPUTE or state.rate is None:
            return state._replace(a=0.0)
        return state._replace(a=state.a + state.rate * change)

    def value(self, state: State, unit: Unit, decision: Decision, history: Sequence[Entry], x: Tensor) -> Tensor:
        last = history[0]
        return last.value if self.form == "velocity" else x + (last.value - last.latent)
