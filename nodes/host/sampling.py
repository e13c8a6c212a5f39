"""Samplers of the host that own SCOPE's loop, and a whole run from a MODEL to latents and a trace."""

import logging
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import comfyui_version
import folder_paths
import torch
from torch import Tensor

from ...scope_core.calibrate import Circumstances
from ...scope_core.control import Control
from ...scope_core.forcing import DiffusionForcing
from ...scope_core.known import Known
from ...scope_core.magi import ChunkField
from ...scope_core.plan import make_control
from ...scope_core.presets import Settings
from ...scope_core.rollout import Field, compose, rollout, unroll
from ...scope_core.schedule import ARSchedule, Segment, Step, pixel_frames
from ...scope_core.signal import ContentSignal
from ...scope_core.solver import SOLVERS
from ...scope_core.trace import SegmentTrace, Trace, describe
from . import calibration, magi
from .magi import HostNetwork, is_magi
from .skyreels import MODEL_NAME, HostTerm, NotPreparedError, is_prepared
from .unrolling import ChunkWindow, Unrolling

NO_MASK = "the latent has a noise mask, which SCOPE does not use. Give the known frames to AR Schedule as `start` or `end`"
OnStep = Callable[[Segment, Step, Tensor, SegmentTrace], None]
"""Called after every iteration with segment, step, clean estimate [B, C, F, H, W] and the trace so far."""


class UnsuitableError(ValueError):
    """Inputs that SCOPE cannot combine. The message says what to change."""


@dataclass
class Run:
    """One run of a sampler: made for it, gone with it."""

    schedule: ARSchedule
    unrolling: Unrolling | ChunkWindow
    settings: Settings
    solver: str
    seed: int
    trace: Trace
    on_step: OnStep
    key: str = ""
    """Identity of the graph behind the model, under which its signals are remembered; empty where no graph is known."""
    controls: list[Control] = field(default_factory=list)
    """What decided, segment by segment."""
    done: int = 0
    """Iterations done, over all segments."""
    finished: Tensor | None = None
    """Chunks of a chunked schedule that are done, in the model's latent space."""

    def segment(self, guider, extra_args: dict, segment: Segment, noise: Tensor, known: Tensor) -> Tensor:
        """Denoise one segment in the model's latent space."""
        term, view = self.view(guider, extra_args, segment, noise)
        if calibration.needs_ratios(self.settings):
            circumstances = Circumstances.of(calibration.identity(term, guider.model_patcher), self.schedule, calibration.guidance(guider.model_patcher, guider.cfg))
            self.settings = calibration.with_ratios(self.settings, circumstances)
            self.trace.run["settings"] = self.settings.to_json()
        control = make_control(self.settings, self.schedule, segment, term)
        if self.key and not self.trace.segments:
            remember(Known.learn, self.key, term, self.schedule, calibration.identity(term, guider.model_patcher))
        self.controls.append(control)
        record = self.trace.begin(segment)

        def on_step(step: Step, x0: Tensor) -> None:
            self.done += 1
            if self.schedule.chunked and (done := [unit for unit in step.units if unit.step >= unit.steps]):
                self.finished = x0[:, :, :done[-1].frames.stop]
            term.progress = self.done / self.schedule.iterations
            self.on_step(segment, step, x0, record)
            comfy.model_management.throw_exception_if_processing_interrupted()

        term.progress = self.done / self.schedule.iterations
        solver = SOLVERS[self.solver](self.schedule.sigmas)
        try:
            return rollout(view, compose(segment, noise, known), segment, control, solver, record, on_step)
        finally:
            self.trace.forwards += term.forwards
            self.trace.memory = max(self.trace.memory, control.peak_bytes)
            if self.key and isinstance(control.signal, ContentSignal):
                remember(Known.learn_content, self.key, control.policy.signal, self.schedule, control.signal.seen)

    def view(self, guider, extra_args: dict, segment: Segment, noise: Tensor) -> tuple[HostTerm | HostNetwork, Field]:
        """The model as it answers for signals, and as the loop sees it. `noise` [B, C, F, H, W] tells batch and device."""
        options, seed = extra_args["model_options"], extra_args.get("seed")
        if not is_magi(guider.model_patcher):
            term = HostTerm(guider, options, seed)
            return term, DiffusionForcing(term, segment, self.schedule, torch.Generator().manual_seed(self.seed + 7919 * (segment.index + 1)))
        network = HostNetwork(guider, options, self.schedule.steps, self.schedule.frames)
        start = self.unrolling.start
        if start is not None:
            start = guider.inner_model.process_latent_in(comfy.utils.repeat_to_batch_size(start, noise.shape[0]).to(noise))
        return network, ChunkField(network, self.schedule, self.unrolling.reach, None if guider.inner_model.distilled else guider.cfg, start,
                                   skips=not (self.settings.joint or self.settings.policy.depth == 0), kv_bytes=self.unrolling.kv_bytes, compress=self.unrolling.compress)


class SegmentSampler(comfy.samplers.Sampler):
    """One segment, called by the guider that `sample_video` runs once for each."""

    def __init__(self, run: Run, segment: Segment):
        self.run, self.segment = run, segment

    def sample(self, guider, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False) -> Tensor:
        return self.run.segment(guider, extra_args, self.segment, noise, latent_image)


class VideoSampler(comfy.samplers.Sampler):
    """The whole video in one call, for SamplerCustomAdvanced. Length and noise levels come from the host's latent and sigmas."""

    def __init__(self, unrolling: Unrolling | ChunkWindow | None, settings: Settings, solver: str, on_trace: Callable[[Trace], None]):
        """The overlap of an Unrolling stays latent here, since no VAE may run in between. None: what suits the model."""
        self.unrolling, self.settings, self.solver, self.on_trace = unrolling, settings, solver, on_trace

    def sample(self, guider, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False) -> Tensor:
        check_model(guider.model_patcher, self.settings)
        if denoise_mask is not None:
            raise UnsuitableError(NO_MASK)
        unrolling = self.unrolling or default_unrolling(guider.model_patcher)
        check_unrolling(guider.model_patcher, unrolling)
        unrolling.check_size(noise)
        levels = tuple(float(s) for s in sigmas)
        schedule = unrolling.schedule(noise.shape[2], len(levels) - 1, levels=levels)
        start, end = (None if z is None else guider.inner_model.process_latent_in(z.to(noise)).expand(noise.shape[0], -1, -1, -1, -1)
                      for z in (known_start(unrolling, schedule), unrolling.end))
        trace = begin_trace(guider.model_patcher, schedule, self.settings, self.solver)

        def on_step(segment: Segment, step: Step, x0: Tensor, record: SegmentTrace) -> None:
            if callback is not None:
                callback(run.done - 1, x0, x0, schedule.iterations)

        run = Run(schedule, unrolling, self.settings, self.solver, extra_args.get("seed") or 0, trace, on_step)
        video = unroll(lambda segment, noise, known: run.segment(guider, extra_args, segment, noise, known), noise, schedule, start, end)
        self.on_trace(trace)
        return video


def knowledge() -> Known:
    """What earlier runs of this ComfyUI taught about models, in its user folder."""
    return Known(Path(folder_paths.get_user_directory()) / "scope")


def remember(learn: Callable, *what) -> None:
    """Teach `Known` something for later plans. No run depends on it, so a folder that cannot be written is only reported."""
    try:
        learn(knowledge(), *what)
    except OSError as error:
        logging.warning("SCOPE: plans of this model stay estimates, because ComfyUI's user folder cannot be written: %s", error)


def empty_latent(batch: int, frames: int, height: int, width: int) -> dict[str, Any]:
    """LATENT of zeros for pixels `height` x `width`; samplers adapt it to models whose latents are smaller."""
    samples = torch.zeros([batch, 16, frames, height // 8, width // 8], device=comfy.model_management.intermediate_device())
    return {"samples": samples, "downscale_ratio_spacial": 8}


def start_noise(model, latent: dict[str, Any], seed: int, unrolling: Unrolling | ChunkWindow) -> Tensor:
    """Noise [B, C, L, H, W] for an empty LATENT, adapted to the model and to whole chunks. Raises UnsuitableError for other latents."""
    if "noise_mask" in latent:
        raise UnsuitableError(NO_MASK)
    if latent["samples"].count_nonzero():
        raise UnsuitableError("the latent is not empty. To continue or animate known frames, connect them to the schedule node as `start`, and its LATENT here")
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"], latent.get("downscale_ratio_spacial"))
    samples = torch.nn.functional.pad(samples, (0, 0, 0, 0, 0, unrolling.whole(samples.shape[2]) - samples.shape[2]))
    return comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))


def sample_video(model, positive, negative, cfg: float, noise: Tensor, schedule: ARSchedule, unrolling: Unrolling | ChunkWindow, settings: Settings, solver: str,
                 seed: int, on_step: OnStep, key: str = "", bridge: Callable[[Tensor], Tensor] | None = None,
                 controls: list[Control] | None = None) -> tuple[Tensor, Trace]:
    """Run a schedule on a prepared MODEL: noise [B, C, L, H, W] -> latents of the VAE, and the trace.

    `key` names the model where plans look it up; `controls`, where given, is filled with what decided in each segment. Each segment is one call of a CFGGuider, so memory is estimated for a window and VAE work can happen in between.
    Raises UnsuitableError, NotPreparedError; an exception on the way leaves with `finished` set to the latents made before it.
    """
    check_model(model, settings)
    start, end = (None if known is None else comfy.utils.repeat_to_batch_size(known, noise.shape[0])
                  for known in (known_start(unrolling, schedule), unrolling.end))
    trace = begin_trace(model, schedule, settings, solver)
    run = Run(schedule, unrolling, settings, solver, seed, trace, on_step, key, [] if controls is None else controls)
    guider = comfy.samplers.CFGGuider(model)
    if is_magi(model):
        network = model.model.diffusion_model
        positive = magi.with_sizes(positive, noise, unrolling.window, unrolling.reach, network.config, network.dtype, unrolling.kv_bytes)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    sampling = model.get_model_object("model_sampling")
    finished: list[Tensor] = []

    def sample(segment: Segment, noise: Tensor, known: Tensor) -> Tensor:
        rows = len(segment.matrix)
        proxies = torch.tensor([float(sampling.percent_to_sigma(i / rows)) for i in range(rows + 1)])
        try:
            made = guider.sample(noise, known, SegmentSampler(run, segment), proxies, disable_pbar=True, seed=seed)
        except Exception as error:
            if run.finished is not None:
                finished.append(model.model.process_latent_out(run.finished).to(comfy.model_management.intermediate_device(), torch.float32))
            error.finished = torch.cat(finished, dim=2) if finished else None
            raise
        made = made.to(comfy.model_management.intermediate_device(), torch.float32)
        finished.append(made[:, :, segment.prefix if finished else 0:segment.prefix + segment.free])
        return made

    return unroll(sample, noise, schedule, start, end, bridge), trace


def known_start(unrolling: Unrolling | ChunkWindow, schedule: ARSchedule) -> Tensor | None:
    """The known frames that are not denoised at all; frames of a chunk that MAGI-1 has to complete go another way (`ChunkField`)."""
    return unrolling.start[:, :, :schedule.prefix] if schedule.prefix else None


def overlap_bridge(vae, window: int, overlap: int) -> Callable[[Tensor], Tensor] | None:
    """Decode the end of the video made so far and encode it again, as published; None, without a VAE, keeps the overlap latent.
    Lengths in latent frames."""
    if vae is None:
        return None

    def bridge(video: Tensor) -> Tensor:
        """[B, C, F, H, W] -> [B, C, overlap, H, W]."""
        clips = vae.decode(video[:, :, -window:])
        first = clips.shape[1] - pixel_frames(overlap)
        return torch.cat([vae.encode(clip[first:, :, :, :3]) for clip in clips]).to(video)

    return bridge


def keep_finished(error: Exception) -> None:
    """Write the segments that were finished before an error to a .latent file that core's Load Latent reads, and say so."""
    finished = getattr(error, "finished", None)
    if finished is None:
        return
    folder, name, counter, _, _ = folder_paths.get_save_image_path("scope/unfinished", folder_paths.get_output_directory())
    path = os.path.join(folder, f"{name}_{counter:05}_.latent")
    comfy.utils.save_torch_file({"latent_tensor": finished.contiguous(), "latent_format_version_0": torch.tensor([])}, path)
    logging.warning("SCOPE: the %d latent frames made before the error are in %s; copy it to the input folder and open it with Load Latent.",
                    finished.shape[2], path)


def default_unrolling(model) -> Unrolling | ChunkWindow:
    """How a video of this model is unrolled where no schedule is connected."""
    return ChunkWindow() if is_magi(model) else Unrolling()


def check_unrolling(model, unrolling: Unrolling | ChunkWindow) -> None:
    """Raises UnsuitableError for a schedule of the other family of models."""
    if is_magi(model) != isinstance(unrolling, ChunkWindow):
        has, wants = ("AR Schedule", "MAGI-1 Schedule") if is_magi(model) else ("MAGI-1 Schedule", "AR Schedule")
        raise UnsuitableError(f"the schedule comes from {has}, but this model is unrolled by {wants}; connect that node's schedule and latent")


def check_model(model, settings: Settings) -> None:
    """Raises UnsuitableError or NotPreparedError for models that cannot be sampled this way."""
    if not is_magi(model) and not is_prepared(model):
        raise NotPreparedError("this MODEL does not know a noise level per frame. Load it with Load AR Video Model, or connect it to that "
                               "node's `model` input, and remove any ModelSampling node behind it")
    if "easycache" in model.model_options.get("transformer_options", {}) and not settings.off:
        raise UnsuitableError("EasyCache or LazyCache is applied to this MODEL. They look at the whole window at once and would reuse steps "
                              "behind SCOPE's back; remove the node, or set the preset to off")


def begin_trace(model, schedule: ARSchedule, settings: Settings, solver: str) -> Trace:
    device = model.load_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, {platform.processor() or platform.machine()}"
    return Trace(by_chunk=schedule.chunked, run={
        "model": model.get_attachment(MODEL_NAME), "method": "off" if settings.off else settings.method, "solver": solver,
        "settings": settings.to_json(), "schedule": describe(schedule), "warnings": warnings(schedule, settings),
        "host": {"comfyui": comfyui_version.__version__, "torch": torch.__version__, "device": name},
    })


def warnings(schedule: ARSchedule, settings: Settings) -> list[str]:
    """What a user should know about these settings before trusting the result; logged and kept in the trace."""
    found = []
    if not settings.off and schedule.steps < 15:
        found.append(f"{schedule.steps} steps leave little to skip; SCOPE is meant for 30 to 64, and for models that are not distilled to few steps.")
    if not settings.off and settings.warm_up + settings.tail >= schedule.steps:
        found.append(f"warm_up {settings.warm_up} and tail {settings.tail} leave none of the {schedule.steps} steps to skip.")
    if caveat := settings.policy.caveat(schedule):
        found.append(caveat)
    if schedule.chunked:
        return log(found)
    if settings.interval == "paper" and not schedule.causal:
        found.append("selective is 'paper' under full attention: frames that have not started are left out although others would attend "
                     "to them, which changes the picture. 'auto' does it only under causal attention, where it is exact.")
    if settings.interval == "paper" and not schedule.asynchronous:
        found.append("selective computation has nothing to leave out: all chunks are denoised together. Set ar_step above 0.")
    return log(found)


def log(warnings: list[str]) -> list[str]:
    for text in warnings:
        logging.warning("SCOPE: %s", text)
    return warnings
