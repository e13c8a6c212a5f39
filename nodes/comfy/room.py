"""What fits on a device of the host, and what is done where it does not (docs/memory.md)."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

SHARE = 0.6
"""Of the device's memory that keys and values may take."""
TILES = 128, 64
"""Pixels of the side of a tile, after those of 256 that the host itself goes over to."""
SMALLER = (
    "the device ran out of memory: the VAE goes on in smaller tiles, whose seams may show. Free memory of the device,"
    " or make a smaller video, to avoid it."
)


def log(sentence: str) -> None:
    logging.warning("SCOPE: %s", sentence)


def share(device: torch.device) -> float:
    """Bytes of a device that keys and values may take at most, all branches together: a share of what others do not
    have (--reserve-vram)."""
    return SHARE * (comfy.model_management.get_total_memory(device) - comfy.model_management.extra_reserved_memory())


def for_keys_and_values(patcher: Any) -> float:
    """The same where a MODEL has been loaded: no more than the host says is free beside what it holds back for a
    call."""
    free = patcher.get_free_memory(patcher.load_device) - comfy.model_management.minimum_inference_memory()
    return max(0.0, min(share(patcher.load_device), free))


def decode(vae: Any, latents: Tensor, tell: Callable[[str], None] = log) -> Tensor:
    """Images of latents as the VAE gives them; in ever smaller tiles where the device has no room, which `tell` is
    told."""

    def tiled(pixels: int) -> Tensor:
        side = pixels // vae.spacial_compression_decode()
        return vae.decode_tiled(latents, tile_x=side, tile_y=side, overlap=side // 4)

    return smaller_and_smaller(lambda: vae.decode(latents), tiled, tell)


def encode(vae: Any, images: Tensor, tell: Callable[[str], None] = log) -> Tensor:
    """Latents of images [T, H, W, C], likewise."""

    def tiled(pixels: int) -> Tensor:
        return vae.encode_tiled(images, tile_x=pixels, tile_y=pixels, overlap=pixels // 4)

    return smaller_and_smaller(lambda: vae.encode(images), tiled, tell)


def smaller_and_smaller(
    whole: Callable[[], Tensor], tiled: Callable[[int], Tensor], tell: Callable[[str], None]
) -> Tensor:
    ways: list[Callable[[], Tensor]] = [whole, *(partial(tiled, pixels) for pixels in TILES)]
    for way in ways[:-1]:
        try:
            return way()
        except Exception as error:  # noqa: BLE001 - what counts as out of memory is the host's to say
            comfy.model_management.raise_non_oom(error)
        if way is whole:
            tell(SMALLER)
        comfy.model_management.soft_empty_cache()
    return ways[-1]()
