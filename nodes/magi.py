"""MAGI-1 Schedule: how MAGI-1 unrolls a video, and the empty latent that fits."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..scope_core.families import MAGI
from ..scope_core.families.magi import CHUNK
from ..scope_core.signals.maps import SignalMaps
from .choices import chosen
from .comfy import sampling
from .comfy.graph import Graph
from .comfy.magi import ChunkWindow, unroll_chunks
from .schedule import ScheduleNode, batch_input, schedule_outputs, side_input

REACHES = {"5, 4, 3, 2": (5, 4, 3, 2), "all": ()}


class MagiScheduleNode(ScheduleNode):
    family = MAGI

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_MagiSchedule",
            display_name="MAGI-1 Schedule",
            category="SCOPE",
            description=(
                "How MAGI-1 makes a video: its size, how many chunks of 24 frames are denoised at a time, how far back"
                " they look, and the frames it starts from."
            ),
            search_aliases=["magi", "ar schedule", "chunk", "window", "image to video", "video continuation"],
            inputs=[
                side_input("width", 720, "MAGI-1 4.5B: 720, 24B: 1280."),
                side_input("height", 720, "MAGI-1: 720."),
                io.Int.Input(
                    "length",
                    default=96,
                    min=24,
                    max=8184,
                    step=24,
                    tooltip=(
                        "Frames of the whole video, known ones included, at 24 per second. Rounded up to whole chunks"
                        " of 24."
                    ),
                ),
                batch_input(),
                io.Int.Input(
                    "window",
                    default=4,
                    min=1,
                    max=64,
                    tooltip=(
                        "Chunks that are denoised at a time. It has to divide the sampler's steps (64 for 4.5B, 32 for"
                        " 24B base, 16 for 24B distilled). 4 as published; 1 needs the least memory."
                    ),
                ),
                io.Combo.Input(
                    "look_back",
                    options=list(REACHES),
                    default="5, 4, 3, 2",
                    advanced=True,
                    tooltip=(
                        "How many chunks a chunk attends to, itself included, in the four parts of its steps. all:"
                        " every chunk before it, slower and with more memory."
                    ),
                ),
                io.Combo.Input(
                    "short_cut",
                    options=["8,16,16", "16,16,8"],
                    default="8,16,16",
                    advanced=True,
                    tooltip=(
                        "Which steps are left out at 12 steps, for distilled models. Other numbers of steps ignore it."
                    ),
                ),
                io.Float.Input(
                    "kv_gpu_gb",
                    default=8.0,
                    min=0.0,
                    max=512.0,
                    step=0.5,
                    advanced=True,
                    tooltip=(
                        "Gigabytes of GPU memory for keys and values of earlier chunks. What is beyond waits in RAM,"
                        " which is slower. 0: all in RAM."
                    ),
                ),
                io.Int.Input(
                    "kv_chunks",
                    default=0,
                    min=0,
                    max=64,
                    advanced=True,
                    optional=True,
                    tooltip=(
                        "FlowCache's compression: of finished chunks keep only the tokens that matter, as many as this"
                        " number of chunks has; published are 5 and 6. It changes the video, and needs `look_back`"
                        " all. 0: keep all."
                    ),
                ),
                io.Latent.Input(
                    "start",
                    optional=True,
                    tooltip=(
                        "Known first frames, from VAE Encode with the MAGI-1 VAE: an image to animate, or the last"
                        " frames of a video to continue. They are part of `length`."
                    ),
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip=(
                        "Connect to see every chunk decoded as soon as it is finished. Takes time and memory during"
                        " sampling."
                    ),
                ),
            ],
            outputs=schedule_outputs(),
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def unroll(
        cls, widgets: dict[str, Any], start: Tensor | None, end: Tensor | None, vae: Any = None
    ) -> tuple[ChunkWindow, int]:
        return unroll_chunks(
            widgets["length"],
            widgets["window"],
            chosen("look_back", widgets["look_back"], REACHES),
            widgets["short_cut"],
            widgets["kv_gpu_gb"],
            start,
            vae,
            widgets.get("kv_chunks", 0),
        )

    @classmethod
    def execute(cls, width: int, height: int, batch_size: int, start=None, vae=None, **widgets) -> io.NodeOutput:
        start = None if start is None else start["samples"]
        plan, frames = cls.unroll(widgets, start, None, vae)
        if start is not None:
            graph = Graph(cls.hidden.dynprompt.get_node)
            sampling.remember(SignalMaps.learn_length, graph.identity(cls.hidden.unique_id, "start"), start.shape[2])
        latent = sampling.empty_latent(batch_size, frames, height, width)
        return cls.output(plan, latent, f"{frames // CHUNK} chunks")
