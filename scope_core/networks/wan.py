"""The Wan / SkyReels-V2 diffusion-forcing transformer in plain torch, in the official key layout.

Inside ComfyUI the host's own WanModel runs; this one trains the demo model and drives the library without a host.
Source: docs/skyreels.md 1 and 2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class WanConfig:
    dim: int
    ffn_dim: int
    num_heads: int
    num_layers: int
    text_dim: int = 4096
    in_dim: int = 16
    out_dim: int = 16
    freq_dim: int = 256


Extend = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Turns keys and values [B, tokens, dim] of self-attention, after norm and rotation, into those that are attended
to."""

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines of the rotary angles of every token, [tokens, head_dim / 2] each."""


class WanAttention(nn.Module):
    attend: ClassVar[Callable[..., Tensor]] = staticmethod(F.scaled_dot_product_attention)

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = nn.RMSNorm(dim, eps=1e-6), nn.RMSNorm(dim, eps=1e-6)

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        rope: Rotation | None = None,
        mask: Tensor | None = None,
        extend: Extend | None = None,
    ) -> Tensor:
        q, k, v = self.norm_q(self.q(x)), self.norm_k(self.k(context)), self.v(context)
        q, k, v = (y.unflatten(2, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))
        if rope is not None:
            q, k = rotate(q, *rope).to(v.dtype), rotate(k, *rope).to(v.dtype)
        if extend is not None:
            more = extend(*(y.transpose(1, 2).flatten(2) for y in (k, v)))
            k, v = (y.unflatten(2, (self.heads, -1)).transpose(1, 2) for y in more)
        return self.o(self.attend(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2))


class WanBlock(nn.Module):
    def __init__(self, c: WanConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(c.dim, eps=1e-6, elementwise_affine=False)
        self.self_attn = WanAttention(c.dim, c.num_heads)
        self.norm3 = nn.LayerNorm(c.dim, eps=1e-6)
        self.cross_attn = WanAttention(c.dim, c.num_heads)
        self.norm2 = nn.LayerNorm(c.dim, eps=1e-6, elementwise_affine=False)
        self.ffn = nn.Sequential(nn.Linear(c.dim, c.ffn_dim), nn.GELU("tanh"), nn.Linear(c.ffn_dim, c.dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, c.dim) / c.dim**0.5)

    def forward(
        self, x: Tensor, e: Tensor, context: Tensor, rope: Rotation, mask: Tensor | None, extend: Extend | None = None
    ) -> Tensor:
        m = (self.modulation[:, None] + e).repeat_interleave(x.shape[1] // e.shape[1], dim=1).unbind(2)
        y = self.norm1(x) * (1 + m[1]) + m[0]
        x = x + self.self_attn(y, y, rope, mask, extend) * m[2]
        x = x + self.cross_attn(self.norm3(x), context)
        return x + self.ffn(self.norm2(x) * (1 + m[4]) + m[3]) * m[5]


class WanHead(nn.Module):
    def __init__(self, c: WanConfig):
        super().__init__()
        self.norm = nn.LayerNorm(c.dim, eps=1e-6, elementwise_affine=False)
        self.head = nn.Linear(c.dim, c.out_dim * 4)
        self.modulation = nn.Parameter(torch.randn(1, 2, c.dim) / c.dim**0.5)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        shift, scale = (
            (self.modulation[:, None] + e[:, :, None]).repeat_interleave(x.shape[1] // e.shape[1], dim=1).unbind(2)
        )
        return self.head(self.norm(x) * (1 + scale) + shift)


class PatchEmbedding(nn.Conv3d):
    """Tokens [B, dim, F, H / 2, W / 2] of latents [B, in_dim, F, H, W]. Raises ValueError for other sizes."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != self.in_channels or x.shape[3] % 2 or x.shape[4] % 2:
            raise ValueError(
                f"the latents have shape {list(x.shape)}; this network takes [batch, {self.in_channels} channels,"
                " frames, height, width] with an even height and width"
            )
        return super().forward(x)


class WanTransformer(nn.Module):
    """Velocity v = noise - x0 of latents [B, C, F, H, W] at timesteps t [B, F] (1000 sigma), given text features [B, L,
    text_dim]."""

    def __init__(self, config: WanConfig):
        super().__init__()
        c = self.config = config
        self.patch_embedding = PatchEmbedding(c.in_dim, c.dim, (1, 2, 2), stride=(1, 2, 2))
        self.text_embedding = nn.Sequential(nn.Linear(c.text_dim, c.dim), nn.GELU("tanh"), nn.Linear(c.dim, c.dim))
        self.time_embedding = nn.Sequential(nn.Linear(c.freq_dim, c.dim), nn.SiLU(), nn.Linear(c.dim, c.dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(c.dim, c.dim * 6))
        self.blocks = nn.ModuleList(WanBlock(c) for _ in range(c.num_layers))
        self.head = WanHead(c)

    def time_embed(self, t: Tensor) -> Tensor:
        """Time embedding e of timesteps of any shape: [..., dim]."""
        half = self.config.freq_dim // 2
        angles = t[..., None].float() * 10000 ** (-torch.arange(half, device=t.device) / half)
        return self.time_embedding(torch.cat([angles.cos(), angles.sin()], -1).to(self.head.head.weight.dtype))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor,
        mask: Tensor | None = None,
        around: Callable | None = None,
        first: int = 0,
        extend: Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """`mask` [F, F] bool, True where the frame of a row may attend to the frame of a column; `around(i, x, block)`,
        where given, is called in place of block i. The latents begin at frame `first` of the video; `extend(i, keys,
        values)`, where given, tells what block i attends to (`Extend`)."""
        tokens = self.patch_embedding(x)
        grid = x.shape[2], x.shape[3] // 2, x.shape[4] // 2
        e = self.time_embed(t)
        e0 = self.time_projection(e).unflatten(-1, (6, -1))
        context = self.text_embedding(context)
        angles = rope_angles(grid, self.config.dim // self.config.num_heads, x.device, first)
        rope = angles.cos(), angles.sin()
        if mask is not None:
            mask = mask.repeat_interleave(grid[1] * grid[2], 0).repeat_interleave(grid[1] * grid[2], 1)
        x = tokens.flatten(2).transpose(1, 2)
        for i, block in enumerate(self.blocks):
            more = None if extend is None else partial(extend, i)
            run = partial(block, e=e0, context=context, rope=rope, mask=mask, extend=more)
            x = run(x) if around is None else around(i, x, run)
        x = self.head(x, e).unflatten(1, grid).unflatten(-1, (2, 2, self.config.out_dim))
        return x.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)


def rope_angles(grid: tuple[int, int, int], head_dim: int, device: torch.device, first: int = 0) -> Tensor:
    """Rotary angles of every token of a (frames, rows, columns) grid that begins at frame `first`: [tokens, head_dim /
    2]. They are worked out in double precision on the CPU, which not every device has."""
    spatial = 2 * (head_dim // 6)
    angles = []
    for axis, dim in enumerate((head_dim - 2 * spatial, spatial, spatial)):
        frequency = 10000 ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        shape = [1, 1, 1, -1]
        shape[axis] = grid[axis]
        position = torch.arange(grid[axis]).double() + (0 if axis else first)
        along = (position[:, None] * frequency).float().to(device, non_blocking=True)
        angles.append(along.view(shape).expand(*grid, -1))
    return torch.cat(angles, -1).flatten(0, 2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate neighbouring pairs of channels of x [B, heads, tokens, head_dim]."""
    even, odd = x.unflatten(-1, (-1, 2)).float().unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).type_as(x)
