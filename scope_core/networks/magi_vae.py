"""The MAGI-1 autoencoder in plain torch, in the published key layout: 16 channels, 8x smaller in space, 4x in time.

Encoder and decoder are plain vision transformers over tiles of 256 x 256 pixels and 12 frames. Source: docs/magi1.md
2.5.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SCALE = 0.18215
TIME = 4
SPACE = 8
GRID_TIME = 4
"""Latent frames of the grid that the position embedding was learned on."""
TILE_FRAMES = 3
"""Latent frames of a tile. Tiles do not overlap in time."""
TILE = 32
OVERLAP = 8
"""Side of a tile and what neighbours share, in latent pixels."""


@dataclass(frozen=True)
class MagiVaeConfig:
    dim: int = 1024
    depth: int = 24
    ffn: int = 4096
    grid: int = 32
    """Side of the learned position grid in latent pixels."""
    channels: int = 16
    """Channels of the latent."""
    head_dim: int = 64


def config_of(shapes: Mapping[str, Sequence[int]]) -> MagiVaeConfig | None:
    """The configuration of a checkpoint from the shapes of its weights (published keys), None if it is not the MAGI-1
    VAE."""
    dimensions = {
        "encoder.cls_token": 3,
        "decoder.proj_in.weight": 2,
        "decoder.blocks.0.mlp.fc1.weight": 2,
        "decoder.pos_embed": 3,
    }
    if any(len(shapes.get(key, ())) != count or 0 in shapes[key] for key, count in dimensions.items()):
        return None
    dim, channels = shapes["decoder.proj_in.weight"]
    return MagiVaeConfig(
        dim=dim,
        depth=1 + max(int(found[1]) for key in shapes if (found := re.match(r"decoder\.blocks\.(\d+)\.", key))),
        ffn=shapes["decoder.blocks.0.mlp.fc1.weight"][0],
        grid=int(((shapes["decoder.pos_embed"][1] - 1) / GRID_TIME) ** 0.5),
        channels=channels,
    )


class HeadAttention(nn.Module):
    def __init__(self, c: MagiVaeConfig):
        super().__init__()
        self.head_dim = c.head_dim
        self.qkv, self.proj = nn.Linear(c.dim, 3 * c.dim), nn.Linear(c.dim, c.dim)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(x).unflatten(2, (3, -1, self.head_dim))
        deviation = heads - heads.mean(-1, keepdim=True)
        q, k, v = (deviation / (heads.std(-1, correction=0, keepdim=True) + 1e-5)).transpose(1, 3).unbind(2)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, c: MagiVaeConfig):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(c.dim, c.ffn), nn.Linear(c.ffn, c.dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, c: MagiVaeConfig):
        super().__init__()
        self.attn, self.norm2, self.mlp = HeadAttention(c), nn.LayerNorm(c.dim, eps=1e-5), MLP(c)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self, c: MagiVaeConfig):
        super().__init__()
        self.grid = GRID_TIME, c.grid, c.grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, c.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + GRID_TIME * c.grid**2, c.dim))
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.depth))
        self.norm = nn.LayerNorm(c.dim, eps=1e-5)

    def transform(self, x: Tensor) -> Tensor:
        """Tokens x [B, dim, F, h, w] through all blocks: [B, F * h * w, dim]."""
        positions = self.pos_embed[:, 1:].unflatten(1, self.grid).permute(0, 4, 1, 2, 3)
        if x.shape[2:] != self.grid:
            positions = F.interpolate(positions, x.shape[2:], mode="trilinear", align_corners=False)
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([cls, (x + positions).flatten(2).transpose(1, 2)], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 1:]


class Encoder(Transformer):
    def __init__(self, c: MagiVaeConfig):
        super().__init__(c)
        patch = TIME, SPACE, SPACE
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(3, c.dim, patch, stride=patch)})
        self.last_layer = nn.Linear(c.dim, 2 * c.channels)

    def forward(self, video: Tensor) -> Tensor:
        """Mean of the posterior [B, channels, F, h, w] of video [B, 3, 4F, 8h, 8w]."""
        x = self.patch_embed["proj"](video)
        mean, _ = self.last_layer(self.transform(x)).chunk(2, -1)
        return mean.transpose(1, 2).unflatten(2, x.shape[2:])


class Decoder(Transformer):
    def __init__(self, c: MagiVaeConfig):
        super().__init__(c)
        self.proj_in = nn.Linear(c.channels, c.dim)
        self.last_layer = nn.Conv3d(c.dim // (TIME * SPACE**2), 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """Video [B, 3, 4F, 8h, 8w] of latents [B, channels, F, h, w]."""
        tokens = self.transform(self.proj_in(latents.movedim(1, -1)).movedim(-1, 1))
        patches = tokens.unflatten(2, (TIME, SPACE, SPACE, -1)).unflatten(1, latents.shape[2:])
        return self.last_layer(patches.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3))


class MagiVAE(nn.Module):
    """Video in [-1, 1], [B, 3, 4F, 8h, 8w], to and from latents [B, 16, F, h, w] of unit scale (the posterior's mean
    times 0.18215).

    A single latent frame is a single image both ways. Among others a latent frame gives four pixel frames, also one
    that is left over for a tile of its own, of which the release keeps the first (docs/magi1.md 7). Size and compute
    dtype are those of the weights.
    """

    def __init__(self, config: MagiVaeConfig = MagiVaeConfig()):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)

    def encode(self, video: Tensor) -> Tensor:
        """A single image, [B, 3, 1, 8h, 8w], gives one latent frame. Raises ValueError at other lengths that are no
        multiple of 4."""
        frames = video.shape[2]
        if frames == 1:
            video = video.expand(-1, -1, TIME, -1, -1)
        elif frames % TIME:
            raise ValueError(
                f"{frames} frames cannot be encoded: the MAGI-1 VAE takes one image or a multiple of {TIME} frames, "
                f"such as {frames - frames % TIME or TIME}"
            )
        video = video.to(self.decoder.proj_in.weight.dtype)
        parts = video.split(TIME * TILE_FRAMES, 2)
        return SCALE * torch.cat(
            [tiled(self.encoder, part, TILE * SPACE, OVERLAP * SPACE, OVERLAP, chained=True) for part in parts], 2
        )

    def decode(self, latents: Tensor) -> Tensor:
        video = torch.cat([self.decode_part(unscaled(part)) for part in latents.split(TILE_FRAMES, 2)], 2)
        return video[:, :, : pixel_frames(latents.shape[2])]

    def decode_part(self, means: Tensor) -> Tensor:
        """Video [B, 3, 4F, 8h, 8w] of at most three frames [B, 16, F, h, w], which are not scaled."""
        means = means.to(self.decoder.proj_in.weight.dtype)
        return tiled(self.decoder, means, TILE, OVERLAP, OVERLAP * SPACE, chained=False)


def unscaled(latents: Tensor) -> Tensor:
    """The posterior's mean of latents of unit scale, in fp32 whatever the network computes in: rounded before, it would
    be rounded twice."""
    return latents.float() / SCALE


def pixel_frames(latents: int) -> int:
    return 1 if latents == 1 else TIME * latents


def tiled(network: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int, blend: int, chained: bool) -> Tensor:
    """`network` over square tiles of x [..., H, W] with sides `tile`, neighbours of which share `overlap` pixels,
    `blend` in the result.

    A tile starts at every multiple of tile - overlap, so the last one of a row may be small. It fades in from the one
    above, then from the one on its left: from what these became where `chained`, as in the release's encoder, else from
    what the network gave, as in its decoder.
    """
    stride = tile - overlap
    rows, columns = (range(0, size, stride) for size in x.shape[-2:])
    raw = [[network(x[..., i : i + tile, j : j + tile]) for j in columns] for i in rows]
    done = [list(row) for row in raw]
    neighbours = done if chained else raw
    for i in range(len(rows)):
        for j in range(len(columns)):
            if i:
                done[i][j] = fade_in(neighbours[i - 1][j], done[i][j], blend, -2)
            if j:
                done[i][j] = fade_in(neighbours[i][j - 1], done[i][j], blend, -1)
    kept = blend * stride // overlap
    return torch.cat([torch.cat([y[..., :kept, :kept] for y in row], -1) for row in done], -2)


def fade_in(before: Tensor, after: Tensor, blend: int, dim: int) -> Tensor:
    """`after`, where its first `blend` pixels along `dim`, or all that both have, go over linearly from the last ones
    of `before`."""
    blend = min(blend, before.shape[dim], after.shape[dim])
    weight = torch.arange(blend, device=after.device, dtype=after.dtype) / blend
    weight = weight.view(-1, *[1] * (-1 - dim))
    start, rest = after.split([blend, after.shape[dim] - blend], dim)
    return torch.cat([before.narrow(dim, before.shape[dim] - blend, blend) * (1 - weight) + start * weight, rest], dim)
