"""What ComfyUI's server answers for the pack beside running nodes: plans, runs that are kept, and the example
workflows."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import web
from server import PromptServer

from ...scope_core.loop import checkpoint
from ...scope_core.signals.maps import SignalMaps
from . import runs
from .graph import Graph, GraphError
from .sampling import knowledge

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MOST_BYTES = 1_000_000
AT_A_TIME = 4
"""Plans that are worked on together, so that a large one does not hold up the others."""
PACK = Path(__file__).parents[2]
TEMPLATE_FILES = (".json", ".jpg")


Answer = Callable[[str, Graph, SignalMaps], dict[str, Any]]
"""What is told of a node of a graph, with what earlier runs taught."""


def serve_plans(plan: Answer, family: Answer) -> None:
    """POST /scope/plan: the plan of a node of the graph in the browser; POST /scope/family: of which family the model
    of a sampler is, where its file tells. Neither touches a model."""
    PromptServer.instance.routes.post("/scope/plan")(planning(plan))
    PromptServer.instance.routes.post("/scope/family")(planning(family))


def planning(plan: Answer) -> Handler:
    """Answers requests {"node": id, "prompt": graph} with `plan(id, graph, known)`, and bad ones with a sentence. The
    work is done in threads of its own: the server's loop and its other threads never wait for it."""
    threads = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="scope-plan")

    def answer(body: bytes) -> tuple[int, str]:
        try:
            node, graph = read(body)
            return 200, json.dumps(plan(node, graph, knowledge()))
        except ValueError as error:
            return 400, json.dumps({"error": str(error)})
        except RecursionError:
            return 400, json.dumps({"error": "the graph is too deep to be planned; its run has no such limit"})
        except Exception as error:
            logging.exception("SCOPE: a plan failed")
            said = f"the plan failed ({type(error).__name__}: {error}). ComfyUI's log has more; the run may still work"
            return 500, json.dumps({"error": said})

    async def handle(request: web.Request) -> web.Response:
        if request.content_length is None or request.content_length > MOST_BYTES:
            return web.json_response({"error": f"a plan is made of at most {MOST_BYTES:,} bytes"}, status=413)
        body = await request.read()
        status, text = await asyncio.get_running_loop().run_in_executor(threads, answer, body)
        return web.json_response(text=text, status=status)

    return handle


def read(body: bytes) -> tuple[str, Graph]:
    """Node and graph of a request. Raises GraphError for what is not one."""
    try:
        request = json.loads(body)
    except ValueError:
        request = None
    if not isinstance(request, dict) or not isinstance(request.get("node"), str):
        raise GraphError('a plan needs {"node": id, "prompt": graph} in JSON')
    return request["node"], Graph.of(request.get("prompt"))


def serve_runs() -> None:
    """GET /scope/runs: the runs that are kept on disk, the newest first; POST /scope/runs/remove {"name": folder}:
    remove one. Each answers with what is there then, and the second with why a run was not removed. Prompts are
    followed, so that finished runs go when they have been shown."""

    async def answer(error: str = "") -> web.Response:
        kept = await asyncio.to_thread(checkpoint.runs, runs.folder())
        kept.sort(key=lambda run: -run.changed)
        told = [runs.told(run) for run in kept]
        return web.json_response({"runs": told, "folder": str(runs.folder()), **({"error": error} if error else {})})

    async def listed(request: web.Request) -> web.Response:
        return await answer()

    async def removed(request: web.Request) -> web.Response:
        try:
            name = (await request.json())["name"]
        except (ValueError, KeyError, TypeError):
            return web.json_response({"error": 'a run is removed by {"name": its folder} in JSON'}, status=400)
        why = await asyncio.to_thread(runs.remove, name)
        return await answer(f"{name} stays: {why}." if why else "")

    PromptServer.instance.add_on_prompt_handler(runs.expect)
    PromptServer.instance.routes.get("/scope/runs")(listed)
    PromptServer.instance.routes.post("/scope/runs/remove")(removed)


def serve_templates() -> None:
    """Of the folder of example workflows, which ComfyUI serves whole once it has loaded all packs, only what its
    template browser shows. The first route that fits an address answers it, and this one is made before ComfyUI's."""
    folder = PACK / "workflows"

    async def handle(request: web.Request) -> web.StreamResponse:
        file = folder / request.match_info["file"]
        if file.parent != folder or file.suffix not in TEMPLATE_FILES or not file.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(file)

    PromptServer.instance.app.router.add_get(f"/api/workflow_templates/{PACK.name}/{{file:.+}}", handle)
