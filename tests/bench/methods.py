"""What is measured: every method at equal budgets under the same rules, and the named presets with their own."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scope_core.methods import METHODS, Gate, Method
from scope_core.methods.knobs import knobs_of
from scope_core.methods.teacache import FITTED_TO
from scope_core.schedule import Family
from scope_core.settings import CALIBRATED, PRESETS, Settings

LOOSE = {"max_skip": 12, "warm_up": 2, "tail": 1}
"""So that the methods decide and not the gate."""
GATES = {
    "synchronous": LOOSE,
    "asynchronous": {"max_skip": 12, "warm_up": 1, "tail": 0},
    "chunk_by_chunk": LOOSE,
    "long_synchronous": LOOSE,
    "long_chunk_by_chunk": LOOSE,
}
"""By schedule. Where chunks follow each other 5 steps apart, three steps of each would be 38 % of all iterations."""
BUDGETS = (0.50, 0.35, 0.22, 0.15)
"""Shares of the full run's operations at which methods are compared."""
OURS, PUBLISHED, OPTIONS = "ours", "published", "with our options"
"""Forms of a method."""
WITH_OPTIONS = ("taylorseer", "reduced")
"""Methods that are also measured in step and corrected (`Settings.joint`, `Settings.correct`), which is not their
published form."""
FIRST = ("taylorseer", "reduced", "scope_paper", "magcache", "teacache", "easycache", "seacache")
"""Measured before the others, so that a benchmark that is not finished yet tells most."""
TITLES = {
    "taylorseer": "TaylorSeer-Lite",
    "predit": "PrediT (re-derived)",
    "fbcache": "FBCache",
    "reduced": "Fewer steps, same grid",
}
"""Where a method's own title would not tell which form of it is measured."""
OPEN = {"magcache": {"longest": 12, "retention": 0.0}, "seacache": {"max_skips": 12}}
"""Limits of their own that methods have beside their knob, opened so that the knob decides."""


@dataclass(frozen=True)
class Ranked:
    """A method with one knob, and the values among which those for the budgets are looked for, slow ones first."""

    title: str
    settings: Callable[[float], Settings]
    knobs: tuple[float, ...]
    form: str = PUBLISHED

    def with_options(self) -> "Ranked":
        """In step and corrected."""
        return Ranked(
            f"{self.title}, {OPTIONS}",
            lambda value: replace(self.settings(value), joint=True, correct=True),
            self.knobs,
            OPTIONS,
        )


def methods(schedule: str, family: Family, ratios: tuple[float, ...]) -> dict[str, Ranked]:
    """Methods by key, all behind the gate of the schedule and forwarding the same frames. `ratios`: the growth of the
    residual measured on a prompt that is not judged, for those that need a calibration.

    A method is measured over its own `speed`. That of SCOPE as we offer it is its longest run of skips, as in the
    presets; as published it is its thresholds, and we are measured that way too. FlowCache looks at what it was
    published with for the family.
    """
    gate = Gate(**GATES[schedule])
    published = {"polynomial": "none", "signal": "modulation" if family.architecture == FITTED_TO else "latent"}
    fixed = {**OPEN, "flowcache": published}

    def ranked(method: type[Method], title: str, **numbers: Any) -> Ranked:
        speed = method.speed
        (knob,) = (knob for knob in (*knobs_of(method), *knobs_of(Gate)) if knob.name == speed.knob)

        def settings(value: float) -> Settings:
            number = int(value) if knob.decimals is None else value
            if knob.field in GATES[schedule]:
                return Settings(method(**numbers), replace(gate, **{knob.field: number}))
            return Settings(method(**numbers, **{knob.field: number}), gate).calibrated(ratios)

        return Ranked(title, settings, speed.values(whole=knob.decimals is None))

    def scaled(settings: Settings, factor: float) -> Settings:
        """Both thresholds of SCOPE times a factor."""
        scope = settings.method
        return Settings(replace(scope, tau_c=scope.tau_c * factor, tau_p=scope.tau_p * factor), gate)

    def by_thresholds(settings: Settings, title: str, low: float, high: float) -> Ranked:
        return Ranked(title, lambda factor: scaled(settings, factor), tuple(np.geomspace(low, high, 48).tolist()))

    found = {
        name: ranked(method, TITLES.get(name, method.title), **fixed.get(name, {}))
        for name, method in METHODS.items()
        if method.offered and method.speed and method is not type(CALIBRATED.method)
    }
    found |= {
        "scope_paper": by_thresholds(PRESETS[family.paper], "SCOPE as published", 0.01, 8),
        "taylorseer_residual": ranked(METHODS["taylorseer"], "TaylorSeer, residual", site="residual"),
    }
    return {
        **{name: found[name] for name in FIRST},
        **found,
        **{f"{name}_options": found[name].with_options() for name in WITH_OPTIONS},
        "scope": replace(ranked(type(CALIBRATED.method), "SCOPE (ours)"), form=OURS),
        "scope_thresholds": replace(
            by_thresholds(CALIBRATED, "SCOPE (ours), by thresholds", 0.01, 4), form="ours, by thresholds"
        ),
    }
