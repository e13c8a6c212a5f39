"""What a real server makes of a prompt, and what has to be true of it."""

import json
import time
from collections.abc import Mapping
from typing import Any

from cases import require_sentence

PACK = "/custom_nodes/scope-for-comfyui/"
PATIENCE = 300.0
"""Seconds; the longest prompt here takes two on a quiet machine."""


def ask(server, graph: dict[str, Any], odd: Mapping[str, Any]) -> dict[str, Any]:
    """Run a prompt. Its outputs by node, empty where it was refused or answered with a sentence of ours; asserts that
    it was answered like that."""
    status, answer = server.request("POST", "/prompt", {"prompt": graph})
    assert status in (200, 400), f"status {status}"
    for node in (answer.get("node_errors") or {}).values():
        for problem in node["errors"]:
            assert not problem["type"].startswith("exception"), f"raised while it was checked: {problem}"
    if "prompt_id" not in answer:
        return {}
    entry = wait(server, answer["prompt_id"])
    for kind, data in entry["status"]["messages"]:
        if kind == "execution_error":
            require_ours(data, odd)
            return {}
    return json.loads(json.dumps(entry["outputs"], allow_nan=False))


def ask_afresh(server, graph: dict[str, Any], odd: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a prompt of which the server has cached nothing: it forgets what the prompt before did not ask
    for."""
    unrelated = {"class_type": "PrimitiveInt", "inputs": {"value": 1}}
    ask(server, {"1": unrelated, "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}}, {})
    return ask(server, graph, odd)


def wait(server, run: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if entry := server.request("GET", f"/history/{run}")[1].get(run):
            return entry
        time.sleep(0.01)
    raise AssertionError(f"no end after {PATIENCE:g} s")


def require_ours(error: dict[str, Any], odd: Mapping[str, Any]) -> None:
    """Asserts that an error in the pack left a `raise` statement of its own, with a sentence. Errors of core's nodes
    are core's."""
    told = f"{error['node_type']}: {error['exception_type']}: {error['exception_message']}"
    if "outside the output folder" in told:  # the host's own refusal, the same for every node that saves
        return
    if error["node_type"].startswith("SCOPE_") or any(PACK in line for line in error["traceback"]):
        file, _, statement = error["traceback"][-1].strip().partition("\n")
        assert PACK in file and statement.strip().startswith("raise "), f"not raised by a line of ours: {told}, {file}"
        assert "returned NaN" not in told, f"numbers became NaN: {told}"
        require_sentence(error["exception_message"].strip(), odd)
