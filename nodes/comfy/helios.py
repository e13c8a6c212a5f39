"""Helios as a model of the host: its transformer of the host's own Wan blocks, and the guider as the model of the
sampling loop.

What a call is about (the history of a chunk) travels in the transformer options, where hooks and wrappers of other
nodes leave it alone. LoRA, fp8 storage, offload and attention backends are the host's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.supported_models_base
import comfy.utils
import numpy as np
import torch
from comfy.ldm.wan.model import WanAttentionBlock, WanModel, sinusoidal_embedding_1d
from torch import Tensor

from ...scope_core.families.helios import (
    CHUNK,
    HELIOS,
    PATCH,
    PIXELS,
    TIME_SHIFTS,
    TOKENS,
    History,
    HistoryModel,
    draw_noise,
    shift_of,
)
from ...scope_core.loop.residuals import BlockPass
from ...scope_core.networks.helios import BEFORE, PARTS, history_rotations, whole
from ...scope_core.networks.skyreels_keys import HEAD_WIDTH
from ...scope_core.schedule import ARSchedule, ScheduleError
from .families import HostFamily, register
from .skyreels import wrap_blocks
from .unrolling import Unrolling

KEY = "scope_history"
HISTORY_SHARE = 0.28
"""Tokens of the history for each one of the chunk."""


class NotByChunksError(ValueError):
    """Helios was called by a sampler that does not know histories."""


@dataclass(frozen=True)
class HistoryCall:
    """One call of the transformer."""

    history: History
    count: Callable[[int], None]
    """Called with the number of guidance branches."""


class HeliosBlock(WanAttentionBlock):
    """Two kinds of tokens: those of the history come first, stand at noise level 0 and do not read the prompt."""

    def forward(self, x, e, freqs, context, transformer_options={}):
        """x [B, L, dim]; e [B, 2, 6, dim] of history and chunk; freqs of all tokens; context [B, L2, dim]."""
        known = transformer_options["scope_history_tokens"]
        table = comfy.model_management.cast_to(self.modulation, dtype=x.dtype, device=x.device)
        shift, scale, gate, late_shift, late_scale, late_gate = (table + e).unbind(2)

        y = modulated(self.norm1(x), shift, scale, known)
        y = self.self_attn(y, freqs, transformer_options=transformer_options)
        x = added(x, y, gate, known)
        read = self.cross_attn(self.norm3(x[:, known:]), context, transformer_options=transformer_options)
        x = torch.cat([x[:, :known], x[:, known:] + read], 1)
        for patch in transformer_options.get("patches", {}).get("attn2_patch", []):
            x = patch({"x": x, "transformer_options": transformer_options})
        return added(x, self.ffn(modulated(self.norm2(x), late_shift, late_scale, known)), late_gate, known)


def modulated(x: Tensor, shift: Tensor, scale: Tensor, known: int) -> Tensor:
    """x (1 + scale) + shift, with a row [B, 2, dim] each for the first `known` tokens and for the others."""
    return torch.cat(
        [
            torch.addcmul(shift[:, i : i + 1], part, 1 + scale[:, i : i + 1])
            for i, part in enumerate(x.tensor_split([known], 1))
        ],
        1,
    )


def added(x: Tensor, y: Tensor, gate: Tensor, known: int) -> Tensor:
    """x + gate y, with gates as in `modulated`."""
    return torch.cat(
        [
            torch.addcmul(old, new, gate[:, i : i + 1])
            for i, (old, new) in enumerate(zip(x.tensor_split([known], 1), y.tensor_split([known], 1)))
        ],
        1,
    )


class HeliosTransformer(WanModel):
    """The history in front of the chunk, embedded by convolutions of its own."""

    def __init__(self, device=None, operations=None, **config):
        super().__init__(wan_attn_block_class=HeliosBlock, device=device, operations=operations, **config)
        for name, side in PARTS.items():
            patch = (side, 2 * side, 2 * side)
            convolution = operations.Conv3d(16, self.dim, patch, patch, device=device, dtype=torch.float32)
            setattr(self, f"patch_{name}", convolution)

    def forward_orig(self, x, t, context, transformer_options={}, **kwargs):
        """Velocity [B, C, F, H, W] of a chunk x at timesteps t [B]."""
        history: History = transformer_options[KEY].history
        chunk = self.patch_embedding(x.float()).to(x.dtype)
        grid = transformer_options["grid_sizes"] = chunk.shape[2:]
        past = [
            getattr(self, f"patch_{name}")(whole(for_branches(latents, x), side, 2 * side).float()).to(x.dtype)
            for (name, side), latents in zip(PARTS.items(), history)
        ]
        hidden = torch.cat([part.flatten(2).transpose(1, 2) for part in (*past, chunk)], 1)
        known = transformer_options["scope_history_tokens"] = hidden.shape[1] - grid.numel()

        times = torch.stack([torch.zeros_like(t), t], 1)
        e = self.time_embedding(sinusoidal_embedding_1d(self.freq_dim, times.flatten()).to(x.dtype))
        e = e.unflatten(0, times.shape)
        e0 = self.time_projection(e).unflatten(2, (6, self.dim))
        context = self.text_embedding(context)

        places = self.rope_encode(
            BEFORE + grid[0], *x.shape[3:], device=x.device, dtype=x.dtype, transformer_options=transformer_options
        )
        places = places[0, :, 0].unflatten(0, (BEFORE + grid[0], *grid[1:]))
        freqs = history_rotations(places)[None, :, None]

        patches, replaced = (transformer_options.get(name, {}) for name in ("patches", "patches_replace"))
        transformer_options["total_blocks"], transformer_options["block_type"] = len(self.blocks), "double"
        for i, block in enumerate(self.blocks):
            transformer_options["block_index"] = i

            def run(args: dict, block: HeliosBlock = block) -> dict:
                made = block(
                    args["img"],
                    e=args["vec"],
                    freqs=args["pe"],
                    context=args["txt"],
                    transformer_options=args["transformer_options"],
                )
                return {"img": made}

            args = {"img": hidden, "txt": context, "vec": e0, "pe": freqs, "transformer_options": transformer_options}
            around = replaced.get("dit", {}).get(("double_block", i))
            hidden = (around(args, {"original_block": run}) if around else run(args))["img"]
            for patch in patches.get("double_block", []):
                seen = {"img": hidden, "x": x, "vec": e, "block_index": i, "img_offset": known}
                hidden = patch({**seen, "transformer_options": transformer_options})["img"]
        return self.unpatchify(self.head(hidden[:, known:], e[:, 1:]), grid)


def for_branches(latents: Tensor, x: Tensor) -> Tensor:
    """Latents of the videos of a run, for all guidance branches x of a call."""
    return latents.to(x).repeat(x.shape[0] // latents.shape[0], 1, 1, 1, 1)


class HeliosSampling(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
    """Flow matching whose shift follows the size of the video."""


class HeliosSettings(comfy.supported_models_base.BASE):
    """What the host's BaseModel wants to know."""

    unet_extra_config: dict[str, Any] = {}
    sampling_settings = {"shift": shift_of(TOKENS)}
    latent_format = comfy.latent_formats.Wan21
    supported_inference_dtypes = [torch.float16, torch.bfloat16, torch.float32]

    def __init__(self, unet_config: dict[str, Any]):
        super().__init__(unet_config)
        self.memory_usage_factor = unet_config["dim"] / 2222 * (1 + HISTORY_SHARE)


class HeliosModel(comfy.model_base.BaseModel):
    def __init__(self, settings: HeliosSettings):
        super().__init__(settings, comfy.model_base.ModelType.FLOW, unet_model=HeliosTransformer)
        self.model_sampling = HeliosSampling(settings)

    def _apply_model(self, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options={}, **conds):
        call: HistoryCall | None = transformer_options.get(KEY)
        if call is None:
            raise NotByChunksError(
                "Helios makes a video chunk by chunk and looks back on what it made, which this sampler cannot do;"
                " sample it with SCOPE Sampler, or with SCOPE Sampler (Advanced) in SamplerCustomAdvanced"
            )
        call.count(len(transformer_options["cond_or_uncond"]))
        return super()._apply_model(x, t, c_concat, c_crossattn, control, transformer_options, **conds)

    def extra_conds(self, **kwargs) -> dict[str, Any]:
        return {**super().extra_conds(**kwargs), "c_crossattn": comfy.conds.CONDRegular(kwargs["cross_attn"])}


class HostNetwork(HistoryModel):
    """The guider as the model of the sampling loop."""

    def __init__(self, guider, model_options: dict, seed: int | None):
        self.guider, self.model_options, self.seed = guider, model_options, seed
        self.model: HeliosModel = guider.inner_model
        self.network: HeliosTransformer = self.model.diffusion_model
        self.layers = len(self.network.blocks)
        self.progress = 0.0

    def velocity(self, x: Tensor, sigma: float, history: History, around: BlockPass | None) -> Tensor:
        counted: list[int] = []
        options = comfy.model_patcher.create_model_options_clone(self.model_options)
        options["transformer_options"][KEY] = HistoryCall(history, counted.append)
        if around is not None:
            wrap_blocks(options, self.layers, around, self.guider)
        level = torch.full((x.shape[0],), sigma, device=x.device, dtype=torch.float32)
        x0 = self.guider(x, level, model_options=options, seed=self.seed)
        self.forwards += sum(counted) if around is None else around.take() / self.layers
        return (x - x0) / sigma

    def features(self, name: str, sigma: np.ndarray) -> Tensor:
        t = torch.as_tensor(1000 * sigma, dtype=torch.float32, device=self.guider.model_patcher.load_device)
        dtype = self.model.get_dtype_inference()
        with torch.no_grad():
            e = self.network.time_embedding(sinusoidal_embedding_1d(self.network.freq_dim, t).to(dtype))
            return (e if name == "embedding" else self.network.time_projection(e)).float()

    def patch_embedding(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.network.patch_embedding(x.float())


def make_patcher(
    config: dict[str, int], state: dict[str, Tensor], dtype: torch.dtype | None, disable_dynamic: bool = False
):
    """ModelPatcher of weights in the layout of Wan. `dtype` stores them; by default the host chooses as the file has
    them."""
    management = comfy.model_management
    load_device, offload_device = management.get_torch_device(), management.unet_offload_device()
    supported, quantised = HeliosSettings.supported_inference_dtypes, comfy.utils.detect_layer_quantization(state, "")
    stored = dtype or management.unet_dtype(
        model_params=comfy.utils.calculate_parameters(state),
        supported_dtypes=supported,
        weight_dtype=None if quantised else comfy.utils.weight_dtype(state),
    )
    settings = HeliosSettings(config)
    settings.quant_config = quantised
    settings.set_inference_dtype(
        stored, management.unet_manual_cast(None if quantised else stored, load_device, supported), load_device
    )
    model = HeliosModel(settings)
    patcher = (comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher)(
        model, load_device, offload_device
    )
    if not management.is_device_cpu(offload_device):
        model.to(offload_device)
    model.load_model_weights(dict(state), "", assign=patcher.is_dynamic())
    return patcher


def config_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Arguments of HeliosTransformer for weights of these shapes, in the layout of Wan. Raises KeyError."""
    dim = shapes["patch_long.bias"][0]
    return {
        "dim": dim,
        "ffn_dim": shapes["blocks.0.ffn.0.bias"][0],
        "text_dim": shapes["text_embedding.0.weight"][1],
        "num_heads": dim // HEAD_WIDTH,
        "num_layers": 1 + max(int(key.split(".")[1]) for key in shapes if key.startswith("blocks.")),
    }


@dataclass(frozen=True)
class Chunks(Unrolling):
    """Chunks that look back on each other."""

    family = HELIOS
    node = "Helios Schedule"
    chunk = CHUNK
    patch = 2
    start_input = "images"

    tokens: int = TOKENS
    """Of a chunk."""
    time_shift: str = TIME_SHIFTS[0]
    start: Tensor | None = None
    """Frames before the video [B, C, 1 + N, H, W], see `families.helios.HistoryModel`."""
    note: str = ""
    end = None
    vae = None

    def schedule(
        self, frames: int, steps: int, shift: float | None = None, levels: tuple[float, ...] | None = None
    ) -> ARSchedule:
        return HELIOS.schedule(frames, steps, shift or 0.0, self.tokens, self.time_shift, levels)

    def sized(self, latent: Tensor) -> "Chunks":
        return replace(self, tokens=CHUNK * (latent.shape[3] // 2) * (latent.shape[4] // 2))

    def noise(self, samples: Tensor, seed: int, indices: Any) -> Tensor:
        """As the release draws it, chunk by chunk; videos chosen from a batch as the host draws them."""
        if indices is not None:
            return super().noise(samples, seed, indices)
        start = None if self.start is None else comfy.utils.repeat_to_batch_size(self.start, samples.shape[0])
        return draw_noise(tuple(samples.shape), seed, start)


def unroll_lengths(length: int, width: int, height: int, time_shift: str, start: Tensor | None) -> tuple[Chunks, int]:
    """What the widgets of Helios Schedule stand for, and the latent frames that fit."""
    frames = HELIOS.schedule(HELIOS.latent_frames(length)).frames
    fits, tokens = HELIOS.pixel_frames(frames), CHUNK * (width // PATCH) * (height // PATCH)
    note = f"{length} frames became {fits}: a chunk has {PIXELS}" if fits != length else ""
    return Chunks(tokens, time_shift, start, note), frames


def look_back(vae: Any, images: Tensor, width: int, height: int) -> Tensor:
    """Frames that a video starts from [1, C, 1 + N, H, W], of images [T, H, W, C]: of one image, which is to be
    animated, or of a video that goes on. As in the release an image counts as a chunk in which nothing moves, and a
    video is encoded in chunks counted from its end. Raises ScheduleError."""
    if vae is None:
        raise ScheduleError("`images` is connected, but nothing encodes them; connect the Wan 2.1 VAE to `vae`")
    if tuple(images.shape[1:3]) != (height, width):
        raise ScheduleError(
            f"`images` is {images.shape[2]} x {images.shape[1]} and the video {width} x {height}; scale the images, or"
            " set the video's size to theirs"
        )
    count = len(images)
    if 1 < count < PIXELS:
        raise ScheduleError(
            f"`images` has {count} frames; give one, to be animated, or at least {PIXELS} of a video that is to go on"
        )
    first = vae.encode(images[:1, ..., :3])
    if count == 1:
        return torch.cat([first, vae.encode(images[..., :3].expand(PIXELS, -1, -1, -1))[:, :, -1:]], 2)
    chunks = images[count % PIXELS :, ..., :3].split(PIXELS)
    return torch.cat([first, *(vae.encode(chunk) for chunk in chunks)], 2)


class HostHelios(HostFamily):
    family = HELIOS
    unrolling = Chunks
    least_guidance = 1.0

    def owns(self, patcher: Any) -> bool:
        return isinstance(patcher.model, HeliosModel)

    def model_sampling(self, patcher: Any, shift: float) -> HeliosSampling:
        sampling = HeliosSampling(patcher.model.model_config)
        sampling.set_parameters(shift or shift_of(TOKENS))
        return sampling

    def schedule(self, patcher: Any, unrolling: Unrolling, frames: int, steps: int, shift: float) -> ARSchedule:
        schedule = super().schedule(patcher, unrolling, frames, steps, shift)
        self.set_shift(patcher, schedule.shift)
        return schedule

    def model(
        self, guider: Any, options: dict, seed: int | None, schedule: ARSchedule, unrolling: Chunks
    ) -> HostNetwork:
        return HostNetwork(guider, options, seed)


register(HostHelios())
