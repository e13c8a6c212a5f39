"""Run an example workflow from the command line: `python -m workflows NAME`. With a list of prompts, seeds or values of
a widget it is run once for each of them, on this machine or on those of a Ray cluster."""

import argparse
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

from . import examples
from .graph import WorkflowError, set_widget, to_prompt
from .launcher import HostError, find_or_build, require_models
from .progress import Progress


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m workflows", description="Run a workflow without a browser.")
    parser.add_argument(
        "name", nargs="?", help="the name of an example, or a part of it that fits no other; or a file that you saved"
    )
    parser.add_argument("--list", action="store_true", help="name the examples and stop")
    parser.add_argument(
        "--comfyui", type=Path, metavar="PATH", help="the ComfyUI to use (otherwise COMFYUI_PATH, or a private one)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("scope-output"), metavar="FOLDER", help="where files go (default: %(default)s)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="NODE.WIDGET=VALUE",
        help="change a widget; NODE is the id of a node, or a title or type that it has alone",
    )
    many = parser.add_argument_group("many runs, one for each combination; the same command goes on where it was")
    many.add_argument("--prompts", type=Path, metavar="FILE", help="one prompt a line")
    many.add_argument("--seeds", type=int, nargs="+", metavar="SEED")
    many.add_argument(
        "--vary",
        action="append",
        nargs="+",
        default=[],
        metavar=("NODE.WIDGET", "VALUE"),
        help="values of a widget; may be given for several",
    )
    many.add_argument(
        "--prompt-widget", metavar="NODE.WIDGET", help="where prompts go, if that is not plain from the workflow"
    )
    add_workers(many)
    options = parser.parse_args()
    if options.list or not options.name:
        print(*examples.names(), sep="\n")
        return 0
    try:
        if options.prompts or options.seeds or options.vary or options.ray or options.workers:
            return _run_many(options)
        run(options.name, options.comfyui, options.out, options.changes)
    except (WorkflowError, HostError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Cancelled. The same command goes on with a list where it was.", file=sys.stderr)
        return 130
    return 0


def count(text: str) -> int:
    """Of an option. Raises ValueError, ArgumentTypeError."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is too few; give 1 or more")
    return number


def add_workers(parser) -> None:
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="work on a Ray cluster: its address, auto on one of its machines, local for this machine alone",
    )
    parser.add_argument(
        "--workers", type=count, metavar="N", help="of a cluster (default: one a GPU, or one a machine without any)"
    )


def _run_many(options: argparse.Namespace) -> int:
    """In this Python, or in that of the ComfyUI where this one lacks the library."""
    if importlib.util.find_spec("torch") and importlib.util.find_spec("filelock"):
        from .lists import render

        render(options, _file(options.name))
        return 0
    host = find_or_build(options.comfyui, ("ray",) if options.ray else ())
    if missing := host.missing(["torch", "filelock"]):
        raise HostError(
            f"{host.python} lacks {' and '.join(missing)}, so it is not the Python that runs {host.root}. Name"
            " that one: COMFYUI_PYTHON=PATH"
        )
    return subprocess.run([host.python, "-m", "workflows", *sys.argv[1:]]).returncode


def run(name: str, comfyui: Path | None, out: Path, changes: list[str]):
    file = _file(name)
    workflow = examples.read(file)
    host = find_or_build(comfyui)
    print(f"Starting ComfyUI from {host.root} ...", flush=True)
    with host.serve(output=out, log=out / "comfyui.log") as server:
        prompt = to_prompt(workflow, server.object_info())
        for change in changes:
            set_widget(change, prompt)
        require_models(workflow, prompt, host, server)

        stats = server.request("GET", "/system_stats")[1]
        print(
            f"Running {file.stem} on ComfyUI {stats['system']['comfyui_version']} ({stats['devices'][0]['name']})",
            flush=True,
        )
        began = time.monotonic()
        progress = Progress(prompt)
        try:
            entry = server.run(prompt, on_event=progress, workflow=workflow)
        finally:
            progress.close()
    print(f"Done in {time.monotonic() - began:.1f} s.")
    _report(entry["outputs"], out)


def _file(name: str) -> Path:
    """A file that somebody saved, or an example."""
    return Path(name) if name.endswith(".json") and Path(name).is_file() else examples.find(name)


def _report(outputs: dict, out: Path):
    """Print what the nodes left: the files saved, their texts, and how much of the work was computed. Steps that reuse
    something inside the network do not count as computed, as in the timeline."""
    results = [(key, item) for output in outputs.values() for key, items in output.items() for item in items]
    for key, item in results:
        if key == "scope_trace":
            totals = item["totals"]
            fewer = totals["frames_baseline"] / totals["frames_computed"]
            print(
                f"  {totals['computed']} of {totals['iterations']} evaluations, {fewer:.2f}x fewer frames computed,"
                f" {totals['seconds']:.1f} s"
            )
        elif key == "scope_report":
            print("\n".join(f"  {out / name}" for name in item["files"]))
        elif key == "text":
            print(f"  {item}")
        elif isinstance(item, dict) and item.get("type") == "output":
            print(f"  {out / item['subfolder'] / item['filename']}")


if __name__ == "__main__":
    sys.exit(main())
