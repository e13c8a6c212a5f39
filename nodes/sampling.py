"""SCOPE Sampler, SCOPE Settings, SCOPE Sampler (Advanced)."""

import logging
from math import isfinite
from typing import Any, NamedTuple

from comfy_api.latest import io

from ..scope_core import CAUSAL_WAN
from ..scope_core.loop.sample import Run
from ..scope_core.loop.solver import SOLVERS
from ..scope_core.settings import CUSTOM, PRESETS, Settings, read
from .choices import chosen
from .comfy import events, runs, sampling
from .comfy.families import family_of
from .comfy.graph import Graph
from .comfy.preview import FilmstripPreview
from .comfy.reports import ReportWriter
from .comfy.unrolling import Unrolling
from .helios import HeliosScheduleNode
from .magi import MagiScheduleNode
from .methods import OURS, SettingsType, inputs
from .schedule import ARScheduleNode, ScheduleNode, ScheduleType
from .timeline import TraceType

SCHEDULES: dict[str, type[ScheduleNode]] = {
    node.define_schema().node_id: node for node in (ARScheduleNode, MagiScheduleNode, HeliosScheduleNode)
}
"""Nodes that give a schedule."""
USUAL = {name: node.family.defaults._asdict() for name, node in SCHEDULES.items()} | {
    CAUSAL_WAN.name: CAUSAL_WAN.defaults._asdict()
}
"""What a sampler's widgets stand at, by the schedule node that is connected, or the family of the model where that
shares its schedule node with another. The browser moves those that nobody has touched."""


def sampling_inputs(**link: bool) -> list[io.Input]:
    """What every sampler needs; `link` tells how its sockets are connected."""
    return [
        io.Model.Input(
            "model",
            **link,
            tooltip=(
                "From Load AR Video Model or Load SCOPE Demo, or any other flow-matching model (Wan, HunyuanVideo, LTX,"
                " Cosmos Predict 2 ...), with LoRAs applied as usual."
            ),
        ),
        io.Conditioning.Input("positive", **link, tooltip="What the video should show. For MAGI-1 from MAGI-1 Prompt."),
        io.Conditioning.Input(
            "negative",
            **link,
            tooltip=(
                "What the video should not show. MAGI-1 has a prompt of its own for this; connect that of MAGI-1"
                " Prompt."
            ),
        ),
        io.Latent.Input(
            "latent",
            **link,
            tooltip="Empty latent that sets size and length, from the schedule node or an empty video latent node.",
        ),
        ScheduleType.Input(
            "schedule",
            optional=True,
            **link,
            extra_dict={"defaults": USUAL},
            tooltip=(
                "From AR Schedule, for MAGI-1 from MAGI-1 Schedule, for Helios from Helios Schedule. Without it"
                " SkyReels denoises all frames together, long videos in windows of 97 frames, MAGI-1 four chunks at a"
                " time, Helios starts from the prompt alone, and causal Wan makes chunk after chunk."
                " Other models take none."
            ),
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="Seed of the random noise.",
        ),
        io.Int.Input(
            "steps",
            default=50,
            min=2,
            max=1000,
            tooltip=(
                "Denoising steps of each chunk, 30 to 50; Helios: 50; MAGI-1: 64 for 4.5B, 32 for 24B base, 16 for 24B"
                " distilled, a multiple of its `window`. Every one is taken; SCOPE decides which are computed."
            ),
        ),
        io.Float.Input(
            "cfg",
            default=6.0,
            min=0.0,
            max=100.0,
            step=0.1,
            round=0.01,
            tooltip=(
                "Guidance; 1 and below is none. SkyReels: 6, image to video 5; its demo: 2.5. Helios: 5. MAGI-1 base:"
                " 7.5; distilled models have none and ignore it. Causal Wan: 3."
            ),
        ),
        io.Float.Input(
            "shift",
            default=8.0,
            min=0.0,
            max=100.0,
            step=0.1,
            tooltip=(
                "How much of the steps is spent at high noise. SkyReels: 8, image to video 5. MAGI-1: 3. Helios: 0,"
                " which follows the size of the video. Any other model: as ModelSamplingSD3 sets it, and 0 leaves the"
                " MODEL's own. Causal Wan: 5."
            ),
        ),
    ]


def solver_input() -> io.Input:
    return io.Combo.Input(
        "solver",
        options=list(SOLVERS),
        default="unipc",
        advanced=True,
        tooltip=(
            "unipc: second order, SkyReels' and Helios' own. euler: first order, MAGI-1's own. ab2, cab: second order"
            " by Adams and Bashforth, for runs of few steps."
        ),
    )


def resume_input() -> io.Input:
    return io.Boolean.Input(
        "resume",
        default=False,
        optional=True,
        advanced=True,
        tooltip=(
            "Keep what is finished on disk while it is made. After a kill, a cancel or an error the same graph goes on"
            " where it stopped, and the video is the same to the last bit. Off writes nothing."
        ),
    )


class ScopeSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        speed = inputs(OURS)
        return io.Schema(
            node_id="SCOPE_Sampler",
            display_name="SCOPE Sampler",
            category="SCOPE",
            description=(
                "Samples a flow-matching video or image model, autoregressive ones chunk by chunk, and skips the steps"
                " whose velocity can be predicted. The trace tells what was skipped and why."
            ),
            search_aliases=[
                "teacache",
                "easycache",
                "speed up video",
                "faster video",
                "skyreels",
                "diffusion forcing",
                "long video",
                "ksampler",
            ],
            inputs=[
                *sampling_inputs(),
                SettingsType.Input(
                    "settings",
                    optional=True,
                    tooltip="From SCOPE Settings or SCOPE Calibrate; replaces the preset and the sliders of this node.",
                ),
                *(widget for widget in speed if not widget.optional),
                solver_input(),
                *(widget for widget in speed if widget.optional),
                resume_input(),
            ],
            outputs=[
                io.Latent.Output(
                    tooltip="For VAE Decode, or for SCOPE Decode Segments where a long video has several segments."
                ),
                TraceType.Output(display_name="trace", tooltip="For SCOPE Timeline."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        latent,
        seed: int,
        steps: int,
        cfg: float,
        shift: float,
        solver: str,
        schedule: Unrolling | None = None,
        settings: Settings | None = None,
        resume: bool = False,
        **speed,
    ) -> io.NodeOutput:
        settings = settings or read(OURS, speed)
        request = Request(model, positive, negative, latent, schedule, seed, steps, cfg, shift, solver)
        made, run = render(cls.hidden, request, settings, resume)
        run.trace.run["preset"] = speed["preset"] if settings == PRESETS.get(speed["preset"]) else CUSTOM
        report = run.trace.to_json()
        if report["totals"]["skipped_reason"] and not settings.off:
            logging.warning("SCOPE: nothing was skipped. %s", report["totals"]["skipped_reason"])
        return io.NodeOutput(made, report)


class Request(NamedTuple):
    """What a sampling node was asked for."""

    model: Any
    positive: list
    negative: list
    latent: dict[str, Any]
    schedule: Unrolling | None
    seed: int
    steps: int
    cfg: float
    shift: float
    solver: str


def begin(model: Any, asked: Request, settings: Settings) -> tuple[Unrolling, Any, Run]:
    """How the video is unrolled, its noise, and its run, which is told of what is unusual. The MODEL, a clone, has the
    shift of the run from here on."""
    unrolling = sampling.unrolling_of(model, asked.schedule)
    noise = sampling.start_noise(model, asked.latent, asked.seed, unrolling)
    unrolling.check_size(noise)
    unrolling = unrolling.sized(noise)
    family = family_of(model)
    schedule = family.schedule(model, unrolling, family.frames(noise), asked.steps, asked.shift)
    overridden = family.set_shift(model, asked.shift or schedule.shift)
    run = Run(
        schedule, settings, asked.solver, asked.seed, sampling.begin_trace(model, schedule, settings, asked.solver)
    )
    run.trace.run["warnings"] += [unrolling.note] if unrolling.note else []
    if overridden:
        sampling.warn(run.trace, [overridden])
    if unusual := schedule.family.unusual(asked.cfg, asked.shift):
        sampling.warn(run.trace, [f"{unusual}."])
    if asked.cfg < 1 and family.guidance(model, asked.cfg) == 1:
        sampling.warn(run.trace, [f"cfg is {asked.cfg:g}; below 1 there is no guidance, as at 1."])
    return unrolling, noise, run


def render(hidden: Any, asked: Request, settings: Settings, resume: bool = False) -> tuple[dict[str, Any], Run]:
    """What a sampling node does, with progress and preview: LATENT, and the run with its trace, schedule and decisions.
    `hidden`: the node's. `resume`: keep the run on disk, and go on with an earlier one."""
    if not isfinite(asked.cfg):
        raise sampling.UnsuitableError(f"cfg is {asked.cfg}; it has to be a number up to 100, such as 6")
    model = asked.model.clone()
    unrolling, noise, run = begin(model, asked, settings)
    family, schedule = family_of(model), run.schedule
    preview = FilmstripPreview(model, schedule, unrolling.preview_vae(), run.tell)
    key = Graph(hidden.dynprompt.get_node).identity(hidden.unique_id, "model")

    def on_step(segment, step, x0, record) -> None:
        preview(segment, step, family.seen(x0, noise))
        if run.done == run.begun + 1:
            events.send_trace(hidden.unique_id, run.trace, schedule.iterations)
        else:
            events.send_step(hidden.unique_id, record, schedule.iterations)

    latent = family.known(model, asked.latent)
    keeper = None
    if resume:
        given = {
            "positive": asked.positive,
            "negative": asked.negative,
            "latent": latent,
            "schedule": unrolling,
            "noise": noise,
            "cfg": asked.cfg,
        }
        keeper = runs.keeper(hidden.dynprompt, hidden.unique_id, run, given)
    made = sampling.sample_video(
        model,
        asked.positive,
        asked.negative,
        asked.cfg,
        noise,
        run,
        unrolling,
        on_step,
        key,
        unrolling.bridge(run.tell),
        latent,
        keeper,
    )
    return family.result(made, schedule, asked.latent), run


class ScopeSamplerSelect(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_SamplerSelect",
            display_name="SCOPE Sampler (Advanced)",
            category="SCOPE",
            description=(
                "A SAMPLER for SamplerCustomAdvanced: your own guider, noise and sigmas, with SCOPE deciding which"
                " steps are computed. For any flow-matching MODEL; autoregressive ones come from Load AR Video Model."
            ),
            search_aliases=["teacache", "easycache", "speed up", "sampler custom", "raylight"],
            inputs=[
                ScheduleType.Input(
                    "schedule",
                    optional=True,
                    tooltip=(
                        "From AR Schedule, for MAGI-1 from MAGI-1 Schedule, for Helios from Helios Schedule. Without it"
                        " SkyReels denoises all frames together, long videos in windows of 97 frames, MAGI-1 four"
                        " chunks at a time, Helios starts from the prompt alone, and causal Wan makes chunk after"
                        " chunk."
                    ),
                ),
                SettingsType.Input(
                    "settings", optional=True, tooltip="From SCOPE Settings or SCOPE Calibrate; replaces the preset."
                ),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default="balanced",
                    tooltip="How many steps may be skipped. off computes all of them.",
                ),
                solver_input(),
                report_input("scope_run"),
                resume_input(),
            ],
            outputs=[io.Sampler.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(
        cls,
        preset: str,
        solver: str,
        report_name: str,
        schedule: Unrolling | None = None,
        settings: Settings | None = None,
        resume: bool = False,
    ) -> io.NodeOutput:
        write, keep = ReportWriter(report_name), runs.keeper_of_sampler if resume else None
        return io.NodeOutput(
            sampling.VideoSampler(schedule, settings or chosen("preset", preset, PRESETS), solver, write, keep)
        )


def report_input(name: str) -> io.Input:
    return io.String.Input(
        "report_name",
        default=name,
        tooltip=(
            "The trace is written to output/scope under this name; SCOPE Timeline can open it. Empty writes nothing."
        ),
    )
