"""The autoencoder of MAGI-1 as a VAE of the host. Source: docs/magi1.md 2.5."""

import logging
from math import ceil
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.utils
import folder_paths
import torch
from torch import Tensor

from ...scope_core.networks.magi_vae import (
    SPACE,
    TILE,
    TILE_FRAMES,
    TIME,
    MagiVAE,
    MagiVaeConfig,
    config_of,
    pixel_frames,
    unscaled,
)
from ...scope_core.networks.skyreels_keys import to_official
from .loading import ModelFileError, check_shapes, read_header

FIRST_KEY = "encoder.cls_token"
OTHER_FILES = {
    "videodit_blocks.": "the transformer of MAGI-1; put it in models/diffusion_models",
    "head.modulation": (
        "a transformer of the Wan family; put it in models/diffusion_models and load it with Load AR Video Model"
    ),
    "shared.weight": "a text encoder; put it in models/text_encoders and load it with core's Load CLIP",
    "decoder.middle.0.residual.0.gamma": "the VAE of Wan, which SkyReels-V2 uses; load it with core's Load VAE",
    "decoder.": "the VAE of another model; load it with core's Load VAE",
}
"""What a file is that has such a key; the first match counts."""


class StreamedMagiVAE(MagiVAE):
    """The network behind the host's interface for models that take pixels piece by piece (`comfy_has_chunked_io`) and
    tile by themselves: only twelve frames at a time are on the device, so a long video needs no more of its memory than
    a short one."""

    comfy_has_chunked_io = True

    def encode(self, video: Tensor, device: torch.device) -> Tensor:  # type: ignore[override]  # as the host streams
        """Latents [B, 16, F, h, w] on `device` of video in [-1, 1], [B, 3, 4F, 8h, 8w] or one image, on any device."""
        latents = []
        for part in video.split(TIME * TILE_FRAMES, 2):
            comfy.model_management.throw_exception_if_processing_interrupted()
            latents.append(super().encode(part.to(device)))
        return torch.cat(latents, 2)

    def decode(self, means: Tensor, output_buffer: Tensor) -> None:  # type: ignore[override]  # as the host streams
        """Write the video of unscaled latents [B, 16, F, h, w] into `output_buffer` [B, 3, 4F, 8h, 8w] (F = 1: one
        frame), of any dtype, on any device."""
        for part, pixels in zip(means.split(TILE_FRAMES, 2), output_buffer.split(TIME * TILE_FRAMES, 2)):
            comfy.model_management.throw_exception_if_processing_interrupted()
            pixels.copy_(self.decode_part(part)[:, :, : pixels.shape[2]])

    def decode_output_shape(self, latents: torch.Size) -> tuple[int, ...]:
        batch, _, frames, height, width = latents
        return batch, 3, pixel_frames(frames), SPACE * height, SPACE * width

    def encode_tiled(self, video: Tensor, **tiles) -> Tensor:
        """The same as `encode`: the tiles are those of the release, whatever the host asks for."""
        return self.encode(video, video.device)

    def decode_tiled(self, means: Tensor, **tiles) -> Tensor:
        """The same as `decode`, as a tensor [B, 3, 4F, 8h, 8w] in the memory of the CPU."""
        video = torch.empty(self.decode_output_shape(means.shape), dtype=means.dtype)
        self.decode(means, video)
        return video


class MagiVideoVAE(comfy.sd.VAE):
    """Works in core's VAE Encode, VAE Decode and their tiled forms, which give the same: the network has tiles of its
    own.

    `state` in the published layout. 4n frames are n latent frames and back; one image is one latent frame and back.
    """

    def __init__(self, config: MagiVaeConfig, state: dict[str, Tensor]):
        self.device = comfy.model_management.vae_device()
        self.output_device = comfy.model_management.intermediate_device()
        self.working_dtypes = [torch.bfloat16, torch.float32]
        self.vae_dtype = comfy.model_management.vae_dtype(self.device, self.working_dtypes)
        with torch.device("meta"):
            self.first_stage_model = StreamedMagiVAE(config).eval()
        weights = {key: state[key].to(self.vae_dtype, copy=True) for key in self.first_stage_model.state_dict()}
        self.first_stage_model.load_state_dict(weights, assign=True)
        # Plain torch layers have to be on one device, so the host may unload the network, but not split it.
        self.disable_offload = True
        self.patcher = comfy.model_patcher.ModelPatcher(
            self.first_stage_model, load_device=self.device, offload_device=comfy.model_management.vae_offload_device()
        )
        self.latent_dim, self.latent_channels, self.output_channels = 3, config.channels, 3
        self.upscale_ratio = (pixel_frames, SPACE, SPACE)
        self.downscale_ratio = (lambda frames: max(1, frames // TIME), SPACE, SPACE)
        self.upscale_index_formula = self.downscale_index_formula = (TIME, SPACE, SPACE)
        self.process_input = lambda image: (image * 2).sub_(1)
        self.process_output = lambda image: image.add_(1).div_(2).clamp_(0, 1)
        self.handles_tiling = self.crop_input = True
        self.not_video = False
        self.pad_channel_value = self.extra_1d_channel = self.format_encoded = self.size = None
        self.audio_sample_rate = 44100

    def decode(self, samples_in: Tensor, vae_options: dict = {}) -> Tensor:
        """Unscaled before the host rounds to the network's dtype."""
        return super().decode(unscaled(samples_in), vae_options)

    def decode_tiled(self, samples: Tensor, **tiles) -> Tensor:
        return super().decode_tiled(unscaled(samples), **tiles)

    def vae_encode_crop_pixels(self, pixels: Tensor) -> Tensor:
        """Images [frames, H, W, channels], cut to sides that are multiples of 8 and to one image or a multiple of 4
        frames."""
        frames = len(pixels)
        kept = max(1, frames - frames % TIME)
        if kept != frames:
            logging.warning(
                "SCOPE: the MAGI-1 VAE takes one image or a multiple of %d frames; of %d frames the first %d are"
                " encoded.",
                TIME,
                frames,
                kept,
            )
        return super().vae_encode_crop_pixels(pixels[:kept])

    def memory_used_encode(self, shape: torch.Size, dtype: torch.dtype) -> int:
        """Bytes on the device for video [B, 3, frames, H, W], for an item of the batch: one tile, and the video, which
        the host loads as a whole in tiled encoding."""
        frames, height, width = shape[2:]
        return (
            self.tile_bytes(ceil(frames / TIME), height // SPACE, width // SPACE, dtype, 15)
            + 3 * frames * height * width * dtype.itemsize
        )

    def memory_used_decode(self, shape: torch.Size, dtype: torch.dtype) -> int:
        """Bytes on the device for latents [B, 16, F, h, w], for an item of the batch: one tile beside the others of its
        twelve frames, or these as tiles, blended tiles and rows; and the whole result if it stays there."""
        frames, height, width = shape[2:]
        pixels = 3 * TIME * SPACE**2 * frames * height * width
        part = pixels * min(frames, TILE_FRAMES) // frames * dtype.itemsize
        result = pixels * self.vae_output_dtype().itemsize if self.output_device == self.device else 0
        return max(self.tile_bytes(frames, height, width, dtype, 13) + 2 * part, 6 * part) + result

    def tile_bytes(self, frames: int, height: int, width: int, dtype: torch.dtype, copies: int) -> int:
        """Bytes for one tile of latents of this size. At its widest, at the end of attention, the decoder holds 13
        `copies` of [tokens, dim]: its tokens and their positions, q, k, v before, while and after they are normalised,
        the result and its projection. The encoder still has its patches, and the results of the tiles before amount to
        less than one more."""
        tokens = min(frames, TILE_FRAMES) * min(height, TILE) * min(width, TILE) + 1
        return copies * tokens * self.first_stage_model.config.dim * dtype.itemsize


def vae_names() -> list[str]:
    """Files of models/vae."""
    return folder_paths.get_filename_list("vae")


def vae_path(name: str) -> str:
    return folder_paths.get_full_path_or_raise("vae", name)


def load_magi_vae(path: str) -> MagiVideoVAE:
    """The VAE in the safetensors file at `path`, in the published layout with or without a prefix. Raises
    ModelFileError."""
    name = Path(path).name
    if not path.endswith((".safetensors", ".sft")):
        raise ModelFileError(
            f"{name} is not a safetensors file, as the MAGI-1 VAE is, which is"
            " ckpt/vae/diffusion_pytorch_model.safetensors of sand-ai/MAGI-1; load other VAEs with core's Load VAE"
        )
    shapes = read_header([path])
    prefix = next((key.removesuffix(FIRST_KEY) for key in shapes if key.endswith(FIRST_KEY)), "")
    published = {key.removeprefix(prefix): shape for key, shape in shapes.items()}
    config = config_of(published)
    if config is None:
        what = next(
            (what for mark, what in OTHER_FILES.items() if any(mark in key for key in shapes)), "no autoencoder"
        )
        raise ModelFileError(
            f"{name} is not the MAGI-1 VAE, which is ckpt/vae/diffusion_pytorch_model.safetensors of sand-ai/MAGI-1; "
            f"this file seems to be {what}"
        )
    with torch.device("meta"):
        check_shapes(published, MagiVAE(config), name, "the MAGI-1 VAE")
    state = to_official(comfy.utils.load_torch_file(path))
    vae = MagiVideoVAE(config, {key.removeprefix(prefix): value for key, value in state.items()})
    vae.patcher.cached_patcher_init = (lambda path: load_magi_vae(path).patcher, (path,))
    return vae
