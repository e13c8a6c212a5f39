"""How a video is unrolled, as the schedule nodes hand it to the samplers; a sampler adds length, steps and shift.
Lengths in latent frames."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import comfy.sample
from torch import Tensor

from ...scope_core.schedule import ARSchedule, Family, ScheduleError

Bridge = Callable[[Tensor], Tensor]


class Unrolling(ABC):
    """What one of the schedule nodes gives; each family has its own."""

    family: Family
    node: str
    """Title of the node that gives it."""
    chunk: int = 1
    """Latent frames of which a video has a multiple,"""
    patch: int = 1
    """and latent pixels of which its sides have."""
    start_input: str = "start"
    """What its node calls the known first frames."""
    start: Tensor | None
    """Known first frames."""
    end: Tensor | None
    """Frames that the video leads to."""
    vae: Any
    by_length: bool = True
    """What is computed depends on the length of the video."""
    note: str
    """Why the length is not the one asked for."""

    @classmethod
    def wanted(cls) -> str:
        """What to connect to a sampler of such a model."""
        return f"this model is unrolled by {cls.node}; connect that node's schedule and latent"

    @abstractmethod
    def schedule(
        self, frames: int, steps: int, shift: float | None = None, levels: tuple[float, ...] | None = None
    ) -> ARSchedule:
        """Raises ScheduleError."""

    def whole(self, frames: int) -> int:
        """Latent frames to sample for a video of `frames`."""
        return -(-frames // self.chunk) * self.chunk

    def check_size(self, latent: Tensor) -> None:
        """Raises ScheduleError where the video or the given frames have a size that the model cannot take."""
        frames, (height, width), title = latent.shape[2], latent.shape[3:], self.family.title
        if frames % self.chunk:
            raise ScheduleError(
                f"the video has {frames} latent frames, and a chunk of {title} has {self.chunk}; connect the latent of"
                f" {self.node}, which has whole chunks, or one of {self.whole(frames)}"
            )
        if height % self.patch or width % self.patch:
            raise ScheduleError(
                f"the video is {width} x {height} in latent pixels, and {title} puts {self.patch} x {self.patch} of"
                f" them together; choose a width and a height that are multiples of {8 * self.patch} pixels"
            )
        check_frames(self.start_input, self.start, latent)
        check_frames("end", self.end, latent)

    def guesses(self, shift: float, changing: bool) -> list[str]:
        """What a plan at this shift has to assume, in sentences. `changing`: prompts, LoRAs or controls that hold for a
        part of the steps."""
        return []

    def sized(self, latent: Tensor) -> "Unrolling":
        """The same for a video of this size."""
        return self

    def noise(self, samples: Tensor, seed: int, indices: Any) -> Tensor:
        """Noise for empty latents [B, C, L, H, W], in the model's own order where it has one. `indices`: of videos of a
        larger batch, or None."""
        return comfy.sample.prepare_noise(samples, seed, indices)

    def bridge(self, tell: Callable[[str], None]) -> Bridge | None:
        """What turns a segment, as it was sampled, into the prefix of the next one in this run; None takes over the
        last latent frames. `tell` is told what befalls it."""
        return None

    def preview_vae(self) -> Any:
        """What decodes chunks for the preview as they are finished, or None."""
        return None


def check_frames(name: str, frames: Tensor | None, latent: Tensor) -> None:
    """Raises ScheduleError where given frames do not have the size of the video."""
    if frames is not None and (
        frames.ndim != 5 or frames.shape[1] != latent.shape[1] or frames.shape[3:] != latent.shape[3:]
    ):
        raise ScheduleError(
            f"`{name}` has latents of shape {list(frames.shape)}, the video has {list(latent.shape)} (batch, channels,"
            " frames, height, width); scale the image to the video's width and height before VAE Encode, with the"
            " model's own VAE"
        )
