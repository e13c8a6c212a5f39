"""Any flow MODEL as one chunk, beside the host's own sampler: bit for bit when nothing is skipped."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import comfy.conds
import comfy.controlnet
import comfy.hooks
import comfy.latent_formats
import comfy.model_base
import comfy.model_patcher
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.supported_models
import comfy.supported_models_base
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfy_extras.nodes_context_windows import WanContextWindowsManualNode
from comfy_extras.nodes_custom_sampler import Guider_DualCFG
from comfy_extras.nodes_model_advanced import ModelSamplingSD3
from diffusers import UniPCMultistepScheduler
from scope_pack.nodes import sampling
from scope_pack.nodes.calibrate import Calibrate
from scope_pack.nodes.comfy import events, flow
from scope_pack.nodes.comfy.families import NotPreparedError, family_of
from scope_pack.nodes.comfy.graph import Graph
from scope_pack.nodes.comfy.latents import UnsuitableError
from scope_pack.nodes.comfy.sampling import VideoSampler
from scope_pack.nodes.comfy.skyreels import Windows
from scope_pack.nodes.planning import plan_node
from scope_pack.nodes.schedule import Sigmas
from scope_pack.nodes.tradeoff import SweepPoint
from scope_pack.scope_core import FLOW, Gate
from scope_pack.scope_core.methods import Scope, TaylorSeer, TeaCache
from scope_pack.scope_core.settings import PRESETS, Settings, read
from scope_pack.scope_core.signals.maps import SignalMaps

spec = importlib.util.spec_from_file_location("tiny_wan", Path(__file__).parents[1] / "tiny_wan.py")
tiny_wan = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny_wan)

STEPS, SHIFT, SEED = 10, 5.0, 3
SIZE = (1, 16, 5, 8, 8)
NODE = SimpleNamespace(unique_id="1", dynprompt=SimpleNamespace(get_node=lambda name: {"class_type": "", "inputs": {}}))
SKIPPING = Settings(TaylorSeer(3), Gate(9, 0, 0))


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.setattr(sampling.events, "send_step", lambda *what: None)


def wan(kind="t2v"):
    """As the host loads it."""
    return comfy.sd.load_diffusion_model_state_dict(tiny_wan.weights(kind), {"dtype": torch.float32}, tiny_wan.METADATA)


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
    x = comfy.sample.prepare_noise(given["samples"], SEED) if noise else torch.zeros_like(given["samples"])
    made = comfy.sample.sample_custom(
        model,
        x,
        cfg,
        VideoSampler(None, settings, solver, traces.append),
        sigmas,
        *conds,
        given["samples"],
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


@pytest.mark.parametrize("settings", [PRESETS["off"], PRESETS["balanced"]], ids=["off", "balanced"])
def test_a_batch_of_two_prompts_is_each_of_them_alone(t2v, settings):
    texts = torch.randn(2, 2, 7, 64, generator=torch.Generator().manual_seed(4))

    def made(*members):
        given = latent(size=(len(members), *SIZE[1:])) | {"batch_index": members}
        return ours(t2v, given, [[[text[[*members]], {}]] for text in texts], 4.0, settings)[0]

    both = made(0, 1)
    assert (both - torch.cat([made(0), made(1)])).abs().max() <= 2e-5 and (both[0] - both[1]).abs().max() > 0.1


def test_frames_that_are_known_to_wan_2_2_5b_stay_also_where_steps_are_skipped():
    """The host's network is told t = 0 of them."""
    model, size = wan("5b"), (1, 48, 5, 8, 8)
    given = latent(mask=True, size=size)
    given["noise_mask"] = torch.ones(1, 1, 5, 1, 1).expand(1, 1, 5, 8, 8).clone()
    given["noise_mask"][:, :, 0] = 0
    made, _ = ours(model, given, prompts(), 4.0, shift=8.0)
    assert torch.equal(made, stock(model, given, prompts(), 4.0))
    for settings in (SKIPPING, PRESETS["fast"]):
        made, trace = ours(model, given, prompts(), 4.0, settings, shift=8.0)
        assert "P" in modes(trace)
        assert (made[:, :, 0] - given["samples"][:, :, 0]).abs().max() < 1e-5


@pytest.mark.parametrize("schedule", ["standard_static", "standard_uniform"])
def test_context_windows_lie_below_the_sampler(t2v, schedule):
    windows = WanContextWindowsManualNode.execute(shifted(t2v), 9, 4, schedule, 1, False, "pyramid", True).args[0]
    made, trace = ours(windows, latent(), prompts(), 4.0)
    assert torch.equal(made, stock(windows, latent(), prompts(), 4.0))
    assert not torch.equal(made, stock(shifted(t2v), latent(), prompts(), 4.0))
    _, fewer = ours(windows, latent(), prompts(), 4.0, SKIPPING)
    assert fewer.forwards / trace.forwards == pytest.approx(fewer.totals["computed"] / STEPS, abs=0.1)


def test_scope_calibrate_teaches_what_a_later_run_needs(t2v):
    """MagCache's ratios, found again by the run and by its plan."""
    links = {"model": ["loader", 0]}
    nodes = {"loader": {"class_type": "UNETLoader", "inputs": {}}, "1": {"class_type": "x", "inputs": links}}
    hidden = SimpleNamespace(unique_id="1", dynprompt=SimpleNamespace(get_node=nodes.__getitem__))
    node = type("Calibrate", (Calibrate,), {"hidden": hidden})
    made = node.execute.__func__(
        node, t2v, *prompts(), latent(), SEED, STEPS, 4.0, SHIFT, "magcache", 1.5, "euler", None
    )
    settings, recorded, trace = made.args
    assert torch.equal(recorded["samples"], stock(shifted(t2v), latent(), prompts(), 4.0))
    assert trace["totals"]["computed"] == STEPS and "Kept as" in made.ui["text"][0]
    calibrated, _ = ours(t2v, latent(), prompts(), 4.0, replace(settings, method=replace(settings.method, ratios=())))
    assert torch.equal(calibrated, ours(t2v, latent(), prompts(), 4.0, settings)[0])


def test_another_shift_than_the_models_counts_and_is_told(t2v):
    conds = prompts()
    made, trace = ours(t2v, latent(), conds, 4.0)
    assert torch.equal(made, stock(shifted(t2v), latent(), conds, 4.0))
    (said,) = [text for text in trace.run["warnings"] if "shift" in text]
    assert "comes with shift 8, but the sampler has a shift of its own, which counts: 5" in said
    assert t2v.get_model_object("model_sampling").shift == 8, "the MODEL itself stays as it was"
    left, trace = ours(t2v, latent(), conds, 4.0, shift=0.0)
    assert torch.equal(left, stock(t2v, latent(), conds, 4.0)) and trace.run["schedule"]["shift"] == 8
    assert not [text for text in ours(t2v, latent(), conds, 4.0, shift=8.0)[1].run["warnings"] if "shift" in text]


@pytest.mark.parametrize("mask", [False, True], ids=["whole", "noise mask"])
def test_two_stages_with_sliced_sigmas_are_those_of_ksampler_advanced(t2v, i2v, mask):
    """Two experts take over from each other so: the second run begins with an empty history."""
    image, text = prompts(image=True), prompts()
    given = latent(mask)
    first = stock(i2v, given, image, 4.0, start_step=0, last_step=4, force_full_denoise=False)
    expected = stock_again(t2v, {**given, "samples": first}, text, 3.0)
    sigmas = comfy.samplers.calculate_sigmas(t2v.get_model_object("model_sampling"), "simple", STEPS)
    half, _ = advanced(i2v, given, image, 4.0, sigmas[:5])
    assert torch.equal(half, first)
    made, _ = advanced(t2v, {**given, "samples": half}, text, 3.0, sigmas[4:], noise=False)
    assert torch.equal(made, expected)
    _, high = advanced(i2v, given, image, 4.0, sigmas[:5], SKIPPING)
    _, low = advanced(t2v, {**given, "samples": half}, text, 3.0, sigmas[4:], SKIPPING, noise=False)
    assert [modes(trace) for trace in (high, low)] == ["RPPR", "RPPRPP"]


def stock_again(model, given, conds, cfg):
    return comfy.sample.sample(
        model,
        torch.zeros_like(given["samples"]),
        STEPS,
        cfg,
        "euler",
        "simple",
        *conds,
        given["samples"],
        disable_noise=True,
        start_step=4,
        noise_mask=given.get("noise_mask"),
        disable_pbar=True,
        seed=SEED,
    )


def modes(trace):
    return "".join(step["modes"] for segment in trace.segments for step in segment.steps)


def rules(trace):
    return "".join(step["rules"] for segment in trace.segments for step in segment.steps)


class Reminder(comfy.controlnet.ControlBase):
    """A ControlNet that has nothing to add, within a range."""

    def get_control(self, x, t, cond, batched, transformer_options):
        return None

    def copy(self):
        return self.copy_to(self) or self

    def get_models(self):
        return []


def ranged():
    """Another prompt from 40 % of the noise levels on."""
    (first, negative), (second, _) = prompts(), prompts(strength=3.0)
    first[0][1]["end_percent"] = second[0][1]["start_percent"] = 0.4
    return [*first, *second], negative


def hooked():
    """A LoRA that leaves at 40 %."""
    generator = torch.Generator().manual_seed(9)
    name = "diffusion_model.blocks.0.self_attn.q.lora"
    lora = {f"{name}_{way}.weight": torch.randn(shape, generator=generator) for way, shape in LORA.items()}
    hooks = comfy.hooks.create_hook_lora(lora, 0.5, 0.0)
    keyframes = comfy.hooks.HookKeyframeGroup()
    for strength, start in ((1.0, 0.0), (0.0, 0.4)):
        keyframes.add(comfy.hooks.HookKeyframe(strength=strength, start_percent=start))
    hooks.set_keyframes_on_hooks(keyframes)
    positive, negative = prompts()
    positive[0][1]["hooks"] = hooks
    return positive, negative


def controlled():
    """A ControlNet that begins at 40 %."""
    positive, negative = prompts()
    positive[0][1]["control"] = Reminder().set_cond_hint(torch.zeros(1, 3, 8, 8), 1.0, (0.4, 1.0))
    positive[0][1]["control_apply_to_uncond"] = False
    return positive, negative


LORA = {"up": (256, 4), "down": (4, 256)}


@pytest.mark.parametrize("make", [ranged, hooked, controlled])
@pytest.mark.parametrize("settings", [SKIPPING, PRESETS["fast"]], ids=["taylorseer", "planned"])
def test_where_conditioning_changes_it_is_computed_and_the_history_dropped(t2v, make, settings):
    model = shifted(t2v)
    sampler = model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampler, "simple", STEPS)
    border = int((sigmas > sampler.percent_to_sigma(0.4)).sum())
    made, trace = ours(model, latent(), make(), 4.0, settings)
    assert rules(trace)[border] == "b" and rules(trace).count("b") == 1 and "P" in modes(trace)[border:]
    off, _ = ours(model, latent(), make(), 4.0)
    assert torch.equal(off, stock(model, latent(), make(), 4.0)) and not torch.equal(off, made)


def test_ranges_of_every_prompt_that_a_guider_holds_are_borders(t2v):
    """DualCFGGuider has a third one, `middle`."""
    model, traces = shifted(t2v), []
    guider = Guider_DualCFG(model)
    middle, negative = prompts()
    middle[0][1]["end_percent"] = 0.4
    guider.set_conds(prompts(strength=2.0)[0], middle, negative)
    guider.set_cfg(3.0, 2.0)
    sampler = model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampler, "simple", STEPS)
    noise = comfy.sample.prepare_noise(torch.zeros(SIZE), SEED)
    used = VideoSampler(None, SKIPPING, "euler", traces.append)
    guider.sample(noise, torch.zeros(SIZE), used, sigmas, disable_pbar=True, seed=SEED)
    border = int((sigmas > sampler.percent_to_sigma(0.4)).sum())
    assert rules(traces[0])[border] == "b" and rules(traces[0]).count("b") == 1


def test_conditioning_that_stays_has_no_border(t2v):
    assert "b" not in rules(ours(shifted(t2v), latent(), prompts(), 4.0, SKIPPING)[1])


class Toy(torch.nn.Module):
    """A network of another kind than Wan's, of one stream of latents or of several."""

    def __init__(self, device=None, operations=None, in_channels=4):
        super().__init__()
        self.weight, self.dtype = torch.nn.Parameter(torch.full((1,), 0.7)), torch.float32

    def forward(self, x, t, context=None, **kwargs):
        level = t[0] / t[0].clamp(min=1)
        if isinstance(x, list):
            return [self.one(part, level) * fast for part, fast in zip(x, (1, 30))]
        return self.one(x, level)

    def one(self, x, level):
        return torch.sin(x * self.weight) + x.roll(1, -1) * level


class ToyHost(comfy.model_base.BaseModel):
    def extra_conds(self, **kwargs):
        made = super().extra_conds(**kwargs)
        if len(kwargs.get("latent_shapes") or ()) > 1:
            made["latent_shapes"] = comfy.conds.CONDConstant(kwargs["latent_shapes"])
        return made


def toy(kind="FLOW", channels=4, dimensions=2):
    class Format(comfy.latent_formats.LatentFormat):
        latent_channels, latent_dimensions = channels, dimensions

    class Config(comfy.supported_models_base.BASE):
        unet_extra_config: ClassVar = {}
        latent_format = Format
        sampling_settings: ClassVar = {"sigma_max": 80.0} if kind == "FLOW_COSMOS" else {}

    model = ToyHost(Config({"in_channels": channels}), comfy.model_base.ModelType[kind], unet_model=Toy)
    return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


AUDIO_AND_VIDEO = NestedTensor([torch.zeros(1, 4, 3, 4, 4), torch.zeros(1, 2, 6)])


def test_an_image_is_one_too():
    """Of a model whose shift is 1, and of Flux's kind."""
    for kind in ("FLOW", "FLUX"):
        model, given = toy(kind), {"samples": torch.zeros(2, 4, 8, 6), "downscale_ratio_spacial": 8}
        made, trace = ours(model, given, prompts(), 1.0, shift=1.0)
        assert torch.equal(made, stock(model, given, prompts(), 1.0)) and made.shape == (2, 4, 8, 6)
        assert bool([text for text in trace.run["warnings"] if "brings its own noise levels"]) == (kind == "FLUX")


def test_video_and_audio_in_one_pack_are_the_hosts():
    model, given = toy(dimensions=3), {"samples": AUDIO_AND_VIDEO}
    made, _ = ours(model, given, prompts(), 2.0, shift=1.0)
    expected = stock(model, given, prompts(), 2.0)
    assert [part.shape for part in made.unbind()] == [part.shape for part in AUDIO_AND_VIDEO.unbind()]
    assert all(torch.equal(*parts) for parts in zip(made.unbind(), expected.unbind()))
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    again, _ = advanced(model, given, prompts(), 2.0, sigmas)
    assert all(torch.equal(*parts) for parts in zip(again.unbind(), expected.unbind()))


def test_a_sweep_measures_the_video_of_a_pack(monkeypatch):
    """Of the audio beside it there is no picture."""
    monkeypatch.setattr(events, "send", lambda *what: None)
    model, given = toy(dimensions=3), {"samples": AUDIO_AND_VIDEO}
    full, trace = ours(model, given, prompts(), 2.0, shift=1.0)
    fewer, skipping = ours(model, given, prompts(), 2.0, SKIPPING, shift=1.0)
    _, latent, _ = SweepPoint.execute("1", trace.to_json(), {"samples": full}).args
    assert torch.equal(latent["samples"], full.unbind()[0])
    point, *_ = SweepPoint.execute("1", skipping.to_json(), {"samples": fewer}, baseline_latent=latent).args
    difference = fewer.unbind()[0] - full.unbind()[0]
    assert point["latent_error"] == pytest.approx(float(difference.norm() / full.unbind()[0].norm())) != 0


@pytest.mark.parametrize("signal", ["sea", "latent"])
def test_either_stream_has_a_pack_computed(monkeypatch, signal):
    """The audio moves fast and has a tenth of the numbers: looked at together, its change is lost."""
    settings = Settings(Scope(tau_c=0, tau_p=2.8, decay_mode="none", signal=signal), Gate(9, 0, 0))
    model, given = toy(dimensions=3), {"samples": AUDIO_AND_VIDEO}
    _, apart = ours(model, given, prompts(), 1.0, settings, shift=1.0)
    monkeypatch.setattr(flow, "packed_shapes", lambda *what: [])
    _, together = ours(model, given, prompts(), 1.0, settings, shift=1.0)
    assert together.totals["computed"] < apart.totals["computed"]


def test_noise_on_top_of_the_video_is_flow_matching_after_a_change_of_variables():
    """Cosmos Predict 2: the host steps in sigma up to 80, the loop in s = sigma / (1 + sigma), to the same end."""
    model, given = toy("FLOW_COSMOS"), {"samples": torch.zeros(1, 4, 8, 6)}
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    made, trace = ours(model, given, prompts(), 1.0)
    levels = trace.segments[0].header["sigmas"]
    assert levels[0] == pytest.approx(80 / 81, abs=1e-5) and levels[-1] == 0
    assert (made - stock(model, given, prompts(), 1.0)).abs().max() < 2e-5
    assert torch.equal(advanced(model, given, prompts(), 1.0, sigmas)[0], made)
    kept = latent(mask=True, size=(1, 4, 8, 6)) | {"noise_mask": torch.ones(1, 1, 8, 6).tril()}
    made, _ = ours(model, kept, prompts(), 2.0)
    assert (made - stock(model, kept, prompts(), 2.0)).abs().max() < 2e-5
    _, trace = ours(model, given, prompts(), 1.0, SKIPPING)
    assert "P" in modes(trace)


@pytest.mark.parametrize(
    "kind, words",
    [
        ("EPS", "samples as ModelSamplingDiscrete EPS"),
        ("V_PREDICTION", "samples as ModelSamplingDiscrete V_PREDICTION"),
        ("EDM", "samples as ModelSamplingContinuousEDM EDM"),
        ("IMG_TO_IMG_FLOW", "image-to-image flow.*KSampler"),
    ],
)
def test_what_is_not_flow_matching_is_refused_with_the_reason(kind, words):
    model, given = toy(kind), {"samples": torch.zeros(1, 4, 8, 6)}
    sigmas = torch.linspace(1, 0, 5)
    for sample in (ours, lambda *what: advanced(*what, sigmas)):
        with pytest.raises(NotPreparedError, match=words):
            sample(model, given, prompts(), 1.0)


def test_a_latent_that_noise_would_replace_is_refused(t2v):
    with pytest.raises(UnsuitableError, match="not empty, and all of it would be replaced.*mask.*last of the sigmas"):
        ours(t2v, {"samples": torch.ones(SIZE)}, prompts(), 4.0)


def test_a_schedule_of_chunks_is_refused(t2v):
    asked = sampling.Request(t2v, *prompts(), latent(), Windows(), SEED, STEPS, 4.0, SHIFT, "euler")
    with pytest.raises(UnsuitableError, match="comes from AR Schedule, but this model makes the whole.*Disconnect"):
        sampling.render(NODE, asked, PRESETS["off"])


def test_methods_inside_the_network_need_one_that_is_known(t2v):
    inside = Settings(TeaCache(10), Gate(3, 1, 0))
    assert "C" in modes(ours(shifted(t2v), latent(), prompts(), 4.0, inside)[1])
    with pytest.raises(UnsuitableError, match="one of the Wan family; this one is Toy"):
        ours(toy(), {"samples": torch.zeros(1, 4, 8, 6)}, prompts(), 1.0, inside)


def test_a_network_without_a_known_embedding_decides_on_the_noise_level(t2v):
    given = {"samples": torch.zeros(1, 4, 8, 6)}
    by = {signal: Settings(Scope(tau_c=0, tau_p=0.5, signal=signal), Gate(3)) for signal in ("modulation", "sigma")}
    asked, level = (ours(toy(), given, prompts(), 1.0, settings, shift=8.0)[1] for settings in by.values())
    assert modes(asked) == modes(level) and "P" in modes(level)
    assert "'modulation' looks at is not known in a Toy; the noise level" in " ".join(asked.run["warnings"])
    assert "not known" not in " ".join(level.run["warnings"])
    for signal in ("modulation", "embedding", "latent", "motion"):
        settings = Settings(Scope(tau_c=0, tau_p=0.5, signal=signal), Gate(3))
        if signal != "motion":
            assert "not known" not in " ".join(ours(t2v, latent(), prompts(), 4.0, settings)[1].run["warnings"])


def test_unipc_is_that_of_diffusers(t2v):
    """The host's is another implementation. Same network, same levels, 2e-5."""
    conds = prompts()
    made, _ = ours(shifted(t2v), latent(), conds, 1.0, solver="unipc")
    scheduler = UniPCMultistepScheduler(
        solver_order=2, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=SHIFT
    )
    model = shifted(t2v)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    scheduler.set_timesteps(STEPS)
    scheduler.sigmas = sigmas.clone()
    scheduler.sigmas[0] = 1 - 1e-6
    velocities = {}

    def sampler(guider, x, sigmas, extra):
        for i, t in enumerate(scheduler.timesteps):
            x0 = guider(x, sigmas[i].expand(1), model_options=extra["model_options"], seed=SEED)
            velocities[i] = (x - x0) / sigmas[i]
            x = scheduler.step(velocities[i], t, x, return_dict=False)[0]
        return x

    class Reference(comfy.samplers.Sampler):
        def sample(self, guider, sigmas, extra, callback, noise, *others):
            return sampler(guider, noise, sigmas, extra)

    empty = latent()["samples"]
    noise = comfy.sample.prepare_noise(empty, SEED)
    expected = comfy.sample.sample_custom(
        model, noise, 1.0, Reference(), sigmas, *conds, empty, disable_pbar=True, seed=SEED
    )
    assert (made - expected).abs().max() < 2e-5


def test_ar_sigmas_has_the_levels_of_scheduler_simple(t2v):
    """For a sampler that is told the shift by ModelSamplingSD3."""
    (sigmas,) = Sigmas.execute(STEPS, SHIFT, "Flow matching, one chunk").args
    sampling = shifted(t2v).get_model_object("model_sampling")
    assert torch.equal(sigmas, comfy.samplers.calculate_sigmas(sampling, "simple", STEPS))


def test_a_diffusion_forcing_file_of_the_hosts_loader_is_told(t2v):
    model = t2v.clone()
    model.cached_patcher_init = (None, ("models/SkyReels-V2-DF-1.3B-540P.safetensors", {}))
    _, trace = ours(model, latent(), prompts(), 1.0, steps=2)
    assert "load it with Load AR Video Model" in " ".join(trace.run["warnings"])
    assert trace.run["model"] == "WAN21 (SkyReels-V2-DF-1.3B-540P.safetensors)"


def test_runs_do_not_know_each_other(t2v):
    """docs/architecture.md, law 4; and nothing of a run stays in the MODEL."""
    model = shifted(t2v)
    options = json.dumps(model.model_options, default=str)
    fresh, _ = ours(model, latent(), prompts(), 4.0, SKIPPING)
    ours(model, latent(mask=True), hooked(), 1.0, PRESETS["fast"])
    assert torch.equal(ours(model, latent(), prompts(), 4.0, SKIPPING)[0], fresh)
    assert json.dumps(model.model_options, default=str) == options


def graph(more=None, **sampler):
    """Load Diffusion Model, a LoRA, an empty latent and SCOPE Sampler, as the browser sends them."""
    links = {"model": ["lora", 0], "positive": ["text", 0], "negative": ["text", 0], "latent": ["empty", 0]}
    widgets = {"steps": STEPS, "shift": SHIFT, "cfg": 4.0, "preset": "custom", "seed": SEED, "solver": "euler"}
    return Graph.of(
        {
            "loader": {"class_type": "UNETLoader", "inputs": {"unet_name": "wan.safetensors"}},
            "lora": {"class_type": "LoraLoaderModelOnly", "inputs": {"model": ["loader", 0], "strength_model": 1.0}},
            "text": {"class_type": "CLIPTextEncode", "inputs": {}},
            "empty": {"class_type": "EmptyHunyuanLatentVideo", "inputs": {"length": 17, "width": 64, "height": 64}},
            "sampler": {"class_type": "SCOPE_Sampler", "inputs": {**links, **widgets, **sampler}},
            "sweep": {"class_type": "SCOPE_Sweep", "inputs": {**links, **widgets, "spread": 2}},
            **(more or {}),
        }
    )


def planned(known, node="sampler", **sampler):
    return plan_node(node, graph(**sampler), known)


@pytest.mark.parametrize("preset", ["off", "balanced", "fast"])
def test_the_plan_is_the_run(t2v, tmp_path, preset):
    made = planned(SignalMaps(tmp_path), preset=preset)
    _, trace = ours(t2v, latent(), prompts(), 4.0, PRESETS[preset], solver="unipc")
    steps = [[{**step, "seconds": 0} for step in segment["steps"]] for segment in trace.to_json()["segments"]]
    told = [[{**step, "seconds": 0} for step in segment["steps"]] for segment in made["trace"]["segments"]]
    assert told == steps and made["exact"]
    assert made["trace"]["segments"][0]["units"] == [[0, 5]]


def test_thresholds_are_planned_exactly_after_a_run_and_estimated_before(t2v):
    known = sampling.sampling.knowledge()
    widgets = {"threshold": 1.0, "max_skip": 4, "signal": "modulation", "shift": 8.0, "warm_up": 1, "steps": 20}
    widgets |= {"decay_mode": "none", "cache_threshold": 0.01, "predict_threshold": 5.0}
    assert "not run yet" in planned(known, **widgets)["note"]
    node = SimpleNamespace(unique_id="sampler", dynprompt=SimpleNamespace(get_node=graph(**widgets).node))
    asked = sampling.Request(t2v, *prompts(), latent(), None, SEED, 20, 4.0, 8.0, "euler")
    _, run = sampling.render(node, asked, read("scope", {"preset": "custom", **widgets, "speed": 0.0, "fidelity": 0.0}))
    made = planned(known, **widgets)
    assert made["exact"] and "P" in modes(run.trace)
    assert [step["modes"] for step in made["trace"]["segments"][0]["steps"]] == list(modes(run.trace))


def test_a_sweep_of_it_is_planned_and_a_shift_of_the_model_is_assumed(tmp_path):
    known = SignalMaps(tmp_path)
    assert len(planned(known, "sweep")["points"]) == 3
    span = {"class_type": "ConditioningSetTimestepRange", "inputs": {"start_percent": 0.4, "end_percent": 1.0}}
    made = plan_node("sampler", graph({"range": span}, preset="fast"), known)
    assert not made["exact"] and "cannot know" in made["note"]
    assert "Shift 0 is the MODEL's own" in planned(known, shift=0.0, preset="fast")["note"]


TINY = {
    "LTXV": {
        "in_channels": 128,
        "cross_attention_dim": 128,
        "attention_head_dim": 64,
        "num_attention_heads": 2,
        "caption_channels": 64,
        "num_layers": 1,
    },
    "CosmosT2IPredict2": {
        "in_channels": 16,
        "out_channels": 16,
        "patch_spatial": 2,
        "patch_temporal": 1,
        "max_img_h": 240,
        "max_img_w": 240,
        "max_frames": 128,
        "model_channels": 64,
        "num_blocks": 1,
        "num_heads": 2,
        "crossattn_emb_channels": 64,
        "pos_emb_cls": "rope3d",
        "extra_per_block_abs_pos_emb": False,
    },
    "HunyuanVideo": {
        "in_channels": 16,
        "out_channels": 16,
        "vec_in_dim": 32,
        "context_in_dim": 64,
        "hidden_size": 256,
        "mlp_ratio": 2.0,
        "num_heads": 2,
        "depth": 1,
        "depth_single_blocks": 1,
        "axes_dim": [16, 56, 56],
        "theta": 256,
        "patch_size": [1, 2, 2],
        "qkv_bias": True,
        "guidance_embed": True,
        "byt5": False,
        "meanflow": False,
        "use_cond_type_embedding": False,
        "vision_in_dim": None,
        "meanflow_sum": False,
    },
}
"""Networks of the host beside Wan's."""


def tiny(name):
    config = getattr(comfy.supported_models, name)({**TINY[name], "dtype": torch.float32})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = config.get_model({})
        for parameter in model.diffusion_model.parameters():
            torch.nn.init.normal_(parameter, 0, 0.05)
    return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


@pytest.mark.parametrize("mask", [False, True], ids=["whole", "noise mask"])
@pytest.mark.parametrize("name", TINY)
def test_other_networks_of_the_host_are_sampled_as_ksampler_does(name, mask):
    model, conds = tiny(name), prompts()
    given = latent(mask, (1, TINY[name]["in_channels"], 3, 8, 8))
    cfg = 3.0
    for part in conds:
        part[0][1]["pooled_output"] = torch.ones(1, 32)
        if name == "LTXV":  # which needs an attention mask, that the host cannot batch on a CPU
            cfg, part[0][1]["attention_mask"] = 1.0, torch.ones(1, 7)
    expected = stock(model, given, conds, cfg)
    made, trace = ours(model, given, conds, cfg, shift=0.0)
    if name == "CosmosT2IPredict2":
        assert (made - expected).abs().max() < 2e-5 * expected.abs().max()
    else:
        assert torch.equal(made, expected)
    assert trace.forwards == STEPS * (1 if cfg == 1 else 2)
    assert "P" in modes(ours(model, given, conds, cfg, PRESETS["fast"], shift=0.0)[1])
