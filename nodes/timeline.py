"""Timeline: what the sampler decided, step by step."""

from comfy_api.latest import io

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
                "Draws which step of which chunk was recomputed, predicted or taken from the cache, and why, with the"
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
                    tooltip="Instead of a trace: the report that SCOPE Sampler (Advanced) wrote under this name.",
                ),
                io.Latent.Input(
                    "after",
                    optional=True,
                    tooltip=(
                        "With report_name: connect the latent of the advanced sampler, so that its report is read after"
                        " the run."
                    ),
                ),
            ],
            outputs=[],
        )

    @classmethod
    def fingerprint_inputs(cls, report_name: str = "", **kwargs) -> int:
        path = report_path(report_name)
        return path.stat().st_mtime_ns if report_name and path.exists() else 0

    @classmethod
    def execute(cls, trace=None, report_name: str = "", after=None) -> io.NodeOutput:
        if trace is None and not report_name:
            raise ValueError(
                "Timeline has nothing to draw: connect the trace of SCOPE Sampler, or name a report of SCOPE Sampler"
                " (Advanced)"
            )
        return io.NodeOutput(ui={"scope_trace": [trace or read_report(report_name)]})
