"""Causal Wan: a chunk of latent frames goes through all its steps, then the next one, which attends to those before it
through their keys and values.

Such models are Wan trained or finetuned with block-causal attention (Causal-Forcing's `ar_diffusion`, the base of
LongLive-2.0). What is exact, and against what it was checked: docs/causal-wan.md.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..loop.residuals import BlockPass
from ..loop.rollout import Field
from ..loop.room import KEYS_AND_VALUES, Holder
from ..networks.chunk_cache import Budget, ChunkCache
from ..networks.wan import WanTransformer
from ..schedule import ARSchedule, Defaults, Family, ScheduleError, Segment, Step, Unit
from ..schedule.columns import active_columns
from ..schedule.levels import WholeTimesteps, shifted, timesteps
from ..signals import Features

EXACT_POSITIONS = 256
"""Latent frames whose numbers bf16 holds, in which hosts may compute the rotary embedding."""


@dataclass(frozen=True)
class Trained:
    """What a model was trained with, in latent frames, which nothing in its weights tells. Raises ScheduleError."""

    chunk: int = 3
    window: int = 21
    """Frames that a chunk attends to, itself and the sink included."""
    sink: int = 0
    """First frames of the video that stay in view when the window moves on."""

    def __post_init__(self) -> None:
        if not 1 <= self.chunk <= self.window:
            raise ScheduleError(
                f"the window is {self.window} latent frames and a chunk {self.chunk}; it has to hold one chunk at least"
            )
        if not 0 <= self.sink <= self.window - self.chunk:
            raise ScheduleError(
                f"sink is {self.sink} latent frames; in a window of {self.window} that also holds a chunk of"
                f" {self.chunk} it must lie between 0 and {self.window - self.chunk}"
            )

    def seen(self, blocks: Sequence[slice], end: int) -> list[int]:
        """Which blocks of frames a chunk that ends at `end` reads: those before it that begin within the window or the
        sink."""
        oldest = end - (self.window - self.sink)
        return [
            i
            for i, block in enumerate(blocks)
            if block.stop < end and (block.start >= oldest or block.start < self.sink)
        ]


TOLD = re.compile(r"causal_wan((?: (?:chunk|window|sink) \d+)*)")


def trained(told: str) -> Trained | None:
    """What the metadata `scope` of a file tells, such as 'causal_wan chunk 3'; None where it tells of something else.
    Raises ScheduleError.

    >>> trained("causal_wan chunk 8 window 32 sink 8")
    Trained(chunk=8, window=32, sink=8)
    """
    found = TOLD.fullmatch(told)
    if found is None:
        return None
    words = found[1].split()
    return Trained(**{name: int(value) for name, value in zip(words[::2], words[1::2])})


FEW_STEPS = re.compile(
    r"causal[-_]?(forcing|cd|ode)(?!.*ar[-_]?diffusion)|framewise-[12]step|long-?video"
    r"|longlive(?!.*stage[-_]?1)|self[-_]?forcing|(?<![a-z])dmd(?![a-z])|(?<!\d)[1-8][-_]?steps?(?![a-z])",
    re.IGNORECASE,
)


def few_steps(path: str) -> str:
    """What to tell of a file that is distilled to few steps by its name and those of the two folders around it; empty
    for others."""
    *folders, name = Path(path).parts[-3:]
    if not FEW_STEPS.search("/".join((*folders, name))):
        return ""
    return (
        f"{name} is, by the names of the file and its folders, a causal Wan that was distilled to few steps: every one"
        " of them counts, so there is nothing to skip. Sample it with core's Sampler AR Video. What belongs here has"
        " many steps, such as ar_diffusion.pt of Causal-Forcing and stage 1 of LongLive-2.0"
    )


class CausalWan(WholeTimesteps):
    name = "causal_wan"
    title = "Causal Wan"
    architecture = "Wan"
    defaults = Defaults(steps=50, cfg=3.0, shift=5.0, solver="unipc")
    fps = 16
    by_chunk = True
    tables = ("official",)
    solver_options: ClassVar[dict[str, dict[str, Any]]] = {"unipc": {"match_reference": False}}

    def schedule(
        self,
        frames: int,
        steps: int = defaults.steps,
        block: int = Trained.chunk,
        prefix: int = 0,
        shift: float = defaults.shift,
        table: str = tables[0],
        levels: tuple[float, ...] | None = None,
    ) -> ARSchedule:
        """Chunks of `block` latent frames, one after the other, of a video of at least `frames`, `prefix` known ones
        included. Whole known chunks are the schedule's prefix; the rest of the known frames is put back at every step
        (`CausalField`)."""
        if prefix >= frames:
            raise ScheduleError(
                f"the known start has {prefix} latent frames and the video {frames}; make the video longer or give"
                " fewer start frames"
            )
        whole = -(-frames // block) * block
        return ARSchedule(
            family=self,
            frames=whole,
            steps=steps,
            window=whole,
            overlap=block,
            block=block,
            shift=shift,
            table=table,
            ar_step=steps,
            prefix=prefix // block * block,
            levels=levels,
            causal=True,
        )

    def sigmas(self, steps: int, shift: float, table: str) -> np.ndarray:
        if table not in self.tables:
            raise ScheduleError(f"sigma table {table!r} is unknown; use {' or '.join(map(repr, self.tables))}")
        return np.append(shifted(steps, shift), 0.0)

    def columns(self, segment: Segment, selective: str, *, causal: bool) -> list[slice]:
        """The chunk that advances; those before it are known by their keys and values."""
        return active_columns(segment)

    def warnings(self, schedule: ARSchedule, selective: str, solver: str) -> list[str]:
        if schedule.frames <= EXACT_POSITIONS:
            return []
        return [
            (
                f"the video has {schedule.frames} latent frames; positions above {EXACT_POSITIONS} are rounded where"
                " the model runs in bf16, so motion there may stutter."
            )
        ]

    def unusual(self, cfg: float, shift: float) -> str:
        """Where neither is its own, the widgets stand where those of another family do."""
        if cfg == self.defaults.cfg or shift == self.defaults.shift:
            return ""
        return (
            f"cfg is {cfg:g} and shift {shift:g}; {self.title} was released with cfg {self.defaults.cfg:g} and shift"
            f" {self.defaults.shift:g}"
        )


CAUSAL_WAN = CausalWan()


class KeyValues:
    """Keys and values of finished chunks, after norm and rotation, of one segment. A guidance branch on a device has
    its own, and those on a device share its budget."""

    def __init__(self, nbytes: float):
        """`nbytes`: how many stay on a device."""
        self.nbytes = nbytes
        self.budgets: dict[torch.device, Budget] = {}
        self.branches: dict[Hashable, ChunkCache] = {}
        self.read: Sequence[int] = ()
        """Chunks that the call in work attends to,"""
        self.write: int | None = None
        """and the one whose keys and values it leaves."""

    def extend(self, branch: Hashable, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, tokens, channels] of a chunk, behind those that it attends to. What a call leaves is
        allocated in that call, and of several calls of one branch (guidance that runs the network again) the first
        counts."""
        if branch not in self.branches:
            self.branches[branch] = ChunkCache(self.budgets.setdefault(key.device, Budget(self.nbytes)))
        cache = self.branches[branch]
        parts = [cache.get(layer, chunk, key.device) for chunk in self.read]
        if self.write is not None and (layer, self.write) not in cache.stored:
            cache.put(layer, self.write, key, value)
        keys, values = zip(*parts, (key, value))
        return torch.cat(keys, 1), torch.cat(values, 1)

    def forget_all_but(self, chunks: Sequence[int]) -> None:
        for cache in self.branches.values():
            for chunk in {chunk for _, chunk in cache.stored} - {*chunks}:
                cache.drop(chunk)


class ChunkTerm(Features, ABC):
    """A guided velocity model of one chunk (`loop.sample.Model`). The host's model is one, behind the user's guider;
    so is a plain network."""

    family: Family = CAUSAL_WAN
    layers: int
    """Transformer blocks of the network."""
    forwards: float = 0.0
    """Chunks forwarded so far, one for each guidance branch; of those that reuse blocks only the share of blocks that
    ran. Calls that leave keys and values of a finished chunk count."""
    trained: Trained = Trained()
    kv_bytes: float = float("inf")
    """Keys and values beyond, of all guidance branches on a device together, wait in the CPU's memory."""

    @abstractmethod
    def velocity(
        self, x: Tensor, timestep: np.ndarray, first: int, kept: KeyValues, around: BlockPass | None
    ) -> Tensor:
        """Velocity after guidance [B, C, f, H, W] of a chunk's latents x at `timestep` [f] (1000 sigma, truncated),
        which begin at frame `first` of the video.

        Self-attention calls `kept.extend`, and `around`, where given, is called around every transformer block.
        """

    def field(
        self, segment: Segment, schedule: ARSchedule, seed: int, apart: bool, start: Tensor | None
    ) -> "CausalField":
        """See `loop.sample.Model`."""
        return CausalField(self, segment, start)


class CausalField(Holder, Field):
    """The field of causal Wan (`loop.rollout.Field`)."""

    spilling = KEYS_AND_VALUES

    def __init__(self, term: ChunkTerm, segment: Segment, start: Tensor | None):
        """`start` [B, C, P, H, W]: known first frames, of which those behind the last whole chunk are put back at every
        step and shown clean."""
        self.term, self.segment, self.start = term, segment, start
        self.known = 0 if start is None else start.shape[2]
        self.layers = term.layers
        self.kept = KeyValues(term.kv_bytes)

    def show(self, x: Tensor, step: Step) -> tuple[Tensor, Any]:
        (unit,), t = step.active, timesteps(step.sigma)
        if self.start is not None and unit.frames.start < self.known:
            x = torch.cat([self.start.to(x), x[:, :, self.known :]], 2)
            t[: self.known] = 0
        return x, (x, t)

    @property
    def spillable(self) -> bool:
        return any(budget.spillable for budget in self.kept.budgets.values())

    def spill(self) -> None:
        for budget in self.kept.budgets.values():
            budget.spill()

    def due(self, step: Step) -> bool:
        """What was finished before this chunk leaves its keys and values."""
        return step.active[0].step == 1

    def velocity(self, shown: Any, step: Step, columns: slice, units: list[Unit], around: BlockPass | None) -> Tensor:
        x, t = shown
        if self.due(step):
            self.finish(x, columns)
        self.kept.read, self.kept.write = self.term.trained.seen(self.segment.blocks, columns.stop), None
        v = torch.zeros_like(x)
        v[:, :, columns] = self.term.velocity(x[:, :, columns], t[columns], columns.start, self.kept, around).to(x)
        v[:, :, : self.known] = 0
        return v

    def resume(self, x: Tensor, done: list[tuple[Step, list[Unit]]], state: Any) -> None:
        """Keys and values are made again by the same calls in the same order, from the first chunk on, since each
        chunk's depend on those before it: one call a chunk."""
        for step, _ in done:
            if self.due(step):
                self.finish(x, step.active[0].frames)

    def finish(self, x: Tensor, columns: slice) -> None:
        """Show clean, in order, what later chunks read of the blocks before these columns and has left no keys and
        values yet: the chunk before, or all known ones."""
        blocks, trained = self.segment.blocks, self.term.trained
        before = [i for i, block in enumerate(blocks) if block.stop <= columns.start]
        for index in before if columns.start == self.segment.prefix else before[-1:]:
            block = blocks[index]
            self.kept.read, self.kept.write = trained.seen(blocks, block.stop), index
            clean = np.zeros(block.stop - block.start)
            self.term.velocity(x[:, :, block], clean, block.start, self.kept, None)
        self.kept.forget_all_but(trained.seen(blocks, columns.stop))


class GuidedChunks(ChunkTerm):
    """Classifier-free guidance over a plain network `networks.wan.WanTransformer`."""

    def __init__(
        self,
        model: WanTransformer,
        positive: Tensor,
        negative: Tensor | None = None,
        cfg: float = 1.0,
        trained: Trained = Trained(),
    ):
        """`positive`, `negative`: text features [B or 1, L, text_dim]. No guidance at a cfg of 1, or without a
        negative."""
        self.model, self.positive, self.negative, self.cfg, self.trained = model, positive, negative, cfg, trained
        self.layers = len(model.blocks)

    @torch.no_grad()
    def velocity(
        self, x: Tensor, timestep: np.ndarray, first: int, kept: KeyValues, around: BlockPass | None
    ) -> Tensor:
        t = torch.as_tensor(timestep, dtype=torch.float32).to(x.device, non_blocking=True).expand(x.shape[0], -1)

        def run(context: Tensor, branch: str) -> Tensor:
            hook = None if around is None else lambda i, h, block: around(i, h, block, [(branch,)])
            v = self.model(
                x,
                t,
                context.expand(x.shape[0], -1, -1),
                around=hook,
                first=first,
                extend=lambda layer, key, value: kept.extend(branch, layer, key, value),
            )
            self.forwards += 1 if around is None else around.take() / self.layers
            return v

        v = run(self.positive, "cond")
        if self.cfg == 1 or self.negative is None:
            return v
        uncond = run(self.negative, "uncond")
        return uncond + self.cfg * (v - uncond)

    @torch.no_grad()
    def features(self, name: str, sigma: np.ndarray) -> Tensor:
        t = torch.as_tensor(timesteps(sigma), dtype=torch.float32)
        e = self.model.time_embed(t.to(self.positive.device, non_blocking=True))
        return e if name == "embedding" else self.model.time_projection(e)

    @torch.no_grad()
    def patch_embedding(self, x: Tensor) -> Tensor:
        return self.model.patch_embedding(x)
