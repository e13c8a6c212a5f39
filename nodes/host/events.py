"""Live events for the timeline: one small message per step, to the client that asked. Decoration: the `ui` output is the truth."""

from server import PromptServer

from ...scope_core.trace import SegmentTrace


def send_step(node_id: str | None, trace: SegmentTrace) -> None:
    """Tell the browser about the newest step, with the segment's header if it is its first. Where no browser asked, do nothing."""
    server = getattr(PromptServer, "instance", None)
    if node_id is None or server is None or server.client_id is None:
        return
    segment = trace.header if len(trace.steps) == 1 else trace.header["index"]
    server.send_sync("scope.step", {"node": node_id, "segment": segment, "step": trace.steps[-1]}, server.client_id)
