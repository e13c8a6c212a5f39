"""BWCache: once the blocks' outputs hardly change, reuse at a fixed pace, and compute the last steps (arXiv
2509.13789v3).

The mean over the blocks of the relative change of their outputs since the step before is measured at computed steps;
the first time it is below the threshold, the unit's schedule is fixed: R steps are reused, one is computed, and so on,
until of the steps that remained then the last half is left, which is computed. All blocks are skipped together, so one
residual of all of them is kept. Facts: docs/methods.md, BWCache.

Read where the paper is silent or unclear: the tail is half of the steps remaining at the trigger (`tail`); R is a share
of the steps; R is counted from the unit's last computed step, so that one that another chunk asked for starts a new
count instead of losing step with it. Outputs are compared averaged over the tokens of a frame, which takes thousands of
times less memory than the outputs; changes of means are smaller, so the published thresholds, which are of the outputs
themselves, begin to reuse earlier here. Every unit has its own trigger; in a joint forward nothing is reused before all
units that advance have had theirs, and on a staircase that is rarely before the first of them is in its tail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from ..schedule import ARSchedule, Unit
from .base import Method, Speed, register
from .knobs import number
from .vocabulary import Decision, Entry, Mode, Seen, Skip


class State(NamedTuple):
    change: float = 1.0
    """Of the blocks' outputs, when last measured before the trigger; 1 before that."""
    trigger: int | None = None
    """Own step at which it was below the threshold."""
    reused: int = 0
    """Steps since the last computed one."""


@register
@dataclass(frozen=True)
class BWCache(Method):
    """Raises ValueError for settings out of range."""

    name = "bwcache"
    title = "BWCache"

    points: ClassVar = {"careful": {}, "middle": {"threshold": 0.2}, "fast": {"threshold": 0.25}}
    speed = Speed("tail_ratio", 1, 0)

    threshold: float = number(
        0.15,
        "Change of the blocks' outputs below which reuse begins. 0 never skips.",
        usual="published values are 0.15 to 0.25",
    )
    """delta"""
    pace: float = number(
        0.1,
        "Length of a run of reused steps, as a share of the steps.",
        above=0.0,
        most=1.0,
        low=0.01,
        high=1.0,
        usual="about 0.1 is published",
    )
    """R as a share of a unit's steps, one step at least."""
    tail_ratio: float = number(
        0.5,
        "Share of the steps left at the trigger that are computed at the end.",
        most=1.0,
        high=1.0,
        usual="the paper's is 0.5",
    )
    plannable = False
    depth = 0

    @property
    def off(self) -> bool:
        return self.threshold == 0

    def caveat(self, schedule: ARSchedule) -> str:
        if not schedule.asynchronous:
            return ""
        return (
            "BWCache reuses little where chunks follow each other: it waits until all chunks of an iteration have"
            " settled, and by then the first ones are in their tails."
        )

    def init(self) -> State:
        return State()

    def decide(self, state: State, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        if state.trigger is None:
            return Decision(Mode.RECOMPUTE, state.change, "threshold")
        if unit.step > unit.steps - self.tail_ratio * (unit.steps - state.trigger):
            return Decision(Mode.RECOMPUTE, state.change, "tail")
        if state.reused >= max(1, round(self.pace * unit.steps)):
            return Decision(Mode.RECOMPUTE, state.change, "max_skip")
        return Decision(Mode.REUSE, state.change, "cache")

    def observe(self, state: State, unit: Unit, history: Sequence[Entry], seen: Seen | None) -> State:
        if state.trigger is not None or seen is None or seen.change is None:
            return state
        return State(seen.change, unit.step if seen.change < self.threshold else None)

    def settle(self, state: State, unit: Unit, change: float, decision: Decision) -> State:
        return state._replace(reused=0 if decision.mode is Mode.RECOMPUTE else state.reused + 1)

    def skip(self, state: State, unit: Unit, layers: int) -> Skip | None:
        return Skip((range(layers),), range(layers), watch=True)
