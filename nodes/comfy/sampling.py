"""Samplers of the host that own SCOPE's loop, and a whole run from a MODEL to latents and a trace."""

import logging
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.samplers
import comfy.utils
import comfyui_version
import folder_paths
import torch
from safetensors.torch import save
from torch import Tensor

from ...scope_core import disk
from ...scope_core.loop.checkpoint import Keeper
from ...scope_core.loop.rollout import join
from ...scope_core.loop.sample import OnStep, Run, kept
from ...scope_core.loop.trace import SegmentTrace, Trace
from ...scope_core.ranks import agreeing
from ...scope_core.schedule import ARSchedule, Segment, Step
from ...scope_core.settings import Settings
from ...scope_core.signals import ContentSignal, NotFiniteSignalError
from ...scope_core.signals.maps import SignalMaps
from ...scope_core.study.calibration import Circumstances
from ...scope_core.study.plans import planned, wanted
from . import calibration, causal_wan, flow, helios, magi, multigpu, skyreels, workers  # noqa: F401 (families register themselves)
from .caches import other_cache
from .families import HostModel, family_of, hosted
from .latents import UnsuitableError
from .plans import known_plans
from .travelling import Travels
from .unrolling import Bridge, Unrolling

Keep = Callable[[Any, Run, dict[str, Any]], Keeper | None]
"""Makes what keeps a run of a guider, told by what it was given."""


def not_kept(*_: Any) -> None:
    """In Raylight's workers, of which none has the graph or a folder for it."""
    logging.warning("SCOPE: Raylight's runs are not kept on disk; resume has no effect.")


class HostRun:
    """One run of a sampler: made for it, gone with it. Progress, interruption and what is learnt for later plans,
    around the core's run."""

    def __init__(self, run: Run, unrolling: Unrolling, on_step: OnStep, key: str = "", keeper: Keeper | None = None):
        """`key`: identity of the graph behind the model, under which its signals are remembered; empty where no graph
        is known. `keeper`: keeps the run on disk."""
        self.run, self.unrolling, self.on_step, self.key, self.keeper = run, unrolling, on_step, key, keeper
        self.units: list[Tensor] = []
        """Those of the finished units of the segment in work."""

    def segment(self, guider, extra_args: dict, segment: Segment, noise: Tensor, known: Tensor) -> Tensor:
        """Denoise one segment in the model's latent space."""
        run, patcher, schedule = self.run, guider.model_patcher, self.run.schedule
        options, seed = extra_args["model_options"], extra_args.get("seed")
        model = family_of(patcher).model(guider, options, seed, schedule, self.unrolling)
        if not run.trace.segments:
            self.prepare(model, guider)
        model.progress = run.done / schedule.iterations
        start = self.unrolling.start
        if start is not None:
            start = guider.inner_model.process_latent_in(
                comfy.utils.repeat_to_batch_size(start, noise.shape[0]).to(noise)
            )
        self.units.clear()
        made = run.segment(model, segment, noise, known, start, self.follow(model))
        self.units.clear()
        return made

    def prepare(self, model: HostModel, guider: Any) -> None:
        """Before the first step: what earlier runs taught, what a user should know, and what later plans can learn.
        Raises CalibrationError, PlanError."""
        run, patcher = self.run, guider.model_patcher
        family, identity = hosted(run.schedule.family), calibration.identity(model, patcher)
        if run.settings.needs_calibration:
            circumstances = Circumstances.of(identity, run.schedule, family.guidance(patcher, guider.cfg))
            run.calibrated(calibration.taught(run.settings, circumstances))
        guidance, not_split = family.guidance(patcher, guider.cfg), family.not_split(self.unrolling)
        unused = multigpu.idle(patcher, guider, guidance, run.settings, not_split)
        warn(run.trace, [*family.remarks(guider, run.settings), *unused])
        if self.key:
            remember(SignalMaps.learn, self.key, model, run.schedule, identity)
        self.find_plan(identity)
        if self.keeper is not None:
            self.keeper.identity["weights"] = identity
            run.keep(self.keeper)

    def find_plan(self, model: str) -> None:
        """Go on with the steps that a plan of this model has, where they are to be planned. Raises PlanError."""
        run = self.run
        if wanted(run.settings):
            plans, problems = known_plans()
            warn(run.trace, [f"{problem}." for problem in problems])
            run.calibrated(planned(run.settings, run.schedule, plans, model))

    def follow(self, model: HostModel) -> OnStep:
        def on_step(segment: Segment, step: Step, x0: Tensor, record: SegmentTrace) -> None:
            schedule = self.run.schedule
            for unit in step.active:
                if unit.step == unit.steps:
                    first = unit.frames.start if unit.index or segment.index else 0
                    self.units.append(kept(x0, first, unit.frames.stop))
            model.progress = self.run.done / schedule.iterations
            self.on_step(segment, step, x0, record)
            comfy.model_management.throw_exception_if_processing_interrupted()

        return on_step

    def learn_content(self) -> None:
        """What the whole run showed of a signal that looks at the video."""
        signal = self.run.controls[-1].signal
        if self.key and isinstance(signal, ContentSignal) and signal.seen:
            remember(SignalMaps.learn_content, self.key, signal.name, self.run.schedule, signal.seen)

    @contextmanager
    def keeping_finished(self, patcher: Any) -> Iterator[None]:
        """Whatever ends a run early, an error or a cancel, let it go on: what was finished before it is there for the
        next run of the graph, or is written to a .latent file that core's Load Latent reads. Say so."""
        try:
            yield
        except BaseException:
            try:
                if self.keeper is not None and self.keeper.folder is not None:
                    logging.warning("SCOPE: what was finished is kept; queue the same graph again, and it goes on.")
                else:
                    keep_finished(patcher, [*self.run.made, *self.units])
            except Exception as another:  # noqa: BLE001 - it must not hide the first one
                logging.warning("SCOPE: the frames that were finished could not be kept: %s", another)
            raise


class SegmentSampler(comfy.samplers.Sampler):
    """One segment, called by the guider that `sample_video` runs once for each."""

    def __init__(self, run: HostRun, segment: Segment):
        self.run, self.segment = run, segment

    def sample(
        self, guider, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ) -> Tensor:
        family = family_of(guider.model_patcher)
        return family.segment(self.run, guider, sigmas, extra_args, self.segment, noise, latent_image, denoise_mask)


class VideoSampler(Travels, comfy.samplers.Sampler):
    """The whole video in one call, for SamplerCustomAdvanced, also in Raylight's workers. Length and noise levels come
    from the host's latent and sigmas."""

    def __init__(
        self,
        unrolling: Unrolling | None,
        settings: Settings,
        solver: str,
        on_trace: Callable[[Trace], None],
        keep: Keep | None = None,
    ):
        """The overlap of segments stays latent here, since no VAE may run in between. None: what suits the model.
        `keep`: makes what keeps a run on disk; the SAMPLER's next run may be of another graph."""
        self.unrolling, self.settings, self.solver, self.on_trace = unrolling, settings, solver, on_trace
        self.keep = keep

    def state(self) -> dict[str, Any]:
        given: Any = self.unrolling
        left = {"unrolling": replace(given, vae=None) if given and given.vae else given}
        return {**super().state(), **left, "keep": self.keep and not_kept}

    def sample(
        self, guider, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ) -> Tensor:
        patcher = guider.model_patcher
        family = family_of(patcher)
        check_model(patcher, self.settings)
        family.check_noise(noise, denoise_mask)
        unrolling = unrolling_of(patcher, self.unrolling)
        unrolling.check_size(noise)
        unrolling = unrolling.sized(noise)
        levels = family.levels(patcher, sigmas)
        schedule = unrolling.schedule(family.frames(noise), len(levels) - 1, levels=levels)
        workers.check(family, schedule, self.settings)
        start, end = (
            (
                None
                if z is None
                else guider.inner_model.process_latent_in(comfy.utils.repeat_to_batch_size(z.to(noise), noise.shape[0]))
            )
            for z in (known_start(unrolling, schedule), unrolling.end)
        )
        trace = begin_trace(patcher, schedule, self.settings, self.solver)
        warn(trace, family.replaced(latent_image, unrolling))

        def on_step(segment: Segment, step: Step, x0: Tensor, record: SegmentTrace) -> None:
            if callback is not None:
                callback(run.run.done - 1, family.seen(x0, noise), family.seen(x0, noise), schedule.iterations)

        made = Run(schedule, self.settings, self.solver, extra_args.get("seed") or 0, trace)
        given = {"noise": noise, "latent": latent_image, "mask": denoise_mask, "schedule": unrolling}
        keeper = self.keep(guider, made, given) if self.keep else None
        run = HostRun(made, unrolling, on_step, keeper=keeper)
        with keeper or nullcontext(), run.keeping_finished(patcher), agreeing(workers.reduction(patcher)):
            segments = family.unroll(
                lambda segment, noise, known: family.segment(
                    run, guider, sigmas, extra_args, segment, noise, known, denoise_mask
                ),
                noise,
                latent_image,
                schedule,
                start,
                end,
            )
        self.on_trace(trace)
        return join(segments, schedule.overlap)


def knowledge() -> SignalMaps:
    """What earlier runs of this ComfyUI taught about models, in its user folder."""
    return SignalMaps(Path(folder_paths.get_user_directory()) / "scope")


def remember(learn: Callable, *what) -> None:
    """Teach the maps something for later plans. No run depends on it, so what cannot be kept is only reported."""
    try:
        learn(knowledge(), *what)
    except NotFiniteSignalError as error:
        logging.warning("SCOPE: plans of this model stay estimates: %s", error)
    except OSError as error:
        logging.warning(
            "SCOPE: plans of this model stay estimates, because ComfyUI's user folder cannot be written: %s", error
        )


def empty_latent(batch: int, frames: int, height: int, width: int) -> dict[str, Any]:
    """LATENT of zeros for pixels `height` x `width`; samplers adapt it to models whose latents are smaller."""
    samples = torch.zeros(
        [batch, 16, frames, height // 8, width // 8], device=comfy.model_management.intermediate_device()
    )
    return {"samples": samples, "downscale_ratio_spacial": 8}


def start_noise(model, latent: dict[str, Any], seed: int, unrolling: Unrolling) -> Any:
    """Noise for a LATENT, adapted to the model and to whole chunks: [B, C, L, H, W] of a video. Raises UnsuitableError
    for latents that cannot be sampled from."""
    samples = family_of(model).samples(model, latent, unrolling)
    return unrolling.noise(samples, seed, latent.get("batch_index"))


def sample_video(
    model,
    positive,
    negative,
    cfg: float,
    noise: Tensor,
    run: Run,
    unrolling: Unrolling,
    on_step: OnStep,
    key: str = "",
    bridge: Bridge | None = None,
    latent: dict[str, Any] | None = None,
    keeper: Keeper | None = None,
) -> list[Tensor]:
    """Run a schedule on a prepared MODEL: noise [B, C, L, H, W] -> latents of the VAE, of every segment as it was
    sampled (`rollout.unroll`); the trace and what decided are the run's.

    `key` names the model where plans look it up. `latent`: the LATENT, with its mask, that the noise was made for.
    `keeper`: keeps the run on disk, and has what is there of an earlier one. Each segment is one call of a CFGGuider,
    so memory is estimated for a window and VAE work can happen in between. Raises UnsuitableError, NotPreparedError;
    what was finished before an exception is kept in a file.
    """
    check_model(model, run.settings)
    schedule = run.schedule
    start, end = (
        None if known is None else comfy.utils.repeat_to_batch_size(known, noise.shape[0])
        for known in (known_start(unrolling, schedule), unrolling.end)
    )
    hosted = HostRun(run, unrolling, on_step, key, keeper)
    guider, family = comfy.samplers.CFGGuider(model), family_of(model)
    guider.set_conds(family.conditioning(model, positive, noise, unrolling), negative)
    guider.set_cfg(family.guidance(model, cfg))
    latent = latent or {}

    def sample(segment: Segment, noise: Tensor, known: Tensor) -> Tensor:
        made = guider.sample(
            noise,
            known,
            SegmentSampler(hosted, segment),
            family.sigmas(model, schedule, segment),
            latent.get("noise_mask"),
            disable_pbar=True,
            seed=run.seed,
        )
        return made.to(comfy.model_management.intermediate_device(), torch.float32)

    bridge = run.sparing(bridge) if bridge else None
    with keeper or nullcontext(), hosted.keeping_finished(model):
        segments = family.unroll(sample, noise, latent.get("samples"), schedule, start, end, bridge)
    hosted.learn_content()
    return segments


def known_start(unrolling: Unrolling, schedule: ARSchedule) -> Tensor | None:
    """The known frames that are not denoised at all; frames of a chunk that has to be completed go another way
    (`Model.field`)."""
    return unrolling.start[:, :, : schedule.prefix] if unrolling.start is not None and schedule.prefix else None


def keep_finished(patcher: Any, finished: list[Tensor]) -> None:
    """Write latents of the model's space to a file of the output folder, as core's Save Latent does."""
    if not finished or not workers.is_first():
        return
    latents = patcher.model.process_latent_out(torch.cat(finished, dim=2))
    folder, name, counter, _, _ = folder_paths.get_save_image_path(
        "scope/unfinished", folder_paths.get_output_directory()
    )
    path = Path(folder, f"{name}_{counter:05}_.latent")
    disk.write(path, save({"latent_tensor": latents.contiguous(), "latent_format_version_0": torch.tensor([])}))
    logging.warning(
        "SCOPE: the %d latent frames finished before the run ended are in %s; copy it to the input folder and open it"
        " with Load Latent.",
        latents.shape[2],
        path,
    )


def unrolling_of(model, given: Unrolling | None) -> Unrolling:
    """How a video of this model is unrolled. Raises UnsuitableError for a schedule of another family of models."""
    family = family_of(model)
    wants = family.unrolling
    if given is not None and not isinstance(given, wants):
        raise UnsuitableError(f"the schedule comes from {given.node}, but {wants.wanted()}")
    return family.unrolled(model, given)


def check_model(model, settings: Settings) -> None:
    """Raises UnsuitableError or NotPreparedError for models that cannot be sampled this way."""
    family_of(model).check(model)
    if not settings.off and (cache := other_cache(model)):
        raise UnsuitableError(
            f"{cache} is applied to this MODEL; it looks at the whole window at once and would reuse steps behind"
            " SCOPE's back; remove the node, or set the preset to off"
        )


def begin_trace(model, schedule: ARSchedule, settings: Settings, solver: str) -> Trace:
    called = family_of(model).name_of(model)
    names = [
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{device.type}, {platform.processor() or platform.machine()}"
        for device in multigpu.devices_of(model)
    ]
    return Trace.of(
        schedule,
        settings,
        model=called,
        solver=solver,
        warnings=warnings(schedule, settings, solver, called or ""),
        host={"comfyui": comfyui_version.__version__, "torch": torch.__version__, "device": "; ".join(names)},
    )


def warn(trace: Trace, sentences: list[str]) -> None:
    """Log what was found while a run began, and keep it in its trace."""
    for text in sentences:
        logging.warning("SCOPE: %s", text)
    trace.run["warnings"] += sentences


def warnings(schedule: ARSchedule, settings: Settings, solver: str, model: str) -> list[str]:
    """What a user should know about these settings before trusting the result; logged and kept in the trace."""
    found, gate = [], settings.gate
    if not settings.off and schedule.steps < 15:
        found.append(
            f"{schedule.steps} steps leave little to skip; SCOPE is meant for 30 to 64, and for models that are not"
            " distilled to few steps."
        )
    if not settings.off and gate.warm_up + gate.tail >= schedule.steps:
        found.append(f"warm_up {gate.warm_up} and tail {gate.tail} leave none of the {schedule.steps} steps to skip.")
    if caveat := settings.acting.caveat(schedule):
        found.append(caveat)
    found += schedule.family.warnings(schedule, settings.forwarded, solver)
    released = schedule.family.defaults_of(model)
    if released != schedule.family.defaults and schedule.steps != released.steps:
        found.append(f"{model} was released with {released.steps} steps, this run has {schedule.steps}.")
    for text in found:
        logging.warning("SCOPE: %s", text)
    return found
