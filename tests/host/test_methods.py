"""The method selector: every knob reaches its policy, every published point is one, and bad numbers are answered."""

import pytest
from comfy_api.latest import io
from scope_pack.nodes.host.calibration import needs_ratios
from scope_pack.nodes.host.sampling import warnings
from scope_pack.nodes.methods import CUSTOM, GATE, OFFERS, options, settings_of
from scope_pack.nodes.sampling import ScopeSettings
from scope_pack.scope_core.policy import POLICIES, BWCache, FBCache, FlowCache, MagCache, MotionCache, SeaCache, TaylorSeer, TeaCache
from scope_pack.scope_core.policy.magcache import WAN_1_3B
from scope_pack.scope_core.magi import magi_schedule
from scope_pack.scope_core.presets import Settings, name_of
from scope_pack.scope_core.schedule import ARSchedule

DEFAULTS = {name: {knob.id: knob.default for knob in offer.knobs} for name, offer in OFFERS.items()}


def test_every_method_is_offered():
    assert {*OFFERS, "scope", "off"} == POLICIES.keys()
    selector, = ScopeSettings.define_schema().inputs
    assert [option.key for option in selector.options] == ["scope", *OFFERS] and isinstance(selector, io.DynamicCombo.Input)


@pytest.mark.parametrize("method", OFFERS)
def test_knobs_are_the_fields_of_the_policy(method):
    settings = settings_of(method, {**DEFAULTS[method], "preset": CUSTOM})
    assert settings.method == method and not settings.off
    fields = settings.to_json()
    for name, value in DEFAULTS[method].items():
        if name not in ("ratios", "steps"):
            assert fields[name] == value, name
    assert Settings.from_json(fields) == settings and name_of(settings).startswith(f"{method} ")
    assert (settings.max_skip, settings.warm_up, settings.tail) == tuple(DEFAULTS[method][name] for name in GATE)


@pytest.mark.parametrize("method, point", [(method, point) for method, offer in OFFERS.items() for point in offer.points])
def test_published_points_win_over_the_knobs(method, point):
    settings = settings_of(method, {**DEFAULTS[method], "max_skip": 1, "preset": point})
    assert not settings.off and settings.max_skip > 1
    assert set(OFFERS[method].points[point]) <= set(DEFAULTS[method])


@pytest.mark.parametrize("method, point, policy", [
    ("teacache", "Wan 1.3B, 0.08", TeaCache(0.08, "1.3B", "embedding")), ("teacache", "SkyReels 1.3B, 0.3", TeaCache(0.3, "1.3B", "modulation")),
    ("teacache", "MAGI-1, 0.01", TeaCache(0.01, "none", "latent")), ("taylorseer", "Wan, every 5", TaylorSeer(5, 1, 1, "residual")),
    ("taylorseer", "ComfyUI, every 6, order 2", TaylorSeer(6, 2, 3, "residual")), ("flowcache", "SkyReels fast", FlowCache(0.15, "1.3B", "modulation")),
    ("flowcache", "MAGI-1 slow", FlowCache(0.01)), ("magcache", "Wan 1.3B, slow", MagCache(0.12, 2, 0.2, WAN_1_3B)), ("magcache", "Wan 14B", MagCache(0.24, 6, 0.2, ())),
    ("bwcache", "fast", BWCache(0.25, 0.1, 0.5)), ("fbcache", "DBCache F8B0", FBCache(0.08, 8, 0)), ("seacache", "published", SeaCache(0.25, 2)),
    ("motioncache", "MAGI-1", MotionCache(0.0065)),
])
def test_published_points_are_those_of_the_notes(method, point, policy):
    """methods.md section 2."""
    assert settings_of(method, {**DEFAULTS[method], "preset": point}).rival == policy


def test_a_grid_of_ones_own():
    assert settings_of("reduced", {**DEFAULTS["reduced"], "steps": "1, 3 6,10"}).rival == POLICIES["reduced"](25, (1, 3, 6, 10))
    with pytest.raises(ValueError, match="steps are 'every third'; write whole numbers"):
        settings_of("reduced", {**DEFAULTS["reduced"], "steps": "every third"})


def test_magcache_that_is_off_needs_no_calibration():
    assert needs_ratios(settings_of("magcache", dict(DEFAULTS["magcache"])))
    for off in ({"threshold": 0.0}, {"longest": 0}, {"max_skip": 0}, {"ratios": "Wan 1.3B"}):
        assert not needs_ratios(settings_of("magcache", {**DEFAULTS["magcache"], **off}))


@pytest.mark.parametrize("method, knobs, schedule, words", [
    ("magcache", {"ratios": "Wan 1.3B"}, magi_schedule(24), "ratios are those of Wan 1.3B"), ("flowcache", {}, magi_schedule(24), "polynomial 1.3B was fitted to Wan"),
    ("bwcache", {}, ARSchedule(16, 50, 16, 5, 1, 5), "BWCache reuses little"), ("easycache", {"warm_up": 49, "tail": 1}, ARSchedule(4, 50, 4), "leave none of the 50 steps"),
])
def test_what_a_method_cannot_carry_is_said_before_the_run(method, knobs, schedule, words):
    assert any(words in text for text in warnings(schedule, settings_of(method, {**DEFAULTS[method], **knobs})))
    assert not warnings(ARSchedule(4, 50, 4), settings_of(method, dict(DEFAULTS[method]))), "nothing to say of the usual case"


@pytest.mark.parametrize("option", options(), ids=lambda option: option.key)
def test_widgets_explain_themselves(option):
    assert all(len(spec.tooltip) > 15 and spec.tooltip.endswith(".") for spec in option.inputs)


def test_graphs_saved_without_a_preset_still_mean_the_same():
    assert settings_of("teacache", dict(DEFAULTS["teacache"])).rival == POLICIES["teacache"]()


@pytest.mark.parametrize("method, knobs, words", [
    ("teacache", {"polynomial": "1.3B", "signal": "latent"}, "1.3B/latent"), ("taylorseer", {"interval": 0}, "interval is 0"), ("magcache", {"threshold": -1.0}, "threshold is -1"),
])
def test_numbers_out_of_range_are_answered(method, knobs, words):
    with pytest.raises(ValueError, match=words):
        settings_of(method, {**DEFAULTS[method], **knobs})
