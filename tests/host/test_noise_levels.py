"""AR Sigmas, ModelSampling nodes before the samplers, guidance at 1 and below, long prompts."""

from types import SimpleNamespace

import comfy.samplers
import numpy as np
import pytest
import torch
from comfy_extras.nodes_custom_sampler import BasicScheduler
from comfy_extras.nodes_model_advanced import ModelSamplingAuraFlow, ModelSamplingDiscrete, ModelSamplingSD3
from diffusers import UniPCMultistepScheduler
from scope_pack.nodes import sampling
from scope_pack.nodes.comfy import demo
from scope_pack.nodes.comfy.families import NotPreparedError
from scope_pack.nodes.comfy.loading import complete_model
from scope_pack.nodes.comfy.sampling import VideoSampler
from scope_pack.nodes.comfy.skyreels import Windows
from scope_pack.nodes.schedule import TABLES, ARScheduleNode, Sigmas
from scope_pack.scope_core import FAMILIES, MAGI, SKYREELS, ScheduleError
from scope_pack.scope_core.families.skyreels import timesteps
from scope_pack.scope_core.settings import PRESETS

STEPS, FRAMES = 8, 5
NODE = SimpleNamespace(unique_id="1", dynprompt=SimpleNamespace(get_node=lambda name: {"class_type": "", "inputs": {}}))


@pytest.fixture(autouse=True)
def no_server(monkeypatch, tmp_path):
    monkeypatch.setattr(sampling.events, "send_step", lambda *what: None)
    monkeypatch.setattr("folder_paths.get_user_directory", lambda: str(tmp_path))


@pytest.fixture(scope="module")
def prompts():
    clip = demo.load_demo_clip()
    return [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("red circle bouncing", "")]


def released(steps, shift):
    """The release's table, from its own definition: 1000 training levels in single precision give its first one."""
    first = (1 - torch.linspace(1, 1e-3, 1000, dtype=torch.float64)).float()[-1].item()
    s = np.linspace(first, 0, steps + 1)[:-1]
    levels = shift * s / (1 + (shift - 1) * s)
    return levels, np.trunc(1000 * levels)


def by_diffusers(steps, shift):
    scheduler = UniPCMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=shift, solver_order=2
    )
    scheduler.set_timesteps(steps)
    return scheduler.sigmas[:-1].numpy(), scheduler.timesteps.numpy()


@pytest.mark.parametrize("table, reference", [("SkyReels-V2", released), ("SkyReels-V2, diffusers", by_diffusers)])
def test_sigmas_are_those_of_the_release_and_of_diffusers(table, reference):
    """To the last digit of single precision, and so that every timestep that the model is told is theirs."""
    for steps in (*range(2, 13), 20, 25, 30, 40, 50, 60, 100):
        for shift in (0.5, 1, 2, 3, 5, 8, 10, 12, 20):
            levels, told = reference(steps, shift)
            (sigmas,) = Sigmas.execute(steps, shift, table).args
            assert sigmas.dtype == torch.float32 and sigmas[-1] == 0
            assert np.abs(sigmas[:-1].numpy() - levels).max() <= 1.2e-7
            taken = SKYREELS.schedule(1, steps, levels=tuple(sigmas.tolist())).sigmas
            assert np.array_equal(taken, sigmas.double().numpy())
            assert np.array_equal(timesteps(taken[:-1]), told)


def test_sigmas_of_magi_are_its_own():
    assert {family for family, _ in TABLES.values()} == set(FAMILIES.values())
    for steps in (12, 16, 64):
        for name in ("MAGI-1", "MAGI-1, 16,16,8"):
            (sigmas,) = Sigmas.execute(steps, 3.0, name).args
            assert np.abs(sigmas.numpy() - MAGI.sigmas(steps, 3.0, TABLES[name][1])).max() < 1e-7


@pytest.mark.parametrize("shift", [0.0, 1e9, float("inf"), float("nan")])
def test_a_shift_that_cannot_be_is_answered(prompts, shift):
    with pytest.raises(ScheduleError, match="shift is .*between 0.01 and 1000"):
        Sigmas.execute(50, shift, "SkyReels-V2")
    with pytest.raises(ScheduleError, match="shift is .*between 0.01 and 1000"):
        render(demo.load_demo_model(), prompts, shift=shift)


def render(model, prompts, cfg=2.5, shift=8.0, settings=PRESETS["off"]):
    latent = {"samples": torch.zeros(1, 16, FRAMES, 8, 8), "downscale_ratio_spacial": 8}
    asked = sampling.Request(model, *prompts, latent, None, 3, STEPS, cfg, shift, "unipc")
    made, run = sampling.render(NODE, asked, settings)
    return made["samples"], run.trace.to_json()["run"]["warnings"]


def advanced(model, prompts, sigmas, cfg=2.5, unrolling=None):
    traces = []
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*prompts)
    guider.set_cfg(cfg)
    noise = comfy.sample.prepare_noise(torch.zeros(1, 16, FRAMES, 4, 4), 3)
    sampler = VideoSampler(unrolling, PRESETS["off"], "unipc", traces.append)
    made = guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, seed=3)
    assert guider.model_patcher is model
    return made.cpu(), traces[0].run["warnings"]


def test_the_advanced_sampler_with_ar_sigmas_is_scope_sampler(prompts):
    """Core's `simple` is not, by hundreds of times as much."""
    model = demo.load_demo_model()
    expected, _ = render(model, prompts)
    made, _ = advanced(model, prompts, *Sigmas.execute(STEPS, 8.0, "SkyReels-V2").args)
    assert (made - expected).abs().max() < 2e-5
    simple, _ = advanced(model, prompts, *BasicScheduler.execute(model, "simple", STEPS, 1.0).args)
    assert (simple - expected).abs().max() > 5e-3


def test_the_advanced_sampler_takes_known_frames_of_another_batch_as_scope_sampler_does(prompts):
    model, (sigmas,) = demo.load_demo_model(), Sigmas.execute(STEPS, 8.0, "SkyReels-V2").args
    known = torch.randn(2, 16, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    of_two, of_one = (Windows(window=FRAMES, start=z, end=z) for z in (known, known[:1]))
    made, expected = (advanced(model, prompts, sigmas, unrolling=each)[0] for each in (of_two, of_one))
    assert torch.equal(made, expected)


@pytest.mark.parametrize("node", [ModelSamplingSD3, ModelSamplingAuraFlow])
def test_a_node_that_sets_a_shift_is_taken_by_both_samplers(prompts, node):
    """It counts for the schedulers that read the MODEL; what a sampler is told itself goes first, and it says so."""
    model = demo.load_demo_model()
    patch = node().patch if node is ModelSamplingSD3 else node().patch_aura
    (shifted,) = patch(model, 3.0)
    sigmas = Sigmas.execute(STEPS, 8.0, "SkyReels-V2").args[0]
    (plain, quiet), (made, said) = render(model, prompts), render(shifted, prompts)
    assert torch.equal(made, plain) and [text for text in said if text not in quiet] == [
        (
            "a ModelSampling node sets shift 3 on this MODEL, but the sampler has a shift of its own, which counts: 8."
            " Remove that node, or set the shift here."
        )
    ]
    assert render(shifted, prompts, shift=3.0)[1] == quiet
    assert torch.equal(advanced(shifted, prompts, sigmas)[0], advanced(model, prompts, sigmas)[0])
    assert torch.equal(render(shifted, prompts)[0], plain), "the advanced sampler has left the MODEL as it was"


@pytest.mark.parametrize("kind", ["eps", "v_prediction", "lcm", "img_to_img_flow"])
@pytest.mark.parametrize("load", demo.LOADERS.values(), ids=[family.name for family in demo.LOADERS])
def test_a_node_that_changes_the_process_is_refused_by_both_samplers(prompts, load, kind):
    (changed,) = ModelSamplingDiscrete().patch(load(), kind, False)
    with pytest.raises(NotPreparedError, match="trained for flow matching; remove that node.*AR Sigmas"):
        render(changed, prompts)
    with pytest.raises(NotPreparedError, match="trained for flow matching; remove that node.*AR Sigmas"):
        advanced(changed, prompts, Sigmas.execute(STEPS, 8.0, "SkyReels-V2").args[0])


def test_a_node_that_changes_the_process_is_refused_before_the_loader(prompts):
    (changed,) = ModelSamplingDiscrete().patch(demo.load_demo_model(), "eps", False)
    with pytest.raises(NotPreparedError, match="trained for flow matching; remove that node"):
        complete_model(changed, None, 24)


def test_a_window_of_another_size_than_the_models_is_told():
    """Before the run, in the line under the widgets, and in the trace."""
    widgets = {"width": 1280, "height": 720, "length": 97, "window": 97, "overlap": 17, "chunk": 5}
    widgets |= {"ar_step": 5, "causal": False, "condition_noise": 20}
    for change, words in (
        ({}, "720P models were released with a window of 121 frames"),
        ({"window": 121, "length": 121}, "in a window of 117 frames all are whole"),
        ({"window": 121, "length": 121, "ar_step": 0}, ""),
        ({"width": 960, "height": 544}, ""),
    ):
        note = ARScheduleNode.unroll(widgets | change, None, None)[0].note
        assert words in note and bool(note) == bool(words)


def test_guidance_of_1_and_below_is_none(prompts):
    model = demo.load_demo_model()
    (one, quiet), (half, said), (zero, _) = (render(model, prompts, cfg=cfg) for cfg in (1.0, 0.5, 0.0))
    assert torch.equal(half, one) and torch.equal(zero, one)
    assert [text for text in said if text not in quiet] == ["cfg is 0.5; below 1 there is no guidance, as at 1."]


def test_prompts_longer_than_the_model_knows_are_told(prompts):
    long = [[torch.zeros(1, 600, 64), {}]]
    model, sigmas = demo.load_demo_model(), Sigmas.execute(STEPS, 8.0, "SkyReels-V2").args[0]
    for warnings in (render(model, [long, prompts[1]])[1], advanced(model, [long, prompts[1]], sigmas)[1]):
        assert [text for text in warnings if "`positive` has 600 tokens" in text and "cuts prompts at 512" in text]
    assert not [text for text in render(model, prompts)[1] if "tokens" in text]


@pytest.mark.parametrize("load", demo.LOADERS.values(), ids=[family.name for family in demo.LOADERS])
def test_a_latent_that_would_be_replaced_by_noise_is_told(load, prompts):
    """Core's samplers are silent here too: at noise level 1 nothing of it is left."""
    model, traces = load(), []
    noise = torch.randn(1, 16, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    sampler = VideoSampler(None, PRESETS["off"], "euler", traces.append)

    def sample(latent, sigmas):
        return comfy.sample.sample_custom(
            model, noise, 1.0, sampler, sigmas, *prompts, latent, disable_pbar=True, seed=0
        )

    sigmas = torch.linspace(1, 0, STEPS + 1)
    assert torch.equal(sample(torch.zeros_like(noise), sigmas), sample(torch.ones_like(noise), sigmas))
    quiet, told = (trace.run["warnings"] for trace in traces)
    (said,) = [text for text in told if text not in quiet]
    assert "latent is not empty, and all of it is replaced by noise" in said and "Schedule as `start`" in said
    with pytest.raises(ScheduleError, match="from about 1 to 0.*denoise 1, because .* makes every frame from noise"):
        sample(torch.ones_like(noise), sigmas[4:])


def test_sigmas_of_some_steps_alone():
    whole, some = (Sigmas.execute(50, 8.0, "SkyReels-V2", only).args[0] for only in ("", "1, 4 9,50"))
    assert torch.equal(some, whole[[0, 3, 8, 49, 50]]) and len(whole) == 51
    for only, words in (("1, 60", "they count from 1 to 50"), ("few", "write whole numbers")):
        with pytest.raises(ValueError, match=words):
            Sigmas.execute(50, 8.0, "SkyReels-V2", only)
