"""Runs, each kept in a file of lines, so that a benchmark that was stopped goes on where it stopped."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scope_core.demo.evaluate import Demo, Magi
from scope_core.demo.world import Clips
from scope_core.magi import magi_schedule
from scope_core.metrics import count_flops, finite, mean_psnr, psnr, ssim
from scope_core.policy.magcache import Record, measured
from scope_core.presets import PRESETS, Settings
from scope_core.schedule import ARSchedule
from scope_core.solver import Euler, UniPC

from .methods import BUDGETS, GATE, methods

JUDGED, SEARCHED = 777_000, 555_000
"""Seeds of the prompts that methods are judged on, and of the one on which settings for a budget are looked for."""
DEMOS = {"skyreels": Demo, "magi": Magi}


class Benchmark:
    def __init__(self, file: Path, clips: int):
        self.file, self.clips = file, clips
        lines = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
        self.kept: dict[str, dict[str, Any]] = {line["id"]: line for line in lines}
        self.demos: dict[str, Demo | Magi] = {}

    def run(self, names: list[str], presets_only: bool) -> dict[str, Any]:
        schedules = [Schedule(self, name) for name in names]
        rows = [row for schedule in schedules for row in schedule.presets()]
        rows += [] if presets_only else [row for schedule in schedules for row in schedule.methods()]
        return {"format": "scope.benchmark", "version": 2, "clips": self.clips, "torch": torch.__version__, "threads": torch.get_num_threads(),
                "gate": GATE, "budgets": BUDGETS, "rows": rows}

    def demo(self, family: str) -> Demo | Magi:
        if family not in self.demos:
            self.demos[family] = DEMOS[family]()
        return self.demos[family]

    def once(self, key: list, make) -> dict[str, Any]:
        """What `make()` gives, or what it gave in an earlier benchmark of the same key."""
        name = hashlib.sha256(json.dumps([key, self.clips]).encode()).hexdigest()[:16]
        if name not in self.kept:
            self.kept[name] = {"id": name, **make()}
            with self.file.open("a") as file:
                file.write(json.dumps(self.kept[name]) + "\n")
        return self.kept[name]


class Schedule:
    """All runs of one family and schedule."""

    def __init__(self, bench: Benchmark, name: str):
        self.bench, self.name = bench, name
        self.family = "magi" if name == "chunk_by_chunk" else "skyreels"
        self.demo = bench.demo(self.family)
        self.schedule = self.demo.schedules()[name]
        self.solver = Euler if self.family == "magi" else UniPC
        self.tokens = Clips.sample(bench.clips, torch.Generator().manual_seed(JUDGED)).tokens()
        self.search_tokens = Clips.sample(1, torch.Generator().manual_seed(SEARCHED)).tokens()

    def presets(self) -> list[dict[str, Any]]:
        """The full run, the named presets, and fewer steps."""
        self.full = self.judge("full", "every step", PRESETS["off"])
        rows = [self.full]
        for name in list(PRESETS)[1:]:
            rows.append(self.judge("preset", name, PRESETS[name]))
        for steps, lag in self.fewer_steps():
            rows.append(self.judge("fewer", f"{steps} steps", PRESETS["off"], self.shorter(steps, lag)))
        return rows

    def methods(self) -> list[dict[str, Any]]:
        """Every method at every budget."""
        rows = []
        found = methods(self.family, self.schedule.steps, self.ratios())
        for i, (key, method) in enumerate(found.items()):
            costs = {knob: self.cost(method.settings(knob)) for knob in method.knobs}
            for budget in BUDGETS:
                knob = min(costs, key=lambda knob: abs(costs[knob] - budget))
                row = self.judge(key, f"{method.title} {knob:.3g}", method.settings(knob))
                rows.append({**row, "title": method.title, "budget": budget, "reached": abs(costs[knob] - budget) < 0.08})
            print(f"  {self.name}: {i + 1} of {len(found)} methods", flush=True)
        return rows

    def fewer_steps(self) -> list[tuple[int, int]]:
        """Steps and lag of runs of about the cost of the budgets."""
        if self.family == "magi":
            return [(32, 8), (24, 6), (16, 4)]
        return [(25, 0), (18, 0), (11, 0)] if not self.schedule.ar_step else [(25, 2), (20, 2), (11, 1)]

    def shorter(self, steps: int, lag: int) -> ARSchedule:
        if self.family == "magi":
            return magi_schedule(self.demo.latents, steps, steps // lag)
        return ARSchedule(self.schedule.frames, steps, self.schedule.window, 5, 1, lag)

    def ratios(self) -> tuple[float, ...]:
        """MagCache's ratios, from one recorded run."""
        def make() -> dict[str, Any]:
            self.sample(self.search_tokens, Settings(Record()))
            return {"ratios": measured((state for control in self.demo.controls for state in control.states), self.schedule.steps)}

        return tuple(self.bench.once(["ratios", self.name], make)["ratios"])

    def sample(self, tokens: Tensor, settings: Settings, schedule: ARSchedule | None = None, seed: int = 1):
        extra = {} if self.family == "magi" else {"solver": self.solver}
        return self.demo.sample(tokens, schedule or self.schedule, settings, seed, **extra)

    def cost(self, settings: Settings) -> float:
        """Share of the full run's forward passes on the prompt that is not judged."""
        def make() -> dict[str, Any]:
            return {"forwards": self.sample(self.search_tokens, settings, seed=2)[1].forwards}

        full = self.bench.once(["cost", self.name, PRESETS["off"].to_json()], lambda: {"forwards": self.sample(self.search_tokens, PRESETS["off"], seed=2)[1].forwards})
        return self.bench.once(["cost", self.name, settings.to_json()], make)["forwards"] / full["forwards"]

    def judge(self, method: str, label: str, settings: Settings, schedule: ARSchedule | None = None) -> dict[str, Any]:
        def make() -> dict[str, Any]:
            began = time.perf_counter()
            latents, trace = self.sample(self.tokens, settings, schedule)
            seconds = time.perf_counter() - began
            video, totals = self.demo.decode(latents), trace.totals
            if method == "full":
                self.reference = video
            per_clip = mean_psnr(video, self.baseline())
            return {
                "computed": totals["computed"], "of": totals["iterations"], "forwards": round(totals["forwards"], 2), "seconds": round(seconds, 3),
                "tflop": count_flops(lambda: self.sample(self.tokens[:1], settings, schedule)) / 1e12, "memory": totals["memory_bytes"],
                "psnr_clips": [finite(v) for v in per_clip.tolist()], "psnr": finite(per_clip.mean().item()), "spread": finite(per_clip.std().item()),
                "worst_frame": finite(psnr(video, self.baseline()).min().item()), "ssim": finite(ssim(video, self.baseline()).mean().item())}

        row = self.bench.once(["judge", self.name, settings.to_json(), schedule and [schedule.steps, schedule.ar_step]], make)
        full = row if method == "full" else self.full
        row = {"schedule": self.name, "method": method, "label": label, "settings": settings.to_json(), **row,
               "flop_x": full["tflop"] / row["tflop"], "time_x": full["seconds"] / row["seconds"], "share": row["forwards"] / full["forwards"]}
        print(f"  {self.name:15} {label:32} {row['share']:5.2f} of the forwards, {row['flop_x']:5.2f}x FLOP, {row['time_x']:5.2f}x time, "
              f"PSNR {row['psnr'] or float('inf'):5.1f} +- {row['spread'] or 0:4.1f}", flush=True)
        return row

    def baseline(self) -> Tensor:
        """The full run, made again where it comes from an earlier benchmark."""
        if not hasattr(self, "reference"):
            self.reference = self.demo.decode(self.sample(self.tokens, PRESETS["off"])[0])
        return self.reference
