"""The MAGI-1 autoencoder: equal to the release's (fixture: random weights, fp32), published layout, the formulas of
its blocks, tiles in space and time."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn import functional as F

from scope_core.networks.magi_vae import SCALE, HeadAttention, MagiVAE, MagiVaeConfig, config_of, tiled

FIXTURE = Path(__file__).parents[1] / "fixtures/magi1_release/vae.safetensors"

TINY = MagiVaeConfig(dim=512, depth=2, ffn=64, grid=4)


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return MagiVAE(TINY).requires_grad_(False)


def shapes(model):
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def video(frames, height=32, width=40):
    return torch.rand(1, 3, frames, height, width, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_published_layout():
    with torch.device("meta"):
        model = MagiVAE()
    expected = {
        "encoder.patch_embed.proj.weight": (1024, 3, 4, 8, 8),
        "encoder.patch_embed.proj.bias": (1024,),
        "encoder.last_layer.weight": (32, 1024),
        "encoder.last_layer.bias": (32,),
        "decoder.proj_in.weight": (1024, 16),
        "decoder.proj_in.bias": (1024,),
        "decoder.last_layer.weight": (3, 4, 3, 3, 3),
        "decoder.last_layer.bias": (3,),
    }
    for half in ("encoder", "decoder"):
        expected |= {
            f"{half}.cls_token": (1, 1, 1024),
            f"{half}.pos_embed": (1, 4097, 1024),
            f"{half}.norm.weight": (1024,),
            f"{half}.norm.bias": (1024,),
        }
        for i in range(24):
            for name, shape in (
                ("attn.qkv", (3072, 1024)),
                ("attn.proj", (1024, 1024)),
                ("norm2", (1024,)),
                ("mlp.fc1", (4096, 1024)),
                ("mlp.fc2", (1024, 4096)),
            ):
                expected |= {f"{half}.blocks.{i}.{name}.weight": shape, f"{half}.blocks.{i}.{name}.bias": shape[:1]}
    assert shapes(model) == expected
    assert config_of(expected) == MagiVaeConfig()


def test_config_of_other_files(vae):
    assert config_of(shapes(vae)) == TINY
    assert config_of({"encoder.conv1.weight": (96, 3, 3, 3, 3), "decoder.conv1.weight": (384, 16, 3, 3, 3)}) is None


def test_attention_normalises_queries_keys_and_values():
    torch.manual_seed(1)
    layer = HeadAttention(TINY)
    x = torch.randn(1, 5, 512)
    outputs = []
    for head in range(8):
        parts = (y[:, 64 * head : 64 * head + 64] for y in layer.qkv(x)[0].split(512, 1))
        q, k, v = ((y - y.mean(1, keepdim=True)) / (y.var(1, correction=0, keepdim=True).sqrt() + 1e-5) for y in parts)
        outputs.append((q @ k.T / 8).softmax(1) @ v)
    assert torch.allclose(layer(x)[0], layer.proj(torch.cat(outputs, 1)), atol=1e-5)


def test_decoder_paints_channel_fastest():
    """Without blocks and with a last layer that copies channel c to colour c, a token is seen to fill its own 4 x 8 x 8
    pixels."""
    model = MagiVAE(MagiVaeConfig(dim=1024, depth=0, ffn=1, grid=2)).requires_grad_(False)
    decoder = model.decoder
    decoder.last_layer.weight.zero_()
    decoder.last_layer.bias.zero_()
    for c in range(3):
        decoder.last_layer.weight[c, c, 1, 1, 1] = 1
    latents = torch.randn(1, 16, 4, 2, 2)
    embedded = decoder.proj_in(latents.movedim(1, -1)).flatten(1, 3)
    tokens = F.layer_norm(embedded + decoder.pos_embed[:, 1:], (1024,), eps=1e-5)
    pixels = tokens.view(4, 2, 2, 4, 8, 8, 4)
    out = decoder(latents)
    for f, i, j, df, di, dj, c in ((0, 0, 0, 0, 0, 0, 0), (3, 1, 0, 2, 7, 3, 1), (1, 0, 1, 3, 4, 6, 2)):
        assert torch.isclose(out[0, c, 4 * f + df, 8 * i + di, 8 * j + dj], pixels[f, i, j, df, di, dj, c], atol=1e-5)


@pytest.fixture(scope="module")
def release():
    """The fixture, and the network with its weights."""
    data = load_file(FIXTURE)
    weights = {key[2:]: value.float() for key, value in data.items() if key.startswith("w.")}
    network = MagiVAE(config_of({key: value.shape for key, value in weights.items()})).requires_grad_(False)
    network.load_state_dict(weights)
    return data, network


def close(made, data, name):
    """Within a millionth of the largest value. Of large results the fixture holds `at` some places."""
    expected = data[f"out.{name}"]
    if f"at.{name}" in data:
        assert list(made.shape) == data[f"shape.{name}"].tolist()
        made = made.flatten()[data[f"at.{name}"].long()]
    return made.shape == expected.shape and (made - expected).abs().max() <= 1e-6 * max(1, expected.abs().max())


@pytest.mark.parametrize("name", ["image", "video", "tiled_image", "tiled_video"])
def test_encodes_as_the_release(release, name):
    data, network = release
    with safe_open(FIXTURE, "pt") as file:
        times = json.loads(file.metadata()["repeat"].replace("'", '"'))[name]
    pixels = data[f"in.encode.{name}"].repeat_interleave(times, 1).repeat_interleave(times, 2)
    assert close(network.encode((pixels / 127.5 - 1).permute(3, 0, 1, 2)[None]), data, f"encode.{name}")


@pytest.mark.parametrize("name", ["chunk", "tiled", "single"])
def test_decodes_as_the_release(release, name):
    data, network = release
    assert close(network.decode(data[f"in.decode.{name}"]), data, f"decode.{name}")


def test_a_single_latent_frame_left_over_keeps_its_four_frames(release):
    """The release makes one of it: its continuation of 32 frames begins with 13 frames for 4 latents. Decoded apart,
    as LatentCut does, they are the release's; decoded together, all of these and three more."""
    data, network = release
    latents = data["in.decode.first_yield_of_v2v"]
    apart = torch.cat([network.decode(part) for part in latents.split(3, 2)], 2)
    assert close(apart, data, "decode.first_yield_of_v2v")
    together = network.decode(latents)
    assert together.shape[2] == 16 and torch.equal(together[:, :, :13], apart)


@pytest.mark.parametrize("frames", [8, 12, 16, 24])
def test_every_latent_frame_is_four_frames(vae, frames):
    latents = vae.encode(video(frames))
    assert latents.shape == (1, 16, frames // 4, 4, 5)
    assert vae.decode(latents).shape == (1, 3, frames, 32, 40)


def test_latents_are_unscaled_before_they_are_rounded(vae):
    rounded = MagiVAE(TINY).bfloat16().requires_grad_(False)
    rounded.load_state_dict(vae.state_dict())
    latents = torch.randn(1, 16, 3, 4, 5)
    assert torch.equal(rounded.decode(latents), rounded.decoder((latents / SCALE).bfloat16()))


def test_latents_are_scaled_means(vae):
    x = video(12)
    assert torch.allclose(vae.encode(x), SCALE * vae.encoder(x))
    latents = torch.randn(1, 16, 3, 4, 5)
    assert torch.allclose(vae.decode(latents), vae.decoder(latents / SCALE))


def test_a_chunk_is_two_tiles_in_time(vae):
    x = video(24)
    assert torch.equal(vae.encode(x), torch.cat([vae.encode(x[:, :, :12]), vae.encode(x[:, :, 12:])], 2))
    latents = torch.randn(1, 16, 6, 4, 5)
    halves = torch.cat([vae.decode(latents[:, :, :3]), vae.decode(latents[:, :, 3:])], 2)
    assert torch.equal(vae.decode(latents), halves)


def test_an_image_is_a_still_of_four_frames(vae):
    image = video(1)
    assert torch.equal(vae.encode(image), vae.encode(image.repeat(1, 1, 4, 1, 1)))


def test_odd_lengths_are_refused(vae):
    with pytest.raises(ValueError, match="7 frames.*such as 4"):
        vae.encode(video(7))


def test_large_frames_are_tiled(vae):
    x = video(4, 264, 192)
    latents = vae.encode(x)
    assert latents.shape == (1, 16, 1, 33, 24)
    assert torch.allclose(latents[..., :24, :], SCALE * vae.encoder(x[..., :256, :])[..., :24, :], atol=1e-5)
    decoded = vae.decode(latents)
    assert decoded.shape == (1, 3, 1, 264, 192)
    top, bottom = (vae.decoder(part / SCALE) for part in (latents[..., :32, :], latents[..., 24:, :]))
    weight = (torch.arange(64) / 64)[:, None]
    shared = top[..., 192:, :] * (1 - weight) + bottom[..., :64, :] * weight
    expected = torch.cat([top[..., :192, :], shared, bottom[..., 64:, :]], -2)
    assert torch.allclose(decoded, expected[:, :, :1], atol=1e-5)


def test_neighbours_before_or_after_blending():
    """Four tiles of constants 1 to 4 (row by row), at most 4 pixels wide with 2 shared."""

    def run(chained):
        values = iter((1.0, 2.0, 3.0, 4.0))
        return tiled(lambda x: torch.full_like(x, next(values)), torch.zeros(4, 4), 4, 2, 2, chained)

    for y in (run(False), run(True)):
        assert torch.equal(y[:2, :2], torch.tensor([[1.0, 1.0], [1.0, 1.0]]))
        assert torch.equal(y[0, 2:], torch.tensor([1.0, 1.5]))
        assert torch.equal(y[2:, 0], torch.tensor([1.0, 2.0]))
    # last tile, from above (2 and 3 at half weight), then from the left: 3, or what the left tile became
    assert torch.equal(run(False)[2:4, 2:4], torch.tensor([[3.0, 2.5], [3.0, 3.0]]))
    assert torch.equal(run(True)[2:4, 2:4], torch.tensor([[1.0, 1.25], [2.0, 2.375]]))


def test_tiles_of_one_picture_join_without_a_trace():
    x = torch.rand(1, 1, 448, 700)
    for chained in (False, True):
        assert torch.allclose(tiled(lambda y: y, x, 256, 64, 64, chained), x, atol=1e-6)


@pytest.mark.parametrize("side, tiles", [(24, 1), (25, 2), (32, 2), (48, 2), (50, 3), (100, 5)])
def test_a_tile_starts_at_every_stride(side, tiles):
    """The release has as many tiles as strides of 24 latent pixels, also where the last one brings little that is
    new."""
    widths = []
    y = tiled(lambda x: widths.append(x.shape[-1]) or x, torch.rand(1, 10, side), 32, 8, 8, False)
    assert len(widths) == tiles and y.shape == (1, 10, side)
