"""`scope_core.sample` and `plan` under random schedules, methods, knobs and tensors, in and out of range."""

import json
from dataclasses import replace
from functools import cache
from math import inf, isfinite, nan
from random import Random

import numpy as np
import pytest
import torch
from cases import ODD_NUMBERS, draw, explore, require_answer

from scope_core import MAGI, METHODS, PRESETS, SKYREELS, plan, sample
from scope_core.demo.shipped import Captioned, MagiDemo, SkyReelsDemo
from scope_core.demo.words import TOKENS
from scope_core.families.magi import TEXT_SCALE, Reach
from scope_core.families.skyreels import Guided
from scope_core.loop.reading import NotFiniteError
from scope_core.loop.rollout import compose, join, unroll
from scope_core.loop.solver import SOLVERS
from scope_core.networks.compression import Compression
from scope_core.networks.magi import MagiConfig, MagiTransformer
from scope_core.networks.wan import WanConfig, WanTransformer
from scope_core.settings import knobs, read
from scope_core.signals import AGGREGATES, CONTENT, SIGNALS, change_table

MODELS = ["skyreels"] * 13 + ["magi"] * 3 + ["magi base"] * 2 + ["skyreels demo", "magi demo"]
LEVELS = {
    "even": lambda steps: np.linspace(1, 0, steps + 1),
    "curved": lambda steps: np.linspace(0.999, 0, steps + 1) ** 0.3,
    "too few": lambda steps: np.linspace(1, 0, steps),
    "rising": lambda steps: np.linspace(0, 1, steps + 1),
    "repeated": lambda steps: np.repeat(np.linspace(1, 0, steps // 2 + 1), 2)[: steps + 1],
    "not from noise": lambda steps: np.linspace(0.5, 0, steps + 1),
    "not to the end": lambda steps: np.linspace(1, 0.1, steps + 1),
    "nan": lambda steps: np.full(steps + 1, nan),
}
"""Noise levels of a host's scheduler; the first two are good ones."""
GIVEN = {
    "missing": lambda z: None,
    "short": lambda z: z[:, :, :-1],
    "long": lambda z: torch.cat([z, z], 2),
    "large": lambda z: torch.cat([z, z], 3),
    "other channels": lambda z: z[:, :1].repeat(1, 3, 1, 1, 1),
    "nan": lambda z: torch.full_like(z, nan),
    "flat": lambda z: z[0],
}
"""What is odd about a tensor that is given."""

SCHEDULE = {
    "skyreels": {
        "frames": range(1, 10),
        "steps": range(2, 11),
        "window": range(2, 7),
        "overlap": range(1, 4),
        "block": range(1, 4),
        "ar_step": range(1, 6),
        "prefix": range(1, 4),
        "tail": range(1, 3),
        "condition_noise": (0, 5, 500, 999),
        "shift": (0.1, 1, 3, 100),
        "table": ("diffusers",),
        "levels": ("even", "curved"),
        "causal": (True,),
        "cfg": (3.0, 1.5),
    },
    "magi": {
        "frames": (1, 6, 7, 13, 18),
        "steps": (4, 8, 12),
        "window": (1, 2, 4),
        "prefix": (1, 6, 7, 12),
        "reach": ((), (1,), (2, 1), (5, 4, 3, 2)),
        "clean": (-1, 2),
        "table": ("magi 16,16,8",),
        "shift": (0.1, 1, 8),
        "levels": ("even", "curved"),
        "kv_bytes": (0, 1000),
        "compress": (2, 5),
    },
}
INPUTS = {
    "solver": ("unipc", "euler", "ab2", "cab"),
    "seed": (1, 2**63 - 1),
    "batch": (2,),
    "size": ((4, 2), (4, 6)),
    "selective": ("full", "paper"),
    "joint": (True,),
    "signal": SIGNALS,
    "aggregate": AGGREGATES,
    "ratios": ((1.0, 1.1, 0.9), (1.0,)),
    "stopped": (1, 2),
}
ODD_SCHEDULE = {
    "skyreels": {
        **dict.fromkeys(("frames", "window", "overlap", "block"), (0, -1)),
        "steps": (1, 0, -1),
        "ar_step": (99, -1),
        "prefix": (99, -1),
        "tail": (-1,),
        "condition_noise": (1000, -1, nan, inf),
        "shift": (*ODD_NUMBERS, -inf),
        "table": ("nonsense",),
        "levels": tuple(LEVELS)[2:],
        "cfg": (nan, inf),
    },
    "magi": {
        "frames": (0, -1),
        "steps": (5, 2, 1, 0, -1),
        "window": (3, 0, -1),
        "prefix": (99, -1),
        "reach": ((0,), (-1, 2)),
        "clean": (0, -2),
        "table": ("nonsense",),
        "shift": (*ODD_NUMBERS, -inf),
        "levels": tuple(LEVELS)[2:],
        "compress": (1, -1),
    },
}
ODD_INPUTS = {
    "solver": ("nonsense",),
    "seed": (2**64 - 1, -1),
    "size": ((3, 5), (1, 1)),
    "noise": ("short", "long", "other channels", "nan", "flat"),
    "start": tuple(GIVEN),
    "end": tuple(GIVEN),
    "spoiled": (1, 3),
    "selective": ("nonsense",),
    "signal": ("nonsense",),
    "aggregate": ("nonsense",),
    "ratios": ((), (nan,), (0.0,)),
}
USUAL = {
    "skyreels": {"frames": 4, "steps": 6, "window": 6, "overlap": 2},
    "magi": {"frames": 12, "steps": 4, "window": 2},
}
OF_MODEL = ("cfg", "clean", "kv_bytes", "compress")
"""Fields that are not the schedule's."""
SPOKEN = {
    "levels": "sigmas",
    "block": "chunk",
    "prefix": "start",
    "spoiled": "nan",
    "frames": "video",
    "size": "height",
    "noise": "latents",
}
"""What errors call some fields."""


class StoppedError(Exception):
    """What a user's own callback may raise."""


def case_of(seed: int) -> dict:
    """Every third case has something that is out of range."""
    random = Random(seed)
    case = {"model": random.choice(MODELS)}
    schedule, odd_schedule = (table[case["model"].split()[0]] for table in (SCHEDULE, ODD_SCHEDULE))
    case |= draw(random, schedule, 5) | draw(random, INPUTS, 3)
    name = random.choice(["preset", *(name for name, method in METHODS.items() if method.offered)])
    if name == "preset":
        case["preset"], odd_knobs = random.choice(list(PRESETS)), {}
    else:
        case["method"] = name
        case |= draw(random, {f"method.{knob.name}": values_of(knob, random) for knob in knobs(METHODS[name])}, 5)
        odd_knobs = {f"method.{knob.name}": odd_values_of(knob) for knob in knobs(METHODS[name])}
    if seed % 3 == 0:
        case |= draw(random, odd_schedule | ODD_INPUTS | odd_knobs, 3)
    return case


def values_of(knob, random: Random) -> list:
    """Of a widget; numbers are rather small, for what random networks return changes little."""
    if knob.options is not None:
        return list(knob.options)
    if knob.text:
        return ["", "1, 3", "2 4 99999"]
    if isinstance(knob.default, bool):
        return [True, False]
    if isinstance(knob.default, int):
        return [random.randint(int(knob.low), min(int(knob.high), 5)) for _ in range(3)]
    return [knob.low + (knob.high - knob.low) * random.random() ** power for power in (1, 3, 9)]


def odd_values_of(knob) -> list:
    if knob.options is not None:
        return ["nonsense"]
    if knob.text:
        return ["0", "-1", "one", "1.5"]
    return [*ODD_NUMBERS] if isinstance(knob.default, float) else [-1, 10**9]


@cache
def network(name: str):
    """Random and tiny, or a shipped one."""
    torch.manual_seed(0)
    if name == "skyreels":
        return WanTransformer(WanConfig(24, 32, 2, 2, text_dim=8, in_dim=4, out_dim=4, freq_dim=16)).eval()
    if name == "magi":
        tiny = MagiConfig(2, 64, 96, heads=16, cond=16, head_dim=8, caption_dim=8, caption_length=12, channels=4)
        made = MagiTransformer(tiny).eval()
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        return made
    return {"skyreels demo": SkyReelsDemo, "magi demo": MagiDemo}[name]()


class Asked:
    """What a case asks the library for."""

    def __init__(self, case: dict):
        self.case, self.name = case, case.get("model", "skyreels")
        self.family = SKYREELS if self.name.startswith("skyreels") else MAGI
        given = {**USUAL[self.family.name], **case}
        told = {name: given[name] for name in SCHEDULE[self.family.name] if name in given and name not in OF_MODEL}
        if "levels" in told:
            told["levels"] = tuple(LEVELS[told["levels"]](max(2, told["steps"])).tolist())
        if self.family is MAGI:
            self.reach = told["reach"] = Reach(told.get("reach", Reach().noisy), case.get("clean", 1))
        self.schedule = self.family.schedule(**told)
        self.settings = self.settings_of()
        self.solver, self.seed = case.get("solver"), case.get("seed", 0)
        random = torch.Generator().manual_seed(0)
        size = case.get("batch", 1), 16 if "demo" in self.name else 4

        def tensor(name: str, frames: int):
            z = torch.randn(*size, frames, *case.get("size", (2, 2)), generator=random)
            return GIVEN[case[name]](z) if name in case else z

        self.noise = tensor("noise", self.schedule.frames)
        self.start = tensor("start", case.get("prefix", 0)) if case.get("prefix") else None
        self.end = tensor("end", self.schedule.tail) if self.schedule.tail else None

    def settings_of(self):
        case = self.case
        if "preset" in case:
            settings = PRESETS[case["preset"]]
        else:
            widgets = {
                name.removeprefix("method."): value for name, value in case.items() if name.startswith("method.")
            }
            settings = read(case.get("method", "scope"), widgets)
        changes = {name: case[name] for name in ("signal", "aggregate") if name in case}
        if changes and set(changes) <= set(vars(settings.method)):
            settings = replace(settings, method=replace(settings.method, **changes))
        settings = replace(settings, **{name: case[name] for name in ("selective", "joint") if name in case})
        return settings.calibrated(case["ratios"]) if "ratios" in case else settings

    def model(self):
        case = self.case
        generator = torch.Generator().manual_seed(1)
        if "demo" in self.name:
            made = network(self.name).model(torch.ones(case.get("batch", 1), TOKENS, dtype=torch.long), self.schedule)
        elif self.family is SKYREELS:
            words = torch.randn(2, 1, 3, 8, generator=generator)
            made = Guided(network("skyreels"), *words, cfg=case.get("cfg", 1.0))
        else:
            words = torch.randn(case.get("batch", 1), 3, 8, generator=generator)
            made = Captioned(network("magi"), words, torch.ones(words.shape[:2], dtype=torch.bool), self.schedule.steps)
            made.text_scale = TEXT_SCALE if self.name == "magi base" else None
        if self.family is MAGI:
            made.reach, made.kv_bytes = self.reach, case.get("kv_bytes", inf)
            made.compress = Compression(case["compress"]) if "compress" in case else None
        if "spoiled" in case:
            spoil(made, case["spoiled"])
        return made

    def run(self):
        def on_step(segment, step, x0, record):
            if step.index + 1 == self.case.get("stopped"):
                raise StoppedError

        given = {"solver": self.solver, "seed": self.seed, "start": self.start, "end": self.end, "on_step": on_step}
        return sample(self.model(), self.noise, self.schedule, self.settings, **given)

    def plain(self):
        """The same sampler without SCOPE: every frame that is forwarded is computed at every iteration."""
        schedule, model = self.schedule, self.model()

        def denoised(segment, noise, known):
            x, field = compose(segment, noise, known), model.field(segment, schedule, self.seed, False, self.start)
            solver = SOLVERS[self.solver or self.family.defaults.solver](schedule.sigmas)
            columns = self.family.columns(segment, self.settings.forwarded, causal=schedule.causal)
            for step, forwarded in zip(segment.iterations, columns):
                x, shown = field.show(x, step)
                v = field.velocity(shown, step, forwarded, step.active, None)
                x = solver.step(x, v, step.k, step.update, np.zeros(segment.frames, dtype=bool))
            return x

        start = self.start[:, :, : schedule.prefix] if self.start is not None and schedule.prefix else None
        return join(unroll(denoised, self.noise, schedule, start, self.end), schedule.overlap)


def spoil(model, call: int) -> None:
    """Let the network return NaN from a call on."""
    name = "velocity" if isinstance(model, Guided) else "call"
    usual, calls = getattr(type(model), "velocity", None) or type(model).__call__, []

    def velocity(*args):
        calls.append(0)
        made = usual(model, *args)
        return made if len(calls) < call else made * nan

    if name == "velocity":
        model.velocity = velocity
    else:
        model.__class__ = type("Spoiled", (type(model),), {"__call__": lambda self, *args: velocity(*args)})


def spoiled(case: dict) -> bool:
    """Whether a case brings NaN or infinity of its own."""
    return "spoiled" in case or any(isinstance(value, float) and not isfinite(value) for value in case.values())


def check_result(asked: Asked, latents, trace) -> None:
    schedule, settings = asked.schedule, asked.settings
    assert latents.shape == asked.noise.shape and torch.isfinite(latents).all(), "not a whole video of numbers"
    told = trace.to_json()
    json.dumps(told, allow_nan=False)
    counts = dict.fromkeys("RCP", 0)
    for segment, made in zip(schedule.segments, told["segments"], strict=True):
        assert made["units"] == [[unit.start, unit.stop] for unit in segment.units]
        for step, record in zip(segment.iterations, made["steps"], strict=True):
            assert [mode != "." for mode in record["modes"]] == [unit.advances for unit in step.units]
            assert len(record["scores"]) == 4 * len(step.active) and record["scores"].isdecimal()
            assert set(record["rules"]) - {"."} <= set(told["rules"])
            for mode in record["modes"].replace(".", ""):
                counts[mode] += 1
    steps = sum(len(step.active) for segment in schedule.segments for step in segment.iterations)
    assert sum(counts.values()) == steps, f"{counts} do not add up to {steps}"
    computed = [("R" in step["modes"]) for segment in told["segments"] for step in segment["steps"]]
    if schedule.family.by_chunk:
        assert (told["totals"]["computed"], told["totals"]["iterations"]) == (counts["R"], steps)
    else:
        assert (told["totals"]["computed"], told["totals"]["iterations"]) == (sum(computed), len(computed))
    if settings.off:
        assert torch.equal(latents, asked.plain()), "off differs from the sampler without SCOPE"
        assert told["totals"]["computed"] == told["totals"]["iterations"]
    method = settings.acting
    if method.plannable and method.signal not in CONTENT:
        planned = plan(schedule, settings, change_table(method.signal, schedule.sigmas, asked.model())).to_json()
        for made, expected in zip(told["segments"], planned["segments"], strict=True):
            for one, other in zip(made["steps"], expected["steps"], strict=True):
                assert {**one, "seconds": 0} == {**other, "seconds": 0}, "the plan is not the run"


@cache
def first(family: str):
    """What a normal run gave before any case."""
    return normal(family)


def normal(family: str):
    run = Asked({"model": family, "preset": "fast", "frames": 3, "steps": 4}).run()
    return run.latents, [step["modes"] for segment in run.trace.segments for step in segment.steps]


def ends_well(case: dict) -> None:
    """A result or an answer, and the next normal run equals the first one."""
    family = case.get("model", "skyreels").split()[0]
    latents, modes = first(family)
    try:
        asked = Asked(case)
        check_result(asked, *asked.run()[:2])
    except StoppedError:
        pass
    except Exception as error:
        require_fair(error, case)
    after = normal(family)
    assert torch.equal(after[0], latents) and after[1] == modes, "the case changed the next run"


def require_fair(error: Exception, case: dict) -> None:
    """Asserts that an error is an answer. Nothing becomes NaN of itself."""
    if isinstance(error, AssertionError):
        raise error
    assert not isinstance(error, NotFiniteError) or spoiled(case), f"numbers became NaN: {error}"
    require_answer(error, {SPOKEN.get(name, name): value for name, value in case.items()} | case)


@pytest.mark.cases(1000, 10_000)
def test_every_case_ends_in_a_result_or_an_answer(seed):
    with torch.inference_mode():
        explore(ends_well, case_of(seed), seed)
