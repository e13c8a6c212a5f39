"""The benchmark's own arithmetic: the search for a cost, what was kept, and what the report makes of rows."""

import json
from types import SimpleNamespace

import pytest

from tests.bench.measure import Benchmark, Schedule
from tests.bench.methods import BUDGETS, GATES, Ranked
from tests.bench.report import cells, fewer_at, markdown, ranking, verdicts


def row(method, label, share, psnr, budget=None, title=None):
    clips = [
        {"psnr": None if psnr is None else psnr + off, "worst_frame": None if psnr is None else psnr - 10, "ssim": 0.99}
        for off in (-1.0, 1.0)
    ]
    made = {
        "schedule": "synchronous",
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
    return made | ({"title": title, "budget": budget} if title else {})


REPORT = {
    "clips": 2,
    "threads": 2,
    "gates": GATES,
    "budgets": BUDGETS,
    "rows": [
        row("full", "every step", 1.0, None),
        row("preset", "balanced", 0.36, 45.0),
        row("preset", "paper_fast", 0.3, 20.0),
        row("fewer", "25 steps", 0.5, 40.0),
        row("fewer", "11 steps", 0.2, 25.0),
        row("scope_paper", "SCOPE as published 1", 0.5, 30.0, 0.5, "SCOPE as published"),
        row("good", "Good 2", 0.5, 48.0, 0.5, "Good"),
        row("good", "Good 3", 0.35, 44.0, 0.35, "Good"),
        row("good", "Good 3", 0.35, 44.0, 0.22, "Good"),
    ],
}


def test_fewer_steps_are_read_off_between_those_measured():
    assert fewer_at(REPORT["rows"], 0.35) == pytest.approx(32.5) and fewer_at(REPORT["rows"], 0.9) == 40.0


def test_ranking_puts_the_best_first_and_says_where_a_cost_is_not_reached():
    heads, _, first, last = ranking(REPORT)
    assert heads.count("|") == first.count("|") == 6
    assert first == "| Good | +9.8 | **48.0 ± 1.4** | **44.0 ± 1.4** | 44.0 ± 1.4 at 35% |"
    assert last == "| SCOPE as published | -10.0 | 30.0 ± 1.4 |  |  |"


def test_verdicts_name_what_scope_loses_to():
    said = verdicts(REPORT)
    assert said[4] == "| SCOPE as published | SkyReels together | fewer steps by 10.0; Good by 18.0 |  |  |"
    assert (
        said[-1]
        == "Presets that lose to fewer steps, at no more cost and by more than 0.5 dB: `paper_fast` (SkyReels together"
        " by 10.0)."
    )
    assert verdicts({**REPORT, "rows": [row for row in REPORT["rows"] if "title" not in row]}) == said[-1:]
    rows = [
        *(row for row in REPORT["rows"] if row["method"] != "scope_paper"),
        row("scope", "SCOPE (ours) 2", 0.35, 46.0, 0.35, "SCOPE (ours)"),
    ]
    assert verdicts({**REPORT, "rows": rows})[4] == "| SCOPE (ours) | SkyReels together |  | nothing |  |"


def test_everything_measured_is_printed():
    text = markdown(REPORT)
    assert (
        all(" | ".join(cells(row)) in text for row in REPORT["rows"])
        and "| every step | 50 of 50 |" in text
        and "| inf |" in text
    )


@pytest.mark.parametrize("budget, knob", [(0.5, 2.0), (0.21, 5.0), (0.9, 1.0), (0.01, 9.0)])
def test_search_finds_the_nearest_cost(budget, knob):
    asked = []
    schedule = SimpleNamespace(cost=lambda method, i: asked.append(i) or 1 / method.knobs[i])
    assert (
        Schedule.knob_for(schedule, budget, Ranked("", None, tuple(map(float, range(1, 10))))) == knob
        and len(asked) < 9
    )


def test_what_was_measured_is_kept(tmp_path):
    file = tmp_path / "runs.jsonl"
    assert Benchmark(file, 2).once(["a", 1], lambda: {"forwards": 3})["forwards"] == 3
    assert Benchmark(file, 2).once(["a", 1], pytest.fail)["forwards"] == 3 and len(file.read_text().splitlines()) == 1
    assert json.loads(file.read_text())["forwards"] == 3
