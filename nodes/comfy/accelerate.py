"""SCOPE inside the host's own samplers: a MODEL that skips evaluations, whoever samples it.

One wrapper of the MODEL makes a `Sampling` whenever it is sampled, which hangs itself around that sampling's own copy
of the model options and is gone with it: around PREDICT_NOISE, where an evaluation of the sampler begins and ends, to
decide and to see the guided result; and around CALC_COND_BATCH, where the network's results are made, to answer for
them. Guidance, masks and whatever hangs behind them run at skipped steps as at computed ones.
"""

import logging
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import replace
from time import perf_counter
from typing import Any, NamedTuple

import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...scope_core.families import FLOW
from ...scope_core.families.flow import level, slope
from ...scope_core.loop.sample import Run
from ...scope_core.loop.stepwise import NothingKeptError
from ...scope_core.loop.trace import SegmentTrace, Trace
from ...scope_core.ranks import agreeing, read
from ...scope_core.settings import Settings
from . import workers
from .caches import other_cache
from .conds import holding, is_active
from .families import family_of, hosted
from .flow import as_video, to_flow
from .latents import UnsuitableError
from .sampling import HostRun, SegmentSampler, VideoSampler, begin_trace, warn

KEY = "scope_accelerate"
NOT_CORRECTED = "`correct` is on, but the steps are the sampler's own, so it cannot take them again; SCOPE Sampler can."
NEAR = 1e-4
"""How far from a noise level of the table an evaluation may be and still be that step's, relative above 1."""
PROBED = 4
"""Steps of a sampler that is not a known one that are computed, to see how it goes."""
UNEXPLAINED = 1e-3
"""Share of latents that tells noise from rounding."""
ONCE = frozenset(
    {
        "euler",
        "euler_cfg_pp",
        "lms",
        "dpmpp_2m",
        "dpmpp_2m_cfg_pp",
        "ipndm",
        "ipndm_v",
        "deis",
        "res_multistep",
        "res_multistep_cfg_pp",
        "gradient_estimation",
        "gradient_estimation_cfg_pp",
        "unipc",
        "unipc_bh2",
    }
)
"""The host's samplers that evaluate the model once a step, at the step's noise level."""
ONCE_WITH_NOISE = frozenset(
    {
        "euler_ancestral",
        "euler_ancestral_cfg_pp",
        "dpmpp_2m_sde",
        "dpmpp_2m_sde_gpu",
        "dpmpp_2m_sde_heun",
        "dpmpp_2m_sde_heun_gpu",
        "dpmpp_3m_sde",
        "dpmpp_3m_sde_gpu",
        "ddpm",
        "lcm",
        "res_multistep_ancestral",
        "res_multistep_ancestral_cfg_pp",
        "er_sde",
        "sa_solver",
    }
)
"""Those that do and add noise after each."""
OWN_MODULES = "comfy.samplers", "comfy.k_diffusion.sampling", "comfy.extra_samplers.uni_pc"


ONE_CHUNK = hosted(FLOW)


def check(patcher: Any, settings: Settings) -> None:
    """Raises UnsuitableError or NotPreparedError for what cannot be combined."""
    owner = family_of(patcher).family
    if owner.by_chunk or owner.history:
        raise UnsuitableError(
            f"{owner.title} goes through its network chunk by chunk, which the host's samplers do not know; use SCOPE"
            " Sampler, which has the same settings"
        )
    ONE_CHUNK.check(patcher)
    if settings.off:
        return
    if cache := other_cache(patcher):
        raise UnsuitableError(
            f"{cache} is applied to this MODEL too, and both would skip; remove it or SCOPE Accelerate, or set the"
            " preset to off"
        )
    if settings.acting.depth == 0:
        raise UnsuitableError(
            f"{settings.acting.title} reuses inside the network, which SCOPE Accelerate leaves alone; use SCOPE"
            " Sampler, or choose a method that reuses the output, such as planned, scope, easycache or seacache"
        )


class Asked(NamedTuple):
    """What SCOPE Accelerate was asked for."""

    settings: Settings
    on_step: Callable[[SegmentTrace], None] = lambda record: None
    on_trace: Callable[[Trace], None] = lambda trace: None
    """Called once a sampling ended, however it did."""
    key: str = ""
    """Identity of the graph behind the model, under which its signals are remembered; empty where no graph is known."""


def accelerate(patcher: Any, asked: Asked) -> Any:
    """A clone of a MODEL that skips evaluations. It holds no state. Raises UnsuitableError."""
    check(patcher, asked.settings)
    clone = patcher.clone()

    def sample(executor: Any, guider: Any, sigmas: Tensor, extra_args: dict, *rest: Any, **more: Any) -> Tensor:
        check(guider.model_patcher, asked.settings)
        if reason := why_not(executor.class_obj, sigmas):
            logging.warning("SCOPE Accelerate: nothing is skipped, because %s.", reason)
            asked.on_trace(Trace({"nothing_skipped": f"Because {reason}."}))
            return executor(guider, sigmas, extra_args, *rest, **more)
        with agreeing(workers.reduction(guider.model_patcher)):
            sampling = Sampling(asked, guider, executor.class_obj, sigmas, extra_args, rest[1])
            return sampling.sample(lambda: executor(guider, sigmas, extra_args, *rest, **more))

    clone.remove_wrappers_with_key(WrappersMP.SAMPLER_SAMPLE, KEY)
    clone.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, sample)
    return clone


def name_of(sampler: Any) -> tuple[str, bool]:
    """Of a SAMPLER, and whether it is one of the host's."""
    function = getattr(sampler, "sampler_function", type(sampler))
    name = function.__name__.removeprefix("sample_").removesuffix("_function")
    return name, function.__module__ in OWN_MODULES


def why_not(sampler: Any, sigmas: Tensor) -> str:
    """Why a sampler cannot be made to skip; empty where it can."""
    if isinstance(sampler, (SegmentSampler, VideoSampler)):
        return "SCOPE's own sampler decides; it has the same settings, and SCOPE Accelerate is not needed before it"
    name, own = name_of(sampler)
    if (own and name not in ONCE | ONCE_WITH_NOISE) or getattr(sampler, "extra_options", {}).get("use_pece"):
        return (
            f"{name} does not evaluate the model once a step; choose a sampler that does, such as euler, dpmpp_2m or"
            " uni_pc"
        )
    if len(sigmas) < 3:
        return f"there are {len(sigmas) - 1} steps"
    if not (sigmas[:-1] > sigmas[1:]).all():
        return "the noise levels do not fall from step to step"
    return ""


def objection(sampler_name: str) -> str:
    """Why one of the host's samplers, by name, cannot be made to skip; empty where it can or is not known."""
    if sampler_name not in comfy.samplers.SAMPLER_NAMES:
        return ""
    return why_not(comfy.samplers.sampler_object(sampler_name), torch.tensor([1.0, 0.5, 0.0]))


class Sampling:
    """One sampling of a MODEL: made for it, gone with it."""

    def __init__(self, asked: Asked, guider: Any, sampler: Any, sigmas: Tensor, extra_args: dict, noise: Tensor):
        self.asked, self.guider, options = asked, guider, extra_args["model_options"]
        self.model_sampling = guider.inner_model.model_sampling
        self.sigmas = sigmas.tolist()
        name, own = name_of(sampler)
        self.noisy = name in ONCE_WITH_NOISE
        """The sampler adds noise after every step. What is remembered is then x0, since a velocity holds the noise that
        was there."""
        self.probe: list[Tensor] | None = None if own else []
        """Of a sampler that is not a known one the first latents and what the model made since."""
        patcher, unrolling = guider.model_patcher, ONE_CHUNK.unrolling()
        levels = ONE_CHUNK.levels(patcher, sigmas)
        schedule = unrolling.schedule(ONE_CHUNK.frames(noise), len(levels) - 1, levels=levels)
        settings = replace(asked.settings, correct=False)
        self.trace = begin_trace(patcher, schedule, settings, name)
        if asked.settings.correct and not settings.method.corrected:
            warn(self.trace, [NOT_CORRECTED])
        run = Run(schedule, settings, trace=self.trace)
        self.hosted = HostRun(run, unrolling, lambda *step: None, asked.key)
        model = ONE_CHUNK.model(guider, options, extra_args.get("seed"), schedule, unrolling)
        self.hosted.prepare(model, guider)
        self.steps = run.stepwise(model, schedule.segments[0])
        self.done = 0
        """Steps so far."""
        self.calls: Counter[Hashable] | None = None
        """What was asked of the network in the evaluation in work, and how often; None between evaluations, and in one
        that is not a step."""
        self.circumstances: Hashable = None
        """What held at the last evaluation beside latents and noise level."""
        put_first(guider.model_options, WrappersMP.PREDICT_NOISE, self.predict_noise)
        put_first(options, WrappersMP.CALC_COND_BATCH, self.calc_cond_batch)

    def sample(self, sample: Callable[[], Tensor]) -> Tensor:
        began = perf_counter()
        try:
            made = sample()
        finally:
            self.trace.run["sampling_seconds"] = round(perf_counter() - began, 4)
            self.asked.on_trace(self.trace)
        if self.done == len(self.sigmas) - 1:
            self.hosted.learn_content()
        totals = self.trace.totals
        logging.info(
            "SCOPE Accelerate: sampled in %.1f s; %d of %d evaluations computed, %.2fx fewer operations. %s",
            self.trace.run["sampling_seconds"],
            totals["computed"],
            totals["iterations"],
            totals["iterations"] / max(1, totals["computed"]),
            totals["skipped_reason"],
        )
        return made

    def predict_noise(self, executor: Any, x: Tensor, timestep: Tensor, options: dict, seed: int | None) -> Tensor:
        """An evaluation by the sampler."""
        if not self.is_next_step(float(timestep[0])):
            return executor(x, timestep, options, seed)
        held = holding(self.guider.conds, timestep, self.guider.model_patcher, options)
        circumstances = x.shape, x.dtype, x.device, held
        if self.circumstances not in (None, circumstances):
            self.steps.forget()
        self.circumstances = circumstances
        shown = self.shown(x, timestep).clone()
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
        self.steps.end(self.remembered(shown, made) if self.steps.computes else None)
        if self.probe is not None:
            self.learn(shown, made.view_as(shown))
        self.asked.on_step(self.steps.record)
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

    def is_next_step(self, sigma: float) -> bool:
        """Whether the evaluation is the one of the next step. A sampler that once asked for another one does not
        evaluate as a step does, and is left alone from then on."""
        if self.done == len(self.sigmas):
            return False
        wanted = self.sigmas[self.done]
        if self.done < len(self.sigmas) - 1 and abs(sigma - wanted) <= NEAR * max(1.0, wanted):
            return True
        sentence = (
            f"nothing was skipped after step {self.done}: the sampler evaluated the model at noise level {sigma:.4f}"
            f" instead of {wanted:.4f}, so its evaluations are not its steps."
        )
        warn(self.trace, [sentence])
        self.trace.run["nothing_skipped"] = sentence.capitalize()
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
        shown = self.shown(x, timestep)
        if not self.steps.computes:
            return [torch.zeros_like(x) if part is None else self.answer(part, shown).view_as(x) for part in parts]
        made = executor(model, conds, x, timestep, options)
        self.trace.forwards += sum(map(len, active))
        method = self.steps.control.method
        for part, x0 in zip(parts, made):
            if part is not None and method.depth:
                latents = shown.clone() if method.latents else shown
                self.steps.keep(part, self.remembered(shown, x0), latents)
        return made

    def shown(self, x: Tensor, timestep: Tensor) -> Tensor:
        """Latents of the host as those of the loop."""
        return as_video(to_flow(x, timestep[0], self.model_sampling))

    def answer(self, part: Hashable, shown: Tensor) -> Tensor:
        """x0 of a part that is not computed."""
        value = self.steps.value(part, shown)
        return value.clone() if self.noisy else shown - level(shown, self.steps.step) * value

    def remembered(self, shown: Tensor, x0: Tensor) -> Tensor:
        """What is forecast: the velocity, or x0 itself. A tensor of its own."""
        x0 = x0.view_as(shown)
        return x0.clone() if self.noisy else slope(shown, x0, self.steps.step)


def is_new(x: Tensor, known: list[Tensor]) -> bool:
    """Whether latents are no combination of others, and of what a model made since. Those of a sampler that adds no
    noise are, whatever its order."""
    basis = torch.stack([part.double().flatten() for part in known])
    flat = x.double().flatten()
    weights = torch.linalg.pinv(basis @ basis.T, hermitian=True) @ (basis @ flat)
    (share,) = read(((flat - weights @ basis).norm() / flat.norm())[None])
    return share > UNEXPLAINED


def put_first(options: dict, kind: str, wrapper: Callable) -> None:
    """Outermost, so that what is skipped takes with it what others hang behind."""
    wrappers = options["transformer_options"].setdefault("wrappers", {})
    wrappers[kind] = {KEY: [wrapper], **wrappers.get(kind, {})}
