"""What is run, in which order, and with which settings: every method at every budget, on every schedule and clip."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import time
from typing import Any

import torch

from scope_core.methods import METHODS
from scope_core.methods.magcache import Record, measured
from scope_core.schedule import ARSchedule
from scope_core.settings import PRESETS, Settings
from scope_core.signals import CONTENT

from .methods import BUDGETS, Ranked, methods
from .runs import FULL, LONG, Run, Runs, counted, demo_of, named, schedule_of

SECONDS = {
    "synchronous": 4.7,
    "asynchronous": 9.5,
    "chunk_by_chunk": 5.1,
    "long_synchronous": 14.0,
    "long_chunk_by_chunk": 11.0,
}
"""Of a full run on one thread of a slow machine, from which progress is told."""
ALLOWED, NEAR = 1.03, 0.04
"""What a budget may be exceeded by, as a factor; and how far from it, in shares of the full run, a method still counts
there."""
LONG_METHODS, LONG_BUDGETS = ("taylorseer", "reduced", "scope"), (0.35, 0.22)
"""What is measured on long videos."""
ROUND = 8
"""Clips of every method before further ones of any."""


@dataclass(frozen=True)
class Spec:
    """A row of the report: one way to sample, of which there is a run for every clip."""

    way: str
    method: str
    """full, fewer, preset, or a key of `methods`."""
    label: str
    settings: Settings
    shorter: ARSchedule | None = None
    title: str = ""
    form: str = ""
    budget: float = 1.0

    def run(self, clip: int) -> Run:
        return Run(self.way, self.settings, clip, shorter=self.shorter)


class Bench:
    def __init__(self, out: Path, clips: int, ways: list[str], only: list[str] | None = None):
        """`only`: keys of `methods`, or `preset` for SCOPE's presets; by default all."""
        self.runs, self.clips, self.ways, self.only = Runs(out / "runs"), clips, ways, only
        self.methods = cache(self.methods_of)
        self.specs = cache(lambda way, method: list(self.specs_of(way, method)))

    def keys(self) -> list[str]:
        """Of what is measured, in the order in which it is: what others are measured against before them."""
        known = dict.fromkeys(["preset", *(key for way in self.ways for key in self.methods(way))])
        if self.only is not None and (unknown := set(self.only) - set(known)):
            raise ValueError(f"methods are {', '.join(sorted(unknown))}; choose among {', '.join(known)}")
        return ["full", "fewer", *(key for key in known if self.only is None or key in self.only)]

    def methods_of(self, way: str) -> dict[str, Ranked]:
        return methods(way, demo_of(way).family, self.ratios(way))

    def ratios(self, way: str) -> tuple[float, ...]:
        """MagCache's, from one recorded run."""

        def make() -> list[float]:
            made = Run(way, Settings(Record()), 0, "searched").sample()
            states = (state for control in made.controls for state in control.states)
            return list(measured(states, schedule_of(way).steps))

        return tuple(self.runs.once(f"ratios-{way}", make))

    def specs_of(self, way: str, key: str) -> Iterator[Spec]:
        if key == "full":
            yield Spec(way, key, "every step", FULL)
        elif key == "fewer":
            for shorter in demo_of(way).shorter(schedule_of(way)):
                yield Spec(way, key, f"{shorter.steps} steps", FULL, shorter)
        elif key == "preset":
            for name in list(PRESETS)[1:]:
                yield Spec(way, key, name, PRESETS[name])
        elif key in self.methods(way) and (way not in LONG or key in LONG_METHODS):
            method = self.methods(way)[key]
            for budget in BUDGETS if way not in LONG else LONG_BUDGETS:
                knob = self.knob_for(budget, method, way)
                label = f"{method.title} {knob:.3g}"
                yield Spec(way, key, label, method.settings(knob), None, method.title, method.form, budget)

    def knob_for(self, budget: float, method: Ranked, way: str) -> float:
        """The slowest value that keeps to the budget; the nearest one where that is too far below it."""
        settings = [method.settings(knob) for knob in method.knobs]
        if plannable(settings[0]):
            costs = dict(enumerate(self.planned(way, settings)))
        else:
            costs = self.bisected(way, settings, budget)
        within = [i for i in costs if costs[i] <= budget * ALLOWED]
        best = max(within, key=lambda i: (costs[i], -i), default=None)
        if best is None or costs[best] < budget - NEAR:
            best = min(costs, key=lambda i: (abs(costs[i] - budget), i))
        return method.knobs[best]

    def planned(self, way: str, settings: list[Settings]) -> list[float]:
        """Shares of the full run's forwards, known before any run."""
        name = named({"way": way, "costs": [each.to_json() for each in settings]})
        full = counted(way, FULL)
        return self.runs.once(f"costs-{name}", lambda: [counted(way, each) / full for each in settings])

    def bisected(self, way: str, settings: list[Settings], budget: float) -> dict[int, float]:
        """The same of settings around the budget, from runs of the prompt that is not judged."""
        costs: dict[int, float] = {}

        def exceeds(i: int) -> bool:
            run = Run(way, settings[i], 0, "searched")
            self.runs.make(run, wait=True)
            costs[i] = self.runs.about(run)["forwards"] / counted(way, FULL)
            return costs[i] > budget * ALLOWED

        slow, fast = 0, len(settings) - 1
        if exceeds(slow) and not exceeds(fast):
            while fast - slow > 1:
                middle = (slow + fast) // 2
                slow, fast = (middle, fast) if exceeds(middle) else (slow, middle)
        return costs

    def wanted(self) -> Iterator[tuple[Spec, int]]:
        """Every run: some clips of everything before further ones of anything, long videos last."""
        ways = [way for way in self.ways if way not in LONG], [way for way in self.ways if way in LONG]
        for some in filter(None, ways):
            for begin in range(0, self.clips, ROUND):
                for key in self.keys():
                    for way in some:
                        for spec in self.specs(way, key):
                            for clip in range(begin, min(begin + ROUND, self.clips)):
                                if way not in LONG or clip < ROUND:
                                    yield spec, clip

    def weight(self) -> float:
        """Seconds that everything takes, about."""
        total = 0.0
        for way in self.ways:
            long = way in LONG
            per_method = sum(LONG_BUDGETS if long else BUDGETS)
            count = len([key for key in self.keys()[2:] if key in LONG_METHODS or not long])
            total += SECONDS[way] * (3.0 + per_method * count) * (min(self.clips, ROUND) if long else self.clips)
        return total

    def work(self) -> None:
        """Make what is not there yet, until all is there or in the works elsewhere."""
        began, total, passed, made = time(), self.weight(), 0.0, 0.0
        for spec, clip in self.wanted():
            run = spec.run(clip)
            share = spec.budget if spec.title else 1.0 if spec.method == "full" else 0.35
            there = self.runs.has(run)
            if not there:
                self.runs.make(run)
            passed += share * SECONDS[spec.way]
            made += 0.0 if there else share * SECONDS[spec.way]
            if not there:
                left = (total - passed) * (time() - began) / made
                print(f"{passed / total:4.0%}, {told(left)} left: {spec.way}, {spec.label}, clip {clip + 1}", flush=True)


def plannable(settings: Settings) -> bool:
    return settings.acting.plannable and settings.acting.signal not in CONTENT


def told(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{max(0, seconds) / 60:.0f} min"


def work(*args: Any) -> None:
    """In a process of its own."""
    torch.set_num_threads(1)
    Bench(*args).work()
