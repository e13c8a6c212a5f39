"""SCOPE Accelerate: a MODEL that skips evaluations, for KSampler and every other sampler of the host."""

from typing import Any

from comfy_api.latest import io

from ..scope_core.loop.trace import Trace
from ..scope_core.settings import CUSTOM, PRESETS, Settings, read
from .comfy import accelerate, events
from .comfy.graph import Graph
from .comfy.reports import ReportWriter
from .methods import OURS, SettingsType, inputs
from .sampling import report_input


class Accelerate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        speed = inputs(OURS)
        return io.Schema(
            node_id="SCOPE_Accelerate",
            display_name="SCOPE Accelerate",
            category="SCOPE",
            description=(
                "Makes KSampler and every other sampler that evaluates the model once a step skip evaluations of a"
                " flow-matching model, such as Wan, Hunyuan Video, LTX or Cosmos Predict 2. Connect it as the last node"
                " before the sampler. Models of 20 to 50 steps gain; those distilled to a few have nothing to skip."
            ),
            search_aliases=[
                "teacache",
                "easycache",
                "lazycache",
                "magcache",
                "cache",
                "speed up video",
                "faster",
                "wan",
                "hunyuan",
                "ltx",
                "cosmos",
                "ksampler",
            ],
            inputs=[
                io.Model.Input("model", tooltip="A flow-matching model, with LoRAs applied as usual."),
                *(widget for widget in speed if not widget.optional),
                report_input("scope_accelerate"),
                SettingsType.Input(
                    "settings",
                    optional=True,
                    tooltip="From SCOPE Settings or SCOPE Calibrate; replaces the preset and the sliders of this node.",
                ),
                *(widget for widget in speed if widget.optional),
            ],
            outputs=[io.Model.Output(tooltip="For KSampler, or a guider of SamplerCustomAdvanced.")],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def execute(cls, model: Any, report_name: str, settings: Settings | None = None, **speed: Any) -> io.NodeOutput:
        settings = settings or read(OURS, speed)
        node, write = cls.hidden.unique_id, ReportWriter(report_name)
        preset = speed["preset"] if settings == PRESETS.get(speed["preset"]) else CUSTOM

        def on_trace(trace: Trace) -> None:
            trace.run["preset"] = preset
            write(trace)

        key = Graph(cls.hidden.dynprompt.get_node).identity(node, "model")
        asked = accelerate.Asked(settings, lambda record: events.send_step(node, record), on_trace, key)
        return io.NodeOutput(accelerate.accelerate(model, asked))
