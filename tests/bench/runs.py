"""The videos that are measured, each in a file of its own. Many processes share the folder: a run that is there is not
made again, and one that another process makes is left to it."""

import hashlib
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from scope_core import disk
from scope_core.demo.shipped import DEMOS, Demo
from scope_core.demo.training.world import Clips
from scope_core.families.magi import CHUNK
from scope_core.families.skyreels import SKYREELS
from scope_core.loop.sample import Sampled, sample
from scope_core.methods import Gate
from scope_core.schedule import ARSchedule
from scope_core.settings import PRESETS, Settings
from scope_core.study.metrics import flop_counter
from scope_core.study.plans import planned

LONG = {"long_synchronous": SKYREELS.name, "long_chunk_by_chunk": "magi"}
"""Families of the schedules of a long video: three segments of SkyReels-V2, twice the chunks of MAGI-1."""
WAYS = {way: family for family, demo in DEMOS.items() for way in demo.ways} | LONG
"""Family of every schedule that is measured."""
SEEDS = {"judged": 777_000, "searched": 555_000, "other": 999_000}
"""Of the prompts and the noise that methods are judged on, and of those on which settings for a budget are looked for
and ratios recorded. `other`: the judged prompts from other noise, which makes another video."""
POOL = 64
"""Prompts are the first ones of so many, so that more of them begin like fewer."""


def named(key: Any) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


@cache
def clips_of(kind: str) -> Clips:
    return Clips.sample(POOL, torch.Generator().manual_seed(SEEDS["judged" if kind == "other" else kind]))


@cache
def demo_of(way: str) -> Demo:
    return _demo(WAYS[way])


@cache
def _demo(family: str) -> Demo:
    return DEMOS[family]()


@cache
def schedule_of(way: str) -> ARSchedule:
    demo = demo_of(way)
    if way not in LONG:
        return demo.schedules()[way]
    if demo.family is SKYREELS:
        return SKYREELS.schedule(40, 50, demo.latents, overlap=4)
    (usual,) = demo.schedules().values()
    return demo.family.schedule(8 * CHUNK, usual.steps, usual.steps // usual.ar_step)


@dataclass(frozen=True)
class Run:
    """One video: on which schedule, how accelerated, from which prompt and noise."""

    way: str
    settings: Settings
    clip: int
    kind: str = "judged"
    shorter: ARSchedule | None = None
    solver: str | None = None
    """Another one than the family's."""

    @cached_property
    def key(self) -> dict[str, Any]:
        """What it is made of. Entries of the settings that stand at their default are left out, so that what is kept
        stays valid when methods get further ones."""
        settings = planned(self.settings, self.schedule, demo_of(self.way).plans)
        usual = Settings(type(settings.acting)()).to_json()
        rules = {member.name for member in fields(Gate)}
        told = {
            name: value
            for name, value in settings.to_json().items()
            if name == "method" or name in rules or value != usual[name]
        }
        shorter = self.shorter and [self.shorter.steps, self.shorter.ar_step, *(self.shorter.levels or ())]
        solver = {"solver": self.solver} if self.solver else {}
        # a count of before, without attention, is not taken for one
        counted = {"operations": "with attention"} if self.counts else {}
        clip = f"{self.kind} {self.clip}"
        return {"way": self.way, "shorter": shorter, "clip": clip, "settings": told, **solver, **counted}

    @cached_property
    def name(self) -> str:
        return named(self.key)

    @property
    def counts(self) -> bool:
        """Operations are counted, which costs time and changes nothing else: in the first clip's run."""
        return self.clip == 0 and self.kind != "searched"

    @property
    def schedule(self) -> ARSchedule:
        return self.shorter or schedule_of(self.way)

    def sample(self) -> Sampled:
        prompt = clips_of(self.kind)[self.clip : self.clip + 1].tokens()
        seed = SEEDS[self.kind] + self.clip
        return demo_of(self.way).sample(prompt, self.schedule, self.settings, seed, solver=self.solver)

    def make(self) -> bytes:
        """Latents and what is known of the run."""
        with flop_counter() if self.counts else nullcontext() as counter:
            latents, trace, _ = self.sample()
        about = {**trace.totals, "operations": counter and counter.get_total_flops()}
        return save({"latents": latents.contiguous()}, {"run": json.dumps(self.key), "about": json.dumps(about)})


class Runs:
    """A folder of them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.known: dict[str, dict[str, Any]] = {}

    def file(self, run: Run) -> Path:
        return self.folder / f"{run.name}.safetensors"

    def has(self, run: Run) -> bool:
        return self.file(run).exists()

    def make(self, run: Run, wait: bool = False) -> bool:
        """Make a run that is not there yet; one that another process makes is waited for or left alone. Whether it is
        there now."""
        with disk.claim(self.folder / run.name, wait) as mine:
            if mine and not self.has(run):
                disk.write(self.file(run), run.make())
        return self.has(run)

    def latents(self, run: Run) -> Tensor:
        return load_file(self.file(run))["latents"]

    def about(self, run: Run) -> dict[str, Any]:
        """Totals of its trace, seconds, and operations where they were counted."""
        if run.name not in self.known:
            with safe_open(self.file(run), "pt") as file:
                self.known[run.name] = json.loads(file.metadata()["about"])
        return self.known[run.name]

    def knows(self, name: str) -> bool:
        """Whether there is what `once` keeps under a name."""
        return (self.folder / f"{name}.json").exists()

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make()` gives, as JSON, kept under a name."""
        file = self.folder / f"{name}.json"
        with disk.claim(file, wait=True):
            if not file.exists():
                disk.write(file, json.dumps(make()).encode())
        return json.loads(file.read_text())


class Hollow:
    """A network that makes nothing and runs nothing, but calls what is called around blocks, and answers for signals
    like the real one."""

    def __init__(self, network: Any, layers: int):
        self.network, self.layers = network, layers

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def __call__(self, x: Tensor, *args: Any) -> Tensor:
        if args[-1] is not None:
            hidden = torch.zeros(len(x), x.shape[2], 1)
            for i in range(self.layers):
                hidden = args[-1](i, hidden, lambda h: h)
        return torch.zeros_like(x)


def counted(way: str, settings: Settings, schedule: ARSchedule | None = None) -> float:
    """Forwards of a run to come, of a method that decides from the schedule alone: its run, without a network."""
    demo, schedule = demo_of(way), schedule or schedule_of(way)
    settings = planned(settings, schedule, demo.plans)
    model = demo.model(clips_of("searched")[:1].tokens(), schedule)
    network = "model" if hasattr(model, "model") else "transformer"
    setattr(model, network, Hollow(getattr(model, network), model.layers))
    with torch.inference_mode():
        return sample(model, torch.zeros(1, 16, schedule.frames, 1, 1), schedule, settings).trace.forwards


FULL = PRESETS["off"]
