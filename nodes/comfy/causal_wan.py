"""Causal Wan on the host's own WanModel, through the user's guider: a call forwards one chunk, and self-attention reads
the keys and values that finished chunks have left.

To the hooks of SkyReels-V2 (`skyreels`) it adds a time offset of the rotary embedding, which the host's model has an
option for, and keys and values in front of those of self-attention.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.patcher_extension
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...scope_core.families.causal_wan import CAUSAL_WAN, ChunkTerm, KeyValues, Trained, trained
from ...scope_core.loop.residuals import BlockPass
from ...scope_core.networks.skyreels_keys import NotARVideoModelError
from ...scope_core.schedule import ARSchedule, ScheduleError
from . import room
from .families import HostFamily, register
from .skyreels import FrameSampling, HostWan, Windows, frame_sampling, prepare
from .unrolling import Unrolling

KEY = "scope_trained"
"""Attachment of a MODEL: what it was trained with."""
CAUSAL_AR = re.compile(r'"causal_ar"\s*:\s*true')


class NotByChunksError(ValueError):
    """Conditioning whose keys and values cannot be kept. The message says what to change."""


def trained_of(paths: list[str]) -> Trained | None:
    """What the metadata of a model's files tell of its training; None for files that do not say that they are causal
    Wan. Raises ScheduleError.

    `scope` of this pack's converter says all. core's `causal_ar` says that a file is causal, and the names of file and
    folders whether it is framewise. A file that cannot be read tells nothing.
    """
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata() or {}
        except (SafetensorError, OSError):
            return None
        if found := trained(told.get("scope", "")):
            return found
        if CAUSAL_AR.search(told.get("config", "")):
            return Trained(1 if "framewise" in " ".join(Path(path).parts[-3:]).lower() else Trained.chunk)
    return None


def identify(shapes: Mapping[str, tuple[int, ...]], name: str, trained: Trained) -> str:
    """A name such as 'Causal Wan 1.3B, chunks of 3' for a checkpoint in the official layout. Raises
    NotARVideoModelError."""
    for key in ("patch_embedding.weight", "head.modulation"):
        if key not in shapes:
            raise NotARVideoModelError(
                f"{name} is causal Wan by the metadata of its file, but lacks {key}; convert or download it again"
            )
    return title(shapes["head.modulation"][-1], trained)


def title(dim: int, trained: Trained) -> str:
    size = {1536: "1.3B", 3072: "5B", 5120: "14B"}.get(dim, f"of width {dim}")
    return f"{CAUSAL_WAN.title} {size}, chunks of {trained.chunk}"


def prepare_causal(patcher: Any, model_name: str, trained: Trained) -> None:
    """Teach a model patcher noise levels per frame and chunks. Raises NotPreparedError."""
    prepare(patcher, model_name, CAUSAL_WAN)
    kind = comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING
    patcher.remove_wrappers_with_key(kind, KEY)
    patcher.add_wrapper_with_key(kind, KEY, reserve)
    patcher.set_attachments(KEY, trained)


def reserve(executor: Callable, model: Any, noise_shape: list[int], *args, **kwargs):
    """Let the host make room for what a call takes: one chunk instead of the whole video, and the keys and values
    beside it, which are put as frames that would take as much."""
    trained: Trained = model.get_attachment(KEY)
    batch, channels, frames, height, width = noise_shape
    chunk = min(trained.chunk, frames)
    frame = model.model.memory_required([2 * batch, channels, 1, height, width])
    kept = min(
        2 * batch * kv_bytes(model.model, min(trained.window, frames), height, width), room.share(model.load_device)
    )
    return executor(model, [batch, channels, chunk + math.ceil(kept / frame), height, width], *args, **kwargs)


def kv_bytes(model: Any, frames: int, height: int, width: int) -> int:
    """Of keys and values of so many latent frames of one video, in one guidance branch."""
    network = model.diffusion_model
    tokens = frames * -(-height // 2) * -(-width // 2)
    return (
        2 * len(network.blocks) * tokens * network.dim * comfy.model_management.dtype_size(model.get_dtype_inference())
    )


class HostChunks(HostWan, ChunkTerm):
    """The guider as the model of the sampling loop."""

    def __init__(self, guider, model_options: dict, seed: int | None, trained: Trained):
        super().__init__(guider, model_options, seed)
        self.trained = trained
        self.kv_bytes = room.for_keys_and_values(guider.model_patcher)
        for name, conds in guider.conds.items():
            ranged = any(cond.get("start_percent", 0.0) > 0 or cond.get("end_percent", 1.0) < 1 for cond in conds)
            if len(conds) > 1 or ranged:
                raise NotByChunksError(
                    f"`{name}` has {'a range of steps' if ranged else f'{len(conds)} parts'}, and causal Wan keeps keys"
                    " and values of one prompt that counts at all steps; remove Conditioning (Combine) and Conditioning"
                    " Set Timestep Range nodes"
                )

    def velocity(
        self, x: Tensor, timestep: np.ndarray, first: int, kept: KeyValues, around: BlockPass | None
    ) -> Tensor:
        return self.evaluate(x, timestep, around, partial(attend_to_kept, kept), first)


def attend_to_kept(kept: KeyValues, attend: Callable, q: Tensor, k: Tensor, v: Tensor, options: dict) -> Tensor:
    """Self-attention of a batch of conditionings, each of which has keys and values of its own on every device."""
    uuids, layer = options["uuids"], options["block_index"]
    branches = zip(uuids, k.chunk(len(uuids)), v.chunk(len(uuids)))
    parts = [kept.extend((k.device, uuid), layer, key, value) for uuid, key, value in branches]
    return attend(q, *(torch.cat(part) for part in zip(*parts)))


@dataclass(frozen=True)
class Chunks(Unrolling):
    """Chunk after chunk."""

    family = CAUSAL_WAN
    node = Windows.node

    trained: Trained = Trained()
    """What the model was trained with, and how far it looks back in this run."""
    start: Tensor | None = None
    note: str = ""
    end = None
    vae = None

    def schedule(
        self, frames: int, steps: int, shift: float | None = None, levels: tuple[float, ...] | None = None
    ) -> ARSchedule:
        prefix = 0 if self.start is None else self.start.shape[2]
        shift = CAUSAL_WAN.defaults.shift if shift is None else shift
        return CAUSAL_WAN.schedule(frames, steps, self.trained.chunk, prefix, shift, levels=levels)

    @property
    def chunk(self) -> int:  # type: ignore[override]  # of this model
        return self.trained.chunk

    def check_size(self, latent: Tensor) -> None:
        if latent.shape[2] % self.chunk:
            raise ScheduleError(
                f"the video has {latent.shape[2]} latent frames, and this model makes chunks of {self.chunk};"
                f" give it an empty latent of {self.whole(latent.shape[2])}"
            )
        super().check_size(latent)


def chunks(trained: Trained, given: Windows | None) -> Chunks:
    """What AR Schedule stands for with a model of causal Wan: `chunk` has to be the model's, `window` and `sink` tell
    how far a chunk looks back, and it starts from `start`. The rest is as it has to be. Raises ScheduleError."""
    if given is None:
        return Chunks(trained)
    if given.end is not None:
        raise ScheduleError(
            "`end` of AR Schedule is connected, but a causal model sees what lies before a chunk alone; disconnect it"
        )
    if given.block != trained.chunk:
        raise ScheduleError(
            f"chunk of AR Schedule is {given.block} latent frames, and this model was trained with chunks of"
            f" {trained.chunk}; set it to {trained.chunk}"
        )
    asked, notes = Trained(trained.chunk, given.window, given.sink), []
    if asked.window > trained.window:
        pixels = CAUSAL_WAN.pixel_frames
        notes.append(
            f"a chunk looks back {pixels(asked.window)} frames, and the model was trained with"
            f" {pixels(trained.window)}; set window to that for longer videos"
        )
    rest = 0 if given.start is None else given.start.shape[2] % trained.chunk
    if rest and trained.chunk < COMPLETES:
        notes.append(
            f"the start ends with {rest} of the {trained.chunk} latent frames of a chunk, which this model was not"
            " trained to complete; an image is for the framewise model"
        )
    return Chunks(asked, given.start, "; ".join(notes))


COMPLETES = 8
"""Chunks of so many latent frames were trained to be completed from an image (LongLive-2.0)."""


class HostCausalWan(HostFamily):
    family = CAUSAL_WAN
    unrolling = Windows

    def unrolled(self, patcher: Any, given: Windows | None) -> Chunks:
        return chunks(patcher.get_attachment(KEY), given)

    def unrolled_of(self, paths: list[str], given: Any) -> Chunks | None:
        trained = trained_of(paths)
        return None if trained is None or not isinstance(given, Windows | None) else chunks(trained, given)

    def model_sampling(self, patcher: Any, shift: float) -> FrameSampling:
        return frame_sampling(patcher, shift)

    def model(
        self, guider: Any, options: dict, seed: int | None, schedule: ARSchedule, unrolling: Chunks
    ) -> HostChunks:
        return HostChunks(guider, options, seed, unrolling.trained)


register(HostCausalWan())
