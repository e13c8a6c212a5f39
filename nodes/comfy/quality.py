"""Frames of latents, and the figures that need something of the host."""

from pathlib import Path
from typing import Any

import folder_paths
from torch import Tensor

from ...scope_core.study.metrics import Lpips, lpips
from . import room


def decode(vae, samples: Tensor) -> Tensor:
    """Latents [1, C, F, H, W] -> images [T, H, W, 3] in [0, 1]."""
    images = room.decode(vae, samples)
    return images.reshape(-1, *images.shape[-3:])


def picture(samples: Any) -> Tensor:
    """Of several streams of latents in one pack the first, which is the video."""
    first: Tensor = samples.unbind()[0] if samples.is_nested else samples
    return first


def video(images: Tensor) -> Tensor:
    """Images [T, H, W, C] -> video [1, 3, T, H, W]."""
    return images[..., :3].permute(3, 0, 1, 2)[None].float().cpu()


def perceptual() -> tuple[Lpips | None, str]:
    """LPIPS with the weights in models/lpips, or None and why there is none."""
    return lpips(Path(folder_paths.models_dir) / "lpips")
