"""MagCache: reuse the residual of all blocks while the measured growth of its size says that it hardly changed (arXiv
2506.09045).

gamma_k, how much larger the residual is at step k than at step k - 1, is a property of the model that one recorded run
shows; so the schedule is fixed by it, by the threshold and by K. Facts, ratios and operating points: docs/methods.md,
MagCache.

gamma is looked up by each unit's own step, nearest index where the number of steps differs, so a chunk that starts late
begins at its own first ratio; the published ports index by calls of the network. One table serves both guidance
branches, because one forward decides for both: as published that of the branch with text, as measured by `Record` their
mean.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from ..schedule import ARSchedule, Unit
from .base import CANDIDATES, Gram, Method, Speed, register
from .gate import Gate
from .knobs import choice, count, number
from .vocabulary import Decision, Entry, Mode, Seen, Skip

WAN_1_3B = (
    1.0,
    1.0124,
    1.0017,
    0.9979,
    0.9968,
    0.9963,
    0.9957,
    0.9942,
    0.9958,
    0.9957,
    0.9951,
    0.9953,
    0.9955,
    0.9954,
    0.9954,
    0.9949,
    0.9952,
    0.9948,
    0.9948,
    0.9941,
    0.9942,
    0.9940,
    0.9939,
    0.9935,
    0.9931,
    0.9927,
    0.9923,
    0.9917,
    0.9914,
    0.9907,
    0.9900,
    0.9894,
    0.9885,
    0.9876,
    0.9864,
    0.9850,
    0.9836,
    0.9820,
    0.9798,
    0.9772,
    0.9741,
    0.9700,
    0.9654,
    0.9593,
    0.9509,
    0.9401,
    0.9240,
    0.9024,
    0.8682,
    0.8184,
)
"""gamma of Wan 2.1 T2V-1.3B as published, 50 steps, branch with text. For SkyReels-V2 a first guess; for MAGI-1 there
is none."""


RATIOS: dict[str, tuple[float, ...]] = {"calibrated": (), "Wan 1.3B": WAN_1_3B}


class State(NamedTuple):
    """Since the last computed step."""

    growth: float = 1.0
    """g, the product of gamma."""
    error: float = 0.0
    """E, the sum of |1 - g|."""
    skipped: int = 0


@register
@dataclass(frozen=True)
class MagCache(Method):
    """Raises ValueError for settings out of range."""

    name = "magcache"
    title = "MagCache"
    points: ClassVar = {
        "Wan 1.3B, slow": {"longest": 2, "ratios": "Wan 1.3B"},
        "Wan 1.3B, fast": {"ratios": "Wan 1.3B"},
        "Wan 14B": {"threshold": 0.24, "longest": 6},
    }
    speed = Speed("threshold", 0.005, 2)
    tuned = True

    threshold: float = number(
        0.12,
        "Accumulated drift of the residual's size below which it is reused. 0 never skips.",
        usual="published values are 0.12 and 0.24",
    )
    longest: int = count(4, "Most steps skipped in a row.", high=50, usual="published values are 2, 4 and 6")
    """K"""
    retention: float = number(
        0.2,
        "Share of a chunk's first steps that are always computed.",
        most=1.0,
        high=1.0,
        usual="the published value is 0.2",
    )
    ratios: tuple[float, ...] = choice(
        (),
        "How the residual grows from step to step. calibrated: as SCOPE Calibrate measured it for this model, steps,"
        " shift, guidance and schedule. Wan 1.3B: as published, a first guess for SkyReels.",
        RATIOS,
        free=True,
    )
    """gamma at each own step, the first one 1; empty: those of a calibration, to be found for the run."""
    depth = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "ratios", tuple(self.ratios))
        if not all(0 < ratio < float("inf") for ratio in self.ratios):
            raise ValueError(
                f"{self.title} needs the growth at each step as numbers above 0, for example 1, 1.012, 1.002; "
                f"it has {list(self.ratios)}"
            )

    @property
    def needs_calibration(self) -> bool:
        return not self.ratios

    def calibrated(self, ratios: tuple[float, ...], gram: Gram = ()) -> "MagCache":
        return replace(self, ratios=ratios)

    @classmethod
    def candidates(cls, ratios: tuple[float, ...]) -> Iterator[tuple[Method, Gate]]:
        return ((cls(threshold, 12, 0.0, ratios), Gate(12, 2, 1)) for threshold in CANDIDATES)

    @property
    def off(self) -> bool:
        return self.threshold == 0 or self.longest == 0

    def caveat(self, schedule: ARSchedule) -> str:
        if self.ratios != WAN_1_3B or schedule.family.architecture == "Wan":
            return ""
        return (
            f"MagCache's ratios are those of Wan 1.3B, which say nothing about {schedule.family.title}. "
            "Run SCOPE Calibrate and set ratios to calibrated."
        )

    def init(self) -> State:
        return State()

    def after(self, state: State, unit: Unit) -> State:
        """The state if this step is skipped."""
        if not self.ratios:
            raise ValueError(
                "MagCache has no ratios for this run; run SCOPE Calibrate once with this model and these settings, or"
                " choose published ratios"
            )
        nearest = round((unit.step - 1) * (len(self.ratios) - 1) / max(1, unit.steps - 1))
        growth = state.growth * self.ratios[nearest]
        return State(growth, state.error + abs(1 - growth), state.skipped + 1)

    def decide(self, state: State, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        _, error, skipped = self.after(state, unit)
        if unit.step - 1 < self.retention * unit.steps:
            return Decision(Mode.RECOMPUTE, error, "warm_up")
        if error >= self.threshold:
            return Decision(Mode.RECOMPUTE, error, "threshold")
        return (
            Decision(Mode.REUSE, error, "cache")
            if skipped <= self.longest
            else Decision(Mode.RECOMPUTE, error, "max_skip")
        )

    def settle(self, state: State, unit: Unit, change: float, decision: Decision) -> State:
        return State() if decision.mode is Mode.RECOMPUTE else self.after(state, unit)

    def skip(self, state: State, unit: Unit, layers: int) -> Skip | None:
        return Skip((range(layers),), range(layers))


@dataclass(frozen=True)
class Record(Method):
    """Computes every step and notes gamma; the state of a unit is gamma by own step. Not a method for users."""

    name = "record"
    title = "recording of a run"
    plannable = False
    depth = 0

    signal: str = "sigma"

    def init(self) -> dict[int, float]:
        return {}

    def decide(self, state: dict[int, float], unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        return Decision(Mode.RECOMPUTE, change, "off")

    def observe(
        self, state: dict[int, float], unit: Unit, history: Sequence[Entry], seen: Seen | None
    ) -> dict[int, float]:
        return state if seen is None or seen.growth is None else {**state, unit.step: seen.growth}

    def skip(self, state: dict[int, float], unit: Unit, layers: int) -> Skip | None:
        return Skip((range(layers),), range(layers), watch=True)


def measured(states: Iterable[dict[int, float]], steps: int) -> tuple[float, ...]:
    """gamma at each own step from the units' states (`Control.states`) after a run of `Record`: their mean, the first
    one 1. A step at which all units' hidden states had another layout than before, as where a chunk enters in MAGI-1,
    is filled in from its neighbours; where all are such steps there is nothing to measure, and the result is empty."""
    seen: dict[int, list[float]] = {}
    for state in states:
        for step, growth in state.items():
            seen.setdefault(step, []).append(growth)
    known = sorted(seen.keys() - {1})
    if not known:
        return ()
    return (1.0, *np.interp(range(2, steps + 1), known, [float(np.mean(seen[step])) for step in known]).tolist())
