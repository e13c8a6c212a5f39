"""The pictures of the README and the registry: `python -m tests.pictures`, with a Python that has torch, imageio and
Pillow.

The clip is sampled from the demo model: the same prompts and noise with every step computed and with preset `balanced`;
what it says of evaluations is the trace's.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
SEED, PROMPTS = 21, 3
SCALE, GAP, LINE = 2, 8, 34
BACKGROUND, PAPER, INK, FAINT = (17, 20, 26), (28, 33, 42), (238, 240, 244), (150, 158, 170)
RECOMPUTE, PREDICT, REUSE = (228, 240, 255), (232, 150, 46), (44, 106, 155)
"""The timeline's colours."""


def font(size: int):
    from PIL import ImageFont

    return ImageFont.load_default(size)


def clip() -> None:
    """Two rows of clips, every step computed above and SCOPE below, with the plan of each as a strip."""
    import imageio.v3 as imageio
    import numpy as np
    import torch
    from PIL import Image, ImageDraw

    from scope_core import PRESETS
    from scope_core.demo.shipped import SIZE, SkyReelsDemo
    from scope_core.demo.training.world import Clips

    demo = SkyReelsDemo()
    schedule = demo.schedules()["synchronous"]
    tokens = Clips.sample(PROMPTS, torch.Generator().manual_seed(SEED)).tokens()
    side = SIZE * SCALE
    width, row = PROMPTS * (side + GAP) + GAP, LINE + side + GAP
    rows = []
    for preset, title in (("off", "every step computed"), ("balanced", "SCOPE, balanced")):
        latents, trace, _ = demo.sample(tokens, schedule, PRESETS[preset], SEED)
        video = (demo.decode(latents) * 255).round().byte().permute(0, 2, 3, 4, 1).numpy()
        totals, modes = trace.totals, [step["modes"] for step in trace.segments[0].steps]
        head = Image.new("RGB", (width, LINE), BACKGROUND)
        draw = ImageDraw.Draw(head)
        draw.text((GAP, 6), title, INK, font(18))
        draw.text((GAP + 220, 9), f"{totals['computed']} of {totals['iterations']} evaluations", FAINT, font(15))
        cell = (width - 470 - GAP) / len(modes)
        for i, mode in enumerate(modes):
            colour = {"R": RECOMPUTE, "P": PREDICT}.get(mode, REUSE)
            draw.rectangle((470 + i * cell, 9, 470 + (i + 1) * cell - 2, LINE - 9), fill=colour)
        rows.append((np.array(head), video))
    frames = []
    for t in range(0, rows[0][1].shape[1], 2):
        frame = np.full((2 * row + GAP, width, 3), BACKGROUND, np.uint8)
        for r, (head, video) in enumerate(rows):
            frame[r * row : r * row + LINE] = head
            for column in range(PROMPTS):
                left = GAP + column * (side + GAP)
                picture = video[column, t].repeat(SCALE, 0).repeat(SCALE, 1)
                frame[r * row + LINE : r * row + LINE + side, left : left + side] = picture
        frames.append(frame)
    IMAGES.mkdir(parents=True, exist_ok=True)
    imageio.imwrite(IMAGES / "demo.webp", np.stack(frames), plugin="pillow", duration=1000 / 12, loop=0, quality=72)


def sign(width: int, height: int, rows: int, steps: int, cell: float, left: float):
    """The pack's sign: a staircase of chunks, each step recomputed, predicted or reused."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(image)
    size, top = 0.84 * cell, (height - rows * cell + 0.16 * cell) / 2
    for chunk in range(rows):
        for step in range(steps):
            colour = RECOMPUTE if step in (0, steps - 1) else (PREDICT, REUSE)[(step - 1) % 2]
            x, y = left + (step + chunk) * cell, top + chunk * cell
            draw.rounded_rectangle((x, y, x + size, y + size), 0.18 * size, fill=colour)
    return image, draw


def registry() -> None:
    icon, _ = sign(400, 400, rows=3, steps=4, cell=60, left=25)
    icon.save(IMAGES / "icon.png", optimize=True)
    banner, draw = sign(1344, 576, rows=4, steps=5, cell=92, left=72)
    draw.text((870, 190), "SCOPE", INK, font(104))
    draw.text((876, 320), "for ComfyUI", FAINT, font(52))
    banner.save(IMAGES / "banner.png", optimize=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description=__doc__)
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI whose Python to use; otherwise one is found or built")
    parser.add_argument("--here", action="store_true", help="draw in this Python")
    args = parser.parse_args()
    if args.here:
        clip()
        registry()
        return 0
    from workflows.launcher import find_or_build

    host = find_or_build(args.comfyui, ("imageio",))
    return subprocess.run([str(host.python), "-m", "tests.pictures", "--here"], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
