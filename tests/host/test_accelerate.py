"""SCOPE Accelerate: a MODEL that skips evaluations inside the host's own samplers. Off it is the MODEL, bit for bit; a
skipped step is the one of SCOPE Sampler; and none of the ways in which caches of this kind have gone wrong."""

import json
import logging
from contextlib import contextmanager
from functools import cache

import comfy.hooks
import comfy.nested_tensor
import comfy.samplers
import comfy.sd
import pytest
import torch
from comfy.ldm.wan.model import WanModel
from comfy.patcher_extension import WrappersMP
from scope_pack.nodes.comfy import accelerate as module
from scope_pack.nodes.comfy.accelerate import Asked, UnsuitableError, accelerate
from scope_pack.scope_core.methods import Gate, Planned, Scope, TaylorSeer, TeaCache
from scope_pack.scope_core.settings import PRESETS, Settings

STEPS, SHAPE = 10, (1, 16, 5, 8, 8)
PATTERN = (1, 2, 4, 7, 10)
FIXED = Settings(Planned(computed=PATTERN))
"""Skips the same steps whatever the model returns."""
HALF = Settings(Scope(tau_c=5, tau_p=10, decay_mode="none"), Gate(1))


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


def sample(model, sampler="euler", cfg=4.0, sigmas=None, latent=None, positive=None, mask=None, noise=noise()):
    """As KSampler does."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive or [prompt(1)], [prompt(2)])
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
        for step, (sigma, after) in enumerate(zip(sigmas, sigmas[1:]), 1):
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
