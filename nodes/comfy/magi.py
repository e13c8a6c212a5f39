"""MAGI-1 as a model of the host: its transformer behind a BaseModel, called chunk by chunk through the user's guider.

What a call is about (chunks, times, ranges, cache) travels with the conditioning, since the guidance branches of an
iteration, which may be one call of the host, differ in it. LoRA, fp8 storage, offload, attention backends and several
GPUs are the host's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import comfy.conds
import comfy.float
import comfy.latent_formats
import comfy.ldm.modules.attention
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.ops
import comfy.samplers
import comfy.supported_models_base
import comfy.utils
import node_helpers
import numpy as np
import torch
from torch import Tensor

from ...scope_core.families.magi import CHUNK, MAGI, MAPPED_STEPS, STRIDE, Call, ChunkModel, Reach, step_size
from ...scope_core.networks.chunk_cache import ChunkCache
from ...scope_core.networks.compression import Compression
from ...scope_core.networks.magi import Fp8Linear, MagiConfig, MagiTransformer, forward_bytes, kv_bytes
from ...scope_core.schedule import ARSchedule, ScheduleError
from . import room
from .families import HostFamily, register
from .unrolling import Unrolling

KEY = "scope_chunks"
"""Of what a call is about, in its conditioning."""
GRID = MAPPED_STEPS
"""Levels of the table that the host's schedulers pick from; `simple` gives the released levels for all steps that
divide it."""
NULL_TOKENS = 50
"""Rows of the null caption that are shown."""


class NotByChunksError(ValueError):
    """MAGI-1 was called by a sampler that does not know chunks, or with conditioning that it cannot take."""


@dataclass(frozen=True, eq=False)
class ChunkCall:
    """One call of the transformer (see MagiTransformer.forward)."""

    times: list[float]
    chunks: list[int]
    ranges: list[tuple[int, int]]
    text: list[int | None]
    """The chunk whose caption is told, None for the null caption."""
    cache: ChunkCache | None
    keep: list[int]
    dt: float | None
    dropped: bool
    last: int
    """Last chunk of the video."""
    around: Callable | None
    count: Callable[[int], None]
    """Called with the number of chunks forwarded; with `around`, at every block that runs."""


class MagiLatents(comfy.latent_formats.LatentFormat):
    """16 channels, 8x smaller in space and 4x in time; scaled by the autoencoder itself."""

    latent_channels = 16
    latent_dimensions = 3
    spacial_downscale_ratio = 8
    temporal_downscale_ratio = 4


class MagiSampling(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
    """Flow matching on MAGI-1's noise levels."""

    def set_parameters(self, shift: float = 3.0, timesteps: int = GRID, multiplier: int = 1000) -> None:
        self.shift, self.multiplier = shift, multiplier
        levels = MAGI.sigmas(timesteps, shift, MAGI.tables[0])[:-1]
        self.register_buffer("sigmas", torch.tensor(levels[::-1].copy(), dtype=torch.float32))

    def percent_to_sigma(self, percent: float) -> float:
        square = min(max(percent, 0.0), 1.0) ** 2
        return 1 - square / (self.shift + (1 - self.shift) * square)


class HostFp8Linear(Fp8Linear, comfy.ops.CastWeightBiasOp):
    """Offloads like the host's own layers, and takes LoRAs in real units."""

    weight: torch.nn.Parameter
    bias = None

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, stream = comfy.ops.cast_bias_weight(
            self, device=x.device, dtype=self.weight.dtype, offloadable=True
        )
        y = self.product(x, weight[0])
        comfy.ops.uncast_bias_weight(self, weight, bias, stream)
        return y

    def convert_weight(self, weight: Tensor, inplace: bool = False, **kwargs) -> Tensor:
        return weight.float() * self.gain().to(weight.device)

    def set_weight(
        self,
        weight: Tensor,
        inplace_update: bool = False,
        seed: int | None = None,
        return_weight: bool = False,
        **kwargs,
    ) -> Tensor | None:
        weight = comfy.float.stochastic_rounding(weight / self.gain().to(weight.device), self.weight.dtype, seed=seed)
        if return_weight:
            return weight
        self.weight = torch.nn.Parameter(weight, requires_grad=False)
        return None


class Operations(comfy.ops.manual_cast):
    Fp8Linear = HostFp8Linear


class MagiSettings(comfy.supported_models_base.BASE):
    """What the host's BaseModel wants to know."""

    unet_extra_config: dict[str, Any] = {}
    sampling_settings = {"shift": 3.0}
    latent_format = MagiLatents
    supported_inference_dtypes = [torch.bfloat16, torch.float32]
    custom_operations = Operations

    def set_inference_dtype(self, dtype: torch.dtype, manual_cast_dtype: torch.dtype | None, device=None) -> None:
        self.unet_config |= {"dtype": manual_cast_dtype or dtype, "linear_dtype": dtype}


class MagiModel(comfy.model_base.BaseModel):
    """`distilled`: one branch and no guidance; it is told its number of steps."""

    def __init__(self, settings: MagiSettings, distilled: bool):
        super().__init__(settings, comfy.model_base.ModelType.FLOW, unet_model=MagiTransformer)
        self.distilled = distilled
        self.model_sampling = MagiSampling(settings)

    def _apply_model(
        self,
        x: Tensor,
        t: Tensor,
        c_concat=None,
        c_crossattn=None,
        control=None,
        transformer_options: dict = {},
        scope_chunks: ChunkCall | None = None,
        **conds,
    ):
        """Velocity clean - noise [B, C, 6r, H, W]; x stays in fp32, as released."""
        call = scope_chunks
        if call is None:
            raise NotByChunksError(
                "MAGI-1 goes through the noise levels chunk by chunk, which this sampler cannot do; sample it with"
                " SCOPE Sampler, or with SCOPE Sampler (Advanced) in SamplerCustomAdvanced"
            )
        network: MagiTransformer = self.diffusion_model
        if call.around is None:
            call.count(len(call.chunks))
        context, mask = captions(network.y_embedder.null_caption_embedding, call, c_crossattn, **conds)
        attend = partial(comfy.ldm.modules.attention.optimized_attention, transformer_options=transformer_options)
        return network(
            x.float(),
            torch.tensor(call.times).to(x.device, non_blocking=True).expand(x.shape[0], -1),
            call.chunks,
            call.ranges,
            context,
            mask,
            call.cache,
            call.keep,
            call.dt,
            call.dropped,
            wrapped_blocks(call, transformer_options),
            attend,
        )

    def extra_conds(self, **kwargs) -> dict[str, Any]:
        text = kwargs["cross_attn"]
        width = self.diffusion_model.config.caption_dim
        if text.shape[-1] != width:
            raise NotByChunksError(
                f"the prompt was encoded into {text.shape[-1]} features, this model takes {width}; MAGI-1 needs"
                " T5-v1.1-XXL: CLIPLoader with type pixart, then MAGI-1 Prompt"
            )
        mask = kwargs.get("attention_mask")
        mask = torch.ones(text.shape[:2]) if mask is None else mask.reshape(text.shape[0], -1)[:, : text.shape[1]]
        special = {
            name: comfy.conds.CONDConstant(kwargs[f"magi_{name}"])
            for name in ("special", "duration", "negative")
            if f"magi_{name}" in kwargs
        }
        return {"c_crossattn": comfy.conds.CONDRegular(text), "mask": comfy.conds.CONDRegular(mask), **special}

    def extra_conds_shapes(self, **kwargs) -> dict[str, list[int]]:
        return kwargs.get("magi_sizes", {})

    def memory_required(self, input_shape, cond_shapes: dict = {}) -> float:
        """Bytes beside the weights. Where a sampler said what its calls are like (`with_sizes`), that counts; else all
        frames at once."""
        batch, frames, height, width = (
            cond_shapes["magi_call"][0] if "magi_call" in cond_shapes else (input_shape[0], *input_shape[2:])
        )
        tokens = batch * frames * (height // 2) * (width // 2)
        network = self.diffusion_model
        return forward_bytes(network.config, tokens, tokens, network.dtype) + (
            cond_shapes["magi_cache"][0][0] if "magi_cache" in cond_shapes else 0
        )


def with_sizes(conditioning: list, noise: Tensor, model: MagiModel, unrolling: "ChunkWindow") -> list:
    """Conditioning that tells `memory_required` what the calls of a run are like: the window, one chunk more that is
    shown clean and one that is shown twice, and the keys and values that stay on the GPU. Those are of the chunks in
    the works and of all that the oldest reads; with guidance the branch with text keeps the former once more, and
    until a call is done what it replaces."""
    batch, _, frames, height, width = noise.shape
    chunks, window, reach, network = frames // CHUNK, unrolling.window, unrolling.reach, model.diffusion_model
    kept = min(chunks, window + max(*reach.noisy, reach.clean)) if reach.noisy else chunks
    kept += 0 if model.distilled else min(chunks, window + 1)
    tokens = batch * kept * CHUNK * (height // 2) * (width // 2)
    cache = min(unrolling.kv_bytes, kv_bytes(network.config, tokens, network.dtype))
    return node_helpers.conditioning_set_values(
        conditioning,
        {
            "magi_sizes": {
                "magi_call": [batch, CHUNK * min(chunks + 1, window + 2), height, width],
                "magi_cache": [int(cache)],
            }
        },
    )


def captions(
    null: Tensor,
    call: ChunkCall,
    text: Tensor,
    mask: Tensor,
    special: Tensor | None = None,
    duration: Tensor | None = None,
    negative: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Caption of every chunk [B, r, L, D], and in the CPU's memory the tokens to attend to [B, r, L].

    Special tokens come first, that of the duration before all others; together at most as many as the null caption has.
    A prompt without a token is the null caption. `negative` tokens stand before every null caption, in whatever call.
    docs/magi1.md 2.4.
    """
    batch, most, mask = len(text), len(null), mask.cpu().bool()
    words = text.to(null, non_blocking=True).float()
    null_rows = null.float() if negative is None else torch.cat([negative.to(null).float(), null.float()])
    nothing = (null_rows[None, :NULL_TOKENS].expand(batch, -1, -1), torch.ones(batch, NULL_TOKENS, dtype=torch.bool))

    def told(chunk: int | None) -> tuple[Tensor, Tensor]:
        if chunk is None or not mask.any():
            return nothing
        rows = [] if duration is None else [duration[min(call.last - chunk, len(duration) - 1)][None]]
        rows += [] if special is None else [special]
        first = (
            torch.cat(rows).to(null, non_blocking=True).float() if rows else null.new_zeros(0, null.shape[1]).float()
        )
        known = torch.ones(batch, len(first), dtype=torch.bool)
        return torch.cat([first.expand(batch, -1, -1), words], 1)[:, :most], torch.cat([known, mask], 1)[:, :most]

    parts = [told(chunk) for chunk in call.text]
    longest = max(rows.shape[1] for rows, _ in parts)
    return (
        torch.stack([torch.nn.functional.pad(rows, (0, 0, 0, longest - rows.shape[1])) for rows, _ in parts], 1),
        torch.stack([torch.nn.functional.pad(known, (0, longest - known.shape[1])) for _, known in parts], 1),
    )


def wrapped_blocks(call: ChunkCall, transformer_options: dict) -> Callable | None:
    """The transformer's `around`: the call's own, outside the host's block patches."""
    replaced, around = transformer_options.get("patches_replace", {}).get("dit", {}), call.around
    if not replaced and around is None:
        return None

    def patched(index: int, hidden: Tensor, block: Callable) -> Tensor:
        if around is not None:
            call.count(len(call.chunks))
        if ("double_block", index) not in replaced:
            return block(hidden)
        args = {"img": hidden, "transformer_options": transformer_options}
        return replaced["double_block", index](args, {"original_block": lambda args: {"img": block(args["img"])}})[
            "img"
        ]

    if around is None:
        return patched
    return lambda index, hidden, block: around(index, hidden, lambda hidden: patched(index, hidden, block))


class HostNetwork(ChunkModel):
    """The guider as the model of the sampling loop."""

    def __init__(self, guider, model_options: dict, steps: int, frames: int, unrolling: "ChunkWindow"):
        self.guider, self.model_options = guider, model_options
        self.model: MagiModel = guider.inner_model
        self.transformer: MagiTransformer = self.model.diffusion_model
        self.layers = len(self.transformer.blocks)
        self.reach, self.compress = unrolling.reach, unrolling.compress
        self.kv_bytes = min(unrolling.kv_bytes, room.for_keys_and_values(guider.model_patcher))
        self.text_scale = None if self.model.distilled else guider.cfg
        self.dt = step_size(steps) if self.model.distilled else None
        self.last = frames // CHUNK - 1
        self.progress = 0.0
        for name, conds in guider.conds.items():
            if len(conds) != 1:
                raise NotByChunksError(
                    f"`{name}` has {len(conds)} parts, and MAGI-1 keeps keys and values of one prompt; "
                    "remove Conditioning (Combine) nodes"
                )

    def forwarded(self, chunks: float) -> None:
        """They are counted where the host calls the transformer."""

    def __call__(self, *call: Any) -> Tensor:
        (made,) = self.together([Call(*call)])
        return made

    def together(self, calls: Sequence[Call]) -> list[Tensor]:
        """See `ChunkModel`. Calls of as many chunks are one call of the host, which runs them at the same time where it
        has several devices."""
        made: dict[int, Tensor] = {}
        for size in dict.fromkeys(len(call.chunks) for call in calls):
            alike = [place for place, call in enumerate(calls) if len(call.chunks) == size]
            if len(alike) == 3 and len(self.model_options.get("multigpu_clones", ())) == 2:
                # The host's first device takes the first two. The branch that others read keys and values of is always
                # on the second one, and the one that keeps none beside that with text.
                alike = [alike[0], alike[2], alike[1]]
            made |= zip(alike, self.evaluate([calls[place] for place in alike]))
        return [made[place] for place in range(len(calls))]

    def evaluate(self, calls: Sequence[Call]) -> list[Tensor]:
        counted: list[int] = []
        x, around = calls[0].x, calls[0].around
        progress = self.model.model_sampling.percent_to_sigma(self.progress)
        sigma = torch.full((x.shape[0],), progress, device=x.device, dtype=torch.float32)
        made = comfy.samplers.calc_cond_batch(
            self.model,
            [self.told(call, counted.append) for call in calls],
            x,
            sigma,
            comfy.model_patcher.create_model_options_clone(self.model_options),
        )
        self.forwards += sum(counted) / (1 if around is None else self.layers)
        return made

    def told(self, call: Call, count: Callable[[int], None]) -> list[dict[str, Any]]:
        """The conditioning of a call, with what it is about."""
        about = ChunkCall(
            list(call.times),
            list(call.chunks),
            list(call.ranges),
            list(call.text),
            call.cache,
            list(call.keep),
            call.dt,
            call.dropped,
            self.last,
            call.around,
            count,
        )
        conds = self.guider.conds.get("negative" if call.dropped else "positive") or self.guider.conds["positive"]
        return [
            {**cond, "model_conds": {**cond["model_conds"], KEY: comfy.conds.CONDConstant(about)}} for cond in conds
        ]

    def features(self, name: str, sigma: np.ndarray) -> Tensor:
        return self.transformer.features(name, sigma, self.dt).float()

    def patch_embedding(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.transformer.patch_embedding(x)


def make_patcher(
    config: MagiConfig,
    state: dict[str, Tensor],
    distilled: bool,
    dtype: torch.dtype | None,
    disable_dynamic: bool = False,
):
    """ModelPatcher of weights in the published layout. `dtype` stores the linears of the blocks; by default the host
    chooses as the file has them, and a linear_proj in fp32 stays so, as the only one that is computed in it."""
    management = comfy.model_management
    load_device, offload_device = management.get_torch_device(), management.unet_offload_device()
    supported = MagiSettings.supported_inference_dtypes
    stored = dtype or management.unet_dtype(
        model_params=comfy.utils.calculate_parameters(state),
        supported_dtypes=supported,
        weight_dtype=comfy.utils.weight_dtype(state),
    )
    computed = management.unet_manual_cast(stored, load_device, supported)
    settings = MagiSettings({"config": config})
    settings.set_inference_dtype(*((torch.bfloat16, None) if config.quantised else (stored, computed)))
    projections = (value.dtype for key, value in state.items() if key.endswith("linear_proj.weight"))
    if dtype is None and torch.float32 in projections:
        settings.unet_config["proj_dtype"] = torch.float32
    model = MagiModel(settings, distilled)
    patcher = (comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher)(
        model, load_device, offload_device
    )
    if not management.is_device_cpu(offload_device):
        model.to(offload_device)
    wanted = model.diffusion_model.state_dict()
    model.load_model_weights({key: state[key].to(wanted[key].dtype) for key in wanted}, "", assign=patcher.is_dynamic())
    return patcher


@dataclass(frozen=True)
class ChunkWindow(Unrolling):
    """Chunks that follow each other."""

    family = MAGI
    node = "MAGI-1 Schedule"
    chunk = CHUNK
    patch = 2

    window: int = 4
    """Chunks in the works at a time."""
    reach: Reach = Reach()
    table: str = MAGI.tables[0]
    kv_bytes: float = 8e9
    """Keys and values of earlier chunks that stay on the GPU."""
    compress: Compression | None = None
    start: Tensor | None = None
    vae: Any = None
    """Decodes chunks for the preview as they are finished."""
    note: str = ""
    end = None

    def schedule(
        self, frames: int, steps: int, shift: float | None = None, levels: tuple[float, ...] | None = None
    ) -> ARSchedule:
        prefix = 0 if self.start is None else self.start.shape[2]
        shift = MAGI.defaults.shift if shift is None else shift
        return MAGI.schedule(frames, steps, self.window, prefix, self.reach, self.table, shift, levels)

    def preview_vae(self) -> Any:
        return self.vae


def unroll_chunks(
    length: int,
    window: int,
    noisy: tuple[int, ...],
    shortcut: str,
    kv_gb: float,
    start: Tensor | None,
    vae: Any = None,
    kv_chunks: int = 0,
) -> tuple[ChunkWindow, int]:
    """What the widgets of MAGI-1 Schedule stand for, and the latent frames that fit. Raises ScheduleError."""
    if kv_chunks and noisy:
        raise ScheduleError(
            f"kv_chunks is {kv_chunks}, but chunks here look back {noisy[0]} chunks at most, which keeps keys and"
            " values few without it; set look_back to all, or kv_chunks to 0"
        )
    if not 0 <= kv_gb <= 512:
        raise ScheduleError(f"kv_gpu_gb is {kv_gb:g}; it has to be a number from 0 to 512, 8 is usual")
    compress = Compression(kv_chunks) if kv_chunks else None
    plan = ChunkWindow(window, Reach(noisy), f"magi {shortcut}", kv_gb * 1e9, compress, start, vae)
    asked = MAGI.latent_frames(length)
    frames = plan.whole(asked)
    plan.schedule(asked, 4 * window)
    fits = MAGI.pixel_frames(frames)
    return (
        replace(plan, note=f"{length} frames became {fits}: a chunk has {CHUNK * STRIDE}" if fits != length else ""),
        frames,
    )


class HostMagi(HostFamily):
    family = MAGI
    unrolling = ChunkWindow

    def owns(self, patcher: Any) -> bool:
        return isinstance(patcher.model, MagiModel)

    def model_sampling(self, patcher: Any, shift: float) -> MagiSampling:
        sampling = MagiSampling(patcher.model.model_config)
        sampling.set_parameters(shift)
        return sampling

    def guidance(self, patcher: Any, cfg: float) -> float:
        """Distilled models have none, whatever cfg says."""
        return 1.0 if patcher.model.distilled else cfg

    def guidances(self, cfg: float) -> tuple[float, ...]:
        return (cfg, 1.0)

    def not_split(self, unrolling: ChunkWindow) -> str:
        if unrolling.compress is None:
            return ""
        return "kv_chunks of MAGI-1 Schedule drops keys and values that all branches read, at each step"

    def conditioning(self, patcher: Any, positive: list, noise: Tensor, unrolling: ChunkWindow) -> list:
        return with_sizes(positive, noise, patcher.model, unrolling)

    def model(
        self, guider: Any, options: dict, seed: int | None, schedule: ARSchedule, unrolling: ChunkWindow
    ) -> HostNetwork:
        return HostNetwork(guider, options, schedule.steps, schedule.frames, unrolling)


register(HostMagi())
