"""The MAGI-1 transformer: equal to the release's (fixtures: random weights, fp32 and bf16 with fp8), and what calls on
lists of chunks promise."""

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from scope_core.networks import magi
from scope_core.networks.chunk_cache import Budget
from scope_core.networks.magi import (
    MAGI_4_5B,
    MAGI_24B,
    SLICE,
    ChunkCache,
    Fp8Linear,
    MagiConfig,
    MagiTransformer,
    PackedLayersError,
    attention,
    config_of,
    grouped_attention,
    swiglu,
    time_frequencies,
)

FIXTURES = Path(__file__).parents[1] / "fixtures"
TINY = MagiConfig(layers=3, hidden=64, ffn=96, heads=16, cond=16, head_dim=8, caption_dim=24, caption_length=12)
T = (0.5, 0.2, 0.05)
RANGES = (0, 1), (0, 2), (1, 3)


def build(config=TINY, **options):
    torch.manual_seed(0)
    model = MagiTransformer(config, **options)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape) * (0.02 if p.dtype.itemsize == 1 else 0.2))
    return model.requires_grad_(False)


def inputs(chunks=3, batch=1):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 16, 6 * chunks, 4, 6, generator=g)
    context = torch.randn(batch, chunks, 12, 24, generator=g)
    mask = torch.arange(12) < torch.randint(1, 13, (batch, chunks, 1), generator=g)
    return x, torch.tensor(T[:chunks]).expand(batch, -1), context, mask


def shapes(model):
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def of_release(name, dtype=torch.float32):
    """A fixture and the network with its weights."""
    data = load_file(FIXTURES / f"{name}.safetensors")
    weights = {key[2:]: value for key, value in data.items() if key.startswith("w.")}
    model = MagiTransformer(config_of({key: value.shape for key, value in weights.items()}), dtype, "meta")
    model.load_state_dict(weights, assign=True)
    return data, model.requires_grad_(False)


def velocity(data, model, dt, attend=None):
    chunks = data["in.t"].shape[1]
    ranges = (data["in.kv_range_tokens"] // (6 * 2 * 3)).tolist()
    context, mask = data["in.caption"][None], data["in.mask"][None]
    return model(data["in.x"], data["in.t"], range(chunks), ranges, context, mask, dt=dt, attend=attend)


def exact_attention(q, k, v, heads):
    """In fp32, its result rounded, as in the fixture: kernels differ in this."""
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2).float() for x in (q, k, v))
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2).bfloat16()


def between_machines(monkeypatch, run):
    """The most that `run` moves where the frequencies of the time embedding differ in their last bit. Exponentials of
    different machines do so: multiplied by 1000 and by a `dt` of up to 32, it shows in fp32."""
    known, there = time_frequencies(), run()
    moved = []
    for limit in (0.0, 2.0):
        monkeypatch.setattr(magi, "time_frequencies", lambda: torch.nextafter(known, torch.tensor(limit)))
        moved.append((run() - there).abs().max().item())
    monkeypatch.undo()
    return max(moved)


def test_equals_the_release(monkeypatch):
    data, model = of_release("magi1/forward_distill")
    tolerance = 1e-5 + between_machines(monkeypatch, lambda: velocity(data, model, 32))
    assert (velocity(data, model, 32) - data["out.velocity"]).abs().max() < tolerance < 3e-3


def test_times_are_multiplied_in_the_order_of_the_release():
    """(t f) 1000, computed here as the release does. In bf16 another order rounds single entries to the other side."""
    data, model = of_release("magi1_release/fp8_forward", torch.bfloat16)
    seen, t = [], data["time.in"]
    model.t_embedder.mlp.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    made = model.t_embedder(t, torch.bfloat16)
    angles = t[:, None] * torch.exp(-math.log(10000) * torch.arange(0, 128, dtype=torch.float32) / 128)[None] * 1000
    assert torch.equal(seen[0], torch.cat([angles.cos(), angles.sin()], -1).bfloat16().float())
    assert ((made - data["time.out"]).abs().amax(1) < 1e-5).float().mean() > 0.9, "most rows round as on any machine"


def product_in_bf16() -> str:
    """Digest of a product in bf16, whose sums a processor may take in another order."""
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(72, 96, generator=generator).bfloat16() for _ in range(2))
    return hashlib.sha256(F.linear(x, weight).view(torch.int16).numpy().tobytes()).hexdigest()[:16]


def test_a_bf16_forward_with_fp8_equals_the_release(monkeypatch):
    """To the last bit, if this machine rounds products in bf16 as one does that is known to equal the fixture's, and
    the sinusoids of the fixture's table as the fixture's did, next to the times of the call."""
    data, model = of_release("magi1_release/fp8_forward", torch.bfloat16)
    near = [data["time.in"].sub(t).abs().argmin().item() for t in [*data["in.t"].flatten().tolist(), 8.0]]
    embedded = model.t_embedder(data["time.in"][near], torch.bfloat16)
    run = lambda: velocity(data, model, 8, exact_attention)  # noqa: E731
    same_times = (embedded - data["time.out"][near]).abs().max() < 1e-5
    same_products = product_in_bf16() == "9f932ca1cb6268a8"
    tolerance = 0 if same_times and same_products else 0.05 + between_machines(monkeypatch, run)
    assert (run() - data["out.velocity"]).abs().max() <= tolerance < 0.3


@pytest.mark.parametrize("name", ["linear_fc1", "linear_fc2"])
def test_fp8_linears_equal_the_release(name):
    data, model = of_release("magi1_release/fp8_forward", torch.bfloat16)
    short = name.removeprefix("linear_")
    made = getattr(model.blocks[1].mlp, name)(data[f"linear.in.{short}"])
    assert torch.equal(made, data[f"linear.out.{short}"])


def test_swiglu_rounds_once():
    data, _ = of_release("magi1_release/fp8_forward", torch.bfloat16)
    assert torch.equal(swiglu(data["swiglu.in"][None])[0], data["swiglu.out"])
    many = data["swiglu.in"].repeat(2 * SLICE // 9 + 1, 1)[None]
    assert torch.equal(swiglu(many)[0, :9], data["swiglu.out"]) and swiglu(many).shape[1] == many.shape[1] > 2 * SLICE


def published(hidden, channels, ffn, fc1, cond):
    top = {
        "x_embedder.weight": (hidden, channels, 1, 2, 2),
        "t_embedder.mlp.0.weight": (cond, 256),
        "t_embedder.mlp.0.bias": (cond,),
        "t_embedder.mlp.2.weight": (cond, cond),
        "t_embedder.mlp.2.bias": (cond,),
        "y_embedder.null_caption_embedding": (800, 4096),
        "y_embedder.y_proj_xattn.0.weight": (hidden, 4096),
        "y_embedder.y_proj_xattn.0.bias": (hidden,),
        "y_embedder.y_proj_adaln.0.weight": (cond, 4096),
        "y_embedder.y_proj_adaln.0.bias": (cond,),
        "rope.bands": (16,),
        "final_linear.linear.weight": (4 * channels, hidden),
    }
    block = {
        "ada_modulate_layer.proj.0.weight": (2 * hidden, cond),
        "ada_modulate_layer.proj.0.bias": (2 * hidden,),
        "self_attention.linear_qkv.q.weight": (hidden, hidden),
        "self_attention.linear_qkv.qx.weight": (hidden, hidden),
        "self_attention.linear_qkv.k.weight": (1024, hidden),
        "self_attention.linear_qkv.v.weight": (1024, hidden),
        "self_attention.linear_kv_xattn.weight": (2048, hidden),
        "self_attention.linear_proj.weight": (hidden, 2 * hidden),
        "mlp.linear_fc1.weight": (fc1, hidden),
        "mlp.linear_fc2.weight": (hidden, ffn),
    }
    per_head = ("q_layernorm", "k_layernorm", "q_layernorm_xattn", "k_layernorm_xattn")
    whole = ("self_attention.linear_qkv.layer_norm", "self_attn_post_norm", "mlp_post_norm", "mlp.layer_norm")
    norms = {f"self_attention.{name}": 128 for name in per_head} | dict.fromkeys(whole, hidden)
    block |= {f"{name}.{part}": (size,) for name, size in norms.items() for part in ("weight", "bias")}
    return top | {f"videodit_blocks.final_layernorm.{part}": (hidden,) for part in ("weight", "bias")}, block


FP32 = (
    "x_embedder",
    "t_embedder",
    "y_embedder",
    "final_linear",
    "rope",
    "final_layernorm",
    ".q_layernorm.",
    ".k_layernorm.",
    "_post_norm",
)


@pytest.mark.parametrize(
    "config, dims, parameters, tensors",
    [
        (MAGI_4_5B, (3072, 16, 12288, 12288, 768), 4_459_898_128, 898),
        (MAGI_24B, (6144, 32, 16384, 32768, 1536), 23_899_281_936, 1262),
    ],
    ids=["4.5B", "24B"],
)
def test_published_layout(config, dims, parameters, tensors):
    model = MagiTransformer(config, dtype=torch.bfloat16, device="meta")
    top, block = published(*dims)
    expected = top | {
        f"videodit_blocks.layers.{i}.{key}": shape for i in range(config.layers) for key, shape in block.items()
    }
    assert shapes(model) == expected
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert len(list(model.parameters())) == tensors
    assert {key for key, value in model.state_dict().items() if value.dtype == torch.float32} == {
        key for key in expected if any(name in key for name in FP32)
    }
    assert config_of(shapes(model)) == config


def test_published_layout_of_fp8_files():
    config = replace(MAGI_4_5B, quantised=True)
    model = MagiTransformer(config, dtype=torch.bfloat16, device="meta")
    assert config_of(shapes(model)) == config
    plain = shapes(MagiTransformer(MAGI_4_5B, device="meta"))
    extra = {key: shape for key, shape in shapes(model).items() if plain.get(key) != shape}
    block = "videodit_blocks.layers.1."
    projections = (("q", 3072), ("qx", 3072), ("k", 1024), ("v", 1024))
    smooth = (("self_attention.linear_proj", 3072, 6144), ("mlp.linear_fc2", 3072, 12288))
    assert {key.removeprefix(block): shape for key, shape in extra.items() if key.startswith(block)} == {
        **{
            f"self_attention.linear_qkv.{name}.{part}": shape
            for name, outputs in projections
            for part, shape in (("weight", (1, outputs, 3072)), ("weight_scale", (1,)), ("input_scale", (3072,)))
        },
        "mlp.linear_fc1.weight": (1, 12288, 3072),
        "mlp.linear_fc1.weight_scale": (1,),
        "mlp.linear_fc1.input_scale": (3072,),
        **{
            f"{name}.{part}": shape
            for name, outputs, size in smooth
            for part, shape in (
                ("weight", (1, outputs, size)),
                ("weight_scale", (1,)),
                ("input_scale", (1,)),
                ("smooth_scale", (1, size)),
            )
        },
    }
    assert {key.split(".")[2] for key in extra} == {str(i) for i in range(1, 33)}


def test_other_models_are_not_magi():
    assert config_of({"patch_embedding.weight": (1536, 16, 1, 2, 2), "head.modulation": (1, 2, 1536)}) is None
    assert config_of(shapes(build())) == TINY


def test_packed_layers_are_refused():
    """The layout of MAGI-1.1's 24B base file."""
    packed = {"videodit_blocks.layers.self_attention.linear_qkv.weight": (48, 14336, 6144)}
    with pytest.raises(PackedLayersError, match=r"packs q, qx, k and v.*\[48, 14336, 6144\].*issue 123.*ckpt/magi of"):
        config_of(packed)


def test_a_window_equals_its_chunks_one_by_one():
    model, (x, t, context, mask) = build(), inputs()
    joint = model(x, t, (4, 5, 6), [(a + 4, b + 4) for a, b in RANGES], context, mask, dt=32)
    cache = ChunkCache()
    for j in range(3):
        start, end = RANGES[j]
        one = model(
            x[:, :, 6 * j : 6 * j + 6],
            t[:, j : j + 1],
            (4 + j,),
            [(4 + start, 4 + end)],
            context[:, j : j + 1],
            mask[:, j : j + 1],
            cache=cache,
            keep=(4 + j,),
            dt=32,
        )
        assert (one - joint[:, :, 6 * j : 6 * j + 6]).abs().max() <= 5e-6


def test_chunks_may_come_in_any_order_with_gaps():
    model, (x, t, context, mask) = build(), inputs()
    joint = model(x, t, (0, 1, 2), RANGES, context, mask)
    cache = ChunkCache()
    model(x, t, (0, 1, 2), RANGES, context, mask, cache=cache, keep=(1,))
    pick = [2, 0]
    frames = [6 * j + i for j in pick for i in range(6)]
    ranges = [RANGES[j] for j in pick]
    some = model(x[:, :, frames], t[:, pick], pick, ranges, context[:, pick], mask[:, pick], cache=cache)
    assert (some - joint[:, :, frames]).abs().max() <= 5e-6


def test_fresh_keys_go_before_stored_ones():
    model, (x, t, context, mask) = build(), inputs()
    fresh = model(x, t, (0, 1, 2), RANGES, context, mask)
    cache = ChunkCache()
    model(-x, t, (0, 1, 2), RANGES, context, mask, cache=cache, keep=(0, 1, 2))
    assert torch.equal(model(x, t, (0, 1, 2), RANGES, context, mask, cache=cache), fresh)


def test_a_chunk_that_is_nowhere():
    model, (x, t, context, mask) = build(), inputs(chunks=1)
    with pytest.raises(KeyError):
        model(x, t, (1,), [(0, 2)], context, mask, cache=ChunkCache())


def test_a_second_copy_that_sees_only_itself():
    model, (x, t, context, mask) = build(), inputs()
    joint = model(x, t, (0, 1, 2), RANGES, context, mask)
    twice = model(
        torch.cat([x, x[:, :, 6:12]], 2),
        torch.cat([t, t[:, 1:2]], 1),
        (0, 1, 2, 3),
        [*RANGES, (3, 4)],
        torch.cat([context, context[:, 1:2]], 1),
        torch.cat([mask, mask[:, 1:2]], 1),
    )
    alone = model(x[:, :, 6:12], t[:, 1:2], (1,), [(1, 2)], context[:, 1:2], mask[:, 1:2])
    assert (twice[:, :, :18] - joint).abs().max() <= 5e-6
    assert (twice[:, :, 18:] - alone).abs().max() <= 5e-6
    assert (alone - joint[:, :, 6:12]).abs().max() > 1e-3


def test_cache():
    model, (x, t, context, mask) = build(), inputs()
    cache = ChunkCache(Budget(0))
    model(x, t, (0, 1, 2), RANGES, context, mask, cache=cache, keep=(0, 2))
    per_chunk = TINY.layers * 2 * 36 * TINY.groups * TINY.head_dim * 4
    assert cache.bytes() == 2 * per_chunk
    assert cache.get(0, 2, x.device)[0].shape == (1, 36, TINY.groups * TINY.head_dim)
    cache.drop(0)
    assert cache.bytes() == per_chunk
    with pytest.raises(KeyError):
        cache.get(0, 0, x.device)


def test_captions_act_on_their_chunk_and_masked_tokens_nowhere():
    model, (x, t, context, mask) = build(), inputs()
    alone = [(j, j + 1) for j in range(3)]
    before = model(x, t, (0, 1, 2), alone, context, mask)
    context[~mask] = 1e4
    assert torch.equal(model(x, t, (0, 1, 2), alone, context, mask), before)
    context[:, 1] += 1
    difference = (model(x, t, (0, 1, 2), alone, context, mask) - before).abs()
    change = difference.amax((0, 1, 3, 4)).unflatten(0, (3, 6)).amax(1)
    assert change[0] <= 5e-6 and change[2] <= 5e-6 and change[1] > 1e-3


def test_a_batch_equals_its_members():
    model, (x, t, context, mask) = build(), inputs(batch=2)
    both = model(x, t, (0, 1, 2), RANGES, context, mask)
    for i in range(2):
        one = slice(i, i + 1)
        assert (model(x[one], t[one], (0, 1, 2), RANGES, context[one], mask[one]) - both[one]).abs().max() <= 5e-6


def test_only_time_step_size_and_branch_make_the_condition():
    model = build()
    t = torch.tensor([[0.1, 0.7]])
    plain = model.condition(t)
    assert plain.shape == (1, 2, TINY.cond)
    of_dropping = model.condition(t, 32, True) - model.condition(t, 32)
    assert torch.allclose(model.condition(t, dropped=True) - plain, of_dropping, atol=1e-5)
    assert (model.condition(t, 32) - plain).abs().max() > 1e-2


def test_around_replaces_every_block():
    model, (x, t, context, mask) = build(), inputs()
    seen = []

    def around(i, hidden, block):
        seen.append((i, hidden.shape))
        return block(hidden)

    expected = model(x, t, (0, 1, 2), RANGES, context, mask)
    assert torch.equal(model(x, t, (0, 1, 2), RANGES, context, mask, around=around), expected)
    assert seen == [(i, (1, 108, TINY.hidden)) for i in range(len(model.blocks))]


def test_shared_keys_need_no_copies():
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 10, 6 * 8), torch.randn(2, 7, 2 * 8), torch.randn(2, 7, 2 * 8)
    copied = (x.unflatten(2, (2, 8)).repeat_interleave(3, 2).flatten(2) for x in (k, v))
    assert torch.allclose(grouped_attention(attention, q, k, v, 2), attention(q, *copied, 6), atol=1e-6)


def test_the_latent_may_enter_twice_and_rescaled():
    """As in the 24B models. The same as one entry with the sum of both halves of the weights, of which half the outputs
    are read."""
    twice, once = (build(replace(TINY, gated=True, doubled=doubled, rescale=0.1)) for doubled in (True, False))
    state = dict(twice.state_dict())
    state["x_embedder.weight"] = state["x_embedder.weight"].unflatten(1, (2, 16)).sum(1)
    last = "final_linear.linear.weight"
    state[last] = state[last].unflatten(0, (4, 32))[:, :16].flatten(0, 1)
    once.load_state_dict(state)
    assert config_of(shapes(twice)) == twice.config
    x, t, context, mask = inputs()
    a, b = (model(x, t, (0, 1, 2), RANGES, context, mask) for model in (twice, once))
    assert (a - b).abs().max() <= 1e-5 * b.abs().max()
    scaled = replace(TINY, gated=True)
    unscaled = MagiTransformer(scaled)
    unscaled.load_state_dict(state)
    assert (b - 10 * unscaled(0.1 * x, t, (0, 1, 2), RANGES, context, mask)).abs().max() <= 1e-5 * b.abs().max()


def test_bf16_stays_near_fp32():
    exact, rounded = build(), build(dtype=torch.bfloat16)
    rounded.load_state_dict(exact.state_dict())
    x, t, context, mask = inputs()
    cache = ChunkCache()
    a = exact(x, t, (0, 1, 2), RANGES, context, mask)
    b = rounded(x, t, (0, 1, 2), RANGES, context, mask, cache=cache, keep=(0,))
    assert b.dtype == torch.float32 and cache.get(0, 0, x.device)[0].dtype == torch.bfloat16
    assert F.cosine_similarity(a.flatten(), b.flatten(), 0) > 0.999


@pytest.mark.parametrize("smooth", [False, True], ids=["per tensor", "smooth"])
def test_fp8_linear(smooth):
    torch.manual_seed(0)
    layer = Fp8Linear(6, 4, smooth, None)
    weight = torch.randn(4, 6)
    divisor = torch.rand(6) + 0.1 if smooth else torch.full((6,), 0.03)
    layer.weight.copy_((weight / 0.01)[None])
    layer.weight_scale.fill_(0.01)
    layer.input_scale.fill_(0.5 if smooth else 0.03)
    if smooth:
        layer.smooth_scale.copy_(divisor[None])
    x = torch.randn(2, 3, 6)
    x[0, 0, 0] = 1e6
    scale = layer.input_scale[0] * 0.01
    expected = torch.zeros(2, 3, 4)
    for i in range(6):
        x8 = (x[..., i] / divisor[i]).clamp(-448, 448).bfloat16().to(torch.float8_e4m3fn).float()
        expected += scale * x8[..., None] * layer.weight[0, :, i].float()
    y = layer(x)
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.float(), expected, rtol=2**-8, atol=1e-5)


def test_quantised_model_follows_the_plain_one():
    plain = build(dtype=torch.bfloat16)
    model = build(replace(TINY, quantised=True), dtype=torch.bfloat16)
    state = dict(plain.state_dict())
    for key, value in model.state_dict().items():
        if value.dtype == torch.float8_e4m3fn:
            name = key.removesuffix("weight")
            smooth = name + "smooth_scale" in model.state_dict()
            state[key] = (state[key] / 0.005)[None].to(value.dtype)
            state[name + "weight_scale"] = torch.tensor([0.005])
            state[name + "input_scale"] = torch.tensor([0.05]) if smooth else torch.full((value.shape[2],), 0.05)
            if smooth:
                state[name + "smooth_scale"] = torch.full((1, value.shape[2]), 0.05)
    model.load_state_dict(state)
    quantised = [any(isinstance(layer, Fp8Linear) for layer in block.modules()) for block in model.blocks]
    assert quantised == [False, True, False]
    x, t, context, mask = inputs()
    a, b = (m(x, t, (0, 1, 2), RANGES, context, mask) for m in (plain, model))
    assert F.cosine_similarity(a.flatten(), b.flatten(), 0) > 0.99
    assert not torch.equal(a, b)


@pytest.mark.parametrize("height, width", [(480, 480), (720, 720), (720, 1280)])
def test_published_sizes(height, width):
    """One chunk of the real size through a tiny network; positions of a format are those of the same format on its
    side."""
    config = MagiConfig(layers=1, hidden=16, ffn=16, heads=8, cond=8, head_dim=8, caption_dim=4, caption_length=52)
    model = MagiTransformer(config).requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x = torch.randn(1, 16, 6, height // 8, width // 8)
    made = model(x, torch.full((1, 1), 0.5), (0,), [(0, 1)], torch.randn(1, 1, 3, 4), torch.ones(1, 1, 3))
    assert made.shape == x.shape and torch.isfinite(made).all()
    rows, columns, bands = height // 16, width // 16, len(model.rope.bands)
    turned = model.rope(torch.arange(6), columns, rows).unflatten(0, (6, columns, rows)).transpose(1, 2)
    straight = model.rope(torch.arange(6), rows, columns).unflatten(0, (6, rows, columns))
    down, across = straight[..., bands : 2 * bands], turned[..., 2 * bands :]
    assert torch.allclose(down, across, atol=1e-5), "rows and columns are measured alike"
