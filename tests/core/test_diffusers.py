"""docs/diffusers.md: diffusers' pipelines accelerated, and equal to themselves where nothing is skipped (tiny random
weights, fp32)."""

import json
import logging
import re
import runpy
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tiny_pipelines
import torch
from diffusers import (
    EulerDiscreteScheduler,
    HeliosPipeline,
    HeliosScheduler,
    PyramidAttentionBroadcastConfig,
    SkyReelsV2DiffusionForcingImageToVideoPipeline,
    SkyReelsV2DiffusionForcingPipeline,
    SkyReelsV2DiffusionForcingVideoToVideoPipeline,
    UniPCMultistepScheduler,
)
from diffusers.callbacks import SDCFGCutoffCallback
from PIL import Image

from scope_core import METHODS, SKYREELS, Settings, sample
from scope_core.families.skyreels import Guided
from scope_core.networks.skyreels_keys import to_official
from scope_core.networks.wan import WanConfig, WanTransformer
from scope_core.pipelines import accelerate
from scope_core.study.report import markdown

DOCS = Path(__file__).parents[2] / "docs"
TOLERANCE = 2e-5
TEXT, IMAGE, VIDEO = (
    SkyReelsV2DiffusionForcingPipeline,
    SkyReelsV2DiffusionForcingImageToVideoPipeline,
    SkyReelsV2DiffusionForcingVideoToVideoPipeline,
)
HELIOS = HeliosPipeline
USUAL = {
    "prompt": "a red ball rolls",
    "negative_prompt": "bad",
    "height": 32,
    "width": 48,
    "num_frames": 17,
    "num_inference_steps": 6,
    "max_sequence_length": 8,
}
LONG = {"num_frames": 29, "base_num_frames": 17, "overlap_history": 5}
CHUNKS = {"num_frames": 66, "height": 16, "width": 32}
LATENT = {"output_type": "latent"}


def picture(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 48, 3), dtype=np.uint8))


FIRST, LAST, CLIP = {"image": picture(0)}, {"last_image": picture(1)}, {"video": [picture(i) for i in range(9)]}


def build(pipeline):
    return tiny_pipelines.helios() if pipeline is HELIOS else tiny_pipelines.skyreels(pipeline)


def called(pipe, settings=None, seed=3, **arguments):
    """What the pipeline gives, or with settings the accelerated one."""
    torch.manual_seed(5)
    arguments = {**USUAL, "generator": torch.Generator().manual_seed(seed), **arguments}
    return pipe(**arguments) if settings is None else accelerate(pipe, settings=settings, **arguments)


def apart(a, b):
    a, b = (torch.as_tensor(np.asarray(made.frames)) for made in (a, b))
    assert a.shape == b.shape
    return (a - b).abs().max().item()


def rms(a, b):
    return (a.frames - b.frames).square().mean().sqrt().item()


@pytest.mark.parametrize(
    "pipeline, arguments",
    [
        (TEXT, {}),
        (TEXT, {"fps": 16, "guidance_scale": 1.0} | LATENT),
        (TEXT, {"generator": None, "num_frames": 18, "output_type": "pt"}),
        (TEXT, {"ar_step": 2} | LATENT),
        (TEXT, {"num_frames": 29, "ar_step": 2, "causal_block_size": 4} | LATENT),
        (TEXT, {"num_frames": 29, "causal_block_size": 2} | LATENT),
        (TEXT, {**LONG, "addnoise_condition": 20}),
        (TEXT, {**LONG, "num_frames": 25, "ar_step": 2, "generator": None} | LATENT),
        (TEXT, {"num_frames": 45, "base_num_frames": 29, "overlap_history": 13, "causal_block_size": 4, "ar_step": 2}),
        (IMAGE, {**FIRST, "addnoise_condition": 20}),
        (IMAGE, FIRST | LONG | LATENT),
        (IMAGE, FIRST | LAST),
        (IMAGE, FIRST | LAST | LATENT),
        (IMAGE, {**FIRST, **LAST, "ar_step": 2} | LATENT),
        (IMAGE, {**FIRST, "latents": torch.randn(1, 16, 5, 4, 6, generator=torch.Generator().manual_seed(0))} | LATENT),
        (VIDEO, {**CLIP, **LONG, "addnoise_condition": 20}),
        (VIDEO, {**CLIP, **LONG, "ar_step": 2} | LATENT),
        (HELIOS, CHUNKS),
        (HELIOS, {**CHUNKS, "num_frames": 99, "num_inference_steps": 4, "guidance_scale": 1.0} | LATENT),
        (HELIOS, {**CHUNKS, "sigmas": np.array([0.999, 0.7, 0.3]), "num_inference_steps": 3} | LATENT),
        (HELIOS, FIRST | CHUNKS),
        (HELIOS, {**FIRST, **CHUNKS, "add_noise_to_image_latents": False, "is_skip_first_chunk": True} | LATENT),
        (HELIOS, {**CHUNKS, "video": [picture(i) for i in range(40)]}),
        (HELIOS, {**CHUNKS, "num_frames": 99, "video": [picture(i) for i in range(70)]} | LATENT),
    ],
)
def test_off_is_the_pipeline(pipeline, arguments):
    pipe = build(pipeline)
    made = called(pipe, "off", **arguments)
    assert apart(called(pipe, **arguments), made) <= TOLERANCE
    totals = made.trace.totals
    assert totals["computed"] == totals["iterations"] > 0


def test_several_prompts_and_generators():
    arguments = {"prompt": ["a red ball", "blue"], "negative_prompt": ["bad", "bad"], **LATENT}
    pipe = tiny_pipelines.skyreels(TEXT, fps=False)
    both = [called(pipe, how, **arguments, generator=generators()) for how in (None, "off")]
    assert apart(*both) <= TOLERANCE and both[1].frames.shape[0] == 2
    twice = {"prompt": "a red ball", "negative_prompt": "bad", "num_videos_per_prompt": 2, **LATENT}
    both_of_one = [called(pipe, how, **twice, generator=generators()) for how in (None, "off")]
    assert apart(*both_of_one) <= TOLERANCE and both_of_one[1].frames.shape[0] == 2
    one = called(pipe, "off", prompt="blue", generator=generators()[1], **LATENT)
    assert (one.frames - both[1].frames[1:]).abs().max() <= TOLERANCE


def generators():
    return [torch.Generator().manual_seed(seed) for seed in (3, 4)]


def test_text_features_in_place_of_prompts():
    pipe = tiny_pipelines.skyreels(TEXT)
    positive, negative = features_of(pipe)
    features = {"prompt": None, "negative_prompt": None, "prompt_embeds": positive, "negative_prompt_embeds": negative}
    assert apart(called(pipe, "balanced", **LATENT), called(pipe, "balanced", **features, **LATENT)) == 0


@torch.no_grad()
def features_of(pipe):
    return pipe.encode_prompt(USUAL["prompt"], USUAL["negative_prompt"], max_sequence_length=8)


def test_where_the_pipelines_fail():
    """docs/diffusers.md, Faults of the pipelines."""
    text, image, video = (tiny_pipelines.skyreels(pipeline) for pipeline in (TEXT, IMAGE, VIDEO))
    short = {**FIRST, **LONG, "num_frames": 33, **LATENT}  # the last window is a short one
    to_end = {**FIRST, **LAST, **LONG, **LATENT}  # an end frame after several windows
    for pipe, arguments, frames in ((image, short, 9), (image, to_end, 9)):
        with pytest.raises((IndexError, RuntimeError)):
            called(pipe, **arguments)
        assert called(pipe, "off", **arguments).frames.shape[2] == frames
    two = {"prompt": ["a red ball", "blue"], "negative_prompt": ["bad", "bad"], **LATENT}
    with pytest.raises(RuntimeError, match="size of tensor"):
        called(text, **two)
    made = called(text, "off", **two, generator=generators()).frames
    assert (made[:1] - called(text, "off", prompt="a red ball", **LATENT).frames).abs().max() <= TOLERANCE
    with pytest.raises(ValueError, match="unpack"):
        called(text, latents=torch.zeros(1, 16, 5, 4, 6))
    assert called(video, "off", **CLIP, **LONG, num_inference_steps=2).frames.shape[1] == 9 + 29
    called(text, num_frames=29, causal_block_size=4, **LATENT)
    assert text.transformer.config.num_frame_per_block == 4
    assert apart(called(text, "off", num_frames=29, **LATENT), called(text, num_frames=29, **LATENT)) <= TOLERANCE
    called(text, "off", num_frames=13, causal_block_size=1, num_inference_steps=2)
    assert text.transformer.config.num_frame_per_block == 4


def counted(pipe):
    """Forwards of the transformer and within its last block, counted by hooks."""
    counts = {"transformer": 0, "last block": 0}
    for name, module in (("transformer", pipe.transformer), ("last block", pipe.transformer.blocks[-1].ffn)):
        module.register_forward_hook(lambda *_, name=name: counts.update({name: counts[name] + 1}))
    return counts


@pytest.mark.parametrize(
    "pipeline, arguments",
    [
        (TEXT, {}),
        (TEXT, {"ar_step": 2}),
        (TEXT, LONG),
        (TEXT, {"num_frames": 29, "ar_step": 2, "causal_block_size": 4}),
        (HELIOS, {"num_frames": 33}),
    ],
    ids=["synchronous", "asynchronous", "long", "block-causal", "Helios"],
)
@pytest.mark.parametrize("preset", ["quality", "balanced", "fast"])
def test_presets_skip_what_the_trace_says(preset, pipeline, arguments):
    pipe = build(pipeline)
    counts = counted(pipe)
    arguments = {**arguments, "num_inference_steps": 12, **LATENT}
    first, second = (called(pipe, preset, **arguments) for _ in range(2))
    totals = first.trace.totals
    assert counts["transformer"] == 2 * totals["forwards"] == 4 * totals["computed"]
    assert totals["computed"] < totals["iterations"] and torch.isfinite(first.frames).all()
    assert torch.equal(first.frames, second.frames)


def test_planned_steps_come_closer_than_fewer_of_them():
    """At equal forwards a run that skips is nearer to the full one than a run of fewer steps."""
    pipe = tiny_pipelines.skyreels(TEXT)
    whole = called(pipe, num_inference_steps=20, **LATENT)
    made = called(pipe, "balanced", num_inference_steps=20, **LATENT)
    fewer = called(pipe, num_inference_steps=made.trace.totals["computed"], **LATENT)
    assert made.trace.totals["computed"] <= 8 and apart(whole, made) < apart(whole, fewer)


@pytest.mark.parametrize(
    "method, saves",
    [
        (METHODS["taylorseer"](3), "transformer"),
        (METHODS["fbcache"](threshold=0.05), "last block"),
        (METHODS["teacache"](threshold=0.5), "last block"),
        (METHODS["scope"](), "transformer"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_methods_decide_as_in_the_library(method, saves):
    """Those that reuse inside the network too, against our own network with the same weights."""
    pipe = tiny_pipelines.skyreels(TEXT, fps=False)
    counts = counted(pipe)
    settings = Settings(method)
    made = called(pipe, settings, num_inference_steps=12, ar_step=2, **LATENT)
    assert counts[saves] < 2 * made.trace.totals["iterations"]
    hooks = [getattr(block, "_diffusers_hook", None) for block in pipe.transformer.blocks]
    assert not any(hook.hooks for hook in hooks if hook)

    ours = WanTransformer(WanConfig(48, 64, 2, 2, text_dim=tiny_pipelines.TEXT_DIM, freq_dim=32)).eval()
    ours.load_state_dict(to_official(pipe.transformer.state_dict()))
    noise = torch.randn(1, 16, 5, 4, 6, generator=torch.Generator().manual_seed(3))
    schedule = SKYREELS.schedule(5, 12, window=5, overlap=1, ar_step=2, table="diffusers", condition_noise=0)
    expected = sample(Guided(ours, *features_of(pipe), cfg=6.0), noise, schedule, settings)
    decisions = [[step["modes"] for step in run.trace.to_json()["segments"][0]["steps"]] for run in (made, expected)]
    assert decisions[0] == decisions[1] and made.trace.forwards == pytest.approx(expected.trace.forwards)
    assert (made.frames - expected.latents).abs().max() <= TOLERANCE


NAMES = ["latents", "prompt_embeds", "negative_prompt_embeds"]


@pytest.mark.parametrize("pipeline, arguments", [(TEXT, LONG | {"ar_step": 1}), (HELIOS, CHUNKS)])
def test_callbacks_see_what_they_see_in_the_pipeline(pipeline, arguments):
    pipe, arguments = build(pipeline), {**arguments, "num_inference_steps": 4, **LATENT}
    seen = {None: [], "off": [], "fast": []}
    for how, calls in seen.items():

        def note(pipe, i, t, given, calls=calls):
            calls.append((i, t, pipe.current_timestep, pipe.num_timesteps, *(given[name].clone() for name in NAMES)))
            return {}

        called(pipe, how, **arguments, callback_on_step_end=note, callback_on_step_end_tensor_inputs=NAMES)
    theirs, ours = seen[None], seen["off"]
    assert len(theirs) == len(ours) == len(seen["fast"]) >= 8
    for a, b in zip(theirs, ours):
        assert a[0] == b[0] and a[3] == b[3] and a[1].dtype == b[1].dtype
        assert all((x - y).abs().max() <= TOLERANCE for x, y in zip(a[1:3] + a[4:], b[1:3] + b[4:]))


def answer(i, given):
    """A callback's answer that changes latents and prompt after the third step."""
    if i != 2:
        return given
    return {"latents": given["latents"] * 0.9, "prompt_embeds": given["prompt_embeds"].flip(1)}


@pytest.mark.parametrize(
    "callback",
    [
        lambda pipe, i, t, given: answer(i, given),
        lambda pipe, i, t, given: setattr(pipe, "_interrupt", i == 2) or {},
        SDCFGCutoffCallback(cutoff_step_ratio=None, cutoff_step_index=3),
    ],
    ids=["changes", "interrupts", "ends guidance"],
)
@pytest.mark.parametrize("pipeline, lengths", [(TEXT, [{}, LONG]), (HELIOS, [CHUNKS])], ids=["SkyReels-V2", "Helios"])
def test_callbacks_act_as_in_the_pipeline(pipeline, lengths, callback):
    pipe = build(pipeline)
    arguments = {"callback_on_step_end": callback, "callback_on_step_end_tensor_inputs": NAMES, **LATENT}
    plain = called(pipe, **lengths[0], **LATENT)
    for length in lengths:
        theirs = called(pipe, **arguments, **length)
        assert apart(theirs, called(pipe, "off", **arguments, **length)) <= TOLERANCE
    assert apart(plain, called(pipe, "off", **arguments, **lengths[0])) > 1e-3


def test_an_interrupted_run_keeps_its_trace():
    def stop(pipe, i, t, given):
        pipe._interrupt = i == 4
        return {}

    made = called(tiny_pipelines.skyreels(TEXT), "balanced", num_inference_steps=12, callback_on_step_end=stop)
    assert made.trace.totals["iterations"] == 5 and made.frames.shape == (1, 17, 32, 48, 3)


def test_changed_latents_are_not_taken_back():
    """Steps before the change are not taken again (correction of the past)."""

    def change(pipe, i, t, given):
        return {"latents": given["latents"] * (0.0 if i == 5 else 1.0)}

    pipe = tiny_pipelines.skyreels(TEXT)
    settings = Settings(METHODS["planned"](computed=(1, 9, 10), period=12))
    steps = {"num_inference_steps": 12, "callback_on_step_end": change, **LATENT}
    with_it, without = (called(pipe, Settings(settings.method, correct=correct), **steps) for correct in (True, False))
    plain = called(pipe, settings, num_inference_steps=12, **LATENT)
    assert apart(with_it, without) < 0.1 * apart(with_it, plain)


def test_progress_and_output_types(capsys):
    pipe = tiny_pipelines.skyreels(TEXT)
    pipe.set_progress_bar_config(disable=False)
    frames, trace = called(pipe, "fast", return_dict=False, output_type="pil")
    assert "6/6" in capsys.readouterr().err and isinstance(frames[0][16], Image.Image)
    page = markdown({"trace": trace.to_json(), "versions": {}})
    assert page.startswith("# SCOPE run: SkyReelsV2Transformer3DModel, planned") and "| diffusers | 0.42" in page
    pipe.set_progress_bar_config(disable=True)
    assert called(pipe, "fast", output_type="pt").frames.shape == (1, 17, 3, 32, 48)


def test_half_precision():
    """In bf16 the transformer is given what the pipeline gives it, and the results are as far apart as bf16 is from
    fp32."""
    whole = called(tiny_pipelines.skyreels(TEXT), **LATENT)
    pipe = tiny_pipelines.skyreels(TEXT)
    pipe.transformer.to(torch.bfloat16)
    given = []
    pipe.transformer.register_forward_pre_hook(lambda module, _, inputs: given.append(inputs), with_kwargs=True)
    theirs, ours = called(pipe, **LATENT), called(pipe, "off", **LATENT)
    of_theirs, of_ours = given[: len(given) // 2], given[len(given) // 2 :]
    for a, b in zip(of_theirs, of_ours):
        assert a.keys() == b.keys() and a["hidden_states"].dtype == b["hidden_states"].dtype == torch.bfloat16
        assert torch.equal(a["timestep"], b["timestep"])
        assert torch.equal(a["encoder_hidden_states"], b["encoder_hidden_states"])
    assert torch.equal(of_theirs[0]["hidden_states"], of_ours[0]["hidden_states"])
    assert ours.frames.dtype == torch.float32 and rms(theirs, ours) < 1.5 * rms(theirs, whole)


def test_lengths_are_rounded_as_in_the_pipeline(caplog):
    with caplog.at_level(logging.WARNING):
        made = called(tiny_pipelines.skyreels(TEXT), "fast", num_frames=20)
    assert made.frames.shape[1] == 21 and "num_frames is 20; made it 21" in caplog.text


@pytest.mark.parametrize(
    "pipeline, arguments, words",
    [
        (TEXT, {"settings": "swift"}, "settings is 'swift'; give Settings, or one of off, "),
        (TEXT, {"num_frames": 97, "base_num_frames": 17}, "overlap_history"),
        (TEXT, {"height": 30}, "divisible by 16"),
        (TEXT, {"ar_step": 7}, "ar_step is 7; it must lie between 0"),
        (TEXT, {"latents": torch.zeros(1, 16, 5, 4, 6)}, "fails on latents; leave them out and give a generator"),
        (TEXT, {"causal_block_size": 2}, "causal_block_size is 2, but a window has 5 latent frames.*whole blocks"),
        (IMAGE, {**FIRST, "num_frames": 13, "causal_block_size": 2}, "of which 1 are known"),
        (VIDEO, CLIP, "overlap_history is None; give the number of frames"),
        (VIDEO, {**CLIP, "overlap_history": 13}, "video has 9 frames, fewer than overlap_history = 13"),
        (TEXT, {"settings": Settings(METHODS["magcache"]())}, "numbers of a recorded run"),
        (HELIOS, {"keep_first_frame": False}, "keep_first_frame is False; only True is served"),
        (HELIOS, {"history_sizes": [4, 2, 1]}, r"history_sizes is .4, 2, 1.; only .16, 2, 1. is served"),
        (HELIOS, {"latents": torch.zeros(1)}, "HeliosPipeline ignores latents; give a generator"),
        (HELIOS, {"settings": Settings(METHODS["bwcache"]())}, "the method watches the hidden states of single frames"),
    ],
)
def test_bad_input_is_answered(pipeline, arguments, words):
    pipe = build(pipeline)
    with pytest.raises(ValueError, match=words):
        called(pipe, **{"settings": "balanced", **arguments})
    assert pipe.transformer.config.get("num_frame_per_block", 1) == 1


def test_other_pipelines_schedulers_and_caches_are_answered():
    with pytest.raises(TypeError, match="object is not served; give one of SkyReelsV2DiffusionForcingPipeline"):
        accelerate(object(), prompt="")
    pipe = tiny_pipelines.skyreels(TEXT)
    with pytest.raises(TypeError, match="unexpected keyword argument 'frames'"):
        accelerate(pipe, "a ball", frames=3)
    pipe.scheduler = EulerDiscreteScheduler()
    with pytest.raises(ValueError, match=r"EulerDiscreteScheduler.*set pipe.scheduler = UniPCMultistepScheduler\(flow"):
        called(pipe, "off")
    pipe.scheduler = UniPCMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=5.0, solver_order=2
    )
    assert apart(called(pipe, **LATENT), called(pipe, "off", **LATENT)) <= TOLERANCE
    helios = tiny_pipelines.helios()
    helios.scheduler = HeliosScheduler(stages=1, stage_range=[0, 1], use_dynamic_shifting=True, scheduler_type="dmd")
    with pytest.raises(ValueError, match=r"scheduler_type='dmd'.*distilled models leave no step to skip"):
        called(helios, "off")
    pipe.transformer.enable_cache(PyramidAttentionBroadcastConfig(current_timestep_callback=lambda: 500))
    with pytest.raises(ValueError, match=r"has a cache of diffusers.*disable_cache"):
        called(pipe, "balanced")
    pipe.transformer.disable_cache()
    assert called(pipe, "balanced").trace.totals["computed"] < 6


@pytest.mark.parametrize(
    "method",
    [METHODS["teacache"](threshold=0.5), METHODS["fbcache"](threshold=0.3), METHODS["taylorseer"](3)],
    ids=lambda method: method.name,
)
def test_methods_run_on_helios(method):
    pipe = tiny_pipelines.helios()
    counts = counted(pipe)
    made = called(pipe, Settings(method), num_inference_steps=12, num_frames=33, **LATENT)
    assert counts["last block"] < 2 * made.trace.totals["iterations"] == 24
    assert torch.isfinite(made.frames).all()


def test_the_example_runs(tmp_path, capsys):
    example = runpy.run_path(str(DOCS / "diffusers_example.py"))
    example["make"](tiny_pipelines.skyreels(TEXT), tmp_path, **(USUAL | {"num_inference_steps": 10}))
    assert capsys.readouterr().out == "computed 4 of 10 steps, 8 forward passes\n"
    assert iio.imread(tmp_path / "video.mp4").shape == (17, 32, 48, 3)
    assert json.loads((tmp_path / "trace.json").read_text())["format"] == "scope.trace"


def test_the_page_s_examples_run():
    """One after the other, as they are read, on tiny pipelines in place of the published ones."""
    size = {name: value for name, value in USUAL.items() if name != "prompt"}
    known = {"pipe": tiny_pipelines.skyreels(TEXT), "size": size}
    examples = re.findall(r"```python\n(.*?)```", (DOCS / "diffusers.md").read_text(), re.DOTALL)
    for code in examples:
        exec(compile(code.replace("num_frames=97", "**size"), "docs/diffusers.md", "exec"), known)
    assert len(examples) == 2 and len(known["frames"][0]) == 17
