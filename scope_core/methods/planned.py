"""SCOPE with planned steps: which iterations run the network is chosen before the run, for a wanted speed.

What the chosen iterations are comes from a plan that was found for a model (`study.plans`), or without one from `rule`.
In between the velocity is forecast along a line in the step index, and the past is corrected (`loop.correct`). Chunks
compute in step: an iteration computes all of them or none, because a chunk that computes alone reads keys and values of
other ages (docs/scope.md, Chunks in step). Chunks that go through the network on their own also compute their first and
their last step, whatever the others do: the one has nothing to be forecast from, and after the other nobody corrects.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import ClassVar

import numpy as np
from torch import Tensor

from ..schedule import ARSchedule, Segment, Unit
from ..schedule.matrix import step_matrix
from .base import Method, Speed, register
from .gate import Gate
from .knobs import number, steps_text
from .predict import combine, hold, taylor1
from .vocabulary import Decision, Entry, Mode

LATE = 1.2
"""Where chunks go together the computed steps leave shares of the run that fall evenly, to this power. 1: evenly
spread."""
LONG_ENOUGH = 32
"""Iterations that a period of the rule has at least, so that it can come near any speed."""
ENDS = 3
"""Iterations from one entry to the next from which on it pays that each chunk computes its ends by itself."""
TWICE = 5
"""Iterations from one entry to the next from which on the second one is computed as well."""


@register
@dataclass(frozen=True)
class Planned(Method):
    """Raises ValueError for settings out of range."""

    name = "planned"
    title = "SCOPE, planned steps"
    gate = Gate(50, 0, 0)
    points: ClassVar = {"quality": {"speed": 1.9}, "balanced": {"speed": 2.5}, "fast": {"speed": 4.0}}
    usual_point = "balanced"
    points_help = "The presets of SCOPE Sampler, or custom: the inputs below decide."
    speed = Speed("speed", 1.1, 8.0)
    corrected = True

    at_least: float = number(
        2.5,
        "At least so many times fewer evaluations than without skipping. 1 computes every step.",
        name="speed",
        least=1.0,
        most=20.0,
        low=1.0,
        high=8.0,
        step=0.1,
        decimals=0.01,
        slider=True,
        usual="1.9 to 4 are usual",
    )
    fidelity: float = number(
        0.0,
        "At least so many dB of PSNR to the run without SCOPE, on the clips that the model's plan was checked on; as"
        " fast as that allows. Needs a plan for the model. 0: `speed` decides.",
        least=0.0,
        most=100.0,
        step=0.5,
        decimals=0.1,
        usual="35 to 50 are usual",
    )
    computed: tuple[int, ...] = steps_text(
        "Iterations to compute instead, for example 1, 2, 6, 10, 14, counted within a period: the steps by which one"
        " chunk follows another, or where all go together the whole run. Empty: a plan found for the model, or a rule."
    )
    period: int = 0
    """Iterations after which `computed` begins again; 0: the lag of the chunks, or the whole segment."""
    expected: float | None = None
    """PSNR in dB to the full run that the plan had on the clips that it was checked on."""
    lag: int = 0
    """Iterations by which a chunk follows the one before it, in the segment that it was fitted to,"""
    last: int = 0
    """the last iteration there,"""
    ends: bool = False
    """and whether each chunk computes its first and its last step by itself."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "computed", tuple(self.computed))
        super().__post_init__()

    @property
    def asked(self) -> "Planned":
        """Without what a plan has filled in."""
        return self if self.expected is None else replace(self, computed=(), period=0, expected=None)

    @property
    def off(self) -> bool:
        return self.at_least == 1 and not self.fidelity and not self.computed

    @property
    def depth(self) -> int:
        return 2

    def fit(self, schedule: ARSchedule, segment: Segment, apart: bool = False) -> "Planned":
        """Raises ValueError for iterations to compute that lie outside of a period, and for a fidelity without a plan
        that says what has it."""
        if self.fidelity and not self.computed:
            raise ValueError(
                f"fidelity is {self.fidelity:g} dB, and no plan was given that says which steps have it; use"
                " `study.plans.planned`, or set it to 0 and choose a speed"
            )
        lag = schedule.ar_step if len(segment.units) > 1 else 0
        period = self.period or (schedule.ar_step if schedule.asynchronous else segment.rows)
        if self.computed and max(self.computed) > period:
            raise ValueError(
                f"computed are {', '.join(map(str, self.computed))}; they have to lie in [1, {period}], the iterations"
                " of a period: those by which one chunk follows another, or where all go together the whole run"
            )
        computed, ends = self.computed, apart
        if not computed:
            unseen, period = schedule.family.by_chunk or schedule.causal, period_of(segment)
            computed, ends = rule(segment, self.at_least, unseen, apart)
        return replace(self, computed=computed, period=period, lag=lag, last=segment.rows, ends=ends)

    def decide(self, state: None, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        iteration = unit.step + self.lag * unit.index
        due = iteration == self.last or (iteration - 1) % self.period + 1 in self.computed
        due |= self.ends and unit.step == unit.steps
        return Decision(Mode.RECOMPUTE, 1.0, "planned") if due else Decision(Mode.PREDICT, 0.0, "forecast")

    def value(self, state: None, unit: Unit, decision: Decision, history: Sequence[Entry], x: Tensor) -> Tensor:
        line = taylor1 if len(history) > 1 else hold
        steps = [max(1, entry.step) for entry in history]
        return combine(line(unit.step, steps), [entry.value for entry in history])


def rule(segment: Segment, speed: float, unseen: bool, apart: bool) -> tuple[tuple[int, ...], bool]:
    """Iterations of a period (`period_of`) to compute where no plan is known, as many as keep to a speed, and whether
    each chunk computes its ends by itself. `unseen`: chunks that have not started are not forwarded; `apart`: chunks go
    through the network on their own."""
    for computed, ends in lists(segment, unseen, apart):
        if cost(computed, period_of(segment), segment, ends) * speed <= 1:
            break
    return computed, ends


def lists(segment: Segment, unseen: bool, apart: bool) -> Iterator[tuple[tuple[int, ...], bool]]:
    """What the rule chooses among, the longest first (measured in docs/scope.md, Planned steps).

    Chunks that go together, or one after the other: from the first step to the last one, denser towards the end. Chunks
    that follow each other, `apart`: evenly spread between the entries, and their ends. In one forward: evenly spread,
    from just before an entry on, which gives the newcomer its first velocity and the chunk that leaves its last; where
    it is `unseen` until then, and for few, from every entry, which has to be computed, evenly spread until the next.
    """
    period, lag = period_of(segment), segment.ar_step
    if in_turn(segment):
        for count in range(period, min(2, period) - 1, -1):
            yield denser_at_the_end(count, period), False
    elif unseen:
        rounds = period // lag
        enough = min(ENDS * rounds, period) if apart else period
        for count in range(period, enough - 1, -1) if apart else ():
            yield between_entries(count, period), True
        for count in range(enough, rounds - 1, -1):
            yield behind_entries(count, rounds, lag), False
    else:
        for count in range(period, 0, -1):
            yield around_entries(count, period), False


def in_turn(segment: Segment) -> bool:
    """One unit is denoised at a time."""
    return len(segment.units) == 1 or segment.ar_step == segment.steps


def period_of(segment: Segment) -> int:
    """Iterations after which the rule's lists begin again."""
    return segment.steps if in_turn(segment) else ceil(LONG_ENOUGH / segment.ar_step) * segment.ar_step


def denser_at_the_end(count: int, iterations: int) -> tuple[int, ...]:
    """The velocity turns fastest where little noise is left, and what is forecast wrongly there nobody makes up for."""
    shares = np.linspace(1, 0, count) ** LATE
    left = np.maximum((shares * (iterations - 1)).round(), np.arange(count)[::-1])
    return tuple((iterations - left).astype(int).tolist())


def between_entries(count: int, period: int) -> tuple[int, ...]:
    """Where the first and the last step of every chunk are computed in any case."""
    return tuple(ceil(period * (i + 0.5) / count) for i in range(count))


def around_entries(count: int, period: int) -> tuple[int, ...]:
    return tuple(sorted({(floor(period * i / count + 0.5) - 1) % period + 1 for i in range(count)}))


def behind_entries(count: int, rounds: int, lag: int) -> tuple[int, ...]:
    chosen = set()
    for turn in range(rounds):
        share = count * (turn + 1) // rounds - count * turn // rounds
        places = [lag * i / share for i in range(share)]
        if share >= TWICE:
            places = [0, *(1 + lag * i / (share - 1) for i in range(share - 1))]
        chosen |= {1 + lag * turn + min(lag - 1, floor(place + 0.5)) for place in places}
    return tuple(sorted(chosen))


def cost(computed: Sequence[int], period: int, segment: Segment, ends: bool) -> float:
    """Part of a segment's evaluations that a list costs which begins again after a period, with what is computed in any
    case: the first iteration, before which there is nothing to forecast from, and the last one; with `ends` the first
    and the last step of each chunk."""
    listed = np.isin(np.arange(segment.rows) % period + 1, computed)
    listed[[0, -1]] = True
    if not ends:
        return float(listed.mean())
    own = step_matrix(segment.steps, len(segment.units), segment.ar_step)
    active = (own >= 1) & (own <= segment.steps)
    made = active & (listed[:, None] | (own == 1) | (own == segment.steps))
    return float(made.sum() / active.sum())
