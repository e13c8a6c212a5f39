"""SCOPE Calibrate: one recorded run, and what it teaches about a model."""

from collections.abc import Iterator
from dataclasses import replace

from comfy_api.latest import io

from ..scope_core.calibrate import Calibration, Circumstances
from ..scope_core.policy import MagCache, TeaCache
from ..scope_core.policy.magcache import Record, measured
from ..scope_core.presets import CALIBRATED, Settings, name_of
from .graph import Graph
from .host import calibration, sampling
from .sampling import SettingsType, render, sampling_inputs, solver_input
from .timeline import TraceType

RECORDED = ("modulation", "embedding", "sigma", "latent")
KNOBS = tuple(0.02 * 1.2**i for i in range(37))
LONGEST = 12


def candidates(method: str, ratios: tuple[float, ...]) -> Iterator[Settings]:
    """Settings of a method, careful ones first. SCOPE's thresholds keep their proportion, and rather rise than let a run of skips be longer."""
    if method == "scope":
        for max_skip in range(1, LONGEST + 1):
            yield from (replace(CALIBRATED, tau_c=CALIBRATED.tau_c * knob, tau_p=CALIBRATED.tau_p * knob, max_skip=max_skip) for knob in KNOBS)
    else:
        policies = (TeaCache(knob) if method == "teacache" else MagCache(knob, LONGEST, 0.0, ratios) for knob in KNOBS)
        yield from (Settings(policy, max_skip=LONGEST, warm_up=2, tail=1) for policy in policies)


class Calibrate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_Calibrate",
            display_name="SCOPE Calibrate",
            category="SCOPE",
            description="Samples once without skipping and keeps what that teaches about the model: the ratios that MagCache needs, how the signals change, and which "
                        "settings give a wanted speed. Found again by a SCOPE Sampler with the same model, steps, shift, guidance and schedule.",
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
            Circumstances.of(known.model(key, planned) or "", planned, calibration.guidance(model, cfg)), ratios,
            {name: tuple(known.table(key, name, planned)[0][1:].tolist()) for name in RECORDED})
        kept = calibration.keep(found)
        settings, reached = found.for_speed(planned, candidates(method, ratios), speed)
        lines = [f"{name_of(settings)}: {reached:.2f}x fewer evaluations" + ("" if abs(reached - speed) < 0.25 else f" ({speed:g}x is out of its reach)"),
                 "Signals over a whole run: " + ", ".join(f"{name} {scale:.3g}" for name, scale in found.scales.items()),
                 f"Ratios of the residual: {min(ratios):.3f} to {max(ratios):.3f}", kept]
        return io.NodeOutput(settings, made, trace.to_json(), ui={"text": ["".join(f"{line}.\n" for line in lines).rstrip()]})
