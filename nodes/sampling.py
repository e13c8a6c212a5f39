"""SCOPE Sampler, SCOPE Settings, SCOPE Sampler (Advanced)."""

import json
import logging
from typing import Any

from comfy_api.latest import io

from ..scope_core.policy.scope import AUTO, DECAYS
from ..scope_core.predict import PREDICTORS
from ..scope_core.control import Control
from ..scope_core.interval import INTERVALS
from ..scope_core.presets import CALIBRATED, PRESETS, Settings
from ..scope_core.schedule import ARSchedule
from ..scope_core.signal import AGGREGATES, SIGNALS
from ..scope_core.solver import SOLVERS
from ..scope_core.trace import Trace
from . import methods
from .graph import Graph
from .host import events, magi, sampling, skyreels
from .host.preview import FilmstripPreview
from .host.reports import report_path
from .host.unrolling import ChunkWindow, Unrolling
from .schedule import ScheduleType
from .methods import CUSTOM
from .timeline import TraceType

SettingsType = io.Custom("SCOPE_SETTINGS")


def sampling_inputs(**link: bool) -> list[io.Input]:
    """What every sampler needs; `link` tells how its sockets are connected."""
    return [
        io.Model.Input("model", **link, tooltip="From Load AR Video Model or Load SCOPE Demo, with LoRAs applied as usual."),
        io.Conditioning.Input("positive", **link, tooltip="What the video should show. For MAGI-1 from MAGI-1 Prompt."),
        io.Conditioning.Input("negative", **link, tooltip="What it should not. MAGI-1 has a prompt of its own for this; connect that of MAGI-1 Prompt."),
        io.Latent.Input("latent", **link, tooltip="Empty latent that sets size and length, from AR Schedule or an empty video latent node."),
        ScheduleType.Input("schedule", optional=True, **link, tooltip="From AR Schedule, for MAGI-1 from MAGI-1 Schedule. Without it SkyReels denoises all frames together, "
                           "long videos in windows of 97 frames, and MAGI-1 four chunks at a time."),
        io.Int.Input("seed", default=0, min=0, max=0xffffffffffffffff, control_after_generate=True, tooltip="Start of the random noise."),
        io.Int.Input("steps", default=50, min=2, max=1000, tooltip="Denoising steps of each chunk, 30 to 50; MAGI-1: 64, a multiple of its window. Every one is taken; SCOPE decides which are computed."),
        io.Float.Input("cfg", default=6.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip="Guidance. SkyReels: 6, image to video 5. Its demo: 2.5. MAGI-1 base: 7.5; distilled models have none and ignore it."),
        io.Float.Input("shift", default=8.0, min=0.1, max=100.0, step=0.1, tooltip="How much of the steps is spent at high noise. SkyReels: 8, image to video 5. MAGI-1: 3."),
    ]


def solver_input() -> io.Input:
    return io.Combo.Input("solver", options=list(SOLVERS), default="unipc", advanced=True,
                          tooltip="unipc: second order, SkyReels' own. euler: first order, MAGI-1's own.")


def speed_inputs() -> list[io.Input]:
    """The widgets that decide speed against fidelity, the same on the sampler and on SCOPE Settings."""
    return [
        io.Combo.Input("preset", options=[*PRESETS, CUSTOM], default="balanced",
                       tooltip="off: exactly the model, every step computed. quality, balanced, fast: how many steps may be skipped. paper_slow, paper_fast: the "
                               "operating points printed in the SCOPE paper for SkyReels-V2, paper_magi_... those for MAGI-1. custom: the sliders below decide; otherwise the preset does, and moves them.",
                       extra_dict={"presets": {name: widgets_of(settings) for name, settings in PRESETS.items()}}),
        io.Float.Input("threshold", default=1.0, min=0.0, max=2.0, step=0.05, display_mode=io.NumberDisplay.slider,
                       tooltip="How much change to tolerate before a step is computed again. 1 is the calibrated point, 0 never skips."),
        io.Float.Input("decay", default=CALIBRATED.decay, min=0.05, max=1.0, step=0.05, display_mode=io.NumberDisplay.slider,
                       tooltip="How the accumulated change is scaled after a predicted step (predict_decay). 1 leaves it alone; see decay_mode."),
        io.Int.Input("max_skip", default=CALIBRATED.max_skip, min=0, max=12, display_mode=io.NumberDisplay.slider,
                     tooltip="Longest run of steps without computing. The strongest speed control; 0 never skips."),
        io.Combo.Input("selective", options=list(INTERVALS), default="auto",
                       tooltip="Leave out frames that have not started yet. auto: only where that cannot change the result (causal attention). paper: always, as "
                               "the paper does. full: never."),
        io.Int.Input("warm_up", default=CALIBRATED.warm_up, min=0, max=50, advanced=True,
                     tooltip="First steps of every chunk that are always computed."),
        io.Int.Input("tail", default=CALIBRATED.tail, min=0, max=50, advanced=True,
                     tooltip="Last steps of every chunk that are always computed."),
        io.Combo.Input("predictor", options=[*PREDICTORS, AUTO], default=CALIBRATED.predictor, advanced=True,
                       tooltip="How a skipped step's velocity is extrapolated. taylor1: a line (paper Eq. 6). taylor2_paper: Eq. 7 as printed. newton2: a "
                               "parabola. ab2: momentum. hold: not at all. auto: whichever erred least so far."),
        io.Float.Input("cache_threshold", default=0.0, min=0.0, max=10.0, step=0.01, round=0.001, advanced=True,
                       tooltip="tau_c: below it the last velocity is reused as it is. Absolute; 0 takes it from the threshold dial. Paper: 0.18."),
        io.Float.Input("predict_threshold", default=0.0, min=0.0, max=10.0, step=0.01, round=0.001, advanced=True,
                       tooltip="tau_p: below it the velocity is predicted. Absolute; 0 takes it from the threshold dial. Paper: 0.42."),
        io.Combo.Input("decay_mode", options=list(DECAYS), default=CALIBRATED.decay_mode, advanced=True,
                       tooltip="paper: multiply the accumulated change by decay after a prediction, as printed, which puts the next computed step off. inverse: "
                               "divide, which brings it closer, as the paper's text intends. none: neither."),
        io.Combo.Input("signal", options=list(SIGNALS), default=CALIBRATED.signal, advanced=True,
                       tooltip="What the change is measured on. modulation, embedding: the model's view of the noise level. sigma: the noise level itself. latent: "
                               "the video, which costs a read-back per step."),
        io.Combo.Input("aggregate", options=list(AGGREGATES), default=CALIBRATED.aggregate, advanced=True,
                       tooltip="How chunks at different noise levels decide together. max: the neediest decides. mean_active, mean_all: their mean."),
    ]


def joint_input() -> io.Input:
    return io.Boolean.Input("joint", default=False, advanced=True, optional=True,
                            tooltip="MAGI-1: one decision for all chunks that are denoised at a time, instead of one for each. Needs less memory with base models. "
                                    "SkyReels always decides so.")


def widgets_of(settings: Settings) -> dict[str, Any] | None:
    """Positions of the speed widgets at which `resolve` gives these settings; None where the widgets cannot express them."""
    calibrated = (settings.tau_c, settings.tau_p) == (CALIBRATED.tau_c, CALIBRATED.tau_p)
    widgets = {
        "threshold": 0.0 if settings.off else 1.0, "decay": settings.decay, "max_skip": settings.max_skip, "selective": settings.selective,
        "warm_up": settings.warm_up, "tail": settings.tail, "predictor": settings.predictor,
        "cache_threshold": 0.0 if calibrated or settings.off else settings.tau_c, "predict_threshold": 0.0 if calibrated or settings.off else settings.tau_p,
        "decay_mode": settings.decay_mode, "signal": settings.signal, "aggregate": settings.aggregate, "joint": settings.joint}
    found = resolve(CUSTOM, **widgets)
    return widgets if found == settings or found.off and settings.off else None


def resolve(preset: str, threshold: float, decay: float, max_skip: int, selective: str, warm_up: int, tail: int, predictor: str,
            cache_threshold: float, predict_threshold: float, decay_mode: str, signal: str, aggregate: str, joint: bool = False) -> Settings:
    """Settings of the widgets: unless the preset is custom, its numbers win. Raises ValueError out of range."""
    if preset != CUSTOM:
        return PRESETS[preset]
    settings = Settings(
        tau_c=cache_threshold or CALIBRATED.tau_c * threshold, tau_p=predict_threshold or CALIBRATED.tau_p * threshold, decay=decay, decay_mode=decay_mode,
        predictor=predictor, signal=signal, aggregate=aggregate, max_skip=max_skip, warm_up=warm_up, tail=tail, selective=selective, joint=joint)
    _ = settings.policy, settings.gate
    return settings


def settings_of(method: dict[str, Any]) -> Settings:
    """Settings of the widgets of SCOPE Settings. Raises ValueError out of range."""
    knobs = dict(method)
    name = knobs.pop("method")
    return resolve(**knobs) if name == "scope" else methods.settings_of(name, knobs)


class ScopeSettings(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_Settings",
            display_name="SCOPE Settings",
            category="SCOPE",
            description="Speed settings on their own, for SCOPE Sampler (Advanced), or to share between samplers. Chooses the method as well.",
            search_aliases=["teacache", "easycache", "magcache", "fbcache", "taylorseer", "flowcache", "cache", "speed up", "accelerate"],
            inputs=[
                io.DynamicCombo.Input("method", tooltip="Which method decides what to skip.", options=[
                    io.DynamicCombo.Option("scope", [*speed_inputs(), joint_input()]),
                    *methods.options(),
                ]),
            ],
            outputs=[SettingsType.Output(display_name="settings", tooltip="For the `settings` input of the SCOPE samplers.")],
        )

    @classmethod
    def execute(cls, method: dict) -> io.NodeOutput:
        return io.NodeOutput(settings_of(method))


class ScopeSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_Sampler",
            display_name="SCOPE Sampler",
            category="SCOPE",
            description="Samples an autoregressive video model and skips the steps whose velocity can be predicted. The trace tells what was skipped and why.",
            search_aliases=["teacache", "easycache", "speed up", "skyreels", "diffusion forcing", "long video", "ksampler"],
            inputs=[
                *sampling_inputs(),
                SettingsType.Input("settings", optional=True, tooltip="From SCOPE Settings; replaces the preset and the sliders of this node."),
                *speed_inputs(),
                solver_input(),
                joint_input(),
            ],
            outputs=[
                io.Latent.Output(tooltip="For VAE Decode."),
                TraceType.Output(display_name="trace", tooltip="For SCOPE Timeline."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def execute(cls, model, positive, negative, latent, seed: int, steps: int, cfg: float, shift: float, solver: str, schedule: Unrolling | ChunkWindow | None = None,
                settings: Settings | None = None, **speed) -> io.NodeOutput:
        settings = settings or resolve(**speed)
        made, trace, _ = render(cls.hidden, model, positive, negative, latent, schedule, settings, seed, steps, cfg, shift, solver)
        trace.run["preset"] = speed["preset"] if settings is PRESETS.get(speed["preset"]) else CUSTOM
        report = trace.to_json()
        if report["totals"]["skipped_reason"] and not settings.off:
            logging.warning("SCOPE: nothing was skipped. %s", report["totals"]["skipped_reason"])
        return io.NodeOutput(made, report)


def render(hidden, model, positive, negative, latent: dict[str, Any], unrolling: Unrolling | ChunkWindow | None, settings: Settings, seed: int, steps: int, cfg: float,
           shift: float, solver: str, controls: list[Control] | None = None) -> tuple[dict[str, Any], Trace, ARSchedule]:
    """What a sampling node does, with progress and preview: LATENT, trace and schedule. `hidden`: the node's; `controls`: see sample_video."""
    unrolling = unrolling or sampling.default_unrolling(model)
    sampling.check_unrolling(model, unrolling)
    noise = sampling.start_noise(model, latent, seed, unrolling)
    unrolling.check_size(noise)
    schedule = unrolling.schedule(noise.shape[2], steps, shift)
    model = model.clone()
    if magi.is_magi(model):
        magi.set_shift(model, shift)
    elif model.get_attachment(skyreels.MODEL_NAME):
        skyreels.set_shift(model, shift)
    preview = FilmstripPreview(model, schedule, unrolling.vae if schedule.chunked else None)
    bridge = None if schedule.chunked else sampling.overlap_bridge(unrolling.vae, unrolling.window, unrolling.overlap)
    key = Graph(hidden.dynprompt.get_node).identity(hidden.unique_id, "model")

    def on_step(segment, step, x0, record) -> None:
        preview(segment, step, x0)
        events.send_step(hidden.unique_id, record)

    try:
        made, trace = sampling.sample_video(model, positive, negative, cfg, noise, schedule, unrolling, settings, solver, seed, on_step, key, bridge, controls)
    except Exception as error:
        sampling.keep_finished(error)
        raise
    trace.run["warnings"] += [unrolling.note] if unrolling.note else []
    return {"samples": made[:, :, :latent["samples"].shape[2]]}, trace, schedule


class ScopeSamplerSelect(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_SamplerSelect",
            display_name="SCOPE Sampler (Advanced)",
            category="SCOPE",
            description="A SAMPLER for SamplerCustomAdvanced: your own guider, noise and sigmas, with SCOPE deciding which steps are computed. The MODEL has to come "
                        "from Load AR Video Model or Load SCOPE Demo.",
            search_aliases=["teacache", "easycache", "speed up", "sampler custom", "raylight"],
            inputs=[
                ScheduleType.Input("schedule", optional=True, tooltip="From AR Schedule, for MAGI-1 from MAGI-1 Schedule. Without it SkyReels denoises all frames together, "
                                   "long videos in windows of 97 frames, and MAGI-1 four chunks at a time."),
                SettingsType.Input("settings", optional=True, tooltip="From SCOPE Settings; replaces the preset."),
                io.Combo.Input("preset", options=list(PRESETS), default="balanced", tooltip="How many steps may be skipped; off computes all of them."),
                solver_input(),
                io.String.Input("report_name", default="scope_run",
                                tooltip="The trace is written to output/scope under this name; SCOPE Timeline can open it. Empty writes nothing."),
            ],
            outputs=[io.Sampler.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, preset: str, solver: str, report_name: str, schedule: Unrolling | ChunkWindow | None = None,
                settings: Settings | None = None) -> io.NodeOutput:
        path = report_path(report_name) if report_name else None

        def write(trace: Trace) -> None:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(trace.to_json()))

        return io.NodeOutput(sampling.VideoSampler(schedule, settings or PRESETS[preset], solver, write))
