"""Runs, each kept in a file of lines, so that a benchmark that was stopped goes on where it stopped."""

import hashlib
import json
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from scope_core.demo.shipped import DEMOS, Demo
from scope_core.demo.training.world import Clips
from scope_core.loop.sample import Sampled
from scope_core.methods.magcache import Record, measured
from scope_core.schedule import ARSchedule
from scope_core.settings import PRESETS, Settings
from scope_core.study.metrics import Lpips, finite, mean_psnr, psnr, ssim

from .methods import BUDGETS, GATES, Ranked, methods
from .report import average

WAYS = {way: family for family, demo in DEMOS.items() for way in demo.ways}
"""Family of every schedule that is measured."""
JUDGED, SEARCHED = 777_000, 555_000
"""Seeds of the prompts that methods are judged on, and of the one on which settings for a budget are looked for and
ratios recorded."""


class Benchmark:
    def __init__(self, file: Path, clips: int, lpips: Lpips | None = None):
        self.file, self.clips, self.lpips = file, clips, lpips
        lines = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
        self.kept: dict[str, dict[str, Any]] = {line["id"]: line for line in lines}
        self.demos: dict[str, Demo] = {}

    def run(self, names: list[str], presets_only: bool) -> dict[str, Any]:
        schedules = [Schedule(self, name) for name in names]
        rows = [row for schedule in schedules for row in schedule.presets()]
        rows += [] if presets_only else [row for schedule in schedules for row in schedule.methods()]
        return {
            "format": "scope.benchmark",
            "version": 3,
            "clips": self.clips,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "gates": GATES,
            "budgets": BUDGETS,
            "rows": rows,
        }

    def demo(self, family: str) -> Demo:
        if family not in self.demos:
            self.demos[family] = DEMOS[family]()
        return self.demos[family]

    def once(self, key: list, make) -> dict[str, Any]:
        """What `make()` gives, or what it gave in an earlier benchmark of the same key."""
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
        if name not in self.kept:
            self.kept[name] = {"id": name, **make()}
            with self.file.open("a") as file:
                file.write(json.dumps(self.kept[name]) + "\n")
        return self.kept[name]


class Schedule:
    """All runs of one family and schedule. Every clip is a run of its own, so methods that look at the content decide
    for it alone."""

    def __init__(self, bench: Benchmark, name: str):
        self.bench, self.name = bench, name
        self.demo = bench.demo(WAYS[name])
        self.schedule = self.demo.schedules()[name]
        self.prompts = Clips.sample(bench.clips, torch.Generator().manual_seed(JUDGED)).tokens().split(1)
        self.search_prompt = Clips.sample(1, torch.Generator().manual_seed(SEARCHED)).tokens()
        self.references: dict[int, Tensor] = {}

    def presets(self) -> list[dict[str, Any]]:
        """The full run, the named presets, and fewer steps."""
        self.full = self.judge("full", "every step", PRESETS["off"])
        rows = [self.full]
        for name in list(PRESETS)[1:]:
            rows.append(self.judge("preset", name, PRESETS[name]))
        for shorter in self.demo.shorter(self.schedule):
            rows.append(self.judge("fewer", f"{shorter.steps} steps", PRESETS["off"], shorter))
        return rows

    def methods(self) -> list[dict[str, Any]]:
        """Every method at every budget."""
        rows = []
        found = methods(self.name, self.demo.family, self.ratios())
        for i, (key, method) in enumerate(found.items()):
            for budget in BUDGETS:
                knob = self.knob_for(budget, method)
                rows.append(
                    {
                        **self.judge(key, f"{method.title} {knob:.3g}", method.settings(knob)),
                        "title": method.title,
                        "budget": budget,
                    }
                )
            print(f"  {self.name}: {i + 1} of {len(found)} methods", flush=True)
        return rows

    def knob_for(self, budget: float, method: Ranked) -> float:
        """By bisection; a faster knob costs less, or about as much."""
        slow, fast = 0, len(method.knobs) - 1
        while fast - slow > 1:
            middle = (slow + fast) // 2
            slow, fast = (middle, fast) if self.cost(method, middle) > budget else (slow, middle)
        return method.knobs[min((slow, fast), key=lambda i: abs(self.cost(method, i) - budget))]

    def cost(self, method: Ranked, i: int) -> float:
        """Share of the full run's forward passes on the prompt that is not judged."""

        def forwards(settings: Settings) -> int:
            return self.bench.once(
                ["cost", self.name, settings.to_json()],
                lambda: {"forwards": self.sample(self.search_prompt, settings, 2).trace.forwards},
            )["forwards"]

        return forwards(method.settings(method.knobs[i])) / forwards(PRESETS["off"])

    def ratios(self) -> tuple[float, ...]:
        """MagCache's ratios, from one recorded run."""

        def make() -> dict[str, Any]:
            made = self.sample(self.search_prompt, Settings(Record()), 2)
            return {
                "ratios": measured(
                    (state for control in made.controls for state in control.states), self.schedule.steps
                )
            }

        return tuple(self.bench.once(["ratios", self.name], make)["ratios"])

    def sample(self, prompt: Tensor, settings: Settings, seed: int, schedule: ARSchedule | None = None) -> Sampled:
        return self.demo.sample(prompt, schedule or self.schedule, settings, seed)

    def judge(self, method: str, label: str, settings: Settings, schedule: ARSchedule | None = None) -> dict[str, Any]:
        """A row of the report. The first clip's run counts operations, the others' are timed."""
        bench = self.bench

        def make() -> dict[str, Any]:
            clips, seconds, totals = [], [], []
            for i, prompt in enumerate(self.prompts):
                with FlopCounterMode(display=False) if i == 0 else nullcontext() as counter:
                    began = time.perf_counter()
                    latents, trace, _ = self.sample(prompt, settings, i, schedule)
                    took = time.perf_counter() - began
                if i == 0:
                    operations = counter.get_total_flops()
                else:
                    seconds.append(round(took, 3))
                video, reference = self.demo.decode(latents), self.reference(i)
                totals.append(trace.totals)
                clips.append(
                    {
                        "psnr": finite(mean_psnr(video, reference).item()),
                        "worst_frame": finite(psnr(video, reference).min().item()),
                        "ssim": finite(ssim(video, reference).mean().item()),
                        **({"lpips": finite(bench.lpips(video, reference).mean().item())} if bench.lpips else {}),
                    }
                )
            return {
                "computed": mean(total["computed"] for total in totals),
                "of": totals[0]["iterations"],
                "forwards": mean(total["forwards"] for total in totals),
                "tflop": operations / totals[0]["forwards"] * mean(total["forwards"] for total in totals) / 1e12,
                "memory": max(total["memory_bytes"] for total in totals),
                "seconds": seconds,
                "clips": clips,
            }

        row = bench.once(
            [
                "judge",
                self.name,
                settings.to_json(),
                schedule and [schedule.steps, schedule.ar_step],
                bench.clips,
                bench.lpips is not None,
            ],
            make,
        )
        full = row if method == "full" else self.full
        row = {
            "schedule": self.name,
            "method": method,
            "label": label,
            "settings": settings.to_json(),
            **row,
            "share": row["forwards"] / full["forwards"],
            "flop_x": full["tflop"] / row["tflop"],
            "time_x": median(slow / fast for slow, fast in zip(full["seconds"], row["seconds"])),
        }
        print(
            f"  {self.name:15} {label:32} {row['share']:5.2f} of the forwards, {row['flop_x']:5.2f}x FLOP,"
            f" {row['time_x']:5.2f}x time, {average(row, 'psnr'):5.1f} dB",
            flush=True,
        )
        return row

    def reference(self, clip: int) -> Tensor:
        if clip not in self.references:
            self.references[clip] = self.demo.decode(self.sample(self.prompts[clip], PRESETS["off"], clip).latents)
        return self.references[clip]
