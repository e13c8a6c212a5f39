"""Measure a demo model: `python -m scope_core.demo.training.evaluate [--family magi]`. What good means is in
docs/demo.md.

Over held-out prompts: are the objects there, in the right colour, of the right shape, without flicker, before the right
background? Writes a contact sheet for the eye beside the numbers.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as imageio
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...settings import PRESETS
from ...study.clips import write_clip
from .. import WEIGHTS
from ..shipped import DEMOS, SIZE
from ..words import BACKGROUNDS, COLOURS, FPS, FRAMES_PER_LATENT, PATTERNS, SHAPES
from .world import RELIEF, Clips, axis

GOALS = {
    "object present": 0.98,
    "colour right": 0.95,
    "shape right": 0.85,
    "steady colour": 0.98,
    "second present": 0.95,
    "second colour": 0.95,
    "second shape": 0.75,
    "second steady": 0.95,
    "background right": 0.95,
}
HELD_OUT = 990_000
"""Seed of the prompts judged here; training draws from other seeds."""
CLEAR = 0.25
"""Distance of a colour from the background's from which a pixel is an object's."""
AREAS, INNER, VIEWS = (0.02, 0.003), (5, 3), (0.32, 0.16)
"""Of the first object and the second: the share of pixels that it covers at least (of the second, inside its edge), the
width of the filter that takes the edge away, and half the side of the picture in which its shape is looked at."""


def from_background(frames: Tensor, clips: Clips) -> tuple[Tensor, Tensor]:
    """How far each pixel of frames [B, 3, 128, 128] is from the colours of the clips' backgrounds, and how far between
    the darker (0) and the lighter (1) of these it lies, [B, 128, 128] each."""
    change = frames - clips.tones(SIZE)
    patterned = clips.background[:, 1] >= 0
    lighter = change.mean(1)
    nearest = lighter.clamp(0, RELIEF) * patterned[:, None, None]
    return (change - nearest[:, None]).norm(dim=1), lighter / RELIEF


def objects_of(frames: Tensor, clips: Clips) -> tuple[Tensor, Tensor]:
    """Where the objects are, by their colours: distances from the background and masks, [B, 2, 128, 128] each."""
    distance, _ = from_background(frames, clips)
    palette = torch.tensor(list(COLOURS.values()))[clips.objects[:, :, 2].clamp(min=0)]
    first, second = (frames - palette[:, i, :, None, None] for i in (0, 1))
    is_second = (second.norm(dim=1) < first.norm(dim=1)) & clips.two[:, None, None]
    parts = torch.stack([distance * ~is_second, distance * is_second], 1)
    return parts, (parts > CLEAR).float()


def without_edge(mask: Tensor, width: int) -> Tensor:
    return -F.max_pool2d(-mask, width, 1, width // 2)


def close_up(part: Tensor, mask: Tensor, view: float) -> Tensor:
    """The surroundings of an object: its distances [B, 128, 128] about the middle of its mask, [B, 1, 64, 64]."""
    places = axis(SIZE, part.device)
    weight = mask.sum((1, 2)).clamp(min=1e-6)
    middle = torch.stack([(mask.sum(1) @ places) / weight, (mask.sum(2) @ places) / weight], 1)
    turn = torch.eye(2).expand(len(part), 2, 2) * 2 * view
    where = F.affine_grid(torch.cat([turn, (2 * middle - 1)[:, :, None]], 2), [len(part), 1, 64, 64], False)
    return F.grid_sample(part[:, None], where, align_corners=False)


def shape_views(frames: Tensor, clips: Clips) -> Tensor:
    """Both objects as the classifier of shapes sees them: [B, 2, 1, 64, 64]."""
    parts, masks = objects_of(frames, clips)
    return torch.stack([close_up(parts[:, i], without_edge(masks[:, i], INNER[i]), VIEWS[i]) for i in (0, 1)], 1)


def pattern_views(frames: Tensor, clips: Clips) -> Tensor:
    """The pattern as its classifier sees it: [B, 1, 64, 64], the objects cut out."""
    distance, lighter = from_background(frames, clips)
    return F.avg_pool2d((lighter.clamp(-1, 2) * (distance < CLEAR))[:, None], 2)


def classifier(classes: int, examples: Callable[[Tensor, Clips], tuple[Tensor, Tensor]]) -> nn.Module:
    """A small network from views [B, 1, 64, 64] to classes, trained on the `examples` (views and classes) in frames of
    the world, with blur and noise so that it forgives the decoder."""
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
        nn.Linear(1024, classes),
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(2)
    for step in range(400):
        clips = Clips.sample(48, generator)
        frames = clips.render(SIZE, torch.rand(1, generator=generator) * 2.5)[:, 0]
        if step % 2:
            frames = F.interpolate(F.avg_pool2d(frames, 4), scale_factor=4, mode="bilinear")
        frames = frames + 0.05 * torch.randn(frames.shape, generator=generator)
        views, classes_of = examples(frames, clips)
        loss = F.cross_entropy(net(views), classes_of)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def shapes_in(frames: Tensor, clips: Clips) -> tuple[Tensor, Tensor]:
    there = torch.stack([torch.ones_like(clips.two), clips.two], 1)
    return shape_views(frames, clips)[there], clips.objects[:, :, 0][there]


def patterns_in(frames: Tensor, clips: Clips) -> tuple[Tensor, Tensor]:
    return pattern_views(frames, clips), clips.background[:, 1] + 1


class Judge:
    def __init__(self) -> None:
        self.shapes = classifier(len(SHAPES), shapes_in)
        self.patterns = classifier(len(PATTERNS) + 1, patterns_in)

    @torch.no_grad()
    def __call__(self, video: Tensor, clips: Clips) -> dict[str, float]:
        """Shares in [0, 1] over the clips: video [B, 3, T, 128, 128]. One frame of each latent frame is looked at."""
        seen: dict[str, list[float]] = {goal: [] for goal in GOALS}
        for i in range(len(clips)):
            frames = video[i, :, ::FRAMES_PER_LATENT].transpose(0, 1)
            one = clips[torch.full((len(frames),), i)]
            present, colour, shape, steady = self.object(frames, one, 0)
            for goal, value in zip(GOALS, (present, [colour], [shape], [steady])):
                seen[goal] += value
            if clips.two[i]:
                present, colour, shape, steady = self.object(frames, one, 1)
                for goal, value in zip(list(GOALS)[4:], (present, [colour], [shape], [steady])):
                    seen[goal] += value
            seen["background right"].append(self.background(frames, one))
        return {goal: sum(values) / max(1, len(values)) for goal, values in seen.items()}

    def object(self, frames: Tensor, one: Clips, which: int) -> tuple[list[float], float, float, float]:
        """In which frames the object is, whether its colour and shape are right, whether its colour is steady."""
        _, masks = objects_of(frames, one)
        inner = without_edge(masks[:, which], INNER[which])
        there = (inner if which else masks[:, which]).mean((1, 2)) > AREAS[which]
        mean = (frames * inner[:, None]).sum((2, 3)) / inner.sum((1, 2)).clamp(min=1)[:, None]
        palette = torch.tensor(list(COLOURS.values()))
        shape, _, colour = one.objects[0, which].tolist()
        right = (mean[there, None] - palette).norm(dim=2).argmin(1) == colour
        steady = there.sum() > 1 and mean[there].diff(dim=0).norm(dim=1).max().item() < 0.15
        named = self.shapes(shape_views(frames, one)[:, which]).softmax(1).mean(0).argmax().item()
        return (
            there.float().tolist(),
            float(len(right) > 0 and right.float().mean().item() > 0.5),
            float(named == shape),
            float(steady),
        )

    def background(self, frames: Tensor, one: Clips) -> float:
        """Whether colour and pattern are those asked for."""
        colour, pattern = one.background[0].tolist()
        far = []
        for other in range(len(BACKGROUNDS)):
            supposed = Clips(**vars(one) | {"background": torch.tensor([[other, pattern]]).expand(len(frames), 2)})
            far.append(from_background(frames, supposed)[0].clamp(max=CLEAR).mean().item())
        named = self.patterns(pattern_views(frames, one)).softmax(1).mean(0).argmax().item()
        return float(min(far) == far[colour] and named == pattern + 1)


def rendered(clips: Clips, frames: int) -> Tensor:
    """The world's own video [B, 3, frames, 128, 128] of the clips."""
    seconds = torch.arange(frames) / FPS
    return torch.cat([clips[i : i + 1].render(SIZE, seconds).transpose(1, 2) for i in range(len(clips))])


def contact_sheet(video: Tensor, path: Path, clips: int = 16) -> None:
    """Every seventh frame of some clips, one clip a row."""
    rows = video[:clips, :, ::7].permute(0, 3, 2, 4, 1).flatten(2, 3).flatten(0, 1)
    imageio.imwrite(path, (rows * 255).byte().numpy())


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
    judge = Judge()
    clips = Clips.sample(args.prompts, torch.Generator().manual_seed(HELD_OUT))
    results = {"rendered world": judge(rendered(clips, FRAMES_PER_LATENT * (demo.latents - 1) + 1), clips)}
    for name, schedule in demo.schedules(args.steps).items():
        parts = [
            demo.sample(clips.tokens()[i : i + 16], schedule, PRESETS["off"], HELD_OUT + i).latents
            for i in range(0, args.prompts, 16)
        ]
        video = demo.decode(torch.cat(parts))
        results[name] = judge(video, clips)
        contact_sheet(video, args.out / f"{demo.report}_{name}.png")
        write_clip(video[0], args.out / f"{demo.report}_{name}.mp4")
    for name, shares in (results | {"wanted": GOALS}).items():
        print(f"{name:>15}: " + ", ".join(f"{what} {share:.1%}" for what, share in shares.items()))
    (args.out / f"{demo.report}_quality.json").write_text(json.dumps({"goals": GOALS, "results": results}, indent=1))


if __name__ == "__main__":
    main()
