"""Any flow-matching MODEL of the host as one chunk, through the user's guider, with the host's own noise levels.

What the host's sampler does around its loop is done here too, so that a run without skipping is bit for bit that of its
`euler`: known latents under a noise mask, noise of the right scale at the start, and the scale of what is handed on at
the end (docs/one-chunk.md).
"""

import copy
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import comfy.sample
import comfy.samplers
import numpy as np
import torch
from comfy.ldm.wan.model import WanModel, sinusoidal_embedding_1d
from comfy.model_sampling import CONST, COSMOS_RFLOW, IMG_TO_IMG_FLOW, ModelSamplingDiscreteFlow, ModelSamplingFlux
from torch import Tensor

from ...scope_core.families.flow import FLOW, FlowModel
from ...scope_core.loop.residuals import BlockPass
from ...scope_core.schedule import ARSchedule, Segment, Step
from ...scope_core.settings import Settings
from .conds import holding
from .families import FAMILIES, HostFamily, NotPreparedError, register
from .latents import UnsuitableError, adapted
from .skyreels import wrap_blocks
from .unrolling import Unrolling

KEY = "scope_flow"
TOLD = 64
"""Weights of a network that tell it from others."""
SCHEDULER = "simple"
DIFFUSION_FORCING = re.compile(r"skyreels.*(?<![a-z])df(?![a-z])", re.IGNORECASE)


ASKED = dict.fromkeys(FLOW.features, "the noise level stands") | dict.fromkeys(
    ("latent", "motion"), "the latents themselves stand"
)
"""Signals that ask the network, and what stands in for them."""


class Whole(Unrolling):
    """All frames together; no node gives it, for there is nothing to choose."""

    family = FLOW
    node = ""
    start = end = vae = None
    by_length = False
    note = ""

    @classmethod
    def wanted(cls) -> str:
        return (
            "this model makes the whole video at once. Disconnect `schedule`; if it is a model for chunks, load it with"
            " Load AR Video Model"
        )

    def schedule(
        self, frames: int, steps: int, shift: float | None = None, levels: tuple[float, ...] | None = None
    ) -> ARSchedule:
        """A shift of 0 is the MODEL's own, for which the usual one stands until it is known."""
        return FLOW.schedule(frames, steps, shift or FLOW.defaults.shift, levels)

    def guesses(self, shift: float, changing: bool) -> list[str]:
        found = [] if shift else [f"shift 0 is the MODEL's own, not known yet; {FLOW.defaults.shift:g} is assumed"]
        if changing:
            found.append("where prompts, LoRAs or controls change, the run computes a step that a plan cannot know")
        return found

    def check_size(self, latent: Any) -> None:
        """Every size that the host knows will do."""


class Sampled:
    """The guider of one sampling as the host's own sampler sees it: behind a noise mask, at a table of noise levels."""

    def __init__(self, guider: Any, sigmas: Tensor, noise: Tensor, latent: Tensor, mask: Tensor | None):
        self.guider, self.table, self.mask = guider, sigmas, mask
        self.levels = sigmas.cpu()
        self.inpaint = comfy.samplers.KSamplerX0Inpaint(guider, sigmas)
        self.inpaint.noise, self.inpaint.latent_image = noise, latent
        self.shape = noise.shape

    def __getattr__(self, name: str) -> Any:
        return getattr(self.guider, name)

    def __call__(self, x: Tensor, sigma: Tensor, model_options: dict, seed: int | None) -> Tensor:
        return self.inpaint(x, sigma, self.mask, model_options, seed)

    def known(self, x0: Tensor, sigma: Tensor, model_options: dict) -> Tensor:
        """An estimate with the latents that the mask keeps."""
        mask = self.mask
        if mask is None:
            return x0
        if "denoise_mask_function" in model_options:
            about = {"model": self.guider, "sigmas": self.table}
            mask = model_options["denoise_mask_function"](sigma, mask, extra_options=about)
        return x0 * mask + self.inpaint.latent_image * (1.0 - mask)


class HostFlow(FlowModel):
    """The guider as the model of the sampling loop (`families.flow.FlowModel`)."""

    def __init__(self, guider: Sampled, model_options: dict, seed: int | None):
        self.guider, self.model_options, self.seed = guider, model_options, seed
        self.model = guider.inner_model
        self.network = self.model.diffusion_model
        self.is_wan = isinstance(self.network, WanModel)
        self.layers = len(self.network.blocks) if self.is_wan else 0
        self.progress = 0.0
        self.before: tuple | None = None
        """What held at the last iteration."""

    def sigma(self, step: Step) -> Tensor:
        """The host's noise level at an iteration [B]."""
        return self.guider.table[step.index].expand(self.guider.shape[0])

    def denoised(self, x: Tensor, step: Step, around: BlockPass | None) -> Tensor:
        counted: list[int] = []
        options = comfy.model_patcher.create_model_options_clone(self.model_options)
        inside = options.setdefault("transformer_options", {})
        apply = comfy.patcher_extension.WrappersMP.APPLY_MODEL
        comfy.patcher_extension.add_wrapper_with_key(apply, KEY, counting(counted.append), inside)
        if around is not None:
            self.require_blocks()
            wrap_blocks(options, self.layers, around, self.guider)
        x0 = self.guider(self.out(x, step), self.sigma(step), options, self.seed).view_as(x)
        self.forwards += sum(counted) if around is None else around.take() / self.layers
        return x0

    def out(self, x: Tensor, step: Step) -> Tensor:
        """Latents of the loop as the host's."""
        return of_flow(x, self.sigma(step)[0], self.model.model_sampling).view(self.guider.shape)

    def known(self, x0: Tensor, step: Step) -> Tensor:
        shown = x0.view(self.guider.shape)
        known = self.guider.known(shown, self.sigma(step), self.model_options)
        return x0 if known is shown else known.view_as(x0)

    def border(self, step: Step) -> bool:
        t = self.guider.levels[step.index : step.index + 1]
        holds = holding(self.guider.conds, t, self.guider.model_patcher, self.model_options)
        before, self.before = self.before, holds
        return before is not None and holds != before

    def require_blocks(self) -> None:
        """Raises UnsuitableError for networks whose blocks SCOPE does not know."""
        if not self.layers:
            raise UnsuitableError(
                "methods that reuse inside the network, and SCOPE Calibrate, which looks there, need one of the Wan"
                f" family; this one is {type(self.network).__name__}; choose a method that reuses the output, such as"
                " SCOPE, TaylorSeer at the output, EasyCache or SeaCache"
            )

    def features(self, name: str, sigma: np.ndarray) -> Tensor:
        """See `signals.Features`. Of a network whose time embedding is not known the noise level itself, times weights
        that tell it from others."""
        levels = torch.as_tensor(sigma, dtype=torch.float32, device=self.guider.model_patcher.load_device)
        if not self.is_wan:
            return levels[:, None] * fingerprint(self.network).to(levels)[None]
        t = self.model.model_sampling.timestep(levels)
        dtype = self.model.get_dtype_inference()
        with torch.no_grad():
            e = self.network.time_embedding(sinusoidal_embedding_1d(self.network.freq_dim, t).to(dtype))
            return (e if name == "embedding" else self.network.time_projection(e)).float()

    def patch_embedding(self, x: Tensor) -> Tensor:
        """See `signals.Features`. What an image to start from adds to the channels does not change from step to step;
        of a network whose embedding is not known the latents themselves."""
        if not self.is_wan:
            return x
        lacking = self.network.patch_embedding.in_channels - x.shape[1]
        with torch.no_grad():
            return self.network.patch_embedding(torch.nn.functional.pad(x.float(), (0, 0, 0, 0, 0, 0, 0, lacking)))

    def streams(self, x: Tensor) -> list[Tensor]:
        shapes = packed_shapes(self.guider, self.model)
        if len(shapes) < 2:
            return [x]
        parts = x.flatten(1).split([math.prod(shape[1:]) for shape in shapes], 1)
        return [as_video(part.view(len(x), *shape[1:])) for part, shape in zip(parts, shapes)]


def counting(count: Callable[[int], None]) -> Callable:
    """A wrapper of the network's calls that tells how many guidance branches each has."""

    def counted(executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options={}, **kwargs):
        count(len(transformer_options["cond_or_uncond"]))
        return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)

    return counted


def fingerprint(network: torch.nn.Module) -> Tensor:
    """Some of a network's weights, none of them 0 [N]."""
    first = next(iter(network.parameters())).flatten()[:TOLD].float()
    return first.abs() + 1e-3


def packed_shapes(guider: Any, model: Any) -> list:
    """Shapes of the streams that are packed into flat latents; newer hosts keep them with the model."""
    shapes = getattr(model, "latent_shapes", None)
    parts = (cond for parts in guider.conds.values() for cond in parts or ())
    told = (cond.get("model_conds", {}).get("latent_shapes") for cond in parts)
    return shapes or next((known.cond for known in told if known is not None), [])


def as_video(x: Tensor) -> Tensor:
    """Latents of video, image or audio, or several packed flat, as [B, C, F, H, W]."""
    if x.ndim < 5:
        return x.view(*x.shape[:2], *[1] * (5 - x.ndim), *x.shape[2:])
    return x


def to_flow(x: Tensor, sigma: Tensor, sampling: Any) -> Tensor:
    """Latents of the host as (1 - s) x0 + s noise: those of models whose noise is added on top are x0 + sigma noise,
    which is the same times 1 + sigma."""
    return x / (1 + sigma) if isinstance(sampling, COSMOS_RFLOW) else x


def of_flow(x: Tensor, sigma: Tensor, sampling: Any) -> Tensor:
    """Back again."""
    return x * (1 + sigma) if isinstance(sampling, COSMOS_RFLOW) else x


class HostOneChunk(HostFamily):
    family = FLOW
    unrolling = Whole

    def owns(self, patcher: Any) -> bool:
        """Whatever nobody else does."""
        return not any(other.owns(patcher) for other in FAMILIES if other is not self)

    def name_of(self, patcher: Any) -> str:
        """The class of the host's model, and its file where the loader remembers it."""
        kind, made_by = type(patcher.model).__name__, patcher.cached_patcher_init
        path = made_by[1][0] if made_by and made_by[1] else None
        return f"{kind} ({Path(path).name})" if isinstance(path, str) else kind

    def check(self, patcher: Any) -> None:
        sampling = patcher.get_model_object("model_sampling")
        if isinstance(sampling, IMG_TO_IMG_FLOW):
            raise NotPreparedError(
                "this MODEL turns a given video into its result and answers with that result itself (image-to-image"
                " flow), so there is no velocity to forecast; sample it with KSampler"
            )
        if not isinstance(sampling, (CONST, COSMOS_RFLOW)):
            kinds = " ".join(base.__name__ for base in type(sampling).__bases__)
            raise NotPreparedError(
                f"this MODEL samples as {kinds}, and SCOPE knows flow matching alone; connect a flow model (Wan,"
                " HunyuanVideo, LTX, Cosmos Predict 2, Qwen-Image ...), or remove a ModelSampling node that made it"
                " something else"
            )

    def own_shift(self, patcher: Any) -> float:
        """What stands for the shift of a MODEL that a run leaves alone."""
        known = patcher.get_model_object("model_sampling")
        if isinstance(known, ModelSamplingDiscreteFlow):
            return known.shift
        return math.exp(known.shift) if isinstance(known, ModelSamplingFlux) else 1.0

    def model_sampling(self, patcher: Any, shift: float) -> ModelSamplingDiscreteFlow:
        """As ModelSamplingSD3 sets it, for the models that it is for; others keep their own."""
        known = patcher.get_model_object("model_sampling")
        if not isinstance(known, ModelSamplingDiscreteFlow) or known.shift == shift:
            return known
        own = copy.deepcopy(known)
        own.set_parameters(shift, multiplier=known.multiplier)
        return own

    def set_shift(self, patcher: Any, shift: float) -> str:
        own = self.own_shift(patcher)
        if shift == own:
            return ""
        known, made = patcher.get_model_object("model_sampling"), self.model_sampling(patcher, shift)
        if made is known:
            return (
                "this MODEL brings its own noise levels, which nodes such as ModelSamplingFlux or ModelSamplingLTXV"
                " set; the sampler's shift leaves them as they are."
            )
        patcher.add_object_patch("model_sampling", made)
        return (
            f"this MODEL comes with shift {own:g}, but the sampler has a shift of its own, which counts: {shift:g}. Set"
            f" it to 0 or {own:g} to sample as KSampler would."
        )

    def not_shared(self, schedule: ARSchedule) -> str:
        return ""

    def remarks(self, guider: Any, settings: Settings) -> list[str]:
        found, network = [], guider.model_patcher.model.diffusion_model
        if DIFFUSION_FORCING.search(self.name_of(guider.model_patcher)):
            found.append(
                "the file is named like a SkyReels-V2 diffusion-forcing model. Here all of its frames share one noise"
                " level, in one window, without the frame rate that it can be told; load it with Load AR Video Model"
                " for chunks, known first frames and long videos."
            )
        signal = settings.acting.signal
        if signal in ASKED and not isinstance(network, WanModel):
            found.append(
                f"what the signal {signal!r} looks at is not known in a {type(network).__name__}; {ASKED[signal]}"
                " in for it."
            )
        return found

    def samples(self, patcher: Any, latent: dict[str, Any], unrolling: Unrolling) -> Any:
        samples = latent["samples"]
        empty = samples.is_nested or not samples.count_nonzero()
        if not empty and "noise_mask" not in latent:
            raise UnsuitableError(
                "the latent is not empty, and all of it would be replaced by noise; connect an empty latent, set a"
                " noise mask to keep a part of it, or use SamplerCustomAdvanced with SCOPE Sampler (Advanced) and the"
                " last of the sigmas to change it a little"
            )
        return adapted(patcher, latent)

    def known(self, patcher: Any, latent: dict[str, Any]) -> dict[str, Any]:
        return {**latent, "samples": adapted(patcher, latent)}

    def result(self, made: list[Tensor], schedule: ARSchedule, latent: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in latent.items() if "downscale" not in name} | {"samples": made[0]}

    def replaced(self, latent: Tensor, unrolling: Unrolling) -> list[str]:
        """As the host's samplers do, the noise is added to it."""
        return []

    def check_noise(self, noise: Tensor, mask: Tensor | None) -> None:
        """The host has made latents of any kind into one tensor by now."""

    def frames(self, noise: Any) -> int:
        return 1 if noise.is_nested or noise.ndim < 5 else noise.shape[2]

    def levels(self, patcher: Any, sigmas: Tensor) -> tuple[float, ...]:
        if isinstance(patcher.get_model_object("model_sampling"), COSMOS_RFLOW):
            sigmas = sigmas.double() / (1 + sigmas.double())
        return tuple(sigmas.tolist())

    def sigmas(self, patcher: Any, schedule: ARSchedule, segment: Segment) -> Tensor:
        return comfy.samplers.calculate_sigmas(self.model_sampling(patcher, schedule.shift), SCHEDULER, schedule.steps)

    def schedule(self, patcher: Any, unrolling: Unrolling, frames: int, steps: int, shift: float) -> ARSchedule:
        """That of the table where the MODEL has its levels, so that it is the one of the plan."""
        self.check(patcher)
        if not shift or not isinstance(patcher.get_model_object("model_sampling"), ModelSamplingDiscreteFlow):
            shift = self.own_shift(patcher)
        planned = unrolling.schedule(frames, steps, shift)
        levels = self.levels(patcher, self.sigmas(patcher, planned, planned.segments[0]))
        return planned if np.array_equal(planned.sigmas, levels) else unrolling.schedule(frames, steps, shift, levels)

    def unroll(self, sample, noise, latent, schedule, start, end, bridge=None) -> list[Tensor]:
        return [sample(schedule.segments[0], noise, latent)]

    def segment(self, run, guider, sigmas, extra_args, segment, noise, known, mask) -> Tensor:
        """The duties of the host's KSAMPLER around its loop."""
        sampling = guider.inner_model.model_sampling
        all_noise = comfy.samplers.Sampler().max_denoise(guider, sigmas)
        x = as_video(to_flow(sampling.noise_scaling(sigmas[0], noise, known, all_noise), sigmas[0], sampling))
        model = Sampled(guider, sigmas, noise, known, mask)
        made = run.segment(model, extra_args, segment, x, torch.zeros_like(x)).view(noise.shape)
        return sampling.inverse_noise_scaling(sigmas[-1], of_flow(made, sigmas[-1], sampling))

    def seen(self, x0: Tensor, noise: Any) -> Tensor:
        if not noise.is_nested:
            return x0.view(noise.shape)
        first = noise.unbind()[0]
        return x0.flatten(1)[:, : first[0].numel()].view(first.shape)

    def model(self, guider: Any, options: dict, seed: int | None, schedule: ARSchedule, unrolling: Whole) -> HostFlow:
        return HostFlow(guider, options, seed)


register(HostOneChunk())
