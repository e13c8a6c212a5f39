"""Clips for outside the graph: README, benchmarks, evaluation. Inside ComfyUI its own video nodes write files."""

from pathlib import Path

import imageio.v3 as imageio
from torch import Tensor


def write_clip(video: Tensor, path: Path, fps: int = 24) -> None:
    """Write video [3, T, H, W] in [0, 1] as .mp4 (needs PyAV) or .gif, by the ending of `path`.

    Raises ValueError for other endings.
    """
    frames = (video.permute(1, 2, 3, 0) * 255).round().clamp(0, 255).byte().numpy()
    if path.suffix == ".mp4":
        imageio.imwrite(path, frames, plugin="pyav", codec="libx264", fps=fps)
    elif path.suffix == ".gif":
        imageio.imwrite(path, frames, plugin="pillow", duration=1000 / fps, loop=0)
    else:
        raise ValueError(f"clips are written as .mp4 or .gif, not {path.suffix or 'without an ending'}: {path.name}")
