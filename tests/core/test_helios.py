"""docs/architecture.md, law 2: the unaccelerated loop equals diffusers' HeliosPipeline within 2e-5, from text, an image
and a video; and what a plan of Helios says."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, HeliosPipeline, HeliosScheduler, HeliosTransformer3DModel

from scope_core import HELIOS, PRESETS, plan, sample
from scope_core.families.helios import CHUNK, MAPPED_STEPS, Guided, History, draw_noise, shift_of
from scope_core.loop.trace import pixel_chunks
from scope_core.methods.bwcache import BWCache
from scope_core.methods.magcache import Record
from scope_core.networks.helios import HeliosTransformer
from scope_core.networks.skyreels_keys import official_key
from scope_core.networks.wan import WanConfig
from scope_core.schedule import ScheduleError
from scope_core.settings import Settings

TOLERANCE = 2e-5
STEPS, H, W, CFG, SEED = 4, 4, 6, 5.0, 3
TOKENS = CHUNK * (H // 2) * (W // 2)
FRAMES = {"long": range(1, 17), "mid": (17, 18), "short": (0, 19), "current": range(20, 29)}
"""Where frames stand in time."""


@pytest.fixture(scope="module")
def pipe():
    torch.manual_seed(0)
    transformer = HeliosTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, rope_dim=(4, 4, 4), text_dim=32, ffn_dim=32, num_layers=2
    )
    vae = AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    scheduler = HeliosScheduler(stages=1, stage_range=[0, 1], use_dynamic_shifting=True)
    pipe = HeliosPipeline(None, None, vae.eval(), scheduler, transformer.eval())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def contexts():
    return torch.randn(2, 1, 7, 32, generator=torch.Generator().manual_seed(1)).unbind()


def given(frames):
    """Latents that a video starts from: its first frame, and those right before it."""
    return torch.randn(1, 16, 1 + frames, H, W, generator=torch.Generator().manual_seed(2)) if frames else None


def reference(pipe, chunks, start, monkeypatch):
    """Latents of the chunks that the pipeline makes."""
    positive, negative = contexts()
    known, made = {}, []
    if start is not None and start.shape[2] == 2:
        known = {"image_latents": start[:, :, :1], "fake_image_latents": start[:, :, 1:]}
    elif start is not None:
        monkeypatch.setattr(pipe, "prepare_video_latents", lambda *_, **__: (start[:, :, :1], start[:, :, 1:]))
        known = {"video": torch.zeros(1, 1, 3, H * 8, W * 8)}

    def collect(_pipe, step, _t, tensors):
        made.extend([tensors["latents"]] if step == STEPS - 1 else [])
        return {}

    pipe(
        height=H * 8,
        width=W * 8,
        num_frames=HELIOS.pixel_frames(chunks * CHUNK),
        num_inference_steps=STEPS,
        guidance_scale=CFG,
        generator=torch.Generator().manual_seed(SEED),
        prompt_embeds=positive,
        negative_prompt_embeds=negative,
        output_type="latent",
        callback_on_step_end=collect,
        **known,
    )
    return torch.cat(made, 2)


def network(pipe):
    """diffusers' network as the library calls one."""
    places = {
        f"indices_{name}": torch.tensor([*FRAMES[part]])[None]
        for part, name in (
            ("long", "latents_history_long"),
            ("mid", "latents_history_mid"),
            ("short", "latents_history_short"),
            ("current", "hidden_states"),
        )
    }

    def run(x, t, context, history, around):
        assert around is None
        return pipe.transformer(
            x,
            t,
            context,
            **places,
            latents_history_long=history.long,
            latents_history_mid=history.middle,
            latents_history_short=history.short,
            return_dict=False,
        )[0]

    return run


def ours(pipe, chunks, start, settings=PRESETS["off"], steps=STEPS):
    schedule = HELIOS.schedule(chunks * CHUNK, steps, tokens=TOKENS)
    noise = draw_noise((1, 16, chunks * CHUNK, H, W), SEED, start)
    model = Guided(network(pipe), 2, *contexts(), CFG)
    return sample(model, noise, schedule, settings, seed=SEED, start=start)


@pytest.mark.parametrize(
    "chunks, frames",
    [(2, 0), (3, 0), (2, 1), (3, 1), (2, CHUNK), (3, 3 * CHUNK)],
    ids=["text", "text, 3 chunks", "image", "image, 3 chunks", "video", "long video, 3 chunks"],
)
def test_off_equals_the_pipeline(pipe, chunks, frames, monkeypatch):
    start = given(frames)
    made = ours(pipe, chunks, start).latents
    expected = reference(pipe, chunks, start, monkeypatch)
    assert made.shape == expected.shape == (1, 16, chunks * CHUNK, H, W)
    assert (made - expected).abs().max() < TOLERANCE


def test_our_network_is_that_of_diffusers():
    """With the same weights; by the names of the file's own layout."""
    torch.manual_seed(1)
    theirs = HeliosTransformer3DModel(
        num_attention_heads=2, attention_head_dim=128, text_dim=32, ffn_dim=64, num_layers=2
    ).eval()
    own = HeliosTransformer(WanConfig(256, 64, 2, 2, text_dim=32))
    own.load_state_dict({official_key(key): value for key, value in theirs.state_dict().items()})
    x, t = torch.randn(2, 16, CHUNK, H, W), torch.tensor([437.5, 999.0])
    history = History.of(torch.randn(2, 16, 1, H, W), torch.randn(2, 16, 12, H, W))
    context = contexts()[0].expand(2, -1, -1)
    with torch.no_grad():
        made = own(x, t, context, history)
        expected = network(SimpleNamespace(transformer=theirs))(x, t, context, history, None)
    assert (made - expected).abs().max() < TOLERANCE and expected.abs().max() > 0.5


def test_a_chunk_looks_back(pipe):
    """What was made before, the first frame, and what was given."""
    plain, image = (ours(pipe, 2, start).latents for start in (None, given(1)))
    other = draw_noise((1, 16, 2 * CHUNK, H, W), SEED)
    other[:, :, 0] += 1
    model, schedule = Guided(network(pipe), 2, *contexts(), CFG), HELIOS.schedule(2 * CHUNK, STEPS, tokens=TOKENS)
    changed = sample(model, other, schedule, PRESETS["off"]).latents
    later = slice(CHUNK, None)
    assert (changed[:, :, later] - plain[:, :, later]).abs().max() > 1e-4
    assert (image - plain).abs().max() > 1e-2


def test_every_chunk_decides_for_itself(pipe):
    made, trace, _ = ours(pipe, 2, None, PRESETS["fast"], steps=12)
    first, second = (record.steps for record in trace.segments)
    assert torch.isfinite(made).all() and trace.totals["iterations"] == 24 > trace.totals["computed"]
    assert [step["modes"] for step in first] == [step["modes"] for step in second]
    assert trace.forwards == 2 * trace.totals["computed"]


@pytest.mark.parametrize("method", [BWCache(), Record()], ids=["bwcache", "recording"])
def test_what_watches_single_frames_is_answered(pipe, method):
    with pytest.raises(ValueError, match="the method watches the hidden states of single frames"):
        ours(pipe, 2, None, Settings(method))


def test_the_noise_levels_follow_the_size(pipe):
    assert abs(shift_of(8640) - 6.815) < 5e-4 and abs(shift_of(8640, "linear") - 1.919) < 5e-4
    for tokens, kind in ((8640, "exponential"), (TOKENS, "exponential"), (8640, "linear")):
        scheduler = HeliosScheduler(stages=1, stage_range=[0, 1], use_dynamic_shifting=True, time_shift_type=kind)
        mu = shift_of(tokens, "linear")
        scheduler.set_timesteps(50, sigmas=np.linspace(0.999, 0.0, 51)[:-1], mu=mu)
        levels = HELIOS.schedule(9, 50, tokens=tokens, time_shift=kind).sigmas
        assert np.abs(scheduler.sigmas.numpy() - levels).max() < 1e-12
    assert HELIOS.schedule(9, 50, shift=3.0).shift == 3.0
    with pytest.raises(ScheduleError, match="'cosine'.*'exponential' or 'linear'"):
        shift_of(8640, "cosine")


def test_lengths_are_those_of_chunks_decoded_alone():
    assert [HELIOS.pixel_frames(n) for n in (0, 1, 9, 10, 18, 27)] == [0, 1, 33, 34, 66, 99]
    assert [HELIOS.latent_frames(n) for n in (1, 2, 33, 34, 66, 132)] == [1, 2, 9, 10, 18, 36]
    schedule = HELIOS.schedule(HELIOS.latent_frames(100), 50)
    trace = plan(schedule, PRESETS["off"]).to_json()
    assert pixel_chunks(trace, 132) == [[0, 33], [33, 66], [66, 99], [99, 132]]
    assert schedule.frames == 36 and [segment.start for segment in schedule.segments] == [0, 9, 18, 27]
    assert {len(segment.units) for segment in schedule.segments} == {1} and schedule.iterations == 200


@pytest.mark.parametrize("steps", [20, 24, 25, 30, 40, 50, 60])
def test_plans_are_exact_at_the_released_size(steps):
    assert MAPPED_STEPS % steps == 0
    assert HELIOS.place(HELIOS.schedule(9, steps))[1] and not HELIOS.place(HELIOS.schedule(9, steps, tokens=999))[1]
