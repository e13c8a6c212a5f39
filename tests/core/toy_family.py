"""A family of models in one file: its schedule, its field and a tiny model.

Chunks of three latent frames of two pixel frames each; the noise levels lie on a quarter of a circle. The network is
linear and sees every frame on its own, so that whatever is forwarded together comes out bit for bit alike.
"""

import numpy as np
import torch

from scope_core import FAMILIES
from scope_core.loop.rollout import Field
from scope_core.schedule import ARSchedule, Defaults, Family, ScheduleError
from scope_core.schedule.columns import active_columns, window_columns
from scope_core.signals import Features

CHUNK = 3
"""Latent frames."""
STRIDE = 2
"""Pixel frames per latent frame."""
LAYERS, CHANNELS = 4, 4


class Toy(Family):
    """All chunks of the window are forwarded together."""

    name = "toy"
    title = "Toy"
    defaults = Defaults(steps=12, cfg=1.0, shift=1.0, solver="euler")
    fps = 8
    tables = ("circle",)
    signals = ("phase", "sigma")

    def schedule(self, frames, steps=12, lag=3, window=9):
        """Chunks that start `lag` iterations after each other; later windows go on from the last chunk of the one
        before."""
        whole = -(-frames // CHUNK) * CHUNK
        return ARSchedule(self, whole, steps, window, CHUNK, CHUNK, self.defaults.shift, self.tables[0], lag)

    def sigmas(self, steps, shift, table):
        if table not in self.tables:
            raise ScheduleError(f"sigma table {table!r} is unknown; use {self.tables[0]!r}")
        return np.sqrt(1 - np.linspace(0, 1, steps + 1) ** 2)

    def columns(self, segment, selective, *, causal):
        return active_columns(segment) if self.by_chunk else window_columns(segment, selective, causal=causal)

    def latent_frames(self, pixels):
        return -(-pixels // STRIDE)

    def pixel_frames(self, latents):
        return latents * STRIDE

    def levels(self):
        return self.sigmas(240, self.defaults.shift, self.tables[0])[:-1]


class ToyByChunk(Toy):
    """Chunks are forwarded one by one, and only those that need it."""

    name = "toy_by_chunk"
    title = "Toy by chunk"
    by_chunk = True


TOYS = (Toy(), ToyByChunk())


class ToyModel(Features):
    """Four linear layers over the channels of hidden states [B, pixels, C]."""

    layers = LAYERS

    def __init__(self, family):
        self.family, self.forwards = family, 0.0
        self.weights = torch.randn(LAYERS, CHANNELS, generator=torch.Generator().manual_seed(0)) / LAYERS

    def __call__(self, x, sigma, around=None):
        """Velocity [B, C, F, H, W] of latents x at noise levels sigma [F]. `around(i, hidden, layer)`, where given, is
        called in place of layer i."""
        x = x + torch.as_tensor(sigma, dtype=x.dtype).view(-1, 1, 1)
        hidden = x.flatten(2).transpose(1, 2)
        for i, weight in enumerate(self.weights):

            def layer(hidden, weight=weight):
                return hidden + weight * hidden.roll(1, -1)

            hidden = layer(hidden) if around is None else around(i, hidden, layer)
        return hidden.transpose(1, 2).view_as(x)

    def features(self, name, sigma):
        return torch.stack([torch.as_tensor(f(np.pi * sigma)) for f in (np.cos, np.sin)], 1)

    def patch_embedding(self, x):
        return x

    def field(self, segment, schedule, seed, apart, start):
        return ToyField(self)


class ToyField(Field):
    layers = LAYERS

    def __init__(self, model):
        self.model = model

    def show(self, x, step):
        return x, (x, step.sigma)

    def due(self, step):
        return False

    def velocity(self, shown, step, columns, units, around):
        x, sigma = shown
        parts = [unit.frames for unit in units] if self.model.family.by_chunk else [columns]
        keys = [("whole", part.start) for part in parts]
        hook = None if around is None else lambda i, hidden, layer: around(i, hidden, layer, keys, dim=1)
        latents, levels = torch.cat([x[:, :, part] for part in parts], 2), np.concatenate([sigma[p] for p in parts])
        made = self.model(latents, levels, hook)
        self.model.forwards += len(parts) if around is None else around.take() / self.layers
        v = torch.zeros_like(x)
        for part, velocity in zip(parts, made.split([part.stop - part.start for part in parts], 2)):
            v[:, :, part] = velocity
        return v


def register():
    """Make the family known, as a line in scope_core/families/__init__.py would."""
    FAMILIES.update({family.name: family for family in TOYS})
