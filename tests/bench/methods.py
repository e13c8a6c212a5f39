"""What is measured: every method at equal budgets behind one safety gate, and the named presets with their own."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from scope_core.policy import (
    BWCache, DeltaDiT, EasyCache, FBCache, FlowCache, MagCache, MotionCache, PrediT, Reduced, SeaCache, TaylorSeer, TeaCache)
from scope_core.presets import CALIBRATED, PAPER, PAPER_MAGI, Settings

GATE = {"max_skip": 12, "warm_up": 2, "tail": 1}
"""Loose, so that the methods decide and not the gate, and the same for all."""
BUDGETS = (0.5, 0.35, 0.22)
"""Shares of the full run's forward passes at which methods are compared."""


def log_spaced(low: float, high: float, count: int = 9) -> tuple[float, ...]:
    return tuple(low * (high / low) ** (i / (count - 1)) for i in range(count))


@dataclass(frozen=True)
class Method:
    """A method with one knob, and the values among which those for the budgets are looked for."""

    title: str
    settings: Callable[[float], Settings]
    knobs: tuple[float, ...]


def behind_gate(policy) -> Settings:
    return Settings(policy, **GATE)


def scope(base: Settings, scale: float) -> Settings:
    """Both thresholds of SCOPE times `scale`, behind the common gate."""
    return replace(base, tau_c=base.tau_c * scale, tau_p=base.tau_p * scale, **GATE)


def methods(family: str, steps: int, ratios: tuple[float, ...]) -> dict[str, Method]:
    """Methods for a family, 'skyreels' or 'magi', by key. `ratios`: MagCache's, measured on a prompt that is not judged."""
    paper = PAPER_MAGI if family == "magi" else PAPER
    flow = "latent" if family == "magi" else "modulation"
    every = tuple(float(n) for n in range(2, 9))
    return {
        "scope": Method("SCOPE (ours)", lambda k: scope(CALIBRATED, k), log_spaced(0.05, 4)),
        "scope_paper": Method("SCOPE as published", lambda k: scope(paper, k), log_spaced(0.1, 8)),
        "teacache": Method("TeaCache", lambda k: behind_gate(TeaCache(k)), log_spaced(0.02, 2)),
        "taylorseer": Method("TaylorSeer-Lite", lambda k: behind_gate(TaylorSeer(int(k))), every),
        "flowcache": Method("FlowCache", lambda k: behind_gate(FlowCache(k, signal=flow)), log_spaced(0.005, 1)),
        "delta_dit": Method("Delta-DiT", lambda k: behind_gate(DeltaDiT(int(k))), every),
        "magcache": Method("MagCache", lambda k: behind_gate(MagCache(k, longest=12, retention=0.0, ratios=ratios)), log_spaced(0.005, 2)),
        "predit": Method("PrediT (re-derived)", lambda k: behind_gate(PrediT(k)), log_spaced(0.02, 8)),
        "bwcache": Method("BWCache", lambda k: behind_gate(BWCache(k)), log_spaced(0.01, 1)),
        "easycache": Method("EasyCache", lambda k: behind_gate(EasyCache(k)), log_spaced(0.005, 1)),
        "fbcache": Method("FBCache", lambda k: behind_gate(FBCache(k)), log_spaced(0.01, 1)),
        "motioncache": Method("MotionCache", lambda k: behind_gate(MotionCache(k)), log_spaced(0.005, 1)),
        "seacache": Method("SeaCache", lambda k: behind_gate(SeaCache(k, max_skips=12)), log_spaced(0.01, 2)),
        "reduced": Method("Fewer steps, same grid", lambda k: behind_gate(Reduced(int(k))), tuple(float(n) for n in range(6, steps // 2 + 6, 2))),
    }
