"""A video by SkyReels-V2 and diffusers, with 2.5 times fewer forward passes of the transformer.

pip install .[diffusers,study] in a checkout of this repository, then: python docs/diffusers_example.py
"""

import json
from pathlib import Path

import imageio.v3 as iio
import torch
from diffusers import AutoencoderKLWan, SkyReelsV2DiffusionForcingPipeline, UniPCMultistepScheduler

from scope_core.pipelines import accelerate

MODEL = "Skywork/SkyReels-V2-DF-1.3B-540P-Diffusers"
PROMPT = "A cat and a dog baking a cake together in a kitchen, the cat measuring flour, the dog stirring the batter."


def load():
    vae = AutoencoderKLWan.from_pretrained(MODEL, subfolder="vae", torch_dtype=torch.float32)
    pipe = SkyReelsV2DiffusionForcingPipeline.from_pretrained(MODEL, vae=vae, torch_dtype=torch.bfloat16)
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config, flow_shift=8.0)
    pipe.enable_model_cpu_offload()
    return pipe


def make(pipe, folder, prompt=PROMPT, **arguments):
    """Writes `video.mp4`, and `trace.json`, which says what was computed and why."""
    made = accelerate(pipe, prompt, settings="balanced", generator=torch.Generator().manual_seed(0), **arguments)
    totals = made.trace.totals
    print(f"computed {totals['computed']} of {totals['iterations']} steps, {totals['forwards']:g} forward passes")
    iio.imwrite(
        folder / "video.mp4", (255 * made.frames[0]).round().astype("uint8"), plugin="pyav", codec="h264", fps=24
    )
    (folder / "trace.json").write_text(json.dumps(made.trace.to_json()))


if __name__ == "__main__":
    make(load(), Path())
