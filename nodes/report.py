"""SCOPE Save Report: a run as a page to open, as Markdown and as JSON, kept on this machine."""

import json
import platform
from typing import Any

from comfy_api.latest import io

from ..scope_core import __version__
from ..scope_core.study.report import markdown, page
from .comfy.reports import save_texts
from .quality import QualityType
from .timeline import TraceType
from .tradeoff import RunsType


class SaveReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_SaveReport",
            display_name="SCOPE Save Report",
            category="SCOPE",
            description=(
                "Writes a run to the output folder as a page for the browser, as Markdown and as JSON: settings,"
                " versions, hardware, every decision, times, memory and, where connected, fidelity and trade-off."
                " Nothing leaves this machine."
            ),
            search_aliases=["export", "log", "bug report", "benchmark report"],
            is_output_node=True,
            inputs=[
                TraceType.Input("trace", tooltip="From SCOPE Sampler."),
                QualityType.Input("quality", optional=True, tooltip="From SCOPE Quality."),
                RunsType.Input("runs", optional=True, tooltip="From SCOPE Trade-off Sweep."),
                io.String.Input(
                    "filename_prefix",
                    default="scope/report",
                    tooltip="Where in the output folder the files go, and how their names begin.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(
        cls,
        trace: dict[str, Any],
        filename_prefix: str,
        quality: dict[str, Any] | None = None,
        runs: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        report = {
            "format": "scope.report",
            "version": 1,
            "versions": {"scope": __version__, "python": platform.python_version(), "system": platform.platform()},
            "trace": trace,
            "quality": quality,
            "runs": runs,
        }
        text = markdown(report)
        names, files = save_texts(filename_prefix, {".html": page(report), ".md": text, ".json": json.dumps(report)})
        return io.NodeOutput(ui={"scope_report": [{"markdown": text, "files": names, "urls": files}]})
