"""Helios Schedule: how Helios makes a video, and the empty latent that fits."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..scope_core.families import HELIOS
from ..scope_core.families.helios import CHUNK, HEIGHT, TIME_SHIFTS, WIDTH
from .comfy import sampling
from .comfy.helios import Chunks, look_back, unroll_lengths
from .schedule import ScheduleNode, batch_input, schedule_outputs, side_input


class HeliosScheduleNode(ScheduleNode):
    family = HELIOS

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_HeliosSchedule",
            display_name="Helios Schedule",
            category="SCOPE",
            description=(
                "How Helios makes a video: its size and length in chunks of 33 frames, and the image that it animates"
                " or the video that it goes on from."
            ),
            search_aliases=["helios", "ar schedule", "chunk", "image to video", "video continuation", "video extend"],
            inputs=[
                side_input("width", WIDTH, "Helios: 640."),
                side_input("height", HEIGHT, "Helios: 384."),
                io.Int.Input(
                    "length",
                    default=132,
                    min=1,
                    max=8184,
                    step=33,
                    tooltip=(
                        "Frames to make, at 24 per second, given ones not counted. Rounded up to whole chunks of 33."
                    ),
                ),
                batch_input(),
                io.Combo.Input(
                    "time_shift",
                    options=list(TIME_SHIFTS),
                    default=TIME_SHIFTS[0],
                    advanced=True,
                    tooltip=(
                        "How the noise levels follow the size where `shift` of the sampler is 0: time_shift_type of the"
                        " model's scheduler."
                    ),
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip=(
                        "One image to animate, or 33 frames and more of a video to go on from, of the video's size. The"
                        " result is what comes after them. Needs `vae`."
                    ),
                ),
                io.Vae.Input("vae", optional=True, tooltip="The Wan 2.1 VAE, which encodes `images`."),
            ],
            outputs=schedule_outputs(),
        )

    @classmethod
    def unroll(cls, widgets: dict[str, Any], start: Tensor | None, end: Tensor | None) -> tuple[Chunks, int]:
        return unroll_lengths(widgets["length"], widgets["width"], widgets["height"], widgets["time_shift"], start)

    @classmethod
    def execute(cls, width: int, height: int, batch_size: int, images=None, vae=None, **widgets) -> io.NodeOutput:
        start = None if images is None else look_back(vae, images, width, height)
        plan, frames = cls.unroll({**widgets, "width": width, "height": height}, start, None)
        latent = sampling.empty_latent(batch_size, frames, height, width)
        return cls.output(plan, latent, f"{frames // CHUNK} chunks")
