"""Runs that are kept in ComfyUI's user folder while they are made (docs/resume.md): what tells one from another, and
when they go."""

import asyncio
import hashlib
import logging
import uuid
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import comfy.ldm.modules.attention
import folder_paths
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from server import PromptServer
from torch import Tensor

from ...scope_core import __version__
from ...scope_core.loop import checkpoint
from ...scope_core.loop.checkpoint import Keeper, KeptRun
from .graph import Graph

INPUTS = ("model", "positive", "negative", "latent", "schedule")
"""Of a sampler, behind which a graph decides what comes out."""
PATIENCE = 1.0
"""Seconds between two looks at whether a prompt has ended."""
MOST_LOOKS = 10
"""At a prompt that is neither queued nor ended: it is being checked, or was refused or deleted."""


class Source(NamedTuple):
    """A node of a queued graph, which ComfyUI need not run again to show what it gave."""

    node: str
    identity: str
    """Of the node and all before it."""


FINISHED: dict[Source, set[str]] = {}
"""Folders of finished runs, by where their video comes from, until a prompt with that node has ended well."""


def folder() -> Path:
    return Path(folder_paths.get_user_directory()) / "scope" / "runs"


class HostKeeper(Keeper):
    """Keeps a finished run until a prompt that shows it has ended well, for the video still has to be decoded and
    saved, and a sweep to run its other settings."""

    def __init__(self, source: Source, identity: dict[str, Any], who: str):
        super().__init__(folder(), identity, who)
        self.source = source

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        run, prompt = self.folder, get_executing_context()
        self.close()
        if error is not None or run is None:
            return
        server = getattr(PromptServer, "instance", None)
        if server is None or prompt is None:
            remove(run.name)
        else:
            FINISHED.setdefault(self.source, set()).add(run.name)
            asyncio.run_coroutine_threadsafe(remove_behind(prompt.prompt_id, self.source), server.loop)


def keeper(prompt: Any, node: str, run: Any, given: dict[str, Any], inputs: Iterable[str] = INPUTS) -> HostKeeper:
    """Of a run of a sampling node of a prompt that is executed. `given`: what decides the video beside the graph, by
    names for people; `inputs`: those of the node that do."""
    graph, shown = Graph(prompt.get_node), prompt.get_real_node_id(node)
    told = {name: identity([graph.identity(node, name), given.pop(name, None)]) for name in inputs}
    host = {**run.trace.run["host"], "attention": comfy.ldm.modules.attention.optimized_attention.__name__}
    others = {name: value if isinstance(value, float) else identity(value) for name, value in given.items()}
    called = {"model name": run.trace.run["model"], "pack": __version__}
    source = Source(shown, graph.identity_of(shown))
    return HostKeeper(source, {**called, **told, **others, "host": host}, node)


def keeper_of_sampler(guider: Any, run: Any, given: dict[str, Any]) -> HostKeeper:
    """Of a run of a SAMPLER in one of the host's own sampling nodes, which is being executed. All that the node is
    connected to counts but the sampler, which is told by the run."""
    node, prompt = get_executing_context().node_id, get_progress_state().dynprompt
    inputs = [name for name in Graph(prompt.get_node).inputs(node) if name != "sampler"]
    guidance = {"guidance": [type(guider).__qualname__, guider.cfg, guider.original_conds]}
    return keeper(prompt, node, run, guidance | given, inputs)


def identity(value: Any) -> str:
    """Of conditionings, latents and settings: every tensor and plain value in them; of other objects only what they
    are, for the graph tells how they were made."""
    digest = hashlib.sha256()

    def tell(value: Any) -> None:
        if isinstance(value, Tensor):
            for part in value.unbind() if value.is_nested else [value]:
                digest.update(checkpoint.checksum(part).encode())
        elif isinstance(value, dict):
            tell(sorted(value.items(), key=lambda item: str(item[0])))
        elif isinstance(value, list | tuple):
            digest.update(f"{len(value)}".encode())
            for held in value:
                tell(held)
        elif is_dataclass(value) and not isinstance(value, type):
            tell([getattr(value, field.name) for field in fields(value)])
        elif value is None or isinstance(value, bool | int | float | str):
            digest.update(f"{type(value).__name__} {value!r}".encode())
        else:
            digest.update(type(value).__name__.encode())

    tell(value)
    return digest.hexdigest()[:16]


def expect(request: dict[str, Any]) -> dict[str, Any]:
    """Have the finished runs whose video a prompt shows removed when it has ended well; of nodes that ComfyUI remembers
    nothing else would tell. Called with every prompt that is queued."""
    prompt = request.get("prompt")
    if not isinstance(prompt, dict):
        return request
    for source in [source for source in list(FINISHED) if source.node in prompt]:
        if Graph(prompt.__getitem__).identity_of(source.node) == source.identity:
            request["prompt_id"] = request.get("prompt_id") or str(uuid.uuid4())
            asyncio.get_running_loop().create_task(remove_behind(request["prompt_id"], source))
    return request


async def remove_behind(prompt: str, source: Source) -> None:
    """Remove finished runs when a prompt that shows them has ended well; otherwise they stay, for what comes after the
    sampler may have failed."""
    if await ended_well(prompt):
        for name in FINISHED.pop(source, ()):
            await asyncio.to_thread(remove, name)


async def ended_well(prompt: str) -> bool:
    queue, looks = PromptServer.instance.prompt_queue, 0
    while looks < MOST_LOOKS:
        if told := queue.get_history(prompt, map_function=lambda item: item["status"]).get(prompt):
            return bool(told["completed"])
        queued = any(item[1] == prompt for item in chain(*queue.get_current_queue_volatile()))
        looks = 0 if queued else looks + 1
        await asyncio.sleep(PATIENCE)
    return False


def remove(name: str) -> str:
    """Remove a run by the name of its folder; why that was not possible, empty where it was."""
    run = next((run for run in checkpoint.runs(folder()) if run.folder.name == name), None)
    if run is None:
        return "it is not there any more"
    try:
        checkpoint.remove(run.folder)
    except OSError as error:
        logging.warning("SCOPE: the run in %s stays: %s", run.folder, error)
        return "a ComfyUI is at work on it, or the folder cannot be written"
    return ""


def told(run: KeptRun) -> dict[str, Any]:
    """A run for the browser."""
    return {
        "name": run.folder.name,
        "model": run.asked.get("model name", ""),
        "seed": str(run.asked.get("seed", "")),
        "frames": run.frames,
        "made": run.made,
        "bytes": run.bytes,
        "changed": run.changed,
    }
