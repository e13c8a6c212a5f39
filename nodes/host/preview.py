"""Live preview of an autoregressive run: a filmstrip with one thumbnail per chunk, the active ones outlined."""

import comfy.model_management
import comfy.utils
import latent_preview
from PIL import Image, ImageDraw
from torch import Tensor

from ...scope_core.schedule import ARSchedule, Segment, Step

MOST_THUMBNAILS = 12
OUTLINE = (255, 176, 0)


class FilmstripPreview:
    """Reports progress for every iteration, skipped ones too, with the filmstrip where the user wants previews."""

    def __init__(self, model, schedule: ARSchedule):
        self.total = schedule.iterations
        self.done = 0
        self.progress = comfy.utils.ProgressBar(self.total)
        self.previewer = latent_preview.get_previewer(model.load_device, model.get_model_object("latent_format"))

    def __call__(self, segment: Segment, step: Step, x0: Tensor) -> None:
        self.done += 1
        strip = None if self.previewer is None else ("JPEG", self.filmstrip(segment, step, x0), latent_preview.MAX_PREVIEW_RESOLUTION)
        self.progress.update_absolute(self.done, self.total, strip)

    def filmstrip(self, segment: Segment, step: Step, x0: Tensor) -> Image.Image:
        """Thumbnails of the middle frame of evenly chosen blocks, in a grid that is about as wide as a node."""
        blocks = segment.blocks
        chosen = [blocks[i * len(blocks) // min(len(blocks), MOST_THUMBNAILS)] for i in range(min(len(blocks), MOST_THUMBNAILS))]
        frames = [(b.start + b.stop - 1) // 2 for b in chosen]
        pictures = [self.previewer.decode_latent_to_preview(x0[:1, :, f:f + 1]) for f in frames]
        width, height = pictures[0].size
        scale = max(1, -(-96 // width))
        width, height = width * scale, height * scale
        columns = min(len(pictures), 4)
        rows = -(-len(pictures) // columns)
        strip = Image.new("RGB", (columns * (width + 4), rows * (height + 4)))
        draw = ImageDraw.Draw(strip)
        for i, (picture, frame) in enumerate(zip(pictures, frames)):
            x, y = i % columns * (width + 4), i // columns * (height + 4)
            if step.update[frame]:
                draw.rectangle((x, y, x + width + 3, y + height + 3), fill=OUTLINE)
            strip.paste(picture.resize((width, height)), (x + 2, y + 2))
        return strip
