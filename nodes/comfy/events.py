"""Live events for what the browser draws, to the client that asked. Decoration: the `ui` output is the truth."""

from typing import Any

from server import PromptServer

from ...scope_core.loop.trace import SegmentTrace
from ...scope_core.methods import RULES


def send(kind: str, payload: dict[str, Any]) -> None:
    """Where no browser asked, as in Raylight's workers or for API clients without a socket, do nothing."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and server.client_id is not None:
        server.send_sync(kind, payload, server.client_id)


def send_step(node_id: str | None, trace: SegmentTrace) -> None:
    """One small message per step: the newest one; with the segment's header and what the rules' letters mean if it is
    its first."""
    first = len(trace.steps) == 1
    segment, rules = (trace.header, {"rules": dict(RULES.values())}) if first else (trace.header["index"], {})
    send("scope.step", {"node": node_id, "segment": segment, "step": trace.steps[-1], **rules})
