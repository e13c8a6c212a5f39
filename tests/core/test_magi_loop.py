"""MAGI-1's loop against the published code's outputs (fixtures), and SCOPE per chunk on it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from scope_core.demo.evaluate import Magi
from scope_core.demo.world import TOKENS, tokenize
from scope_core.magi import CHUNK, TEXT_SCALE, ChunkField, Reach, magi_schedule, step_size
from scope_core.models.magi import MagiTransformer, config_of
from scope_core.plan import make_control
from scope_core.presets import PRESETS, Settings
from scope_core.rollout import rollout
from scope_core.schedule import ScheduleError
from scope_core.solver import Euler
from scope_core.trace import Trace

FIXTURES = Path(__file__).parents[1] / "fixtures" / "magi1"
NULL_TOKENS = 50


class Captioned:
    """A tiny MAGI-1 with one caption; notes every call as the fixtures' schedules do."""

    def __init__(self, model, caption, mask):
        self.model, self.caption, self.mask = model, caption, mask
        self.blocks, self.calls = len(model.blocks), []
        self.null = model.y_embedder.null_caption_embedding
        self.null_mask = torch.arange(len(self.null)) < NULL_TOKENS

    def __call__(self, x, times, chunks, ranges, text, cache, keep, dt, dropped, around):
        self.calls.append((times, ranges))
        context = torch.stack([self.null if told is None else self.caption for told in text])[None]
        mask = torch.stack([self.null_mask if told is None else self.mask.bool() for told in text])[None]
        return self.model(x, torch.tensor([times]), chunks, ranges, context, mask, cache, keep, dt, dropped, around)

    def patch_embedding(self, x):
        return self.model.patch_embedding(x)


class Fixture:
    def __init__(self, name):
        with safe_open(FIXTURES / f"{name}.safetensors", "pt") as file:
            meta = file.metadata()
        tensors = load_file(FIXTURES / f"{name}.safetensors")
        weights = {key[2:]: value for key, value in tensors.items() if key.startswith("w.")}
        self.model = MagiTransformer(config_of({key: value.shape for key, value in weights.items()}), device="meta")
        self.model.load_state_dict(weights, assign=True)
        self.noise, self.caption, self.mask, self.start, self.expected = (
            tensors.get(key) for key in ("in.noise", "in.caption", "in.mask", "in.prefix", "out.latent"))
        self.steps, self.window, self.guided = int(meta["num_steps"]), int(meta["window"]), meta["cfg_number"] == "3"
        self.reach = Reach(tuple(json.loads(meta["kvrange"])), int(meta["clean_kv"]))
        self.calls = json.loads((FIXTURES / f"{name}.schedule.json").read_text())

    def run(self, settings=PRESETS["off"], joint=False):
        prefix = 0 if self.start is None else self.start.shape[2]
        schedule = magi_schedule(self.noise.shape[2], self.steps, self.window, prefix, self.reach)
        segment, = schedule.segments
        self.network = Captioned(self.model, self.caption, self.mask)
        self.field = ChunkField(self.network, schedule, self.reach, TEXT_SCALE if self.guided else None, self.start, skips=not settings.off)
        self.control = make_control(replace(settings, joint=joint), schedule, segment, self.network)
        self.trace = Trace({}, by_chunk=True)
        x = self.noise.clone()
        x[:, :, :segment.prefix] = self.start[:, :, :segment.prefix] if segment.prefix else 0
        with torch.inference_mode():
            return rollout(self.field, x, segment, self.control, Euler(segment.sigmas), self.trace.begin(segment))


TOLERANCE = 1e-4
"""1e-5 where the machine's exponential rounds as that of the fixture's machine did; see test_magi.py."""


@pytest.fixture(scope="module", params=["t2v_distill", "i2v_distill", "t2v_base"])
def fixture(request):
    return Fixture(request.param)


@pytest.mark.parametrize("joint", [True, False])
def test_off_is_the_published_loop(fixture, joint):
    """Law 2, magi1.md section 6: output within the tolerance, and the same calls."""
    made = fixture.run(joint=joint)
    assert (made - fixture.expected).abs().max() < TOLERANCE
    if not fixture.guided:
        assert [[[round(t, 5) for t in times], [list(span) for span in ranges]] for times, ranges in fixture.network.calls] == [call[:2] for call in fixture.calls]


SCOPE = Settings(tau_c=0.02, tau_p=5.0, decay_mode="none", predictor="taylor1", signal="sigma", max_skip=2, warm_up=2)


@pytest.fixture(scope="module")
def distilled():
    return Fixture("t2v_distill")


@pytest.mark.parametrize("reach", [Reach(), Reach(()), Reach((5, 4, 3, 2), -1)], ids=["default", "full causal", "clean as last"])
@pytest.mark.parametrize("window", [1, 2, 3, 4, 8])
def test_off_equals_the_sampler_without_scope(distilled, reach, window):
    """Law 1, for every window and reach: chunk by chunk decisions that all say recompute change nothing, bit for bit."""
    distilled.steps, distilled.window, distilled.reach = 24, window, reach
    expected = distilled.run()
    for settings in (replace(SCOPE, max_skip=0), replace(SCOPE, tau_c=0.0, tau_p=0.0)):
        assert torch.equal(distilled.run(settings), expected)
    assert {mode for step in distilled.trace.segments[0].steps for mode in step["modes"]} <= {"R", "."}


@pytest.mark.parametrize("name", ["t2v_distill", "i2v_distill", "t2v_base"])
def test_chunks_skip_on_their_own(name):
    fixture = Fixture(name)
    full = fixture.run()
    forwards = fixture.field.forwards
    made = fixture.run(SCOPE)
    modes = [step["modes"] for step in fixture.trace.segments[0].steps]
    assert torch.isfinite(made).all() and not torch.equal(made, full) and fixture.field.forwards < 0.75 * forwards
    assert any("R" in step and set(step) & {"P", "C"} for step in modes), "all chunks were decided alike"
    entered = [next(step[unit] for step in modes if step[unit] != ".") for unit in range(len(modes[0]))]
    assert set(entered) == {"R"}


def test_finished_chunks_are_shown_clean_even_where_every_chunk_is_skipped(distilled):
    fixture = Fixture("t2v_distill")
    fixture.run(replace(SCOPE, max_skip=50, warm_up=0, tau_c=50.0, tau_p=50.0))
    chunks = fixture.noise.shape[2] // CHUNK
    clean = [times for times, _ in fixture.network.calls if times[0] == pytest.approx(0.9999)]
    assert len(clean) == chunks - 1


def test_the_cache_forgets_what_no_later_chunk_reads(distilled):
    fixture = Fixture("t2v_distill")
    fixture.run()
    kept = {chunk for _, chunk in fixture.field.cache.stored}
    last = fixture.noise.shape[2] // CHUNK - 1
    assert min(kept) >= fixture.reach.first_needed(last) or not fixture.reach.noisy


@pytest.mark.parametrize("change, words", [
    ({"steps": 64, "window": 5}, ["64 steps", "5 chunks", "1, 2, 4, 8"]), ({"steps": 10, "window": 5}, ["10 steps", "4 parts"]),
    ({"prefix": 24}, ["24 latent frames", "longer"]),
])
def test_bad_schedules_are_answered(change, words):
    with pytest.raises(ScheduleError) as error:
        magi_schedule(24, **change)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_the_paper_s_setting_has_its_counts():
    """magi1.md 1.1: 240 frames, 64 steps, window 4: 10 chunks, 208 iterations, 640 chunk steps."""
    segment, = magi_schedule(60, 64, 4).segments
    assert len(segment.units) == 10 and len(segment.iterations) == 208
    assert sum(len(step.active) for step in segment.iterations) == 640 and max(len(step.active) for step in segment.iterations) == 4
    twelve, = magi_schedule(60, 12, 4).segments
    assert len(twelve.iterations) == 3 * 13 and twelve.sigmas[-1] == 0


def test_short_cuts_tell_the_model_how_long_each_step_is(distilled):
    """magi1.md 3.2: half the number of steps; at 12 steps 8 over the interval, by the step within a stage."""
    assert [step_size(n) for n in (64, 16, 8)] == [32, 8, 4]
    assert [step_size(12, "8,16,16", d) for d in range(3)] == [4, 8, 8] and [step_size(12, "16,16,8", d) for d in range(3)] == [8, 8, 4]
    schedule = magi_schedule(24, 12, 4, shortcut="16,16,8")
    network = Captioned(distilled.model, distilled.caption, distilled.mask)
    field, told = ChunkField(network, schedule, skips=False), []
    network.model = lambda x, t, chunks, ranges, context, mask, cache, keep, dt, dropped, around: told.append(dt) or torch.zeros_like(x)
    segment, = schedule.segments
    for step in segment.iterations[:6]:
        field.velocity(torch.zeros(1, 16, 24, 4, 4), step, slice(0, 24), step.active, None)
    assert told == [8, 8, 4, 8, 8, 4]


def test_the_shipped_demo_is_a_magi_and_skips_chunk_by_chunk():
    demo = Magi()
    schedule = magi_schedule(demo.latents, 16, demo.settings["window_size"])
    tokens = torch.tensor([(tokenize("a red circle bouncing on a navy background") + [0] * TOKENS)[:TOKENS]])
    latents, full = demo.sample(tokens, schedule, PRESETS["off"], seed=1)
    assert demo.settings["distilled"] and latents.shape == (1, 16, 24, 8, 8) and 0.5 < latents.std() < 1.5
    skipped, fewer = demo.sample(tokens, schedule, replace(SCOPE, signal="latent"), seed=1)
    assert fewer.forwards < full.forwards and (skipped - latents).abs().mean() < 0.5


@pytest.mark.parametrize("settings", [PRESETS["balanced"], PRESETS["paper_magi_fast"]], ids=["balanced", "paper_magi_fast"])
def test_what_scope_keeps_at_240_frames_of_480x480_is_small(settings):
    """60 MB at most beside the keys and values that MAGI-1 itself needs, counted on tensors of the real size; the network is left out."""
    schedule = magi_schedule(60, 64, 4)
    segment, = schedule.segments
    control = make_control(settings, schedule, segment, Blank())
    x = torch.zeros(1, 16, 60, 60, 60)
    solver = Euler(segment.sigmas)
    with torch.inference_mode():
        rollout(Blank(), x, segment, control, solver, Trace({}, by_chunk=True).begin(segment))
    assert 5e6 < control.peak_bytes < 60e6


class Blank:
    """A field and term whose velocity is a new tensor of zeros; its latents still move in the fourth decimal, so that nothing divides by 0."""

    blocks = 1

    def show(self, x, step):
        return x + 1e-4

    def due(self, step):
        return False

    def velocity(self, x, step, columns, units, residuals):
        return torch.zeros_like(x)

    def patch_embedding(self, x):
        return x

    def features(self, name, sigma):
        return torch.as_tensor(sigma)[:, None]
