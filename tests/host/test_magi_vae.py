"""Load MAGI-1 VAE: core's four VAE nodes against the plain network, files that are something else, and what the host is
told about memory."""

import logging
import weakref

import comfy.model_management
import folder_paths
import pytest
import torch
from safetensors.torch import save_file
from scope_pack.nodes.comfy.loading import ModelFileError
from scope_pack.nodes.comfy.magi_vae import StreamedMagiVAE, load_magi_vae
from scope_pack.nodes.loaders import LoadMagiVAE
from scope_pack.scope_core.networks.magi_vae import SCALE, MagiVAE, MagiVaeConfig
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import nodes

TINY = MagiVaeConfig(dim=256, depth=1, ffn=64, grid=4)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    network = MagiVAE(TINY).requires_grad_(False)
    for half in (network.encoder, network.decoder):
        half.pos_embed.normal_()
    return network.state_dict()


class Plain:
    """The plain network where the host computes too: on another device the sums are rounded otherwise."""

    def __init__(self, state):
        self.device = comfy.model_management.vae_device()
        self.network = MagiVAE(TINY).requires_grad_(False).to(self.device)
        self.network.load_state_dict(state)

    def encode(self, video):
        return self.network.encode(video.to(self.device)).cpu()

    def decode(self, means):
        return self.network.decode(means.to(self.device)).cpu()


@pytest.fixture(scope="module")
def network(state):
    return Plain(state)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A vae folder of our own."""
    path = tmp_path_factory.mktemp("vae")
    before = folder_paths.folder_names_and_paths["vae"]
    folder_paths.folder_names_and_paths["vae"] = ([str(path)], {".safetensors", ".pt"})
    folder_paths.filename_list_cache.clear()
    yield path
    folder_paths.folder_names_and_paths["vae"] = before
    folder_paths.filename_list_cache.clear()


@pytest.fixture(scope="module")
def vae(folder, state):
    """In single precision, which a GPU would not choose."""
    save_file(state, folder / "magi.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comfy.model_management, "vae_dtype", lambda *_: torch.float32)
        return LoadMagiVAE.execute("magi.safetensors").args[0]


def images(frames, height=48, width=80):
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(1))


def latents(frames, height, width):
    return torch.randn(1, 16, frames, height, width, generator=torch.Generator().manual_seed(2))


def as_video(pixels):
    return (pixels * 2 - 1).movedim(-1, 0)[None]


def as_images(video):
    return ((video + 1) / 2).clamp(0, 1)[0].movedim(0, -1)


def encodings(vae, pixels):
    plain = nodes.VAEEncode().encode(vae, pixels)[0]["samples"]
    tiled = [
        nodes.VAEEncodeTiled().encode(vae, pixels, *sizes)[0]["samples"] for sizes in ((512, 64, 64, 8), (64, 32, 8, 4))
    ]
    return [plain, *tiled]


def decodings(vae, samples):
    plain = nodes.VAEDecode().decode(vae, {"samples": samples})[0]
    tiled = [
        nodes.VAEDecodeTiled().decode(vae, {"samples": samples}, *sizes)[0]
        for sizes in ((512, 64, 64, 8), (64, 32, 8, 4))
    ]
    return [plain, *tiled]


@pytest.mark.parametrize("frames, height, width", [(1, 48, 80), (24, 48, 80), (4, 272, 480)])
def test_nodes_give_what_the_network_gives(vae, network, frames, height, width):
    pixels = images(frames, height, width)
    expected = network.encode(as_video(pixels))
    assert expected.shape == (1, 16, max(1, frames // 4), height // 8, width // 8)
    for encoded in encodings(vae, pixels):
        torch.testing.assert_close(encoded, expected)
    expected = as_images(network.decode(expected))
    for decoded in decodings(vae, encoded):
        assert decoded.shape == (1 if frames <= 4 else frames, height, width, 3)
        torch.testing.assert_close(decoded, expected)


@pytest.mark.parametrize("frames, kept", [(10, 8), (13, 12), (3, 1)])
def test_lengths_are_cut_with_a_warning(vae, network, caplog, frames, kept):
    pixels = images(frames)
    with caplog.at_level(logging.WARNING):
        for encoded in encodings(vae, pixels):
            torch.testing.assert_close(encoded, network.encode(as_video(pixels[:kept])))
    assert f"of {frames} frames the first {kept} are encoded" in caplog.text


def test_sides_are_cut_at_both_ends(vae, network):
    pixels = images(4, 53, 80)
    for encoded in encodings(vae, pixels):
        torch.testing.assert_close(encoded, network.encode(as_video(pixels[:, 2:50])))


def test_a_single_latent_frame_is_a_picture_and_left_over_it_is_four_frames(vae, network):
    samples = latents(4, 4, 5)
    for decoded in decodings(vae, samples):
        torch.testing.assert_close(decoded, as_images(network.decode(samples)))
        assert len(decoded) == 16
    for picture in decodings(vae, samples[:, :, 3:]):
        torch.testing.assert_close(picture, decoded[12:13])


def test_in_bf16_latents_are_unscaled_before_they_are_rounded(folder, vae, monkeypatch):
    monkeypatch.setattr(comfy.model_management, "vae_dtype", lambda *_: torch.bfloat16)
    rounded, samples = load_magi_vae(str(folder / "magi.safetensors")), latents(3, 4, 5)
    comfy.model_management.load_models_gpu([rounded.patcher])
    expected = rounded.first_stage_model.decoder((samples / SCALE).to(rounded.device, torch.bfloat16)).cpu()
    for decoded in decodings(rounded, samples):
        assert torch.equal(decoded, as_images(expected.float()))


def test_batches(vae, network):
    samples = torch.cat([latents(3, 4, 5), -latents(3, 4, 5)])
    for decoded in decodings(vae, samples):
        torch.testing.assert_close(decoded, torch.cat([as_images(network.decode(sample[None])) for sample in samples]))


def test_what_other_nodes_ask(vae):
    assert (vae.temporal_compression_decode(), vae.spacial_compression_decode(), vae.spacial_compression_encode()) == (
        4,
        8,
        8,
    )
    assert [vae.upscale_ratio[0](frames) for frames in (1, 6)] == [1, 24]
    assert [vae.downscale_ratio[0](frames) for frames in (1, 3, 4, 24)] == [1, 1, 1, 6]
    assert (vae.latent_channels, vae.vae_dtype) == (16, torch.float32)


def test_cancel_stops_a_long_video(vae):
    for work in (lambda: vae.decode(latents(6, 4, 5)), lambda: vae.encode(images(24))):
        comfy.model_management.interrupt_current_processing()
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            work()


def test_the_network_can_be_made_again_for_another_device(vae, monkeypatch):
    monkeypatch.setattr(comfy.model_management, "vae_dtype", lambda *_: vae.vae_dtype)
    make, arguments = vae.patcher.cached_patcher_init
    again = make(*arguments)
    assert again.model is not vae.first_stage_model
    assert all(torch.equal(value.cpu(), again.model.state_dict()[key]) for key, value in vae.get_sd().items())


@pytest.mark.parametrize("prefix", ["vae.", "model.", "first_stage_model."])
def test_prefixed_and_half_precision_files(folder, state, prefix):
    given = {prefix + key: value.bfloat16() for key, value in state.items()}
    save_file(given | {"other.weight": torch.zeros(1)}, folder / "prefixed.safetensors")
    loaded = load_magi_vae(str(folder / "prefixed.safetensors")).get_sd()
    assert all(torch.equal(loaded[key].float(), value.bfloat16().float()) for key, value in state.items())


@pytest.mark.parametrize(
    "key, what",
    [
        ("decoder.middle.0.residual.0.gamma", "the VAE of Wan.*Load VAE"),
        ("decoder.mid_block.resnets.0.norm1.gamma", "VAE of another model.*Load VAE"),
        ("videodit_blocks.layers.0.mlp.linear_fc2.weight", "transformer of MAGI-1.*diffusion_models"),
        ("model.diffusion_model.head.modulation", "Load AR Video Model"),
        ("shared.weight", "text encoder.*Load CLIP"),
        ("lora_down.weight", "no autoencoder"),
    ],
)
def test_other_files(folder, key, what):
    save_file({key: torch.zeros(1)}, folder / "other.safetensors")
    with pytest.raises(ModelFileError, match=f"other.safetensors is not the MAGI-1 VAE.*{what}"):
        load_magi_vae(str(folder / "other.safetensors"))


def test_a_replaced_file_is_loaded_again(folder, vae):
    before = LoadMagiVAE.fingerprint_inputs("magi.safetensors")
    (folder / "magi.safetensors").touch()
    assert LoadMagiVAE.fingerprint_inputs("magi.safetensors") != before


def test_damaged_files_and_pickles(folder, vae):
    (folder / "cut.safetensors").write_bytes((folder / "magi.safetensors").read_bytes()[:5000])
    with pytest.raises(ModelFileError, match="cut.safetensors cannot be read.*5,000 bytes"):
        load_magi_vae(str(folder / "cut.safetensors"))
    with pytest.raises(ModelFileError, match="vae.pt is not a safetensors file"):
        load_magi_vae(str(folder / "vae.pt"))


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("encoder.blocks.0.mlp.fc2.bias", torch.tensor(1.0), r"fc2.bias has shape \[\], which has to be \[256\]"),
        ("decoder.norm.weight", None, "lacks 1 weights of the MAGI-1 VAE, such as decoder.norm.weight.*download"),
        ("decoder.proj_in.weight", torch.tensor(1.0), "is not the MAGI-1 VAE"),
        ("decoder.blocks.0.mlp.fc1.weight", None, "is not the MAGI-1 VAE"),
    ],
)
def test_weights_that_are_lost_or_of_other_shapes(folder, state, key, value, words):
    given = {**state, key: value}
    save_file({key: value for key, value in given.items() if value is not None}, folder / "odd.safetensors")
    with pytest.raises(ModelFileError, match=f"odd.safetensors.*{words}"):
        load_magi_vae(str(folder / "odd.safetensors"))


def test_full_size():
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in StreamedMagiVAE().state_dict().items()}
    assert len(shapes) == 2 * (2 + 24 * 10 + 2) + 6 + 2
    assert shapes["encoder.patch_embed.proj.weight"] == (1024, 3, 4, 8, 8)
    assert shapes["encoder.last_layer.weight"] == (32, 1024)
    assert shapes["decoder.proj_in.weight"] == (1024, 16)
    assert shapes["decoder.last_layer.weight"] == (3, 4, 3, 3, 3)
    for half in ("encoder", "decoder"):
        assert shapes[f"{half}.pos_embed"] == (1, 4097, 1024)
        assert shapes[f"{half}.blocks.23.attn.qkv.weight"] == (3072, 1024)
        assert shapes[f"{half}.blocks.23.mlp.fc1.bias"] == (4096,)


class Peak(TorchDispatchMode):
    """Most bytes of tensors made inside that were alive at once."""

    def __init__(self, *known):
        super().__init__()
        self.sizes = {value.untyped_storage()._cdata: 0 for value in known}
        self.now = self.most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **kwargs or {})
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor) and value.untyped_storage()._cdata not in self.sizes:
                storage = value.untyped_storage()
                self.sizes[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self.forget, storage._cdata)
        return result

    def forget(self, key):
        self.now -= self.sizes.pop(key)


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("frames, height, width", [(1, 10, 16), (3, 32, 32), (6, 34, 60)])
def test_memory_estimates(folder, vae, frames, height, width):
    """Of one device, to which weights and results belong."""
    vae = load_magi_vae(str(folder / "magi.safetensors"))
    samples, pixels = latents(frames, height, width), images(4 * frames, 8 * height, 8 * width)
    with Peak(samples, *vae.first_stage_model.parameters()) as decoding:
        vae.decode(samples)
    with Peak(pixels, *vae.first_stage_model.parameters()) as encoding:
        vae.encode(pixels)
    assert decoding.most <= vae.memory_used_decode(samples.shape, torch.float32) <= 2 * decoding.most
    assert encoding.most <= vae.memory_used_encode((1, 3, *pixels.shape[:3]), torch.float32) <= 2 * encoding.most


def test_long_videos_need_no_more_of_the_device(vae, monkeypatch):
    """Results that leave the device do not count; those that stay do (--gpu-only)."""
    monkeypatch.setattr(vae, "device", torch.device("cuda"))
    short, long = (vae.memory_used_decode((1, 16, frames, 90, 160), torch.bfloat16) for frames in (3, 300))
    assert short == long
    monkeypatch.setattr(vae, "output_device", torch.device("cuda"))
    assert vae.memory_used_decode((1, 16, 300, 90, 160), torch.bfloat16) == long + 4 * 3 * 1200 * 720 * 1280
