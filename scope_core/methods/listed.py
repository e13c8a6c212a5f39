"""Steps that are chosen before the run: what a method acts as that knows them, and how a list made for one table of
noise levels is carried over to another.

Own steps count from 1 here; published lists count from 0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ..schedule import Unit
from .base import Method
from .knobs import choice, count
from .predict import Weights, combine
from .vocabulary import Decision, Entry, Mode, Skip

SITES = ("output", "residual")
"""What is put back: the velocity after guidance, or the change across all blocks."""


def held(step: int, computed: Sequence[int]) -> Weights:
    return (1.0,)


def beyond(title: str, steps: Sequence[int], last: int) -> str:
    """What to tell of listed steps that a run with so many does not have; empty where it has all of them."""
    late = sorted(step for step in steps if step > last)
    if not late:
        return ""
    return (
        f"the steps of {title} go beyond this run, which has {last}: {', '.join(map(str, late))} will be ignored. List"
        f" steps from 1 to {last}, or sample with more."
    )


@dataclass(frozen=True)
class Listed(Method):
    """Computes given own steps, and puts what was computed last, weighted, into the others. What `Method.fit` makes of
    methods that know their steps before a run; not a method for users.

    What the gate or another unit has computed beside them counts as what it is, the newest.
    """

    name = "listed"
    title = "listed steps"

    steps: tuple[int, ...]
    weights: Callable[[int, Sequence[int]], Weights] = held
    """On what was computed at some own steps, newest first, at another one; as many as those, or fewer."""
    kept: int = 1
    """Computed steps that they look at."""
    site: str = "output"
    lag: int = 0
    """Added to the own steps of each unit times its index before they are looked up in `steps`: with the schedule's lag
    those are iterations."""

    @property
    def depth(self) -> int:
        return self.kept if self.site == "output" else 0

    def init(self) -> tuple[int, ...]:
        """Own steps computed last, newest first."""
        return ()

    def decide(self, state: tuple[int, ...], unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        since = float(unit.step - state[0] if state else 0)
        if unit.step + self.lag * unit.index in self.steps or not state:
            return Decision(Mode.RECOMPUTE, since, "threshold")
        return Decision(Mode.REUSE, since, "cache") if self.kept == 1 else Decision(Mode.PREDICT, since, "predict")

    def settle(self, state: tuple[int, ...], unit: Unit, change: float, decision: Decision) -> tuple[int, ...]:
        return (unit.step, *state)[: self.kept] if decision.mode is Mode.RECOMPUTE else state

    def value(
        self, state: tuple[int, ...], unit: Unit, decision: Decision, history: Sequence[Entry], x: Tensor
    ) -> Tensor:
        weights = self.weights(unit.step, [entry.step for entry in history])
        return combine(weights, [entry.value for entry in history])

    def skip(self, state: tuple[int, ...], unit: Unit, layers: int) -> Skip | None:
        if self.site == "output":
            return None
        weights = self.weights(unit.step, state or (unit.step,))
        return Skip((range(layers),), range(layers), weights + (0.0,) * (self.kept - len(weights)))


CARRIES = ("noise level", "index")
"""How a list of steps goes over to another table of noise levels: to the nearest level, which is what a model was at;
or to the step as far through the run, for tables that lie so differently that a part of it would be left out."""


class Table(NamedTuple):
    """Released lists of steps of one model."""

    steps: int
    """Of the host."""
    shift: float
    """Of its noise levels s u / (1 + (s - 1) u), u = 1 - k / steps."""
    lists: tuple[tuple[int, ...], ...]
    """Steps that are computed, from 0 on; longest list first."""

    def of(self, count: int) -> tuple[int, ...]:
        """The list of so many steps; where there is none, the next longer one, or all steps, thinned evenly along
        itself, so that it stays as dense as it was wherever it was dense, with its first and last step."""
        longer = min(
            (steps for steps in (tuple(range(self.steps)), *self.lists) if len(steps) >= count),
            key=len,
            default=tuple(range(self.steps)),
        )
        at = np.linspace(0, len(longer) - 1, min(count, len(longer))).round().astype(int)
        return tuple(longer[i] for i in at)

    def carried(self, steps: Sequence[int], sigmas: np.ndarray, carry: str) -> tuple[int, ...]:
        """Own steps from 1 on, at noise levels `sigmas` [S + 1], for steps of this table; `carry` is one of CARRIES.
        The first and the last step remain it, and several can meet in one."""
        own = len(sigmas) - 1
        if carry == "index":
            nearest = np.round(np.array(steps) * (own - 1) / (self.steps - 1)).astype(int)
        else:
            u = 1 - np.array(steps) / self.steps
            source = self.shift * u / (1 + (self.shift - 1) * u)
            nearest = np.abs(source[:, None] - sigmas[None, :-1]).argmin(1)
        return (1, *(nearest[1:-1] + 1).tolist(), own)


def how_many(usual: int) -> Any:
    """Knob of methods that choose a list by its length."""
    return count(
        usual,
        "Steps of every chunk that are computed; those of the table where it has a list of so many.",
        least=2,
        most=50,
        high=50,
        usual="published are 10 to 25",
    )


def searched_for(model: str, what: str, tables: Mapping[str, Table]) -> Any:
    """Knob of methods that choose a list by the model that it was made for."""
    return choice(
        model,
        f"Model that the {what} were searched for. They are carried over to this one's noise levels.",
        list(tables),
    )


def over_to() -> Any:
    """Knob of methods whose lists go over to other tables."""
    return choice(
        "noise level",
        "How the steps are carried over: to the nearest noise level, or to the step that is as far through the run.",
        CARRIES,
    )
