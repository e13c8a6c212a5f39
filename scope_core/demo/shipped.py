"""The shipped demo models as they run without a host, one a family."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ..families.magi import CHUNK, MAGI, ChunkModel, Reach, step_size
from ..families.skyreels import SKYREELS, Guided
from ..loop.sample import Model, Sampled, sample
from ..networks.chunk_cache import ChunkCache
from ..networks.demo_vae import DemoVAE
from ..networks.magi import MagiTransformer, config_of
from ..networks.wan import WanConfig, WanTransformer
from ..schedule import ARSchedule, Family
from ..settings import Settings
from ..study import plans
from . import WEIGHTS
from .words import TOKENS, WINDOW

TEXT_DIM = 64
SIZE = 128
"""Pixels of a side."""
CONFIG = WanConfig(dim=192, ffn_dim=768, num_heads=6, num_layers=6, text_dim=TEXT_DIM)
CHUNKS = 4
"""Chunks of the MAGI-shaped model's clips, and of its window."""
NULL_TOKENS = 50
"""Rows of the null caption that it reads."""
TRANSFORMERS = {SKYREELS.name: "scope_demo_df.safetensors", MAGI.name: "scope_demo_magi.safetensors"}
PLANS = WEIGHTS.parent / "plans"
"""Of the shipped models."""
VAE, TEXT = "scope_demo_vae.safetensors", "scope_demo_text.safetensors"


class Demo(ABC):
    """A shipped transformer with the words and the autoencoder that all of them share."""

    family: ClassVar[Family]
    latents: ClassVar[int]
    """Latent frames of its clips."""
    ways: ClassVar[tuple[str, ...]]
    """Names of its `schedules`."""
    report: ClassVar[str]
    """What the names of files about it begin with."""

    def __init__(self, folder: Path = WEIGHTS):
        self.vae = DemoVAE().eval()
        self.vae.load_state_dict(load(folder / VAE))
        self.words = load(folder / TEXT)["weight"]
        self.plans = [plans.read(file) for file in sorted(PLANS.glob("*.json"))]

    @abstractmethod
    def schedules(self, steps: int | None = None) -> dict[str, ARSchedule]:
        """The ways to sample it that are measured."""

    @abstractmethod
    def shorter(self, schedule: ARSchedule) -> list[ARSchedule]:
        """Schedules of fewer steps that cost from about a half down to a seventh. Chunks stay as far apart in
        noise, as nearly as whole lags allow, so the lag shrinks with the steps."""

    @abstractmethod
    def model(self, tokens: Tensor, schedule: ARSchedule) -> Model:
        """The transformer with prompts [B, TOKENS]."""

    @torch.inference_mode()
    def sample(
        self,
        tokens: Tensor,
        schedule: ARSchedule,
        settings: Settings,
        seed: int,
        start: Tensor | None = None,
        solver: str | None = None,
    ) -> Sampled:
        """Latents [B, 16, F, 8, 8] for prompts [B, TOKENS]; planned steps are those of the shipped plans. `start`
        [B, 16, P, 8, 8] are known first frames."""
        settings = plans.planned(settings, schedule, self.plans)
        noise = torch.randn(len(tokens), 16, schedule.frames, 8, 8, generator=torch.Generator().manual_seed(seed))
        return sample(self.model(tokens, schedule), noise, schedule, settings, solver=solver, seed=seed, start=start)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Video [B, 3, T, 128, 128] in [0, 1]."""
        return torch.cat([self.vae.decode(z[None]) for z in latents]).add(1).div(2).clamp(0, 1)


class SkyReelsDemo(Demo):
    family = SKYREELS
    latents = WINDOW
    ways = ("synchronous", "asynchronous")
    report = "demo"
    cfg = 2.5

    def __init__(self, folder: Path = WEIGHTS):
        super().__init__(folder)
        self.transformer = wan(folder)

    def schedules(self, steps: int | None = None) -> dict[str, ARSchedule]:
        def schedule(ar_step: int) -> ARSchedule:
            return SKYREELS.schedule(WINDOW, steps or 50, WINDOW, ar_step=ar_step)

        return dict(zip(self.ways, (schedule(0), schedule(5))))

    def shorter(self, schedule: ARSchedule) -> list[ARSchedule]:
        together = [(28, 0), (25, 0), (18, 0), (11, 0), (7, 0)]
        shapes = [(30, 3), (20, 2), (10, 1), (4, 1)] if schedule.ar_step else together
        return [replace(schedule, steps=steps, ar_step=lag) for steps, lag in shapes]

    def model(self, tokens: Tensor, schedule: ARSchedule) -> Guided:
        return Guided(
            self.transformer, self.words[tokens], self.words[torch.zeros(1, TOKENS, dtype=torch.long)], self.cfg
        )


class MagiDemo(Demo):
    family = MAGI
    latents = CHUNKS * CHUNK
    ways = ("chunk_by_chunk",)
    report = "demo_magi"

    def __init__(self, folder: Path = WEIGHTS):
        super().__init__(folder)
        file = folder / TRANSFORMERS[MAGI.name]
        weights = load(file)
        with safe_open(file, "pt") as opened:
            self.settings = json.loads(opened.metadata()["config"])
        config = config_of({key: weight.shape for key, weight in weights.items()})
        if config is None:
            raise ValueError(f"{file} is not a transformer of MAGI-1")
        config = replace(config, **self.settings["transformer"])
        self.transformer = MagiTransformer(config).eval().requires_grad_(False)
        self.transformer.load_state_dict(weights)

    def schedules(self, steps: int | None = None) -> dict[str, ARSchedule]:
        return {self.ways[0]: MAGI.schedule(self.latents, steps or 64, self.settings["window_size"])}

    def shorter(self, schedule: ARSchedule) -> list[ARSchedule]:
        return [replace(schedule, steps=steps, ar_step=steps // CHUNKS) for steps in (32, 24, 16, 12, 8)]

    def model(self, tokens: Tensor, schedule: ARSchedule) -> "Captioned":
        return Captioned(self.transformer, self.words[tokens], tokens > 0, schedule.steps)


class Captioned(ChunkModel):
    """A distilled MAGI-1 with one caption a clip: `words` [B, L, caption_dim], `known` [B, L]. A prompt without a known
    word is the null caption."""

    def __init__(
        self, transformer: MagiTransformer, words: Tensor, known: Tensor, steps: int, reach: Reach = ChunkModel.reach
    ):
        null = transformer.y_embedder.null_caption_embedding
        rest, known = len(null) - words.shape[1], known.cpu()
        empty = ~known.any(1)[:, None]
        self.transformer, self.steps, self.reach, self.layers = transformer, steps, reach, len(transformer.blocks)
        self.null = null.expand(len(words), -1, -1)
        self.null_mask = (torch.arange(len(null)) < NULL_TOKENS).expand(len(words), -1)
        self.context = torch.where(empty[..., None].to(null.device), null, nn.functional.pad(words, (0, 0, 0, rest)))
        self.mask = torch.where(empty, self.null_mask, nn.functional.pad(known, (0, rest)))

    def __call__(
        self,
        x: Tensor,
        times: Sequence[float],
        chunks: Sequence[int],
        ranges: Sequence[tuple[int, int]],
        text: Sequence[int | None],
        cache: ChunkCache | None,
        keep: Sequence[int],
        dt: float | None,
        dropped: bool,
        around: Callable | None,
    ) -> Tensor:
        context = torch.stack([self.null if told is None else self.context for told in text], 1)
        mask = torch.stack([self.null_mask if told is None else self.mask for told in text], 1)
        t = torch.tensor(times).to(x.device, non_blocking=True).expand(len(x), -1)
        return self.transformer(x, t, chunks, ranges, context, mask, cache, keep, dt, dropped, around)

    def features(self, name: str, sigma: np.ndarray) -> Tensor:
        return self.transformer.features(name, sigma, step_size(self.steps))

    def patch_embedding(self, x: Tensor) -> Tensor:
        return self.transformer.patch_embedding(x)


DEMOS: dict[str, type[Demo]] = {demo.family.name: demo for demo in (SkyReelsDemo, MagiDemo)}
"""By the name of the family."""


def signals_of(schedule: ARSchedule) -> Model:
    """A shipped transformer without a prompt, for the signals that a plan of a schedule needs."""
    return DEMOS[schedule.family.name]().model(torch.zeros(1, TOKENS, dtype=torch.long), schedule)


def wan(folder: Path = WEIGHTS) -> WanTransformer:
    network = WanTransformer(CONFIG).eval()
    network.load_state_dict(load(folder / TRANSFORMERS[SKYREELS.name]))
    return network


def load(file: Path) -> dict[str, Tensor]:
    return {key: value.float() for key, value in load_file(file).items()}
