"""Named operating points, and what they stand for."""

import json

import pytest

from scope_core import SKYREELS
from scope_core.loop.plan import plan
from scope_core.loop.trace import Trace
from scope_core.methods import RULES, Gate, Off, Planned, Reduced, Scope, TeaCache
from scope_core.methods.predict import PREDICTORS
from scope_core.settings import CALIBRATED, PRESETS, Settings, knobs, read


def test_every_preset_is_made_of_values_in_range():
    for name, settings in PRESETS.items():
        expected = Off if name == "off" else Scope if name.startswith("paper") else Planned
        assert isinstance(settings.acting, expected)
        assert settings.gate.max_skip >= 1
        assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_presets_grow_in_what_they_skip():
    schedule = SKYREELS.schedule(25)
    presets = [PRESETS[name] for name in ("off", "quality", "balanced", "fast")]
    assert [plan(schedule, settings).totals["computed"] for settings in presets] == [50, 26, 20, 12]
    assert Settings(Scope()) == CALIBRATED, "thresholds, as they were"


def test_paper_presets_are_the_printed_operating_points():
    """Section 4.3: second-order Taylor, decay 0.75, skip length 5, selective computation; Table 2 for the
    thresholds."""
    for name, thresholds in {"paper_slow": (0.12, 0.30), "paper_fast": (0.18, 0.42)}.items():
        settings = PRESETS[name]
        method = settings.acting
        assert (method.tau_c, method.tau_p) == thresholds
        assert (method.decay, method.decay_mode, settings.gate.max_skip) == (0.75, "paper", 5)
        assert PREDICTORS[method.predictor][1] == 3
        assert settings.forwarded == "paper"


@pytest.mark.parametrize(
    "settings, off",
    [
        (Settings(), False),
        (Settings(Off()), True),
        (Settings(Scope(tau_c=0.0, tau_p=0.0)), True),
        (Settings(gate=Gate(0)), True),
        (Settings(TeaCache(), Gate()), False),
        (Settings(TeaCache()), False),
        (Settings(TeaCache(0.0)), True),
        (Settings(TeaCache(), Gate(0)), True),
    ],
)
def test_what_cannot_skip_is_off(settings, off):
    """docs/architecture.md, law 1: it then forwards the whole window, unless something else was asked for."""
    assert settings.off == off
    assert isinstance(settings.acting, Off) == off
    assert settings.forwarded == ("full" if off else "auto")
    assert Settings(Off(), selective="paper").forwarded == "paper"


def test_widgets_reach_the_method():
    """Every one set to something else than it usually is."""
    widgets = {
        "threshold": 0.5,
        "cache_threshold": 0.1,
        "predict_threshold": 0.2,
        "decay": 0.5,
        "decay_mode": "none",
        "predictor": "ab2",
        "signal": "sigma",
        "aggregate": "mean_all",
        "max_skip": 7,
        "warm_up": 3,
        "tail": 4,
        "selective": "paper",
        "joint": True,
        "correct": True,
        "speed": 0.0,
        "fidelity": 0.0,
    }
    method = Scope(0.1, 0.2, 0.5, "none", "ab2", signal="sigma", aggregate="mean_all")
    assert read("scope", widgets) == Settings(method, Gate(7, 3, 4), "paper", True, True)
    assert set(widgets) == {knob.name for knob in knobs(Scope)}
    widgets = {"threshold": 0.3, "polynomial": "14B", "signal": "embedding", "max_skip": 7, "warm_up": 3, "tail": 4}
    assert read("teacache", widgets) == Settings(TeaCache(0.3, "14B", "embedding"), Gate(7, 3, 4))


@pytest.mark.parametrize(
    "method",
    [
        Scope(0.1, 0.2, 0.5, "none", "ab2", False, False, "sigma", "mean_all"),
        TeaCache(0.3, "14B", "embedding", "mean_active"),
    ],
)
def test_settings_reach_the_method(method):
    """Those that no widget shows, too, and through the JSON of a trace."""
    settings = Settings(method, Gate(7, 3, 4))
    assert settings.acting == method == Settings.from_json(json.loads(json.dumps(settings.to_json()))).acting


def test_range_is_checked_even_where_it_would_be_off():
    with pytest.raises(ValueError, match="cache_threshold is 0.1 and predict_threshold 0;"):
        Settings(Scope(tau_c=0.1, tau_p=0.0))


@pytest.mark.parametrize(
    "ask, words",
    [
        (lambda: read("nope", {}), "method is 'nope'; choose one of off, .*teacache"),
        (lambda: read("scope", {"preset": "nope"}), "preset of scope is 'nope'; choose one of off, quality, .*custom"),
        (lambda: read("scope", {"decay_mode": "nope"}), "decay_mode is 'nope'; choose one of "),
        (lambda: Settings.from_json({**Settings().to_json(), "method": "nope"}), "method is 'nope'; choose one of"),
        (
            lambda: Settings(TeaCache(float("inf"))),
            "TeaCache threshold is inf; it must be a number and be at least 0, 0.2 is usual",
        ),
        (lambda: read("scope", {"threshold": float("inf")}), "is inf; it must be a number"),
        (lambda: read("scope", {"threshold": float("nan")}), "is nan; it must be a number"),
        (lambda: Gate(float("inf")), "max_skip is inf; it must be a number"),
    ],
)
def test_what_there_is_no_such_thing_of_is_answered_with_the_choices(ask, words):
    with pytest.raises(ValueError, match=words):
        ask()


def test_rules_have_distinct_letters():
    letters = [letter for letter, _ in RULES.values()]
    assert len(set(letters)) == len(letters) and all(len(letter) == 1 and letter != "." for letter in letters)


def test_trace_says_why_nothing_was_skipped():
    schedule = SKYREELS.schedule(6, 10, 6, 2, 2, 3)
    reason = plan(schedule, Settings(Scope(signal="sigma"), Gate(warm_up=20))).totals["skipped_reason"]
    assert "warm-up" in reason
    assert "SCOPE is off" in plan(schedule, PRESETS["off"]).totals["skipped_reason"]
    assert plan(schedule, Settings(Scope(tau_p=5.0, signal="sigma"), Gate(5))).totals["skipped_reason"] == ""
    assert Trace({}).totals["skipped_reason"] == ""


def test_the_first_computed_step_says_nothing_of_a_full_run():
    """The network warms up in it. Four frames, RCRCRCRC: 2 s a computed step are 16 s for all eight; with the first one
    it would be 212."""
    trace = plan(SKYREELS.schedule(4, 8), Settings(Reduced(4)))
    for step, seconds in zip(trace.segments[0].steps, (100, 0.5, 2, 0.5, 2, 0.5, 2, 0.5), strict=True):
        step["seconds"] = seconds
    assert [step["modes"] for step in trace.segments[0].steps] == list("RCRCRCRC")
    assert (trace.totals["seconds"], trace.totals["estimated_baseline_seconds"]) == (108, 16)


def test_a_full_run_is_estimated_by_the_frames_that_were_forwarded():
    """Blocks of two frames that start two steps after each other; of those that have not started nothing is forwarded.
    A frame costs 1 s and the warm-up 100 s: six frames over eight iterations are 48 s."""
    trace = plan(SKYREELS.schedule(6, 4, 6, 2, 2, 2, causal=True), Settings(Off(), selective="paper"))
    steps = trace.segments[0].steps
    for step in steps:
        step["seconds"] = step["frames"][1] - step["frames"][0]
    assert [step["seconds"] for step in steps] == [2, 2, 4, 4, 6, 6, 6, 6]
    steps[0]["seconds"] += 100
    assert trace.totals["estimated_baseline_seconds"] == 48
