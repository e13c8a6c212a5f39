"""SCOPE Save Report: a run as JSON and as a page to read, kept on this machine."""

import json
import os
import platform
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..scope_core import __version__
from ..scope_core.report import markdown
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
            description="Writes a run to the output folder as JSON and as a Markdown page: settings, versions, hardware, every decision, times, memory and, where "
                        "connected, fidelity and trade-off. Nothing leaves this machine.",
            search_aliases=["export", "log", "bug report", "benchmark report"],
            is_output_node=True,
            inputs=[
                TraceType.Input("trace", tooltip="From SCOPE Sampler."),
                QualityType.Input("quality", optional=True, tooltip="From SCOPE Quality."),
                RunsType.Input("runs", optional=True, tooltip="From SCOPE Trade-off Sweep."),
                io.String.Input("filename_prefix", default="scope/report", tooltip="Where in the output folder the files go, and how their names begin."),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, trace: dict[str, Any], filename_prefix: str, quality: dict[str, Any] | None = None, runs: dict[str, Any] | None = None) -> io.NodeOutput:
        report = {"format": "scope.report", "version": 1, "versions": {"scope": __version__, "python": platform.python_version(), "system": platform.platform()},
                  "trace": trace, "quality": quality, "runs": runs}
        page = markdown(report)
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(filename_prefix, folder_paths.get_output_directory())
        files = []
        for ending, text in ((".json", json.dumps(report)), (".md", page)):
            files.append({"filename": f"{name}_{counter:05}_{ending}", "subfolder": subfolder, "type": "output"})
            Path(folder, files[-1]["filename"]).write_text(text, encoding="utf-8")
        names = [os.path.join(subfolder, file["filename"]) for file in files]
        return io.NodeOutput(ui={"scope_report": [{"markdown": page, "files": names, "urls": files}]})
