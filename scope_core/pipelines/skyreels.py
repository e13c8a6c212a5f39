"""diffusers' three SkyReels-V2 diffusion-forcing pipelines: from text, from an image, from a video."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..families.skyreels import SKYREELS, DiffusionForcing, Term, timesteps
from ..loop.residuals import BlockPass
from ..loop.rollout import join
from ..loop.sample import Run
from ..loop.trace import Trace
from ..schedule import ARSchedule, Segment, Step
from ..settings import Settings
from .call import UNIPC, Call, Told, denoise


def run(pipe: Any, arguments: dict[str, Any], settings: Settings) -> tuple[Any, Trace]:
    """See `pipelines.accelerate`."""
    if "video" in arguments:
        arguments["num_videos_per_prompt"] = 1  # as in the pipeline
    with attention_as_before(pipe.transformer):
        call = Call(pipe, arguments, settings)
        require_possible(call)
        video = Video(call)
        latents = video.denoise()
        frames = latents if call["output_type"] == "latent" else video.pixels(latents)
        call.finish()
        return frames, video.run.trace


def require_possible(call: Call) -> None:
    """What the pipelines take and then fail on. Raises ValueError."""
    if call["latents"] is not None and "image" not in call:
        raise ValueError(
            f"{type(call.pipe).__name__} fails on latents; leave them out and give a generator, which makes the same"
            " noise every time"
        )
    if call["overlap_history"] is None and "video" in call:
        raise ValueError(
            "overlap_history is None; give the number of frames at the end of the video to go on from, such as 17 or 37"
        )


class Video:
    """The windows of a video, and what they start from."""

    def __init__(self, call: Call):
        self.call, pipe = call, call.pipe
        call.arguments["num_frames"] = rounded(call["num_frames"], pipe.vae_scale_factor_temporal)
        self.given = {name: self.preprocessed(name) for name in ("image", "last_image", "video") if name in call}
        if (known := self.given.get("video")) is not None and known.shape[2] < call["overlap_history"]:
            raise ValueError(
                f"the video has {known.shape[2]} frames, fewer than overlap_history = {call['overlap_history']}; give"
                " a longer one, or a lower number"
            )
        self.schedule = self.make_schedule(pipe)
        self.run = Run(self.schedule, call.settings, trace=call.trace(self.schedule))
        self.transformer = Transformer(call)
        self.end: Tensor | None = None
        """Latents of `last_image`, once there are some."""

    def preprocessed(self, name: str) -> Tensor | None:
        """An image [B, 3, H, W] or video [B, 3, F, H, W] that the call is given."""
        call, processor = self.call, self.call.pipe.video_processor
        if call[name] is None:
            return None
        process = processor.preprocess_video if name == "video" else processor.preprocess
        return process(call[name], height=call["height"], width=call["width"]).to(call.device, torch.float32)

    def make_schedule(self, pipe: Any) -> ARSchedule:
        """Raises ScheduleError, and ValueError for what the pipeline cannot do or does to no use."""
        call = self.call

        def latent(pixels: int) -> int:
            return (pixels - 1) // pipe.vae_scale_factor_temporal + 1

        if call["causal_block_size"] is not None:
            pipe.transformer._set_ar_attention(call["causal_block_size"])
        block = pipe.transformer.config.num_frame_per_block
        frames, overlap = latent(call["num_frames"]), latent(call["overlap_history"] or 1)
        long = call["overlap_history"] is not None and call["num_frames"] > call["base_num_frames"]
        by_name = {"image": 1, "video": overlap}
        schedule = SKYREELS.schedule(
            frames,
            call["num_inference_steps"],
            latent(call["base_num_frames"]) if long or "video" in call else frames,
            overlap,
            block,
            call["ar_step"],
            prefix=sum(size for name, size in by_name.items() if name in call),
            tail=int(self.given.get("last_image") is not None),
            condition_noise=call["addnoise_condition"],
            shift=pipe.scheduler.config.get("flow_shift", SKYREELS.defaults.shift),
            table="diffusers",
            causal=block > 1,
        )
        require_whole_blocks(schedule, block)
        require_scheduler(pipe.scheduler, schedule, call.device)
        return schedule

    def denoise(self) -> Tensor:
        """Latents of the whole video [B, C, L, H, W], as the pipeline returns them: with the last image, if any."""
        made: list[Tensor] = []
        for segment in self.schedule.segments:
            so_far = join(made, self.schedule.overlap) if made else None
            window = denoise(self.call, self.run, self.transformer, segment, self.start(segment, so_far))
            made.append(window[:, :, : segment.prefix + segment.free])
        latents = join(made, self.schedule.overlap)
        return latents if self.end is None else torch.cat([latents, self.end], 2)

    def start(self, segment: Segment, so_far: Tensor | None) -> Tensor:
        """Noise, and the clean latents of known frames, all columns. The pipeline's own method draws and encodes, once
        for each window, so the same generator gives the same."""
        call, schedule = self.call, self.schedule
        one = len(schedule.segments) == 1 and "video" not in call
        noise, _, known, _ = call.passed(
            call.pipe.prepare_latents,
            **(self.given if not segment.index else dict.fromkeys(self.given)),
            batch_size=call.batch * call["num_videos_per_prompt"],
            num_channels_latents=call.pipe.transformer.config.in_channels,
            dtype=torch.float32,
            device=call.device,
            latents=None if segment.index else call["latents"],
            video_latents=so_far,
            base_latent_num_frames=None if one else schedule.window,
            causal_block_size=schedule.block,
            overlap_history_latent_frames=schedule.overlap,
            long_video_iter=None if one else segment.index,
        )
        if known is None:
            return noise
        known = known.to(call.dtype).to(noise.dtype)
        if not segment.index and schedule.tail:
            self.end, known = known[-1:].expand(len(noise), -1, -1, -1, -1), known[:1]
        noise[:, :, : segment.prefix] = known[:, :, : segment.prefix]
        return noise if not segment.tail or self.end is None else torch.cat([noise, self.end], 2)

    def pixels(self, latents: Tensor) -> Any:
        """The video as the user wants it."""
        pixels = self.call.decode(latents[:, :, : self.schedule.frames])
        if (before := self.given.get("video")) is not None:
            pixels = torch.cat([before, pixels.to(before.dtype)], 2)
        return self.call.pipe.video_processor.postprocess_video(pixels, output_type=self.call["output_type"])


class Transformer(Term):
    """The pipeline's transformer with its prompts."""

    def __init__(self, call: Call):
        self.call, self.layers = call, len(call.pipe.transformer.blocks)
        self.fps = [int(call["fps"] != 16)]
        """One for all prompts. (The pipelines give one for each, on which the transformer fails.)"""
        self.told: Told

    def velocity(
        self, x: Tensor, timestep: np.ndarray, attended: tuple[slice, ...] | None, around: BlockPass | None
    ) -> Tensor:
        """See `Term`; the transformer knows the blocks of block-causal attention itself."""
        v, forwards = self.call.guided(
            around,
            hidden_states=x,
            timestep=torch.as_tensor(timestep, device=x.device).long().expand(len(x), -1),
            enable_diffusion_forcing=True,
            fps=self.fps,
        )
        self.forwards += forwards
        return v

    def features(self, name: str, sigma: np.ndarray) -> Tensor:
        return self.call.features(name, torch.as_tensor(timesteps(sigma)).long())

    def patch_embedding(self, x: Tensor) -> Tensor:
        return self.call.patch_embedding(x)

    def field(
        self, segment: Segment, schedule: ARSchedule, seed: int, apart: bool, start: Tensor | None
    ) -> DiffusionForcing:
        return Window(self, self.told, segment, schedule)


class Window(DiffusionForcing):
    """A window that its user is told of, with conditioning noise from torch's own generator, as in the pipeline."""

    def __init__(self, term: Transformer, told: Told, segment: Segment, schedule: ARSchedule):
        super().__init__(term, segment, schedule, torch.default_generator)
        self.told, self.dtype = told, term.call.dtype

    def show(self, x: Tensor, step: Step) -> tuple[Tensor, Any]:
        t = timesteps(step.sigma)
        x = self.told.begin(x, step.index, torch.as_tensor(t, device=x.device).long())
        shown = x.to(self.dtype)
        level, known = 0.001 * self.schedule.condition_noise, shown[:, :, : self.segment.prefix]
        if level and self.segment.prefix:
            known = known * (1 - level) + torch.randn_like(known) * level
            shown = torch.cat([known, shown[:, :, self.segment.prefix :]], 2)
            t[: self.segment.prefix] = self.schedule.condition_noise
        return x, (shown, t)


def rounded(frames: int, stride: int) -> int:
    """Pixel frames as the pipeline rounds them, to whole latent frames."""
    if frames % stride == 1:
        return frames
    whole = frames // stride * stride + 1
    logging.warning("num_frames is %d; made it %d, a multiple of %d and one more", frames, whole, stride)
    return whole


@contextmanager
def attention_as_before(transformer: Any) -> Iterator[None]:
    """`causal_block_size` holds for one call. (The pipelines leave it in the transformer, for all that follow.)"""
    block = transformer.config.num_frame_per_block
    try:
        yield
    finally:
        transformer._set_ar_attention(block)


def require_whole_blocks(schedule: ARSchedule, block: int) -> None:
    """The transformer's mask knows whole blocks only. Raises ValueError."""
    if block == 1:
        return
    for segment in schedule.segments:
        if segment.frames % block or segment.prefix % block:
            raise ValueError(
                f"causal_block_size is {block}, but a window has {segment.frames} latent frames, of which"
                f" {segment.prefix} are known, and both have to be whole blocks: the pipeline would leave the others"
                " noise, or denoise known ones; choose other lengths (4 n - 3 pixel frames are n latent frames), or"
                " causal_block_size=1"
            )


def require_scheduler(scheduler: Any, schedule: ARSchedule, device: torch.device) -> None:
    """That the pipeline's scheduler is UniPC at the levels of `schedule`. Raises ValueError."""
    found = {name: scheduler.config.get(name) for name in UNIPC}
    fits = found == UNIPC and not scheduler.config.get("disable_corrector")
    if fits:
        scheduler.set_timesteps(schedule.steps, device=device)
        levels = scheduler.sigmas.cpu().numpy()
        fits = levels.shape == schedule.sigmas.shape and bool(np.allclose(levels, schedule.sigmas, atol=1e-6))
    if not fits:
        wanted = ", ".join(f"{name}={value!r}" for name, value in UNIPC.items())
        raise ValueError(
            f"the pipeline's scheduler is {type(scheduler).__name__} with {found}; set pipe.scheduler ="
            f" UniPCMultistepScheduler(flow_shift={schedule.shift:g}, {wanted})"
        )
