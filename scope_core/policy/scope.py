"""SCOPE: cache, predict or recompute by an accumulated discrepancy (arXiv 2604.02979, section 3.3).

Readings of what the paper leaves open: methods.md section 4. Symbols are the paper's: d_k the change of the signal, r_k
the accumulated score, lambda the predict_decay, H (max_skip) lives in the gate because every method needs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..memory import Entry
from ..predict import PREDICTORS, best, extrapolate
from ..schedule import Unit
from .base import Decision, Mode, Policy, Seen

DECAYS = ("paper", "inverse", "none")
AUTO = "auto"


@dataclass(frozen=True)
class State:
    r: float = 0.0
    predicting: bool = False
    """A prediction was made since the last recompute."""
    errors: dict[str, float] = field(default_factory=dict)
    """Running relative error of each predictor, measured at recomputed steps; used by `auto`."""


@dataclass(frozen=True)
class Scope(Policy):
    """Raises ValueError for settings out of range."""

    name = "scope"
    title = "SCOPE"

    tau_c: float = 0.18
    """Below it the last velocity is reused."""
    tau_p: float = 0.42
    """Below it the velocity is predicted."""
    decay: float = 0.75
    """lambda, applied to the score after a predicted step."""
    decay_mode: str = "paper"
    """`paper`: r <- lambda r as printed, which delays the next recompute. `inverse`: r / lambda, which hastens it as the
    text intends (C4). `none`: no decay."""
    predictor: str = "taylor2_paper"
    monotone: bool = True
    """After a prediction, reuse returns a prediction as well, instead of the older velocity (C5)."""
    clipped: bool = True
    signal: str = "modulation"
    aggregate: str = "max"

    def __post_init__(self) -> None:
        if not 0 <= self.tau_c <= self.tau_p:
            raise ValueError(f"thresholds are tau_c = {self.tau_c:g}, tau_p = {self.tau_p:g}; they need 0 <= tau_c <= tau_p, "
                             "for example 0.18 and 0.42 (the paper's)")
        if not 0 < self.decay <= 1:
            raise ValueError(f"predict_decay is {self.decay:g}; it must lie in (0, 1], the paper uses 0.75")
        if self.decay_mode not in DECAYS:
            raise ValueError(f"decay_mode is {self.decay_mode!r}; choose one of {', '.join(DECAYS)}")
        if self.predictor not in (*PREDICTORS, AUTO):
            raise ValueError(f"predictor is {self.predictor!r}; choose one of {', '.join((*PREDICTORS, AUTO))}")

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
        return min(state.errors, key=state.errors.get, default="taylor1")

    def observe(self, state: State, unit: Unit, history: Sequence[Entry], seen: Seen | None) -> State:
        """Score every predictor against the computed velocity and keep a running mean; only `auto` needs it."""
        if self.predictor != AUTO or seen is None or len(history) < 2 or history[0].sigma == unit.sigma:
            return state
        nodes, values = zip(*((entry.sigma, entry.value) for entry in history))
        names = [name for name in PREDICTORS if best(name, len(history)) == name]
        guesses = [extrapolate(name, unit.sigma, nodes, values, self.clipped) for name in names]
        errors = torch.stack([torch.linalg.vector_norm(guess - seen.velocity) for guess in guesses]).tolist()
        return replace(state, errors={name: 0.5 * state.errors.get(name, error) + 0.5 * error for name, error in zip(names, errors)})
