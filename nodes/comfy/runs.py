"""Runs that are kept in ComfyUI's user folder while they are made (docs/resume.md): what tells one from another, and
when they go."""

import asyncio
import hashlib
import logging
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import comfy.ldm.modules.attention
import folder_paths
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


def folder() -> Path:
    return Path(folder_paths.get_user_directory()) / "scope" / "runs"


class HostKeeper(Keeper):
    """Keeps a finished run until the prompt has ended well, for the video still has to be decoded and saved, and a
    sweep to run its other settings."""

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        run, prompt = self.folder, get_executing_context()
        self.close()
        if error is not None or run is None:
            return
        server = getattr(PromptServer, "instance", None)
        if server is None or prompt is None:
            remove(run.name)
        else:
            asyncio.run_coroutine_threadsafe(remove_behind(prompt.prompt_id, run.name), server.loop)


def keeper(graph: Graph, node: str, run: Any, given: dict[str, Any]) -> HostKeeper:
    """Of a run of a sampler node. `given`: what else decides the video, by names for people."""
    told = {name: identity([graph.identity(node, name), given.pop(name, None)]) for name in INPUTS}
    host = {**run.trace.run["host"], "attention": comfy.ldm.modules.attention.optimized_attention.__name__}
    others = {name: value if isinstance(value, float) else identity(value) for name, value in given.items()}
    called = {"model name": run.trace.run["model"], "pack": __version__}
    return HostKeeper(folder(), {**called, **told, **others, "host": host}, node)


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


async def remove_behind(prompt: str, name: str) -> None:
    """Remove a finished run when the prompt has ended well; otherwise it stays, for what comes after the sampler may
    have failed."""
    queue = PromptServer.instance.prompt_queue
    while any(item[1] == prompt for item in queue.get_current_queue_volatile()[0]):
        await asyncio.sleep(PATIENCE)
    ended = queue.get_history(prompt, map_function=lambda item: item["status"]).get(prompt) or {}
    if ended.get("completed"):
        await asyncio.to_thread(remove, name)


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
