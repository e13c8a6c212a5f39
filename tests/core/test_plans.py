"""Plan files, and how a plan is carried over to other circumstances (docs/library.md, Plan files)."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from scope_core import MAGI, PRESETS, SKYREELS, Settings, plan
from scope_core.demo import plan as demo_plan
from scope_core.demo import shipped
from scope_core.methods import Planned, TaylorSeer
from scope_core.methods.planned import cost, rule
from scope_core.study.plans import COARSE, Choice, Plan, PlanError, improve, planned, read

SCHEDULE = SKYREELS.schedule(16, 50, 16)
STAIRCASE = SKYREELS.schedule(16, 50, 16, ar_step=5)
CHUNKS = MAGI.schedule(24, 64, 4)
LISTS = ((1, 4, *range(7, 50, 2), 50), (1, 2, 5, 8, 11, *range(15, 50, 3), 50), (1, 3, 6, 12, 20, 30, 40, 50))
"""25, 18 and 8 of 50 steps."""


def of(schedule, choices, period=None, model="", title="Demo"):
    lag = schedule.ar_step
    levels = tuple(schedule.sigmas[:-1].tolist())
    return Plan(title, schedule.family.name, model, levels, lag, period or lag or schedule.steps, 8, choices)


TOGETHER = of(SCHEDULE, tuple(Choice(made, 60.0 - 10 * i) for i, made in enumerate(LISTS)))
APART = of(CHUNKS, (Choice((1, 2, 5, 9, 12, 14), 48.0), Choice((1, 2, 6, 10, 14), 45.0), Choice((1, 9), 33.0)))


def test_a_plan_is_the_same_after_a_file(tmp_path):
    for made in (TOGETHER, APART, replace(APART, model="abc")):
        file = tmp_path / "plan.json"
        file.write_text(json.dumps(made.to_json()))
        assert read(file) == made
    assert TOGETHER.to_json()["format"] == "scope.plan" and TOGETHER.to_json()["version"] == 1


def changed(**values):
    return json.dumps({**TOGETHER.to_json(), **values})


CHOICE = {"computed": [1, 4, 50], "psnr": 40.0}


@pytest.mark.parametrize(
    "text, parts",
    [
        ("", ["no JSON", "choose another file"]),
        ("{", ["no JSON"]),
        ("[" * 100_000, ["no JSON"]),
        ("[]", ["no plan of steps", "'scope.plan'"]),
        ('"text"', ["no plan of steps"]),
        ('{"format": "scope.trace", "version": 1}', ["no plan of steps", "choose a file"]),
        (changed(version=0), ["version 0", "1 is what can be read", "find it again"]),
        (changed(version=2), ["version 2"]),
        (json.dumps({"format": "scope.plan", "version": 1}), ["has no 'title'", "get the file again"]),
        (changed(levels=3), ["another kind", "get the file again"]),
        (changed(lag="five"), ["another kind"]),
        (changed(clips=float("inf")), ["another kind"]),
        (changed(choices=[{"computed": [1, 50]}]), ["has no 'psnr'"]),
        (changed(choices=[]), ["0 choices"]),
        (changed(choices=[{**CHOICE, "computed": [0, 50]}]), ["rise within the period"]),
        (changed(choices=[{**CHOICE, "computed": [1, 51]}]), ["rise within the period"]),
        (changed(choices=[{**CHOICE, "computed": [4, 1]}]), ["rise within the period"]),
        (changed(choices=[{**CHOICE, "computed": []}]), ["rise within the period"]),
        (changed(choices=[{**CHOICE, "psnr": float("nan")}]), ["PSNR above 0"]),
        (changed(period=49), ["a period of 49", "has to be"]),
        (changed(lag=7), ["a lag of 7", "multiple"]),
        (changed(levels=[0.5] * 50), ["have to fall"]),
        (changed(levels=[float("nan")] * 50), ["have to fall"]),
        (changed(levels=[1.0], period=1, choices=[{**CHOICE, "computed": [1]}]), ["1 levels"]),
    ],
)
def test_a_file_that_is_no_plan_is_answered(tmp_path, text, parts):
    file = tmp_path / "mine.json"
    file.write_text(text)
    with pytest.raises(PlanError) as error:
        read(file)
    assert [part for part in ["mine.json", *parts] if part not in str(error.value)] == [], str(error.value)


def test_bytes_that_are_no_text_are_answered(tmp_path):
    (tmp_path / "mine.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match=r"mine\.json is no JSON"):
        read(tmp_path / "mine.json")


@pytest.mark.parametrize("speed, computed", [(2.0, LISTS[0]), (2.65, LISTS[1]), (2.7, LISTS[1]), (6.0, LISTS[2])])
def test_the_slowest_choice_that_is_fast_enough_is_taken(speed, computed):
    chosen = TOGETHER.choose(SCHEDULE, Planned(speed))
    assert (chosen.computed, chosen.period, chosen.at_least) == (computed, 50, speed)
    assert chosen.expected == 60 - 10 * LISTS.index(computed)


@pytest.mark.parametrize("speed", [1.2, 4.0, 12.0])
def test_where_no_choice_is_near_the_rule_is(speed):
    """25 of 50 are far from 41, 8 from 12, and 8 too many for 4."""
    wanted = Settings(Planned(speed))
    assert planned(wanted, SCHEDULE, [TOGETHER]) == wanted
    assert (
        wanted.method.fit(SCHEDULE, SCHEDULE.segments[0]).computed == rule(SCHEDULE.segments[0], speed, False, False)[0]
    )


def test_a_fidelity_takes_the_fastest_choice_that_has_it():
    for fidelity, expected in ((35.0, 40.0), (40.0, 40.0), (41.0, 50.0), (51.0, 60.0)):
        assert TOGETHER.choose(SCHEDULE, Planned(fidelity=fidelity)).expected == expected
    with pytest.raises(PlanError, match=r"'Demo' has 61 dB.*one has 60\.0; ask for less, or for a speed"):
        TOGETHER.choose(SCHEDULE, Planned(fidelity=61.0))


@pytest.mark.parametrize("schedule", [SCHEDULE, STAIRCASE, CHUNKS])
@pytest.mark.parametrize("plans", [[], [replace(TOGETHER, model="another")], [replace(TOGETHER, family="toy")]])
def test_a_fidelity_needs_a_plan(schedule, plans):
    with pytest.raises(PlanError, match="there is none for this model and schedule; choose a speed instead, or import"):
        planned(Settings(Planned(fidelity=40.0)), schedule, plans, "mine")
    wanted = Settings(Planned(2.0))
    assert planned(wanted, schedule, plans, "mine") == wanted


def test_plans_of_the_model_go_first():
    wanted, any_of = Settings(Planned(2.0)), TOGETHER
    mine = replace(TOGETHER, model="mine", choices=(Choice((1, *range(4, 47, 2), 48, 50), 70.0),))
    for plans in ([any_of, mine], [mine, any_of]):
        assert planned(wanted, SCHEDULE, plans, "mine").method.expected == 70
        assert planned(wanted, SCHEDULE, plans, "yours").method.expected == 60
        assert planned(wanted, SCHEDULE, plans).method.expected == 70, "plans of a known model"


def test_plans_are_for_planned_steps_of_the_same_kind_of_schedule():
    for settings in (Settings(TaylorSeer(3)), Settings(Planned(1.0)), Settings(Planned(2.0, computed=(1, 9)))):
        assert planned(settings, SCHEDULE, [TOGETHER]) is settings
    assert planned(Settings(Planned(2.0)), STAIRCASE, [TOGETHER, APART]) == Settings(Planned(2.0))
    assert planned(Settings(Planned(3.0)), CHUNKS, [TOGETHER, APART]).method.computed == (1, 2, 6, 10, 14)


def test_a_plan_at_its_own_levels_is_itself():
    for made in LISTS:
        assert TOGETHER.carried(made, SCHEDULE) == (made, 50)
    assert APART.carried((1, 9), MAGI.schedule(60, 64, 4)) == ((1, 9), 16)


@pytest.mark.parametrize("steps, shift", [(50, 3.0), (50, 8.0), (30, 8.0), (100, 5.0), (7, 8.0)])
def test_steps_are_carried_over_by_noise_level(steps, shift):
    """As many of them by share, first and last ones too; each is the nearest to where the plan computes."""
    schedule = SKYREELS.schedule(16, steps, 16, shift=shift)
    for made in LISTS:
        computed, period = TOGETHER.carried(made, schedule)
        assert period == steps and list(computed) == sorted(set(computed)) and {1, steps} <= set(computed)
        assert len(computed) <= max(2, len(made) * steps / 50)
        if steps == 50:
            source = np.array(TOGETHER.levels)[np.array(made[1:-1]) - 1]
            nearest = {1 + int(abs(schedule.sigmas[:-1] - level).argmin()) for level in source}
            assert set(computed) == {1, *nearest, 50}
    if (steps, shift) == (50, 3.0):
        assert TOGETHER.carried(LISTS[2], schedule)[0] != LISTS[2]


def test_steps_by_hand():
    """Levels 1, 3/4, 1/2, 1/4 with steps 1, 2, 4, to those at 1, 0.9, 0.8, 0.6, 0.49, 0.4, 0.3, 0.2: six of eight, at
    positions 1, 1.4, 1.8, 2.4, 3.2, 4 of the plan, so at levels 1, 0.9, 0.8, 0.65, 0.45, 0.25."""
    four = Plan("", "skyreels", "", (1.0, 0.75, 0.5, 0.25), 0, 4, 1, (Choice((1, 2, 4), 40.0),))
    eight = SKYREELS.schedule(4, 8, levels=(1.0, 0.9, 0.8, 0.6, 0.49, 0.4, 0.3, 0.2, 0.0))
    assert four.carried((1, 2, 4), eight) == ((1, 2, 3, 4, 5, 8), 8)


@pytest.mark.parametrize("window", [1, 2, 8, 16])
def test_iterations_keep_their_place_between_entries(window):
    """The share of what is computed stays or shrinks; at half the lag every second iteration of the list is left, 1, 5
    and 12, at half their distance to the entry."""
    schedule = MAGI.schedule(24, 64, window)
    for choice in APART.choices:
        computed, period = APART.carried(choice.computed, schedule)
        assert period % schedule.ar_step == 0 and computed[0] == 1 and 1 <= computed[-1] <= period
        assert len(computed) / period <= len(choice.computed) / 16
    assert APART.carried((1, 2, 5, 9, 12, 14), MAGI.schedule(24, 64, 8)) == (
        (1, 3, 7, 9, 11, 15, 17, 19, 23, 25, 27, 31),
        32,
    )
    assert APART.carried((1, 5, 9, 13), MAGI.schedule(24, 64, 8)) == ((1, 5, 9, 13, 17, 21, 25, 29), 32)
    assert APART.carried((1, 9), MAGI.schedule(24, 64, 2)) == ((1, 9, 17, 25), 32)


@pytest.mark.parametrize("speed", [1.5, 2.0, 2.5, 2.9, 3.3, 4.0, 6.0, 8.0])
@pytest.mark.parametrize(
    "schedule",
    [
        *(SKYREELS.schedule(16, steps, 16, shift=shift) for steps in (12, 30, 64) for shift in (3.0, 8.0)),
        *(MAGI.schedule(60, steps, window) for steps in (16, 64) for window in (1, 2, 4, 8)),
    ],
    ids=lambda schedule: f"{schedule.family.name} {schedule.steps} {schedule.ar_step} {schedule.shift:g}",
)
def test_what_is_carried_over_is_as_fast_as_asked(schedule, speed):
    chosen = planned(Settings(Planned(speed)), schedule, [TOGETHER, APART]).method
    if chosen.computed:
        share = cost(chosen.computed, chosen.period, schedule.segments[0], schedule.family.by_chunk)
        assert COARSE <= share * speed <= 1
    totals = plan(schedule, Settings(chosen)).totals
    units = sum(len(segment.units) for segment in schedule.segments)
    forced = (units + 1) * (units if schedule.ar_step else 1)
    assert totals["computed"] <= totals["iterations"] / speed + forced


def test_the_search_moves_one_iteration_at_a_time_and_keeps_the_best():
    """Towards (1, 4, 9, 15), from an even spread; the entry stays."""
    looked = []

    def score(computed):
        looked.append(computed)
        return -sum((a - b) ** 2 for a, b in zip(computed, (1, 4, 9, 15)))

    found = improve(score, (1, 5, 9, 13), 16, tries=60)
    assert found == (1, 4, 9, 15) == improve(score, (1, 5, 9, 13), 16, tries=60)
    assert all(made[0] == 1 and made[-1] <= 16 and len(set(made)) == 4 for made in looked)
    assert improve(score, (1,), 16, tries=9) == (1,) and improve(score, (1, 2, 3, 4), 4, tries=9) == (1, 2, 3, 4)
    assert improve(score, (1, 5, 9, 13), 16, tries=0) == (1, 5, 9, 13)


def test_a_demo_runs_its_plans(tmp_path, monkeypatch):
    """Those in its folder, the rule without them."""
    schedule = SKYREELS.schedule(4, 6, 16)
    tokens, wanted = torch.zeros(1, shipped.TOKENS, dtype=torch.long), Settings(Planned(2.0))
    made = of(schedule, (Choice((1, 2, 6), 50.0),))
    modes = []
    for text in (None, json.dumps(made.to_json())):
        if text:
            (tmp_path / "demo.json").write_text(text)
        monkeypatch.setattr(shipped, "PLANS", tmp_path)
        trace = shipped.SkyReelsDemo().sample(tokens, schedule, wanted, seed=1).trace
        modes.append("".join(step["modes"] for step in trace.segments[0].steps))
    assert modes == ["RPPRPR", "RRPPPR"]
    assert trace.run["settings"]["expected"] == 50
    assert plan(schedule, PRESETS["off"]).totals["computed"] == 6


def test_shipped_plans_are_whole():
    """Every file reads, and is for a family's shipped model."""
    for demo in shipped.DEMOS.values():
        made = demo()
        for found in made.plans:
            assert found.family in shipped.DEMOS and found.title and found.clips >= 4


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--computed", "8", "0", "65"], "--computed has 0, 65; choose among 2, 3, 4, 5, 6"),
        (["--computed", "8", "--clips", "99"], "--clips is 99, and the choices in"),
    ],
)
def test_a_search_that_cannot_be_added_to_a_plan_is_refused(monkeypatch, capsys, arguments, told):
    monkeypatch.setattr(sys, "argv", ["plan", "--way", "chunk_by_chunk", *arguments])
    with pytest.raises(SystemExit):
        demo_plan.main()
    assert told in capsys.readouterr().err
