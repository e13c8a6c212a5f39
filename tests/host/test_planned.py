"""The speed dial in the host: what it moves, the plans that people drop into the user folder, and what is told of them
before the run."""

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import folder_paths
import pytest
import torch
from scope_pack.nodes.comfy import demo, events
from scope_pack.nodes.comfy import plans as hosted_plans
from scope_pack.nodes.comfy.graph import Graph
from scope_pack.nodes.comfy.sampling import VideoSampler, knowledge
from scope_pack.nodes.comfy.skyreels import Windows
from scope_pack.nodes.methods import OURS, selector, widgets_of
from scope_pack.nodes.planning import plan_node
from scope_pack.nodes.sampling import Request, ScopeSampler, render
from scope_pack.nodes.tradeoff import point_of
from scope_pack.scope_core import METHODS, PRESETS, SKYREELS, Settings
from scope_pack.scope_core.demo.shipped import signals_of
from scope_pack.scope_core.methods import Gate, Scope
from scope_pack.scope_core.settings import read, spread
from scope_pack.scope_core.signals.maps import fingerprint
from scope_pack.scope_core.study.plans import Choice, Plan, PlanError
from scope_pack.scope_core.study.plans import read as read_plan

STEPS = 10
DEMO = {"model": ["demo", 0], "steps": STEPS, "cfg": 1.0, "shift": 8.0, "preset": "balanced"}
THRESHOLDS = {"preset": "custom", "signal": "sigma"}
BY_RULE = "Planned by a rule: no plan is known for this model and schedule. Thresholds and max_skip have no effect."


@pytest.fixture(autouse=True)
def shipped(tmp_path, monkeypatch):
    """No plans but those of a test; gives the folder of the shipped ones."""
    folder = hosted_plans.PLANS
    monkeypatch.setattr(hosted_plans, "PLANS", tmp_path / "shipped")
    return folder


def graph(**sampler) -> Graph:
    links = {"schedule": ["schedule", 0], "latent": ["schedule", 1]}
    return Graph.of(
        {
            "demo": {"class_type": "SCOPE_LoadDemo", "inputs": {}},
            "sampler": {"class_type": "SCOPE_Sampler", "inputs": {**DEMO, **links, **sampler}},
            "schedule": {"class_type": "SCOPE_ARSchedule", "inputs": {"length": 13, "width": 64, "height": 64}},
        }
    )


def unseen(**sampler) -> Graph:
    """With a model that has not run yet."""
    return graph(model=["loader", 0], **sampler)


def answer(given: Graph, node: str = "sampler") -> dict:
    given_node = given.node
    given.node = lambda name: {"class_type": "Loader", "inputs": {}} if name == "loader" else given_node(name)
    return plan_node(node, given, knowledge())


def schedule(steps: int = STEPS):
    return SKYREELS.schedule(4, steps, 4)


@cache
def model_of_demo() -> str:
    return fingerprint(signals_of(schedule()), SKYREELS)


def drop(name: str = "mine", *choices: Choice, model: str | None = None, steps: int = STEPS) -> Plan:
    """A plan in the user folder, by default one of the demo model."""
    choices = choices or (Choice((1, 2, 6, 10), 45.06), Choice((1, 2, 4, 5, 8, 10), 51.0))
    levels, model = tuple(schedule(steps).sigmas[:-1]), model_of_demo() if model is None else model
    plan = Plan(name, SKYREELS.name, model, levels, 0, steps, 16, choices)
    write(f"{name}.json", json.dumps(plan.to_json()))
    return plan


def write(name: str, text: str) -> None:
    folder = Path(folder_paths.get_user_directory()) / "scope" / "plans"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def modes(trace: dict) -> list[str]:
    return [step["modes"] for segment in trace["segments"] for step in segment["steps"]]


def run(given: Graph, settings: Settings, monkeypatch) -> dict:
    """Trace of the run of SCOPE Sampler in this graph."""
    monkeypatch.setattr(events, "send_step", lambda *step: None)
    clip = demo.load_demo_clip()
    prompt = [[clip.encode_from_tokens(clip.tokenize("a red circle")), {}]]
    latent = {"samples": torch.zeros(1, 16, 4, 8, 8)}
    asked = Request(demo.load_demo_model(), prompt, prompt, latent, None, 0, STEPS, 1.0, 8.0, "unipc")
    hidden = SimpleNamespace(unique_id="sampler", dynprompt=SimpleNamespace(get_node=given.node))
    _, made = render(hidden, asked, settings)
    return made.trace.to_json()


def test_a_graph_saved_before_the_dial_means_the_same():
    """The host makes None of inputs that a graph lacks."""
    saved = {"preset": "custom", "threshold": 1.0, "max_skip": 4}
    for late in ({}, {"speed": None, "fidelity": None}, {"speed": 0.0, "fidelity": 0.0}):
        assert read(OURS, {**saved, **late}) == Settings(Scope(), Gate(4))
    assert answer(graph(**saved | {"max_skip": 2}))["point"]["label"] == "usual thresholds"
    assert modes(answer(graph(**saved))["trace"]) == modes(answer(graph(**saved, speed=0.0, fidelity=0.0))["trace"])


def test_a_preset_moves_the_dial_and_leaves_the_thresholds_where_they_are():
    sampler = next(spec for spec in ScopeSampler.define_schema().inputs if spec.id == "preset")
    settings = next(option for option in selector().options if option.key == OURS).inputs[0]
    for spec in (sampler, settings):
        points = spec.extra_dict["presets"]
        assert spec.extra_dict["aims"] == ["speed", "fidelity"]
        assert [points[name]["speed"] for name in ("quality", "balanced", "fast")] == [1.9, 2.5, 4.0]
        assert all(points[name]["threshold"] == 1.0 and points[name]["fidelity"] == 0 for name in ("quality", "fast"))
        assert points["off"]["speed"] == 0 == points["paper_fast"]["speed"] and points["off"]["threshold"] == 0
        for name, preset in PRESETS.items():
            shown = read(OURS, {**points[name], "preset": "custom"})
            assert shown == preset or (shown.off and preset.off)


def test_what_the_sampler_can_be_set_to():
    for settings in [*spread(12), *PRESETS.values(), Settings(METHODS["planned"](fidelity=40.0))]:
        widgets = widgets_of(settings)
        assert read(OURS, {**widgets, "preset": "custom"}) == settings or settings.off
    listed = METHODS["planned"](computed=(1, 5, 9))
    for settings in (Settings(listed), Settings(listed, Gate(3)), Settings(METHODS["teacache"]())):
        assert widgets_of(settings) is None


@pytest.mark.parametrize("speed", [0.3, 1.0])
def test_every_step_is_at_least_a_speed_of_one(speed):
    assert read(OURS, {"preset": "custom", "speed": speed}).off


@pytest.mark.parametrize("speed", [-1.0, float("nan"), 25.0])
def test_a_speed_out_of_range_is_answered(speed):
    with pytest.raises(ValueError, match="speed is"):
        read(OURS, {"preset": "custom", "speed": speed})


def test_the_plan_is_the_run_with_a_plan_of_the_user_folder(monkeypatch):
    by_rule = answer(graph())
    drop()
    given = graph()
    planned = answer(given)
    assert planned["exact"] and modes(planned["trace"]) != modes(by_rule["trace"])
    assert [i + 1 for i, mode in enumerate(modes(planned["trace"])) if mode == "R"] == [1, 2, 6, 10]
    made = run(given, PRESETS["balanced"], monkeypatch)
    assert modes(made) == modes(planned["trace"]) and made["run"]["settings"] == planned["trace"]["run"]["settings"]
    assert made["run"]["settings"]["expected"] == 45.06
    assert point_of(made)["label"] == "balanced" == planned["point"]["label"]
    assert point_of(made)["widgets"]["speed"] == 2.5


def test_the_advanced_sampler_finds_the_plan(monkeypatch):
    import comfy.samplers

    drop()
    traces = []
    guider = comfy.samplers.CFGGuider(demo.load_demo_model())
    clip = demo.load_demo_clip()
    prompt = [[clip.encode_from_tokens(clip.tokenize("a red circle")), {}]]
    guider.set_conds(prompt, prompt)
    guider.set_cfg(1.0)
    sampler = VideoSampler(Windows(), PRESETS["balanced"], "unipc", traces.append)
    sigmas = torch.tensor(schedule().sigmas, dtype=torch.float32)
    noise = torch.randn(1, 16, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    guider.sample(noise, noise * 0, sampler, sigmas, disable_pbar=True, seed=0)
    (trace,) = traces
    assert trace.run["settings"]["expected"] == 45.06 and trace.totals["computed"] == 4


def test_what_a_speed_buys_is_told_before_the_run():
    assert answer(graph())["note"] == BY_RULE
    drop()
    assert answer(graph())["note"] == (
        "About 45.1 dB to the full run on the plan's 16 check clips. Thresholds and max_skip have no effect."
    )
    assert answer(graph(preset="custom", speed=6.0))["note"].startswith(
        "Planned by a rule: the plan for this model has no"
    )
    assert "check clips at 10 steps" in answer(graph(steps=20))["note"]
    assert "dB" not in answer(graph(), "schedule")["note"], "what a speed buys is told once, under the sampler"


def test_the_demo_models_bring_their_plans_along(shipped, monkeypatch):
    monkeypatch.setattr(hosted_plans, "PLANS", shipped)
    plan = read_plan(shipped / "demo_synchronous.json")
    choice = plan.choices[-1]
    wish = {"steps": 50, "preset": "custom", "speed": 50 / len({1, *choice.computed, 50})}
    told = answer(graph(**wish))
    assert told["exact"] and told["note"].startswith(f"About {choice.psnr:.1f} dB"), told["note"]
    assert answer(unseen(**wish))["note"] == BY_RULE, "they are of no other model"
    drop()
    assert answer(graph())["note"].startswith("About 45.1 dB"), "those of the user folder go first"


def test_a_plan_of_another_model_is_left_alone():
    drop(model="another")
    assert answer(graph())["note"] == BY_RULE
    drop("any", model="")
    assert "check clips" in answer(graph())["note"]


def test_a_model_that_has_not_run_is_told_with_the_plan_that_may_be_its_own():
    assert answer(unseen())["exact"] and answer(unseen())["note"] == BY_RULE
    drop("for SkyReels-V2", model="another")
    guessed = answer(unseen())
    assert not guessed["exact"] and "check clips" in guessed["note"]
    assert "the plan 'for SkyReels-V2' is taken for its own" in guessed["note"]


def test_a_wanted_fidelity(monkeypatch):
    wanted = graph(preset="custom", fidelity=50.0)
    with pytest.raises(PlanError, match="choose a speed instead, or import a plan"):
        answer(wanted)
    with pytest.raises(PlanError, match="choose a speed instead, or import a plan"):
        run(wanted, Settings(METHODS["planned"](fidelity=50.0)), monkeypatch)
    assert PlanError.__module__ == "SCOPE"
    drop()
    assert answer(wanted)["trace"]["totals"]["computed"] == 6
    assert answer(graph(preset="custom", fidelity=40.0))["trace"]["totals"]["computed"] == 4
    with pytest.raises(PlanError, match=r"most faithful one has 51\.0; ask for less, or for a speed"):
        answer(graph(preset="custom", fidelity=60.0))


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"format": "scope.plan", "version": 9}', "[" * 100_000])
def test_a_file_that_is_no_plan_is_named_and_left_out(text, monkeypatch, caplog):
    drop("mine")
    write("broken.json", text)
    planned = answer(graph())
    assert "A plan is left out: broken.json" in planned["note"] and "check clips" in planned["note"]
    if text == "{":
        made = run(graph(), PRESETS["balanced"], monkeypatch)
        assert made["totals"]["computed"] == 4
        assert any("broken.json" in warning for warning in made["run"]["warnings"]) and "broken.json" in caplog.text


@pytest.mark.parametrize(
    "sampler, words",
    [
        ({"tail": 6}, "Here max_skip and tail decide what is computed: the threshold is never reached, and"),
        ({"signal": "modulation"}, "Here max_skip alone decides what is computed: the threshold is never reached, and"),
        ({"threshold": 0.2, "max_skip": 12, "decay_mode": "none"}, "Here decay changes nothing."),
        ({"threshold": 0.2, "max_skip": 12}, ""),
    ],
)
def test_the_strip_says_which_limit_binds(sampler, words):
    usual = {**THRESHOLDS, "steps": 50, "threshold": 1.0}
    found = answer(graph(**usual | sampler))
    assert found["note"] == (f"{words} decay changes nothing." if words.endswith("and") else words)
    moved = answer(graph(**usual | sampler | {"threshold": sampler.get("threshold", 1.0) + 0.7}))
    same = [mode == "R" for mode in modes(moved["trace"])] == [mode == "R" for mode in modes(found["trace"])]
    assert same == ("never reached" in words)
