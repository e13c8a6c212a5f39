"""Checkpoints: key layouts, the fps branch, and what a file is."""

import pytest
import torch
from diffusers import SkyReelsV2Transformer3DModel

from scope_core.networks.skyreels_keys import (
    FPS_KEYS,
    FPS_TARGET,
    PREFIXES,
    NotARVideoModelError,
    check_weights,
    fold_fps,
    fps_offset,
    identify,
    official_key,
    suspicion,
    to_official,
)
from scope_core.networks.wan import WanConfig, WanTransformer

CONFIG = WanConfig(dim=64, ffn_dim=96, num_heads=2, num_layers=2, text_dim=24)


def diffusers_model(fps):
    torch.manual_seed(0)
    model = SkyReelsV2Transformer3DModel(
        num_attention_heads=2,
        attention_head_dim=32,
        in_channels=16,
        out_channels=16,
        text_dim=24,
        freq_dim=256,
        ffn_dim=96,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        inject_sample_info=fps,
    )
    for p in model.requires_grad_(False).parameters():
        p.add_(torch.randn_like(p) * 0.02)
    return model.eval()


def ours(state):
    model = WanTransformer(CONFIG)
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def inputs():
    generator = torch.Generator().manual_seed(1)
    x, context = torch.randn(2, 16, 3, 4, 6, generator=generator), torch.randn(2, 7, 24, generator=generator)
    return x, torch.tensor([[0, 337, 999], [20, 500, 940]]), context


def difference(reference, model):
    x, t, context = inputs()
    with torch.inference_mode():
        expected = reference(
            hidden_states=x, timestep=t, encoder_hidden_states=context, enable_diffusion_forcing=True
        ).sample
        return (model(x, t, context) - expected).abs().max()


def test_diffusers_layout_maps_one_to_one_and_computes_the_same():
    """docs/architecture.md, law 2: keys and shapes are those of the official layout, and the output is equal within
    2e-5."""
    reference = diffusers_model(fps=False)
    state = to_official(reference.state_dict())
    expected = WanTransformer(CONFIG).state_dict()
    assert len(state) == len(reference.state_dict())
    assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in expected.items()}
    assert difference(reference, ours(state)) <= 2e-5


@pytest.mark.parametrize("rate, index", [(24, 1), (16, 0)])
def test_folded_fps_branch_computes_the_same(rate, index):
    """docs/skyreels.md 2.2: the branch is constant over time and frames, so it is a bias. Index 0 is 16 fps."""
    reference = diffusers_model(fps=True)
    state = to_official(reference.state_dict())
    assert set(FPS_KEYS) == set(state) - set(WanTransformer(CONFIG).state_dict())
    x, t, context = inputs()
    one = [x[:1], t[:1], context[:1]]
    with torch.inference_mode():
        expected = reference(
            hidden_states=one[0],
            timestep=one[1],
            encoder_hidden_states=one[2],
            enable_diffusion_forcing=True,
            fps=[index],
            return_dict=False,
        )[0]
        folded, dropped = (
            ours({k: v for k, v in s.items() if k not in FPS_KEYS})(*one) for s in (fold_fps(state, rate), state)
        )
    assert (folded - expected).abs().max() <= 2e-5
    assert (dropped - expected).abs().max() > 1e-3


def test_folding_leaves_the_file_alone_and_is_needed_only_once():
    state = to_official(diffusers_model(fps=True).state_dict())
    before = state[FPS_TARGET].clone()
    folded = fold_fps(state, 24)
    assert torch.equal(state[FPS_TARGET], before) and FPS_KEYS[0] in state
    assert torch.allclose(folded[FPS_TARGET], before + fps_offset(state, 24))
    assert fold_fps(folded, 24) is folded


@pytest.mark.parametrize(
    "stored, kept",
    [(torch.float16, torch.float16), (torch.bfloat16, torch.bfloat16), (torch.float8_e4m3fn, torch.float32)],
)
def test_folded_bias_keeps_its_type_unless_that_is_too_coarse(stored, kept):
    state = to_official(diffusers_model(fps=True).state_dict())
    expected = state[FPS_TARGET].to(stored).float() + fps_offset(state, 24)
    folded = fold_fps({**state, FPS_TARGET: state[FPS_TARGET].to(stored)}, 24)[FPS_TARGET]
    assert folded.dtype == kept
    assert torch.allclose(folded.float(), expected, rtol=1e-2)


@pytest.mark.parametrize("prefix", ["", *PREFIXES])
def test_prefixes_are_dropped_from_either_layout(prefix):
    for fps in (False, True):
        state = diffusers_model(fps).state_dict()
        official = set(to_official(state))
        assert {official_key(prefix + key) for key in state} == official
        assert {official_key(prefix + key) for key in official} == official


def shapes(dim, fps=False, channels=16, **more):
    keys = {
        "patch_embedding.weight": (dim, channels, 1, 2, 2),
        "head.modulation": (1, 2, dim),
        "blocks.0.norm3.weight": (dim,),
    }
    return {**keys, **({FPS_KEYS[0]: (2, dim)} if fps else {}), **more}


@pytest.mark.parametrize(
    "dim, fps, name",
    [
        (1536, True, "SkyReels-V2 DF 1.3B"),
        (5120, False, "SkyReels-V2 DF 14B"),
        (384, False, "diffusion-forcing Wan, width 384"),
    ],
)
def test_models_are_told_by_their_shapes(dim, fps, name):
    assert identify(shapes(dim, fps), "file.safetensors") == name


@pytest.mark.parametrize(
    "given, parts",
    [
        (shapes(1536), ["Wan2.1 T2V 1.3B", "fps_embedding.weight", "SkyReels-V2-DF"]),
        (shapes(5120, channels=36), ["36 latent channels", "takes 16"]),
        (shapes(5120, **{"img_emb.proj.0.weight": (1280,)}), ["image-to-video Wan", "SkyReels-V2-DF"]),
        (shapes(1536, **{"vace_patch_embedding.weight": (1536, 96, 1, 2, 2)}), ["Wan VACE", "SkyReels-V2-DF"]),
        (shapes(5120, **{"control_adapter.conv.weight": (1,)}), ["camera-control"]),
        (shapes(5120, **{"patch_embedding_pose.weight": (1,)}), ["pose model"]),
        (
            {"encoder.conv1.weight": (96, 3, 3, 3, 3), "decoder.conv1.weight": (384, 16, 3, 3, 3)},
            ["VAE or text encoder", "models/vae"],
        ),
        (
            {"shared.weight": (256384, 4096), "encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096)},
            ["models/text_encoders"],
        ),
        (shapes(5120, **{"head.modulation": ()}), ["head.modulation has shape []", "[1, 2, width]", "again"]),
        (shapes(5120, **{"head.modulation": (5120,)}), ["head.modulation has shape [5120]", "[1, 2, width]"]),
        (shapes(5120, **{"patch_embedding.weight": (5120,)}), ["patch_embedding.weight has shape [5120]"]),
        ({"model.layers.0.weight": (8, 8)}, ["patch_embedding, head.modulation", "SkyReels-V2-DF"]),
        ({}, ["lacks the Wan transformer's keys"]),
    ],
    ids=[
        "1.3B without fps",
        "channels",
        "image to video",
        "vace",
        "camera",
        "pose",
        "vae",
        "text encoder",
        "0-d modulation",
        "1-d modulation",
        "1-d patches",
        "other",
        "empty",
    ],
)
def test_other_files_are_answered(given, parts):
    """docs/architecture.md, law 7: the message says what the file is and which one to choose."""
    with pytest.raises(NotARVideoModelError) as error:
        identify(given, "file.safetensors")
    assert [part for part in ["file.safetensors", *parts] if part not in str(error.value)] == []


@pytest.mark.parametrize(
    "path, suspected",
    [
        ("wan2.1_t2v_14B_fp16.safetensors", True),
        ("Wan2_1-SkyReels-V2-DF-14B-720P_fp16.safetensors", False),
        ("SKYREELS_14b.safetensors", False),
        ("my-df.safetensors", False),
        ("my_df_14B.safetensors", False),
        ("wan-diffusion_forcing-14B.safetensors", False),
        ("pdf.safetensors", True),
        ("SkyReels-V2-DF-14B-540P/model-00001-of-00012.safetensors", False),
        ("SkyReels-V2-DF-14B-720P-Diffusers/transformer/diffusion_pytorch_model-00001-of-00006.safetensors", False),
        ("SkyReels-V2-T2V-14B-540P/model-00001-of-00012.safetensors", True),
        ("SkyReels-V2-T2V-14B-720P-Diffusers/transformer/diffusion_pytorch_model-00001-of-00006.safetensors", True),
        ("Wan2_1-SkyReels-V2-T2V-14B-720P_fp16.safetensors", True),
        ("SkyReels-V2-DF/Wan2_1-SkyReels-V2-T2V-14B_fp16.safetensors", True),
        ("t2v/SkyReels-V2-DF-14B.safetensors", False),
        ("skyreels/14B.safetensors", False),
        ("df/models/diffusion_models/unet/wan_14B.safetensors", True),
        ("diffusion_models/model-00001-of-00012.safetensors", True),
    ],
)
def test_only_names_of_file_and_folders_tell_a_14b_model_from_plain_wan(path, suspected):
    message = suspicion("SkyReels-V2 DF 14B", f"/models/{path}")
    assert bool(message) == suspected
    assert not suspected or (path.split("/")[-1] in message and "not trained for diffusion forcing" in message)
    assert suspicion("SkyReels-V2 DF 1.3B", path) == ""


def tiny(fps=True):
    """A checkpoint in the official layout with heads of 128, as the host expects."""
    state = WanTransformer(WanConfig(dim=128, ffn_dim=96, num_heads=1, num_layers=2, text_dim=4096)).state_dict()
    branch = [torch.zeros(2, 128), torch.zeros(128, 128), torch.zeros(128), torch.zeros(768, 128), torch.zeros(768)]
    return state | (dict(zip(FPS_KEYS, branch)) if fps else {})


@pytest.mark.parametrize("fps", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_whole_checkpoints_are_accepted(fps, dtype):
    check_weights({key: value.to(dtype) for key, value in tiny(fps).items()}, "file.safetensors")


def without(*keys):
    return {key: value for key, value in tiny().items() if key not in keys}


@pytest.mark.parametrize(
    "state, parts",
    [
        (without("blocks.1.ffn.2.weight"), ["lacks 1 weights", "blocks.1.ffn.2.weight", "first file"]),
        (without("blocks.0.ffn.0.weight"), ["lacks 1 weights", "blocks.0.ffn.0.weight"]),
        (without(FPS_KEYS[3]), ["lacks 1 weights", FPS_KEYS[3]]),
        (
            {key: value for key, value in tiny().items() if not key.startswith("blocks.")},
            ["such as blocks.0.cross_attn.k.bias"],
        ),
        (tiny() | {"head.head.weight": torch.zeros(128, 64)}, ["head.head.weight", "[128, 64]", "[64, 128]"]),
        (tiny() | {"blocks.0.ffn.0.weight": torch.zeros(())}, ["blocks.0.ffn.0.weight has shape []"]),
        (tiny() | {"text_embedding.0.weight": torch.zeros(128, 64)}, ["[128, 64]", "[128, 4096]"]),
        (tiny() | {"head.modulation": torch.zeros(1, 2, 64)}, ["width 64", "heads of 128"]),
        ({key: value.to(torch.int8) for key, value in tiny().items()}, ["as int8", "scales", "bf16, fp16 or fp8"]),
    ],
    ids=["weight", "width of ffn", "fps", "blocks", "turned", "no shape", "text", "heads", "int8"],
)
def test_damaged_checkpoints_are_answered(state, parts):
    with pytest.raises(NotARVideoModelError) as error:
        check_weights(state, "file.safetensors")
    assert [part for part in ["file.safetensors", *parts] if part not in str(error.value)] == []


def test_quantised_layers_have_shapes_of_their_own():
    key = "blocks.0.ffn.0"
    packed = {f"{key}.weight": torch.zeros(96, 64, dtype=torch.uint8), f"{key}.comfy_quant": torch.zeros(1)}
    check_weights(tiny() | packed, "file.safetensors")
    with pytest.raises(NotARVideoModelError, match="96, 64"):
        check_weights(tiny() | {f"{key}.weight": packed[f"{key}.weight"]}, "file.safetensors")
