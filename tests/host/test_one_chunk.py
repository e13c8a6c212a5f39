"""Any flow MODEL as one chunk, beside the host's own sampler: bit for bit when nothing is skipped."""

import json
from types import SimpleNamespace

import comfy.model_sampling
import comfy.sample
import comfy.samplers
import comfy.sd
import pytest
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingSD3
from scope_pack.nodes import sampling
from scope_pack.nodes.comfy.families import family_of
from scope_pack.nodes.comfy.sampling import VideoSampler
from scope_pack.scope_core import FLOW, Gate
from scope_pack.scope_core.methods import TaylorSeer
from scope_pack.scope_core.settings import PRESETS, Settings

STEPS, SHIFT, SEED = 10, 5.0, 3
SIZE = (1, 16, 5, 8, 8)
NODE = SimpleNamespace(unique_id="1", dynprompt=SimpleNamespace(get_node=lambda name: {"class_type": "", "inputs": {}}))
SKIPPING = Settings(TaylorSeer(3), Gate(9, 0, 0))


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.setattr(sampling.events, "send_step", lambda *what: None)


def wan(kind="t2v"):
    """A tiny random Wan model as the host loads its files: text to video, image to video (with `c_concat`)."""
    shapes = {
        "patch_embedding.weight": (256, 36 if kind == "i2v" else 16, 1, 2, 2),
        "patch_embedding.bias": (256,),
        "text_embedding.0.weight": (256, 64),
        "text_embedding.0.bias": (256,),
        "text_embedding.2.weight": (256, 256),
        "text_embedding.2.bias": (256,),
        "time_embedding.0.weight": (256, 256),
        "time_embedding.0.bias": (256,),
        "time_embedding.2.weight": (256, 256),
        "time_embedding.2.bias": (256,),
        "time_projection.1.weight": (6 * 256, 256),
        "time_projection.1.bias": (6 * 256,),
        "head.modulation": (1, 2, 256),
        "head.head.weight": (64, 256),
        "head.head.bias": (64,),
    }
    for i in range(2):
        shapes |= {f"blocks.{i}.modulation": (1, 6, 256)}
        shapes |= {f"blocks.{i}.norm3.{what}": (256,) for what in ("weight", "bias")}
        shapes |= {f"blocks.{i}.ffn.0.weight": (512, 256), f"blocks.{i}.ffn.0.bias": (512,)}
        shapes |= {f"blocks.{i}.ffn.2.weight": (256, 512), f"blocks.{i}.ffn.2.bias": (256,)}
        for attention in ("self_attn", "cross_attn"):
            for part in "qkvo":
                shapes |= {f"blocks.{i}.{attention}.{part}.weight": (256, 256)}
                shapes |= {f"blocks.{i}.{attention}.{part}.bias": (256,)}
            shapes |= {f"blocks.{i}.{attention}.norm_{part}.weight": (256,) for part in "qk"}
        if kind == "i2v":
            shapes |= {f"blocks.{i}.cross_attn.{part}_img.weight": (256, 256) for part in "kv"}
            shapes |= {f"blocks.{i}.cross_attn.{part}_img.bias": (256,) for part in "kv"}
            shapes |= {f"blocks.{i}.cross_attn.norm_k_img.weight": (256,)}
    if kind == "i2v":
        for layer, shape in (0, (1280,)), (1, (1280, 1280)), (3, (256, 1280)), (4, (256,)):
            shapes |= {f"img_emb.proj.{layer}.weight": shape, f"img_emb.proj.{layer}.bias": shape[:1]}
    generator = torch.Generator().manual_seed(1)
    state = {key: torch.randn(shape, generator=generator) * 0.06 for key, shape in shapes.items()}
    told = {"config": json.dumps({"transformer": {"text_dim": 64}})}
    return comfy.sd.load_diffusion_model_state_dict(state, {"dtype": torch.float32}, told)


@pytest.fixture(scope="module")
def t2v():
    return wan()


@pytest.fixture(scope="module")
def i2v():
    return wan("i2v")


def prompts(image=False, strength=1.0):
    generator = torch.Generator().manual_seed(5)

    def prompt():
        options = {"pooled_output": None}
        if image:
            options |= {
                "concat_latent_image": torch.randn(SIZE, generator=generator),
                "concat_mask": torch.randint(0, 2, (1, 1, *SIZE[2:]), generator=generator).float(),
                "clip_vision_output": SimpleNamespace(
                    penultimate_hidden_states=torch.randn(1, 257, 1280, generator=generator)
                ),
            }
        return [[torch.randn(1, 7, 64, generator=generator) * strength, options]]

    return prompt(), prompt()


def latent(mask=False, size=SIZE):
    if not mask:
        return {"samples": torch.zeros(size)}
    generator = torch.Generator().manual_seed(6)
    known = torch.zeros(1, 1, *size[2:])
    known[:, :, 1:, 2:] = 1
    return {"samples": torch.randn(size, generator=generator), "noise_mask": known}


def stock(model, given, conds, cfg, steps=STEPS, sampler="euler", **more):
    """What the host's KSampler makes, scheduler simple."""
    samples = comfy.sample.fix_empty_latent_channels(model, given["samples"])
    noise = comfy.sample.prepare_noise(samples, SEED)
    return comfy.sample.sample(
        model,
        noise,
        steps,
        cfg,
        sampler,
        "simple",
        *conds,
        samples,
        noise_mask=given.get("noise_mask"),
        disable_pbar=True,
        seed=SEED,
        **more,
    )


def ours(model, given, conds, cfg, settings=PRESETS["off"], steps=STEPS, shift=SHIFT, solver="euler"):
    asked = sampling.Request(model, *conds, given, None, SEED, steps, cfg, shift, solver)
    made, run = sampling.render(NODE, asked, settings)
    return made["samples"], run.trace


def advanced(model, given, conds, cfg, sigmas, settings=PRESETS["off"], noise=True, solver="euler"):
    """What SamplerCustomAdvanced makes with SCOPE Sampler (Advanced)."""
    traces = []
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*conds)
    guider.set_cfg(cfg)
    x = comfy.sample.prepare_noise(given["samples"], SEED) if noise else torch.zeros_like(given["samples"])
    made = guider.sample(
        x,
        given["samples"],
        VideoSampler(None, settings, solver, traces.append),
        sigmas,
        given.get("noise_mask"),
        disable_pbar=True,
        seed=SEED,
    )
    return made, traces[0]


def shifted(model, shift=SHIFT):
    return ModelSamplingSD3().patch(model, shift)[0]


@pytest.mark.parametrize("mask", [False, True], ids=["whole", "noise mask"])
@pytest.mark.parametrize("cfg", [4.0, 1.0])
@pytest.mark.parametrize("kind", ["t2v", "i2v"])
def test_off_is_ksampler_bit_for_bit(request, kind, cfg, mask):
    model, conds, given = shifted(request.getfixturevalue(kind)), prompts(kind == "i2v"), latent(mask)
    assert family_of(model).family is FLOW
    expected = stock(model, given, conds, cfg)
    made, trace = ours(model, given, conds, cfg)
    assert torch.equal(made, expected)
    assert trace.forwards == STEPS * (1 if cfg == 1 else 2) and trace.totals["computed"] == STEPS
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    assert torch.equal(advanced(model, given, conds, cfg, sigmas)[0], expected)
