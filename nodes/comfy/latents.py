"""Latents that samplers are given, checked and adapted to a model."""

from typing import Any

import comfy.sample
from torch import Tensor

NO_MASK = (
    "the latent has a noise mask, which SCOPE does not use; give the known frames to AR Schedule as `start` or `end`"
)


class UnsuitableError(ValueError):
    """Inputs that SCOPE cannot combine. The message says what to change."""


def check_video(samples: Any, kind: str | None = None) -> None:
    """Raises UnsuitableError for latents that are neither those of a video nor of an image, such as audio."""
    if samples.is_nested or samples.ndim not in (4, 5) or kind == "audio":
        raise UnsuitableError(
            f"the latent is not that of a video: its shape is {list(samples.shape)}{f', of {kind}' if kind else ''},"
            " and a video has [batch, channels, frames, height, width]; connect the LATENT of the schedule node, or an"
            " empty video latent"
        )


def check_empty(latent: dict[str, Any]) -> None:
    """Raises UnsuitableError for a LATENT that is not an empty one of a video."""
    check_video(latent["samples"], latent.get("type"))
    if "noise_mask" in latent:
        raise UnsuitableError(NO_MASK)
    if latent["samples"].count_nonzero():
        raise UnsuitableError(
            "the latent is not empty; to continue or animate known frames, connect them to the schedule node as"
            " `start`, and its LATENT here"
        )


def adapted(model: Any, latent: dict[str, Any]) -> Tensor:
    """Samples of a LATENT; empty ones have the channels and the size of the model's."""
    ratios = (latent.get(f"downscale_ratio_{way}") for way in ("spacial", "temporal"))
    return comfy.sample.fix_empty_latent_channels(model, latent["samples"], *ratios)
