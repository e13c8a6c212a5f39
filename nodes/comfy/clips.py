"""Small clips for the browser to compare, in ComfyUI's temp folder, and a labelled video of both to keep."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import folder_paths
import torch
from comfy_api.latest import Input, InputImpl, Types
from torch import Tensor

from ...scope_core.study.labelled import Labelled

GAIN = 8
"""What differences are multiplied by before they are written."""


def write_clip(images: Tensor, fps: float, name: str) -> dict[str, str]:
    """Write images [T, H, W, C] in [0, 1] as H.264; returns the file as the browser asks for it."""
    return write_frames(images, images.shape, fps, name)


def write_difference(a: Tensor, b: Tensor, fps: float, name: str) -> dict[str, str]:
    """Write |a - b| times GAIN, made from the frames themselves so that no codec adds to it."""
    return write_frames(((x - y).abs() * GAIN for x, y in zip(a, b)), a.shape, fps, name)


def write_frames(frames: Iterable[Tensor], shape: tuple[int, ...], fps: float, name: str) -> dict[str, str]:
    """H.264 with a key frame every eight, so that scrubbing is quick; odd sizes lose a row or column. Raises ValueError
    for frames that it cannot hold."""
    height, width = (size // 2 * 2 for size in shape[1:3])
    if not height or not width:
        raise ValueError(
            f"frames of {shape[2]}x{shape[1]} pixels cannot be written as a clip; they need at least 2x2; give larger"
            " frames, or scale these up first"
        )
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
        f"scope/{name}", folder_paths.get_temp_directory()
    )
    file = f"{name}_{counter:05}_.mp4"
    with av.open(Path(folder, file), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1000), options={"crf": "10", "preset": "veryfast"}
        )
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, "yuv420p", 8
        for frame in frames:
            pixels = (frame[:height, :width, :3] * 255).round().clamp(0, 255).byte().cpu().numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return {"filename": file, "subfolder": subfolder, "type": "temp"}


class LabelledVideo(Input.Video):
    """A VIDEO that is made when a node asks for it, for most comparisons are only watched."""

    def __init__(self, labelled: Labelled, fps: float):
        self.labelled, self.fps = labelled, Fraction(fps).limit_denominator(1000)

    def get_components(self) -> Types.VideoComponents:
        return Types.VideoComponents(images=torch.stack([*self.labelled.frames()]), audio=None, frame_rate=self.fps)

    def get_dimensions(self) -> tuple[int, int]:
        return self.labelled.size

    def save_to(self, *place: Any, **how: Any) -> None:
        self.made().save_to(*place, **how)

    def as_trimmed(self, *span: Any, **how: Any) -> Any:
        return self.made().as_trimmed(*span, **how)

    def made(self) -> Any:
        return InputImpl.VideoFromComponents(self.get_components())
