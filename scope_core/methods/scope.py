"""SCOPE: cache, predict or recompute by an accumulated discrepancy (arXiv 2604.02979, section 3.3).

Readings of what the paper leaves open: docs/scope.md. Symbols are the paper's: d_k the change of the signal, r_k
the accumulated score, lambda the predict_decay, H (max_skip) lives in the gate because every method needs it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..schedule import Unit
from .base import CANDIDATES, Method, Speed, register
from .gate import Gate
from .knobs import Knob, choice, knobs_of, named_knob, number
from .planned import Planned
from .predict import PREDICTORS, best, extrapolate
from .vocabulary import Decision, Entry, Mode, Seen

DECAYS = ("paper", "inverse", "none")
AUTO = "auto"
TAUS = {"tau_c": "cache_threshold", "tau_p": "predict_threshold"}
PAPER = {
    "decay_mode": "paper",
    "predictor": "taylor2_paper",
    "max_skip": 5,
    "warm_up": 5,
    "tail": 1,
    "selective": "paper",
}
"""Section 4.3 of the paper: what its operating points share."""


@dataclass(frozen=True)
class State:
    r: float = 0.0
    predicting: bool = False
    """A prediction was made since the last recompute."""
    errors: dict[str, float] = field(default_factory=dict)
    """Running error of each predictor, the length of what it missed at recomputed steps; used by `auto`."""


@register
@dataclass(frozen=True)
class Scope(Method):
    """Raises ValueError for settings out of range."""

    name = "scope"
    title = "SCOPE"

    gate = Gate(2, 0, 0)
    points: ClassVar = {
        "quality": {"speed": 1.9},
        "balanced": {"speed": 2.5},
        "fast": {"speed": 4.0},
        "paper_slow": {**PAPER, "cache_threshold": 0.12, "predict_threshold": 0.30},
        "paper_fast": {**PAPER, "cache_threshold": 0.18, "predict_threshold": 0.42},
        "paper_magi_slow": {**PAPER, "cache_threshold": 0.02, "predict_threshold": 0.05, "signal": "latent"},
        "paper_magi_fast": {**PAPER, "cache_threshold": 0.03, "predict_threshold": 0.08, "signal": "latent"},
    }
    """`paper_*` are the operating points printed in arXiv 2604.02979 for SkyReels-V2 and for MAGI-1, with the readings
    of docs/scope.md. The others are speeds of planned steps (`planned`)."""
    usual_point = "balanced"
    points_help = (
        "off: exactly the model, every step computed. quality, balanced, fast: values of `speed`."
        " paper_slow, paper_fast: the operating points printed in the SCOPE paper for SkyReels-V2; paper_magi_slow,"
        " paper_magi_fast: those for MAGI-1. custom: the inputs below decide. The other presets move them."
    )
    speed = Speed("max_skip", 1, 12)
    tuned = True
    dial: ClassVar[Knob] = Knob(
        1.0,
        "How much change to tolerate before a step is computed again. 1 is the calibrated point, 0 never skips.",
        name="threshold",
        high=2.0,
        step=0.05,
        decimals=None,
        slider=True,
    )
    """Of both thresholds at once, where they are 0 themselves."""
    aims: ClassVar = (
        replace(
            named_knob(Planned, "speed"),
            default=0.0,
            low=0.0,
            tooltip="At least so many times fewer evaluations. Which steps are computed is planned before the run; the"
            " sliders for thresholds and skips have no effect then. 0: those sliders decide.",
            late=True,
        ),
        replace(named_knob(Planned, "fidelity"), late=True, advanced=True),
    )
    """What the sampler offers instead of thresholds: see `planned`."""
    node_order: ClassVar = (
        "threshold",
        "decay",
        "max_skip",
        "selective",
        "warm_up",
        "tail",
        "predictor",
        "cache_threshold",
        "predict_threshold",
        "decay_mode",
        "signal",
        "aggregate",
        "joint",
        "correct",
        "speed",
        "fidelity",
    )
    looks: ClassVar = {
        "max_skip": {
            "high": 12,
            "slider": True,
            "tooltip": "Most steps skipped in a row, where the thresholds decide. 0 never skips.",
        },
        "warm_up": {"advanced": True},
        "tail": {"advanced": True},
    }

    tau_c: float = number(
        0.01,
        "tau_c: below it the last velocity is reused as it is. Absolute; 0 takes it from `threshold`. Paper: 0.18.",
        name="cache_threshold",
        high=10.0,
        decimals=0.001,
        advanced=True,
        usual="the paper's is 0.18",
    )
    tau_p: float = number(
        0.50,
        "tau_p: below it the velocity is predicted. Absolute; 0 takes it from `threshold`. Paper: 0.42.",
        name="predict_threshold",
        high=10.0,
        decimals=0.001,
        advanced=True,
        usual="the paper's is 0.42",
    )
    decay: float = number(
        0.75,
        "How the accumulated change is scaled after a predicted step (predict_decay). 1 leaves it alone;"
        " see `decay_mode`.",
        above=0.0,
        most=1.0,
        low=0.05,
        high=1.0,
        step=0.05,
        decimals=None,
        slider=True,
        usual="the paper uses 0.75",
    )
    """lambda"""
    decay_mode: str = choice(
        "inverse",
        "paper: multiply the accumulated change by `decay` after a prediction, as printed, which puts the next computed"
        " step off. inverse: divide, which brings it closer, as the paper's text intends. none: neither.",
        DECAYS,
        advanced=True,
    )
    """docs/scope.md C4"""
    predictor: str = choice(
        "taylor1",
        "How a skipped step's velocity is predicted. taylor1: a line (paper Eq. 6). taylor2_paper: Eq. 7 as printed."
        " newton2: a parabola. ab2: momentum. hold: the last one stays. auto: whichever erred least so far.",
        [*PREDICTORS, AUTO],
        advanced=True,
    )
    monotone: bool = True
    """After a prediction, reuse returns a prediction as well, instead of the older velocity (docs/scope.md C5)."""
    clipped: bool = True
    """Predictions are limited (docs/scope.md C14)."""
    signal: str = choice(
        "modulation",
        "What the change is measured on. modulation, embedding: the model's view of the noise level. sigma: the noise"
        " level itself. latent: the video, which costs a read-back per step.",
        ["modulation", "embedding", "sigma", "latent"],
        advanced=True,
        free=True,
    )
    aggregate: str = choice(
        "max",
        "How chunks at different noise levels decide together. max: the neediest decides. mean_active, mean_all: their"
        " mean.",
        ["max", "mean_active", "mean_all"],
        advanced=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau_c > self.tau_p:
            raise ValueError(
                f"SCOPE's cache_threshold is {self.tau_c:g} and predict_threshold {self.tau_p:g}; the first must not be"
                " above the second, for example 0.18 and 0.42 (the paper's)"
            )

    @classmethod
    def knobs(cls) -> list[Knob]:
        """The thresholds are 0 unless they are set, and follow the dial."""
        own = (replace(knob, default=0.0) if knob.field in TAUS else knob for knob in knobs_of(cls))
        return [cls.dial, *own, *cls.aims]

    @classmethod
    def of_knobs(cls, values: Mapping[str, Any]) -> Method:
        """With a speed or a fidelity to aim at the steps are planned, and the thresholds rest. Every step computed
        reaches a speed below 1."""
        speed, fidelity = values["speed"], values["fidelity"]
        if speed or fidelity:
            return Planned(max(speed, 1.0) if speed > 0 else speed or Planned.at_least, fidelity=fidelity)
        usual = cls()
        taus = {tau: values[name] or getattr(usual, tau) * values["threshold"] for tau, name in TAUS.items()}
        return cls(**taus, **{knob.field: values[knob.name] for knob in knobs_of(cls) if knob.field not in TAUS})

    @classmethod
    def candidates(cls, ratios: tuple[float, ...]) -> Iterator[tuple[Method, Gate]]:
        """The thresholds keep their proportion, and rather rise than let a run of skips be longer."""
        usual = cls()
        for max_skip in range(1, 13):
            yield from (
                (replace(usual, tau_c=usual.tau_c * factor, tau_p=usual.tau_p * factor), Gate(max_skip))
                for factor in CANDIDATES
            )

    def to_knobs(self) -> dict[str, Any]:
        usual = type(self)()
        calibrated = (self.tau_c, self.tau_p) == (usual.tau_c, usual.tau_p)
        taus = {name: 0.0 if calibrated else getattr(self, tau) for tau, name in TAUS.items()}
        return {**super().to_knobs(), "threshold": 1.0, **taus, "speed": 0.0, "fidelity": 0.0}

    @property
    def off(self) -> bool:
        return self.tau_p == 0

    @property
    def depth(self) -> int:
        return 3 if self.predictor == AUTO else max(2, PREDICTORS[self.predictor][1])

    def init(self) -> State:
        return State()

    def decide(self, state: State, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        r = state.r + change
        if r < self.tau_c and not (state.predicting and self.monotone):
            return Decision(Mode.REUSE, r, "cache")
        if r < self.tau_p:
            return Decision(Mode.PREDICT, r, "predict") if len(history) >= 2 else Decision(Mode.RECOMPUTE, r, "history")
        return Decision(Mode.RECOMPUTE, r, "threshold")

    def settle(self, state: State, unit: Unit, change: float, decision: Decision) -> State:
        r = state.r + change
        if decision.mode is Mode.RECOMPUTE:
            return State(0.0, False, state.errors)
        if decision.mode is Mode.REUSE:
            return State(r, state.predicting, state.errors)
        factor = {"paper": self.decay, "inverse": 1 / self.decay, "none": 1.0}[self.decay_mode]
        return State(factor * r, True, state.errors)

    def value(self, state: State, unit: Unit, decision: Decision, history: Sequence[Entry], x: Tensor) -> Tensor:
        if decision.mode is Mode.REUSE:
            return history[0].value
        nodes, values = zip(*((entry.sigma, entry.value) for entry in history))
        return extrapolate(self.choose(state), unit.sigma, nodes, values, clipped=self.clipped)

    def choose(self, state: State) -> str:
        if self.predictor != AUTO:
            return self.predictor
        return min(state.errors, key=state.errors.__getitem__, default="taylor1")

    def measure(self, unit: Unit, history: Sequence[Entry], velocity: Tensor, latent: Tensor) -> Tensor | None:
        """What every predictor would have missed the computed velocity by; only `auto` needs it."""
        if self.predictor != AUTO or len(history) < 2 or history[0].sigma == unit.sigma:
            return None
        nodes, values = zip(*((entry.sigma, entry.value) for entry in history))
        guesses = [extrapolate(name, unit.sigma, nodes, values, self.clipped) for name in scored(len(history))]
        return torch.stack([torch.linalg.vector_norm(guess - velocity) for guess in guesses])

    def observe(self, state: State, unit: Unit, history: Sequence[Entry], seen: Seen | None) -> State:
        """Keep a running mean of what was measured."""
        if seen is None or not seen.measured:
            return state
        errors = zip(scored(len(history)), seen.measured)
        return replace(
            state, errors={name: 0.5 * state.errors.get(name, error) + 0.5 * error for name, error in errors}
        )


def scored(known: int) -> list[str]:
    """Predictors that so many velocities allow."""
    return [name for name in PREDICTORS if best(name, known) == name]
