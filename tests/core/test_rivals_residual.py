"""Delta-DiT, MagCache, BWCache, FBCache and TeaCache: methods that reuse inside the network, on both families."""

import json
import re
from dataclasses import replace
from functools import cache, partial

import pytest
import torch

from scope_core import MAGI, SKYREELS
from scope_core.loop.plan import plan
from scope_core.loop.residuals import BlockPass, Residuals
from scope_core.loop.solver import Euler
from scope_core.methods import BWCache, Decision, DeltaDiT, FBCache, Gate, MagCache, Mode, Seen, Skip, TeaCache
from scope_core.methods.magcache import WAN_1_3B, Record, measured
from scope_core.networks.wan import WanConfig, WanTransformer
from scope_core.schedule import Unit
from scope_core.settings import PRESETS, Settings
from scope_core.signals import change_table
from tests.core.test_magi_loop import Fixture
from tests.core.test_rollout import TOLERANCE, Run, guided

BLOCKS = 5
OFF = PRESETS["off"]
SCHEDULES = {
    "synchronous": SKYREELS.schedule(6, 12, 6, 2),
    "asynchronous": SKYREELS.schedule(6, 12, 6, 2, 2, 3),
    "causal": SKYREELS.schedule(6, 12, 6, 2, 2, 3, causal=True),
    "image": SKYREELS.schedule(6, 12, 6, 2, 2, 3, prefix=1),
    "long": SKYREELS.schedule(10, 12, 6, 2, 2, 3),
}
GENTLE = Gate(max_skip=3, warm_up=2, tail=1)
FREE = Gate(max_skip=9, warm_up=0, tail=0)
METHODS = {
    "teacache": Settings(TeaCache(0.6, signal="sigma"), GENTLE),
    "delta_dit": Settings(DeltaDiT(3, 0.4), GENTLE),
    "magcache": Settings(MagCache(0.5, 3, ratios=WAN_1_3B), GENTLE),
    "bwcache": Settings(BWCache(9.0, 0.2), GENTLE),
    "fbcache": Settings(FBCache(0.5), GENTLE),
    "dbcache": Settings(FBCache(0.5, 2, 1), GENTLE),
}
every_method = pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
every_magi = pytest.mark.parametrize(
    "name, window", [("t2v_distill", 1), ("t2v_distill", 4), ("i2v_distill", 2), ("t2v_base", 2)]
)


@pytest.fixture(scope="module")
def model():
    return network()


@cache
def network():
    torch.manual_seed(0)
    config = WanConfig(dim=64, ffn_dim=128, num_heads=2, num_layers=BLOCKS, text_dim=16, in_dim=4, out_dim=4)
    return WanTransformer(config).eval().requires_grad_(False)


def fixture(name, steps=8, window=2):
    made = Fixture(name)
    made.steps, made.window = steps, window
    return made


@cache
def whole(name, window):
    """Latents and forwards of a MAGI-1 without any method."""
    magi = fixture(name, window=window)
    return magi.run(), magi.network.forwards


def gated(settings, **rules):
    """With other safety rules."""
    return replace(settings, gate=replace(settings.gate, **rules))


@cache
def plain(schedule):
    """Latents of the tiny SkyReels-V2 without any method."""
    return Run(guided(network()), schedule, OFF).latents


def unit(step, steps=50):
    return Unit(0, slice(0, 1), step, steps, 0.5, True)


def watched(model, per_part):
    """Parts that pass through each block, seen by hooks: block(hidden [B, tokens, dim], ...), `per_part` tokens a part
    or None for all."""
    counts = [0] * len(model.blocks)

    def count(i, module, args, output):
        counts[i] += args[0].shape[1] // per_part if per_part else 1

    return counts, [block.register_forward_hook(partial(count, i)) for i, block in enumerate(model.blocks)]


# the laws


@every_schedule
@every_method
def test_counted_forwards_are_those_that_hooks_see(model, schedule, settings):
    """docs/architecture.md, law 6: two guidance branches, spans skipped in part; what is skipped is skipped, and every
    computed step runs every block."""
    counts, handles = watched(model, None)
    run = Run(guided(model), schedule, settings)
    for handle in handles:
        handle.remove()
    computed = sum("R" in step["modes"] for step in run.steps)
    assert run.trace.forwards == pytest.approx(sum(counts) / BLOCKS) and torch.isfinite(run.latents).all()
    assert 0 < computed < len(run.steps) and min(counts) >= 2 * computed and max(counts) <= 2 * len(run.steps)
    blocks = range(BLOCKS)
    skipped = len(run.steps) - computed
    if settings.method.name in ("teacache", "magcache", "bwcache"):
        assert set(counts) == {2 * computed}
    elif settings.method.name == "fbcache":
        ran = {i for i in blocks if counts[i] > 2 * computed}
        assert ran == ({0} if settings.method.front == 1 else {0, 1, 4})
        assert all(counts[i] == 2 * len(run.steps) for i in ran)
    else:
        assert sum(counts) == 2 * (BLOCKS * computed + 3 * skipped) and counts[2] == 2 * len(run.steps)


@every_magi
@every_method
def test_counted_forwards_of_magi_are_those_that_hooks_see(name, window, settings):
    """Chunks, in every branch, and those shown clean or twice."""
    magi = fixture(name, window=window)
    counts, _ = watched(magi.model, 6 * 2 * 3)
    made = magi.run(gated(settings, warm_up=1))
    forwards = magi.network.forwards
    assert forwards == pytest.approx(sum(counts) / 2) and torch.isfinite(made).all()
    assert forwards < whole(name, window)[1] or window == 4, "stages of two iterations may leave nothing to skip"


@every_schedule
@every_method
def test_computing_every_step_is_the_run_without(model, schedule, settings):
    """docs/architecture.md, law 1: nothing to skip is bit for bit off, also where changes are recorded, probed and
    watched at every step."""
    expected = plain(schedule)
    for each in (gated(settings, max_skip=0), replace(gated(settings, warm_up=99), selective="full")):
        run = Run(guided(model), schedule, each)
        assert torch.equal(run.latents, expected) and set(run.modes) <= {"R", ".", " "}
    assert not torch.equal(Run(guided(model), schedule, settings).latents, expected)


@every_magi
@every_method
def test_computing_every_step_of_magi_is_the_run_without(name, window, settings):
    """In the published one, finished chunks are shown clean in the same call; so they have to be here."""
    magi, (expected, _) = fixture(name, window=window), whole(name, window)
    for each in (gated(settings, max_skip=0), gated(settings, warm_up=99)):
        assert torch.equal(magi.run(each), expected)


@pytest.mark.parametrize(
    "off", [TeaCache(0.0), DeltaDiT(1), MagCache(0.0), MagCache(longest=0), BWCache(0.0), FBCache(0.0)], ids=str
)
def test_knob_at_zero_is_off(off):
    assert Settings(off).off and not Settings(type(off)()).off


@every_method
@pytest.mark.parametrize("name", ["synchronous", "causal"])
def test_same_inputs_same_output(model, name, settings):
    """docs/architecture.md, law 4: after an aborted run, and runs of other methods and resolutions, equal to a fresh
    run."""
    schedule = SCHEDULES[name]
    fresh, term = Run(guided(model), schedule, settings), guided(model)

    def abort(control, step, x0):
        if step.index == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(term, schedule, settings, watch=abort)
    Run(term, SKYREELS.schedule(5, 6, 6, 2), settings, torch.randn(1, 4, 5, 6, 8))
    for _ in range(2):
        again = Run(term, schedule, settings)
        assert torch.equal(again.latents, fresh.latents) and again.timeline == fresh.timeline
        assert again.trace.forwards == pytest.approx(fresh.trace.forwards)


@pytest.mark.parametrize(
    "steps, ar_step, frames, selective, causal",
    [
        (7, 1, 5, "full", False),
        (5, 5, 6, "paper", False),
        (2, 1, 5, "auto", True),
        (3, 2, 10, "full", False),
        (3, 2, 10, "auto", True),
    ],
)
@every_method
def test_units_that_enter_and_finish_at_odd_times(model, settings, steps, ar_step, frames, selective, causal):
    schedule = SKYREELS.schedule(frames, steps, 6, 2, 2, ar_step, causal=causal)
    run = Run(guided(model), schedule, replace(settings, gate=FREE, selective=selective), solver=Euler)
    assert torch.isfinite(run.latents).all() and len(run.steps) == schedule.iterations
    assert all("R" in segment.steps[0]["modes"] for segment in run.trace.segments)


@every_schedule
@pytest.mark.parametrize("name", ["delta_dit", "magcache", "teacache"])
def test_the_plan_is_the_run(model, schedule, name):
    settings = METHODS[name]
    term = guided(model)
    planned = plan(schedule, settings, change_table(settings.method.signal, schedule.sigmas, term))
    run = Run(term, schedule, settings)
    for expected, segment in zip(planned.segments, run.trace.segments):
        assert [{**step, "seconds": 0} for step in expected.steps] == [{**step, "seconds": 0} for step in segment.steps]


@pytest.mark.parametrize("name, window", [("t2v_distill", 1), ("t2v_distill", 2), ("i2v_distill", 1), ("t2v_base", 1)])
@pytest.mark.parametrize("method", ["delta_dit", "magcache", "teacache"])
def test_the_plan_of_magi_is_the_run(name, window, method):
    """Also where the oldest chunk begins to be shown twice, which leaves nothing to reuse for its copy."""
    magi, settings = fixture(name, window=window), gated(METHODS[method], warm_up=0, tail=0)
    magi.run(settings)
    prefix = 0 if magi.start is None else magi.start.shape[2]
    planned = plan(MAGI.schedule(magi.noise.shape[2], 8, window, prefix, magi.reach), settings)
    modes = [step["modes"] for step in magi.trace.segments[0].steps]
    assert [step["modes"] for step in planned.segments[0].steps] == modes and "C" in "".join(modes)


@pytest.mark.parametrize("name", ["bwcache", "fbcache"])
def test_what_the_network_decides_cannot_be_planned(name):
    with pytest.raises(ValueError, match="decides from what the network returns"):
        plan(SCHEDULES["long"], METHODS[name])


CHANGE = 2 * 6 * 4 * 64 * 4
"""Bytes of one change of the hidden states, fp32, in both branches."""


@pytest.mark.parametrize(
    "name, expected",
    [
        ("teacache", CHANGE),
        ("delta_dit", 2 * CHANGE),
        ("magcache", CHANGE),
        ("fbcache", 2 * CHANGE),
        ("dbcache", 2 * CHANGE),
        ("bwcache", CHANGE + BLOCKS * CHANGE // 4),
    ],
)
def test_bytes_are_counted(model, name, expected):
    """One change a span; BWCache also keeps every block's output averaged over the four tokens of a frame."""
    assert Run(guided(model), SCHEDULES["synchronous"], METHODS[name]).trace.memory == expected


def test_settings_survive_json():
    for settings in METHODS.values():
        assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


# Delta-DiT


def trace(method, steps, seen=lambda step: None, forced=()):
    """Modes and rules of a unit alone, without the gate; at the steps `forced` others ask for a computed one.
    `seen(step)` is the watched change."""
    state, modes, rules = method.init(), "", []
    for step in range(1, steps + 1):
        decision = method.decide(state, unit(step, steps), 0.0, ())
        if step in forced or step == 1:
            decision = Decision(Mode.RECOMPUTE, decision.score, "joint")
        if decision.mode is Mode.RECOMPUTE:
            change = seen(step)
            was = None if change is None else Seen(None, None, change, 1.0)
            state = method.observe(state, unit(step, steps), (), was)
        state = method.settle(state, unit(step, steps), 0.0, decision)
        modes, rules = modes + decision.mode.value, [*rules, decision.rule]
    return modes, rules


@pytest.mark.parametrize(
    "every, forced, modes", [(1, (), "RRRRRRRR"), (2, (), "RCRCRCRC"), (3, (), "RCCRCCRC"), (4, (3,), "RCRCCCRC")]
)
def test_delta_dit_computes_one_step_in_n(every, forced, modes):
    assert trace(DeltaDiT(every), len(modes), forced=forced)[0] == modes


@pytest.mark.parametrize("share, blocks, size", [(0.5, 30, 15), (0.4, 5, 2), (0.1, 4, 1), (1.0, 4, 4), (0.5, 1, 1)])
def test_delta_dit_turns_from_the_rear_to_the_front(share, blocks, size):
    """b compares to the unit's own step."""
    method = DeltaDiT(2, share, 0.3)
    front, rear = range(size), range(blocks - size, blocks)
    for step in range(1, 51):
        assert method.skip(0, unit(step), blocks) == Skip((front, rear), rear if step <= 15 else front)


def test_delta_dit_on_a_staircase_goes_by_the_chunk_furthest_on(model):
    """Three chunks, each three steps behind the one before; of five blocks two are skipped, from a chunk's step 7 of 12
    on those of the front. Every other iteration is skipped, the second one first: the first chunk is then at its steps
    2, 4, 6, 8, 10, 12, and when it is done the next ones are at 11, 10 and 12. The last one that has begun would tell
    the rear side at six of these iterations instead of three."""
    ran = [[]]
    handles = [block.register_forward_hook(lambda *_, i=i: ran[-1].append(i)) for i, block in enumerate(model.blocks)]
    run = Run(
        guided(model),
        SCHEDULES["asynchronous"],
        Settings(DeltaDiT(2, 0.4, 0.5), FREE),
        watch=lambda control, step, x0: ran.append([]),
    )
    for handle in handles:
        handle.remove()
    assert [step["modes"] for step in run.steps] == [
        "R..",
        "C..",
        "R..",
        "CC.",
        "RR.",
        "CC.",
        *["RRR", "CCC"] * 3,
        ".RR",
        ".CC",
        ".RR",
        "..C",
        "..R",
        "..C",
    ]
    every, without_rear, without_front = [0, 1, 2, 3, 4], [0, 1, 2], [2, 3, 4]
    expected = [*[every, without_rear] * 3, *[every, without_front] * 6]
    assert ran == [*(2 * blocks for blocks in expected), []], "both branches of guidance, one after the other"


COND, UNCOND = ("cond",), ("uncond",)
"""Branches of guidance."""


def through(around, x, run=lambda i, x: (i + 2) * x, blocks=4, keys=(COND,), **more):
    for i in range(blocks):
        x = around(i, x, partial(run, i), keys, **more)
    return x


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 1.0])
def test_delta_dit_puts_back_the_change_of_its_span(share):
    """Blocks multiply by 2, 3, 4, 5. Recorded at 1: 1, 2, 6, 24, 120. Spans that overlap, or are the same, are told
    apart."""
    one, size = torch.ones(1, 2, 3), round(4 * share)
    values = [1, 2, 6, 24, 120]
    residuals = Residuals()
    first, early, late = (
        BlockPass(residuals, DeltaDiT(2, share).skip(0, unit(step), 4), step > 1, 1) for step in (1, 2, 40)
    )
    assert torch.equal(through(first, one), 120 * one)
    ran = values[4 - size]
    assert torch.equal(through(early, 0.5 * one), (0.5 * ran + 120 - ran) * one)
    assert torch.equal(through(late, 0.5 * one), (0.5 + values[size] - 1) * 120 / values[size] * one)
    assert [around.take() for around in (first, early, late)] == [4, 4 - size, 4 - size]
    assert all(around.starts == {} for around in (first, early, late))
    assert residuals.bytes() == (1 if share == 1 else 2) * one.nbytes


# MagCache


@pytest.mark.parametrize("threshold, longest, computed", [(0.12, 2, 25), (0.12, 4, 21), (0.24, 6, 18)])
def test_magcache_makes_the_published_numbers_of_computes(threshold, longest, computed):
    """docs/methods.md, MagCache: of 50 steps, with the published ratios of Wan 2.1 T2V-1.3B."""
    settings = Settings(MagCache(threshold, longest, ratios=WAN_1_3B), FREE)
    assert plan(SKYREELS.schedule(25, 50, 25, 5), settings).totals["computed"] == computed
    assert len(WAN_1_3B) == 50


def test_magcache_by_hand():
    """gamma 0.9, delta 0.35: g 0.9, 0.81, E 0.1, 0.29, then 0.561; K cuts runs at one; the first 0.2 of 10 steps are
    computed."""
    method = MagCache(0.35, 9, 0.2, (0.9,) * 10)
    assert trace(method, 10) == ("RRCCRCCRCC", ["joint", "warm_up", *(["cache", "cache", "threshold"] * 3)[:8]])
    assert trace(replace(method, longest=1), 10) == ("RRCRCRCRCR", ["joint", "warm_up", *["cache", "max_skip"] * 4])
    assert trace(method, 10, forced=(4,))[0] == "RRCRCCRCCR"
    grown = MagCache(0.35, 9, 0.2, (1.1,) * 10)
    assert trace(grown, 10)[0] == "RRCCRCCRCC"
    state = method.settle(method.init(), unit(3, 10), 0.0, Decision(Mode.REUSE, 0.1, "cache"))
    assert state == pytest.approx((0.9, 0.1, 1))
    assert method.after(state, unit(4, 10)) == pytest.approx((0.81, 0.29, 2))


def test_magcache_looks_up_the_nearest_ratio_by_the_unit_s_own_step():
    method = MagCache(ratios=(1.0, 2.0, 3.0, 4.0))
    assert [method.after(method.init(), unit(step, 4)).growth for step in range(1, 5)] == [1, 2, 3, 4]
    assert [method.after(method.init(), unit(step, 7)).growth for step in (1, 3, 5, 7)] == [1, 2, 3, 4]
    assert [method.after(method.init(), unit(step, 2)).growth for step in (1, 2)] == [1, 4]
    settings = Settings(MagCache(0.5, 1, ratios=WAN_1_3B), FREE)
    late, alone = (plan(SCHEDULES[name], settings).segments[0].steps for name in ("asynchronous", "synchronous"))
    assert [step["modes"] for step in alone][:3] == ["R", "R", "R"] and all("R" in step["modes"] for step in late[:3])
    assert [step["rules"][2] for step in late[6:9]] == ["w", "w", "w"], "the last chunk's warm-up is its own"


def test_magcache_ratios_come_from_a_recorded_run(model):
    """gamma of a network whose residual is known: blocks of x + g(x) with g growing by 2 and then by 1.5 a step."""
    residuals, method, one = Residuals(), Record(), torch.ones(1, 4, 3)
    states, scale = [method.init(), method.init()], 1.0
    for step, growth in ((1, 1.0), (2, 2.0), (3, 1.5)):
        scale *= growth
        around = BlockPass(residuals, method.skip(states[0], unit(step), 4), skipping=False, frames=2)
        for branch in (COND, UNCOND):
            through(around, one, lambda i, x: x + scale * (i + 1), keys=(branch,))
        if seen := around.seen():
            assert seen[1].tolist() == pytest.approx([growth] * 4)
            was = Seen(None, None, *(float(x.mean()) for x in seen))
            states[0] = method.observe(states[0], unit(step, 4), (), was)
    assert measured(states, 3) == pytest.approx((1.0, 2.0, 1.5))
    assert measured([{3: 0.9, 5: 0.7}, {5: 0.5}], 6) == pytest.approx((1.0, 0.9, 0.9, 0.75, 0.6, 0.6))
    assert measured([{}, {}], 6) == ()


@pytest.mark.parametrize("name", ["synchronous", "asynchronous", "causal"])
def test_recording_a_run_changes_nothing_and_gives_every_ratio(model, name):
    """Checked against the residuals themselves, taken from hooks."""
    schedule, sizes, start = SCHEDULES[name], [], []
    handles = [
        model.blocks[0].register_forward_pre_hook(lambda module, args: start.__setitem__(slice(None), [args[0]])),
        model.blocks[-1].register_forward_hook(
            lambda module, args, output: sizes.append((output - start[0]).norm(dim=-1))
        ),
    ]
    run = Run(guided(model), schedule, Settings(Record(), selective="full" if name == "asynchronous" else "auto"))
    for handle in handles:
        handle.remove()
    assert (run.latents - plain(schedule)).abs().max() <= (TOLERANCE if schedule.causal else 0)
    states = [state for control in run.controls for state in control.states]
    ratios = measured(states, schedule.steps)
    assert len(ratios) == schedule.steps == len(set(ratios))
    assert ratios[0] == 1 and all(0.3 < ratio < 3 for ratio in ratios)
    assert all(set(range(2, 13)) - {4, 7} <= set(state) for state in states)
    if name == "synchronous":
        expected = [
            ((cond / old_cond).mean() + (uncond / old_uncond).mean()) / 2
            for old_cond, old_uncond, cond, uncond in zip(sizes[::2], sizes[1::2], sizes[2::2], sizes[3::2])
        ]
        assert ratios[1:] == pytest.approx([float(x) for x in expected], rel=1e-4)
    assert MagCache(ratios=list(ratios)) == MagCache(ratios=ratios)


@every_magi
def test_recording_magi_changes_nothing_and_gives_every_ratio(name, window):
    """But where a chunk enters, leaves or begins to be shown twice."""
    magi, (expected, _) = fixture(name, window=window), whole(name, window)
    assert torch.equal(magi.run(Settings(Record())), expected)
    ratios = measured(magi.control.states, 8)
    assert len(ratios) == 8 and ratios[0] == 1 and all(0.2 < ratio < 5 for ratio in ratios[1:])
    found = set().union(*magi.control.states)
    assert 1 not in found and len(found) >= 8 - 2 * window
    last = magi.noise.shape[2] // 6 - 1
    kept = {chunk for (_, chunk), _ in magi.held.residuals.stored}
    assert kept and kept <= {last, last + 1}, "nothing is kept of finished chunks"


# BWCache


@pytest.mark.parametrize(
    "changes, pace, tail_ratio, modes",
    [
        ({}, 0.1, 0.5, "R" * 20),
        ({4: 0.1}, 0.1, 0.5, "RRRR" + "CCRCCRCC" + "R" * 8),
        ({4: 0.1, 2: 0.16}, 0.2, 0.5, "RRRR" + "CCCCRCCC" + "R" * 8),
        ({2: 0.1, 4: 0.01}, 0.01, 0.5, "RR" + "CRCRCRCRC" + "R" * 9),
        ({4: 0.1}, 0.1, 0.0, "RRRR" + "CCR" * 5 + "C"),
        ({4: 0.1}, 0.1, 1.0, "R" * 20),
        ({4: 0.15}, 0.1, 0.5, "R" * 20),
    ],
)
def test_bwcache_by_hand(changes, pace, tail_ratio, modes):
    """The first change below the threshold (0.15) of 20 steps freezes the schedule: R reused, one computed, half of the
    rest computed."""
    method = BWCache(0.15, pace, tail_ratio)
    assert trace(method, 20, lambda step: changes.get(step, 1.0) if step > 1 else None)[0] == modes


def test_bwcache_tells_why():
    _, rules = trace(BWCache(0.15, 0.1), 20, lambda step: 0.1 if step == 4 else 1.0)
    assert rules == ["joint", *["threshold"] * 3, *["cache", "cache", "max_skip"] * 2, "cache", "cache", *["tail"] * 8]


def test_bwcache_units_have_their_own_trigger(model):
    """Each unit sees the change of its own frames since its own last step: a chunk that starts is not triggered by
    having waited unchanged."""
    run = Run(guided(model), SCHEDULES["asynchronous"], Settings(BWCache(9.0, 0.2), FREE))
    assert [state.trigger for state in run.controls[0].states] == [2, 2, 2]
    assert {step["modes"][1:] for step in run.steps[3:5]} == {"R."} and "C" in run.modes


def test_bwcache_measures_the_change_of_outputs(model):
    """Mean over blocks of |h - h'| / |h'|, tokens of a frame averaged; mean over branches; against hooks, for units of
    two frames."""
    outputs, seen = [[] for _ in model.blocks], {}

    class Noted(BWCache):
        def observe(self, state, unit, history, was):
            if was is not None and was.change is not None:
                seen[unit.index, unit.step] = was.change
            return super().observe(state, unit, history, was)

    def note(module, args, output, i):
        outputs[i].append(output.unflatten(1, (6, -1)).mean(2))

    handles = [block.register_forward_hook(partial(note, i=i)) for i, block in enumerate(model.blocks)]
    Run(guided(model), SCHEDULES["asynchronous"], Settings(Noted(1e-9), FREE))
    for handle in handles:
        handle.remove()
    for iteration, index, step in ((1, 0, 2), (7, 1, 5), (14, 2, 9)):
        frames = slice(2 * index, 2 * index + 2)
        changes = [
            (h[k] - h[k - 2])[:, frames].abs().mean((0, 2)) / h[k - 2][:, frames].abs().mean((0, 2))
            for h in outputs
            for k in (2 * iteration, 2 * iteration + 1)
        ]
        assert seen[index, step] == pytest.approx(float(torch.stack(changes).mean()), rel=1e-4)


# FBCache, DBCache


@pytest.mark.parametrize(
    "front, back, blocks, probe, middle",
    [
        (1, 0, 30, range(1), range(1, 30)),
        (8, 0, 30, range(8), range(8, 30)),
        (8, 4, 30, range(8), range(8, 26)),
        (8, 0, 6, range(5), range(5, 6)),
        (2, 9, 6, range(2), range(2, 3)),
    ],
)
def test_fbcache_reuses_what_is_behind_its_probe(front, back, blocks, probe, middle):
    assert FBCache(0.05, front, back).skip(None, unit(5), blocks) == Skip((middle,), middle, probe=(probe, 0.05))


def probing(residuals, skipping):
    """An iteration of FBCache with four blocks, one of them first and one last."""
    return BlockPass(residuals, FBCache(0.3, 1, 1).skip(None, unit(5), 4), skipping, frames=1)


def score(around):
    return None if around.score is None else round(float(around.score), 4)


def probe_run(starts, batched, skipping=True):
    """Score, whether skipped, outputs and blocks run of steps whose hidden states are `starts` in cond and, squared and
    times ten, in uncond; and what was kept."""
    residuals, result = Residuals(), []
    for i, start in enumerate(starts):
        x = torch.full((1, 2, 3), float(start))
        around = probing(residuals, skipping and i > 0)
        if batched:
            out = through(around, torch.cat([x, 10 * x**2]), keys=(COND, UNCOND)).chunk(2)
        else:
            out = [through(around, x), through(around, 10 * x**2, keys=(UNCOND,))]
        result.append((score(around), around.skipping, [float(y.mean()) for y in out], around.take()))
    return result, residuals


@pytest.mark.parametrize("batched", [True, False])
def test_the_first_branch_decides_for_all_however_branches_are_batched(batched):
    """Blocks multiply by 2, 3, 4, 5; the first one's change is the start. 1.2 against 1: skipped; 1.4: computed, though
    1.2 was close; 1.7 against 1.4: skipped. The middle's change is 11 times its start, 22 times that of the first
    block."""
    (first, second, third, fourth), _ = probe_run([1, 1.2, 1.4, 1.7], batched)
    assert first[:3] == (None, False, [120, 1200])
    assert second[:2] == (0.2, True) and second[2] == pytest.approx([5 * (2.4 + 22), 5 * (28.8 + 220)])
    assert third[:2] == (0.4, False) and third[2] == pytest.approx([120 * 1.4, 1200 * 1.96])
    assert fourth[:2] == (pytest.approx(0.2143), True)
    assert [step[3] for step in (first, second, third, fourth)] == [2 * 4, 2 * 2, 2 * 4, 2 * 2]


def test_the_branch_with_text_decides_in_whatever_order_branches_are_batched():
    scores = []
    for keys in ((COND, UNCOND), (UNCOND, COND)):
        residuals = Residuals()
        for i, (cond, uncond) in enumerate([(1.0, 5.0), (1.2, 9.0)]):
            x = torch.cat([torch.full((1, 2, 3), {COND: cond, UNCOND: uncond}[key]) for key in keys])
            around = probing(residuals, i > 0)
            through(around, x, keys=keys)
        scores.append((score(around), around.skipping))
    assert scores == [(0.2, True)] * 2


@pytest.mark.parametrize("method", [TeaCache(9.0), FBCache(9.0)])
def test_a_branch_of_which_nothing_was_kept_is_computed(method):
    """As of a conditioning that begins later in the run, at a step that others skip."""
    residuals, one, state = Residuals(), torch.ones(1, 2, 3), method.init()
    through(BlockPass(residuals, method.skip(state, unit(5), 4), skipping=False, frames=1), one)
    around = BlockPass(residuals, method.skip(state, unit(6), 4), skipping=True, frames=1)
    skipped, computed = through(around, 0.1 + one), through(around, one, keys=(("later",),))
    assert torch.equal(computed, 120 * one) and not torch.equal(skipped, 120 * (0.1 + one))


@pytest.mark.parametrize("batched", [True, False])
def test_a_step_that_has_to_be_computed_is_not_probed(batched):
    """The gate's word holds, and the change is kept for the next probe."""
    result, residuals = probe_run([1, 1.01, 1.02], batched, skipping=False)
    assert [step[:2] for step in result] == [(None, False)] * 3
    (kept,) = residuals.stored[COND, range(1)]
    assert kept.mean() == pytest.approx(1.02)


def test_fbcache_obeys_the_gate_and_says_why(model):
    run = Run(guided(model), SCHEDULES["synchronous"], Settings(FBCache(99.0), GENTLE))
    assert run.modes.replace(" ", "") == "RRCCCRCCCRCR"
    assert "".join(step["rules"] for step in run.steps) == "wwccchccchcz"
    assert run.trace.forwards == pytest.approx(2 * (5 + 7 / BLOCKS))
    never = Run(guided(model), SCHEDULES["synchronous"], Settings(FBCache(1e-9), GENTLE))
    assert "".join(step["rules"] for step in never.steps) == "wwtttttttttz"
    assert never.trace.forwards == pytest.approx(24), "a probe that fails costs nothing"
    assert torch.equal(never.latents, plain(SCHEDULES["synchronous"])), "and changes nothing"


# what they share


def test_with_fewer_changes_kept_than_weights_the_newest_is_put_back():
    residuals, one = Residuals(), torch.ones(1, 2, 3)
    skip = Skip((range(4),), range(4), (1.5, -0.5))
    computing, putting_back = (partial(BlockPass, residuals, skipping=skipping, frames=1) for skipping in (False, True))
    through(computing(skip), one)
    assert torch.equal(through(putting_back(skip), one), 120 * one)
    through(computing(skip), 3 * one)
    extrapolated = (1 + 1.5 * 3 * 119 - 0.5 * 119) * one
    assert torch.equal(through(putting_back(skip), one), extrapolated)
    longer = skip._replace(weights=(1.5, -0.5, 0.0))
    assert torch.equal(through(putting_back(longer), one), extrapolated), "a weight of nothing needs no change"
    assert residuals.bytes() == 2 * one.nbytes
    residuals.forget()
    assert residuals.bytes() == 0


def test_parts_without_a_key_and_copies_are_left_alone():
    """MAGI-1: three chunks along the tokens, the first shown clean, the last a copy."""
    residuals, x = Residuals(), torch.arange(1.0, 4).repeat_interleave(2)[None, :, None].expand(1, 6, 3)
    for step in range(2):
        around = BlockPass(residuals, Skip((range(4),), range(4), watch=True), skipping=False, frames=2)
        through(around, (1 + step) * x, keys=(None, ("text", 1), ("text", 9)), dim=1, copies=1)
    assert {key for key, _ in residuals.stored} == {("text", 1), ("text", 9)}
    assert {key for key, _ in residuals.prints} == {("text", 1)}
    change, growth = around.seen()
    assert change.tolist() == pytest.approx([1, 1]) and growth.tolist() == pytest.approx([2, 2])
    around = BlockPass(residuals, Skip((range(4),), range(4)), skipping=True, frames=2)
    put_back = through(around, 0 * x[:, :4], keys=(("text", 9), ("text", 1)), dim=1)
    assert torch.equal(put_back[0, :, 0], torch.tensor([714.0, 714, 476, 476]))


@pytest.mark.parametrize(
    "make, parts",
    [
        (lambda: DeltaDiT(0), ["every is 0", "at least 1", "example 2"]),
        (lambda: DeltaDiT(share=0), ["share is 0;", "(0, 1]", "0.5"]),
        (lambda: DeltaDiT(share=1.5), ["share is 1.5", "(0, 1]"]),
        (lambda: DeltaDiT(turn=-0.1), ["turn is -0.1", "[0, 1]"]),
        (lambda: MagCache(-1), ["threshold is -1", "at least 0", "0.12"]),
        (lambda: MagCache(float("nan")), ["nan"]),
        (lambda: MagCache(longest=-1), ["longest is -1", "at least 0"]),
        (lambda: MagCache(retention=2), ["retention is 2", "[0, 1]", "0.2"]),
        (
            lambda: MagCache(ratios=()).decide(MagCache().init(), unit(5), 0.0, ()),
            ["no ratios", "SCOPE Calibrate", "published"],
        ),
        (lambda: MagCache(ratios=(1.0, 0.0)), ["[1.0, 0.0]"]),
        (lambda: MagCache(ratios=(1.0, float("nan"))), ["nan"]),
        (lambda: BWCache(-1), ["threshold is -1", "at least 0", "0.15 to 0.25"]),
        (lambda: BWCache(pace=0), ["pace is 0", "(0, 1]", "0.1"]),
        (lambda: BWCache(tail_ratio=1.5), ["tail_ratio is 1.5", "[0, 1]", "0.5"]),
        (lambda: FBCache(-1), ["threshold is -1", "at least 0", "0.08"]),
        (lambda: FBCache(front=0), ["front is 0", "at least 1", "FBCache has 1", "8"]),
        (lambda: FBCache(back=-1), ["back is -1", "at least 0"]),
        (lambda: FBCache(float("inf")), ["threshold is inf", "a number", "0.05 is usual"]),
        (lambda: FBCache().skip(None, unit(5), 1), ["1 block", "2 or more", "another method"]),
    ],
)
def test_settings_out_of_range_are_answered(make, parts):
    with pytest.raises(ValueError, match=re.escape(parts[0])) as error:
        make()
    assert [part for part in parts if part not in str(error.value)] == []
