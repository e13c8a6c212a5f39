"""Named operating points, and what they stand for."""

import json
from dataclasses import replace

import pytest
from scope_core.plan import plan
from scope_core.policy import Off, Scope, TeaCache
from scope_core.predict import PREDICTORS
from scope_core.presets import CALIBRATED, PRESETS, Settings
from scope_core.schedule import ARSchedule
from scope_core.trace import RULES, Trace


def test_every_preset_is_made_of_values_in_range():
    for name, settings in PRESETS.items():
        assert isinstance(settings.policy, Off if name == "off" else Scope)
        assert settings.gate.max_skip >= 1
        assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_presets_grow_in_what_they_skip():
    schedule = ARSchedule(25)
    names = ("off", "quality", "balanced", "fast")
    computed = [plan(schedule, replace(PRESETS[name], signal="sigma")).totals["computed"] for name in names]
    assert computed[0] == 50 and computed == sorted(set(computed), reverse=True)
    assert PRESETS["balanced"] == CALIBRATED


def test_paper_presets_are_the_printed_operating_points():
    """Section 4.3: second-order Taylor, decay 0.75, skip length 5, selective computation; Table 2 for the thresholds."""
    for name, thresholds in {"paper_slow": (0.12, 0.30), "paper_fast": (0.18, 0.42)}.items():
        settings = PRESETS[name]
        assert (settings.policy.tau_c, settings.policy.tau_p) == thresholds
        assert (settings.policy.decay, settings.policy.decay_mode, settings.gate.max_skip) == (0.75, "paper", 5)
        assert PREDICTORS[settings.policy.predictor][1] == 3
        assert settings.interval == "paper"


@pytest.mark.parametrize("settings, off", [
    (Settings(), False), (Settings(Off()), True), (Settings(tau_c=0.0, tau_p=0.0), True), (Settings(max_skip=0), True),
    (Settings(TeaCache()), False), (Settings(TeaCache(0.0)), True),
    (Settings(TeaCache(), tau_c=0.0, tau_p=0.0), False), (Settings(TeaCache(), max_skip=0), True),
])
def test_what_cannot_skip_is_off(settings, off):
    """Law 1: it then forwards the whole window, unless something else was asked for."""
    assert settings.off == off
    assert isinstance(settings.policy, Off) == off
    assert settings.interval == ("full" if off else "auto")
    assert Settings(Off(), selective="paper").interval == "paper"


def test_settings_reach_the_policy():
    policy = Settings(tau_c=0.1, tau_p=0.2, decay=0.5, decay_mode="none", predictor="ab2", monotone=False, clipped=False, signal="sigma",
                      aggregate="mean_all").policy
    assert policy == Scope(0.1, 0.2, 0.5, "none", "ab2", False, False, "sigma", "mean_all")
    policy = Settings(TeaCache(0.3, "14B", "embedding", "mean_active")).policy
    assert policy == TeaCache(0.3, "14B", "embedding", "mean_active")


def test_range_is_checked_even_where_it_would_be_off():
    with pytest.raises(ValueError, match="tau_c = 0.1, tau_p = 0;"):
        _ = Settings(tau_c=0.1, tau_p=0.0).policy


def test_rules_have_distinct_letters():
    letters = [letter for letter, _ in RULES.values()]
    assert len(set(letters)) == len(letters) and all(len(letter) == 1 and letter != "." for letter in letters)


def test_trace_says_why_nothing_was_skipped():
    schedule = ARSchedule(6, 10, 6, 2, 2, 3)
    reason = plan(schedule, Settings(signal="sigma", warm_up=20)).totals["skipped_reason"]
    assert "warm-up" in reason
    assert "SCOPE is off" in plan(schedule, PRESETS["off"]).totals["skipped_reason"]
    assert plan(schedule, Settings(signal="sigma", tau_p=5.0, max_skip=5)).totals["skipped_reason"] == ""
    assert Trace({}).totals["skipped_reason"] == ""
