"""Helios: chunks of nine latent frames, one after the other, each denoised as a whole while the network looks back on
what was made before it.

Frames before a chunk are no part of its window. The network sees the last 19 of them as a history that is the coarser
the older it is, and the first frame of the video beside the last one. What is exact, and against what it was checked:
docs/helios.md.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..loop.residuals import BlockPass
from ..loop.rollout import Field
from ..schedule import ARSchedule, Defaults, Family, ScheduleError, Segment, Step, Unit
from ..schedule.columns import window_columns
from ..signals import Features

CHUNK = 9
"""Latent frames."""
STRIDE = 4
"""Pixel frames per latent frame of the Wan VAE, except the first of a chunk, which holds one."""
PIXELS = (CHUNK - 1) * STRIDE + 1
"""Pixel frames of a chunk, which is decoded alone."""
LONG, MIDDLE, LAST = 16, 2, 1
"""Latent frames of the history, oldest first."""
FAR = LONG + MIDDLE + LAST
WIDTH, HEIGHT = 640, 384
"""Pixels of the released size."""
PATCH = 16
"""Pixels of the side of a token."""
TOKENS = CHUNK * (WIDTH // PATCH) * (HEIGHT // PATCH)
"""Of a chunk of the released size."""
FEW_TOKENS, MANY_TOKENS = (256, 0.5), (4096, 1.15)
"""The line on which the logarithm of the shift lies."""
GIVEN_NOISE = 0.111, 0.135
"""Range of the noise levels at which given frames are shown."""
MAPPED_STEPS = 1200
"""Of the map of signals: divisible by 20, 24, 25, 30, 40, 50, 60 ..."""
TIME_SHIFTS = ("exponential", "linear")


def shift_of(tokens: int, kind: str = TIME_SHIFTS[0]) -> float:
    """Shift of the noise levels for a chunk of so many tokens: 6.8 for 640x384. `kind` is `time_shift_type` of the
    release's scheduler: whether the line gives the logarithm of the shift or the shift itself. Raises ScheduleError."""
    if kind not in TIME_SHIFTS:
        raise ScheduleError(f"time_shift is {kind!r}; use {' or '.join(map(repr, TIME_SHIFTS))}")
    (few, low), (many, high) = FEW_TOKENS, MANY_TOKENS
    mu = low + (tokens - few) * (high - low) / (many - few)
    return math.exp(mu) if kind == TIME_SHIFTS[0] else mu


class Helios(Family):
    name = "helios"
    title = "Helios"
    architecture = "Wan"
    defaults = Defaults(steps=50, cfg=5.0, shift=0.0, solver="unipc")
    tables = ("helios",)
    history = FAR
    solver_options: ClassVar = {"unipc": {"match_reference": False}}

    def schedule(
        self,
        frames: int,
        steps: int = defaults.steps,
        shift: float = defaults.shift,
        tokens: int = TOKENS,
        time_shift: str = TIME_SHIFTS[0],
        levels: tuple[float, ...] | None = None,
    ) -> ARSchedule:
        """Whole chunks that hold `frames` latent frames. A `shift` of 0 follows the size of the video, of which a
        chunk has so many `tokens` (`shift_of`)."""
        return ARSchedule(
            family=self,
            frames=-(-frames // CHUNK) * CHUNK,
            steps=steps,
            window=CHUNK,
            overlap=0,
            block=CHUNK,
            shift=shift or shift_of(tokens, time_shift),
            table=self.tables[0],
            levels=levels,
        )

    def sigmas(self, steps: int, shift: float, table: str) -> np.ndarray:
        if table not in self.tables:
            raise ScheduleError(f"sigma table {table!r} is unknown; use {self.tables[0]!r}")
        sigma = np.linspace(0.999, 0.0, steps + 1)
        return shift * sigma / (1 + (shift - 1) * sigma)

    def columns(self, segment: Segment, selective: str, *, causal: bool) -> list[slice]:
        return window_columns(segment, selective, causal=causal)

    def latent_frames(self, pixels: int) -> int:
        chunks, rest = divmod(pixels, PIXELS)
        return chunks * CHUNK + (-(-(rest - 1) // STRIDE) + 1 if rest else 0)

    def pixel_frames(self, latents: int) -> int:
        chunks, rest = divmod(latents, CHUNK)
        return chunks * PIXELS + ((rest - 1) * STRIDE + 1 if rest else 0)

    def levels(self) -> np.ndarray:
        """A fine grid that has the levels of all usual numbers of steps at the released size."""
        return self.sigmas(MAPPED_STEPS, shift_of(TOKENS), self.tables[0])[:-1]


HELIOS = Helios()


class History(NamedTuple):
    """What the network sees of the frames before a chunk [B, C, F, H, W], zeros where there are none."""

    long: Tensor
    """16 frames, the oldest."""
    middle: Tensor
    """2 frames."""
    short: Tensor
    """2 frames: the first of the video, and the last before the chunk."""

    @classmethod
    def of(cls, first: Tensor, past: Tensor) -> "History":
        """`first` [B, C, 1, H, W], and all frames before the chunk in their order."""
        missing = max(0, FAR - past.shape[2])
        past = torch.nn.functional.pad(past, (0, 0, 0, 0, missing, 0))[:, :, -FAR:]
        long, middle, last = past.split([LONG, MIDDLE, LAST], 2)
        return cls(long, middle, torch.cat([first, last], 2))


def shaken(given: Tensor, generator: torch.Generator) -> Tensor:
    """Given frames [B, C, 1 + N, H, W] with the noise that the release mixes into them: the first frame, then the
    others, which are one frame or whole chunks. Levels and noise are drawn part by part, in the release's order."""
    low, high = GIVEN_NOISE
    parts = []
    for part in given[:, :, :1], *given[:, :, 1:].split(CHUNK, 2):
        level = torch.rand(part.shape[2], generator=generator) * (high - low) + low
        level = level.view(1, 1, -1, 1, 1).to(part)
        noise = torch.randn(part.shape, generator=generator).to(part)
        parts.append(level * noise + (1 - level) * part)
    return torch.cat(parts, 2)


def draw_noise(shape: tuple[int, ...], seed: int, given: Tensor | None = None) -> Tensor:
    """The release's noise [B, C, L, H, W] of a video of whole chunks: chunk by chunk, after that of the given frames
    [B, C, 1 + N, H, W] (`shaken`)."""
    generator = torch.Generator().manual_seed(seed)
    if given is not None:
        shaken(given, generator)
    batch, channels, frames, height, width = shape
    chunks = (torch.randn(batch, channels, CHUNK, height, width, generator=generator) for _ in range(frames // CHUNK))
    return torch.cat(list(chunks), 2)


class HistoryModel(Features, ABC):
    """A network with its prompts (`loop.sample.Model`). A run may start from given frames [B, C, 1 + N, H, W] that are
    not part of the video: the frame that counts as its first one, then those right before it, which are one frame, or
    whole chunks that were encoded one by one."""

    family: Family = HELIOS
    layers: int
    """Transformer blocks of the network."""
    forwards: float = 0.0
    """Forward passes so far, one for each guidance branch; of those that reuse blocks only the share of blocks that
    ran."""

    @abstractmethod
    def velocity(self, x: Tensor, sigma: float, history: History, around: BlockPass | None) -> Tensor:
        """Velocity after guidance [B, C, F, H, W] of a chunk x at noise level `sigma`. `around`, where given, is called
        around every transformer block."""

    def field(
        self, segment: Segment, schedule: ARSchedule, seed: int, apart: bool, start: Tensor | None
    ) -> "ChunkWithHistory":
        """See `loop.sample.Model`."""
        return ChunkWithHistory(self, segment, seed, start)


class ChunkWithHistory(Field):
    """The field of a chunk (`loop.rollout.Field`)."""

    def __init__(self, model: HistoryModel, segment: Segment, seed: int, before: Tensor | None):
        """`before` [B, C, P, H, W]: given frames and what was made so far, None where there is nothing."""
        self.model, self.layers = model, model.layers
        self.history: History | None = None
        if before is not None:
            given, made = before.tensor_split([before.shape[2] - segment.start], 2)
            if given.shape[2]:
                given = shaken(given, torch.Generator().manual_seed(seed))
                self.history = History.of(given[:, :, :1], torch.cat([given[:, :, 1:], made], 2))
            else:
                self.history = History.of(made[:, :, :1], made)

    def show(self, x: Tensor, step: Step) -> tuple[Tensor, Any]:
        if self.history is None:
            self.history = History.of(torch.zeros_like(x[:, :, :1]), x[:, :, :0])
        return x, x

    def due(self, step: Step) -> bool:
        return False

    def velocity(self, shown: Any, step: Step, columns: slice, units: list[Unit], around: BlockPass | None) -> Tensor:
        assert self.history is not None
        if around is not None and around.skip.watch:
            raise ValueError(
                "the method watches the hidden states of single frames, which Helios mixes with its history; choose"
                " another method"
            )
        return self.model.velocity(shown, units[0].sigma, self.history, around)


class Guided(HistoryModel):
    """Classifier-free guidance over a plain network `model(x, t, context, history, around)`, t [B] = 1000 sigma."""

    def __init__(
        self, model: Callable, layers: int, positive: Tensor, negative: Tensor | None = None, cfg: float = 1.0
    ):
        """`layers`: transformer blocks of the network. `positive`, `negative`: text features [B or 1, L, text_dim]. No
        guidance at a cfg of 1 or less, as in the release, or without a negative."""
        self.model, self.layers = model, layers
        self.positive, self.negative, self.cfg = positive, negative, cfg

    @torch.no_grad()
    def velocity(self, x: Tensor, sigma: float, history: History, around: BlockPass | None) -> Tensor:
        t = torch.full([len(x)], 1000 * sigma, dtype=torch.float32, device=x.device)

        def run(context: Tensor, branch: str) -> Tensor:
            hook: Callable | None = None if around is None else lambda i, h, block: around(i, h, block, [(branch,)])
            v = self.model(x, t, context.expand(len(x), -1, -1), history, hook)
            self.forwards += 1 if around is None else around.take() / self.layers
            return v

        v = run(self.positive, "cond")
        if self.cfg <= 1 or self.negative is None:
            return v
        uncond = run(self.negative, "uncond")
        return uncond + self.cfg * (v - uncond)
