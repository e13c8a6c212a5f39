"""SkyReels-V2 diffusion forcing on the host's own WanModel: a noise level per frame, through the user's guider.

Three hooks, all of them supported ones (docs/skyreels.md 2.5): a model_sampling that understands [B, F] noise levels,
wrappers that keep it there and hand the levels to the model, and a sampler that owns the loop. A guider only ever sees
a scalar.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management
import comfy.model_sampling
import comfy.patcher_extension
import comfy.samplers
import numpy as np
import torch
from comfy.ldm.wan.model import WanModel, sinusoidal_embedding_1d
from torch import Tensor

from ...scope_core.families.skyreels import CONDITION_NOISE, OVERLAP, SKYREELS, WINDOW, Term, snap_length, timesteps
from ...scope_core.loop.residuals import BlockPass
from ...scope_core.networks.attention import block_causal
from ...scope_core.schedule import ARSchedule, Family, ScheduleError
from ...scope_core.schedule.ar import STRIDE
from ...scope_core.settings import Settings
from . import room
from .families import MODEL_FAMILY, MODEL_NAME, HostFamily, check_flow, register
from .unrolling import Bridge, Unrolling

KEY = "scope"
TEXT_TOKENS = 512
"""Of a prompt that the models were trained on."""


class FrameSampling(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
    """Flow matching whose noise level may differ by frame: sigma [B] or [B, F]."""

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        if sigma.ndim == 2:
            return model_input - model_output * sigma[:, None, :, None, None]
        return super().calculate_denoised(sigma, model_output, model_input)

    def timestep(self, sigma: Tensor) -> Tensor:
        return (1000 * sigma).round() if sigma.ndim == 2 else super().timestep(sigma)


def frame_sampling(patcher, shift: float) -> FrameSampling:
    sampling = FrameSampling(patcher.model.model_config)
    sampling.set_parameters(shift)
    sampling.set_noise_scale(patcher.get_model_object("model_sampling").noise_scale)
    return sampling


def prepare(patcher, model_name: str, family: Family = SKYREELS) -> None:
    """Teach a model patcher noise levels per frame, as a model of a family. Raises NotPreparedError."""
    check_flow(patcher)
    shift = patcher.get_model_object("model_sampling").shift
    patcher.add_object_patch("model_sampling", frame_sampling(patcher, shift))
    wrappers = comfy.patcher_extension.WrappersMP
    for kind, wrapper in ((wrappers.APPLY_MODEL, apply_frame_levels), (wrappers.OUTER_SAMPLE, keep_frame_levels)):
        patcher.remove_wrappers_with_key(kind, KEY)
        patcher.add_wrapper_with_key(kind, KEY, wrapper)
    patcher.set_attachments(MODEL_NAME, model_name)
    patcher.set_attachments(MODEL_FAMILY, family)


def is_prepared(patcher) -> bool:
    return isinstance(patcher.get_model_object("model_sampling"), FrameSampling)


def keep_frame_levels(executor, *args, **kwargs):
    """Noise levels per frame also behind a node that has set another shift, and with it a model_sampling that knows
    none."""
    guider = executor.class_obj
    given = guider.model_patcher
    sampling = given.get_model_object("model_sampling")
    if is_prepared(given) or not isinstance(sampling, comfy.model_sampling.ModelSamplingDiscreteFlow):
        return executor(*args, **kwargs)
    guider.model_patcher = given.clone()
    guider.model_patcher.add_object_patch("model_sampling", frame_sampling(given, sampling.shift))
    try:
        return executor(*args, **kwargs)
    finally:
        guider.model_patcher = given


def apply_frame_levels(
    executor, x: Tensor, t: Tensor, c_concat=None, c_crossattn=None, control=None, transformer_options={}, **kwargs
):
    """Replace the guider's scalar noise level by those of the frames, where a SCOPE sampler set them."""
    run = transformer_options.get(KEY)
    if run is not None:
        t = run["levels"].to(x.device, non_blocking=True).expand(x.shape[0], -1)
        run["count"](len(transformer_options["cond_or_uncond"]))
    return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)


SelfAttention = Callable[[Callable[[Tensor, Tensor, Tensor], Tensor], Tensor, Tensor, Tensor, dict], Tensor]
"""Stands in for self-attention: called with the attention itself, q, k and v [B, tokens, channels] after norm and
rotation, and the transformer options."""


class HostWan:
    """The guider over a WanModel of the host whose frames stand at their own noise levels."""

    forwards: float

    def __init__(self, guider, model_options: dict, seed: int | None):
        self.guider, self.model_options, self.seed = guider, model_options, seed
        self.model = guider.inner_model
        self.network: WanModel = self.model.diffusion_model
        self.layers = len(self.network.blocks)
        self.progress = 0.0

    def evaluate(
        self,
        x: Tensor,
        timestep: np.ndarray,
        around: BlockPass | None,
        attention: SelfAttention | None = None,
        first: int = 0,
    ) -> Tensor:
        """Velocity after guidance [B, C, F, H, W] of latents x at `timestep` [F] (1000 sigma, truncated), which begin
        at frame `first` of the video."""

        counted: list[int] = []
        levels = torch.as_tensor(timestep / 1000, dtype=torch.float32)
        options = comfy.model_patcher.create_model_options_clone(self.model_options)
        transformer_options = options["transformer_options"]
        transformer_options[KEY] = {"levels": levels, "count": counted.append}
        if attention is not None:
            chained = transformer_options.get("optimized_attention_override")
            transformer_options["optimized_attention_override"] = self_attention_override(attention, chained)
        if around is not None:
            wrap_blocks(options, self.layers, around, self.guider)
        if first:
            rope = transformer_options.get("rope_options") or {}
            shift = rope.get("shift_t", 0.0) + first * rope.get("scale_t", 1.0)
            transformer_options["rope_options"] = {**rope, "shift_t": shift}
        proxy = float(self.model.model_sampling.percent_to_sigma(self.progress))
        sigma = torch.full((x.shape[0],), proxy, device=x.device, dtype=torch.float32)
        x0 = self.guider(x, sigma, model_options=options, seed=self.seed)
        self.forwards += sum(counted) if around is None else around.take() / self.layers
        level = levels.to(x.device, non_blocking=True).view(1, 1, -1, 1, 1)
        return torch.where(level > 0, (x - x0) / level.clamp_min(1e-6), torch.zeros_like(x))

    def features(self, name: str, sigma: np.ndarray) -> Tensor:
        t = torch.as_tensor(timesteps(sigma), dtype=torch.float32, device=self.guider.model_patcher.load_device)
        dtype = self.model.get_dtype_inference()
        with torch.no_grad():
            e = self.network.time_embedding(sinusoidal_embedding_1d(self.network.freq_dim, t).to(dtype))
            return (e if name == "embedding" else self.network.time_projection(e)).float()

    def patch_embedding(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.network.patch_embedding(x.float())


class HostTerm(HostWan, Term):
    """The guider as the term of the sampling loop."""

    def velocity(
        self, x: Tensor, timestep: np.ndarray, attended: tuple[slice, ...] | None, around: BlockPass | None
    ) -> Tensor:
        if attended is None:
            return self.evaluate(x, timestep, around)
        return self.evaluate(
            x, timestep, around, lambda attend, q, k, v, options: block_causal(attend, q, k, v, attended, x.shape[2])
        )


def self_attention_override(attention: SelfAttention, chained: Callable | None) -> Callable:
    """An attention override that changes self-attention and leaves cross-attention and other packs' overrides alone."""

    def override(attend: Callable, q: Tensor, k: Tensor, v: Tensor, *args, **kwargs) -> Tensor:
        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return chained(attend, q, k, v, *args, **kwargs) if chained else attend(q, k, v, *args, **kwargs)

        options = kwargs["transformer_options"]
        first_in_block = options.get("scope_attended") != options["block_index"]
        options["scope_attended"] = options["block_index"]
        if first_in_block and q.shape[1] == k.shape[1]:
            return attention(call, q, k, v, options)
        return call(q, k, v)

    return override


def wrap_blocks(options: dict, count: int, around: BlockPass, guider: Any) -> None:
    """Call `around` around every block, outside whatever already replaces it. A conditioning is known by its place in
    the guider, which is the same in a run that goes on; the host numbers them anew each time. Where one guidance branch
    decides for all, they stay on the first device."""
    if around.skip.probe:
        options.pop("multigpu_clones", None)
    transformer_options = options["transformer_options"]
    names = {cond["uuid"]: place for conds in guider.conds.values() for place, cond in enumerate(conds or ())}
    replaced = transformer_options.setdefault("patches_replace", {})
    replaced = transformer_options["patches_replace"] = {**replaced, "dit": dict(replaced.get("dit", {}))}
    for index in range(count):
        chained = replaced["dit"].get(("double_block", index))

        def run_block(args: dict, extra: dict, index: int = index, chained: Callable | None = chained) -> dict:
            def run(x: Tensor) -> Tensor:
                inner = {**args, "img": x}
                return (chained(inner, extra) if chained else extra["original_block"](inner))["img"]

            options = args["transformer_options"]
            branches = [
                (kind, names.get(uuid, uuid)) for kind, uuid in zip(options["cond_or_uncond"], options["uuids"])
            ]
            return {"img": around(index, args["img"], run, branches)}

        replaced["dit"]["double_block", index] = run_block


@dataclass(frozen=True)
class Windows(Unrolling):
    """Windows that overlap."""

    family = SKYREELS
    node = "AR Schedule"

    window: int = WINDOW
    overlap: int = OVERLAP
    block: int = 1
    ar_step: int = 0
    causal: bool = False
    condition_noise: float = CONDITION_NOISE
    start: Tensor | None = None
    end: Tensor | None = None
    vae: Any = None
    """Decodes and re-encodes the overlap between segments; without it the overlap stays latent."""
    note: str = ""
    sink: int = 0
    """First frames that stay in view where a family looks back a window only."""

    def schedule(
        self, frames: int, steps: int, shift: float | None = None, levels: tuple[float, ...] | None = None
    ) -> ARSchedule:
        return SKYREELS.schedule(
            frames,
            steps,
            self.window,
            self.overlap,
            self.block,
            self.ar_step,
            prefix=0 if self.start is None else self.start.shape[2],
            tail=0 if self.end is None else self.end.shape[2],
            condition_noise=self.condition_noise,
            shift=SKYREELS.defaults.shift if shift is None else shift,
            levels=levels,
            causal=self.causal,
        )

    def bridge(self, tell: Callable[[str], None] = room.log) -> Bridge | None:
        return None if self.vae is None else PixelBridge(self.vae, self.overlap, tell)


class PixelBridge:
    """Decodes each segment alone and encodes the last frames of the pixels joined so far, as published. Made for one
    run."""

    def __init__(self, vae: Any, overlap: int, tell: Callable[[str], None] = room.log):
        """`overlap`: latent frames that a segment takes over. `tell` is told where the VAE needs smaller tiles."""
        self.vae, self.tell = vae, tell
        self.frames = SKYREELS.pixel_frames(overlap)
        self.last: Tensor | None = None
        """The last so many frames of the video so far [B, T, H, W, C]."""

    def __call__(self, made: Tensor) -> Tensor:
        """A segment as it was sampled [B, C, F, H, W] -> prefix of the next one [B, C, overlap, H, W]."""
        clips = room.decode(self.vae, made, self.tell)
        if self.last is not None:
            clips = torch.cat([self.last, clips[:, self.frames :]], dim=1)
        self.last = clips[:, -self.frames :].clone()
        return torch.cat([room.encode(self.vae, clip[..., :3], self.tell) for clip in self.last]).to(made)


def unroll(
    length: int,
    window: int,
    overlap: int,
    chunk: int,
    ar_step: int,
    causal: bool,
    condition_noise: float,
    start: Tensor | None,
    end: Tensor | None,
    vae: Any = None,
    sink: int = 0,
) -> tuple[Windows, int]:
    """What the widgets of AR Schedule stand for, and the length in latent frames that fits. Raises ScheduleError."""
    for name, value in (("window", window), ("overlap", overlap)):
        if (value - 1) % STRIDE:
            low = value - (value - 1) % STRIDE
            raise ScheduleError(
                f"{name} is {value} frames; frames come in groups of four after the first, so use {low} or"
                f" {low + STRIDE}"
            )
    unrolling = Windows(
        SKYREELS.latent_frames(window),
        SKYREELS.latent_frames(overlap),
        chunk,
        ar_step,
        causal,
        condition_noise,
        start,
        end,
        vae,
        sink=sink,
    )
    unrolling.schedule(SKYREELS.latent_frames(length), max(ar_step, 2))
    frames, why = snap_length(
        length,
        window=unrolling.window,
        overlap=unrolling.overlap,
        block=chunk if ar_step or causal else 1,
        prefix=0 if start is None else start.shape[2],
    )
    return replace(unrolling, note=why), SKYREELS.latent_frames(frames)


class HostSkyReels(HostFamily):
    family = SKYREELS
    unrolling = Windows
    least_guidance = 1.0

    def model_sampling(self, patcher: Any, shift: float) -> FrameSampling:
        return frame_sampling(patcher, shift)

    def not_shared(self, schedule: ARSchedule) -> str:
        if schedule.causal:
            return (
                "its attention takes no mask, so with causal on every chunk would see those after it; switch causal"
                " off and set ar_step to 0 in AR Schedule"
            )
        levels = (np.ptp(step.sigma) > 0 for segment in schedule.segments for step in segment.iterations)
        if schedule.asynchronous or any(levels):
            return (
                "each of them gets the noise levels of all frames for its part of the tokens, so where they differ most"
                " tokens would get that of another frame; set ar_step to 0 in AR Schedule, without start and end, for a"
                " video that fits the window"
            )
        return ""

    def remarks(self, guider: Any, settings: Settings) -> list[str]:
        longest = {
            name: max((cond["cross_attn"].shape[1] for cond in parts if "cross_attn" in cond), default=0)
            for name, parts in guider.conds.items()
        }
        return [
            f"`{name}` has {tokens} tokens. The release cuts prompts at {TEXT_TOKENS}, which the model was trained on;"
            " ComfyUI's text encoder does not. Shorten the prompt."
            for name, tokens in longest.items()
            if tokens > TEXT_TOKENS
        ]

    def model(self, guider: Any, options: dict, seed: int | None, schedule: ARSchedule, unrolling: Windows) -> HostTerm:
        return HostTerm(guider, options, seed)


register(HostSkyReels())
