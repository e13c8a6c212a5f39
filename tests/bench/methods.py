"""What is measured: every method at equal budgets under the same rules, and the named presets with their own."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from scope_core.policy import (
    BWCache, DeltaDiT, EasyCache, FBCache, FlowCache, MagCache, MotionCache, Policy, PrediT, Reduced, SeaCache, TaylorSeer, TeaCache)
from scope_core.presets import CALIBRATED, PAPER, PAPER_MAGI, Settings

GATE = {"max_skip": 12, "warm_up": 2, "tail": 1}
"""Loose, so that the methods decide and not the gate."""
GATES = {"synchronous": GATE, "asynchronous": {"max_skip": 12, "warm_up": 1, "tail": 0}, "chunk_by_chunk": GATE}
"""By schedule. Where chunks follow each other 5 steps apart, three steps of each would be 38 % of all iterations."""
BUDGETS = (0.5, 0.35, 0.22)
"""Shares of the full run's forward passes at which methods are compared."""


def log_spaced(low: float, high: float, count: int = 32) -> tuple[float, ...]:
    return tuple(low * (high / low) ** (i / (count - 1)) for i in range(count))


@dataclass(frozen=True)
class Method:
    """A method with one knob, and the values among which those for the budgets are looked for, slow ones first."""

    title: str
    settings: Callable[[float], Settings]
    knobs: tuple[float, ...]


def methods(schedule: str, steps: int, ratios: tuple[float, ...]) -> dict[str, Method]:
    """Methods by key, all behind the gate of the schedule and forwarding the same frames. `ratios`: MagCache's, measured on a prompt that is not judged.

    The knob of SCOPE as we offer it is its longest run of skips, as in the presets; as published it is its thresholds. That of BWCache is its tail, because the published
    thresholds let reuse begin at the second step of the demos, whatever the budget.
    """
    rules = {**GATES[schedule], "selective": "auto"}
    family = "magi" if schedule == "chunk_by_chunk" else "skyreels"

    def ruled(policy: Policy) -> Settings:
        return Settings(policy, **rules)

    def scaled(scope: Settings, factor: float) -> Settings:
        """Both thresholds of SCOPE times a factor."""
        return replace(scope, tau_c=scope.tau_c * factor, tau_p=scope.tau_p * factor, **rules)

    paper = PAPER_MAGI if family == "magi" else PAPER
    flow = "latent" if family == "magi" else "modulation"
    every = tuple(float(n) for n in range(2, 14))
    return {
        "scope": Method("SCOPE (ours)", lambda k: replace(CALIBRATED, **rules | {"max_skip": int(k)}), tuple(map(float, range(1, 13)))),
        "scope_thresholds": Method("SCOPE (ours), by thresholds", lambda k: scaled(CALIBRATED, k), log_spaced(0.05, 4)),
        "scope_paper": Method("SCOPE as published", lambda k: scaled(paper, k), log_spaced(0.1, 8)),
        "teacache": Method("TeaCache", lambda k: ruled(TeaCache(k)), log_spaced(0.02, 2)),
        "taylorseer": Method("TaylorSeer-Lite", lambda k: ruled(TaylorSeer(int(k))), every),
        "taylorseer_residual": Method("TaylorSeer, residual", lambda k: ruled(TaylorSeer(int(k), site="residual")), every),
        "flowcache": Method("FlowCache", lambda k: ruled(FlowCache(k, signal=flow)), log_spaced(0.005, 1)),
        "delta_dit": Method("Delta-DiT", lambda k: ruled(DeltaDiT(int(k))), every),
        "magcache": Method("MagCache", lambda k: ruled(MagCache(k, longest=12, retention=0.0, ratios=ratios)), log_spaced(0.005, 2)),
        "predit": Method("PrediT (re-derived)", lambda k: ruled(PrediT(k)), log_spaced(0.02, 8)),
        "bwcache": Method("BWCache", lambda k: ruled(BWCache(tail_ratio=k)), tuple(1 - i / 20 for i in range(21))),
        "easycache": Method("EasyCache", lambda k: ruled(EasyCache(k)), log_spaced(0.005, 1)),
        "fbcache": Method("FBCache", lambda k: ruled(FBCache(k)), log_spaced(0.01, 1)),
        "motioncache": Method("MotionCache", lambda k: ruled(MotionCache(k)), log_spaced(0.005, 1)),
        "seacache": Method("SeaCache", lambda k: ruled(SeaCache(k, max_skips=12)), log_spaced(0.01, 2)),
        "reduced": Method("Fewer steps, same grid", lambda k: ruled(Reduced(int(k))), tuple(float(n) for n in range(steps, 3, -1))),
    }
