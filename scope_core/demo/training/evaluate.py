"""Measure a demo model: `python -m scope_core.demo.training.evaluate [--family magi]`. What good means is in
docs/demo.md.

Over held-out prompts: is the object there, in the right colour, of the right shape, without flicker? Writes a contact
sheet for the eye beside the numbers.
"""

import argparse
import json
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import torch
from torch import Tensor, nn

from ...settings import PRESETS
from ...study.clips import write_clip
from .. import WEIGHTS
from ..shipped import DEMOS, SIZE
from ..words import BACKGROUNDS, COLOURS, FPS, FRAMES_PER_LATENT, SHAPES
from .world import Clips

GOALS = {"object present": 0.98, "colour right": 0.95, "shape right": 0.85, "steady colour": 0.98}
HELD_OUT = 990_000
"""Seed of the prompts judged here; training draws from other seeds."""


def shape_classifier() -> nn.Module:
    """A small network that names the shape in a map of distances to the background [B, 1, 64, 64], trained on the
    world, with blur and noise so that it forgives the decoder."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1024, len(SHAPES)),
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(2)
    for step in range(400):
        clips = Clips.sample(48, generator)
        frames = clips.render(SIZE, torch.rand(1, generator=generator) * 2.5)[:, 0]
        if step % 2:
            frames = nn.functional.interpolate(nn.functional.avg_pool2d(frames, 4), scale_factor=4, mode="bilinear")
        frames = frames + 0.05 * torch.randn(frames.shape, generator=generator)
        loss = nn.functional.cross_entropy(net(distance_map(frames, clips)), clips.words[:, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def distance_map(frames: Tensor, clips: Clips) -> Tensor:
    """How far each pixel is from the clip's background: frames [B, 3, 128, 128] -> [B, 1, 64, 64]."""
    axis = (torch.arange(SIZE) + 0.5) / SIZE
    background = torch.tensor(list(BACKGROUNDS.values()))[clips.words[:, 3]][:, :, None, None] * (
        1.25 - 0.5 * axis[:, None]
    )
    return nn.functional.avg_pool2d((frames - background).norm(dim=1, keepdim=True), 2)


@torch.no_grad()
def judge(video: Tensor, clips: Clips, classifier: nn.Module) -> dict[str, float]:
    """Shares in [0, 1] over the clips: video [B, 3, T, 128, 128]. One frame of each latent frame is looked at."""
    palette = torch.tensor(list(COLOURS.values()))
    present, colour, shape, steady = [], [], [], []
    for i in range(len(video)):
        frames = video[i, :, ::FRAMES_PER_LATENT].transpose(0, 1)
        one = Clips(clips.words[i : i + 1].expand(len(frames), -1), clips.radius[:1], clips.start[:1], clips.motion[:1])
        distance = distance_map(frames, one)
        mask = (distance > 0.25).float()
        area = mask.mean((1, 2, 3))
        present += (area > 0.02).tolist()
        small = nn.functional.avg_pool2d(frames, 2)
        inner = -nn.functional.max_pool2d(-mask, 3, 1, 1)
        mean = (small * inner).sum((2, 3)) / inner.sum((2, 3)).clamp_min(1)
        seen = mean[area > 0.02]
        nearest = (seen[:, None] - palette[None]).norm(dim=2).argmin(1)
        colour.append(len(seen) > 0 and (nearest == clips.words[i, 2]).float().mean().item() > 0.5)
        steady.append(len(seen) > 1 and seen.diff(dim=0).norm(dim=1).max().item() < 0.15)
        shape.append(classifier(distance).softmax(1).mean(0).argmax().item() == clips.words[i, 0].item())
    return {
        "object present": float(np.mean(present)),
        "colour right": float(np.mean(colour)),
        "shape right": float(np.mean(shape)),
        "steady colour": float(np.mean(steady)),
    }


def rendered(clips: Clips, frames: int) -> Tensor:
    """The world's own video [B, 3, frames, 128, 128] of the clips."""
    seconds = torch.arange(frames) / FPS
    return torch.cat(
        [
            Clips(clips.words[i : i + 1], clips.radius[i : i + 1], clips.start[i : i + 1], clips.motion[i : i + 1])
            .render(SIZE, seconds)
            .transpose(1, 2)
            for i in range(len(clips.words))
        ]
    )


def contact_sheet(video: Tensor, path: Path, clips: int = 16) -> None:
    """Every seventh frame of some clips, one clip a row."""
    rows = video[:clips, :, ::7].permute(0, 3, 2, 4, 1).flatten(2, 3).flatten(0, 1)
    imageio.imwrite(path, (rows * 255).byte().numpy())


def table(results: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    lines = ["| | " + " | ".join(GOALS) + " |", "|---|" + "---|" * len(GOALS)]
    return "\n".join(
        lines
        + [
            f"| {name} | " + " | ".join(f"{shares[what]:.1%}" for what in GOALS) + " |"
            for name, shares in results.items()
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=DEMOS, default="skyreels")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--steps", type=int, help="by default 50, or 64 of magi")
    parser.add_argument(
        "--out", type=Path, default=Path("scope-output"), help="folder for the contact sheets and the JSON"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    demo = DEMOS[args.family](args.weights)
    classifier = shape_classifier()
    clips = Clips.sample(args.prompts, torch.Generator().manual_seed(HELD_OUT))
    results = {"rendered world": judge(rendered(clips, FRAMES_PER_LATENT * (demo.latents - 1) + 1), clips, classifier)}
    for name, schedule in demo.schedules(args.steps).items():
        parts = [
            demo.sample(clips.tokens()[i : i + 16], schedule, PRESETS["off"], HELD_OUT + i).latents
            for i in range(0, args.prompts, 16)
        ]
        video = demo.decode(torch.cat(parts))
        results[name] = judge(video, clips, classifier)
        contact_sheet(video, args.out / f"{demo.report}_{name}.png")
        write_clip(video[0], args.out / f"{demo.report}_{name}.mp4")
    for name, shares in (results | {"wanted": GOALS}).items():
        print(f"{name:>15}: " + ", ".join(f"{what} {share:.1%}" for what, share in shares.items()))
    (args.out / f"{demo.report}_quality.md").write_text(table(results | {"wanted": GOALS}))
    (args.out / f"{demo.report}_quality.json").write_text(json.dumps({"goals": GOALS, "results": results}, indent=1))


if __name__ == "__main__":
    main()
