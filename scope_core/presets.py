"""Named operating points, and the settings they stand for."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from .gate import Gate
from .policy import POLICIES, Off, Policy, Scope

RULES = ("max_skip", "warm_up", "tail", "selective", "joint")
"""Of the settings: what holds for every method."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides speed and fidelity. Out-of-range values raise ValueError when `policy` or `gate` is made."""

    rival: Policy | None = None
    """Another method; None: SCOPE, with the numbers from here to `clipped`."""
    tau_c: float = 0.01
    tau_p: float = 0.50
    decay: float = 0.75
    decay_mode: str = "inverse"
    predictor: str = "taylor1"
    signal: str = "modulation"
    aggregate: str = "max"
    monotone: bool = True
    clipped: bool = True
    max_skip: int = 2
    warm_up: int = 0
    tail: int = 0
    selective: str = "auto"
    joint: bool = False
    """One decision for all chunks of an iteration where they could have their own (MAGI-1)."""

    @property
    def policy(self) -> Policy:
        """The method; Off where the settings leave it nothing to skip."""
        policy = self.rival or Scope(self.tau_c, self.tau_p, self.decay, self.decay_mode, self.predictor, self.monotone, self.clipped, self.signal, self.aggregate)
        return Off() if policy.off or self.max_skip == 0 else policy

    @property
    def off(self) -> bool:
        """Settings under which no step can be skipped: the run is then exactly the one without SCOPE."""
        return self.policy.off

    @property
    def method(self) -> str:
        return self.policy.name

    @property
    def gate(self) -> Gate:
        return Gate(self.max_skip, self.warm_up, self.tail)

    @property
    def interval(self) -> str:
        return "full" if self.off and self.selective == "auto" else self.selective

    def to_json(self) -> dict[str, Any]:
        """The method's numbers and the safety rules, flat."""
        return {"method": self.method, **asdict(self.policy), **{name: getattr(self, name) for name in RULES}}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Settings":
        rules = {name: data[name] for name in RULES}
        numbers = {name: value for name, value in data.items() if name not in (*RULES, "method")}
        return cls(**numbers, **rules) if data["method"] == "scope" else cls(POLICIES[data["method"]](**numbers), **rules)


CALIBRATED = Settings()
"""The point that 1 on the threshold dial stands for."""
PAPER = Settings(tau_c=0.18, tau_p=0.42, decay_mode="paper", predictor="taylor2_paper", max_skip=5, warm_up=5, tail=1, selective="paper")
PAPER_MAGI = replace(PAPER, tau_c=0.03, tau_p=0.08, signal="latent")
PRESETS: dict[str, Settings] = {
    "off": Settings(Off()),
    "quality": replace(CALIBRATED, max_skip=1, warm_up=1, tail=1),
    "balanced": CALIBRATED,
    "fast": replace(CALIBRATED, max_skip=4),
    "paper_slow": replace(PAPER, tau_c=0.12, tau_p=0.30),
    "paper_fast": PAPER,
    "paper_magi_slow": replace(PAPER_MAGI, tau_c=0.02, tau_p=0.05),
    "paper_magi_fast": PAPER_MAGI,
}
"""`paper_*` are the operating points printed in arXiv 2604.02979 for SkyReels-V2 and for MAGI-1, with the readings of methods.md section 4. The others reuse a
velocity only where the noise level hardly changed, predict along a line otherwise, and let the score grow after a prediction."""


def spread(count: int) -> list[Settings]:
    """Operating points from careful to fast, the most telling ones first, so that a longer list begins like a shorter one."""
    return [replace(CALIBRATED, max_skip=max_skip) for max_skip in (2, 4, 1, 6, 3, 8, 5, 10, 12, 7, 9, 11)[:count]]


def name_of(settings: Settings) -> str:
    """A preset's name, or what distinguishes the settings from the calibrated ones of their method."""
    for name, preset in PRESETS.items():
        if settings == preset or settings.off and preset.off:
            return name
    if settings.rival is not None:
        (_, knob), *others = asdict(settings.rival).items()
        usual = asdict(type(settings.rival)())
        return f"{settings.method} {knob:g}" + "".join(f", {told(name, value)}" for name, value in others if name != "ratios" and value != usual[name])
    usual = CALIBRATED.to_json()
    changed = {name: value for name, value in settings.to_json().items() if value != usual[name]}
    return ", ".join(told(name, value) for name, value in changed.items())


def told(name: str, value: Any) -> str:
    return f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
