"""docs/architecture.md, law 2 through the host: loaded by our loader, guided by CFGGuider, equal to diffusers within
2e-5."""

from types import SimpleNamespace

import comfy.model_management
import numpy as np
import pytest
import torch
from comfy.ldm.wan.model import sinusoidal_embedding_1d
from diffusers import SkyReelsV2DiffusionForcingPipeline, SkyReelsV2Transformer3DModel, UniPCMultistepScheduler
from safetensors.torch import save_file
from scope_pack.nodes.comfy.loading import complete_model, load_ar_model
from scope_pack.nodes.comfy.sampling import begin_trace, sample_video
from scope_pack.nodes.comfy.skyreels import HostTerm, Windows
from scope_pack.scope_core import SKYREELS
from scope_pack.scope_core.loop.rollout import join
from scope_pack.scope_core.loop.sample import Run
from scope_pack.scope_core.methods import (
    BWCache,
    DeltaDiT,
    EasyCache,
    FBCache,
    FlowCache,
    Gate,
    MagCache,
    MotionCache,
    PrediT,
    Reduced,
    Scope,
    SeaCache,
    TaylorSeer,
    TeaCache,
)
from scope_pack.scope_core.methods.magcache import WAN_1_3B
from scope_pack.scope_core.settings import PRESETS, Settings

TOLERANCE = 2e-5
STEPS, H, W = 8, 4, 6
GATE = Gate(3, 1, 0)
SKIPPING = (
    Settings(Scope(tau_c=5, tau_p=10, decay_mode="none"), GATE),
    Settings(TeaCache(10), GATE),
    Settings(FBCache(10), GATE),
)
"""Settings that skip steps even of a model with random weights."""
RIVALS = (
    TaylorSeer(3),
    TaylorSeer(3, site="residual"),
    FlowCache(9, "none", "latent"),
    MotionCache(9),
    PrediT(9),
    EasyCache(9),
    SeaCache(9),
    Reduced(3),
    DeltaDiT(3),
    MagCache(9, ratios=WAN_1_3B),
    BWCache(9, tail_ratio=0.0),
)


@pytest.fixture(scope="module", params=[False, True], ids=["no fps branch", "fps branch"])
def files(request, tmp_path_factory):
    """A tiny random checkpoint in the diffusers layout, and the pipeline that runs it."""
    fps = request.param
    torch.manual_seed(0)
    transformer = SkyReelsV2Transformer3DModel(
        num_attention_heads=2,
        attention_head_dim=128,
        in_channels=16,
        out_channels=16,
        text_dim=4096,
        freq_dim=256,
        ffn_dim=512,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        inject_sample_info=fps,
    )
    with torch.no_grad():
        for p in transformer.parameters():
            p.add_(torch.randn_like(p) * 0.02)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_file(transformer.state_dict(), path)
    scheduler = UniPCMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=8.0, solver_order=2
    )
    pipe = SkyReelsV2DiffusionForcingPipeline(
        tokenizer=None, text_encoder=None, transformer=transformer.eval(), vae=None, scheduler=scheduler
    )
    pipe.set_progress_bar_config(disable=True)
    return path, pipe, fps


def contexts():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, 12, 4096, generator=generator), torch.randn(1, 12, 4096, generator=generator)


def reference(pipe, schedule, block):
    """Where the host computes too: on another device the sums are rounded otherwise."""
    device = comfy.model_management.get_torch_device()
    positive, negative = (context.to(device) for context in contexts())
    torch.manual_seed(7)
    pipe.transformer.eval().to(device)
    overlap = 4 * schedule.overlap - 3 if schedule.frames > schedule.window else None
    return pipe(
        None,
        height=H * 8,
        width=W * 8,
        num_frames=4 * schedule.frames - 3,
        base_num_frames=4 * schedule.window - 3,
        num_inference_steps=STEPS,
        guidance_scale=6.0,
        generator=torch.Generator().manual_seed(3),
        prompt_embeds=positive,
        negative_prompt_embeds=negative,
        output_type="latent",
        return_dict=False,
        overlap_history=overlap,
        addnoise_condition=0,
        ar_step=schedule.ar_step,
        causal_block_size=block,
        fps=24,
    )[0].cpu()


def ours(model, schedule, settings=PRESETS["off"]):
    generator = torch.Generator().manual_seed(3)
    draws = [torch.randn(1, 16, s.frames, H, W, generator=generator) for s in schedule.segments]
    noise = torch.cat([d[:, :, s.prefix :] for d, s in zip(draws, schedule.segments)], dim=2)
    latents, trace = run(model, noise, schedule, settings, lambda *step: None)
    return model.model.process_latent_in(latents), trace


def run(model, noise, schedule, settings, on_step):
    positive, negative = contexts()
    made = Run(schedule, settings, "unipc", 0, begin_trace(model, schedule, settings, "unipc"))
    segments = sample_video(model, [[positive, {}]], [[negative, {}]], 6.0, noise, made, Windows(), on_step)
    return join(segments, schedule.overlap), made.trace


@pytest.mark.parametrize(
    "frames, window, overlap, block, ar_step, causal",
    [
        (8, 8, 0, 1, 0, False),
        (8, 8, 0, 1, 3, False),
        (17, 8, 3, 1, 0, False),
        (8, 8, 0, 4, 2, True),
        (20, 8, 4, 4, 2, True),
    ],
    ids=["synchronous", "asynchronous", "long", "causal", "long causal"],
)
def test_off_equals_diffusers(files, frames, window, overlap, block, ar_step, causal):
    path, pipe, _ = files
    schedule = SKYREELS.schedule(
        frames, STEPS, window, overlap, block, ar_step, condition_noise=0, table="diffusers", causal=causal
    )
    pipe.transformer._set_ar_attention(1)
    expected = reference(pipe, schedule, block if causal else None)
    model = load_ar_model([str(path)], 24, {"dtype": torch.float32})
    result, trace = ours(model, schedule)
    assert (result - expected).abs().max() <= TOLERANCE
    assert trace.forwards == 2 * schedule.iterations


@pytest.mark.parametrize("settings", [PRESETS["off"], PRESETS["balanced"], SKIPPING[1]], ids=["off", "planned", "tea"])
@pytest.mark.parametrize("ar_step", [0, 2])
def test_a_batch_of_two_prompts_is_each_of_them_alone(files, ar_step, settings):
    model = load_ar_model([str(files[0])], 24, {"dtype": torch.float32})
    schedule = SKYREELS.schedule(6, STEPS, 6, ar_step=ar_step, condition_noise=0)
    generator = torch.Generator().manual_seed(4)
    noise, prompts = torch.randn(2, 16, 6, H, W, generator=generator), torch.randn(2, 2, 12, 4096, generator=generator)

    def made(part):
        positive, negative = ([[prompt[part], {}]] for prompt in prompts)
        made = Run(schedule, settings, "unipc", 0, begin_trace(model, schedule, settings, "unipc"))
        return sample_video(model, positive, negative, 6.0, noise[part], made, Windows(), lambda *step: None)[0]

    both = made(slice(0, 2))
    assert (both - torch.cat([made(slice(i, i + 1)) for i in range(2)])).abs().max() <= TOLERANCE
    assert (both[0] - both[1]).abs().max() > 0.1


@pytest.mark.parametrize("merged, tolerance", [(torch.float32, TOLERANCE), (torch.float16, 1e-3)], ids=str)
def test_model_of_another_loader_gets_its_fps_branch(files, tmp_path, monkeypatch, merged, tolerance):
    """A stock-loaded MODEL drops the fps branch; completed from the file it equals our own loader's, and diffusers. The
    host adds to weights in single precision on a CPU and in half on a GPU, which rounds them."""
    import comfy.sd
    from safetensors.torch import load_file
    from scope_pack.scope_core.networks.skyreels_keys import to_official

    monkeypatch.setattr(comfy.model_management, "lora_compute_dtype", lambda device: merged)
    path, _pipe, fps = files
    official = tmp_path / "official.safetensors"
    save_file(to_official(load_file(path)), official)
    stock = comfy.sd.load_diffusion_model(str(official), {"dtype": torch.float32})
    schedule = SKYREELS.schedule(4, STEPS, 4, 0, 1, 0, condition_noise=0, table="diffusers")
    expected, _ = ours(load_ar_model([str(path)], 24, {"dtype": torch.float32}), schedule)
    completed, _ = ours(complete_model(stock, None, 24), schedule)
    assert (completed - expected).abs().max() <= tolerance
    if fps:
        other, _ = ours(load_ar_model([str(path)], 16, {"dtype": torch.float32}), schedule)
        assert (other - expected).abs().max() > 1e-3


def test_settings_that_cannot_skip_are_off(files):
    """docs/architecture.md, law 1: preset off, thresholds 0 and max skip 0 give the bit-identical latent."""
    path, _, _ = files
    model = load_ar_model([str(path)], 24, {"dtype": torch.float32})
    schedule = SKYREELS.schedule(6, STEPS, 6, 0, 1, 2)
    off, _ = ours(model, schedule)
    for settings in (Settings(Scope(tau_c=0, tau_p=0)), Settings(Scope(), Gate(0)), Settings(TeaCache(0))):
        assert torch.equal(ours(model, schedule, settings)[0], off)


def test_runs_do_not_know_each_other(files):
    """docs/architecture.md, law 4: a run after other runs, and after an aborted one, equals a fresh one."""
    path, _, _ = files
    model = load_ar_model([str(path)], 24, {"dtype": torch.float32})
    schedule = SKYREELS.schedule(6, STEPS, 6, 0, 1, 2)
    for settings in SKIPPING:
        fresh, trace = ours(model, schedule, settings)
        assert trace.totals["computed"] < schedule.iterations
        ours(model, SKYREELS.schedule(9, STEPS, 5, 2, 1, 0), SKIPPING[0])
        with pytest.raises(KeyboardInterrupt):
            run(model, torch.randn(1, 16, 6, H, W), schedule, settings, abort)
        assert torch.equal(ours(model, schedule, settings)[0], fresh)


def abort(segment, step, x0, trace):
    if step.index == 3:
        raise KeyboardInterrupt


def test_counted_forwards_are_those_of_the_model(files):
    """docs/architecture.md, law 6, of every method: block calls seen by hooks, weighted by guidance branches, equal the
    trace's forwards; and, law 1, computing every step is off."""
    path, _, _ = files
    model = load_ar_model([str(path)], 24, {"dtype": torch.float32})
    schedule = SKYREELS.schedule(6, STEPS, 6, 0, 1, 2)
    off, _ = ours(model, schedule)
    for method in RIVALS:
        assert torch.equal(ours(model, schedule, Settings(method, Gate(2, 99, 0)))[0], off)
    for settings in (PRESETS["off"], *SKIPPING, *(Settings(method, GATE) for method in RIVALS)):
        calls, blocks = [], model.model.diffusion_model.blocks
        hooks = [block.register_forward_hook(lambda module, args, out: calls.append(out.shape[0])) for block in blocks]
        _, trace = ours(model, schedule, settings)
        for hook in hooks:
            hook.remove()
        assert sum(calls) / len(blocks) == trace.forwards and (settings.off or trace.forwards < 2 * schedule.iterations)


def test_signals_are_those_of_the_core_s_own_network(files):
    """The host's time embedding at noise levels, against the same weights outside of it."""
    path, _, _ = files
    model = load_ar_model([str(path)], 24, {"dtype": torch.float32})
    comfy.model_management.load_models_gpu([model])
    network = model.model.diffusion_model
    sigma = np.array([0.999, 0.5, 0.1])
    guider = SimpleNamespace(inner_model=model.model, model_patcher=model)
    for name in ("embedding", "modulation"):
        seen = HostTerm(guider, {}, 0).features(name, sigma)
        t = torch.tensor([999.0, 500.0, 100.0], device=seen.device)
        e = network.time_embedding(sinusoidal_embedding_1d(network.freq_dim, t))
        assert torch.allclose(seen, e if name == "embedding" else network.time_projection(e), atol=1e-6)
