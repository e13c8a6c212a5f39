"""diffusers' Helios pipeline: from text, from an image, from a video."""

from typing import Any

import numpy as np
import torch
from diffusers.pipelines.helios.pipeline_helios import calculate_shift
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from ..families.helios import CHUNK, HELIOS, LAST, LONG, MIDDLE, ChunkWithHistory, History, HistoryModel
from ..loop.residuals import BlockPass
from ..loop.sample import Run
from ..loop.trace import Trace
from ..schedule import ARSchedule, Segment, Step
from ..settings import Settings
from .call import UNIPC, Call, Told, denoise

FIXED = {"history_sizes": [LONG, MIDDLE, LAST], "num_latent_frames_per_chunk": CHUNK, "keep_first_frame": True}
"""Arguments that the released models leave no choice in."""
SCHEDULER = {"stages": 1, **UNIPC}
"""Of Helios-Base's scheduler."""
SOLVERS = ("unipc", "euler")


def run(pipe: Any, arguments: dict[str, Any], settings: Settings) -> tuple[Any, Trace]:
    """See `pipelines.accelerate`."""
    for name, value in FIXED.items():
        if arguments[name] != value:
            raise ValueError(f"{name} is {arguments[name]!r}; only {value!r} is served")
    if arguments["latents"] is not None:
        raise ValueError("HeliosPipeline ignores latents; give a generator, which makes the same noise every time")
    call = Call(pipe, arguments, settings)
    video = Video(call)
    frames = video.denoise()
    call.finish()
    return frames, video.run.trace


class Video:
    """The chunks of a video, and what they look back on."""

    def __init__(self, call: Call):
        self.call = call
        self.schedule = self.make_schedule(call.pipe.scheduler)
        solver = call.pipe.scheduler.config.scheduler_type
        self.run = Run(self.schedule, call.settings, solver, trace=call.trace(self.schedule))
        self.transformer = Transformer(call, call.pipe.scheduler.timesteps)

    def make_schedule(self, scheduler: Any) -> ARSchedule:
        """At the levels of the pipeline's scheduler. Raises ValueError."""
        call, config = self.call, scheduler.config
        found = {name: config.get(name) for name in SCHEDULER}
        if found != SCHEDULER or config.scheduler_type not in SOLVERS or config.disable_corrector:
            raise ValueError(
                f"the pipeline's scheduler has scheduler_type={config.scheduler_type!r} and {found}; Helios-Base has"
                f" scheduler_type='unipc' and {SCHEDULER} (distilled models leave no step to skip)"
            )
        size = CHUNK * self.shape[3] * self.shape[4]
        tokens = size // int(np.prod(call.pipe.transformer.config.patch_size))
        named = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
        mu = calculate_shift(tokens, *(config.get(name, usual) for name, usual in zip(named, (256, 4096, 0.5, 1.15))))
        steps = call["num_inference_steps"]
        sigmas = np.linspace(0.999, 0.0, steps + 1)[:-1] if call["sigmas"] is None else np.asarray(call["sigmas"])
        scheduler.set_timesteps(steps, device=call.device, sigmas=sigmas, mu=mu)
        levels = tuple(scheduler.sigmas.double().tolist())
        chunks = max(1, -(-call["num_frames"] // HELIOS.pixel_frames(CHUNK)))
        return HELIOS.schedule(chunks * CHUNK, len(levels) - 1, tokens=tokens, levels=levels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a chunk of latents [B, C, F, H, W]."""
        call, side = self.call, self.call.pipe.vae_scale_factor_spatial
        return (
            call.batch,
            call.pipe.transformer.config.in_channels,
            CHUNK,
            call["height"] // side,
            call["width"] // side,
        )

    def denoise(self) -> Any:
        """The video as the user wants it."""
        call = self.call
        first, before = self.given()
        made = [] if before is None else [before]
        pixels = []
        for segment in self.schedule.segments:
            noise = call.passed(
                call.pipe.prepare_latents,
                batch_size=call.batch,
                num_channels_latents=self.shape[1],
                num_frames=HELIOS.pixel_frames(CHUNK),
                dtype=torch.float32,
                device=call.device,
            )
            past = torch.cat([noise[:, :, :0], *made], 2)
            start = torch.zeros_like(noise[:, :, :1]) if first is None else first
            self.transformer.history = History.of(start, past)
            chunk = denoise(call, self.run, self.transformer, segment, noise)
            if first is None or (call["is_skip_first_chunk"] and segment.index == 1):
                first = chunk[:, :, :1]
            made.append(chunk)
            pixels.append(call.decode(chunk))
        if call["output_type"] == "latent":
            return torch.cat(made, 2)
        video = torch.cat(pixels, 2)
        whole = (video.shape[2] - 1) // call.pipe.vae_scale_factor_temporal * call.pipe.vae_scale_factor_temporal + 1
        return call.pipe.video_processor.postprocess_video(video[:, :, :whole], output_type=call["output_type"])

    def given(self) -> tuple[Tensor | None, Tensor | None]:
        """Latents of the frame that counts as the first [B, C, 1, H, W], and of those right before the video
        [B, C, N, H, W], with noise, encoded and drawn in the pipeline's order."""
        call, pipe = self.call, self.call.pipe
        mean, std = call.statistics()
        encoding = {"latents_mean": mean, "latents_std": 1 / std, "dtype": torch.float32, "device": call.device}
        size = {"height": call["height"], "width": call["width"]}
        first, before, video = call["image_latents"], call["fake_image_latents"], call["video_latents"]
        if call["image"] is not None:
            image = pipe.video_processor.preprocess(call["image"], **size)
            first, before = call.passed(
                pipe.prepare_image_latents, **encoding, image=image, latents=first, fake_latents=before
            )
        if first is not None and call["add_noise_to_image_latents"]:
            first, before = self.shaken(first, "image"), self.shaken(before, "video")
        if call["video"] is not None:
            clip = pipe.video_processor.preprocess_video(call["video"], **size)
            first, video = call.passed(pipe.prepare_video_latents, **encoding, video=clip, latents=video)
        if video is not None:
            if call["add_noise_to_video_latents"]:
                first = self.shaken(first, "image")
                video = torch.cat([self.shaken(chunk, "video") for chunk in video.split(CHUNK, 2)], 2)
            before = video if before is None else torch.cat([before, video], 2)
        return first, before

    def shaken(self, latents: Tensor, kind: str) -> Tensor:
        """Given latents with noise, at a level of its own for every frame."""
        call, generator = self.call, self.call["generator"]
        low, high = call[f"{kind}_noise_sigma_min"], call[f"{kind}_noise_sigma_max"]
        level = torch.rand(latents.shape[2], device=call.device, generator=generator) * (high - low) + low
        level = level.view(1, 1, -1, 1, 1)
        return level * randn_tensor(latents.shape, generator=generator, device=call.device) + (1 - level) * latents


class Transformer(HistoryModel):
    """The pipeline's transformer with its prompts."""

    def __init__(self, call: Call, timesteps: Tensor):
        """`timesteps` [S] of the pipeline's scheduler."""
        self.call, self.layers = call, len(call.pipe.transformer.blocks)
        self.timesteps = timesteps
        self.history: History
        self.told: Told
        first, long, middle, last, current = torch.arange(1 + LONG + MIDDLE + LAST + CHUNK).split(
            [1, LONG, MIDDLE, LAST, CHUNK]
        )
        self.places = {
            "indices_hidden_states": current[None],
            "indices_latents_history_short": torch.cat([first, last])[None],
            "indices_latents_history_mid": middle[None],
            "indices_latents_history_long": long[None],
        }

    def velocity(self, x: Tensor, sigma: float, history: History, around: BlockPass | None) -> Tensor:
        long, middle, short = (part.to(self.call.dtype) for part in history)
        v, forwards = self.call.guided(
            around,
            hidden_states=x.to(self.call.dtype),
            timestep=self.call.pipe._current_timestep.expand(len(x)),
            latents_history_short=short,
            latents_history_mid=middle,
            latents_history_long=long,
            **self.places,
        )
        self.forwards += forwards
        return v

    def features(self, name: str, sigma: np.ndarray) -> Tensor:
        return self.call.features(name, torch.as_tensor(1000 * sigma))

    def patch_embedding(self, x: Tensor) -> Tensor:
        return self.call.patch_embedding(x)

    def field(
        self, segment: Segment, schedule: ARSchedule, seed: int, apart: bool, start: Tensor | None
    ) -> ChunkWithHistory:
        return Chunk(self, segment)


class Chunk(ChunkWithHistory):
    """A chunk that its user is told of."""

    def __init__(self, model: Transformer, segment: Segment):
        super().__init__(model, segment, 0, None)
        self.told, self.timesteps, self.history = model.told, model.timesteps, model.history

    def show(self, x: Tensor, step: Step) -> tuple[Tensor, Any]:
        x = self.told.begin(x, step.index, self.timesteps[step.index])
        return x, x
