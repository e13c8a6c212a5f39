"""Reports and traces in ComfyUI's output folder."""

import json
import logging
from pathlib import Path
from typing import Any

import folder_paths

from ...scope_core import disk
from ...scope_core.loop.trace import Trace
from . import workers

LONGEST_NAME = 200
"""Bytes; file systems allow 255, with what is written beside a file until it is whole."""


def report_path(name: str) -> Path:
    """File of a named trace in the output folder. Raises ValueError for names that lead out of it, or are too long."""
    folder = Path(folder_paths.get_output_directory()) / "scope"
    path = (folder / f"{name}.json").resolve()
    if folder.resolve() not in path.parents:
        raise ValueError(
            f"report_name is {name!r}; it has to be a plain name without '..' or a drive, such as 'scope_run'"
        )
    longest = max((len(part.encode()) for part in Path(name).parts), default=0)
    if longest > LONGEST_NAME:
        raise ValueError(
            f"report_name takes {longest} bytes; use {LONGEST_NAME} at most, which are as many plain letters"
        )
    return path


class ReportWriter:
    """Writes the trace of a run to a named report; nothing without a name, and of processes that share the work on a
    video the first one alone does."""

    def __init__(self, name: str):
        """Raises ValueError for names that lead out of the output folder."""
        self.path = report_path(name) if name else None

    def __call__(self, trace: Trace) -> None:
        """The video is made by now, and must not be lost to a report."""
        if self.path is None or not workers.is_first():
            return
        try:
            disk.write(self.path, json.dumps(trace.to_json()).encode())
        except OSError as error:
            logging.warning("SCOPE: the report %s cannot be written: %s", self.path, error)


def read_report(name: str) -> dict[str, Any]:
    """The named trace. Raises ValueError for one that is not there or not whole."""
    path = report_path(name)
    shown = Path("output", "scope", f"{name}.json")
    again = "run SCOPE Accelerate or SCOPE Sampler (Advanced) with this report_name"
    if not path.exists():
        raise ValueError(
            f"there is no report {name!r} in {shown.parent}; {again} first, and connect its latent to `after`"
        )
    try:
        trace = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"the report {shown} is damaged; {again} once more, or delete the file") from error
    if not isinstance(trace, dict) or trace.get("format") != "scope.trace":
        raise ValueError(f"the file {shown} is not a trace of SCOPE; {again}, or name another report")
    return trace


def save_texts(prefix: str, texts: dict[str, str]) -> tuple[list[str], list[dict[str, str]]]:
    """Write texts by ending under the next free number of `prefix`; their names, and the files as the browser asks for
    them.

    The host refuses prefixes that lead out of the output folder.
    """
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    files = [
        {"filename": f"{name}_{counter:05}_{ending}", "subfolder": subfolder, "type": "output"} for ending in texts
    ]
    for file, text in zip(files, texts.values()):
        disk.write(Path(folder, file["filename"]), text.encode())
    return [str(Path(subfolder, file["filename"])) for file in files], files
