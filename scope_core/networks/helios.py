"""The transformer of Helios in plain torch, how its files are told, and what every network of it needs: tokens of a
history that is the coarser the older it is.

Inside ComfyUI blocks of the host run; this one drives the library without a host. Source: docs/helios.md 2.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from .skyreels_keys import NotARVideoModelError
from .wan import Rotation, WanBlock, WanConfig, WanTransformer, rope_angles

PARTS = {"long": 4, "mid": 2, "short": 1}
"""Of the history, oldest first, and how many of the video's tokens one of theirs is long, high and wide."""
BEFORE = 20
"""Places in time before a chunk: the first frame of the video, and 19 of the history."""
MARK = "patch_long.weight"
FEW_STEPS = {
    r"helios.*distill": "Helios-Distilled makes a chunk in six steps, so there is nothing to skip",
    r"helios[-_ ]?mid(?![a-z])": (
        "Helios-Mid makes most of its steps at a fraction of the size, which SCOPE has no loop for"
    ),
}
"""Names of models that cannot be sampled in many steps of full size, and why."""


def is_helios(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return MARK in shapes


def refuse_few_steps(name: str) -> None:
    """`name`: of the file and the folders around it, in small letters; the weights of all Helios models look alike.
    Raises NotARVideoModelError for those that cannot be sampled in many steps of full size."""
    for pattern, why in FEW_STEPS.items():
        if re.search(pattern, name):
            raise NotARVideoModelError(f"{why}; choose a file of Helios-Base, which takes 50 steps")


def whole(x: Tensor, times: int, side: int) -> Tensor:
    """x [B, C, F, H, W] continued by its last frame, row and column to multiples of `times` frames and of `side` rows
    and columns."""
    frames, height, width = x.shape[2:]
    missing = (0, -width % side, 0, -height % side, 0, -frames % times)
    return torch.nn.functional.pad(x, missing, mode="replicate")


def history_rotations(rotations: Tensor) -> Tensor:
    """Rotary embedding of all tokens [L, ...], the history's first, from those of all places [F, H, W, ...]: frame 0 is
    the first of the video, 1 to 19 the history, the others the chunk. That of a large token is the mean over the places
    that it covers."""
    frames = {"long": rotations[1:17], "mid": rotations[17:19], "short": rotations[0:20:19]}
    parts = []
    for name, side in PARTS.items():
        places = frames[name].flatten(3).movedim(3, 0)[None]
        pooled = torch.nn.functional.avg_pool3d(whole(places, side, side), side)[0]
        parts.append(pooled.flatten(1).T.unflatten(1, rotations.shape[3:]))
    return torch.cat([*parts, rotations[BEFORE:].flatten(0, 2)])


class HeliosBlock(WanBlock):
    """Two kinds of tokens: those of the history come first, stand at noise level 0 and do not read the prompt."""

    def forward(self, x: Tensor, e: Tensor, context: Tensor, rope: Rotation, known: int) -> Tensor:  # type: ignore[override]
        """x [B, L, dim], of which the first `known` tokens are the history's; e [B, 2, 6, dim] of history and chunk."""
        counts = known, x.shape[1] - known
        rows = (self.modulation[:, None] + e).unbind(2)

        def m(i: int) -> Tensor:
            return torch.cat([row.expand(-1, count, -1) for row, count in zip(rows[i].split(1, 1), counts)], 1)

        y = self.norm1(x) * (1 + m(1)) + m(0)
        x = x + self.self_attn(y, y, rope) * m(2)
        history, chunk = x.tensor_split([known], 1)
        x = torch.cat([history, chunk + self.cross_attn(self.norm3(chunk), context)], 1)
        return x + self.ffn(self.norm2(x) * (1 + m(4)) + m(3)) * m(5)


class HeliosTransformer(WanTransformer):
    """Velocity v = noise - x0 of a chunk of latents [B, C, F, H, W] at timesteps t [B] (1000 sigma), given text
    features [B, L, text_dim] and the latents before it."""

    def __init__(self, config: WanConfig):
        super().__init__(config)
        for name, side in PARTS.items():
            patch = (side, 2 * side, 2 * side)
            setattr(self, f"patch_{name}", nn.Conv3d(config.in_dim, config.dim, patch, patch))
        self.blocks = nn.ModuleList(HeliosBlock(config) for _ in range(config.num_layers))

    def forward(  # type: ignore[override]
        self, x: Tensor, t: Tensor, context: Tensor, history: Sequence[Tensor], around: Callable | None = None
    ) -> Tensor:
        """`history`: 16, 2 and 2 frames [B, C, F, H, W] (`families.helios.History`); `around(i, x, block)`, where
        given, is called in place of block i."""
        tokens = self.patch_embedding(x)
        grid = tokens.shape[2:]
        past = [
            getattr(self, f"patch_{name}")(whole(latents.to(x), side, 2 * side))
            for (name, side), latents in zip(PARTS.items(), history)
        ]
        hidden = torch.cat([part.flatten(2).transpose(1, 2) for part in (*past, tokens)], 1)
        known = hidden.shape[1] - grid.numel()
        e = self.time_embed(torch.stack([torch.zeros_like(t), t], 1))
        e0 = self.time_projection(e).unflatten(-1, (6, -1))
        context = self.text_embedding(context)
        places = BEFORE + grid[0], *grid[1:]
        angles = rope_angles(places, self.config.dim // self.config.num_heads, x.device)
        rotations = torch.stack([angles.cos(), angles.sin()], -1).unflatten(0, places)
        rope = history_rotations(rotations).unbind(-1)
        for i, block in enumerate(self.blocks):
            run = partial(block, e=e0, context=context, rope=rope, known=known)
            hidden = run(hidden) if around is None else around(i, hidden, run)
        x = self.head(hidden[:, known:], e[:, 1:]).unflatten(1, grid).unflatten(-1, (2, 2, self.config.out_dim))
        return x.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)
