"""Planned steps: the rule, lists of one's own, chunks in step, the dial (docs/scope.md, Planned steps)."""

# ruff: noqa: F811 - tests take fixtures that are imported

import re
from dataclasses import replace
from itertools import pairwise
from math import floor

import pytest
import torch

from scope_core import MAGI, PRESETS, SKYREELS, Gate, Settings, plan
from scope_core.methods import Entry, Planned, Scope
from scope_core.methods.planned import LONG_ENOUGH, cost, period_of, rule
from scope_core.settings import read, write
from tests.core.test_magi_loop import Fixture
from tests.core.test_rivals_output import unit
from tests.core.test_rollout import SCHEDULES, Run, guided, model  # noqa: F401

SPEEDS = (1.1, 1.5, 1.9, 2.0, 2.5, 3.3, 4.0, 6.0, 12.0)


def staircase(steps, lag=0, chunks=1):
    """A segment of chunks of one frame."""
    return SKYREELS.schedule(chunks, steps, chunks, ar_step=lag).segments[0]


@pytest.mark.parametrize("speed", SPEEDS)
def test_what_goes_alone_is_denser_towards_the_end(speed):
    """All frames together, or chunks one after the other. No gap is longer than the one before it by more than what
    rounding makes of it."""
    for steps in range(2, 70):
        (chosen, ends), period = rule(staircase(steps), speed, False, False), period_of(staircase(steps))
        gaps = [b - a for a, b in pairwise(chosen)]
        assert (period, chosen[0], chosen[-1]) == (steps, 1, steps) and min(gaps) >= 1
        assert len(chosen) == max(2, floor(steps / speed + 1e-9))
        assert all(later <= earlier + 1 for earlier, later in pairwise(gaps)) and gaps[-1] <= gaps[0]
        assert rule(staircase(steps, steps, 3), speed, True, True) == (chosen, ends) == (chosen, False)


@pytest.mark.parametrize("unseen, apart", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("speed", SPEEDS)
def test_where_chunks_follow_each_other_the_rule_goes_from_entry_to_entry(speed, unseen, apart):
    for lag in range(1, 21):
        segment = staircase(50, lag, 5)
        (chosen, ends), period = rule(segment, speed, unseen, apart), period_of(segment)
        rounds = period // lag
        assert period % lag == 0 and LONG_ENOUGH <= period < LONG_ENOUGH + lag
        assert list(chosen) == sorted(set(chosen)) and chosen[0] >= 1 and chosen[-1] <= period
        least = rounds if unseen else 1
        assert cost(chosen, period, segment, ends) * speed <= 1 or len(chosen) == least
        assert not ends or (apart and len(chosen) >= 3 * rounds)
        assert ends or not apart or len(chosen) <= 3 * rounds or lag == 1
        if unseen and not ends:
            assert {1 + lag * turn for turn in range(rounds)} <= set(chosen), "chunks that enter are computed"
        else:
            gaps = {b - a for a, b in pairwise((*chosen, chosen[0] + period))}
            assert max(gaps) - min(gaps) <= 1
        if not unseen:
            assert chosen[-1] == period, "just before one enters"


def test_rules_by_hand():
    def of(segment, speed, unseen=False, apart=False):
        computed, ends = rule(segment, speed, unseen, apart)
        assert not ends
        return computed

    assert of(staircase(10), 2.5) == (1, 4, 8, 10)
    assert of(staircase(50), 4.5) == (1, 7, 13, 18, 23, 29, 34, 38, 43, 47, 50), "denser towards the end"
    behind = staircase(64, 16, 2)
    assert of(behind, 3.0, True) == (1, 2, 6, 10, 14, 17, 18, 22, 26, 30), "the entry and the next iteration"
    assert of(behind, 3.8, True) == (1, 5, 9, 13, 17, 21, 25, 29)
    assert of(behind, 5.0, True) == (1, 6, 12, 17, 22, 28)
    around = staircase(50, 5, 5)
    assert of(around, 4.6) == (5, 10, 15, 20, 25, 30, 35), "before the entries"
    assert of(around, 3.3) == (4, 7, 11, 14, 18, 21, 25, 28, 32, 35), "evenly, whoever enters when"
    assert of(around, 5.0, True) == (1, 6, 11, 16, 21, 26, 31) == of(around, 12.0, True)
    assert [period_of(segment) for segment in (staircase(10), behind, around)] == [10, 32, 35]
    between = staircase(64, 16, 4)
    assert rule(between, 1.9, True, True) == (tuple(range(1, 32, 2)), True)
    assert rule(between, 4.5, True, True) == ((3, 8, 14, 19, 24, 30), True), "ends are computed by themselves"
    assert of(between, 4.6, True, True) == (1, 6, 12, 17, 22, 28), "few are computed by all"


def test_what_a_list_costs():
    """Of 4 chunks of 64 steps, 16 apart, a list of three a round costs three sixteenths and some of the eight ends."""
    segment = staircase(64, 16, 4)
    assert cost((1, 9), 16, segment, False) == (2 * 7 + 1) / 112, "and the last iteration"
    own = {1, 64, *(step for start in (0, 16, 32, 48) for step in (start + 3, start + 8, start + 14))}
    assert cost((3, 8, 14), 16, segment, True) == len(own) / 64
    assert cost((1, 16), 16, segment, True) == 8 / 64, "the ends are among them"


@pytest.mark.parametrize(
    "schedule",
    [
        *(SKYREELS.schedule(16, steps, 16, ar_step=lag) for steps in (12, 30, 50) for lag in (0, 2, 5)),
        *(SKYREELS.schedule(16, steps, 16, ar_step=lag, causal=True) for steps in (20, 50) for lag in (0, 5)),
        *(MAGI.schedule(frames, steps, window) for frames in (24, 60) for steps, window in ((16, 4), (32, 4), (64, 4))),
        SKYREELS.schedule(65, 50, 25, 5, 5, 5),
    ],
    ids=lambda schedule: f"{schedule.family.name} {schedule.frames} {schedule.steps} {schedule.ar_step}",
)
@pytest.mark.parametrize("speed", [1.5, 1.9, 2.5, 4.0])
def test_a_run_is_at_least_as_fast_as_asked(schedule, speed):
    """But for what has to be computed: the first iteration, the last one, and where those that have not started are not
    forwarded those in which a chunk enters. Chunks on their own are computed together, but for their ends."""
    made = plan(schedule, Settings(Planned(speed)))
    for segment in made.segments:
        whole = len(segment.steps)
        computed = [i for i, step in enumerate(segment.steps) if "R" in step["modes"]]
        assert computed[0] == 0 and computed[-1] == whole - 1
        if schedule.family.by_chunk:
            chunks = len(segment.header["units"])
            assert made.totals["computed"] <= made.totals["iterations"] / speed + chunks * (chunks + 1)
            for step, unit in zip(segment.steps, schedule.segments[0].iterations):
                ends = {u.index for u in unit.active if u.step in (1, u.steps)}
                fresh = {i for i, mode in enumerate(step["modes"]) if mode == "R"}
                assert fresh in (set(), ends, {u.index for u in unit.active})
            continue
        entries = len(segment.header["units"]) if schedule.causal and schedule.ar_step else 1
        assert len(computed) <= whole / speed + entries + 1
        assert all(set(step["modes"]) <= {"R", "."} or "R" not in step["modes"] for step in segment.steps)


def test_a_list_of_one_s_own_is_computed_and_begins_again():
    def made(schedule, **knobs):
        steps = plan(schedule, Settings(Planned(**knobs))).segments[0].steps
        return [i + 1 for i, step in enumerate(steps) if "R" in step["modes"]]

    assert made(SKYREELS.schedule(4, 10), computed=(1, 4, 7)) == [1, 4, 7, 10], "and the last one"
    assert made(SKYREELS.schedule(4, 10), computed=[3], period=3) == [1, 3, 6, 9, 10]
    staircase = SKYREELS.schedule(6, 10, 6, 2, 2, 3)
    assert made(staircase, computed=(3,)) == [1, 3, 6, 9, 12, 15, 16]
    assert made(staircase, computed=(2, 5), period=6) == [1, 2, 5, 8, 11, 14, 16]
    assert made(MAGI.schedule(12, 8, 2), computed=(1, 3)) == [1, 3, 5, 7, 8, 9, 11, 12], "and a chunk's last step"


def test_a_last_window_of_one_chunk_goes_on_in_the_same_periods():
    schedule = SKYREELS.schedule(8, 10, 6, 2, 2, 3)
    assert [len(segment.units) for segment in schedule.segments] == [3, 1]
    last = plan(schedule, Settings(Planned(computed=(2,)))).segments[-1].steps
    assert [i + 1 for i, step in enumerate(last) if "R" in step["modes"]] == [1, 2, 5, 8, 10]


@pytest.mark.parametrize("name", ["synchronous", "asynchronous", "long"])
@pytest.mark.parametrize("settings", [Settings(Planned(1.0)), Settings(Planned(4.0), Gate(0))], ids=["speed 1", "gate"])
def test_at_speed_1_it_is_off(model, name, settings):
    """docs/architecture.md, law 1."""
    schedule = SCHEDULES[name]
    run = Run(guided(model), schedule, settings)
    assert settings.off and run.trace.run["method"] == "off"
    assert torch.equal(run.latents, Run(guided(model), schedule, PRESETS["off"]).latents)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("method", [Planned(1.9), Planned(4.0), Planned(computed=(1, 3))], ids=["1.9", "4", "list"])
def test_the_plan_is_the_run(model, schedule, method, causal):
    schedule, settings = replace(schedule, causal=causal), Settings(method)
    run = Run(guided(model), schedule, settings)
    for expected, segment in zip(plan(schedule, settings).segments, run.trace.segments, strict=True):
        assert [{**step, "seconds": 0} for step in expected.steps] == [{**step, "seconds": 0} for step in segment.steps]


@pytest.mark.parametrize("name", ["t2v_distill", "i2v_distill", "t2v_base"])
@pytest.mark.parametrize("method", [Planned(1.9), Planned(3.0), Planned(computed=(2,))], ids=["1.9", "3", "list"])
def test_chunks_compute_in_step_but_for_their_ends(name, method):
    """Here for a list, since the rule has too few iterations between two entries. With `joint` nothing is kept of
    chunks that are left out, and an end takes the others along. The plan is the run."""
    fixture = Fixture(name)
    full = fixture.run()
    forwards = fixture.trace.forwards
    for joint in (False, True):
        settings = Settings(method, joint=joint)
        made = fixture.run(settings, joint)
        modes = [step["modes"] for step in fixture.trace.segments[0].steps]
        assert fixture.field.apart is not joint
        assert not torch.equal(made, full) and fixture.trace.forwards < forwards
        together = [set(step) <= {"R", "."} or "R" not in step for step in modes]
        assert all(together) is (joint or not method.computed)
        assert any(step.count("R") > 1 for step in modes) and any("P" in step for step in modes)
        expected = plan(fixture_schedule(fixture), settings).segments[0].steps
        assert [step["modes"] for step in expected] == modes


def fixture_schedule(fixture):
    prefix = 0 if fixture.start is None else fixture.start.shape[2]
    return MAGI.schedule(fixture.noise.shape[2], fixture.steps, fixture.window, prefix, fixture.reach)


def test_forecasts_go_along_a_line_in_the_step_index():
    """Steps 9 and 5 with 20 and 12: 2 a step, at 12 it is 26, whatever the noise levels. Step 0, computed while
    waiting, was at the level of step 1. One velocity is held."""

    def value(*steps):
        history = [Entry(1 / (1 + step) ** 2, torch.full((1, 1), 2.0 * max(1, step) + 2), step) for step in steps]
        return Planned().value(None, unit(12), None, history, None).item()

    assert value(9, 5) == 26 == value(2, 0) and value(9) == 20


def test_presets_are_speeds():
    """The same on both families; the points of the method are those of SCOPE's selector."""
    for name, speed in (("quality", 1.9), ("balanced", 2.5), ("fast", 4.0)):
        assert PRESETS[name] == Settings(Planned(speed)) == read("planned", {"preset": name})
        assert PRESETS[name] == read("scope", {"preset": name}) and PRESETS[name].correct


def test_a_speed_or_a_fidelity_wins_over_the_thresholds():
    assert read("scope", {"speed": 3.0, "threshold": 2.0, "max_skip": 9}) == Settings(Planned(3.0))
    assert read("scope", {"fidelity": 45.0}) == Settings(Planned(2.5, 45.0))
    assert read("scope", {"speed": 3.0, "fidelity": 45.0}) == Settings(Planned(3.0, 45.0))
    assert read("scope", {"speed": 1.0}).off
    for late in ({}, {"speed": None, "fidelity": None, "correct": None}, {"speed": 0.0, "fidelity": 0.0}):
        assert read("scope", {"max_skip": 3, **late}) == Settings(Scope(), Gate(3))


def test_what_the_sampler_cannot_say_is_not_written():
    for settings in (Settings(Planned(3.0)), Settings(Planned(2.5, 45.0)), PRESETS["fast"]):
        for name in ("scope", "planned"):
            assert read(name, write(settings, name)) == settings
    found = Settings(Planned(3.0, computed=(1, 4), period=9, expected=44.0))
    assert read("scope", write(found, "scope")) == Settings(Planned(3.0)), "the wish, at which the plan gives the rest"
    own = Settings(Planned(3.0, computed=(1, 4)))
    assert write(own, "scope") is None and read("planned", write(own)) == own
    assert write(Settings(Planned(3.0), Gate(3)), "scope") is None
    assert read("planned", write(found)) == Settings(Planned(3.0))
    assert Settings.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    "ask, parts",
    [
        (lambda: Planned(0.5), ["speed is 0.5", "[1, 20]", "1.9 to 4"]),
        (lambda: Planned(21.0), ["speed is 21", "[1, 20]"]),
        (lambda: Planned(fidelity=-1.0), ["fidelity is -1", "[0, 100]", "35 to 50"]),
        (lambda: Planned(computed=(0, 4)), ["computed are 0, 4", "from 1", "for example"]),
        (lambda: read("planned", {"computed": "1, x"}), ["computed are '1, x'", "whole numbers from 1"]),
        (
            lambda: plan(SKYREELS.schedule(16, 50, 16, ar_step=5), Settings(Planned(computed=(1, 6)))),
            ["computed are 1, 6", "[1, 5]", "follows another"],
        ),
        (
            lambda: plan(SKYREELS.schedule(4, 10), Settings(Planned(computed=(1, 11)))),
            ["computed are 1, 11", "[1, 10]"],
        ),
        (
            lambda: plan(SKYREELS.schedule(4, 10), Settings(Planned(fidelity=40.0))),
            ["fidelity is 40", "choose a speed"],
        ),
    ],
)
def test_what_is_out_of_range_is_answered(ask, parts):
    with pytest.raises(ValueError, match=re.escape(parts[0])) as error:
        ask()
    assert [part for part in parts if part not in str(error.value)] == [], str(error.value)
