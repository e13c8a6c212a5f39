"""What is run, in which order, and with which settings: every method at every budget, on every schedule and clip."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import takewhile
from pathlib import Path
from statistics import mean, median
from time import perf_counter, time
from typing import Any

import torch
from torch import Tensor

from scope_core import disk
from scope_core.demo.training.evaluate import Judge
from scope_core.demo.words import FRAMES_PER_LATENT
from scope_core.methods.magcache import measured
from scope_core.schedule import ARSchedule
from scope_core.settings import PRESETS, Settings
from scope_core.signals import CONTENT
from scope_core.study.metrics import finite, lpips, mean_psnr, psnr, ssim
from scope_core.study.plans import planned
from scope_core.study.recording import Recorder, grams

from .figures import NEAR
from .methods import BUDGETS, FEW_STEPS, GATES, PUBLISHED, Ranked, methods
from .runs import FULL, LONG, Run, Runs, clips_of, counted, demo_of, named, schedule_of

SECONDS = {
    "synchronous": 4.7,
    "asynchronous": 9.5,
    "chunk_by_chunk": 5.1,
    "long_synchronous": 14.0,
    "long_chunk_by_chunk": 11.0,
}
"""Of a full run on one thread of a slow machine, from which progress is told."""
MEASURING = 1.0
"""Seconds to measure a video."""
ALLOWED = 1.03
"""What a budget may be exceeded by."""
LONG_METHODS, LONG_BUDGETS = ("full", "fewer", "taylorseer", "reduced", "planned"), (0.35, 0.22)
"""What is measured on long videos."""
ROUND = 8
"""Clips of every method before further ones of any, and all clips of long videos."""
TIMED = 3
"""Clips on which time is measured."""


class MissingError(Exception):
    """A run that the search for a setting needs was not made."""


@dataclass(frozen=True)
class Spec:
    """A row of the report: one way to sample, of which there is a run for every clip."""

    way: str
    method: str
    """full, other (from other noise), fewer, preset, or a key of `methods`."""
    label: str
    settings: Settings
    shorter: ARSchedule | None = None
    title: str = ""
    form: str = ""
    budget: float = 1.0
    solver: str | None = None

    @property
    def head(self) -> dict[str, Any]:
        """What tells its row apart."""
        ranked = {"title": self.title, "form": self.form, "budget": self.budget} if self.form else {}
        return {"schedule": self.way, "method": self.method, "label": self.label, **ranked}

    def run(self, clip: int) -> Run:
        kind = "other" if self.method == "other" else "judged"
        return Run(self.way, self.settings, clip, kind, self.shorter, self.solver)


@cache
def part_of(way: str, budget: float) -> ARSchedule:
    """The most of a schedule's steps, evenly spread, that keep to a budget."""
    schedule = schedule_of(way)
    stages = schedule.steps // schedule.ar_step if schedule.family.by_chunk else 1
    for count in range(schedule.steps - stages, 0, -1):
        if count % stages == 0:
            part = schedule.only(sorted({1 + i * schedule.steps // count for i in range(count)}))
            if counted(way, FULL, part) <= budget * ALLOWED * counted(way, FULL):
                return part
    raise ValueError(f"no part of {way} costs {budget:.0%}")


def few_steps(way: str, key: str) -> Iterator[Spec]:
    title, solver = FEW_STEPS[key]
    for budget in BUDGETS:
        part = part_of(way, budget)
        yield Spec(way, key, f"{title}, {part.steps}", FULL, part, title, PUBLISHED, budget, solver)


class Bench:
    def __init__(
        self, out: Path, clips: int, ways: list[str], only: list[str] | None = None, backbones: Path | None = None
    ):
        """`only`: keys of `methods`, or `preset` for SCOPE's presets; by default all. `backbones`: the folder that
        LPIPS is measured with."""
        self.runs, self.clips, self.ways, self.only = Runs(out / "runs"), clips, ways, only
        self.lpips = lpips(backbones)[0] if backbones else None
        self.methods = cache(self.methods_of)
        self.specs = cache(self.specs_now)
        self.reference = lru_cache(ROUND)(self.reference_of)
        self.making = True
        """Runs that settings are looked for with are made."""

    def known(self) -> list[str]:
        """Keys of all that can be measured, in the order in which it is."""
        return ["preset", *dict.fromkeys(key for way in self.ways for key in self.methods(way)), *FEW_STEPS]

    def keys(self) -> list[str]:
        """Of what is measured: what others are measured against before them."""
        return ["full", "other", "fewer", *(key for key in self.known() if self.only is None or key in self.only)]

    def methods_of(self, way: str) -> dict[str, Ranked]:
        """Those that need a recorded run are not measured on long videos."""
        name = f"recorded-{way}"
        there = way not in LONG and (self.making or self.runs.knows(name))
        recorded = self.runs.once(name, lambda: self.record(way)) if there else {}
        return methods(way, demo_of(way).family, tuple(recorded.get("ratios", ())), recorded.get("gram", ()))

    def record(self, way: str) -> dict[str, Any]:
        """What a run of the prompt that is not judged shows, as SCOPE Calibrate records it."""
        made = Run(way, Settings(Recorder(ratios=True)), 0, "searched").sample()
        states = [state for control in made.controls for state in control.states]
        ratios = measured((state.growths for state in states), schedule_of(way).steps)
        return {"ratios": ratios, "gram": grams(states).v.mean(0).tolist()}

    def specs_now(self, way: str, key: str) -> list[Spec]:
        """Without those whose settings are not known yet, where nothing may be made."""
        try:
            return list(self.specs_of(way, key))
        except MissingError:
            return []

    def specs_of(self, way: str, key: str) -> Iterator[Spec]:
        if way in LONG and key not in LONG_METHODS:
            return
        if key == "full":
            yield Spec(way, key, "every step", FULL)
        elif key == "other":
            yield Spec(way, key, "other noise", FULL)
        elif key == "fewer":
            for shorter in demo_of(way).shorter(schedule_of(way)):
                yield Spec(way, key, f"{shorter.steps} steps", FULL, shorter)
        elif key == "preset":
            for name in list(PRESETS)[1:]:
                yield Spec(way, key, name, PRESETS[name])
        elif key in FEW_STEPS:
            yield from few_steps(way, key)
        elif key in self.methods(way):
            yield from self.at_budgets(way, key)

    def at_budgets(self, way: str, key: str) -> Iterator[Spec]:
        method = self.methods(way)[key]
        for budget in BUDGETS if way not in LONG else LONG_BUDGETS:
            knob = self.knob_for(budget, method, way)
            label = f"{method.title} {knob:.3g}"
            yield Spec(way, key, label, method.settings(knob), None, method.title, method.form, budget)

    def knob_for(self, budget: float, method: Ranked, way: str) -> float:
        """The slowest value that keeps to the budget; the nearest one where that is too far below it."""
        settings = [method.settings(knob) for knob in method.knobs]
        if plannable(settings[0]):
            costs = dict(enumerate(self.costs_of(way, settings)))
        else:
            costs = self.bisected(way, settings, budget)
        within = [i for i in costs if costs[i] <= budget * ALLOWED]
        best = max(within, key=lambda i: (costs[i], -i), default=None)
        if best is None or costs[best] < budget - NEAR:
            best = min(costs, key=lambda i: (abs(costs[i] - budget), i))
        return method.knobs[best]

    def costs_of(self, way: str, settings: list[Settings]) -> list[float]:
        """Shares of the full run's forwards, known before any run."""
        steps = [planned(each, schedule_of(way), demo_of(way).plans) for each in settings]
        name = named({"way": way, "costs": [each.to_json() for each in steps]})
        full = counted(way, FULL)
        return self.runs.once(f"costs-{name}", lambda: [counted(way, each) / full for each in settings])

    def bisected(self, way: str, settings: list[Settings], budget: float) -> dict[int, float]:
        """The same of settings around the budget, from runs of the prompt that is not judged."""
        costs: dict[int, float] = {}

        def exceeds(i: int) -> bool:
            run = Run(way, settings[i], 0, "searched")
            if self.making:
                self.runs.make(run, wait=True)
            elif not self.runs.has(run):
                raise MissingError
            costs[i] = self.runs.about(run)["forwards"] / counted(way, FULL)
            return costs[i] > budget * ALLOWED

        slow, fast = 0, len(settings) - 1
        if exceeds(slow) and not exceeds(fast):
            while fast - slow > 1:
                middle = (slow + fast) // 2
                slow, fast = (middle, fast) if exceeds(middle) else (slow, middle)
        return costs

    def clips_of(self, way: str) -> int:
        return min(self.clips, ROUND) if way in LONG else self.clips

    def wanted(self) -> Iterator[tuple[Spec, int]]:
        """Every run: some clips of everything before further ones of anything, long videos last."""
        for ways in [way for way in self.ways if way not in LONG], [way for way in self.ways if way in LONG]:
            for begin in range(0, self.clips, ROUND):
                for key in self.keys():
                    for way in ways:
                        for spec in self.specs(way, key):
                            for clip in range(begin, min(begin + ROUND, self.clips_of(way))):
                                yield spec, clip

    def weight(self) -> float:
        """Seconds that everything takes, about."""
        total = 0.0
        for way in self.ways:
            ranked = [key for key in self.keys()[3:] if way not in LONG or key in LONG_METHODS]
            budgets = LONG_BUDGETS if way in LONG else BUDGETS
            cost = SECONDS[way] * (3.75 + sum(budgets) * len(ranked)) + MEASURING * (7 + len(budgets) * len(ranked))
            total += cost * self.clips_of(way)
        return total

    def work(self) -> None:
        """Make and measure what is not there yet, until all is there or in the works elsewhere."""
        began, total, passed, made = time(), self.weight(), 0.0, 0.0
        for spec, clip in self.wanted():
            cost = (
                SECONDS[spec.way] * (spec.budget if spec.form else 1.0 if spec.method in ("full", "other") else 0.35)
                + MEASURING
            )
            passed += cost
            run = spec.run(clip)
            if not self.there(run) and self.runs.make(run):
                self.measured(run)
                made += cost
                left = (total - passed) * (time() - began) / made
                print(
                    f"{passed / total:4.0%}, {told(left)} left: {spec.way}, {spec.label}, clip {clip + 1}", flush=True
                )

    def there(self, run: Run) -> bool:
        """Made and measured."""
        known = self.runs.knows
        return self.runs.has(run) and known(run.name) and (self.lpips is None or known(f"{run.name}-lpips"))

    def measured(self, run: Run) -> dict[str, Any]:
        """Figures of a video beside the full run's."""
        found = self.runs.once(run.name, lambda: self.measure(run))
        if self.lpips is not None:
            found["lpips"] = self.runs.once(f"{run.name}-lpips", lambda: self.measure_lpips(run))
        return found

    def measure(self, run: Run) -> dict[str, Any]:
        video, reference = self.video(run), self.reference(run.way, run.clip)
        frames = slice(None, None, FRAMES_PER_LATENT)
        clip = clips_of("judged")[run.clip : run.clip + 1]
        judged = self.judge(video, clip)
        return {
            "psnr": finite(mean_psnr(video, reference).item()),
            "worst_frame": finite(psnr(video, reference).min().item()),
            "ssim": finite(ssim(video[:, :, frames], reference[:, :, frames]).mean().item()),
            "faithful": {goal: value for goal, value in judged.items() if clip.two[0] or not goal.startswith("second")},
        }

    def measure_lpips(self, run: Run) -> float:
        return float(self.lpips(self.video(run), self.reference(run.way, run.clip)).mean())

    def video(self, run: Run) -> Tensor:
        return demo_of(run.way).decode(self.runs.latents(run))

    def reference_of(self, way: str, clip: int) -> Tensor:
        full = Run(way, FULL, clip)
        self.runs.make(full, wait=True)
        return self.video(full)

    @cached_property
    def judge(self) -> Judge:
        """The demo's own, which is trained once."""
        file = self.runs.folder / "judge.pt"
        with disk.claim(file, wait=True):
            if not file.exists():
                made = io.BytesIO()
                torch.save(Judge(), made)
                disk.write(file, made.getvalue())
        return torch.load(file, weights_only=False)

    def report(self) -> dict[str, Any]:
        """Of all that is there. What is not is left out, so that a benchmark in progress can be read."""
        self.making = False
        rows = []
        for way in self.ways:
            if full := self.full(way):
                rows += [row for key in self.keys() for spec in self.specs(way, key) if (row := self.row(spec, full))]
        return {
            "format": "scope.benchmark",
            "version": 4,
            "clips": self.clips,
            "torch": torch.__version__,
            "gates": GATES,
            "budgets": list(BUDGETS),
            "rows": rows,
        }

    def full(self, way: str) -> dict[str, Any] | None:
        return self.row(Spec(way, "full", "every step", FULL), None)

    def row(self, spec: Spec, full: dict[str, Any] | None) -> dict[str, Any] | None:
        """None where fewer than two clips are there."""
        runs = list(takewhile(self.there, map(spec.run, range(self.clips_of(spec.way)))))
        if len(runs) < 2:
            return None
        totals = [self.runs.about(run) for run in runs]
        forwards = mean(total["forwards"] for total in totals)
        tflop = totals[0]["operations"] / totals[0]["forwards"] * forwards / 1e12
        whole = full["tflop"] if full else tflop
        times = self.runs.once(self.timing(spec), list) if self.runs.knows(self.timing(spec)) else []
        return {
            **spec.head,
            "settings": spec.settings.to_json(),
            "computed": mean(total["computed"] for total in totals),
            "of": totals[0]["iterations"],
            "forwards": forwards,
            "tflop": tflop,
            "share": tflop / whole,
            "flop_x": whole / tflop,
            **timed(times),
            "memory": max(total["memory_bytes"] for total in totals),
            "clips": [self.measured(run) for run in runs],
        }

    def timing(self, spec: Spec) -> str:
        return f"time-{spec.run(0).name}"

    def time(self) -> list[dict[str, Any]]:
        """Seconds of runs, each beside a full one of the same clip; parts of rows."""
        rows = []
        for way in self.ways:
            for key in self.keys():
                for spec in self.specs(way, key) if key not in ("full", "other") else ():
                    pairs = self.runs.once(self.timing(spec), lambda: [self.seconds(spec, i) for i in range(TIMED)])
                    rows.append({**spec.head, **timed(pairs)})
                    print(f"{way}, {spec.label}: {rows[-1]['time_x']:.2f}x", flush=True)
        return rows

    def seconds(self, spec: Spec, clip: int) -> tuple[float, float]:
        """Of the full run and of this one."""
        taken = []
        for run in (Run(spec.way, FULL, clip), spec.run(clip)):
            began = perf_counter()
            run.sample()
            taken.append(perf_counter() - began)
        return taken[0], taken[1]


def timed(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Entries of a row: seconds of a full run and of this one, clip by clip."""
    return {"seconds": pairs, "time_x": median(slow / fast for slow, fast in pairs) if pairs else None}


def plannable(settings: Settings) -> bool:
    return settings.acting.plannable and settings.acting.signal not in CONTENT


def told(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{max(0, seconds) / 60:.0f} min"


def work(*task: Any) -> None:
    """In a process of its own."""
    torch.set_num_threads(1)
    Bench(*task).work()
