"""The method selector: every knob reaches its method, every published point is one, and bad numbers are answered."""

import importlib.util
from pathlib import Path

import pytest
from comfy_api.latest import io
from scope_pack.nodes.comfy.graph import Graph
from scope_pack.nodes.comfy.sampling import warnings
from scope_pack.nodes.methods import ScopeSettings, selected, selector, settings_of
from scope_pack.nodes.planning import plan_node
from scope_pack.nodes.sampling import ScopeSampler
from scope_pack.scope_core import MAGI, METHODS, SKYREELS, methods
from scope_pack.scope_core.methods import (
    BWCache,
    FBCache,
    FlowCache,
    Gate,
    MagCache,
    MotionCache,
    SeaCache,
    TaylorSeer,
    TeaCache,
)
from scope_pack.scope_core.methods.base import CUSTOM
from scope_pack.scope_core.methods.magcache import WAN_1_3B
from scope_pack.scope_core.settings import PRESETS, Settings, knobs, name_of
from scope_pack.scope_core.signals.maps import SignalMaps

spec = importlib.util.spec_from_file_location("toy_method", Path(__file__).parents[1] / "toy_method.py")
toy_method = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toy_method)

RIVALS = [name for name, method in METHODS.items() if method.offered and name != "scope"]
DEFAULTS = {name: {knob.name: knob.write(knob.default) for knob in knobs(METHODS[name])} for name in RIVALS}
GATE = ("max_skip", "warm_up", "tail")


def chosen(method, **knobs):
    """Settings of the selector as the host gives it to the node."""
    return settings_of({"method": method, **DEFAULTS[method], **knobs})


def test_every_method_is_offered():
    assert [*RIVALS, "scope", "off"] == sorted(METHODS, key=[*RIVALS, "scope", "off"].index)
    (only,) = ScopeSettings.define_schema().inputs
    assert [option.key for option in only.options] == ["scope", *RIVALS] and isinstance(only, io.DynamicCombo.Input)


@pytest.mark.parametrize("method", RIVALS)
def test_knobs_are_the_fields_of_the_method(method):
    settings = chosen(method, preset=CUSTOM)
    assert settings.method.name == method and not settings.off
    fields = settings.to_json()
    for knob in knobs(METHODS[method]):
        if not knob.text and knob.name != "ratios":
            assert fields[knob.field] == DEFAULTS[method][knob.name], knob.name
    assert Settings.from_json(fields) == settings
    assert name_of(settings).startswith(f"{method} ") or settings in PRESETS.values()
    assert settings.gate == Gate(*(DEFAULTS[method][name] for name in GATE))


@pytest.mark.parametrize("method, point", [(method, point) for method in RIVALS for point in METHODS[method].points])
def test_published_points_win_over_the_knobs(method, point):
    settings = chosen(method, max_skip=1, preset=point)
    assert not settings.off and settings.gate.max_skip > 1
    assert set(METHODS[method].points[point]) <= set(DEFAULTS[method])


@pytest.mark.parametrize(
    "method, point, expected",
    [
        ("teacache", "Wan 1.3B, 0.08", TeaCache(0.08, "1.3B", "embedding")),
        ("teacache", "SkyReels 1.3B, 0.3", TeaCache(0.3, "1.3B", "modulation")),
        ("teacache", "MAGI-1, 0.01", TeaCache(0.01, "none", "latent")),
        ("taylorseer", "Wan, every 5", TaylorSeer(5, 1, 1, "residual")),
        ("taylorseer", "ComfyUI, every 6, order 2", TaylorSeer(6, 2, 3, "residual")),
        ("flowcache", "SkyReels fast", FlowCache(0.15, "1.3B", "modulation")),
        ("flowcache", "MAGI-1 slow", FlowCache(0.01, "none", "latent")),
        ("magcache", "Wan 1.3B, slow", MagCache(0.12, 2, 0.2, WAN_1_3B)),
        ("magcache", "Wan 14B", MagCache(0.24, 6, 0.2, ())),
        ("bwcache", "fast", BWCache(0.25, 0.1, 0.5)),
        ("fbcache", "DBCache F8B0", FBCache(0.08, 8, 0)),
        ("seacache", "published", SeaCache(0.25, 2)),
        ("motioncache", "MAGI-1", MotionCache(0.0065)),
    ],
)
def test_published_points_are_those_of_their_sources(method, point, expected):
    """docs/methods.md"""
    assert chosen(method, preset=point).method == expected


def test_a_grid_of_ones_own():
    assert chosen("reduced", steps="1, 3 6,10").method == METHODS["reduced"](25, (1, 3, 6, 10))
    with pytest.raises(ValueError, match="steps are 'every third'; write whole numbers"):
        chosen("reduced", steps="every third")


def test_magcache_that_is_off_needs_no_calibration():
    assert chosen("magcache").needs_calibration
    for off in ({"threshold": 0.0}, {"longest": 0}, {"max_skip": 0}, {"ratios": "Wan 1.3B"}):
        assert not chosen("magcache", **off).needs_calibration


@pytest.mark.parametrize(
    "method, knobs, schedule, words",
    [
        ("magcache", {"ratios": "Wan 1.3B"}, MAGI.schedule(24), "ratios are those of Wan 1.3B"),
        ("flowcache", {}, MAGI.schedule(24), "polynomial 1.3B was fitted to Wan"),
        ("bwcache", {}, SKYREELS.schedule(16, 50, 16, 5, 1, 5), "BWCache reuses little"),
        ("easycache", {"warm_up": 49, "tail": 1}, SKYREELS.schedule(4, 50, 4), "leave none of the 50 steps"),
    ],
)
def test_what_a_method_cannot_carry_is_said_before_the_run(method, knobs, schedule, words):
    assert any(
        words in text for text in warnings(schedule, chosen(method, **knobs), schedule.family.defaults.solver, "")
    )
    assert not warnings(SKYREELS.schedule(4, 50, 4), chosen(method), "unipc", ""), "nothing to say of the usual case"


@pytest.mark.parametrize(
    ("model", "steps"),
    [
        ("MAGI-1 4.5B base", 64),
        ("MAGI-1 4.5B distilled", 64),
        ("MAGI-1 24B base", 32),
        ("MAGI-1 24B distilled, fp8", 16),
    ],
)
def test_steps_that_a_model_was_not_released_with_are_told(model, steps):
    assert MAGI.defaults_of(model) == (steps, 7.5, 3.0, "euler")
    told = warnings(MAGI.schedule(24, 48), chosen("taylorseer"), "euler", model)
    assert told == ([] if steps == 64 else [f"{model} was released with {steps} steps, this run has 48."])
    assert not warnings(MAGI.schedule(24, steps), chosen("taylorseer"), "euler", model)
    assert any("solver is unipc" in text for text in warnings(MAGI.schedule(24), chosen("taylorseer"), "unipc", model))


POINTS = [(name, point) for name in RIVALS for point in METHODS[name].points]


@pytest.mark.parametrize(
    "settings",
    [
        *PRESETS.values(),
        *(chosen(name, preset=CUSTOM) for name in RIVALS),
        *(chosen(name, preset=point) for name, point in POINTS),
        Settings(TeaCache(0.123), Gate(4, 2, 1)),
    ],
    ids=name_of,
)
def test_what_the_selector_is_moved_to_gives_the_same_settings(settings):
    widgets = {name.removeprefix("method."): value for name, value in selected(settings).items()}
    assert settings_of(widgets) == settings or (settings.off and settings_of(widgets).off)
    assert widgets["preset"] == CUSTOM or settings_of(widgets | {"preset": CUSTOM}).to_json() == settings.to_json()


@pytest.mark.parametrize("option", selector().options, ids=lambda option: option.key)
def test_widgets_explain_themselves(option):
    assert all(len(spec.tooltip) > 15 and spec.tooltip.endswith(".") for spec in option.inputs)


def test_graphs_saved_without_a_preset_still_mean_the_same():
    assert chosen("teacache").method == METHODS["teacache"]()


def test_graphs_saved_before_a_rule_was_offered_still_mean_the_same():
    """The host makes None of inputs that a graph lacks."""
    assert chosen("taylorseer", joint=None, correct=None) == chosen("taylorseer")


@pytest.mark.parametrize(
    "method, knobs, words",
    [
        ("teacache", {"polynomial": "1.3B", "signal": "latent"}, "1.3B/latent"),
        ("taylorseer", {"interval": 0}, "interval is 0"),
        ("magcache", {"threshold": -1.0}, "threshold is -1"),
    ],
)
def test_numbers_out_of_range_are_answered(method, knobs, words):
    with pytest.raises(ValueError, match=words):
        chosen(method, **knobs)


def test_a_method_that_is_one_file_is_offered_and_planned(tmp_path):
    """tests/core/test_toy_method.py has the rest."""
    toy_method.load(methods)
    try:
        (option,) = (option for option in selector().options if option.key == "toy")
        assert [spec.id for spec in option.inputs] == [
            "preset",
            "every",
            "kind",
            "max_skip",
            "warm_up",
            "tail",
            "joint",
            "correct",
        ]
        points, every = option.inputs[0], option.inputs[1]
        assert points.options == [CUSTOM, "often", "seldom"] and points.extra_dict["presets"]["seldom"]["every"] == 6
        assert (every.default, every.min, every.max, every.tooltip) == (
            3,
            1,
            20,
            "One step in so many is computed; 1 computes all.",
        )
        widgets = {spec.id: spec.default for spec in ScopeSampler.define_schema().inputs if hasattr(spec, "default")}
        graph = Graph.of(
            {
                "settings": {"class_type": "SCOPE_Settings", "inputs": {"method": "toy", "method.every": 5}},
                "sampler": {
                    "class_type": "SCOPE_Sampler",
                    "inputs": {**widgets, "steps": 20, "settings": ["settings", 0]},
                },
            }
        )
        answer = plan_node("sampler", graph, SignalMaps(tmp_path))
        assert answer["point"]["label"] == "toy 5" and answer["point"]["computed"] == 4
    finally:
        del METHODS["toy"]
