"""The MAGI-1 diffusion transformer in plain torch, in the published key layout of the 4.5B, 24B and fp8 files.

One call runs any list of chunks (6 latent frames each): a chunk attends to the chunks of its range, fresh where they
are in the call and stored where they are not. Source: docs/magi1.md 2.2, 2.3 and 3.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .chunk_cache import ChunkCache

MERGE_GROUPS = 8
"""linear_proj reads self- and cross-attention alternately in this many parts of the heads, whatever the model's size.
"""
TIME_FREQUENCIES = 128
FP8_LIMIT = 448.0
PACKED = "videodit_blocks.layers.self_attention.linear_qkv.weight"
"""A key of MAGI-1.1's packed files."""
SLICE = 1024
"""Tokens of which SwiGLU holds fp32 numbers at a time."""

Attend = Callable[[Tensor, Tensor, Tensor, int], Tensor]


@dataclass(frozen=True)
class MagiConfig:
    layers: int
    hidden: int
    ffn: int
    heads: int
    cond: int
    groups: int = 8
    head_dim: int = 128
    caption_dim: int = 4096
    caption_length: int = 800
    channels: int = 16
    """Channels of the latent."""
    doubled: bool = False
    """The latent enters twice, side by side on the channels; the first half of what leaves is used."""
    rescale: float = 1.0
    """Factor on the latent before the network, divided out behind it."""
    gated: bool = False
    """SwiGLU where True, GELU where False."""
    quantised: bool = False
    """Linears of all blocks but the first and the last are stored in fp8."""
    chunk_frames: int = 6
    """Latent frames of a chunk."""


MAGI_4_5B = MagiConfig(layers=34, hidden=3072, ffn=12288, heads=24, cond=768)
MAGI_24B = MagiConfig(layers=48, hidden=6144, ffn=16384, heads=48, cond=1536, doubled=True, rescale=0.1, gated=True)


class PackedLayersError(ValueError):
    """A file of MAGI-1.1 that holds the weights of all layers in one tensor, in an order that was not published."""


def config_of(shapes: Mapping[str, Sequence[int]]) -> MagiConfig | None:
    """The configuration of a checkpoint from the shapes of its weights (published keys), None if it is not MAGI-1 or
    lacks the parts that tell. Raises PackedLayersError.

    A distilled file has the keys of a base one; only its name tells them apart.
    """
    if PACKED in shapes:
        raise PackedLayersError(
            f"this file of MAGI-1.1 packs q, qx, k and v of all layers into one tensor ({PACKED},"
            f" {list(shapes[PACKED])}), in an order that was not published and that MAGI-1's own code cannot read"
            " either (github.com/SandAI-org/MAGI-1, issue 123); choose a file with weights layer by layer, such as"
            " those of ckpt/magi of sand-ai/MAGI-1"
        )
    block = "videodit_blocks.layers.0."
    dimensions = {
        "x_embedder.weight": 5,
        "y_embedder.null_caption_embedding": 2,
        "t_embedder.mlp.2.bias": 1,
        block + "mlp.linear_fc1.weight": 2,
        block + "mlp.linear_fc2.weight": 2,
        block + "self_attention.q_layernorm.weight": 1,
        block + "self_attention.linear_qkv.q.weight": 2,
        block + "self_attention.linear_qkv.k.weight": 2,
    }
    if any(len(shapes.get(key, ())) != count or 0 in shapes[key] for key, count in dimensions.items()):
        return None
    hidden, channels = shapes["x_embedder.weight"][:2]
    head_dim = shapes[block + "self_attention.q_layernorm.weight"][0]
    ffn = shapes[block + "mlp.linear_fc2.weight"][1]
    caption_length, caption_dim = shapes["y_embedder.null_caption_embedding"]
    doubled = channels == 32
    return MagiConfig(
        layers=1
        + max(int(found[1]) for key in shapes if (found := re.match(r"videodit_blocks\.layers\.(\d+)\.", key))),
        hidden=hidden,
        ffn=ffn,
        cond=shapes["t_embedder.mlp.2.bias"][0],
        head_dim=head_dim,
        heads=shapes[block + "self_attention.linear_qkv.q.weight"][0] // head_dim,
        groups=shapes[block + "self_attention.linear_qkv.k.weight"][0] // head_dim,
        caption_dim=caption_dim,
        caption_length=caption_length,
        channels=channels // 2 if doubled else channels,
        doubled=doubled,
        rescale=0.1 if doubled else 1.0,
        gated=shapes[block + "mlp.linear_fc1.weight"][0] == 2 * ffn,
        quantised=any(key.endswith(".weight_scale") for key in shapes),
    )


class Fp8Linear(nn.Module):
    """y = x8 W8' input_scale weight_scale with x8 = fp8(x / s), in bf16. s is `smooth_scale` where `smooth`, else
    `input_scale`.

    `input_scale` [in] of the plain kind repeats one number; the product takes its first entry. Source: docs/magi1.md
    2.3.
    """

    def __init__(self, inputs: int, outputs: int, smooth: bool, device: torch.device | None):
        super().__init__()
        empty = partial(torch.empty, device=device)
        self.weight = nn.Parameter(empty(1, outputs, inputs, dtype=torch.float8_e4m3fn), requires_grad=False)
        self.weight_scale = nn.Parameter(empty(1, dtype=torch.float32), requires_grad=False)
        self.input_scale = nn.Parameter(empty(1 if smooth else inputs, dtype=torch.float32), requires_grad=False)
        self.smooth_scale = nn.Parameter(empty(1, inputs, dtype=torch.float32), requires_grad=False) if smooth else None

    @property
    def divisor(self) -> Tensor:
        """s of each input, [in] or [1]."""
        return self.input_scale if self.smooth_scale is None else self.smooth_scale[0]

    def gain(self) -> Tensor:
        """What a column of `weight` stands for, over the column: [in]."""
        return self.input_scale[:1] * self.weight_scale / self.divisor

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x, self.weight[0])

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """y [..., out] of x [..., in] with an fp8 weight [out, in] on x's device."""
        x8 = (x.float() / self.divisor).clamp(-FP8_LIMIT, FP8_LIMIT).bfloat16().to(torch.float8_e4m3fn)
        input_scale = self.input_scale[:1]
        if x.is_cuda and torch.cuda.get_device_capability(x.device) >= (8, 9):
            y = torch._scaled_mm(
                x8.flatten(0, -2), weight.t(), scale_a=input_scale, scale_b=self.weight_scale, out_dtype=torch.bfloat16
            )
            return y.unflatten(0, x.shape[:-1])
        return (F.linear(x8.float(), weight.float()) * (input_scale * self.weight_scale)).bfloat16()


class CastingOperations:
    """torch.nn with a Linear that casts its weight to the dtype of its input, as comfy.ops.manual_cast has it."""

    LayerNorm, Conv3d, Fp8Linear = nn.LayerNorm, nn.Conv3d, Fp8Linear

    class Linear(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class Linears(NamedTuple):
    """How a block makes its linears: those never quantised, those quantised plainly, those with a smooth scale, and of
    these linear_proj."""

    plain: Callable
    scaled: Callable
    smooth: Callable
    proj: Callable


def kv_bytes(config: MagiConfig, tokens: int, dtype: torch.dtype) -> int:
    """Bytes of the keys and values of `tokens` in all layers."""
    return 2 * config.layers * config.groups * config.head_dim * tokens * dtype.itemsize


def forward_bytes(config: MagiConfig, tokens: int, keys: int, dtype: torch.dtype) -> int:
    """Most bytes that a forward of `tokens` holds beside weights and cache, a chunk attending to `keys` tokens.

    A few copies of the hidden states; the larger of attention (queries, both outputs, and these merged in fp32) and
    MLP; linear_proj in fp32; the keys and values of one layer; what SwiGLU holds in fp32.
    """
    c, size = config, dtype.itemsize
    width = c.heads * c.head_dim
    attention = 6 * size * width + 2 * size * c.groups * c.head_dim + 8 * width
    mlp = 2 * size * (1 + c.gated) * c.ffn
    linear_proj = 4 * 2 * width * c.hidden
    return (
        tokens * (4 * size * c.hidden + 4 * c.hidden + max(attention, mlp))
        + linear_proj
        + 2 * kv_bytes(c, keys, dtype) // c.layers
        + c.gated * 3 * 4 * min(tokens, SLICE) * c.ffn
    )


class CentredLayerNorm(nn.Module):
    """LayerNorm over the last dimension whose stored weight is the gain minus one; computes in its input's dtype."""

    def __init__(self, dim: int, **factory: Any):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(dim, **factory)), nn.Parameter(torch.empty(dim, **factory))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight.to(x.dtype) + 1, self.bias.to(x.dtype), 1e-6)


class TimeEmbedder(nn.Module):
    def __init__(self, c: MagiConfig, operations: Any, **factory: Any):
        super().__init__()
        self.mlp = nn.Sequential(
            operations.Linear(2 * TIME_FREQUENCIES, c.cond, **factory),
            nn.SiLU(),
            operations.Linear(c.cond, c.cond, **factory),
        )

    def forward(self, t: Tensor, rounded: torch.dtype) -> Tensor:
        """Embedding of times t [...] in fp32: [..., cond]. The sinusoid is rounded to dtype `rounded` first, so the
        order of the products counts."""
        angles = t[..., None].float() * time_frequencies().to(t.device, non_blocking=True) * 1000
        return self.mlp(torch.cat([angles.cos(), angles.sin()], -1).to(rounded).float())


def time_frequencies() -> Tensor:
    """10000^(-k/128), k < 128, of the CPU's exponential whatever the device, as released: its last bit, times 1000 and
    a time of up to 32, shows in the output."""
    return torch.exp(-math.log(10000) * torch.arange(TIME_FREQUENCIES, device="cpu") / TIME_FREQUENCIES)


class CaptionEmbedder(nn.Module):
    def __init__(self, c: MagiConfig, operations: Any, **factory: Any):
        super().__init__()
        self.null_caption_embedding = nn.Parameter(torch.empty(c.caption_length, c.caption_dim, **factory))
        self.y_proj_xattn = nn.Sequential(operations.Linear(c.caption_dim, c.hidden, **factory), nn.SiLU())
        self.y_proj_adaln = nn.Sequential(operations.Linear(c.caption_dim, c.cond, **factory))


class LearnedRope(nn.Module):
    def __init__(self, c: MagiConfig, **factory: Any):
        super().__init__()
        self.bands = nn.Parameter(torch.empty(c.head_dim // 8, **factory))

    def forward(self, frames: Tensor, rows: int, columns: int) -> Tensor:
        """Angles of every token at latent frames `frames` [F] of a grid of tokens: [F * rows * columns, 3 * bands]."""
        stretch = (rows * columns / 256) ** -0.5
        down, across = ((n * stretch - 1) / 2 * torch.linspace(-1, 1, n, device=frames.device) for n in (rows, columns))
        positions = torch.stack(torch.meshgrid(frames.float(), down, across, indexing="ij"), -1)
        return (positions[..., None] * self.bands.float()).flatten(3).flatten(0, 2)


@dataclass(frozen=True)
class Call:
    """What all blocks of one forward share; r chunks of equally many tokens."""

    chunks: tuple[int, ...]
    ranges: tuple[tuple[int, int], ...]
    angles: Tensor
    """[r * tokens, 3 * bands]"""
    condition: Tensor
    """[B, r, cond]"""
    caption: Tensor
    """Embedded caption tokens [sum(lengths), hidden] of all chunks, end to end, batch outermost."""
    lengths: list[int]
    cache: ChunkCache
    keep: tuple[int, ...]
    attend: Attend


class QueryKeyValue(nn.Module):
    def __init__(self, c: MagiConfig, linear: Callable, layer_norm: Callable):
        super().__init__()
        self.layer_norm = layer_norm(c.hidden)
        self.q, self.qx = (linear(c.hidden, c.heads * c.head_dim) for _ in range(2))
        self.k, self.v = (linear(c.hidden, c.groups * c.head_dim) for _ in range(2))

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        z = self.layer_norm(hidden)
        return self.q(z), self.qx(z), self.k(z), self.v(z)


class MagiAttention(nn.Module):
    """Self-attention over chunks and cross-attention over captions, in parallel from one norm."""

    def __init__(self, c: MagiConfig, linears: Linears, layer_norm: Callable, **factory: Any):
        super().__init__()
        self.head_dim, self.groups = c.head_dim, c.groups
        fp32 = factory | {"dtype": torch.float32}
        self.linear_qkv = QueryKeyValue(c, linears.scaled, layer_norm)
        self.linear_kv_xattn = linears.plain(c.hidden, 2 * c.groups * c.head_dim)
        self.linear_proj = linears.proj(2 * c.heads * c.head_dim, c.hidden)
        self.q_layernorm, self.k_layernorm = (CentredLayerNorm(c.head_dim, **fp32) for _ in range(2))
        self.q_layernorm_xattn, self.k_layernorm_xattn = (CentredLayerNorm(c.head_dim, **factory) for _ in range(2))

    def forward(self, hidden: Tensor, layer: int, call: Call) -> Tensor:
        """Change of hidden [B, r * tokens, hidden], before its gate."""
        q, qx, k, v = self.linear_qkv(hidden)
        by_head = (-1, self.head_dim)
        q, k = (
            rotate(norm(x.unflatten(2, by_head).float()), call.angles).type_as(hidden).flatten(2)
            for norm, x in ((self.q_layernorm, q), (self.k_layernorm, k))
        )
        qx = self.q_layernorm_xattn(qx.unflatten(2, by_head)).flatten(2)
        parts = self.over_chunks(q, k, v, layer, call), self.over_captions(qx, call)
        merged = torch.cat([x.unflatten(2, (MERGE_GROUPS, -1)) for x in parts], -1).flatten(2)
        return self.linear_proj(merged.float())

    def over_chunks(self, q: Tensor, k: Tensor, v: Tensor, layer: int, call: Call) -> Tensor:
        tokens = q.shape[1] // len(call.chunks)
        pairs = dict(zip(call.chunks, zip(k.split(tokens, 1), v.split(tokens, 1))))
        for chunk in call.keep:
            call.cache.put(layer, chunk, *pairs[chunk])
        for chunk in {chunk for span in call.ranges for chunk in range(*span)} - set(call.chunks):
            pairs[chunk] = call.cache.get(layer, chunk, q.device)
        outputs = []
        for query, span in zip(q.split(tokens, 1), call.ranges):
            keys, values = (torch.cat(x, 1) for x in zip(*(pairs[chunk] for chunk in range(*span))))
            outputs.append(grouped_attention(call.attend, query, keys, values, self.groups))
        readers = [i for i, (chunk, (start, _)) in enumerate(zip(call.chunks, call.ranges)) if start < chunk]
        if readers:
            call.cache.shrink(layer, tokens, q.split(tokens, 1)[readers[-1]], self.groups)
        return torch.cat(outputs, 1)

    def over_captions(self, q: Tensor, call: Call) -> Tensor:
        keys, values = self.linear_kv_xattn(call.caption).unflatten(1, (self.groups, 2, self.head_dim)).unbind(2)
        keys = self.k_layernorm_xattn(keys)
        queries = q.flatten(0, 1)[None].split(q.shape[1] // len(call.chunks), 1)
        pairs = zip(*(x.flatten(1)[None].split(call.lengths, 1) for x in (keys, values)))
        outputs = [
            grouped_attention(call.attend, query, key, value, self.groups)
            for query, (key, value) in zip(queries, pairs)
        ]
        return torch.cat(outputs, 1).view_as(q)


class MagiMLP(nn.Module):
    def __init__(self, c: MagiConfig, linears: Linears, layer_norm: Callable):
        super().__init__()
        self.gated = c.gated
        self.layer_norm = layer_norm(c.hidden)
        self.linear_fc1 = linears.scaled(c.hidden, (1 + c.gated) * c.ffn)
        self.linear_fc2 = linears.smooth(c.ffn, c.hidden)

    def forward(self, hidden: Tensor) -> Tensor:
        x = self.linear_fc1(self.layer_norm(hidden))
        return self.linear_fc2(swiglu(x) if self.gated else F.gelu(x))


def swiglu(x: Tensor) -> Tensor:
    """silu(gate) * value of x [B, tokens, gate and value], in fp32 and rounded once, a slice of tokens at a time."""
    return torch.cat(
        [(F.silu(gate.float()) * value).type_as(x) for gate, value in (y.chunk(2, -1) for y in x.split(SLICE, 1))], 1
    )


class MagiBlock(nn.Module):
    def __init__(
        self,
        c: MagiConfig,
        fp8: bool,
        operations: Any,
        linear_dtype: torch.dtype,
        proj_dtype: torch.dtype,
        **factory: Any,
    ):
        super().__init__()
        fp32 = factory | {"dtype": torch.float32}
        layer_norm = partial(operations.LayerNorm, eps=1e-6, **factory)
        plain, proj = (
            partial(operations.Linear, bias=False, **factory | {"dtype": dtype}) for dtype in (linear_dtype, proj_dtype)
        )
        linears = Linears(plain, plain, plain, proj)
        if fp8:
            scaled, smooth = (
                partial(operations.Fp8Linear, smooth=smooth, device=factory["device"]) for smooth in (False, True)
            )
            linears = Linears(plain, scaled, smooth, smooth)
        self.ada_modulate_layer = nn.ModuleDict(
            {"proj": nn.Sequential(operations.Linear(c.cond, 2 * c.hidden, **factory))}
        )
        self.self_attention = MagiAttention(c, linears, layer_norm, **factory)
        self.self_attn_post_norm = CentredLayerNorm(c.hidden, **fp32)
        self.mlp = MagiMLP(c, linears, layer_norm)
        self.mlp_post_norm = CentredLayerNorm(c.hidden, **fp32)

    def gates(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Gates of attention and MLP, [..., hidden] each, of a condition [..., cond]."""
        return self.ada_modulate_layer["proj"](F.silu(condition)).float().tanh().type_as(condition).chunk(2, -1)

    def forward(self, hidden: Tensor, layer: int, call: Call) -> Tensor:
        of_attention, of_mlp = self.gates(call.condition)
        hidden = add_gated(hidden, self.self_attention(hidden, layer, call), of_attention, self.self_attn_post_norm)
        return add_gated(hidden, self.mlp(hidden), of_mlp, self.mlp_post_norm)


class MagiTransformer(nn.Module):
    """Velocity x0 - noise of chunks of latents at times t from 0 (noise) to 1 (clean).

    `dtype` is that of the hidden states and of all weights but those the release holds in fp32 (docs/magi1.md 3.8); the
    release uses bf16. The linears of the blocks may be stored in another one, `linear_dtype`, and linear_proj, which is
    computed in fp32, in `proj_dtype`. `operations` offers Linear, LayerNorm, Conv3d and Fp8Linear; its Linear casts
    weights to the dtype of the input.
    """

    def __init__(
        self,
        config: MagiConfig,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        operations: Any = CastingOperations,
        linear_dtype: torch.dtype | None = None,
        proj_dtype: torch.dtype | None = None,
    ):
        super().__init__()
        c = self.config = config
        self.dtype = dtype
        fp32 = {"dtype": torch.float32, "device": device}
        self.x_embedder = operations.Conv3d(
            c.channels * (1 + c.doubled), c.hidden, (1, 2, 2), stride=(1, 2, 2), bias=False, **fp32
        )
        self.t_embedder = TimeEmbedder(c, operations, **fp32)
        self.y_embedder = CaptionEmbedder(c, operations, **fp32)
        self.rope = LearnedRope(c, **fp32)
        inner, stored = range(1, c.layers - 1) if c.quantised else (), linear_dtype or dtype
        self.videodit_blocks = nn.ModuleDict(
            {
                "layers": nn.ModuleList(
                    MagiBlock(c, i in inner, operations, stored, proj_dtype or stored, dtype=dtype, device=device)
                    for i in range(c.layers)
                ),
                "final_layernorm": CentredLayerNorm(c.hidden, **fp32),
            }
        )
        self.final_linear = nn.ModuleDict(
            {"linear": operations.Linear(c.hidden, 4 * c.channels * (1 + c.doubled), bias=False, **fp32)}
        )

    @property
    def blocks(self) -> Sequence[MagiBlock]:
        return self.videodit_blocks["layers"]  # type: ignore[return-value]  # torch does not know what a dict holds

    def patch_embedding(self, x: Tensor) -> Tensor:
        """Patch-embedded latents [B, hidden, F, H / 2, W / 2] of latents x [B, channels, F, H, W]. Raises ValueError
        for other sizes."""
        if x.shape[1] != self.config.channels or x.shape[3] % 2 or x.shape[4] % 2:
            raise ValueError(
                f"the latents have shape {list(x.shape)}; this network takes [batch, {self.config.channels} channels,"
                " frames, height, width] with an even height and width"
            )
        x = x.float() * self.config.rescale
        return self.x_embedder(torch.cat([x, x], 1) if self.config.doubled else x).to(self.dtype)

    def condition(self, t: Tensor, dt: float | None = None, dropped: bool = False) -> Tensor:
        """Condition [..., cond] of times t [...]. It does not depend on the prompt.

        `dt` is the step size a distilled model is told (half the number of steps), None for base models. `dropped`
        where the guidance branch is without text.
        """
        null = self.y_embedder.null_caption_embedding[-1 if dropped else -2]
        condition = self.t_embedder(t, self.dtype) + self.y_embedder.y_proj_adaln(null.float())
        if dt is not None:
            condition = condition + self.t_embedder(torch.full((), dt, device=t.device), self.dtype)
        return condition.to(self.dtype)

    @torch.no_grad()
    def features(self, name: str, sigma: np.ndarray, dt: float | None = None) -> Tensor:
        """What changes with the noise level alone (see signals.Features), at levels [N]: 'embedding', the condition [N,
        cond], or 'modulation', the gates of the first block [N, 2 * hidden]."""
        t = torch.as_tensor(1 - sigma, dtype=torch.float32).to(self.rope.bands.device, non_blocking=True)
        condition = self.condition(t, dt)
        return condition if name == "embedding" else torch.cat(self.blocks[0].gates(condition), -1)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        chunks: Sequence[int],
        ranges: Sequence[tuple[int, int]],
        context: Tensor,
        mask: Tensor,
        cache: ChunkCache | None = None,
        keep: Sequence[int] = (),
        dt: float | None = None,
        dropped: bool = False,
        around: Callable | None = None,
        attend: Attend | None = None,
    ) -> Tensor:
        """Velocity [B, channels, 6r, H, W], fp32, of latents x [B, channels, 6r, H, W] (H, W even) of r chunks at times
        t [B, r].

        `chunks` are r different numbers in the video, in any order. Chunk j attends to the chunks of `ranges[j]`,
        [start, end): fresh ones where they are in this call, else those of `cache`; a KeyError where they are in
        neither. The K/V of the chunks in `keep` go into the cache. `context` [B, r, L, caption_dim] and `mask` [B, r,
        L], True for the caption tokens to attend to, one at least; a mask in the CPU's memory costs no wait for the
        device. `dt`, `dropped`: see `condition`. `around(i, hidden, block)`, where given, is called in place of block
        i. `attend(q, k, v, heads)` is plain attention of [B, tokens, heads * head_dim], torch's unless given.

        A second copy of a chunk that sees only itself (docs/magi1.md 4.5) goes in under a number n that is in no other
        range, with the range (n, n + 1): positions are relative.
        """
        patches = self.patch_embedding(x)
        size = self.config.chunk_frames
        frames = torch.tensor([chunk * size + i for chunk in chunks for i in range(size)])
        frames = frames.to(x.device, non_blocking=True)
        told = mask.cpu().bool()
        lengths, rows = told.sum(-1).flatten().tolist(), told.flatten().nonzero()[:, 0]
        caption = context.flatten(0, 2)[rows.to(context.device, non_blocking=True)]
        caption = self.y_embedder.y_proj_xattn(caption.float()).to(self.dtype)
        angles = self.rope(frames, *patches.shape[3:])
        call = Call(
            tuple(chunks),
            tuple(ranges),
            angles,
            self.condition(t, dt, dropped),
            caption,
            lengths,
            ChunkCache() if cache is None else cache,
            tuple(keep),
            attend or attention,
        )
        hidden = patches.flatten(2).transpose(1, 2)
        for i, block in enumerate(self.blocks):
            run = partial(block, layer=i, call=call)
            hidden = run(hidden) if around is None else around(i, hidden, run)
        out = self.final_linear["linear"](self.videodit_blocks["final_layernorm"](hidden.float()))
        out = out.unflatten(2, (2, 2, -1))[..., : self.config.channels].unflatten(1, patches.shape[2:])
        return out.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4) / self.config.rescale


def add_gated(hidden: Tensor, change: Tensor, gate: Tensor, norm: nn.Module) -> Tensor:
    """hidden + norm(change * gate) in fp32, for hidden and change [B, r * tokens, dim] and one gate a chunk [B, r,
    dim]."""
    change = change.float().unflatten(1, (gate.shape[1], -1)) * gate[:, :, None]
    return (norm(change.flatten(1, 2)) + hidden).type_as(hidden)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate channels i and i + n, i < n, of x [B, tokens, heads, head_dim] by angles [tokens, n]; those from 2n on
    stay."""
    n = angles.shape[1]
    a, b, rest = x.split([n, n, x.shape[3] - 2 * n], 3)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], 3)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Softmax attention of q [B, tokens, heads * head_dim] over k, v [B, keys, heads * head_dim]."""
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def grouped_attention(attend: Attend, q: Tensor, k: Tensor, v: Tensor, groups: int) -> Tensor:
    """Attention of q [B, tokens, heads * head_dim] over k, v [B, keys, groups * head_dim], neighbouring heads sharing a
    group.

    Without a mask the heads of a group may line up as further queries, so that no key is copied and any kernel serves.
    """
    head_dim = k.shape[2] // groups
    q = q.unflatten(2, (groups, -1, head_dim)).transpose(2, 3)
    out = attend(q.flatten(3).flatten(1, 2), k, v, groups)
    return out.reshape(q.shape).transpose(2, 3).flatten(2)
