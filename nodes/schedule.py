"""AR Schedule: how a video is unrolled, and the empty latent that fits. AR Sigmas: the released noise levels."""

from dataclasses import replace
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..scope_core.families import FAMILIES, SKYREELS
from ..scope_core.families.skyreels import window_advice
from ..scope_core.methods.knobs import whole_numbers
from ..scope_core.schedule import Family, check_shift, levels_at
from ..scope_core.signals.maps import SignalMaps
from .choices import chosen
from .comfy import sampling
from .comfy.graph import Graph
from .comfy.skyreels import Windows, unroll
from .comfy.unrolling import Unrolling

ScheduleType = io.Custom("SCOPE_SCHEDULE")
TABLES = {
    ", ".join([family.title, *([] if table == family.tables[0] else [table.removeprefix(f"{family.name} ")])]): (
        family,
        table,
    )
    for family in FAMILIES.values()
    for table in family.tables
}
"""Tables of noise levels as people see them."""


class ScheduleNode(io.ComfyNode):
    """A node that gives an Unrolling; planning asks it what its widgets stand for."""

    family: Family

    @classmethod
    def unroll(cls, widgets: dict[str, Any], start: Tensor | None, end: Tensor | None) -> tuple[Unrolling, int]:
        """What the widgets stand for with these known frames, and the video's latent frames. Raises ScheduleError."""
        raise NotImplementedError

    @classmethod
    def output(cls, unrolling: Unrolling, latent: dict[str, Any], parts: str) -> io.NodeOutput:
        """What the node gives, and says of it: how long the video is, and of how many parts."""
        pixels = cls.family.pixel_frames(latent["samples"].shape[2])
        note = f". {unrolling.note}." if unrolling.note else ""
        text = f"{pixels} frames ({pixels / cls.family.fps:.1f} s), {parts}{note}"
        return io.NodeOutput(unrolling, latent, pixels, ui={"text": [text]})


def side_input(name: str, default: int, usual: str) -> io.Input:
    tooltip = f"{name.capitalize()} of the video in pixels. {usual}"
    return io.Int.Input(name, default=default, min=32, max=8192, step=16, tooltip=tooltip)


def batch_input() -> io.Input:
    tooltip = "Videos made together, each from its own noise."
    return io.Int.Input("batch_size", default=1, min=1, max=64, tooltip=tooltip)


def schedule_outputs() -> list[io.Output]:
    return [
        ScheduleType.Output(display_name="schedule", tooltip="For the SCOPE samplers."),
        io.Latent.Output(tooltip="Empty latent of the size and the rounded length."),
        io.Int.Output(display_name="length", tooltip="Frames of the result."),
    ]


class ARScheduleNode(ScheduleNode):
    family = SKYREELS

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_ARSchedule",
            display_name="AR Schedule",
            category="SCOPE",
            description=(
                "How a video is unrolled: its size, the window the model sees at once, the chunks that follow each"
                " other through the noise levels, and the frames it starts from or leads to. Lengths are in frames and"
                " are rounded up to what fits."
            ),
            search_aliases=[
                "diffusion forcing",
                "long video",
                "skyreels",
                "ar_step",
                "image to video",
                "video extend",
                "last frame",
                "causal forcing",
                "longlive",
            ],
            inputs=[
                side_input("width", 960, "SkyReels 540P: 960."),
                side_input("height", 544, "SkyReels 540P: 544."),
                io.Int.Input(
                    "length",
                    default=97,
                    min=1,
                    max=8193,
                    step=4,
                    tooltip=(
                        "Frames of the whole video, at 24 per second. Longer than the window: made in segments that"
                        " overlap."
                    ),
                ),
                batch_input(),
                io.Int.Input(
                    "window",
                    default=97,
                    min=5,
                    max=1025,
                    step=4,
                    tooltip=(
                        "Frames the model sees at once: 97 for the 540P models, 121 for 720P (with `ar_step` and"
                        " `chunk` 5: 117, which is whole chunks), 61 for the demo. Causal Wan: how far a chunk"
                        " looks back, itself and the sink included; 81 for Causal-Forcing, 125 for LongLive-2.0."
                    ),
                ),
                io.Int.Input(
                    "overlap",
                    default=17,
                    min=1,
                    max=513,
                    step=4,
                    tooltip=(
                        "Frames a segment takes over from the one before it. 17 as published; 37 keeps motion steadier."
                    ),
                ),
                io.Int.Input(
                    "chunk",
                    default=5,
                    min=1,
                    max=256,
                    tooltip=(
                        "Latent frames (4 frames each) that are denoised together. Only matters where `ar_step` is"
                        " above 0 or attention is causal. Causal Wan: what the model was trained with, 3, 1 (framewise)"
                        " or 8."
                    ),
                ),
                io.Int.Input(
                    "ar_step",
                    default=0,
                    min=0,
                    max=100,
                    tooltip=(
                        "How many steps each chunk lags behind the one before it. 0 denoises all chunks together (the"
                        " published default); 5 with `chunk` 5 is the published asynchronous setting, more"
                        " consistent over time and slower."
                    ),
                ),
                io.Boolean.Input(
                    "causal",
                    default=False,
                    advanced=True,
                    tooltip=(
                        "Block-causal attention: a chunk sees itself and what lies before it. Makes `selective`"
                        " exact. The released models were run without it. Causal Wan is always causal, and `ar_step`,"
                        " `overlap`, `condition_noise` and `vae` have no effect on it."
                    ),
                ),
                io.Float.Input(
                    "condition_noise",
                    default=20,
                    min=0,
                    max=200,
                    step=1,
                    advanced=True,
                    tooltip=(
                        "Noise mixed into known frames before the model sees them, in thousandths. 20 as published; 0"
                        " trusts them fully."
                    ),
                ),
                io.Latent.Input(
                    "start",
                    optional=True,
                    tooltip=(
                        "Known first frames, from VAE Encode: an image to animate, or the last frames of a video to"
                        " continue. They are part of `length`."
                    ),
                ),
                io.Latent.Input(
                    "end",
                    optional=True,
                    tooltip=(
                        "A frame the video leads to, from VAE Encode. It is not part of the result. Not with causal"
                        " attention, where no chunk would see it."
                    ),
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip=(
                        "Connect to decode each segment and encode its last frames for the next one, as published."
                        " Without it the overlap stays latent, which is faster and loses less, but is not what the"
                        " model was trained on."
                    ),
                ),
                io.Int.Input(
                    "sink",
                    default=0,
                    min=0,
                    max=64,
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "Causal Wan only: latent frames from the start that stay in view when a long video leaves the"
                        " window. 8 for LongLive-2.0, 0 as Causal-Forcing was trained."
                    ),
                ),
            ],
            outputs=schedule_outputs(),
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def unroll(
        cls, widgets: dict[str, Any], start: Tensor | None, end: Tensor | None, vae: Any = None
    ) -> tuple[Windows, int]:
        names = ("length", "window", "overlap", "chunk", "ar_step", "causal", "condition_noise")
        plan, frames = unroll(
            **{name: widgets[name] for name in names}, start=start, end=end, vae=vae, sink=widgets.get("sink", 0)
        )
        advice = window_advice(
            frames,
            widgets["width"] * widgets["height"],
            window=plan.window,
            block=plan.block if start is None and (plan.ar_step or plan.causal) else 1,
        )
        return replace(plan, note="; ".join(filter(None, [plan.note, *advice]))), frames

    @classmethod
    def execute(
        cls, width: int, height: int, batch_size: int, start=None, end=None, vae=None, sink: int = 0, **widgets
    ) -> io.NodeOutput:
        start, end = (None if known is None else known["samples"] for known in (start, end))
        plan, frames = cls.unroll({**widgets, "sink": sink, "width": width, "height": height}, start, end, vae)
        graph = Graph(cls.hidden.dynprompt.get_node)
        for name, known in (("start", start), ("end", end)):
            if known is not None:
                sampling.remember(SignalMaps.learn_length, graph.identity(cls.hidden.unique_id, name), known.shape[2])
        segments = len(plan.schedule(frames, max(plan.ar_step, 2)).segments)
        latent = sampling.empty_latent(batch_size, frames, height, width)
        return cls.output(plan, latent, f"{segments} segment{'s' if segments > 1 else ''}")


class Sigmas(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_Sigmas",
            display_name="AR Sigmas",
            category="SCOPE",
            description=(
                "The noise levels that a model was released with, for SamplerCustomAdvanced with SCOPE Sampler"
                " (Advanced). SCOPE Sampler has them built in."
            ),
            search_aliases=["scheduler", "sigmas", "shift", "basic scheduler", "modelsamplingsd3", "flow shift"],
            inputs=[
                io.Int.Input(
                    "steps",
                    default=50,
                    min=2,
                    max=1000,
                    tooltip=(
                        "Denoising steps. SkyReels: 30 to 50. Helios and causal Wan: 50. MAGI-1: 64 for 4.5B, 32 for"
                        " 24B, 16 for 24B distilled."
                    ),
                ),
                io.Float.Input(
                    "shift",
                    default=8.0,
                    min=0.1,
                    max=100.0,
                    step=0.1,
                    tooltip=(
                        "How much of the steps is spent at high noise. SkyReels: 8, image to video 5. MAGI-1: 3."
                        " Helios: 6.8 for 640x384. Causal Wan: 5. Wan 2.1 and 2.2: 5 to 8."
                    ),
                ),
                io.Combo.Input(
                    "table",
                    options=list(TABLES),
                    default=SKYREELS.title,
                    tooltip=(
                        "Whose noise levels. diffusers: those of its SkyReels-V2 pipelines, a little different from the"
                        " release's. MAGI-1's two differ at 12 steps only; choose that of `short_cut` on MAGI-1"
                        " Schedule. Flow matching, one chunk: those of core's scheduler simple at this shift, for Wan,"
                        " HunyuanVideo and the like; LTX and Flux bring their own."
                    ),
                ),
                io.String.Input(
                    "only",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "Of these steps alone, for example 1, 3, 6, 10: few steps at levels of your choice. Empty: all."
                    ),
                ),
            ],
            outputs=[io.Sigmas.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, steps: int, shift: float, table: str, only: str = "") -> io.NodeOutput:
        check_shift(shift)
        family, name = chosen("table", table, TABLES)
        levels = family.sigmas(steps, shift, name)
        if steps_alone := whole_numbers("only", only):
            levels = levels_at(steps_alone, levels)
        return io.NodeOutput(torch.from_numpy(family.single(levels)))
