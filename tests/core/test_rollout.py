"""The sampling loop on a tiny random transformer: the laws of docs/architecture.md, one by one."""

import json
import weakref
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch

from scope_core import PRESETS, SKYREELS, Gate, Settings, plan
from scope_core.families.skyreels import Guided, Term, block_causal_mask, condition
from scope_core.loop import sample as loop
from scope_core.loop.reading import NotFiniteError
from scope_core.loop.residuals import BlockPass, Residuals
from scope_core.loop.rollout import compose, join, unroll
from scope_core.loop.solver import Euler, UniPC
from scope_core.methods import RULES, Planned, Scope, Skip, TeaCache
from scope_core.networks.attention import block_causal
from scope_core.networks.wan import WanConfig, WanTransformer
from scope_core.signals import change_table

TOLERANCE = 2e-5
SEED = 2
SCHEDULES = {
    "synchronous": SKYREELS.schedule(6, 10, 6, 2),
    "asynchronous": SKYREELS.schedule(6, 10, 6, 2, 2, 3),
    "image": SKYREELS.schedule(6, 9, 6, 2, 2, 3, prefix=1),
    "long": SKYREELS.schedule(10, 10, 6, 2, 2, 3),
}


def scope(max_skip=3, warm_up=2, tail=1, selective="auto", **numbers):
    """SCOPE with thresholds that fit the tiny network, and what differs."""
    return Settings(Scope(**{"tau_c": 0.5, "tau_p": 1.2, **numbers}), Gate(max_skip, warm_up, tail), selective)


OFF = PRESETS["off"]
SCOPE = scope()
TEACACHE = Settings(TeaCache(0.6), SCOPE.gate)
METHODS = {
    "off": OFF,
    "scope": SCOPE,
    "planned": Settings(Planned(2.5)),
    "auto": scope(predictor="auto"),
    "teacache": TEACACHE,
    "paper": replace(PRESETS["paper_fast"], gate=replace(PRESETS["paper_fast"].gate, warm_up=2)),
    "latent": scope(signal="latent", tau_c=0.03, tau_p=0.12),
    "zigzag": scope(monotone=False, predictor="taylor2_paper", decay_mode="paper"),
}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
every_method = pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = WanConfig(dim=64, ffn_dim=128, num_heads=2, num_layers=2, text_dim=16, in_dim=4, out_dim=4)
    return WanTransformer(config).eval().requires_grad_(False)


def guided(model, cfg=3.0):
    generator = torch.Generator().manual_seed(1)
    return Guided(model, torch.randn(1, 5, 16, generator=generator), torch.randn(1, 5, 16, generator=generator), cfg)


def drawn(schedule):
    """Noise and known first frames."""
    generator = torch.Generator().manual_seed(SEED)
    return (torch.randn(1, 4, frames, 4, 4, generator=generator) for frames in (schedule.frames, schedule.prefix))


class Run(loop.Run):
    """One run of the library with its latents, watched together with what decides."""

    def __init__(self, term, schedule, settings, noise=None, solver=UniPC, watch=lambda control, step, x0: None):
        super().__init__(schedule, settings, solver, SEED)

        def on_step(segment, step, x0, record):
            watch(self.controls[-1], step, x0)

        usual, start = drawn(schedule)
        made = partial(self.segment, term, on_step=on_step)
        self.latents = join(unroll(made, usual if noise is None else noise, schedule, start), schedule.overlap)

    @property
    def steps(self):
        return [step for segment in self.trace.segments for step in segment.steps]

    @property
    def modes(self):
        return " ".join(step["modes"] for step in self.steps)

    @property
    def timeline(self):
        told = ("modes", "rules", "scores", "frames")
        return [[{key: step[key] for key in told} for step in segment.steps] for segment in self.trace.segments]


def plain(term, schedule):
    """The same sampler without SCOPE, for one segment."""
    generator = torch.Generator().manual_seed(SEED + 7919)
    (segment,) = schedule.segments
    x, start = drawn(schedule)
    x[:, :, : segment.prefix] = start
    solver = UniPC(segment.sigmas)
    for step in segment.iterations:
        inputs, t = condition(x, segment, schedule, step, generator)
        v = term.velocity(inputs, t, segment.blocks if schedule.causal else None, None)
        x = solver.step(x, v, step.k, step.update, np.zeros(segment.frames, dtype=bool))
    return x


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", ["synchronous", "image"])
def test_off_is_off(model, name, causal):
    """docs/architecture.md, law 1: preset off, thresholds 0, max skip 0: bit for bit the sampler without SCOPE."""
    schedule = replace(SCHEDULES[name], causal=causal)
    expected = plain(guided(model), schedule)
    for settings in (
        OFF,
        scope(tau_c=0.0, tau_p=0.0),
        scope(max_skip=0),
        replace(TEACACHE, method=TeaCache(0.0)),
        replace(TEACACHE, gate=Gate(0, 2, 1)),
    ):
        run = Run(guided(model), schedule, settings)
        assert torch.equal(run.latents, expected)
        assert run.trace.memory == 0
    assert not torch.equal(Run(guided(model), schedule, SCOPE).latents, expected)


@every_schedule
def test_predictions_never_enter_the_memory(model, schedule):
    """docs/architecture.md, law 3: what is kept are velocities that the network returned, at their own noise levels;
    the latent moves all the same."""
    term, returned, kept, told = guided(model), [], [], []
    velocity = term.velocity

    class Watched(UniPC):
        def step(self, x, v, k, update, predicted):
            after = super().step(x, v, k, update, predicted)
            assert (after != x).any(dim=4).any(dim=3).any(dim=1)[0].tolist() == update.tolist()
            told.append(predicted[update].tolist())
            return after

    def record(*args):
        returned.append(velocity(*args))
        return returned[-1]

    def watch(control, step, x0):
        for unit in step.units:
            for entry in control.memory.of(unit.index):
                assert any(
                    torch.equal(entry.value, v[:, :, unit.frames]) for v in returned if v.shape[2] >= unit.frames.stop
                )
                kept.append(entry)
            levels = [entry.sigma for entry in control.memory.of(unit.index)]
            assert levels == sorted(set(levels))

    term.velocity = record
    run = Run(term, schedule, SCOPE, solver=Watched, watch=watch)
    assert "P" in run.modes and "C" in run.modes and kept
    assert [set(each) for each in told] == [{"R" not in step["modes"]} for step in run.steps]
    assert len(returned) == run.trace.totals["computed"] < len(run.steps)


@every_method
@pytest.mark.parametrize("schedule", [SCHEDULES["synchronous"], SCHEDULES["image"]], ids=["synchronous", "image"])
def test_same_inputs_same_output(model, schedule, settings):
    """docs/architecture.md, law 4: after another run, an aborted one, and runs of other settings, length or resolution,
    equal to a fresh run."""
    fresh = Run(guided(model), schedule, settings)
    term = guided(model)

    def abort(control, step, x0):
        if step.index == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(term, schedule, settings, watch=abort)
    for other in (SCOPE, TEACACHE):
        Run(term, SKYREELS.schedule(5, 6, 6, 2), other, torch.randn(1, 4, 5, 6, 8))
    for _ in range(2):
        again = Run(term, schedule, settings)
        assert torch.equal(again.latents, fresh.latents)
        assert again.timeline == fresh.timeline
        assert again.trace.forwards == fresh.trace.forwards


LETTERS = {letter: rule for rule, (letter, _) in RULES.items()}


def test_every_step_is_explained(model):
    """docs/architecture.md, law 5: each decision carries the rule that made it, and every rule of the trace is one that
    occurs."""
    seen = set()
    settings = [*METHODS.values(), scope(warm_up=0, selective="paper"), scope(tau_c=0.0, warm_up=1), scope(max_skip=1)]
    for schedule in (SCHEDULES["synchronous"], SCHEDULES["image"]):
        for step in (step for setting in settings for step in Run(guided(model), schedule, setting).steps):
            assert len(step["modes"]) == len(step["rules"])
            for mode, letter in zip(step["modes"], step["rules"]):
                rule = LETTERS.get(letter)
                seen.add(rule)
                if mode == "P":
                    assert rule in ("predict", "forecast")
                elif mode == "C":
                    assert rule == "cache"
                elif mode == "R":
                    assert rule not in (None, "predict", "forecast", "cache")
                else:
                    assert mode == letter == "."
    assert set(RULES) - seen == {"border", "probe"}, "which test_flow.py and host/test_accelerate.py have"


def hooked(model):
    """Counts block forwards with hooks on the modules themselves."""
    counts = [0] * len(model.blocks)

    def count(i, module, args, output):
        counts[i] += 1

    handles = [block.register_forward_hook(partial(count, i)) for i, block in enumerate(model.blocks)]
    return counts, handles


@every_method
@pytest.mark.parametrize("schedule", [SCHEDULES["synchronous"], SCHEDULES["long"]], ids=["synchronous", "long"])
def test_counted_forwards_are_those_that_hooks_see(model, schedule, settings):
    """docs/architecture.md, law 6, also for methods that reuse inside the network: their skipped steps run no block."""
    counts, handles = hooked(model)
    run = Run(guided(model), schedule, settings)
    for handle in handles:
        handle.remove()
    assert counts == [run.trace.forwards] * 2
    assert run.trace.totals["computed"] == sum("R" in step["modes"] for step in run.steps)
    assert run.trace.forwards == 2 * run.trace.totals["computed"]
    assert (run.trace.totals["computed"] < len(run.steps)) == (settings is not OFF)


@pytest.mark.parametrize("cfg, negative", [(1.0, True), (3.0, False)])
def test_without_guidance_one_branch_runs(model, cfg, negative):
    term = guided(model, cfg)
    term.negative = term.negative if negative else None
    run = Run(term, SCHEDULES["synchronous"], SCOPE)
    assert run.trace.forwards == run.trace.totals["computed"]


def test_one_forward_computes_all_units_or_none(model):
    run = Run(guided(model), SCHEDULES["asynchronous"], SCOPE)
    assert all("R" not in step["modes"] or set(step["modes"]) <= {"R", "."} for step in run.steps)
    assert any("j" in step["rules"] for step in run.steps)


@pytest.mark.parametrize(
    "schedule, settings",
    [*((schedule, SCOPE) for schedule in SCHEDULES.values()), (SCHEDULES["image"], OFF)],
    ids=[*SCHEDULES, "image off"],
)
def test_head_shrink_is_exact_under_a_block_causal_mask_only(model, schedule, settings):
    """docs/scope.md C16: leaving out frames that have not started changes nothing if no frame sees them."""
    gate = replace(settings.gate, warm_up=5)

    def pair(causal):
        wanted = [replace(settings, selective=name, gate=gate) for name in ("paper", "full")]
        return [Run(guided(model), replace(schedule, causal=causal), each) for each in wanted]

    shrunk, whole = pair(causal=True)
    assert (shrunk.latents - whole.latents).abs().max() <= TOLERANCE
    asynchronous = schedule.asynchronous
    assert (shrunk.trace.totals["frames_computed"] < whole.trace.totals["frames_computed"]) == asynchronous
    shrunk, whole = pair(causal=False)
    assert ((shrunk.latents - whole.latents).abs().max() > 1e-3) == asynchronous


@pytest.mark.parametrize("schedule", [SCHEDULES["synchronous"], SCHEDULES["image"]], ids=["synchronous", "image"])
@pytest.mark.parametrize("causal", [False, True])
def test_auto_leaves_frames_out_only_where_that_is_exact(model, schedule, causal):
    run = Run(guided(model), replace(schedule, causal=causal), SCOPE)
    widths = {step["frames"][1] - step["frames"][0] for step in run.steps}
    assert (len(widths) > 1) == (causal and schedule.asynchronous)


@pytest.mark.parametrize("prefix, block", [(0, 2), (1, 2), (3, 2), (0, 1), (2, 4)])
def test_block_causal_attention_equals_the_dense_mask(model, prefix, block):
    """Query slices against a prefix of the keys, and a mask, are the same attention; the mask itself is not empty."""
    (segment,) = SKYREELS.schedule(6, 10, 6, 2, block, 3, prefix=prefix).segments
    generator = torch.Generator().manual_seed(0)
    x, context = torch.randn(1, 4, 6, 4, 4, generator=generator), torch.randn(1, 5, 16, generator=generator)
    t = torch.linspace(100, 900, 6)[None]
    dense, full = model(x, t, context, block_causal_mask(segment.blocks, 6)), model(x, t, context)

    def sliced(q, k, v, attn_mask=None):
        def attend(q, k, v):
            q, k, v = (y.unflatten(2, (2, -1)).transpose(1, 2) for y in (q, k, v))
            return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

        q, k, v = (y.transpose(1, 2).flatten(2) for y in (q, k, v))
        return block_causal(attend, q, k, v, segment.blocks, 6).unflatten(2, (2, -1)).transpose(1, 2)

    for layer in model.blocks:
        layer.self_attn.attend = sliced
    try:
        result = model(x, t, context)
    finally:
        for layer in model.blocks:
            del layer.self_attn.attend
    assert (result - dense).abs().max() <= TOLERANCE
    assert (dense - full).abs().max() > 1e-3


@pytest.mark.parametrize(
    "settings, causal",
    [
        (OFF, False),
        (SCOPE, False),
        (SCOPE, True),
        (METHODS["zigzag"], False),
        (METHODS["paper"], True),
        (TEACACHE, False),
        (TEACACHE, True),
        (scope(signal="sigma", aggregate="mean_all"), False),
    ],
    ids=["off", "scope", "causal", "zigzag", "paper", "teacache", "teacache causal", "sigma"],
)
@every_schedule
def test_the_plan_is_the_run(model, schedule, settings, causal):
    schedule = replace(schedule, causal=causal)
    term = guided(model)
    planned = plan(schedule, settings, change_table(settings.method.signal, schedule.sigmas, term))
    run = Run(term, schedule, settings)
    assert len(planned.segments) == len(run.trace.segments)
    for expected, segment in zip(planned.segments, run.trace.segments):
        assert expected.header == segment.header
        assert [{**step, "seconds": 0} for step in expected.steps] == [{**step, "seconds": 0} for step in segment.steps]
    assert planned.totals["seconds"] == 0 and json.loads(json.dumps(planned.to_json()))["run"]["planned"]


def test_a_signal_that_looks_at_the_content_cannot_be_planned():
    with pytest.raises(ValueError, match="'latent'.*choose modulation, embedding or sigma"):
        plan(SCHEDULES["long"], scope(signal="latent"))


def test_a_plan_without_its_table_is_answered():
    """docs/architecture.md, law 7; with 'sigma' none is needed."""
    assert len(plan(SCHEDULES["long"], scope(signal="sigma")).segments) == 2
    with pytest.raises(ValueError, match="modulation.*table"):
        plan(SCHEDULES["long"], SCOPE)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_model_that_returns_no_numbers_is_answered(model, bad):
    """docs/architecture.md, law 7: the message says at which iteration and noise level, and what to do."""
    term = guided(model)

    def spoil(module, args, output):
        output[0, 0, 0] = bad if term.forwards > 6 else output[0, 0, 0]
        return output

    handle = model.head.register_forward_hook(spoil)
    with pytest.raises(NotFiniteError) as error:
        Run(term, SCHEDULES["synchronous"], OFF)
    handle.remove()
    assert "iteration 4, noise level 0.949" in str(error.value)
    assert "bf16 or fp32" in str(error.value) and "LoRA" in str(error.value)


class Lender(Term):
    """A term whose velocities live in arrays that can be watched, to see what is really held."""

    layers = 0

    def __init__(self):
        self.lent = []

    def velocity(self, x, timestep, attended, around):
        array = (np.sin(x.numpy()) + timestep[:, None, None] / 1000).astype(np.float32)
        self.lent.append(weakref.ref(array))
        return torch.from_numpy(array)

    @property
    def held(self):
        return sum(array().nbytes for array in self.lent if array() is not None)


@every_schedule
@pytest.mark.parametrize("predictor", ["taylor1", "newton2"])
def test_bytes_reported_are_bytes_held(schedule, predictor):
    """Also the peak; and nothing outlives its segment, which a long video would run out of memory for."""
    term, seen = Lender(), []

    def watch(control, step, x0):
        assert control.memory.bytes() == term.held
        seen.append(term.held)

    run = Run(term, schedule, scope(signal="sigma", predictor=predictor, selective="full"), watch=watch)
    assert run.trace.memory == max(control.peak_bytes for control in run.controls) > 0
    assert len(set(seen)) > 1 and len(term.lent) == run.trace.totals["computed"]
    assert term.held == 0


def test_the_most_that_any_segment_held_is_reported_not_the_last():
    """A line needs two velocities [1, 4, frames, 4, 4] fp32; the first window has 6 frames and the last one 4."""
    run = Run(Lender(), SKYREELS.schedule(8, 10, 6, 2), scope(signal="sigma"))
    assert [control.peak_bytes for control in run.controls] == [2 * 4 * 6 * 16 * 4, 2 * 4 * 4 * 16 * 4]
    assert run.trace.memory == 2 * 4 * 6 * 16 * 4


def test_residuals_are_replayed_per_branch_however_branches_are_batched():
    """Blocks that double make a span of two add 3 x; branches recorded together are replayed apart, and in another
    order."""
    kept, skip = Residuals(), Skip((range(1, 3),), range(1, 3))
    one, two = torch.ones(1, 2, 3), torch.full((1, 2, 3), 10.0)

    def through(around, x, branches):
        for i in range(3):
            x = around(i, x, lambda x: 2 * x, [(branch,) for branch in branches])
        return x

    around = BlockPass(kept, skip, skipping=False, frames=1)
    assert torch.equal(through(around, torch.cat([one, two]), ("cond", "uncond")), 8 * torch.cat([one, two]))
    assert around.take() == 6
    around = BlockPass(kept, skip, skipping=True, frames=1)
    assert torch.equal(through(around, 0 * one, ("cond",)), 6 * one)
    both = through(around, torch.cat([0 * one, one]), ("uncond", "cond"))
    assert torch.equal(both, torch.cat([6 * two, 8 * one])) and around.take() == 3


def test_residuals_are_not_replayed_on_a_window_that_grew(model):
    """Without warm-up a chunk that enters would reuse a change recorded without it: rule 'entered', all is computed."""
    run = Run(guided(model), SCHEDULES["asynchronous"], Settings(TeaCache(9.0), Gate(9), selective="paper"))
    pairs = zip([{"frames": [0, 0]}, *run.steps], run.steps)
    grown = [step for before, step in pairs if step["frames"] != before["frames"]]
    assert len(grown) == 3 and all(set(step["modes"]) <= {"R", "."} and "e" in step["rules"] for step in grown)
    assert {step["modes"].strip(".")[0] for step in run.steps if step not in grown} == {"C"}


def test_bytes_of_residuals_are_counted(model):
    """TeaCache keeps one change of the hidden states per guidance branch: [tokens, dim] fp32."""
    run = Run(guided(model), SCHEDULES["synchronous"], TEACACHE)
    assert run.trace.memory == 2 * 6 * 4 * 64 * 4


@pytest.mark.parametrize("solver", [UniPC, Euler])
@pytest.mark.parametrize("steps, ar_step, frames", [(7, 1, 5), (5, 5, 6), (2, 1, 5), (3, 2, 10)])
@pytest.mark.parametrize("selective, causal", [("full", False), ("paper", False), ("auto", True)])
def test_units_that_enter_and_finish_at_odd_times(model, steps, ar_step, frames, selective, causal, solver):
    """No NaN, whatever starts or ends when; without warm-up an entering unit is computed because nothing is known of
    it."""
    schedule = SKYREELS.schedule(frames, steps, 6, 2, 2, ar_step, causal=causal)
    run = Run(guided(model), schedule, scope(warm_up=0, tail=0, selective=selective), solver=solver)
    assert torch.isfinite(run.latents).all()
    assert len(run.steps) == schedule.iterations
    firsts = [segment.steps[0]["rules"] for segment in run.trace.segments]
    assert all(rules[0] == "e" and set(rules[1:]) <= {"."} for rules in firsts)


@pytest.mark.parametrize(
    "settings", [OFF, SCOPE, scope(predictor="newton2"), TEACACHE], ids=["off", "taylor1", "newton2", "teacache"]
)
@pytest.mark.parametrize("name", ["synchronous", "asynchronous"])
def test_batch_is_its_samples_one_by_one(model, name, settings):
    schedule = replace(SCHEDULES[name], condition_noise=0)
    noise = torch.randn(2, 4, schedule.frames, 4, 4, generator=torch.Generator().manual_seed(4))
    both = Run(guided(model), schedule, settings, noise)
    single = [Run(guided(model), schedule, settings, noise[i : i + 1]) for i in range(2)]
    assert (both.latents - torch.cat([run.latents for run in single])).abs().max() <= TOLERANCE
    assert both.timeline == single[0].timeline == single[1].timeline


@pytest.mark.parametrize("settings", [OFF, Settings(Planned(2.5)), TEACACHE], ids=["off", "planned", "teacache"])
@pytest.mark.parametrize("name", ["synchronous", "asynchronous", "long"])
def test_a_batch_of_two_prompts_is_each_of_them_alone(model, name, settings):
    schedule = replace(SCHEDULES[name], condition_noise=0)
    generator = torch.Generator().manual_seed(4)
    noise = torch.randn(2, 4, schedule.frames, 4, 4, generator=generator)
    positive, negative = torch.randn(2, 2, 5, 16, generator=generator)

    def made(part):
        return Run(Guided(model, positive[part], negative[part], 3.0), schedule, settings, noise[part])

    both, single = made(slice(0, 2)), [made(slice(i, i + 1)) for i in range(2)]
    assert (both.latents - torch.cat([run.latents for run in single])).abs().max() <= TOLERANCE
    assert (both.latents[0] - both.latents[1]).abs().max() > 0.1 and both.modes == single[0].modes


def test_prefix_and_end_frames_stay_as_given(model):
    schedule = SKYREELS.schedule(6, 5, 6, 2, 2, 2, prefix=1, tail=1)
    generator = torch.Generator().manual_seed(0)
    noise, start, end = (torch.randn(1, 4, n, 4, 4, generator=generator) for n in (6, 1, 1))
    shown = []
    run = loop.Run(schedule, SCOPE)

    def segment(segment, noise, known):
        shown.append(run.segment(guided(model), segment, noise, known))
        return shown[-1]

    (video,) = unroll(segment, noise, schedule, start, end)
    assert video.shape[2] == 6 and shown[0].shape[2] == 7
    assert torch.equal(video[:, :, :1], start) and torch.equal(shown[0][:, :, 6:], end)


def test_conditioning_noise_reaches_the_model_only(model):
    """docs/skyreels.md 4.3: the prefix is shown at its own timestep with a little fresh noise, and continues clean."""
    schedule = SCHEDULES["image"]
    (segment,) = schedule.segments
    x = torch.randn(1, 4, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    clean = x.clone()
    inputs, t = condition(x, segment, schedule, segment.iterations[0], torch.Generator().manual_seed(1))
    noise = torch.randn(1, 4, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(x, clean) and torch.equal(inputs[:, :, 1:], x[:, :, 1:])
    assert torch.allclose(inputs[:, :, :1], 0.98 * x[:, :, :1] + 0.02 * noise)
    assert t.tolist() == [20, 999, 999, 999, 999, 999]


def test_long_video_goes_on_from_its_last_frames():
    """Each later segment starts from the overlap, or from what `bridge` makes of the segment before it, as it was
    sampled."""
    prefixes, bridged = [], []

    def sample(segment, noise, known):
        prefixes.append(known[:, :, : segment.prefix])
        return compose(segment, noise, known)

    noise = torch.randn(1, 4, 14, 2, 2, generator=torch.Generator().manual_seed(0))

    def bridge(made):
        bridged.append(made)
        return made[:, :, -2:] + 1

    video = join(unroll(sample, noise[:, :, :10], SCHEDULES["long"]), 2)
    assert torch.equal(prefixes[1], video[:, :, 4:6]) and torch.equal(video, noise[:, :, :10])
    segments = unroll(sample, noise, SKYREELS.schedule(14, 10, 6, 2), bridge=bridge)
    assert len(segments) == 3 and all(torch.equal(*pair) for pair in zip(bridged, segments))
    for before, after in pairwise(segments):
        assert torch.equal(after[:, :, :2], before[:, :, -2:] + 1)


def test_trace_is_versioned_json_whose_totals_are_its_steps(model):
    """docs/architecture.md, law 6: everything that is drawn is rebuilt from the trace alone."""
    run = Run(guided(model), replace(SCHEDULES["long"], causal=True), SCOPE)
    trace = json.loads(json.dumps(run.trace.to_json()))
    assert trace == run.trace.to_json()
    assert (trace["format"], trace["version"]) == ("scope.trace", 3)
    steps = [step for segment in trace["segments"] for step in segment["steps"]]
    made = [step for step in steps if "R" in step["modes"]]
    totals = trace["totals"]
    assert totals["iterations"] == len(steps) == run.schedule.iterations
    assert totals["computed"] == len(made)
    assert totals["forwards"] == 2 * len(made)
    assert totals["frames_computed"] == sum(step["frames"][1] - step["frames"][0] for step in made)
    assert totals["frames_baseline"] == sum(segment["frames"] * len(segment["steps"]) for segment in trace["segments"])
    assert totals["seconds"] == pytest.approx(sum(step["seconds"] for step in steps), abs=1e-4)
    assert totals["memory_bytes"] == run.trace.memory > 0
    assert {letter for step in steps for letter in step["rules"]} - {"."} <= set(trace["rules"])
    for segment, parts in zip(run.schedule.segments, trace["segments"]):
        assert parts["units"] == [[u.start, u.stop] for u in segment.units]
        for step, record in zip(segment.iterations, parts["steps"]):
            assert [mode != "." for mode in record["modes"]] == [unit.advances for unit in step.units]
            assert len(record["scores"]) == 4 * len(step.active)
