"""SCOPE Calibrate: one recorded run, and what it teaches about a model."""

from comfy_api.latest import io

from ..scope_core.methods import METHODS
from ..scope_core.methods.magcache import measured
from ..scope_core.settings import Settings, name_of
from ..scope_core.study.calibration import Calibration, Circumstances
from ..scope_core.study.recording import Recorder, grams
from .choices import chosen
from .comfy import calibration, sampling
from .comfy.families import family_of
from .comfy.graph import Graph
from .methods import OURS, SettingsType, selected, widgets_of
from .sampling import Request, render, sampling_inputs, solver_input
from .timeline import TraceType

RECORDED = ("modulation", "embedding", "sigma", "latent")
TUNED = {name: method for name, method in METHODS.items() if method.tuned}
FASTEST = 20.0


class Calibrate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_Calibrate",
            display_name="SCOPE Calibrate",
            category="SCOPE",
            description=(
                "Samples once without skipping and keeps what that teaches about the model: what MagCache, DPCache and"
                " ARCache need, how the signals change, and which settings give a wanted speed. Found again by a SCOPE"
                " Sampler with the same model, steps, shift, guidance and schedule."
            ),
            search_aliases=["magcache calibration", "ratios", "tune", "threshold"],
            is_output_node=True,
            inputs=[
                *sampling_inputs(),
                io.Combo.Input(
                    "method", options=list(TUNED), default=OURS, tooltip="Method whose threshold is chosen."
                ),
                io.Float.Input(
                    "speed",
                    default=2.5,
                    min=1.0,
                    max=FASTEST,
                    step=0.1,
                    tooltip="Times fewer evaluations than without skipping that the settings should give.",
                ),
                solver_input(),
            ],
            outputs=[
                SettingsType.Output(
                    display_name="settings",
                    tooltip="Of that method at about that speed, for the `settings` input of the SCOPE samplers.",
                ),
                io.Latent.Output(tooltip="The recorded video, every step computed."),
                TraceType.Output(display_name="trace", tooltip="Of the recorded run."),
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
        method: str,
        speed: float,
        solver: str,
        schedule=None,
    ) -> io.NodeOutput:
        tuned = chosen("method", method, TUNED)
        if not 1 <= speed <= FASTEST:
            raise sampling.UnsuitableError(
                f"speed is {speed:g}; it has to be a number from 1 to {FASTEST:g}, such as 2.5"
            )
        request = Request(model, positive, negative, latent, schedule, seed, steps, cfg, shift, solver)
        made, run = render(cls.hidden, request, Settings(Recorder(signal="latent", ratios=True)))
        known, key = sampling.knowledge(), Graph(cls.hidden.dynprompt.get_node).identity(cls.hidden.unique_id, "model")
        states = [state for control in run.controls for state in control.states]
        ratios = measured((state.growths for state in states), steps)
        circumstances = Circumstances.of(
            known.identity(key, run.schedule) or "", run.schedule, family_of(model).guidance(model, cfg)
        )
        found = Calibration(
            circumstances,
            ratios,
            {name: tuple(known.table(key, name, run.schedule)[0][1:].tolist()) for name in RECORDED},
            tuple(map(tuple, grams(states).v.mean(0).tolist())),
        )
        kept = calibration.keep(found)
        candidates = (Settings(*pair) for pair in tuned.candidates(ratios))
        settings, reached = found.for_speed(run.schedule, candidates, speed)
        within = abs(reached - speed) < 0.25
        lines = [
            f"{name_of(settings)}: {reached:.2f}x fewer evaluations"
            + ("" if within else f" ({speed:g}x is out of its reach)"),
            "Signals over a whole run: " + ", ".join(f"{name} {scale:.3g}" for name, scale in found.scales.items()),
            f"Ratios of the residual: {min(ratios):.3f} to {max(ratios):.3f}"
            if ratios
            else "No ratios of the residual, which MagCache needs, for a chunk enters at every step",
            kept,
        ]
        text = "".join(f"{line}.\n" for line in lines).rstrip()
        return io.NodeOutput(
            settings,
            made,
            run.trace.to_json(),
            ui={
                "text": [text],
                "scope_calibration": [
                    {
                        "text": text,
                        "label": name_of(settings),
                        "widgets": widgets_of(settings),
                        "selected": selected(settings),
                    }
                ],
            },
        )
