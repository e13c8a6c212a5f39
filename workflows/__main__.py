"""Run an example workflow from the command line: `python -m workflows NAME`."""

import argparse
import json
import sys
import time
from pathlib import Path

from .graph import WorkflowError, to_prompt
from .launcher import Host, HostError, Server, find_or_build

FOLDER = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workflows", description="Run an example workflow without a browser."
    )
    parser.add_argument("name", nargs="?", help="the name of a workflow, or a part of it that fits no other")
    parser.add_argument("--list", action="store_true", help="name the workflows and stop")
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
        help="change a widget; NODE is a title or type",
    )
    options = parser.parse_args()
    if options.list or not options.name:
        print(*_catalogue(), sep="\n")
        return 0
    try:
        run(options.name, options.comfyui, options.out, options.changes)
    except (WorkflowError, HostError) as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Cancelled.", file=sys.stderr)
        return 130
    return 0


def run(name: str, comfyui: Path | None, out: Path, changes: list[str]):
    file = _find(name)
    workflow = json.loads(file.read_text(encoding="utf-8"))
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


def _catalogue() -> list[str]:
    return sorted(file.stem for file in FOLDER.glob("*.json"))


def _find(name: str) -> Path:
    names = _catalogue()
    fitting = [name] if name in names else [known for known in names if name in known]
    if len(fitting) != 1:
        complaint = f"{name!r} fits several workflows" if fitting else f"There is no workflow {name!r}"
        raise WorkflowError("\n  ".join([f"{complaint}. Choose from:", *(fitting or names)]))
    return FOLDER / f"{fitting[0]}.json"


def set_widget(change: str, prompt: dict):
    """Put `NODE.WIDGET=VALUE` into the prompt; the node is named by its title, its type or its id."""
    target, _, text = change.partition("=")
    for key, node in prompt.items():
        for name in (node["_meta"]["title"], node["class_type"], key):
            widget = target.removeprefix(f"{name}.")
            if widget in node["inputs"] and widget != target:
                node["inputs"][widget] = _parse(text, node["inputs"][widget])
                return
    known = sorted(
        f"{node['_meta']['title']}.{widget}"
        for node in prompt.values()
        for widget, value in node["inputs"].items()
        if not isinstance(value, list)
    )
    raise WorkflowError("\n  ".join([f"--set {change}: no such widget. There are:", *known]))


def _parse(text: str, present):
    if isinstance(present, str):
        return text
    try:
        return json.loads(text.lower() if isinstance(present, bool) else text)
    except json.JSONDecodeError:
        return text


def require_models(workflow: dict, prompt: dict, host: Host, server: Server):
    """Raise `WorkflowError` for model files of the workflow that the prompt names and ComfyUI does not have, with where
    to get and put them."""
    named = {value for node in prompt.values() for value in node["inputs"].values() if isinstance(value, str)}
    missing = []
    for node in workflow["nodes"]:
        models = node.get("properties", {}).get("models", [])
        for model in (
            models if named.intersection(model["name"] for model in models) else ()
        ):  # all files of a sharded model
            if model["name"] not in (server.request("GET", f"/models/{model['directory']}")[1] or []):
                missing.append(f"{host.models / model['directory'] / model['name']}\n    from {model['url']}")
    if missing:
        raise WorkflowError(
            "\n  ".join(["This workflow needs model files that are not there yet. Download:", *dict.fromkeys(missing)])
        )


class Progress:
    """Shows which node works, and how far it is: one changing line on a terminal, a line now and then elsewhere."""

    def __init__(self, prompt: dict):
        self.prompt = prompt
        self.title, self.quarters = "", 0
        self.on_terminal = sys.stdout.isatty()

    def __call__(self, kind: str, data: dict):
        if kind == "executing" and data["node"]:
            node = self.prompt.get(data["display_node"])
            self.title, self.quarters = node["_meta"]["title"] if node else data["node"], 0
            self._show(self.title)
        elif kind == "progress":
            quarters = data["value"] * 4 // data["max"]
            if self.on_terminal or quarters > self.quarters:
                self._show(f"{self.title}: {data['value']:.0f} of {data['max']:.0f}")
            self.quarters = quarters

    def _show(self, text: str):
        print(
            f"\r\033[K  {text}" if self.on_terminal else f"  {text}", end="" if self.on_terminal else "\n", flush=True
        )

    def close(self):
        if self.on_terminal:
            print("\r\033[K", end="", flush=True)


def _report(outputs: dict, out: Path):
    """Print what the nodes left: the files saved, their texts, and how much of the work was computed."""
    results = [(key, item) for output in outputs.values() for key, items in output.items() for item in items]
    for key, item in results:
        if key == "scope_trace":
            totals = item["totals"]
            print(f"  {totals['iterations']} iterations, {totals['computed']} computed, {totals['seconds']:.1f} s")
        elif key == "scope_report":
            print("\n".join(f"  {out / name}" for name in item["files"]))
        elif key == "text":
            print(f"  {item}")
        elif isinstance(item, dict) and item.get("type") == "output":
            print(f"  {out / item['subfolder'] / item['filename']}")


if __name__ == "__main__":
    sys.exit(main())
