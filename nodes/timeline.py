"""Timeline: what the sampler decided, step by step."""

from comfy_api.latest import io

from .comfy.graph import Graph
from .comfy.reports import read_report, report_path

TraceType = io.Custom("SCOPE_TRACE")


class Timeline(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_Timeline",
            display_name="SCOPE Timeline",
            category="SCOPE",
            description=(
                "Draws which step of which chunk was computed, predicted or reused, and why, with the"
                " evaluations saved and the time measured."
            ),
            search_aliases=["scope report", "heat map", "speedup", "trace"],
            is_output_node=True,
            inputs=[
                TraceType.Input("trace", optional=True, tooltip="From SCOPE Sampler."),
                io.String.Input(
                    "report_name",
                    default="",
                    advanced=True,
                    optional=True,
                    tooltip=(
                        "Instead of a trace: the report that SCOPE Accelerate or SCOPE Sampler (Advanced) wrote under"
                        " this name. Empty, with `after` connected: that of the one behind it."
                    ),
                ),
                io.Latent.Input(
                    "after",
                    optional=True,
                    tooltip=(
                        "Instead of a trace: the latent of a run with SCOPE Accelerate or SCOPE Sampler (Advanced), so"
                        " that its report is read after it."
                    ),
                ),
            ],
            outputs=[],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def fingerprint_inputs(cls, report_name: str = "", **kwargs) -> int:
        path = report_path(report_name)
        return path.stat().st_mtime_ns if report_name and path.exists() else 0

    @classmethod
    def execute(cls, trace=None, report_name: str = "", after=None) -> io.NodeOutput:
        if trace is None and not report_name and after is not None:
            report_name = report_behind(Graph(cls.hidden.dynprompt.get_node), cls.hidden.unique_id)
        if trace is None and not report_name:
            raise ValueError(
                "Timeline has nothing to draw: connect the trace of SCOPE Sampler; or to `after` the latent of a run"
                " with SCOPE Accelerate or SCOPE Sampler (Advanced), which need a report_name"
            )
        return io.NodeOutput(ui={"scope_trace": [trace or read_report(report_name)]})


def report_behind(graph: Graph, node: str) -> str:
    """Name of the report that the nearest node upstream writes; empty where none does."""
    names = (graph.inputs(each).get("report_name") for each in graph.upstream(node) if each != node)
    return next((name for name in names if isinstance(name, str) and name), "")
