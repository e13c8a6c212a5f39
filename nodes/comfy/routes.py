"""POST /scope/plan: the plan of a node of the graph in the browser. Touches no model."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web
from server import PromptServer

from ...scope_core.signals.maps import SignalMaps
from .graph import Graph, GraphError
from .sampling import knowledge

MOST_BYTES = 1_000_000


def serve_plans(plan: Callable[[str, Graph, SignalMaps], dict[str, Any]]) -> None:
    """Answer requests {"node": id, "prompt": graph} with `plan(id, graph, known)`, and bad ones with a sentence."""

    def answer(body: bytes) -> dict[str, Any]:
        request = json.loads(body)
        if not isinstance(request, dict) or not isinstance(request.get("node"), str):
            raise GraphError('a plan needs {"node": id, "prompt": graph}')
        return plan(request["node"], Graph.of(request.get("prompt")), knowledge())

    one_at_a_time = asyncio.Lock()

    async def handle(request: web.Request) -> web.Response:
        if request.content_length is None or request.content_length > MOST_BYTES:
            return web.json_response({"error": f"a plan is made of at most {MOST_BYTES:,} bytes"}, status=413)
        body = await request.read()
        try:
            async with one_at_a_time:
                return web.json_response(await asyncio.to_thread(answer, body))
        except KeyError as error:
            return web.json_response({"error": f"node {str(error)[:40]} is not in the graph"}, status=400)
        except (ValueError, RecursionError) as error:
            return web.json_response({"error": str(error)}, status=400)

    PromptServer.instance.routes.post("/scope/plan")(handle)
