"""Named operating points, and the settings they stand for."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from .gate import Gate
from .policy import POLICIES, Off, Policy, Scope, TeaCache


@dataclass(frozen=True)
class Settings:
    """Everything that decides speed and fidelity. Out-of-range values raise ValueError when `policy` or `gate` is made."""

    method: str = "scope"
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
    teacache_threshold: float = 0.2
    teacache_model: str = "none"

    @property
    def off(self) -> bool:
        """Settings under which no step can be skipped: the run is then exactly the one without SCOPE."""
        if self.method not in POLICIES:
            raise ValueError(f"method is {self.method!r}; choose one of {', '.join(POLICIES)}")
        threshold = {"off": 0.0, "scope": self.tau_p, "teacache": self.teacache_threshold}[self.method]
        return threshold == 0 or self.max_skip == 0

    @property
    def policy(self) -> Policy:
        if self.method == "teacache":
            policy = TeaCache(self.teacache_threshold, self.teacache_model, self.signal, self.aggregate)
        else:
            policy = Scope(self.tau_c, self.tau_p, self.decay, self.decay_mode, self.predictor, self.monotone, self.clipped,
                           self.signal, self.aggregate)
        return Off() if self.off else policy

    @property
    def gate(self) -> Gate:
        return Gate(self.max_skip, self.warm_up, self.tail)

    @property
    def interval(self) -> str:
        return "full" if self.off and self.selective == "auto" else self.selective

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


CALIBRATED = Settings()
"""The point that 1 on the threshold dial stands for."""
PAPER = Settings(tau_c=0.18, tau_p=0.42, decay_mode="paper", predictor="taylor2_paper", max_skip=5, warm_up=5, tail=1, selective="paper")
PAPER_MAGI = replace(PAPER, tau_c=0.03, tau_p=0.08, signal="latent")
PRESETS: dict[str, Settings] = {
    "off": Settings(method="off"),
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
    if settings.method != "scope":
        return f"{settings.method} {getattr(settings, f'{settings.method}_threshold'):g}"
    changed = {name: value for name, value in settings.to_json().items() if value != getattr(CALIBRATED, name)}
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in changed.items())
