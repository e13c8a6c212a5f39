"""Load AR Video Model: layouts, shards, storage types, and files that are not what they should be."""

import folder_paths
import pytest
import torch
from safetensors.torch import load_file, save_file
from scope_pack.nodes.comfy.loading import ModelFileError, load_ar_model, model_names, model_paths
from scope_pack.nodes.loaders import LoadARModel
from scope_pack.scope_core.networks.skyreels_keys import NotARVideoModelError
from scope_pack.scope_core.networks.wan import WanConfig, WanTransformer


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A diffusion_models folder of our own."""
    monkeypatch.setitem(
        folder_paths.folder_names_and_paths,
        "diffusion_models",
        ([str(tmp_path)], {".safetensors", ".sft", ".ckpt", ".pt"}),
    )
    folder_paths.filename_list_cache.clear()
    yield tmp_path
    folder_paths.filename_list_cache.clear()


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return {
        key: value.detach().clone() for key, value in WanTransformer(WanConfig(256, 512, 2, 2)).state_dict().items()
    }


def weights(patcher):
    return patcher.model.diffusion_model.state_dict()


@pytest.mark.parametrize("prefix", ["", "model.", "model.diffusion_model.", "diffusion_model."])
def test_prefixed_files_load_every_weight(folder, state, prefix):
    save_file({prefix + key: value for key, value in state.items()}, folder / "a.safetensors")
    model = LoadARModel.execute("a.safetensors", "fp32", "24").args[0]
    assert all(torch.equal(weights(model)[key], value) for key, value in state.items())
    assert model.cached_patcher_init[0](*model.cached_patcher_init[1]).model is not model.model


def test_shards_appear_once_and_load_together(folder, state):
    keys = sorted(state)
    for i in range(3):
        save_file({key: state[key] for key in keys[i::3]}, folder / f"sky-{i + 1:05d}-of-00003.safetensors")
    assert model_names() == ["sky-00001-of-00003.safetensors"]
    model = load_ar_model(model_paths("sky-00001-of-00003.safetensors"), 24, {"dtype": torch.float32})
    assert all(torch.equal(weights(model)[key], value) for key, value in state.items())
    (folder / "sky-00002-of-00003.safetensors").unlink()
    with pytest.raises(ModelFileError, match="sky-00002-of-00003"):
        model_paths("sky-00001-of-00003.safetensors")


@pytest.mark.parametrize(
    "choice, dtype",
    [("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32), ("fp8_e4m3fn", torch.float8_e4m3fn)],
)
def test_storage_types(folder, state, choice, dtype):
    save_file(state, folder / "a.safetensors")
    model = LoadARModel.execute("a.safetensors", choice, "24").args[0]
    assert weights(model)["blocks.0.ffn.0.weight"].dtype == dtype


def test_fp8_file_keeps_its_storage(folder, state):
    save_file(
        {key: value.to(torch.float8_e4m3fn) if value.ndim == 2 else value for key, value in state.items()},
        folder / "a.safetensors",
    )
    model = LoadARModel.execute("a.safetensors", "fp8_e4m3fn", "24").args[0]
    assert weights(model)["blocks.0.ffn.0.weight"].dtype == torch.float8_e4m3fn


def test_files_that_are_something_else(folder, state):
    (folder / "pickle.ckpt").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(ModelFileError, match="safetensors"):
        model_paths("pickle.ckpt")
    save_file(state, folder / "whole.safetensors")
    (folder / "cut.safetensors").write_bytes((folder / "whole.safetensors").read_bytes()[:5000])
    with pytest.raises(ModelFileError, match="damaged or its download was cut off"):
        load_ar_model([str(folder / "cut.safetensors")], 24, {})
    save_file({"encoder.weight": torch.zeros(1)}, folder / "vae.safetensors")
    with pytest.raises(NotARVideoModelError, match="VAE or text encoder"):
        load_ar_model([str(folder / "vae.safetensors")], 24, {})
    save_file({**state, "img_emb.proj.0.weight": torch.zeros(1)}, folder / "i2v.safetensors")
    with pytest.raises(NotARVideoModelError, match="image-to-video"):
        load_ar_model([str(folder / "i2v.safetensors")], 24, {})


def test_lora_changes_the_model(folder, state):
    """Law 8: a weight patch, as LoRA loaders make them, works on the loaded model."""
    save_file(state, folder / "a.safetensors")
    model = LoadARModel.execute("a.safetensors", "fp32", "24").args[0]
    key = "diffusion_model.blocks.0.self_attn.q.weight"
    assert model.add_patches({key: ("diff", (torch.ones(256, 256),))}) == [key] or key in model.patches


def test_demo_reads_its_own_files():
    from scope_pack.nodes.comfy import demo

    model, clip, vae = demo.load_demo_model(), demo.load_demo_clip(), demo.DemoVideoVAE()
    features = clip.encode_from_tokens_scheduled(clip.tokenize("a (red:1.5) circle, nonsense"))[0][0]
    plain = clip.encode_from_tokens_scheduled(clip.tokenize("red circle"))[0][0]
    assert (
        features.shape == (1, 8, 64)
        and torch.allclose(features[:, 0], 1.5 * plain[:, 0])
        and torch.equal(features[:, 1], plain[:, 1])
    )
    pixels = torch.rand(9, 128, 128, 3)
    latents = vae.encode(pixels)
    assert latents.shape == (1, 16, 3, 8, 8) and vae.decode(latents).shape == (1, 9, 128, 128, 3)
    assert vae.decode_tiled(latents, tile_x=8, tile_y=8, overlap=2, tile_t=8, overlap_t=2).shape[1] == 9
    stored = load_file(demo.TRANSFORMERS["skyreels"])
    assert torch.equal(weights(model)["head.head.weight"], stored["head.head.weight"].float())
