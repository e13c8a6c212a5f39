"""One of two processes that make videos together: `python rank_of_two.py RANK FOLDER` writes what it decided.

Rank 1 differs by a hair: its latents and what its network returns are a millionth larger. Every forward of a run waits
for that of the other rank, as inside a network whose tokens are shared out.
"""

import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from scope_core import METHODS, SKYREELS, Gate, Settings, ranks, sample
from scope_core.families.skyreels import Guided
from scope_core.loop.control import Control
from scope_core.methods import Scope
from scope_core.networks.wan import WanConfig, WanTransformer
from scope_core.signals import CONTENT, SIGNALS, NotFiniteSignalError

RANK, FOLDER = int(sys.argv[1]), Path(sys.argv[2])
HAIR = 1 + 1e-6 * RANK
TRIALS, STEPS = 1000, 10
SCHEDULE = SKYREELS.schedule(4, STEPS)
EAGER = {"threshold": 0.5, "tau": 9, "length": "none"}
"""Fields of methods that would skip nothing at their usual ones, or look for a calibration."""
reads = []


def counted(values):
    reads.append(len(values))
    return ranks.highest(values)


class Hair(Guided):
    """A network that differs by a hair. `wrong`: behind so many forwards it returns NaN, behind none its patch
    embedding does."""

    def __init__(self, wrong=None):
        torch.manual_seed(0)
        network = WanTransformer(WanConfig(dim=48, ffn_dim=64, num_heads=2, num_layers=2, text_dim=8))
        super().__init__(network.requires_grad_(False), torch.randn(1, 4, 8))
        self.wrong = wrong

    def velocity(self, *args):
        dist.all_reduce(torch.ones(1))
        made = super().velocity(*args) * HAIR
        return made * torch.nan if self.wrong and self.forwards > self.wrong else made

    def patch_embedding(self, x):
        return super().patch_embedding(x) * (torch.nan if self.wrong == 0 else HAIR)


def decided(reduce):
    """Modes of 1,000 units whose signal is at the threshold, up to the hair."""
    generator, modes = torch.Generator().manual_seed(5), []
    with ranks.agreeing(reduce):
        for _ in range(TRIALS):
            before, tau = torch.randn(1, 16, 4, 2, 2, generator=generator), 0.2
            settings = Settings(Scope(tau, tau, signal="displacement", decay_mode="none"), Gate(9, 0, 0))
            (segment,) = SCHEDULE.segments
            control = Control(settings, SCHEDULE, segment)
            first, second = segment.iterations[:2]
            control.settle(first, control.decide(first, control.signal(first, before)), np.zeros(len(first.active)))
            control.observe(first, list(first.active), before, before, before)
            moved = torch.randn(before.shape, generator=generator)
            moved *= tau / moved.abs().mean() * (HAIR if torch.rand((), generator=generator) < 0.5 else 2 - HAIR)
            modes.append(control.decide(second, control.signal(second, before + moved))[0].mode.value)
    return modes


def made(settings, reduce, model=None):
    noise = torch.randn(1, 16, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    with ranks.agreeing(reduce):
        result = sample(model or Hair(), noise * HAIR, SCHEDULE, settings)
    return [(step["modes"], step["rules"], step["scores"]) for step in result.trace.segments[0].steps]


def methods():
    """Every method that looks at what the network or the latents are, and one for each signal."""
    for name, method in METHODS.items():
        if not method.plannable or method.signal in CONTENT:
            eager = {field: value for field, value in EAGER.items() if field in method.__dataclass_fields__}
            yield name, Settings(method(**eager), Gate(3, 1, 0))
    for signal in SIGNALS:
        yield f"scope, {signal}", Settings(Scope(0.5, 1.0, signal=signal, predictor="auto"), Gate(3, 1, 0))


def error_of(settings, model):
    try:
        made(settings, counted, model)
    except (ArithmeticError, NotFiniteSignalError) as error:
        return str(error)
    return ""


def main():
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{FOLDER / 'meeting'}", rank=RANK, world_size=2, timeout=timedelta(minutes=10)
    )
    found = {"alone": decided(ranks.own), "together": decided(counted), "runs": {}, "reads": {}}
    for name, settings in methods():
        reads.clear()
        found["runs"][name] = made(settings, counted)
        found["reads"][name] = list(reads)
    scheduled = Settings(Scope(0.5, 1.0, signal="sigma", predictor="taylor1"), Gate(3, 1, 0))
    reads.clear()
    found["runs"]["scheduled"] = made(scheduled, counted)
    found["reads"]["scheduled"] = list(reads)
    found["velocity error"] = error_of(scheduled, Hair(wrong=1 if RANK else None))
    content = replace(scheduled, method=replace(scheduled.method, signal="latent"))
    found["signal error"] = error_of(content, Hair(wrong=0 if RANK else None))
    Path(FOLDER, f"{RANK}.json").write_text(json.dumps(found))
    dist.barrier()  # who ends first would break the connection of the other
    dist.destroy_process_group()


main()
