"""SCOPE Accelerate: a MODEL that skips evaluations inside the host's own samplers. Off it is the MODEL, bit for bit; a
skipped step is the one of SCOPE Sampler; and none of the ways in which caches of this kind have gone wrong."""

import json
import logging
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import pairwise
from types import SimpleNamespace
from typing import ClassVar

import comfy.conds
import comfy.context_windows
import comfy.hooks
import comfy.latent_formats
import comfy.model_base
import comfy.model_patcher
import comfy.nested_tensor
import comfy.samplers
import comfy.sd
import comfy.supported_models_base
import pytest
import torch
from comfy.ldm.wan.model import WanModel
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io
from comfy_extras.nodes_easycache import EasyCacheNode
from scope_pack.nodes.accelerate import Accelerate
from scope_pack.nodes.comfy import demo, flow, plans
from scope_pack.nodes.comfy.accelerate import Asked, accelerate, objection
from scope_pack.nodes.comfy.families import NotPreparedError
from scope_pack.nodes.comfy.graph import Graph
from scope_pack.nodes.comfy.latents import UnsuitableError
from scope_pack.nodes.comfy.reports import read_report
from scope_pack.nodes.comfy.sampling import VideoSampler, knowledge
from scope_pack.nodes.planning import plan_node
from scope_pack.nodes.timeline import Timeline
from scope_pack.scope_core import FLOW, SKYREELS
from scope_pack.scope_core.methods import EasyCache, Gate, Planned, Scope, TeaCache
from scope_pack.scope_core.settings import PRESETS, Settings
from scope_pack.scope_core.study.plans import Choice, Plan

STEPS, SHAPE = 10, (1, 16, 5, 8, 8)
PATTERN = (1, 2, 4, 7, 10)
FIXED = Settings(Planned(computed=PATTERN))
"""Skips the same steps whatever the model returns."""
HALF = Settings(Scope(tau_c=5, tau_p=10, decay_mode="none", signal="sigma"), Gate(1))


@cache
def wan(in_dim=16):
    """A tiny Wan 2.1 with random weights, as core loads it; `in_dim` 36 takes an image."""
    torch.manual_seed(0)
    size = {"dim": 256, "ffn_dim": 512, "num_heads": 2, "num_layers": 2, "text_dim": 64, "freq_dim": 256}
    network = WanModel(
        model_type="t2v", in_dim=in_dim, out_dim=16, text_len=16, **size, operations=torch.nn, dtype=torch.float32
    )
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn_like(p) * 0.05)
    metadata = {"config": json.dumps({"transformer": {"text_dim": 64}})}
    return comfy.sd.load_diffusion_model_state_dict(
        network.state_dict(), model_options={"dtype": torch.float32}, metadata=metadata
    )


def prompt(seed, **more):
    return [torch.randn(1, 7, 64, generator=torch.Generator().manual_seed(seed)), more]


def noise(shape=SHAPE, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sigmas_of(model, sampler="euler", steps=STEPS, denoise=None):
    return comfy.samplers.KSampler(model, steps, "cpu", sampler, "simple", denoise).sigmas


NOISE = noise()


def sample(
    model, sampler="euler", cfg=4.0, sigmas=None, latent=None, positive=None, negative=None, mask=None, noise=NOISE
):
    """As KSampler does."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive or [prompt(1)], negative or [prompt(2)])
    guider.set_cfg(cfg)
    if isinstance(sampler, str):
        sampler = comfy.samplers.sampler_object(sampler)
    sigmas = sigmas_of(model) if sigmas is None else sigmas
    latent = noise * 0 if latent is None else latent
    return guider.sample(noise, latent, sampler, sigmas.clone(), mask, disable_pbar=True, seed=5)


class Accelerated:
    """A MODEL behind SCOPE Accelerate, and what it told."""

    def __init__(self, settings=FIXED, model=None):
        self.traces, self.told = [], []
        self.model = accelerate(model or wan(), Asked(settings, self.told.append, self.traces.append))

    @property
    def modes(self):
        """R, C or P for each step of the last sampling."""
        return "".join(step["modes"] for step in self.traces[-1].segments[0].steps)

    @property
    def rules(self):
        return "".join(step["rules"] for step in self.traces[-1].segments[0].steps)


@contextmanager
def counted(model):
    """Calls of the network, by number of prompts in each."""
    calls = []
    hook = model.model.diffusion_model.register_forward_hook(lambda net, args, out: calls.append(len(args[0])))
    yield calls
    hook.remove()


MASK = torch.zeros(1, 1, 5, 8, 8)
MASK[:, :, 2:] = 1
CIRCUMSTANCES = {
    "plain": {},
    "no guidance": {"cfg": 1.0},
    "noise mask": {"mask": MASK, "latent": noise(seed=9)},
    "partial denoise": {"sigmas": sigmas_of(wan(), denoise=0.6), "latent": noise(seed=9)},
    "first half": {"sigmas": sigmas_of(wan())[:6]},
}


@pytest.mark.parametrize("sampler", ["euler", "uni_pc", "dpmpp_2m", "euler_ancestral", "heun"])
@pytest.mark.parametrize("how", CIRCUMSTANCES)
def test_off_is_the_model_bit_for_bit(how, sampler):
    accelerated = Accelerated(PRESETS["off"])
    expected = sample(wan(), sampler, **CIRCUMSTANCES[how])
    assert torch.equal(sample(accelerated.model, sampler, **CIRCUMSTANCES[how]), expected)
    if sampler != "heun":
        assert set(accelerated.modes) == {"R"}


class Loop(comfy.samplers.Sampler):
    """Euler with forecasts along a line in the step index, after guidance: a loop of its own."""

    def __init__(self, computed):
        self.computed = computed

    def sample(self, guider, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=0):
        x, known = noise * sigmas[0], []
        for step, (sigma, after) in enumerate(pairwise(sigmas), 1):
            if step in self.computed:
                x0 = guider(x, sigma.expand(1), model_options=extra_args["model_options"], seed=extra_args["seed"])
                known = [(step, (x - x0) / sigma), *known][:2]
            (last, v), (before, past) = known[0], known[-1]
            x = x + (after - sigma) * (v if before == last else v + (v - past) * (step - last) / (last - before))
        return x


@pytest.mark.parametrize("cfg", [4.0, 1.0])
def test_a_fixed_pattern_is_that_of_a_loop_of_our_own(cfg):
    accelerated = Accelerated(FIXED)
    with counted(wan()) as calls:
        made = sample(accelerated.model, cfg=cfg)
    assert accelerated.modes == "RRPRPPRPPR"
    assert sum(calls) == len(PATTERN) * (1 if cfg == 1 else 2) == accelerated.traces[-1].forwards
    assert (made - sample(wan(), Loop(PATTERN), cfg=cfg)).abs().max() < 5e-5
    assert (made - sample(wan(), cfg=cfg)).abs().max() > 1e-3


@pytest.fixture(scope="module", autouse=True)
def models():
    yield
    wan.cache_clear()


def test_nothing_is_written_into_the_hosts_tensors():
    """Core's EasyCache adds into the x that an fp32 model's x0 is made of afterwards."""
    accelerated, seen = Accelerated(), []

    def watch(executor, model, conds, x, timestep, options):
        made = executor(model, conds, x, timestep, options)
        seen.append((made, [part.clone() for part in made]))
        return made

    def around(executor, x, timestep, options, seed):
        before = x.clone()
        made = executor(x, timestep, options, seed)
        assert torch.equal(x, before)
        seen.append(([made, x], [made.clone(), before]))
        return made

    outer = accelerated.model.clone()
    outer.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "test", watch)
    outer.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "test", around)
    sample(outer)
    assert len(seen) == 10 + 5
    for kept, before in seen:
        assert all(torch.equal(now, then) for now, then in zip(kept, before))


def test_what_is_remembered_is_nobody_elses():
    """A sampler, or what hangs behind guidance, may write into what it is given."""
    expected, accelerated = sample(Accelerated().model), Accelerated()

    def spoil(args):
        made = args["denoised"].clone()
        for name in "denoised", "cond_denoised", "uncond_denoised":
            args[name].fill_(9.0)
        return made

    spoilt = accelerated.model.clone()
    spoilt.set_model_sampler_post_cfg_function(spoil)
    assert torch.equal(sample(spoilt), expected)


def test_runs_one_after_another_are_like_fresh_ones():
    """Two prompts in a queue share the MODEL; so do runs of other sizes, and one after a cancelled one."""
    accelerated, big = Accelerated(HALF), noise((1, 16, 3, 8, 12))
    expected = [sample(Accelerated(HALF).model, noise=x) for x in (noise(), big)]
    stopped = accelerated.model.clone()
    stopped.set_model_sampler_post_cfg_function(lambda args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sample(stopped)
    assert accelerated.modes == "", "its trace was told all the same"
    for x, made in zip((noise(), big, noise()), (*expected, expected[0])):
        assert torch.equal(sample(accelerated.model, noise=x), made)
        assert accelerated.modes == "RC" * 5


def test_it_leaves_nothing_behind():
    accelerated = Accelerated()
    before = json.dumps(accelerated.model.model_options, default=str)
    sample(accelerated.model)
    assert json.dumps(accelerated.model.model_options, default=str) == before
    assert not wan().wrappers.get(WrappersMP.SAMPLER_SAMPLE)
    assert torch.equal(sample(wan()), sample(Accelerated(PRESETS["off"]).model))


def test_two_of_them_are_the_last_one():
    accelerated = Accelerated(PRESETS["off"], Accelerated(FIXED).model)
    assert torch.equal(sample(accelerated.model), sample(wan()))


def test_first_and_last_steps_are_counted_not_read_from_noise_levels():
    accelerated = Accelerated(
        Settings(Scope(tau_c=5, tau_p=10, decay_mode="none", signal="sigma"), Gate(1, warm_up=3, tail=2))
    )
    sample(accelerated.model, sigmas=sigmas_of(wan(), denoise=0.3))
    assert accelerated.modes == "RRRCRCRCRR"


def test_each_of_two_stages_begins_with_nothing():
    """As with Wan 2.2 A14B's two experts in two KSamplerAdvanced."""
    table = sigmas_of(wan())
    high, low = Accelerated(HALF), Accelerated(HALF)
    middle = sample(high.model, sigmas=table[:5])
    sample(low.model, sigmas=table[4:], latent=middle, noise=noise() * 0)
    assert (high.modes, low.modes) == ("RCRC", "RCRCRC")


def test_a_batch_of_two_prompts_is_each_of_them_alone():
    accelerated, drawn = Accelerated(), noise((2, *SHAPE[1:]))
    texts = [torch.cat([prompt(seed)[0] for seed in seeds]) for seeds in ((1, 6), (2, 7))]

    def made(part):
        positive, negative = ([[text[part], {}]] for text in texts)
        return sample(accelerated.model, positive=positive, negative=negative, noise=drawn[part])

    both = made(slice(0, 2))
    assert accelerated.modes == "RRPRPPRPPR" and (both[0] - both[1]).abs().max() > 0.1
    assert (both - torch.cat([made(slice(i, i + 1)) for i in range(2)])).abs().max() <= 2e-5


def test_what_hangs_behind_guidance_runs_at_every_step():
    """CFG++ reads the negative's estimate there."""
    accelerated, calls = Accelerated(), []
    model = accelerated.model.clone()
    model.set_model_sampler_post_cfg_function(lambda args: calls.append(args) or args["denoised"])
    made = sample(model, "euler_cfg_pp")
    assert len(calls) == STEPS and accelerated.modes == "RRPRPPRPPR"
    assert (made - sample(wan(), "euler_cfg_pp")).abs().max() > 1e-3


def test_a_second_call_behind_guidance_is_skipped_with_the_step():
    """Guidance by a weakened model (PAG, SLG) calls the network once more, for the positive prompt alone."""

    def weakened(args):
        (weak,) = comfy.samplers.calc_cond_batch(
            args["model"], [args["cond"]], args["input"], args["sigma"], without_a_block(args["model_options"])
        )
        return args["denoised"] + 0.5 * (args["cond_denoised"] - weak)

    def without_a_block(options):
        options = comfy.model_patcher.create_model_options_clone(options)
        return comfy.model_patcher.set_model_options_patch_replace(
            options, lambda args, extra: {"img": args["img"]}, "dit", "double_block", 1
        )

    accelerated, plain = Accelerated(), wan().clone()
    guided = accelerated.model.clone()
    for model in guided, plain:
        model.set_model_sampler_post_cfg_function(weakened)
    with counted(wan()) as calls:
        made = sample(guided)
    assert accelerated.modes == "RRPRPPRPPR"
    assert sum(calls) == len(PATTERN) * 3 == accelerated.traces[-1].forwards
    assert (made - sample(plain, Loop(PATTERN))).abs().max() < 5e-5


def test_guidance_that_sets_in_on_the_way_has_its_first_step_computed():
    """Skip Layer Guidance has a range of its own, which nobody else sees: the part that it asks for was never made."""
    border = 3
    level = float(sigmas_of(wan())[border])

    def late(args):
        if float(args["sigma"][0]) > level + 1e-4:
            return args["denoised"]
        (weak,) = comfy.samplers.calc_cond_batch(
            args["model"], [args["cond"]], args["input"], args["sigma"], args["model_options"]
        )
        return args["denoised"] + 0.5 * (args["cond_denoised"] - weak)

    accelerated = Accelerated(HALF)
    guided = accelerated.model.clone()
    guided.set_model_sampler_post_cfg_function(late)
    sample(guided)
    assert accelerated.modes.startswith("RCRRC") and accelerated.rules[border] == "e"


def test_a_step_where_other_prompts_hold_is_computed():
    accelerated = Accelerated(HALF)
    positive = [prompt(1, start_percent=0.0, end_percent=0.5), prompt(4, start_percent=0.5, end_percent=1.0)]
    sample(accelerated.model, positive=positive)
    middle = wan().get_model_object("model_sampling").percent_to_sigma(0.5)
    border = int((sigmas_of(wan()) > middle).sum())
    assert border % 2 == 1, "or the step would be computed anyway"
    assert accelerated.modes[border] == "R" and accelerated.rules[border] == "b"


def test_a_step_where_a_lora_has_another_strength_is_computed():
    accelerated = Accelerated(HALF)
    lora = {"diffusion_model.blocks.0.ffn.0.diff": torch.ones(512, 256) * 0.01}
    group = comfy.hooks.create_hook_lora(lora, 1.0, 1.0)
    frames = comfy.hooks.HookKeyframeGroup()
    frames.add(comfy.hooks.HookKeyframe(1.0, 0.0))
    frames.add(comfy.hooks.HookKeyframe(0.2, 0.5))
    group.set_keyframes_on_hooks(frames)
    sample(accelerated.model, positive=[prompt(1, hooks=group)])
    border = int((sigmas_of(wan()) > wan().get_model_object("model_sampling").percent_to_sigma(0.5)).sum())
    assert accelerated.rules[border] == "b"


@pytest.mark.parametrize("sampler", ["heun", "dpm_2", "heunpp2", "seeds_2", "sa_solver_pece", "dpm_adaptive"])
def test_samplers_that_evaluate_more_than_once_a_step_are_left_alone(sampler, caplog):
    accelerated = Accelerated(HALF)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(sample(accelerated.model, sampler), sample(wan(), sampler))
    said = f"{sampler} does not evaluate the model once a step; choose a sampler that does"
    assert said in caplog.text and said in accelerated.traces[0].totals["skipped_reason"]


def test_it_is_known_of_every_sampler_how_it_evaluates():
    """All that KSampler offers: those that evaluate once a step skip as planned, the others are left alone. dpm_fast
    takes as many evaluations as there are steps, at noise levels of its own."""
    accelerated, sigmas, x = Accelerated(HALF), sigmas_of(wan(), steps=6), noise((1, 16, 1, 4, 4))
    for name in comfy.samplers.SAMPLER_NAMES:
        with counted(wan()) as calls:
            sample(wan(), name, cfg=1.0, sigmas=sigmas, noise=x)
        assert (len(calls) == 6) == (objection(name) == "") or name == "dpm_fast", name
        if not objection(name):
            sample(accelerated.model, name, cfg=1.0, sigmas=sigmas, noise=x)
            assert accelerated.modes == "RCRCRC", name


def custom(step):
    """A sampler that is not the host's: `step(model, x, sigma, after, x0)` gives the next latents."""

    def sample_custom(model, x, sigmas, extra_args=None, **_):
        for sigma, after in pairwise(sigmas):
            x = step(lambda x, s: model(x, s.expand(len(x)), **extra_args), x, sigma, after)
        return x

    return comfy.samplers.KSAMPLER(sample_custom)


def euler_step(model, x, sigma, after):
    return x + (x - model(x, sigma)) / sigma * (after - sigma)


def noisy_step(model, x, sigma, after):
    return (1 - after) * model(x, sigma) + after * noise(x.shape, seed=0).to(x)


def heun_step(model, x, sigma, after):
    d = (x - model(x, sigma)) / sigma
    if after == 0:
        return x + d * (after - sigma)
    there = x + d * (after - sigma)
    return x + (d + (there - model(there, after)) / after) / 2 * (after - sigma)


def test_an_unknown_sampler_is_watched_before_anything_is_skipped(caplog):
    for step, modes in ((euler_step, "RRRRCRCRCR"), (noisy_step, "RRRRRCRCRC"), (heun_step, "RR")):
        accelerated = Accelerated(HALF)
        made = sample(accelerated.model, custom(step))
        assert accelerated.modes == modes and accelerated.rules[1] == "x"
        assert torch.equal(made, sample(wan(), custom(step))) == (step is heun_step)
    said = "its evaluations are not its steps"
    assert said in caplog.text and said in accelerated.traces[0].totals["skipped_reason"]


def test_samplers_that_add_noise_keep_what_is_denoised():
    """A velocity has the noise of its step in it: reused with other noise it puts the difference into the picture."""
    accelerated, estimates = Accelerated(HALF), []
    model = accelerated.model.clone()
    model.set_model_sampler_post_cfg_function(lambda args: estimates.append(args["denoised"]) or args["denoised"])
    for sampler, same in (("euler_ancestral", True), ("dpmpp_2m_sde", True), ("lcm", True), ("euler", False)):
        estimates.clear()
        sample(model, sampler)
        assert accelerated.modes == "RC" * 5
        assert torch.equal(estimates[0], estimates[1]) == torch.equal(estimates[6], estimates[7]) == same


def test_a_window_that_was_never_computed_has_its_step_computed():
    """Windows of a long video that move from step to step, and such as stand still."""
    for schedule, modes in (("standard_static", "RRPRPPRPPR"), ("standard_uniform", "RRRRRRRRRR")):
        accelerated = Accelerated()
        accelerated.model.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
            comfy.context_windows.get_matching_context_schedule(schedule),
            comfy.context_windows.get_matching_fuse_method("pyramid"),
            context_length=3,
            context_overlap=1,
            dim=2,
        )
        with counted(wan()) as calls:
            sample(accelerated.model)
        assert accelerated.modes[:4] == modes[:4] and sum(calls) == accelerated.traces[-1].forwards
        if schedule == "standard_static":
            assert accelerated.modes == modes


def test_images_are_videos_of_one_frame():
    accelerated = Accelerated()
    sample(accelerated.model, noise=noise((2, 16, 1, 8, 8)))
    assert accelerated.modes == "RRPRPPRPPR"


def test_a_model_that_answers_nothing_is_told():
    broken = Accelerated(model=wan().clone())
    broken.model.set_model_unet_function_wrapper(lambda apply, args: args["input"] * float("nan"))
    with pytest.raises(FloatingPointError, match="returned NaN or infinity at iteration 1"):
        sample(broken.model)


def test_what_cannot_be_combined_is_refused():
    with pytest.raises(UnsuitableError, match="TeaCache reuses inside the network.*use SCOPE Sampler"):
        Accelerated(Settings(TeaCache(0.1)))
    cached = EasyCacheNode.execute(Accelerated().model, 0.2, 0.15, 0.95, False).result[0]
    with pytest.raises(UnsuitableError, match="EasyCache or LazyCache is applied to this MODEL too"):
        sample(cached)
    with pytest.raises(UnsuitableError, match="EasyCache or LazyCache"):
        Accelerated(model=EasyCacheNode.execute(wan(), 0.2, 0.15, 0.95, False).result[0])
    other = wan().clone()
    other.add_object_patch("model_sampling", comfy.model_base.model_sampling(None, comfy.model_base.ModelType.EPS))
    with pytest.raises(NotPreparedError, match="SCOPE knows flow matching alone"):
        Accelerated(model=other)
    with pytest.raises(UnsuitableError, match="MAGI-1 goes through its network chunk by chunk.*use SCOPE Sampler"):
        Accelerated(model=demo.load_demo_magi())


class ApplyFBCacheOnModel:
    def patch(self):
        def model_unet_function_wrapper(model_function, kwargs):
            return model_function(kwargs["input"], kwargs["timestep"], **kwargs["c"])

        return model_unet_function_wrapper


LEFT = {
    "TeaCache": [{"rel_l1_thresh": 0.3, "coefficients": []}, {"tea_cache_attr": {}}, {"teacache": object()}],
    "MagCache": [{"magcache_thresh": 0.1, "mag_ratios": [], "magcache_K": 2}, {"magcache_state": {}}],
    "First Block Cache": [
        {"model_function_wrapper": ApplyFBCacheOnModel().patch()},
        {"fb_cache_attr": {}},
        {"wrapper": "minimax_h3_first_block_cache_1"},
    ],
    "CacheDiT": [{"cache_dit_turbo": object()}, {"wan_cache": object()}],
    "Spectrum": [{"spectrum": object()}, {"spectrum_wan_runtime": object()}],
}
"""What nodes of other packs leave on a MODEL: TeaCache (welltop-cn, KJNodes; lldacing; Raylight), MagCache (Zehong-Ma,
and ports of it), First Block Cache (WaveSpeed; lldacing; duckyshell), CacheDiT, Spectrum (judian17; xmarre)."""


@pytest.mark.parametrize("cache, left", [(cache, left) for cache, marks in LEFT.items() for left in marks])
def test_caches_of_other_packs_are_known_by_what_they_leave(cache, left):
    model = wan().clone()
    for name, value in left.items():
        if name == "wrapper":
            model.add_wrapper_with_key(
                WrappersMP.OUTER_SAMPLE, value, lambda executor, *what, **more: executor(*what, **more)
            )
        else:
            (model.model_options if "function" in name else model.model_options["transformer_options"])[name] = value
    with pytest.raises(UnsuitableError, match=f"{cache} is applied to this MODEL too"):
        Accelerated(model=model)
    with pytest.raises(UnsuitableError, match=f"{cache} is applied to this MODEL; it looks at"):
        sample(model, VideoSampler(None, FIXED, "euler", lambda trace: None))
    Accelerated(PRESETS["off"], model)


def test_correcting_the_past_is_left_to_scope_sampler():
    accelerated = Accelerated(replace(HALF, correct=True))
    assert torch.equal(sample(accelerated.model), sample(Accelerated(HALF).model))
    assert [text for text in accelerated.traces[0].run["warnings"] if "SCOPE Sampler can" in text]


def test_before_our_own_sampler_it_stands_aside(caplog):
    traces = []
    sampler = VideoSampler(None, FIXED, "euler", traces.append)
    made = sample(Accelerated().model, sampler)
    assert "SCOPE's own sampler decides" in caplog.text and traces[0].totals["computed"] == len(PATTERN)
    assert torch.equal(made, sample(wan(), VideoSampler(None, FIXED, "euler", traces.append)))


def test_a_skipped_step_is_that_of_scope_sampler():
    for settings in FIXED, HALF:
        sampler = VideoSampler(None, replace(settings, correct=False), "euler", lambda trace: None)
        for name, how in CIRCUMSTANCES.items():
            if settings is HALF or name != "first half":
                made = sample(Accelerated(settings).model, **how)
                assert (made - sample(wan(), sampler, **how)).abs().max() < 5e-5
                assert (made - sample(wan(), **how)).abs().max() > 1e-3


@pytest.mark.parametrize("signal", ["modulation", "embedding", "sigma", "latent", "displacement", "motion", "sea"])
def test_every_signal_is_known_of_wan(signal):
    accelerated = Accelerated(Settings(Scope(tau_c=50, tau_p=60, decay_mode="none", signal=signal), Gate(1)))
    sample(accelerated.model)
    assert accelerated.modes == "RC" * 5


def test_methods_that_watch_the_output_see_it_guided():
    """EasyCache's rate is that of the guided velocity, as in SCOPE Sampler."""
    settings, traces = Settings(EasyCache(3.0), Gate(3, 1, 0)), []
    accelerated = Accelerated(settings)
    sample(accelerated.model)
    sample(wan(), VideoSampler(None, settings, "euler", traces.append))
    assert accelerated.modes == "".join(step["modes"] for step in traces[0].segments[0].steps)
    assert "C" in accelerated.modes


class Toy(torch.nn.Module):
    """A network of one stream of latents or of two, of which the second changes faster."""

    def __init__(self, device=None, operations=None, in_channels=4):
        super().__init__()
        self.weight, self.dtype = torch.nn.Parameter(torch.full((1,), 0.7)), torch.float32

    def forward(self, x, t, **_):
        parts = x if isinstance(x, list) else [x]
        made = [torch.sin(part * self.weight) * (1, 30)[i] for i, part in enumerate(parts)]
        return made if isinstance(x, list) else made[0]


class ToyHost(comfy.model_base.BaseModel):
    def extra_conds(self, **about):
        shapes = about.get("latent_shapes") or ()
        return {"latent_shapes": comfy.conds.CONDConstant(shapes)} if len(shapes) > 1 else {}


def toy(kind="FLOW"):
    class Format(comfy.latent_formats.LatentFormat):
        latent_channels, latent_dimensions = 4, 3

    class Config(comfy.supported_models_base.BASE):
        unet_extra_config: ClassVar = {}
        latent_format = Format
        sampling_settings: ClassVar = {"sigma_max": 80.0} if kind == "FLOW_COSMOS" else {}

    host = ToyHost(Config({"in_channels": 4}), comfy.model_base.ModelType[kind], unet_model=Toy)
    return comfy.model_patcher.ModelPatcher(host, torch.device("cpu"), torch.device("cpu"))


def test_noise_on_top_of_the_video_is_skipped_as_by_scope_sampler():
    """Cosmos Predict 2, by its change of variables."""
    model, x = toy("FLOW_COSMOS"), noise((1, 4, 3, 4, 4))
    accelerated, sigmas = Accelerated(FIXED, model), sigmas_of(model)
    made = sample(accelerated.model, noise=x, sigmas=sigmas)
    sampler = VideoSampler(None, replace(FIXED, correct=False), "euler", lambda trace: None)
    assert accelerated.modes == "RRPRPPRPPR"
    assert (made - sample(model, sampler, noise=x, sigmas=sigmas)).abs().max() < 5e-5
    off = Accelerated(PRESETS["off"], model).model
    assert torch.equal(sample(off, noise=x, sigmas=sigmas), sample(model, noise=x, sigmas=sigmas))


def test_of_a_pack_the_stream_that_changes_most_decides(monkeypatch):
    """The audio has few numbers: looked at together with the video its change is lost."""
    model = toy()
    pack = comfy.nested_tensor.NestedTensor([noise((1, 4, 3, 4, 4)), noise((1, 2, 6))])
    settings = Settings(Scope(tau_c=0, tau_p=2.8, decay_mode="none", signal="sea"), Gate(9, 0, 0))
    accelerated = Accelerated(settings, model)
    made = sample(accelerated.model, noise=pack, latent=pack * 0, sigmas=sigmas_of(model), cfg=1.0)
    assert [part.shape for part in made.unbind()] == [part.shape for part in pack.unbind()]
    apart = accelerated.modes
    monkeypatch.setattr(flow, "packed_shapes", lambda *what: [])
    sample(accelerated.model, noise=pack, latent=pack * 0, sigmas=sigmas_of(model), cfg=1.0)
    assert accelerated.modes.count("R") < apart.count("R") < STEPS


@pytest.mark.parametrize("whole, within", [(False, 0.5), (True, 0.02)], ids=["released levels", "whole timesteps"])
def test_a_trained_model_is_as_faithful_as_with_scope_sampler(whole, within):
    """SkyReels' demo as one chunk, at the same computed steps. What differs is the timestep that the network is told:
    SCOPE Sampler cuts it to a whole one, as the release does, and KSampler does not. docs/accelerate.md has longer
    clips."""
    model, clip, steps, distances = demo.load_demo_model(), demo.load_demo_clip(), 24, {}
    sigmas = torch.tensor(SKYREELS.schedule(7, steps=steps).sigmas, dtype=torch.float32)
    if whole:
        sigmas[:-1] = torch.nextafter((1000 * sigmas[:-1]).floor() / 1000, torch.tensor(1.0))
    settings = Settings(Planned(computed=(1, 2, 5, 9, 13, 17, 21, 24)), correct=False)
    for seed, words in enumerate(("a red circle moves right", "a blue square moves up")):
        how = {
            "positive": [[clip.encode_from_tokens(clip.tokenize(words)), {}]],
            "negative": [[clip.encode_from_tokens(clip.tokenize("")), {}]],
            "noise": noise((1, 16, 7, 8, 8), seed),
            "cfg": 2.5,
            "sigmas": sigmas,
        }
        accelerated = Accelerated(settings, model)
        for name, (full, skipping) in {
            "accelerate": (sample(model, **how), sample(accelerated.model, **how)),
            "sampler": [
                sample(model, VideoSampler(None, each, "euler", lambda trace: None), **how)
                for each in (PRESETS["off"], settings)
            ],
        }.items():
            distances.setdefault(name, []).append(10 * (full - skipping).square().mean().log10())
        assert accelerated.modes.count("R") == 8
    ours, theirs = (torch.stack(distances[name]).mean() for name in ("accelerate", "sampler"))
    assert abs(ours - theirs) < within


GRAPH = {
    "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "wan2.1_t2v_1.3B_fp16.safetensors"}},
    "2": {"class_type": "SCOPE_Accelerate", "inputs": {"model": ["1", 0], "preset": "balanced", "speed": 2.5}},
    "3": {"class_type": "LoraLoaderModelOnly", "inputs": {"model": ["2", 0]}},
    "4": {"class_type": "KSampler", "inputs": {"model": ["3", 0], "steps": 20, "sampler_name": "euler"}},
    "5": {"class_type": "SCOPE_Timeline", "inputs": {"after": ["4", 0]}},
}


def hidden(monkeypatch, node_class, node, graph=GRAPH):
    known = SimpleNamespace(unique_id=node, dynprompt=SimpleNamespace(get_node=graph.__getitem__))
    monkeypatch.setattr(node_class, "hidden", known, raising=False)


def test_the_node_runs_as_it_is_added_and_leaves_a_report_to_timeline(monkeypatch):
    hidden(monkeypatch, Accelerate, "2")
    widgets = {spec.id: spec.default for spec in Accelerate.define_schema().inputs if isinstance(spec, io.WidgetInput)}
    (model,) = Accelerate.execute(wan(), **widgets).result
    assert (sample(model) - sample(wan())).abs().max() > 1e-3
    graph = {**GRAPH, "2": {**GRAPH["2"], "inputs": {**GRAPH["2"]["inputs"], "report_name": widgets["report_name"]}}}
    hidden(monkeypatch, Timeline, "5", graph)
    (trace,) = Timeline.execute(after={}).ui["scope_trace"]
    assert trace == read_report("scope_accelerate")
    assert trace["totals"]["computed"] == 4 and trace["run"]["preset"] == "balanced"
    assert trace["run"]["solver"] == "euler" and trace["run"]["sampling_seconds"] > 0
    hidden(monkeypatch, Timeline, "5")
    with pytest.raises(ValueError, match="connect the trace of SCOPE Sampler; or to `after`"):
        Timeline.execute(after={})


def plan(**changed):
    return plan_node("2", Graph.of({**GRAPH, **changed}), knowledge())


def test_a_plan_has_the_steps_of_the_sampler_behind_it():
    made = plan()
    assert made["exact"] and made["trace"]["totals"]["iterations"] == 20 and made["trace"]["totals"]["computed"] == 8
    advanced = {"model": ["2", 0], "steps": 40, "start_at_step": 0, "end_at_step": 16}
    made = plan(**{"4": {"class_type": "KSamplerAdvanced", "inputs": advanced}})
    assert made["trace"]["totals"]["iterations"] == 16
    made = plan(
        **{
            "4": {"class_type": "SamplerCustomAdvanced", "inputs": {"guider": ["6", 0], "sigmas": ["7", 0]}},
            "6": {"class_type": "CFGGuider", "inputs": {"model": ["3", 0]}},
            "7": {"class_type": "BasicScheduler", "inputs": {"model": ["1", 0], "steps": 24}},
        }
    )
    assert made["trace"]["totals"]["iterations"] == 24
    made = plan(**{"4": {"class_type": "KSampler", "inputs": {**GRAPH["4"]["inputs"], "sampler_name": "heun"}}})
    assert made["exact"] and made["trace"]["totals"]["computed"] == 20
    assert "Nothing is skipped, because heun does not evaluate the model once a step" in made["note"]
    made = plan(**{"4": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "steps": 20}}})
    assert not made["exact"] and "30 steps are assumed" in made["note"]
    made = plan(**{"2": {"class_type": "SCOPE_Accelerate", "inputs": {"model": ["1", 0], "preset": "paper_fast"}}})
    assert not made["exact"] and "simple with shift 8" in made["note"]


def test_the_decibels_of_a_plan_are_promised_where_the_past_is_corrected_alone():
    """They were measured so, which a sampler that takes its own steps cannot have."""
    steps, choice = 20, Choice((1, 4, 6, 9, 11, 14, 17), 41.3)
    levels = tuple(FLOW.schedule(1, steps).sigmas[:-1])
    wan_plan = Plan("for Wan", FLOW.name, "", levels, 0, steps, 16, (choice,))
    folder = plans.folder()
    folder.mkdir(parents=True)
    (folder / "wan.json").write_text(json.dumps(wan_plan.to_json()))
    note = plan()["note"]
    assert "Planned by 'for Wan', whose dB hold where forecast steps are taken again" in note and "41.3" not in note
    empty = {"class_type": "EmptyHunyuanLatentVideo", "inputs": {"length": 17}}
    links = {"model": ["1", 0], "latent": ["6", 0], "settings": ["8", 0]}
    sampler = {"class_type": "SCOPE_Sampler", "inputs": {**links, "steps": steps, "shift": 8.0}}
    for correct in (True, False):
        wish = {"method": "planned", "method.preset": "custom", "method.speed": 2.5, "method.correct": correct}
        graph = {**GRAPH, "6": empty, "7": sampler, "8": {"class_type": "SCOPE_Settings", "inputs": wish}}
        note = plan_node("7", Graph.of(graph), knowledge())["note"]
        assert ("bout 41.3 dB" in note) == correct and ("not here" in note) != correct
