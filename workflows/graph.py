"""From the graph that ComfyUI's browser saves to the prompt that its server runs."""

import json
from collections.abc import Callable
from typing import Any

WIDGET_TYPES = {
    "INT", "FLOAT", "BOOLEAN", "STRING", "COMBO", "COMFY_DYNAMICCOMBO_V3", "COLOR", "COLORS",
    "MARKDOWN", "TEXTAREA", "CURVE", "RANGE", "PAINTER", "BOUNDING_BOX", "BOUNDING_BOXES",
}  # fmt: skip
VIRTUAL_NODES = {"Note", "MarkdownNote", "Reroute", "PrimitiveNode"}
MUTED, BYPASSED = 2, 4


class WorkflowError(Exception):
    """The workflow cannot run as it stands; the message says which node objects, and why."""


def to_prompt(workflow: dict, object_info: dict) -> dict:
    """Convert a saved graph to ComfyUI's API format, as the browser does when Run is pressed.

    `object_info` is the server's answer to `GET /object_info`. Muted nodes are left out and bypassed ones passed
    through. Raises `WorkflowError` for a subgraph, and for a node type that the server does not have.
    """
    nodes = {node["id"]: node for node in workflow["nodes"]}
    links = {link[0]: link for link in workflow["links"]}
    running = {
        str(key): node
        for key, node in nodes.items()
        if node["type"] not in VIRTUAL_NODES and node.get("mode") not in (MUTED, BYPASSED)
    }
    subgraphs = {graph["id"]: graph["name"] for graph in workflow.get("definitions", {}).get("subgraphs", [])}
    if found := sorted({subgraphs[node["type"]] for node in running.values() if node["type"] in subgraphs}):
        raise WorkflowError(
            f"{', '.join(found)}: subgraphs are taken apart by the browser alone. Choose Unpack Subgraph in the node's"
            " menu there, and save the workflow again."
        )
    check_types({node["type"] for node in running.values()}, object_info)

    prompt = {}
    for key, node in running.items():
        info = object_info[node["type"]]
        inputs = widget_values(info["input"], _value_reader(node.get("widgets_values") or []))
        for slot in node.get("inputs", []):
            source = _source(slot, nodes, links)
            if source is not None:
                inputs[slot["name"]] = source
        inputs = {name: value for name, value in inputs.items() if not isinstance(value, list) or value[0] in running}
        title = node.get("title") or info["display_name"] or node["type"]
        prompt[key] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": title}}
    return prompt


def check_types(types: set[str], object_info: dict):
    """Raises `WorkflowError` for node types that the server does not have."""
    if unknown := sorted(types - object_info.keys()):
        raise WorkflowError(f"ComfyUI has no node of type {', '.join(unknown)}. A pack is missing, or failed to load.")


def _value_reader(values: list | dict) -> Callable[[str, Any], Any]:
    """`read(name, default)` over saved widget values: by name, or one after the other in the order the browser draws
    them."""
    if isinstance(values, dict):
        return values.get
    remaining = iter(values)
    return lambda name, default: next(remaining, default)


def widget_values(inputs: dict, read: Callable[[str, Any], Any], prefix: str = "") -> dict:
    """The widgets of a node (or of one option of a dynamic combo, whose name is then the prefix) with the values that
    `read(name, default)` gives."""
    found = {}
    for short, spec in {**inputs.get("required", {}), **inputs.get("optional", {})}.items():
        name, options = prefix + short, spec[1] if len(spec) > 1 else {}
        kind = "COMBO" if isinstance(spec[0], list) else options.get("widgetType", spec[0])
        if kind not in WIDGET_TYPES or options.get("forceInput"):
            continue

        found[name] = _as_constant(read(name, _default(spec[0], kind, options)), kind)
        for control in _control_widgets(name, kind, options):
            read(control, None)
        if kind == "COMFY_DYNAMICCOMBO_V3":
            chosen = next((option for option in options["options"] if option["key"] == found[name]), None)
            if chosen:
                found |= widget_values(chosen["inputs"], read, prefix=f"{name}.")
    return found


def _default(declared: str | list, kind: str, options: dict) -> Any:
    """What the browser puts in a widget for which the file holds no value."""
    choices = declared if isinstance(declared, list) else options.get("options")
    first = choices[0] if choices else {"INT": 0, "FLOAT": 0, "BOOLEAN": False, "STRING": ""}.get(kind)
    return options.get("default", first["key"] if isinstance(first, dict) else first)


def _control_widgets(name: str, kind: str, options: dict) -> list[str]:
    """The widgets that the browser adds and saves after this one, and does not send: what to do with a seed after each
    run."""
    if not options.get("control_after_generate", kind == "INT" and name in ("seed", "noise_seed")):
        return []
    return ["control_after_generate", "control_filter_list"] if kind == "COMBO" else ["control_after_generate"]


def _as_constant(value: Any, kind: str = "") -> Any:
    """A value as the prompt spells it: a bare list there would be a link to another node."""
    if not isinstance(value, list):
        return value
    return {"__type__": "CURVE", "__value__": value} if kind == "CURVE" else {"__value__": value}


def _source(slot: dict, nodes: dict, links: dict, wanted: str | None = None) -> Any:
    """What feeds an input slot: `["node id", output index]`, the constant of a primitive node, or None."""
    if slot.get("link") is None:
        return None
    _, origin_id, output, *_ = links[slot["link"]]
    origin = nodes[origin_id]
    wanted = wanted or slot["type"]

    if origin.get("mode") == MUTED:
        return None
    if origin.get("mode") == BYPASSED:
        passed_through = _bypass(origin, output, wanted)
        return passed_through and _source(passed_through, nodes, links)
    if origin["type"] == "Reroute":
        return _source(origin["inputs"][0], nodes, links, wanted) if origin["inputs"] else None
    if origin["type"] == "PrimitiveNode":
        return _as_constant(origin["widgets_values"][0])
    return [str(origin_id), output]


def _bypass(node: dict, output: int, wanted: str) -> dict | None:
    """The input slot whose signal a bypassed node hands on: the one beside the output, else the first that fits."""
    inputs = node.get("inputs", [])
    beside = inputs[output : output + 1]
    if wanted in ("*", ""):
        return next(iter(beside + inputs), None)
    offered = node["outputs"][output]["type"]
    fitting = [slot for slot in inputs if _connects(slot["type"], offered) and _connects(slot["type"], wanted)]
    exact = [slot for slot in inputs if slot["type"] == wanted]
    return next(iter([slot for slot in beside if slot in fitting] + exact + fitting), None)


def _connects(one: str, other: str) -> bool:
    one, other = one.lower(), other.lower()
    return "*" in (one, other) or not set(one.split(",")).isdisjoint(other.split(","))


def set_widget(change: str, prompt: dict):
    """Put `NODE.WIDGET=VALUE` into the prompt. NODE is the id of a node, or a title or type that it has alone. Raises
    `WorkflowError`."""
    target, _, text = change.partition("=")
    fitting = _widgets_called(target, prompt)
    if not fitting:
        known = sorted(
            f"{node['_meta']['title']}.{widget}"
            for node in prompt.values()
            for widget, value in node["inputs"].items()
            if not isinstance(value, list)
        )
        raise WorkflowError("\n  ".join([f"There is no widget {target}. There are:", *known]))
    if len(fitting) > 1:
        choice = [f"{key}.{widget} of {prompt[key]['_meta']['title']}" for key, widget in fitting]
        raise WorkflowError("\n  ".join([f"{target} fits several nodes. Choose one by its id:", *choice]))
    ((key, widget),) = fitting
    inputs = prompt[key]["inputs"]
    inputs[widget] = _parse(text, inputs[widget])


def _widgets_called(target: str, prompt: dict) -> list[tuple[str, str]]:
    """Ids of nodes, and widgets of theirs, that `NODE.WIDGET` names: by id, else by title, else by type."""
    for names in zip(*((key, node["_meta"]["title"], node["class_type"]) for key, node in prompt.items())):
        fitting = [
            (key, widget)
            for key, name in zip(prompt, names)
            for widget in prompt[key]["inputs"]
            if target == f"{name}.{widget}"
        ]
        if fitting:
            return fitting
    return []


def _parse(text: str, present):
    if isinstance(present, str):
        return text
    try:
        return json.loads(text.lower() if isinstance(present, bool) else text)
    except json.JSONDecodeError:
        return text
