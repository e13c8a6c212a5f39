"""How a video is unrolled, as the schedule nodes hand it to the samplers; a sampler adds length, steps and shift. Lengths in latent frames."""

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ...scope_core.kv import Compression
from ...scope_core.magi import CHUNK, Reach, magi_schedule
from ...scope_core.schedule import TEMPORAL_STRIDE, ARSchedule, ScheduleError, latent_frames, snap_length


def check_frames(name: str, frames: Tensor | None, latent: Tensor) -> None:
    """Raises ScheduleError where given frames do not have the size of the video."""
    if frames is not None and (frames.ndim != 5 or frames.shape[1] != latent.shape[1] or frames.shape[3:] != latent.shape[3:]):
        raise ScheduleError(f"`{name}` has latents of shape {list(frames.shape)}, the video has {list(latent.shape)} (batch, channels, frames, "
                            "height, width). Scale the image to the video's width and height before VAE Encode, with the model's own VAE")


@dataclass(frozen=True)
class Unrolling:
    """SkyReels-V2: windows that overlap."""

    window: int = 25
    overlap: int = 5
    block: int = 1
    ar_step: int = 0
    causal: bool = False
    condition_noise: float = 20
    start: Tensor | None = None
    end: Tensor | None = None
    vae: Any = None
    """Decodes and re-encodes the overlap between segments; without it the overlap stays latent."""
    note: str = ""
    """Why the length is not the one asked for."""

    def schedule(self, frames: int, steps: int, shift: float = 8.0, levels: tuple[float, ...] | None = None) -> ARSchedule:
        return ARSchedule(
            frames, steps, self.window, self.overlap, self.block, self.ar_step,
            prefix=0 if self.start is None else self.start.shape[2], tail=0 if self.end is None else self.end.shape[2],
            condition_noise=self.condition_noise, shift=shift, levels=levels, causal=self.causal)

    def whole(self, frames: int) -> int:
        """Latent frames to sample for a video of `frames`."""
        return frames

    def check_size(self, latent: Tensor) -> None:
        """Raises ScheduleError where given frames do not have the size of the video."""
        check_frames("start", self.start, latent)
        check_frames("end", self.end, latent)


@dataclass(frozen=True)
class ChunkWindow:
    """MAGI-1: chunks that follow each other."""

    window: int = 4
    """Chunks in the works at a time."""
    reach: Reach = Reach()
    shortcut: str = "8,16,16"
    kv_bytes: float = 8e9
    """Keys and values of earlier chunks that stay on the GPU."""
    compress: Compression | None = None
    start: Tensor | None = None
    vae: Any = None
    """Decodes chunks for the preview as they are finished."""
    note: str = ""
    end = None

    def schedule(self, frames: int, steps: int, shift: float = 3.0, levels: tuple[float, ...] | None = None) -> ARSchedule:
        prefix = 0 if self.start is None else self.start.shape[2]
        return replace(magi_schedule(frames, steps, self.window, prefix, self.reach, self.shortcut), shift=shift, levels=levels)

    def whole(self, frames: int) -> int:
        """Latent frames to sample for a video of `frames`."""
        return -(-frames // CHUNK) * CHUNK

    def check_size(self, latent: Tensor) -> None:
        """Raises ScheduleError for sizes that the model cannot take."""
        if latent.shape[2] % CHUNK:
            raise ScheduleError(f"the video has {latent.shape[2]} latent frames, and a chunk of MAGI-1 has {CHUNK}; connect the latent of MAGI-1 Schedule, which has "
                                f"whole chunks, or one of {self.whole(latent.shape[2])}")
        if any(side % 2 for side in latent.shape[3:]):
            raise ScheduleError(f"the video is {latent.shape[4]} x {latent.shape[3]} in latent pixels, and MAGI-1 puts 2 x 2 of them together; choose a width and a "
                                "height that are multiples of 16 pixels")
        check_frames("start", self.start, latent)


def unroll(length: int, window: int, overlap: int, chunk: int, ar_step: int, causal: bool, condition_noise: float,
           start: Tensor | None, end: Tensor | None, vae: Any = None) -> tuple[Unrolling, int]:
    """What the widgets of AR Schedule stand for, and the length in frames that fits. Raises ScheduleError."""
    for name, value in (("window", window), ("overlap", overlap)):
        if (value - 1) % TEMPORAL_STRIDE:
            low = value - (value - 1) % TEMPORAL_STRIDE
            raise ScheduleError(f"{name} is {value} frames; frames come in groups of four after the first, so use {low} or {low + TEMPORAL_STRIDE}")
    unrolling = Unrolling(latent_frames(window), latent_frames(overlap), chunk, ar_step, causal, condition_noise, start, end, vae)
    unrolling.schedule(latent_frames(length), max(ar_step, 2))
    frames, why = snap_length(length, window=unrolling.window, overlap=unrolling.overlap, block=chunk if ar_step or causal else 1,
                              prefix=0 if start is None else start.shape[2])
    return replace(unrolling, note=why), frames


def unroll_chunks(length: int, window: int, noisy: tuple[int, ...], shortcut: str, kv_gb: float, start: Tensor | None,
                  vae: Any = None, kv_chunks: int = 0) -> tuple[ChunkWindow, int]:
    """What the widgets of MAGI-1 Schedule stand for, and the latent frames that fit. Raises ScheduleError."""
    if kv_chunks and noisy:
        raise ScheduleError(f"kv_chunks is {kv_chunks}, but chunks here look back {noisy[0]} chunks at most, which keeps keys and values few without it; "
                            "set look_back to all, or kv_chunks to 0")
    plan = ChunkWindow(window, Reach(noisy), shortcut, kv_gb * 1e9, Compression(kv_chunks) if kv_chunks else None, start, vae)
    asked = -(-length // TEMPORAL_STRIDE)
    frames = plan.whole(asked)
    plan.schedule(asked, 4 * window)
    why = f"{length} frames became {frames * TEMPORAL_STRIDE}: a chunk has {CHUNK * TEMPORAL_STRIDE}" if frames * TEMPORAL_STRIDE != length else ""
    return replace(plan, note=why), frames
