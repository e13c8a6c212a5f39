"""SCOPE inside the host's own samplers: a MODEL that skips evaluations, whoever samples it.

One wrapper of the MODEL makes a `Sampling` whenever it is sampled, which hangs itself around that sampling's own copy
of the model options and is gone with it: around PREDICT_NOISE, where an evaluation of the sampler begins and ends, to
decide and to see the guided result; and around CALC_COND_BATCH, where the network's results are made, to answer for
them. Guidance, masks and whatever hangs behind them run at skipped steps as at computed ones.
"""

import logging
from collections import Counter
from collections.abc import Callable, Hashable
from time import perf_counter
from typing import Any, NamedTuple

import comfy.samplers
import torch
from comfy.model_sampling import CONST, COSMOS_RFLOW, IMG_TO_IMG_FLOW
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...scope_core.families import FLOW
from ...scope_core.loop.control import make_control
from ...scope_core.loop.stepwise import NothingKeptError, Stepwise
from ...scope_core.loop.trace import SegmentTrace, Trace
from ...scope_core.settings import Settings
from .conds import holding
from .families import FAMILIES
from .sampling import SegmentSampler, UnsuitableError, VideoSampler, begin_trace, warn

KEY = "scope_accelerate"
NEAR = 1e-4
"""How far from a noise level of the table an evaluation may be and still be that step's, relative above 1."""
PROBED = 4
"""Steps of a sampler that is not a known one that are computed, to see how it goes."""
UNEXPLAINED = 1e-3
"""Share of latents that tells noise from rounding."""
ONCE = frozenset(
    "euler euler_cfg_pp lms dpmpp_2m dpmpp_2m_cfg_pp ipndm ipndm_v deis res_multistep res_multistep_cfg_pp"
    " gradient_estimation gradient_estimation_cfg_pp unipc unipc_bh2".split()
)
"""The host's samplers that evaluate the model once a step, at the step's noise level."""
ONCE_WITH_NOISE = frozenset(
    "euler_ancestral euler_ancestral_cfg_pp dpmpp_2m_sde dpmpp_2m_sde_gpu dpmpp_2m_sde_heun dpmpp_2m_sde_heun_gpu"
    " dpmpp_3m_sde dpmpp_3m_sde_gpu ddpm lcm res_multistep_ancestral res_multistep_ancestral_cfg_pp er_sde"
    " sa_solver".split()
)
"""Those that do and add noise after each."""
OWN_MODULES = "comfy.samplers", "comfy.k_diffusion.sampling", "comfy.extra_samplers.uni_pc"
OTHER_CACHES = {
    "easycache": "EasyCache or LazyCache",
    "rel_l1_thresh": "TeaCache",
    "teacache": "TeaCache",
    "magcache_thresh": "MagCache",
    "spectrum": "Spectrum",
}
"""Keys that caches of other packs leave in the transformer options."""


class Flow(NamedTuple):
    """Coordinates in which a model is one of flow matching, x = (1 - s) x0 + s e."""

    exact: bool
    """Its latents and noise levels are in them already; otherwise x0 + sigma e, with s = sigma / (1 + sigma)."""

    def level(self, sigma: float) -> float:
        return sigma if self.exact else sigma / (1 + sigma)

    def latents(self, x: Tensor, sigma: float) -> Tensor:
        return x if self.exact else x / (1 + sigma)


def flow_of(patcher: Any) -> Flow:
    """Raises UnsuitableError for a MODEL that does not know flow matching."""
    sampling = patcher.get_model_object("model_sampling")
    if isinstance(sampling, (CONST, COSMOS_RFLOW)) and not isinstance(sampling, IMG_TO_IMG_FLOW):
        return Flow(isinstance(sampling, CONST))
    kinds = " ".join(base.__name__ for base in type(sampling).__bases__)
    raise UnsuitableError(
        f"this MODEL samples as {kinds}, and SCOPE Accelerate forecasts the velocity of flow matching, as of Wan,"
        " Hunyuan Video, LTX or Cosmos Predict 2. Remove SCOPE Accelerate; core's EasyCache takes any model"
    )


def check(patcher: Any, settings: Settings) -> Flow:
    """Raises UnsuitableError for what cannot be combined."""
    for owner in FAMILIES:
        if owner.owns(patcher) and owner.family.by_chunk:
            raise UnsuitableError(
                f"{owner.family.title} goes through its network chunk by chunk, which the host's samplers do not know."
                " Use SCOPE Sampler, which has the same settings"
            )
    flow = flow_of(patcher)
    if settings.off:
        return flow
    options = patcher.model_options.get("transformer_options", {})
    for key, cache in OTHER_CACHES.items():
        if key in options:
            raise UnsuitableError(
                f"{cache} is applied to this MODEL too, and both would skip. Remove it or SCOPE Accelerate, or set the"
                " preset to off"
            )
    if settings.acting.depth == 0:
        raise UnsuitableError(
            f"{settings.acting.title} reuses inside the network, which SCOPE Accelerate never enters. Use SCOPE"
            " Sampler, or choose a method that reuses the output: planned, scope, easycache, taylorseer with site"
            " output, ..."
        )
    return flow


class Asked(NamedTuple):
    """What SCOPE Accelerate was asked for."""

    settings: Settings
    on_step: Callable[[SegmentTrace], None]
    on_trace: Callable[[Trace], None]
    """Called once the sampling ended, however it did."""


def accelerate(patcher: Any, asked: Asked) -> Any:
    """A clone of a MODEL that skips evaluations. It holds no state. Raises UnsuitableError."""
    check(patcher, asked.settings)
    clone = patcher.clone()

    def sample(executor: Any, guider: Any, sigmas: Tensor, extra_args: dict, *rest: Any, **more: Any) -> Tensor:
        flow = check(guider.model_patcher, asked.settings)
        if reason := why_not(executor.class_obj, sigmas, asked.settings):
            logging.warning("SCOPE Accelerate: nothing is skipped, because %s.", reason)
            return executor(guider, sigmas, extra_args, *rest, **more)
        sampling = Sampling(asked, flow, guider, executor.class_obj, sigmas, extra_args["model_options"], rest[1])
        return sampling.run(lambda: executor(guider, sigmas, extra_args, *rest, **more))

    clone.remove_wrappers_with_key(WrappersMP.SAMPLER_SAMPLE, KEY)
    clone.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, sample)
    return clone


def name_of(sampler: Any) -> tuple[str, bool]:
    """Of a SAMPLER, and whether it is one of the host's."""
    function = getattr(sampler, "sampler_function", type(sampler))
    name = function.__name__.removeprefix("sample_").removesuffix("_function")
    return name, function.__module__ in OWN_MODULES


def why_not(sampler: Any, sigmas: Tensor, settings: Settings) -> str:
    """Why a sampler cannot be made to skip; empty where it can."""
    if isinstance(sampler, (SegmentSampler, VideoSampler)):
        return "SCOPE's own sampler decides; it has the same settings, and SCOPE Accelerate is not needed before it"
    name, own = name_of(sampler)
    if own and name not in ONCE | ONCE_WITH_NOISE or getattr(sampler, "extra_options", {}).get("use_pece"):
        return (
            f"{name} evaluates the model more than once a step; choose a sampler that does so once, such as euler,"
            " dpmpp_2m or uni_pc"
        )
    if len(sigmas) < 3:
        return f"there are {len(sigmas) - 1} steps"
    if not (sigmas[:-1] > sigmas[1:]).all():
        return "the noise levels do not fall from step to step"
    return ""


class Sampling:
    """One sampling of a MODEL: made for it, gone with it."""

    def __init__(
        self, asked: Asked, flow: Flow, guider: Any, sampler: Any, sigmas: Tensor, options: dict, noise: Tensor
    ):
        self.asked, self.flow, self.guider = asked, flow, guider
        self.sigmas = sigmas.tolist()
        name, own = name_of(sampler)
        self.noisy = name in ONCE_WITH_NOISE
        """The sampler adds noise after every step. What is remembered is then x0, since a velocity holds the noise that
        was there."""
        self.probe: list[Tensor] | None = None if own else []
        """Of a sampler that is not a known one the first latents and what the model made since."""
        levels = tuple(flow.level(sigma) for sigma in self.sigmas)
        schedule = FLOW.schedule(as_video(noise).shape[2], len(levels) - 1, levels=levels)
        self.trace = begin_trace(guider.model_patcher, schedule, asked.settings, name)
        (segment,) = schedule.segments
        control = make_control(asked.settings, schedule, segment, None)
        self.steps = Stepwise(control, segment, self.trace.begin(segment))
        self.done = 0
        """Steps so far."""
        self.sigma = 0.0
        """Of the evaluation in work,"""
        self.calls: Counter[Hashable] | None = None
        """and what was asked of the network in it so often; None between evaluations, and where it is not a step."""
        self.circumstances: Hashable = None
        """What held at the last evaluation beside latents and noise level."""
        put_first(guider.model_options, WrappersMP.PREDICT_NOISE, self.predict_noise)
        put_first(options, WrappersMP.CALC_COND_BATCH, self.calc_cond_batch)

    def run(self, sample: Callable[[], Tensor]) -> Tensor:
        began = perf_counter()
        try:
            made = sample()
        finally:
            self.trace.memory = self.steps.peak_bytes
            self.trace.run["sampling_seconds"] = round(perf_counter() - began, 4)
            self.asked.on_trace(self.trace)
        totals = self.trace.totals
        logging.info(
            "SCOPE Accelerate: %d of %d evaluations computed (%.2fx fewer), the sampling took %.1f s. %s",
            totals["computed"],
            totals["iterations"],
            totals["iterations"] / max(1, totals["computed"]),
            self.trace.run["sampling_seconds"],
            totals["skipped_reason"],
        )
        return made

    def predict_noise(self, executor: Any, x: Tensor, timestep: Tensor, options: dict, seed: int | None) -> Tensor:
        """An evaluation by the sampler."""
        self.sigma = float(timestep[0])
        if not self.is_next_step():
            return executor(x, timestep, options, seed)
        held = holding(self.guider.conds, timestep, self.guider.model_patcher, options)
        circumstances = x.shape, x.dtype, x.device, held
        if self.circumstances not in (None, circumstances):
            self.steps.forget()
        self.circumstances = circumstances
        shown = self.flow.latents(as_video(x).clone(), self.sigma)
        self.steps.begin(self.done, shown)
        self.done += 1
        if self.probe is not None:
            self.steps.compute("probe")
        try:
            try:
                made = self.evaluate(executor, x, timestep, options, seed)
            except NothingKeptError:
                self.steps.compute("entered")
                made = self.evaluate(executor, x, timestep, options, seed)
        finally:
            self.calls = None
        self.steps.end(self.remembered(shown, as_video(made)) if self.steps.computes else None)
        if self.probe is not None:
            self.learn(shown, as_video(made))
        self.asked.on_step(self.steps.trace)
        return made

    def learn(self, shown: Tensor, x0: Tensor) -> None:
        """From the first steps of a sampler that is not a known one, whether it adds noise."""
        assert self.probe is not None
        if self.done == PROBED:
            self.noisy = is_new(shown, self.probe)
            self.probe = None
            if self.noisy:
                self.steps.forget()
        else:
            self.probe += [x0.clone()] if self.probe else [shown, x0.clone()]

    def evaluate(self, executor: Any, *args: Any) -> Tensor:
        self.calls = Counter()
        return executor(*args)

    def is_next_step(self) -> bool:
        """Whether the evaluation is the one of the next step. A sampler that once asked for another one does not
        evaluate as a step does, and is left alone from then on."""
        if self.done == len(self.sigmas):
            return False
        wanted = self.sigmas[self.done]
        if self.done < len(self.sigmas) - 1 and abs(self.sigma - wanted) <= NEAR * max(1.0, wanted):
            return True
        warn(
            self.trace,
            [
                f"nothing was skipped after step {self.done}: the sampler evaluated the model at noise level"
                f" {self.sigma:.4f} instead of {wanted:.4f}, so its evaluations are not its steps."
            ],
        )
        self.done = len(self.sigmas)
        return False

    def calc_cond_batch(
        self, executor: Any, model: Any, conds: list, x: Tensor, timestep: Tensor, options: dict
    ) -> list[Tensor]:
        """What the network makes of latents for every list of prompts: x0 each, zeros for None."""
        if self.calls is None:
            return executor(model, conds, x, timestep, options)
        active = [tuple(cond["uuid"] for cond in part or () if is_active(cond, timestep)) for part in conds]
        window = options["transformer_options"].get("context_window")
        call = None if window is None else tuple(window.index_list), tuple(active)
        self.calls[call] += 1
        parts = [(call, self.calls[call], i) if uuids else None for i, uuids in enumerate(active)]
        shown = self.flow.latents(as_video(x), self.sigma)
        if not self.steps.computes:
            return [self.answer(part, shown).reshape(x.shape) for part in parts]
        made = executor(model, conds, x, timestep, options)
        self.trace.forwards += sum(map(len, active))
        method = self.steps.control.method
        for part, x0 in zip(parts, made):
            if part is not None and method.depth:
                latents = shown.clone() if method.latents else shown
                self.steps.keep(part, self.remembered(shown, as_video(x0)), latents)
        return made

    def answer(self, part: Hashable, shown: Tensor) -> Tensor:
        """x0 of a part that is not computed."""
        if part is None:
            return torch.zeros_like(shown)
        value = self.steps.value(part, shown)
        return value.clone() if self.noisy else shown - self.flow.level(self.sigma) * value

    def remembered(self, shown: Tensor, x0: Tensor) -> Tensor:
        """What is forecast: the velocity, or x0 itself. A tensor of its own."""
        return x0.clone() if self.noisy else (shown - x0) / self.flow.level(self.sigma)


def is_new(x: Tensor, known: list[Tensor]) -> bool:
    """Whether latents are no combination of others, and of what a model made since. Those of a sampler that adds no
    noise are, whatever its order."""
    basis = torch.stack([part.double().flatten() for part in known])
    flat = x.double().flatten()
    weights = torch.linalg.lstsq(basis @ basis.T, basis @ flat).solution
    return bool((flat - weights @ basis).norm() > UNEXPLAINED * flat.norm())


def put_first(options: dict, kind: str, wrapper: Callable) -> None:
    """Outermost, so that what is skipped takes with it what others hang behind."""
    wrappers = options["transformer_options"].setdefault("wrappers", {})
    wrappers[kind] = {KEY: [wrapper], **wrappers.get(kind, {})}


def as_video(x: Tensor) -> Tensor:
    """Latents as [B, C, F, H, W]: an image is one frame, and so is a pack of several streams [B, 1, N]."""
    if x.ndim == 3:
        return x[:, :, None, None]
    return x.unsqueeze(2) if x.ndim == 4 else x


def is_active(cond: dict[str, Any], t: Tensor) -> bool:
    """Whether a conditioning holds at noise level t [B], as the host finds it."""
    return not (t[0] > cond.get("timestep_start", t[0]) or t[0] < cond.get("timestep_end", t[0]))
