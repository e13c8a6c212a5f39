"""What is measured: every method at equal budgets under the same rules, and the named presets with their own."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scope_core.demo import budcache
from scope_core.methods import METHODS, BudCache, Gate, Method, Planned, Scope
from scope_core.methods.base import Gram
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
VARIANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "taylorseer_residual": ("taylorseer", "TaylorSeer, residual", {"site": "residual"}),
    "meancache_paper": ("meancache", "MeanCache, as in the paper", {"form": "paper"}),
}
"""Further forms of methods: by key the method, a title, and what differs from its defaults."""
SPEEDS = tuple(np.geomspace(1.1, 9, 64).tolist())
"""At which ours is planned."""
WITH_OPTIONS = ("taylorseer", "reduced")
"""Methods that are also measured in step and corrected (`Settings.joint`, `Settings.correct`), which is not their
published form."""
FIRST = ("taylorseer", "reduced", "scope_paper", "magcache", "teacache", "easycache", "seacache")
"""Measured before the others, so that a benchmark that is not finished yet tells most."""
FEW_STEPS = {
    "few_unipc": ("UniPC on a part of the levels", "unipc"),
    "few_ab2": ("AB2 on a part of the levels", "ab2"),
    "few_cab": ("CAB on a part of the levels", "cab"),
}
"""Few-step solvers, by key: nothing is skipped, the run has fewer steps, at evenly spread levels of the full one's."""
TITLES = {
    "taylorseer": "TaylorSeer-Lite",
    "predit": "PrediT (re-derived)",
    "fbcache": "FBCache",
    "reduced": "Fewer steps, same grid",
}
"""Where a method's own title would not tell which form of it is measured."""
OPEN = {"magcache": {"longest": 12, "retention": 0.0}, "seacache": {"max_skips": 12}, "lemica": {"site": "residual"}}
"""What methods have beside their knob: limits, opened so that the knob decides, and what they were published with."""


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


def methods(schedule: str, family: Family, ratios: tuple[float, ...], gram: Gram = ()) -> dict[str, Ranked]:
    """Methods by key, rivals behind the gate of the schedule and forwarding the same frames. `ratios`, `gram`: what was
    recorded of a prompt that is not judged, for those that need a calibration.

    A method is measured over its own `speed`. SCOPE as we offer it plans its steps and has no gate; as published it is
    its thresholds, and ours are measured that way too. FlowCache looks at what it was published with for the family.
    BudCache is there where lists were searched for the demo model and the schedule.
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
            return Settings(method(**numbers, **{knob.field: number}), gate).calibrated(ratios, gram)

        return Ranked(title, settings, speed.values(whole=knob.decimals is None))

    def by_thresholds(settings: Settings, title: str, low: float, high: float) -> Ranked:
        """Both thresholds of SCOPE times a factor."""

        def scaled(factor: float) -> Settings:
            scope = settings.method
            return Settings(replace(scope, tau_c=scope.tau_c * factor, tau_p=scope.tau_p * factor), gate)

        return Ranked(title, scaled, tuple(np.geomspace(low, high, 48).tolist()))

    found = {
        name: ranked(method, TITLES.get(name, method.title), **fixed.get(name, {}))
        for name, method in METHODS.items()
        if method.offered and method.speed and method not in (Planned, Scope)
    }
    found |= {name: ranked(METHODS[of], title, **numbers) for name, (of, title, numbers) in VARIANTS.items()}
    found["scope_paper"] = by_thresholds(PRESETS[family.paper], "SCOPE as published", 0.01, 8)
    if lists := budcache.kept(schedule):
        found[BudCache.name] = Ranked(
            BudCache.title,
            lambda computed: Settings(BudCache(steps=lists[int(computed)]), gate),
            tuple(sorted(lists, reverse=True)),
        )
    ours = Ranked("SCOPE (ours)", lambda speed: Settings(Planned(speed)), SPEEDS, OURS)
    thresholds = by_thresholds(CALIBRATED, "SCOPE (ours), by thresholds", 0.01, 4)
    return {
        **{name: found[name] for name in FIRST},
        **found,
        **{f"{name}_options": found[name].with_options() for name in WITH_OPTIONS},
        "planned": ours,
        "scope_thresholds": replace(thresholds, form="ours, by thresholds"),
    }
