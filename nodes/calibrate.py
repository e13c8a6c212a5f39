"""SCOPE Calibrate: one recorded run, and what it teaches about a model."""

from dataclasses import replace

from comfy_api.latest import io

from ..scope_core.calibrate import Calibration, Circumstances
from ..scope_core.known import entry
from ..scope_core.policy import MagCache, TeaCache
from ..scope_core.policy.magcache import Record, measured
from ..scope_core.presets import CALIBRATED, Settings
from .graph import Graph
from .host import calibration, sampling
from .sampling import SettingsType, render, sampling_inputs, solver_input
from .timeline import TraceType

RECORDED = ("modulation", "embedding", "sigma", "latent")
GATE = {"max_skip": 12, "warm_up": 2, "tail": 1}
KNOBS = tuple(0.02 * 1.12**i for i in range(60))


def at(method: str, knob: float, ratios: tuple[float, ...]) -> Settings:
    """Settings of a method at one value of its threshold; SCOPE's two thresholds keep their proportion."""
    if method == "scope":
        return replace(CALIBRATED, tau_c=CALIBRATED.tau_c * knob, tau_p=CALIBRATED.tau_p * knob, **GATE)
    return Settings(TeaCache(knob) if method == "teacache" else MagCache(knob, longest=12, retention=0.0, ratios=ratios), **GATE)


class Calibrate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_Calibrate",
            display_name="SCOPE Calibrate",
            category="SCOPE",
            description="Samples once without skipping and keeps what that teaches about the model: the ratios that MagCache needs, how the signals change, and which "
                        "settings give a wanted speed. Found again by any run of the same model, steps, shift, guidance and schedule.",
            search_aliases=["magcache calibration", "ratios", "tune", "threshold"],
            is_output_node=True,
            inputs=[
                *sampling_inputs(),
                io.Combo.Input("method", options=["scope", "teacache", "magcache"], default="scope", tooltip="Method whose threshold is chosen."),
                io.Float.Input("speed", default=2.5, min=1.0, max=20.0, step=0.1, tooltip="Times fewer evaluations than without skipping that the settings should give."),
                solver_input(),
            ],
            outputs=[
                SettingsType.Output(display_name="settings", tooltip="Of that method at about that speed, for the `settings` input of the SCOPE samplers."),
                io.Latent.Output(tooltip="The recorded video, every step computed."),
                TraceType.Output(display_name="trace", tooltip="Of the recorded run."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def execute(cls, model, positive, negative, latent, seed: int, steps: int, cfg: float, shift: float, method: str, speed: float, solver: str,
                schedule=None) -> io.NodeOutput:
        controls = []
        made, trace, planned = render(cls.hidden, model, positive, negative, latent, schedule, Settings(Record(signal="latent")), seed, steps, cfg, shift, solver, controls)
        known, key = sampling.knowledge(), Graph(cls.hidden.dynprompt.get_node).identity(cls.hidden.unique_id, "model")
        ratios = measured((state for control in controls for state in control.states), steps)
        found = Calibration(
            Circumstances.of(known.models()[entry(key, planned)], planned, calibration.guidance(model, cfg)), ratios,
            {name: tuple(known.table(key, name, planned)[0][1:].tolist()) for name in RECORDED})
        path = calibration.calibrations().save(found)
        knob, reached = found.for_speed(planned, lambda knob: at(method, knob, ratios), KNOBS, speed)
        settings = at(method, knob, ratios)
        threshold = settings.tau_p if method == "scope" else knob
        lines = [f"{method} at a threshold of {threshold:.3g}: {reached:.2f}x fewer evaluations" + ("" if abs(reached - speed) < 0.25 else f" ({speed:g}x is out of its reach)"),
                 "Signals over a whole run: " + ", ".join(f"{name} {scale:.3g}" for name, scale in found.scales.items()),
                 f"Ratios of the residual: {min(ratios):.3f} to {max(ratios):.3f}", f"Kept as {path.name} in user/scope/calibration"]
        return io.NodeOutput(settings, made, trace.to_json(), ui={"text": [". ".join(lines) + "."]})
