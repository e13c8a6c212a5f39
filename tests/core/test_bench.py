"""The benchmark: runs that processes share, settings for a cost, and what the report makes of figures."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scope_core.demo.shipped import MagiDemo, SkyReelsDemo
from scope_core.families.skyreels import SKYREELS
from scope_core.methods import METHODS, Gate
from scope_core.networks.wan import WanConfig, WanTransformer
from scope_core.settings import PRESETS, Settings
from tests import efficiency
from tests.bench import __main__ as command
from tests.bench import measure
from tests.bench import runs as runs_module
from tests.bench.figures import Measured, average, faithfulness, fewer_at, over_places, paired, points_to_full
from tests.bench.measure import Bench, Spec
from tests.bench.methods import BUDGETS, GATES, OPTIONS, OURS, PUBLISHED, Ranked, methods
from tests.bench.report import cells, losing_presets, losses, markdown, presets, ranked, ranking, targets, versus
from tests.bench.runs import FULL, Run, Runs, counted, schedule_of


class Tiny(SkyReelsDemo):
    """The layout of the demo with a network that takes milliseconds."""

    def __init__(self):
        torch.manual_seed(0)
        self.words, self.plans = torch.randn(100, 8), []
        self.transformer = WanTransformer(WanConfig(dim=48, ffn_dim=64, num_heads=2, num_layers=3, text_dim=8))

    def schedules(self, steps=None):
        return {name: SKYREELS.schedule(16, 12, 16, ar_step=lag) for name, lag in zip(self.ways, (0, 2))}

    def shorter(self, schedule):
        return [SKYREELS.schedule(16, steps, 16, ar_step=schedule.ar_step) for steps in (2, 6)]

    def decode(self, latents):
        return F.interpolate(latents[:, :3], scale_factor=(1, 2, 2)).sigmoid()


@pytest.fixture
def tiny(monkeypatch):
    made = Tiny()
    monkeypatch.setattr(runs_module, "_demo", lambda family: made)
    for cached in (runs_module.demo_of, runs_module.schedule_of):
        cached.cache_clear()
    yield made
    for cached in (runs_module.demo_of, runs_module.schedule_of):
        cached.cache_clear()


@pytest.fixture
def bench(tiny, tmp_path):
    made = Bench(tmp_path, 2, ["synchronous"], ["taylorseer"])
    made.judge = lambda video, clips: {"object present": 1.0, "second present": 0.5}
    return made


def cadence(interval, **more):
    return Settings(METHODS["taylorseer"](interval=interval, **more), Gate(**GATES["synchronous"]))


def test_a_benchmark_makes_every_run_once_and_goes_on_where_it_stopped(bench, tmp_path, monkeypatch, capsys):
    sampled = []
    monkeypatch.setattr(Run, "sample", lambda run, real=Run.sample: sampled.append(run.name) or real(run))
    bench.work()
    assert len(sampled) == len(set(sampled)) and "0 min left: synchronous, TaylorSeer-Lite" in capsys.readouterr().out
    report, before = bench.report(), len(sampled)
    again = Bench(tmp_path, 2, ["synchronous"], ["taylorseer"])
    again.work()
    assert len(sampled) == before and again.report() == report
    (tmp_path / "runs" / f"{Run('synchronous', FULL, 1).name}.safetensors").unlink()
    again.work()
    assert len(sampled) == before + 1 and again.report() == report

    full, other, *rows = report["rows"]
    assert full["share"] == 1.0 and full["clips"][0]["psnr"] is None and other["clips"][0]["psnr"] < 30
    assert {row["method"] for row in rows} == {"fewer", "taylorseer"}
    assert all(abs(row["share"] - row["forwards"] / full["forwards"]) < 0.01 for row in rows)
    assert [row["budget"] for row in rows if row["method"] == "taylorseer"] == list(BUDGETS)
    two = runs_module.clips_of("judged").two[:2].tolist()
    assert [len(clip["faithful"]) for clip in full["clips"]] == [1 + there for there in two]
    assert json.loads(json.dumps(report)) == report and "TaylorSeer-Lite" in markdown(report)


def test_a_report_of_what_is_there_makes_nothing(bench, monkeypatch):
    for clip in range(2):
        for spec in (*bench.specs("synchronous", "full"), *bench.specs("synchronous", "fewer")):
            bench.runs.make(spec.run(clip))
            bench.measured(spec.run(clip))
    monkeypatch.setattr(Run, "sample", pytest.fail)
    assert [row["label"] for row in bench.report()["rows"]] == ["every step", "2 steps", "6 steps"]


def test_a_run_that_another_process_makes_is_left_to_it_until_that_ends(tiny, tmp_path):
    runs, run = Runs(tmp_path), Run("synchronous", FULL, 0)
    held = str(tmp_path / f"{run.name}.lock")
    lock = f"import filelock; lock = filelock.FileLock({held!r}); lock.acquire(); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        assert not runs.make(run) and not runs.has(run)
        other.kill()
        other.wait()
    assert runs.make(run) and [file.name for file in tmp_path.iterdir()] == [runs.file(run).name]


def test_counting_operations_changes_nothing(tiny, tmp_path):
    runs, run = Runs(tmp_path), Run("synchronous", cadence(3), 0)
    runs.make(run)
    assert torch.equal(runs.latents(run), run.sample().latents)
    assert runs.about(run)["operations"] > 0 and runs.about(run)["forwards"] == counted("synchronous", run.settings)
    runs.make(second := Run("synchronous", cadence(3), 1))
    assert runs.about(second)["operations"] is None


def test_lpips_is_measured_with_every_clip_in_every_process(tiny, tmp_path, monkeypatch):
    """A run without it does not count as measured, and gets it."""
    monkeypatch.setattr(measure, "lpips", lambda folder: (lambda a, b: (a - b).abs().mean((1, 3, 4)), ""))
    for backbones in (None, tmp_path):
        bench = Bench(tmp_path, 2, ["synchronous"], [], backbones)
        bench.judge = lambda video, clips: {"object present": 1.0}
        bench.work()
    rows = bench.report()["rows"]
    assert [row["clips"][1]["lpips"] > 0 for row in rows] == [False, True, True, True]
    heads, _, *lines = (line.split(" | ") for line in markdown({**REPORT, "rows": rows}).splitlines() if "|" in line)
    assert [line[heads.index("LPIPS")] for line in lines[:4]] == [f"{average(row, 'lpips'):.4f}" for row in rows]


def test_a_run_is_known_by_what_differs_from_the_defaults(tiny):
    run = Run("synchronous", cadence(3), 0)
    assert run.key["settings"] == {"method": "taylorseer", "interval": 3, "max_skip": 12, "warm_up": 2, "tail": 1}
    (shorter, _) = tiny.shorter(run.schedule)
    others = [
        Run("asynchronous", cadence(3), 0),
        Run("synchronous", cadence(4), 0),
        Run("synchronous", cadence(3), 1),
        Run("synchronous", cadence(3), 0, "searched"),
        Run("synchronous", cadence(3), 0, shorter=shorter),
        Run("synchronous", Settings(cadence(3).method, Gate(12, 2, 1), correct=True), 0),
    ]
    assert len({each.name for each in (run, *others)}) == 7


@pytest.mark.parametrize("way", ["synchronous", "asynchronous"])
@pytest.mark.parametrize("name", ["taylorseer", "taylorseer_residual", "delta_dit", "teacache", "planned"])
def test_forwards_are_known_before_a_run(tiny, way, name):
    method = methods(way, SKYREELS, ())[name]
    settings = method.settings(method.knobs[-4])
    assert counted(way, settings) == Run(way, settings, 0).sample().trace.forwards < counted(way, FULL)


def test_forwards_of_chunks_are_known_before_a_run(monkeypatch):
    demo = MagiDemo()
    monkeypatch.setattr(runs_module, "demo_of", lambda way: demo)
    (schedule,) = demo.schedules(8).values()
    for name, knob in (("taylorseer", 3.0), ("taylorseer_residual", 3.0)):
        settings = methods("chunk_by_chunk", demo.family, ())[name].settings(knob)
        made = demo.sample(runs_module.clips_of("judged")[:1].tokens(), schedule, settings, 0)
        assert counted("chunk_by_chunk", settings, schedule) == made.trace.forwards


@pytest.mark.parametrize(
    "budget, knob",
    [(0.5, 2), (0.49, 2), (0.35, 3), (0.30, 4), (0.15, 6), (0.12, 6), (0.9, 1)],
    ids=["exact", "within 3 %", "slowest within", "too slow by 3 points", "reached", "nearest", "far from all"],
)
def test_the_slowest_setting_within_a_budget_is_found(bench, monkeypatch, budget, knob):
    shares = {1: 0.8, 2: 0.5, 3: 0.36, 4: 0.27, 5: 0.27, 6: 0.15}
    monkeypatch.setattr(bench, "costs_of", lambda way, settings: [shares[each.method.interval] for each in settings])
    ranked = Ranked("", lambda value: cadence(int(value)), tuple(map(float, shares)))
    assert bench.knob_for(budget, ranked, "synchronous") == knob


def test_a_method_that_looks_at_the_video_is_searched_by_runs_of_another_prompt(bench):
    method = bench.methods("synchronous")["easycache"]
    knob = bench.knob_for(0.5, method, "synchronous")
    made = bench.runs.about(Run("synchronous", method.settings(knob), 0, "searched"))
    assert made["forwards"] / counted("synchronous", FULL) <= 0.54
    assert len(list(bench.runs.folder.glob("*.safetensors"))) <= 7


def test_first_clips_of_everything_come_before_further_ones_and_long_videos_last(tiny, tmp_path, monkeypatch):
    bench = Bench(tmp_path, 10, ["synchronous", "long_synchronous"], ["taylorseer", "reduced", "teacache"])
    monkeypatch.setattr(bench, "costs_of", lambda way, settings: [0.2] * len(settings))
    order = [(spec.way, spec.method, clip) for spec, clip in bench.wanted()]
    short = [each for each in order if each[0] == "synchronous"]
    assert order[: len(short)] == short and {each[1] for each in order[len(short) :]} == {
        "full",
        "fewer",
        "taylorseer",
        "reduced",
    }
    assert [each[2] for each in short].index(8) == sum(each[2] < 8 for each in short)
    assert max(each[2] for each in order[len(short) :]) == 7
    assert len(schedule_of("long_synchronous").segments) == 3


def test_time_is_measured_beside_a_full_run(bench, capsys):
    bench.only = ["taylorseer"]
    rows = bench.time()
    spec = bench.specs("synchronous", "taylorseer")[0]
    pairs = bench.runs.once(bench.timing(spec), pytest.fail)
    assert len(pairs) == 3 and all(seconds > 0 for pair in pairs for seconds in pair)
    assert spec.label in capsys.readouterr().out
    before = {"rows": [{**spec.head, "time_x": None}, {**spec.head, "label": "other", "time_x": None}]}
    timed, other = command.with_seconds(before, rows)["rows"]
    assert timed["seconds"] == pairs and timed["time_x"] > 0 and other["time_x"] is None


def test_rivals_in_our_form_are_corrected_and_in_step(tiny):
    found = methods("synchronous", SKYREELS, ())
    for name in ("taylorseer", "reduced"):
        plain, ours = found[name], found[f"{name}_options"]
        settings = ours.settings(ours.knobs[0])
        assert settings.joint and settings.correct and not plain.settings(plain.knobs[0]).correct
        assert (plain.form, ours.form) == (PUBLISHED, OPTIONS)
    assert found["planned"].form == OURS


def test_budcache_has_the_lists_that_were_searched_for_and_their_cost():
    found = methods("synchronous", SKYREELS, ())["budcache"]
    assert len(found.knobs) == len(BUDGETS)
    assert [counted("synchronous", found.settings(knob)) / 2 for knob in found.knobs] == list(found.knobs)
    assert "budcache" not in methods("asynchronous", SKYREELS, ())


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--clips", "1"], "--clips is 1; it must be at least 2"),
        (["--here", "--schedules", "odd"], "--schedules has odd; choose among synchronous, asynchronous"),
        (
            ["--here", "--schedules", "synchronous", "--methods", "odd"],
            "--methods has odd; choose among preset, taylor",
        ),
        (["--here", "--schedules", "synchronous", "--report"], "where no full runs of two clips are; measure there"),
        (["--here", "--schedules", "synchronous", "--time"], "where no full runs of two clips are; measure there"),
    ],
)
def test_wrong_arguments_are_answered(tiny, monkeypatch, tmp_path, capsys, arguments, told):
    monkeypatch.setattr(sys, "argv", ["bench", "--out", str(tmp_path), *arguments])
    monkeypatch.setattr(Bench, "record", lambda bench, way: {"ratios": (), "gram": ()})
    with pytest.raises(SystemExit):
        command.main()
    assert told in capsys.readouterr().err


def row(method, label, share, psnr, budget=None, title=None, form=None, way="synchronous", faithful=1.0):
    """Three clips, `psnr` and two decibels around it; `psnr` can be those of each."""
    each = psnr if isinstance(psnr, tuple) else (psnr - 2.0, psnr, psnr + 2.0) if psnr else (None,) * 3
    clips = [
        {
            "psnr": value,
            "worst_frame": value and value - 5,
            "ssim": 0.99,
            "faithful": {"shape": faithful, "colour": 1.0},
        }
        for value in each
    ]
    made = {
        "schedule": way,
        "method": method,
        "label": label,
        "share": share,
        "clips": clips,
        "computed": 50 * share,
        "of": 50,
        "forwards": 100 * share,
        "tflop": share,
        "flop_x": 1 / share,
        "time_x": 0.9 / share,
        "memory": 1e6,
    }
    return made | ({"title": title, "budget": budget, "form": form} if title else {})


ROWS = [
    row("full", "every step", 1.0, None),
    row("other", "other noise", 1.0, 15.0),
    row("preset", "balanced", 0.36, 45.0, faithful=0.9),
    row("preset", "paper_fast", 0.3, 20.0),
    row("fewer", "25 steps", 0.5, 40.0),
    row("fewer", "11 steps", 0.2, 25.0),
    row("scope_paper", "SCOPE as published 1", 0.5, 30.0, 0.5, "SCOPE as published", PUBLISHED),
    row("good", "Good 2", 0.5, (47.0, 49.0, 48.0), 0.5, "Good", PUBLISHED),
    row("good", "Good 3", 0.35, 44.0, 0.35, "Good", PUBLISHED),
    row("good", "Good 3", 0.35, 44.0, 0.22, "Good", PUBLISHED),
    row("planned", "SCOPE (ours) 1", 0.5, (44.0, 46.0, 46.0), 0.5, "SCOPE (ours)", OURS),
    row("planned", "SCOPE (ours) 2", 0.34, 44.1, 0.35, "SCOPE (ours)", OURS),
    row("planned", "SCOPE (ours) 3", 0.22, 21.0, 0.22, "SCOPE (ours)", OURS),
]
REPORT = {"clips": 3, "gates": GATES, "budgets": BUDGETS, "rows": ROWS}


def test_fewer_steps_are_read_off_between_those_measured_clip_by_clip():
    assert fewer_at(ROWS, 0.35) == pytest.approx([30.5, 32.5, 34.5]) and fewer_at(ROWS, 0.9)[1] == 40.0
    worse = [*ROWS, row("fewer", "18 steps", 0.35, 20.0)]
    assert fewer_at(worse, 0.35) == pytest.approx(fewer_at(ROWS, 0.35))


def test_differences_are_paired_and_have_the_interval_of_student():
    mean, interval = paired(np.array([3.0, 5.0, 4.0]), np.array([1.0, 2.0, 3.0]))
    assert (mean, interval) == (pytest.approx(2.0), pytest.approx(4.302653 * 1.0 / 3**0.5))


def test_a_mean_over_places_is_of_the_clips_that_all_places_have():
    mean, interval = over_places([np.array([1.0, 3.0, 2.0]), np.array([3.0, 5.0, 4.0, 90.0])])
    assert (mean, interval) == (pytest.approx(3.0), pytest.approx(4.302653 * 1.0 / 3**0.5))


def test_fewer_steps_beside_the_presets_are_those_nearest_to_a_budget():
    """Two that are nearest to the same one do not hide each other."""
    rows = [*ROWS, row("fewer", "20 steps", 0.4, 38.0), row("fewer", "12 steps", 0.25, 28.0)]
    table = presets({**REPORT, "rows": [{**row, "time_x": None} for row in rows]})
    shown = [line.split(":")[0] for line in table if line.startswith("| fewer")]
    assert shown == [f"| fewer steps, about {told}x" for told in ("50% | 2.0", "35% | 2.5", "22% | 5.0", "15% | 5.0")]


def test_presets_tell_ssim_and_lpips_where_it_was_measured():
    rows = [{**row, "time_x": None} for row in ROWS]
    without = presets({**REPORT, "rows": rows})
    rows[2] = {**rows[2], "clips": [{**clip, "lpips": 0.01} for clip in rows[2]["clips"]]}
    assert presets({**REPORT, "rows": rows}) == [
        *without,
        "",
        "| SSIM, LPIPS (less is closer) | SkyReels together |",
        "| --- | --- |",
        "| balanced | 0.9900, 0.0100 |",
    ]


def test_faithfulness_is_compared_on_the_clips_that_both_have():
    full, short = row("full", "every step", 1.0, None), row("preset", "fast", 0.2, 30.0)
    full["clips"][2]["faithful"] = {"shape": 0.0, "colour": 0.0}
    assert points_to_full(short | {"clips": short["clips"][:2]}, full) == 0


def test_ranking_puts_the_best_first_and_says_where_a_cost_is_not_reached():
    heads, _, first, second, last, *_ = ranking(REPORT)
    assert heads.count("|") == first.count("|") == 7
    assert first == "| Good | published | +9.8 ± 2.2 | **48.0** | **44.0** | 44.0 at 35% |"
    assert second.startswith("| SCOPE (ours) | ours | +4.1 ") and last.startswith(
        "| SCOPE as published | published | -10.0"
    )


def test_every_place_where_another_is_ahead_is_named():
    told = losses(REPORT)
    assert told[0] == "Another method is ahead of ours by more than the 95 % interval at 2 of 3 places."
    assert told[1].startswith("- SkyReels together at 50%: Good by 2.7 ± ")
    assert told[2] == "- SkyReels together at 22%: fewer steps by 5.0 ± 0.0 dB"
    table = versus(REPORT)
    assert table[2].startswith("| Good | -1.3 ") and table[2].endswith("| +0.1 ± 0.0 |  |")


def test_targets_are_told_with_what_is_missing():
    told = targets(REPORT)
    assert "| no rival ahead by more than the interval at 3 places | 2 lost | no, by 2.0 places |" in told
    assert any(line.startswith("| over all places >= 2.5 dB above every rival published | -1.3 ") for line in told)
    assert any("mean gain over fewer steps >= 12 dB | +4.1" in line and "no, by 7.9 dB" in line for line in told)
    assert (
        "| SkyReels together: fidelity of `paper_fast` at <= 50% of its operations | at most 73% | no, by 23.3 points |"
        in told
    )
    assert any("`balanced` ahead of every rival at its own cost | +0.7 dB" in line for line in told)
    assert "| `balanced` as faithful to the prompt, within 1 points | -5.0 points | no, by 4.0 points |" in told


def test_clips_that_became_another_video_and_faithfulness_are_counted():
    text = ranked(REPORT)
    assert "| SCOPE (ours) | 0% | 0% | 100% |" in text and "| fewer steps | 0% | 0% | 33% |" in text
    assert "come to 15.0 dB on average, 16.8 dB at the 95th percentile and 17.0 dB at most" in text
    assert "balanced -5.0, paper_fast +0.0" in text
    assert faithfulness(ROWS[2]) == pytest.approx(0.95)


def test_everything_measured_is_printed():
    text = markdown(REPORT)
    assert (
        all(" | ".join(cells(row)) in text for row in ROWS)
        and "| every step | 50 of 50 |" in text
        and "| inf |" in text
    )
    (told,) = losing_presets(REPORT)
    assert told.endswith("by more than the 95 % interval: `paper_fast` (SkyReels together by 10.0).")


def test_a_report_without_ours_and_one_of_presets_alone_are_told():
    rest = [row for row in ROWS if row["method"] != "planned"]
    assert "Where we lose" not in ranked(REPORT | {"rows": rest}) and "Good" in ranked(REPORT | {"rows": rest})
    alone = REPORT | {"rows": [row for row in ROWS if "form" not in row]}
    assert not Measured(alone).rows and "####" not in ranked(alone)


def test_long_videos_are_ranked_apart():
    long = [{**row, "schedule": "long_synchronous"} for row in ROWS]
    assert "clips with prompts" in ranked(REPORT | {"rows": long})
    text = ranked(REPORT | {"rows": ROWS + long})
    assert text.count("SkyReels long 50%") == 1 and "SkyReels long" in text.split("#### Long videos")[1]
    assert Spec("synchronous", "preset", "fast", PRESETS["fast"]).run(3).clip == 3


def test_what_the_loop_costs_can_be_measured_with_every_method():
    for name in (name for name, method in METHODS.items() if method.offered and name != "scope"):
        METHODS[name](**efficiency.EAGER.get(name, {"threshold": efficiency.NEVER}))


def test_rows_that_were_measured_again_replace_those_of_before():
    """Of a ranked method the one for the same budget, whatever its setting was; the others stay where they are."""

    def row(method, label, **more):
        return {"schedule": "synchronous", "method": method, "label": label, **more}

    rows = [row("full", "every step"), row("planned", "ours 2", budget=0.5), row("planned", "ours 3", budget=0.35)]
    again = [row("full", "every step", computed=9), row("planned", "ours 2.2", budget=0.5), row("preset", "fast")]
    made = command.updated({"clips": 2, "rows": rows}, {"clips": 2, "torch": "2", "rows": again})
    assert made == {"clips": 2, "torch": "2", "rows": [again[0], again[1], rows[2], again[2]]}
