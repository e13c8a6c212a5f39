"""A long video of the demo model that is kept as it is made, in a process that is there to be killed."""

import torch
from safetensors.torch import load_file, save

from scope_core import SKYREELS, disk
from scope_core.demo.shipped import SkyReelsDemo
from scope_core.demo.training.world import Clips
from scope_core.loop.checkpoint import Keeper
from scope_core.loop.sample import sample
from scope_core.settings import PRESETS

torch.set_num_threads(1)
DEMO = SkyReelsDemo()
SCHEDULE = SKYREELS.schedule(28, 16, DEMO.latents, overlap=4, ar_step=2)
"""Two windows in which 16 chunks follow each other two steps apart."""
IN_WORK = SCHEDULE.steps
"""Iterations that a chunk is in work: the most that may be made again."""


def iterations_before(segment) -> int:
    return sum(len(each.iterations) for each in SCHEDULE.segments[: segment.index])


@torch.inference_mode()
def make(seed: int, target, log, root=None) -> None:
    """Write latents to `target`, and the number of each iteration to `log` as it is done. Kept under `root`."""
    tokens = Clips.sample(1, torch.Generator().manual_seed(seed)).tokens()
    noise = torch.randn(1, 16, SCHEDULE.frames, 8, 8, generator=torch.Generator().manual_seed(seed))
    keeper = Keeper(root, {"model": "demo", "prompt": tokens.tolist()}) if root else None
    with log.open("a", buffering=1) as told:

        def on_step(segment, step, x0, record) -> None:
            told.write(f"{iterations_before(segment) + len(record.steps)}\n")

        model = DEMO.model(tokens, SCHEDULE)
        made = sample(model, noise, SCHEDULE, PRESETS["paper_slow"], seed=seed, on_step=on_step, keeper=keeper)
    disk.write(target, save({"latents": made.latents.contiguous()}))


def latents(target) -> torch.Tensor:
    return load_file(target)["latents"]
