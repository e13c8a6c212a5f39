"""Live preview of an autoregressive run: a filmstrip with one thumbnail per chunk, the active ones outlined."""

import time
from collections.abc import Callable

import comfy.model_management
import comfy.utils
import latent_preview
from PIL import Image, ImageDraw
from server import PromptServer
from torch import Tensor

from ...scope_core.schedule import ARSchedule, Segment, Step
from . import room

MOST_THUMBNAILS = 12
OUTLINE = (255, 176, 0)
WAITING = (48, 48, 48)
THUMBNAIL = 160
PERIOD = 0.25
"""Seconds between two pictures at least: one waits for the device, and a skipped step takes milliseconds."""


def previewer(device, latent_format):
    """The one that was chosen. ComfyUI's default is none, so a choice is a method, or none in the settings of the page;
    without one it is that which costs least."""
    chosen = latent_preview.get_previewer(device, latent_format)
    if chosen or latent_format.latent_rgb_factors is None or is_declined():
        return chosen
    return latent_preview.Latent2RGBPreviewer(
        latent_format.latent_rgb_factors,
        latent_format.latent_rgb_factors_bias,
        latent_format.latent_rgb_factors_reshape,
    )


def is_declined() -> bool:
    """The prompt that is run says so."""
    queue = getattr(getattr(PromptServer, "instance", None), "prompt_queue", None)
    return queue is not None and any(
        item[3].get("preview_method") == "none" for item in queue.currently_running.values()
    )


class FilmstripPreview:
    """Reports progress for every iteration, skipped ones too, with the filmstrip unless nobody wants previews.

    With a `vae`, chunks are decoded as soon as they are finished, and shown as they will be.
    """

    def __init__(self, model, schedule: ARSchedule, vae=None, tell: Callable[[str], None] = room.log):
        """`tell` is told where the VAE needs smaller tiles."""
        self.total, self.vae, self.tell = schedule.iterations, vae, tell
        self.model = model
        self.decoded: dict[int, Image.Image] = {}
        """Middle frame of finished chunks, by unit."""
        self.schedule = schedule
        self.progress = comfy.utils.ProgressBar(self.total)
        self.previewer = previewer(model.load_device, model.get_model_object("latent_format"))
        self.shown = float("-inf")

    def __call__(self, segment: Segment, step: Step, x0: Tensor) -> None:
        before = sum(earlier.rows for earlier in self.schedule.segments[: segment.index])
        if self.vae is not None:
            self.decode_finished(step, x0)
        done, strip = before + step.index + 1, None
        if (self.previewer or self.decoded) and (time.monotonic() >= self.shown + PERIOD or done == self.total):
            strip = ("JPEG", self.filmstrip(segment, step, x0), latent_preview.MAX_PREVIEW_RESOLUTION)
            self.shown = time.monotonic()
        self.progress.update_absolute(done, self.total, strip)

    def decode_finished(self, step: Step, x0: Tensor) -> None:
        for unit in step.units:
            if unit.step >= unit.steps and unit.index not in self.decoded:
                latents = self.model.model.process_latent_out(x0[:1, :, unit.frames])
                frames = room.decode(self.vae, latents, self.tell)[0]
                picture = Image.fromarray((frames[len(frames) // 2] * 255).clamp(0, 255).byte().cpu().numpy())
                picture.thumbnail((THUMBNAIL, THUMBNAIL))
                self.decoded[unit.index] = picture

    def picture(self, segment: Segment, columns: slice, x0: Tensor) -> Image.Image:
        """Thumbnail of a block."""
        unit = next((i for i, frames in enumerate(segment.units) if frames == columns), None)
        if unit in self.decoded:
            return self.decoded[unit]
        if self.previewer is None:
            return Image.new("RGB", next(iter(self.decoded.values())).size, WAITING)
        middle = (columns.start + columns.stop - 1) // 2
        return self.previewer.decode_latent_to_preview(self.frame(x0, middle))

    def frame(self, x0: Tensor, index: int) -> Tensor:
        """Of a video [1, C, 1, H, W]; an image [1, C, H, W] is one as it is."""
        return x0[:1] if x0.ndim == 4 else x0[:1, :, index : index + 1]

    def filmstrip(self, segment: Segment, step: Step, x0: Tensor) -> Image.Image:
        """Thumbnails of the middle frame of evenly chosen blocks, in a grid that is about as wide as a node."""
        blocks = segment.blocks
        chosen = [
            blocks[i * len(blocks) // min(len(blocks), MOST_THUMBNAILS)]
            for i in range(min(len(blocks), MOST_THUMBNAILS))
        ]
        pictures = [self.picture(segment, columns, x0) for columns in chosen]
        width, height = (max(sizes) for sizes in zip(*(picture.size for picture in pictures)))
        scale = max(1, -(-96 // width))
        width, height = width * scale, height * scale
        columns = min(len(pictures), 4)
        rows = -(-len(pictures) // columns)
        strip = Image.new("RGB", (columns * (width + 4), rows * (height + 4)))
        draw = ImageDraw.Draw(strip)
        for i, (picture, block) in enumerate(zip(pictures, chosen)):
            x, y = i % columns * (width + 4), i // columns * (height + 4)
            if step.update[block].any():
                draw.rectangle((x, y, x + width + 3, y + height + 3), fill=OUTLINE)
            strip.paste(picture.resize((width, height)), (x + 2, y + 2))
        return strip
