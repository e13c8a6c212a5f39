"""Live events for what the browser draws, to the client that asked. Decoration: the `ui` output is the truth."""

from typing import Any

from server import PromptServer

from ...scope_core.loop.trace import SegmentTrace, Trace
from ...scope_core.methods import RULES


def send(kind: str, payload: dict[str, Any]) -> None:
    """Where no browser asked, as in Raylight's workers or for API clients without a socket, do nothing."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and server.client_id is not None:
        server.send_sync(kind, {**payload, **_origin(server.prompt_queue)}, server.client_id)


def _origin(queue: Any) -> dict[str, Any]:
    """The prompt that is run, and the workflow it is of where a browser queued it: tabs have nodes of the same ids."""
    match list(queue.currently_running.values()):
        case [(_, prompt, _, {"extra_pnginfo": {"workflow": {"id": workflow}}}, *_)]:
            return {"prompt_id": prompt, "workflow": workflow}
        case [(_, prompt, *_)]:
            return {"prompt_id": prompt}
    return {}


def send_step(node_id: str | None, trace: SegmentTrace, iterations: int | None = None) -> None:
    """One small message per step: the newest one; with the segment's header, what the rules' letters mean and how many
    iterations the run has if it is its first."""
    send_nth(node_id, trace, len(trace.steps) - 1, iterations)


def send_trace(node_id: str | None, trace: Trace, iterations: int | None = None) -> None:
    """All steps so far, as where a run goes on that a browser has not followed."""
    for segment in trace.segments:
        for index in range(len(segment.steps)):
            send_nth(node_id, segment, index, iterations)


def send_nth(node_id: str | None, trace: SegmentTrace, index: int, iterations: int | None) -> None:
    event: dict[str, Any] = {
        "node": node_id,
        "segment": trace.header["index"],
        "index": index,
        "step": trace.steps[index],
    }
    if index == 0:
        event |= {"segment": trace.header, "rules": dict(RULES.values()), "iterations": iterations}
    send("scope.step", event)
