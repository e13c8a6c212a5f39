"""BudCache's steps for the demo models: `python -m scope_core.demo.budcache --way synchronous --computed 25 18 11 8`.

Searched on one prompt and one noise, as published, and kept in `weights/budcache.json` by schedule and number of
computed steps, unless an earlier search found something better. Steps are those of `methods/budcache.py`: iterations of
the SkyReels layout, each chunk's own of MAGI-1's.
"""

import argparse
import json
import time
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from .. import disk
from ..loop.plan import plan
from ..methods import Gate
from ..methods.knobs import whole_numbers
from ..settings import PRESETS, Settings, read
from ..study.budcache import Found, Steps, search
from . import WEIGHTS
from .shipped import DEMOS, Demo
from .training.world import Clips

FILE = WEIGHTS / "budcache.json"
PROMPT, NOISE = 4242, 77
"""Seeds of the clip that is searched on; no benchmark judges it."""


class Searched:
    """A schedule of a demo model, its full run, and the rules around the method."""

    def __init__(self, demo: Demo, way: str, gate: Gate, steps: int | None = None):
        """`steps` of the schedule; the usual number unless given."""
        self.demo, self.gate, self.schedule = demo, gate, demo.schedules(steps)[way]
        self.tokens = Clips.sample(1, torch.Generator().manual_seed(PROMPT)).tokens()
        (segment,) = self.schedule.segments
        self.chunks = len(segment.units) if self.schedule.family.by_chunk else 1
        self.steps = segment.steps if self.schedule.family.by_chunk else segment.rows
        first = {0} if self.schedule.family.by_chunk else {segment.ar_step * unit for unit in range(len(segment.units))}
        last = {at + segment.steps for at in first}
        self.forced = {at + 1 + i for at in first for i in range(max(1, gate.warm_up))}
        self.forced |= {at - i for at in last for i in range(gate.tail)}
        """What the gate computes in any case, and where a chunk enters."""

    @cached_property
    def full(self) -> Tensor:
        return self.latents(PRESETS["off"])

    def settings(self, steps: Steps) -> Settings:
        return read("budcache", {"steps": text(steps), **asdict(self.gate)})

    def allowed(self, steps: Steps) -> bool:
        """The gate asks for nothing more."""
        return plan(self.schedule, self.settings(steps)).totals["computed"] == len(steps) * self.chunks

    def loss(self, steps: Steps) -> float:
        """Mean square of what the final latents are off by, relative to that of the full run's."""
        made = self.latents(self.settings(steps))
        return float((made - self.full).square().mean() / self.full.square().mean())

    def latents(self, settings: Settings) -> Tensor:
        return self.demo.sample(self.tokens, self.schedule, settings, NOISE).latents


def text(steps: Steps) -> str:
    """As the node takes it."""
    return ", ".join(map(str, steps))


def keep(file: Path, way: str, found: Found) -> None:
    """Write what was found, unless something better is there."""
    known = json.loads(file.read_text()) if file.exists() else {}
    of_way = known.setdefault(way, {})
    before = of_way.get(str(len(found.steps)))
    if before is None or found.loss < before["loss"]:
        of_way[str(len(found.steps))] = {**found._asdict(), "steps": text(found.steps)}
        disk.write(file, (json.dumps(known, indent=1) + "\n").encode())


def kept(way: str, file: Path = FILE) -> dict[int, Steps]:
    """The steps found for a schedule of the demo models, by their number."""
    known = json.loads(file.read_text()) if file.exists() else {}
    return {int(computed): whole_numbers("steps", found["steps"]) for computed, found in known.get(way, {}).items()}


def main() -> None:
    ways = {way: demo for demo in DEMOS.values() for way in demo.ways}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--way", choices=list(ways), required=True)
    parser.add_argument("--computed", type=int, nargs="+", required=True, help="steps, or iterations, to compute")
    parser.add_argument("--annealing", type=int, default=200, help="its iterations; published are 200")
    parser.add_argument("--rounds", type=int, default=5, help="of hill climbing; published are 5")
    parser.add_argument("--neighbours", type=int, default=20, help="swaps looked at in a round; published are 20")
    parser.add_argument("--max-skip", type=int, default=12)
    parser.add_argument("--warm-up", type=int, default=0)
    parser.add_argument("--tail", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", type=Path, default=FILE)
    given = parser.parse_args()
    searched = Searched(ways[given.way](), given.way, Gate(given.max_skip, given.warm_up, given.tail))
    for computed in given.computed:
        began = time.perf_counter()
        found = search(
            searched.loss,
            searched.steps,
            computed,
            searched.forced,
            searched.allowed,
            given.annealing,
            given.rounds,
            given.neighbours,
            given.seed,
            lambda best: print(f"{best.evaluations:4d}  {best.loss:.3e}  {best.steps}", flush=True),
        )
        keep(given.file, given.way, found)
        seconds = time.perf_counter() - began
        print(
            f"{given.way}, {computed} of {searched.steps}: {found.loss:.3e} after {found.evaluations} runs,"
            f" {seconds / found.evaluations:.2f} s each",
            flush=True,
        )


if __name__ == "__main__":
    main()
