"""Load AR Video Model: layouts, shards, storage types, and files that are not what they should be."""

import comfy.model_management
import comfy.ops
import folder_paths
import pytest
import torch
from safetensors.torch import load_file, save_file
from scope_pack.nodes.comfy import loading
from scope_pack.nodes.comfy.loading import ModelFileError, load_ar_model, model_names, model_paths
from scope_pack.nodes.loaders import LoadARModel
from scope_pack.scope_core.networks.skyreels_keys import FPS_KEYS, FPS_TARGET, NotARVideoModelError, fold_fps
from scope_pack.scope_core.networks.wan import WanConfig, WanTransformer

FPS_SHAPES = ((2, 256), (256, 256), (256,), (1536, 256), (1536,))


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
    return {key: value.cpu() for key, value in patcher.model.diffusion_model.state_dict().items()}


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


def is_block_matrix(key, value):
    return key.startswith("blocks.") and key.endswith(".weight") and value.ndim == 2


def velocity(patcher):
    """Computed where and as the host does."""
    comfy.model_management.load_models_gpu([patcher])
    where = {"device": patcher.load_device, "dtype": patcher.model.get_dtype_inference()}
    generator = torch.Generator().manual_seed(1)
    x, context = torch.randn(1, 16, 3, 4, 6, generator=generator), torch.randn(1, 9, 4096, generator=generator)
    t = torch.tensor([[0.0, 337.0, 999.0]], device=patcher.load_device)
    return patcher.model.diffusion_model(x.to(**where), t, context.to(**where)).float()


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mixed", [False, True], ids=["whole file", "mixed file"])
def test_fp8_is_for_the_matrices_of_the_blocks_alone(folder, state, stored, mixed, monkeypatch):
    """Everything else stays as in the file, which more than halves the error; a mixed file is left alone."""
    fp8 = torch.float8_e4m3fn
    branch = {key: torch.randn(shape) * 0.05 for key, shape in zip(FPS_KEYS, FPS_SHAPES)}
    whole = {key: value.to(stored) for key, value in (state | branch).items()}
    save_file(whole, folder / "whole.safetensors")
    given = {key: value.to(fp8) if mixed and is_block_matrix(key, value) else value for key, value in whole.items()}
    save_file(given, folder / "given.safetensors")

    def error(name, dtype):
        reference = velocity(LoadARModel.execute("whole.safetensors", "fp32", "24").args[0])
        return (velocity(LoadARModel.execute(name, dtype, "24").args[0]) - reference).square().mean().sqrt()

    seen = weights(LoadARModel.execute("given.safetensors", "fp8_e4m3fn", "24").args[0])
    assert {key for key, value in seen.items() if value.dtype == fp8} == {
        key for key, value in state.items() if is_block_matrix(key, value)
    }
    kept = {key: value for key, value in seen.items() if key not in (*FPS_KEYS, FPS_TARGET, "patch_embedding.weight")}
    assert all(torch.equal(value, whole[key].to(value.dtype)) for key, value in kept.items())
    assert {value.dtype for value in kept.values()} == {fp8, stored}
    assert seen[FPS_TARGET].dtype == stored and torch.allclose(seen[FPS_TARGET], fold_fps(whole, 24)[FPS_TARGET])
    careful = error("given.safetensors", "fp8_e4m3fn")
    monkeypatch.setattr(loading, "keep_precision", lambda *what: None)
    assert careful < 0.5 * error("given.safetensors", "fp8_e4m3fn")


def test_scaled_matrix_products_take_a_model_of_two_types(folder, state):
    """ComfyUI's own fp8 operations, which `--fast fp8_matrix_mult` chooses on a GPU."""
    save_file({key: value.bfloat16() for key, value in state.items()}, folder / "a.safetensors")
    options = {"dtype": torch.float8_e4m3fn, "custom_operations": comfy.ops.fp8_ops}
    exact, scaled = (load_ar_model([str(folder / "a.safetensors")], 24, chosen) for chosen in ({}, options))
    assert (velocity(exact) - velocity(scaled)).square().mean() < 0.05**2 * velocity(exact).square().mean()


def test_a_lora_reaches_what_was_kept_out_of_fp8(folder, state):
    save_file({key: value.bfloat16() for key, value in state.items()}, folder / "a.safetensors")
    model = LoadARModel.execute("a.safetensors", "fp8_e4m3fn", "24").args[0]
    keys = ("time_projection.1.bias", "blocks.0.self_attn.q.weight")
    model.add_patches({f"diffusion_model.{key}": ("diff", (torch.ones_like(state[key]),)) for key in keys})
    comfy.model_management.load_models_gpu([model], force_patch_weights=True)
    for key in keys:
        assert (weights(model)[key].float() - state[key]).mean() == pytest.approx(1, abs=0.03)
    model.unpatch_model()
    assert torch.equal(weights(model)[keys[0]], state[keys[0]].bfloat16())


def test_a_file_that_numbers_itself_oddly_is_one_file(folder, state):
    for name in ("m-00001-of-00000.safetensors", "n-00000-of-00003.safetensors"):
        save_file(state, folder / name)
        assert name in model_names() and model_paths(name) == [str(folder / name)]
        assert LoadARModel.execute(name, "fp32", "24").args[0] is not None


@pytest.mark.parametrize(
    "change, words",
    [
        ({"head.modulation": torch.zeros(())}, r"head.modulation has shape \[\]"),
        ({"head.modulation": torch.zeros(256)}, r"head.modulation has shape \[256\]"),
        ({"blocks.1.self_attn.q.weight": torch.zeros(256, 255)}, r"q.weight has shape \[256, 255\].*\[256, 256\]"),
        ({"blocks.1.self_attn.q.weight": None}, "lacks 1 weights, such as blocks.1.self_attn.q.weight"),
        ({"fps_embedding.weight": torch.zeros(2, 256)}, "lacks 4 weights, such as fps_projection.0.bias"),
    ],
    ids=["no shape", "one dimension", "wrong shape", "missing", "part of the fps branch"],
)
def test_damaged_weights_are_answered(folder, state, change, words):
    given = {key: value for key, value in (state | change).items() if value is not None}
    save_file(given, folder / "bad.safetensors")
    with pytest.raises(NotARVideoModelError, match=f"bad.safetensors.*{words}"):
        LoadARModel.execute("bad.safetensors", "fp32", "24")


@pytest.mark.parametrize("dtype", ["default", "bf16", "fp8_e4m3fn"])
def test_whole_numbers_without_scales_are_answered(folder, state, dtype):
    save_file({key: (value * 9).to(torch.int8) for key, value in state.items()}, folder / "int8.safetensors")
    with pytest.raises(NotARVideoModelError, match="int8.safetensors stores .* as int8.*bf16, fp16 or fp8"):
        LoadARModel.execute("int8.safetensors", dtype, "24")


def test_metadata_that_cannot_be_read_is_answered(folder, state):
    save_file(state, folder / "a.safetensors", {"config": "{"})
    with pytest.raises(ModelFileError, match="a.safetensors has a `config` in its metadata"):
        LoadARModel.execute("a.safetensors", "fp32", "24")


def test_a_folder_can_tell_what_a_file_is(folder, state, monkeypatch, caplog):
    monkeypatch.setattr(loading, "identify", lambda shapes, name: "SkyReels-V2 DF 14B")
    for name, suspected in (("SkyReels-V2-DF-14B-540P", False), ("SkyReels-V2-T2V-14B-540P", True)):
        (folder / name).mkdir()
        save_file(state, folder / name / "model-00001-of-00001.safetensors")
        caplog.clear()
        load_ar_model(model_paths(f"{name}/model-00001-of-00001.safetensors"), 24, {})
        assert ("not trained for diffusion forcing" in caplog.text) == suspected


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
    second = clip.tokenize("a red circle and (a blue star:1.5)")["scope_demo"][0]
    assert second[:4] == clip.tokenize("red circle and (blue:1.5) (star:1.5)")["scope_demo"][0][:4]
    assert second[3][1] == 1.5 and second[3][0] != clip.tokenize("star")["scope_demo"][0][0][0]
    pixels = torch.rand(9, 128, 128, 3)
    latents = vae.encode(pixels)
    assert latents.shape == (1, 16, 3, 8, 8) and vae.decode(latents).shape == (1, 9, 128, 128, 3)
    assert vae.decode_tiled(latents, tile_x=8, tile_y=8, overlap=2, tile_t=8, overlap_t=2).shape[1] == 9
    stored = load_file(demo.TRANSFORMERS["skyreels"])
    assert torch.equal(weights(model)["head.head.weight"], stored["head.head.weight"].float())
