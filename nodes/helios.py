"""Helios Schedule: how Helios makes a video, and the empty latent that fits."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..scope_core.families import HELIOS
from ..scope_core.families.helios import CHUNK, HEIGHT, TIME_SHIFTS, WIDTH
from .comfy import sampling
from .comfy.helios import Chunks, look_back, unroll_lengths
from .schedule import ScheduleNode, ScheduleType


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
                io.Int.Input(
                    "width",
                    default=WIDTH,
                    min=32,
                    max=8192,
                    step=16,
                    tooltip="Width of the video in pixels. Helios: 640.",
                ),
                io.Int.Input(
                    "height",
                    default=HEIGHT,
                    min=32,
                    max=8192,
                    step=16,
                    tooltip="Height of the video in pixels. Helios: 384.",
                ),
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
                io.Int.Input(
                    "batch_size", default=1, min=1, max=64, tooltip="Videos made together, each from its own noise."
                ),
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
            outputs=[
                ScheduleType.Output(display_name="schedule", tooltip="For the SCOPE samplers."),
                io.Latent.Output(tooltip="Empty latent of the size and the rounded length."),
                io.Int.Output(display_name="length", tooltip="Frames of the result."),
            ],
        )

    @classmethod
    def unroll(cls, widgets: dict[str, Any], start: Tensor | None, end: Tensor | None) -> tuple[Chunks, int]:
        return unroll_lengths(widgets["length"], widgets["width"], widgets["height"], widgets["time_shift"], start)

    @classmethod
    def execute(cls, width: int, height: int, batch_size: int, images=None, vae=None, **widgets) -> io.NodeOutput:
        start = None if images is None else look_back(vae, images, width, height)
        plan, frames = cls.unroll({**widgets, "width": width, "height": height}, start, None)
        pixels = HELIOS.pixel_frames(frames)
        text = f"{pixels} frames ({pixels / HELIOS.fps:.1f} s), {frames // CHUNK} chunks" + (
            f". {plan.note}." if plan.note else ""
        )
        return io.NodeOutput(
            plan, sampling.empty_latent(batch_size, frames, height, width), pixels, ui={"text": [text]}
        )
