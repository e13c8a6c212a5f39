"""Measure a demo model: `python -m scope_core.demo.evaluate [--family magi]`. What good means is in demo-model.md.

Over held-out prompts: is the object there, in the right colour, of the right shape, without flicker? Writes a contact
sheet for the eye beside the numbers.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ..control import Control
from ..forcing import DiffusionForcing
from ..magi import CHUNK, ChunkField, Reach, magi_schedule, step_size
from ..models.demo_vae import DemoVAE
from ..models.magi import MagiTransformer, config_of
from ..models.wan import WanTransformer
from ..plan import make_control
from ..presets import PRESETS, Settings
from ..preview import write_clip
from ..rollout import compose, rollout, unroll
from ..schedule import ARSchedule
from ..solver import Euler, UniPC
from ..term import Guided
from ..trace import Trace
from . import WEIGHTS
from .train import CHUNKS, CONFIG, NULL_TOKENS, SIZE, MagiDemo, SkyReelsDemo
from .world import BACKGROUNDS, COLOURS, FPS, FRAMES_PER_LATENT, SHAPES, TOKENS, WINDOW, Clips

GOALS = {"object present": 0.98, "colour right": 0.95, "shape right": 0.85, "steady colour": 0.98}
HELD_OUT = 990_000
"""Seed of the prompts judged here; training draws from other seeds."""


class Shipped:
    """What the demos share: words and autoencoder. Without a host."""

    controls: list[Control]
    """What decided in each segment of the last run."""

    def __init__(self, folder: Path = WEIGHTS):
        self.vae = DemoVAE().eval()
        self.vae.load_state_dict(load(folder / "scope_demo_vae.safetensors"))
        self.words = load(folder / "scope_demo_text.safetensors")["weight"]

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Video [B, 3, T, 128, 128] in [0, 1]."""
        return torch.cat([self.vae.decode(z[None]) for z in latents]).add(1).div(2).clamp(0, 1)


class Demo(Shipped):
    """The shipped model in the SkyReels-V2 layout."""

    latents = WINDOW
    report = "demo"
    """What the names of files about it begin with."""

    def __init__(self, folder: Path = WEIGHTS):
        super().__init__(folder)
        self.transformer = WanTransformer(CONFIG).eval()
        self.transformer.load_state_dict(load(folder / SkyReelsDemo.file))

    def schedules(self, steps: int = 50) -> dict[str, ARSchedule]:
        """The ways to sample it that are measured."""
        return {name: ARSchedule(WINDOW, steps, WINDOW, 5, 1, ar_step) for name, ar_step in (("synchronous", 0), ("asynchronous", 5))}

    @torch.inference_mode()
    def sample(self, tokens: Tensor, schedule: ARSchedule, settings: Settings, seed: int, cfg: float = 2.5, solver=UniPC) -> tuple[Tensor, Trace]:
        """Latents [B, 16, F, 8, 8] for prompts [B, TOKENS], and the trace."""
        term = Guided(self.transformer, self.words[tokens], self.words[torch.zeros(1, TOKENS, dtype=torch.long)], cfg)
        noise = torch.randn(len(tokens), 16, schedule.frames, 8, 8, generator=torch.Generator().manual_seed(seed))
        trace, self.controls = Trace({}), []

        def segment(segment, noise, known):
            control = make_control(settings, schedule, segment, term)
            self.controls.append(control)
            field = DiffusionForcing(term, segment, schedule, torch.Generator().manual_seed(seed))
            made = rollout(field, compose(segment, noise, known), segment, control, solver(schedule.sigmas), trace.begin(segment))
            trace.memory = max(trace.memory, control.peak_bytes)
            return made

        latents = unroll(segment, noise, schedule)
        trace.forwards = term.forwards
        return latents, trace


class Magi(Shipped):
    """The shipped model in the MAGI-1 layout."""

    latents = CHUNKS * CHUNK
    report = "demo_magi"

    def __init__(self, folder: Path = WEIGHTS):
        super().__init__(folder)
        weights = load(folder / MagiDemo.file)
        with safe_open(folder / MagiDemo.file, "pt") as file:
            self.settings = json.loads(file.metadata()["config"])
        config = replace(config_of({key: weight.shape for key, weight in weights.items()}), **self.settings["transformer"])
        self.transformer = MagiTransformer(config).eval().requires_grad_(False)
        self.transformer.load_state_dict(weights)

    def schedules(self, steps: int = 64) -> dict[str, ARSchedule]:
        return {"chunk_by_chunk": magi_schedule(self.latents, steps, self.settings["window_size"])}

    @torch.inference_mode()
    def sample(self, tokens: Tensor, schedule: ARSchedule, settings: Settings, seed: int, reach: Reach = Reach(),
               start: Tensor | None = None) -> tuple[Tensor, Trace]:
        """Latents [B, 16, F, 8, 8] for prompts [B, TOKENS], and the trace. `start` [B, 16, P, 8, 8] are known first frames."""
        segment, = schedule.segments
        network = Captioned(self.transformer, self.words[tokens], tokens > 0, schedule.steps)
        x = torch.randn(len(tokens), 16, schedule.frames, 8, 8, generator=torch.Generator().manual_seed(seed))
        if start is not None:
            x[:, :, :segment.prefix] = start[:, :, :segment.prefix]
        field, control = ChunkField(network, schedule, reach, start=start), make_control(settings, schedule, segment, network)
        trace, self.controls = Trace({}, by_chunk=True), [control]
        made = rollout(field, x, segment, control, Euler(segment.sigmas), trace.begin(segment))
        trace.memory, trace.forwards = control.peak_bytes, field.forwards
        return made, trace


class Captioned:
    """A distilled MAGI-1 with one caption a clip (magi.Network): `words` [B, L, caption_dim], `known` [B, L]. A prompt without a known
    word is the null caption."""

    def __init__(self, transformer: MagiTransformer, words: Tensor, known: Tensor, steps: int):
        null = transformer.y_embedder.null_caption_embedding
        rest, empty = len(null) - words.shape[1], ~known.any(1)[:, None]
        self.transformer, self.steps, self.blocks = transformer, steps, len(transformer.blocks)
        self.null, self.null_mask = null.expand(len(words), -1, -1), (torch.arange(len(null)) < NULL_TOKENS).expand(len(words), -1)
        self.context = torch.where(empty[..., None], null, nn.functional.pad(words, (0, 0, 0, rest)))
        self.mask = torch.where(empty, self.null_mask, nn.functional.pad(known, (0, rest)))

    def __call__(self, x, times, chunks, ranges, text, cache, keep, dt, dropped, around):
        context = torch.stack([self.null if told is None else self.context for told in text], 1)
        mask = torch.stack([self.null_mask if told is None else self.mask for told in text], 1)
        t = torch.tensor(times).expand(len(x), -1)
        return self.transformer(x, t, chunks, ranges, context, mask, cache, keep, dt, dropped, around)

    def features(self, name: str, sigma: np.ndarray) -> Tensor:
        return self.transformer.features(name, sigma, step_size(self.steps))

    def patch_embedding(self, x: Tensor) -> Tensor:
        return self.transformer.patch_embedding(x)


FAMILIES = {"skyreels": Demo, "magi": Magi}


def load(file: Path) -> dict[str, Tensor]:
    return {key: value.float() for key, value in load_file(file).items()}


def shape_classifier() -> nn.Module:
    """A small network that names the shape in a map of distances to the background [B, 1, 64, 64], trained on the world,
    with blur and noise so that it forgives the decoder."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(64, 64, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, len(SHAPES)))
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
    background = torch.tensor(list(BACKGROUNDS.values()))[clips.words[:, 3]][:, :, None, None] * (1.25 - 0.5 * axis[:, None])
    return nn.functional.avg_pool2d((frames - background).norm(dim=1, keepdim=True), 2)


@torch.no_grad()
def judge(video: Tensor, clips: Clips, classifier: nn.Module) -> dict[str, float]:
    """Shares in [0, 1] over the clips: video [B, 3, T, 128, 128]. One frame of each latent frame is looked at."""
    palette = torch.tensor(list(COLOURS.values()))
    present, colour, shape, steady = [], [], [], []
    for i in range(len(video)):
        frames = video[i, :, ::FRAMES_PER_LATENT].transpose(0, 1)
        one = Clips(clips.words[i:i + 1].expand(len(frames), -1), clips.radius[:1], clips.start[:1], clips.motion[:1])
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
    return {"object present": float(np.mean(present)), "colour right": float(np.mean(colour)), "shape right": float(np.mean(shape)),
            "steady colour": float(np.mean(steady))}


def rendered(clips: Clips, frames: int) -> Tensor:
    """The world's own video [B, 3, frames, 128, 128] of the clips."""
    seconds = torch.arange(frames) / FPS
    return torch.cat([Clips(clips.words[i:i + 1], clips.radius[i:i + 1], clips.start[i:i + 1], clips.motion[i:i + 1])
                      .render(SIZE, seconds).transpose(1, 2) for i in range(len(clips.words))])


def contact_sheet(video: Tensor, path: Path, clips: int = 16) -> None:
    """Every seventh frame of some clips, one clip a row."""
    rows = video[:clips, :, ::7].permute(0, 3, 2, 4, 1).flatten(2, 3).flatten(0, 1)
    imageio.imwrite(path, (rows * 255).byte().numpy())


def table(results: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    lines = ["| | " + " | ".join(GOALS) + " |", "|---|" + "---|" * len(GOALS)]
    return "\n".join(lines + [f"| {name} | " + " | ".join(f"{shares[what]:.1%}" for what in GOALS) + " |" for name, shares in results.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=FAMILIES, default="skyreels")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--steps", type=int, help="by default 50, or 64 of magi")
    parser.add_argument("--out", type=Path, default=Path("scope-output"), help="folder for the contact sheets and the JSON")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    demo = FAMILIES[args.family](args.weights)
    classifier = shape_classifier()
    clips = Clips.sample(args.prompts, torch.Generator().manual_seed(HELD_OUT))
    results = {"rendered world": judge(rendered(clips, FRAMES_PER_LATENT * (demo.latents - 1) + 1), clips, classifier)}
    for name, schedule in (demo.schedules(args.steps) if args.steps else demo.schedules()).items():
        parts = [demo.sample(clips.tokens()[i:i + 16], schedule, PRESETS["off"], HELD_OUT + i)[0] for i in range(0, args.prompts, 16)]
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
