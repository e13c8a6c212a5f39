"""Plan, sweep, quality, comparison and report through a real server."""

import json
import re
import urllib.parse
import urllib.request
from pathlib import Path

import av
import pytest
from test_server import prompt, trace_of

from workflows.graph import WorkflowError

SWEEP = {"seed": 5, "steps": 12, "cfg": 2.5, "shift": 8.0, "solver": "unipc", "spread": 2}
TEACACHE = {
    "method": "teacache",
    "method.threshold": 0.2,
    "method.polynomial": "none",
    "method.signal": "modulation",
    "method.max_skip": 3,
    "method.warm_up": 1,
    "method.tail": 1,
}
STAIRCASE = {"chunk": 2, "ar_step": 2}


def sweep_prompt(vae: bool = True, connected: dict | None = None, length: int = 29, **sweep) -> dict:
    graph = {
        name: node
        for name, node in prompt("unused", {**STAIRCASE, "length": length}).items()
        if name in ("demo", "positive", "negative", "schedule")
    }
    links = {
        "model": ["demo", 0],
        "positive": ["positive", 0],
        "negative": ["negative", 0],
        "latent": ["schedule", 1],
        "schedule": ["schedule", 0],
    }
    links |= {"vae": ["demo", 2]} if vae else {}
    connected = connected or {}
    links |= {f"settings_{i}": [name, 0] for i, name in enumerate(connected, 1)}
    graph |= {name: {"class_type": "SCOPE_Settings", "inputs": inputs} for name, inputs in connected.items()}
    graph["sweep"] = {"class_type": "SCOPE_Sweep", "inputs": {**SWEEP, **links, **sweep}}
    graph["chart"] = {"class_type": "SCOPE_TradeoffChart", "inputs": {"runs": ["sweep", 0]}}
    return graph


def run_sweep(server, graph: dict, sampled: list | None = None) -> tuple[list[str], dict]:
    """Settings that were sampled, after the first clip each with its own, and the runs the chart shows. `sampled`: gets
    the settings in their order."""
    sampled = [] if sampled is None else sampled

    def note(kind, data):
        if kind == "executing" and "sample " in (data["node"] or ""):
            sampled.append(re.search(r"(clip \d+ )?sample (.+)", data["node"]).expand(r"\1\2"))

    entry = server.run(graph, on_event=note)
    return sorted(sampled), entry["outputs"]["chart"]["scope_runs"][0]


def ask(server, node: str, graph: dict) -> tuple[int, dict]:
    return server.request("POST", "/scope/plan", {"node": node, "prompt": graph})


@pytest.mark.parametrize(
    "sampler, schedule",
    [
        ({}, {}),
        ({"preset": "fast"}, STAIRCASE),
        ({"preset": "quality"}, {"length": 97, "window": 61}),
        ({"preset": "paper_fast"}, {**STAIRCASE, "causal": True}),
        (
            {"preset": "custom", "signal": "embedding", "aggregate": "mean_all", "selective": "paper", "shift": 5.0},
            {**STAIRCASE, "length": 125, "overlap": 21},
        ),
    ],
    ids=["balanced", "staircase", "long", "causal", "custom"],
)
def test_the_plan_is_the_run_step_by_step(server, sampler, schedule):
    graph = prompt("planned", schedule, **sampler)
    status, answer = ask(server, "sampler", graph)
    trace = trace_of(server.run(graph))
    assert ask(server, "sampler", graph)[1]["trace"] == answer["trace"]
    assert status == 200 and answer["exact"], answer
    assert len(trace["segments"]) == len(answer["trace"]["segments"])
    for planned, made in zip(answer["trace"]["segments"], trace["segments"]):
        assert [{**step, "seconds": 0} for step in planned["steps"]] == [
            {**step, "seconds": 0} for step in made["steps"]
        ]
    status, schedule_plan = ask(server, "schedule", graph)
    assert status == 200 and schedule_plan["trace"]["segments"] == answer["trace"]["segments"]


def test_a_plan_knows_the_frames_it_starts_from_once_they_were_made(server):
    graph = prompt("start", {"length": 97, "start": ["first", 0]}, seed=3)
    graph["image"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 128, "height": 128, "batch_size": 9, "color": 0x203060},
    }
    graph["first"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["image", 0], "vae": ["demo", 2]}}
    _, before = ask(server, "sampler", graph)
    assert not before["exact"] and "start" in before["note"] and before["trace"]["segments"][0]["prefix"] == 1
    trace = trace_of(server.run(graph))
    _, after = ask(server, "sampler", graph)
    assert after["exact"] and after["trace"]["segments"][0]["prefix"] == trace["segments"][0]["prefix"] == 3


def test_a_plan_says_why_a_length_was_rounded(server):
    _, answer = ask(server, "sampler", prompt("rounded", {"length": 60, "chunk": 3, "ar_step": 2}))
    assert "60 frames became 69" in answer["note"] or "60 frames became 61" in answer["note"], answer["note"]


def test_a_content_signal_is_planned_from_the_last_run_and_called_an_estimate(server):
    graph = prompt("latent", STAIRCASE, preset="custom", signal="latent", cache_threshold=0.05, predict_threshold=0.2)
    trace = trace_of(server.run(graph))
    _, answer = ask(server, "sampler", graph)
    assert not answer["exact"] and "last run" in answer["note"]
    computed = trace["totals"]["computed"]
    assert abs(answer["trace"]["totals"]["computed"] - computed) <= max(2, 0.25 * computed)


@pytest.mark.parametrize(
    "body, words",
    [
        ([], "node"),
        ({}, "node"),
        ({"node": 3, "prompt": {}}, "node"),
        ({"node": "a", "prompt": []}, "graph"),
        ({"node": "a", "prompt": {}}, "'a'"),
        ({"node": "a", "prompt": {"a": {"class_type": "KSampler", "inputs": {}}}}, "KSampler"),
        ({"node": "a", "prompt": {"a": {"class_type": "SCOPE_Sampler"}}}, "inputs"),
        ({"node": "a", "prompt": {"a": {"class_type": "SCOPE_Sampler", "inputs": {"steps": 10**12}}}}, "2 to 1000"),
        (
            {"node": "a", "prompt": {"a": {"class_type": "SCOPE_Sampler", "inputs": {"steps": "../../etc"}}}},
            "2 to 1000",
        ),
        ({"node": "a", "prompt": {"a": {"class_type": "SCOPE_Sampler", "inputs": {"preset": {"x": 1}}}}}, "preset"),
        ({"node": "a", "prompt": {"a": {"class_type": "SCOPE_Sampler", "inputs": {"model": ["a", 0]}}}}, "circles"),
        ({"node": "a", "prompt": {"a": {"class_type": "SCOPE_Sampler", "inputs": {"schedule": ["b", 0]}}}}, "'b'"),
        (
            {
                "node": "a",
                "prompt": {
                    "a": {
                        "class_type": "SCOPE_Sampler",
                        "inputs": {"steps": 1000, "schedule": ["b", 0], "latent": ["b", 1]},
                    },
                    "b": {
                        "class_type": "SCOPE_ARSchedule",
                        "inputs": {"length": 8193, "window": 1025, "chunk": 1, "ar_step": 1},
                    },
                },
            },
            "too large",
        ),
        ({"node": "a", "prompt": {str(i): {"class_type": "x", "inputs": {}} for i in range(400)}}, "300"),
        ({"node": "a", "prompt": "x" * 2_000_000}, "bytes"),
    ],
)
def test_garbage_is_answered_with_a_sentence(server, body, words):
    status, answer = server.request("POST", "/scope/plan", body)
    assert 400 <= status < 500 and words in answer["error"], answer
    assert ask(server, "sampler", prompt("fine"))[0] == 200


def test_a_sweep_measures_points_against_the_baseline_and_keeps_every_run(server):
    sampled, runs = run_sweep(server, sweep_prompt(length=61))
    assert sampled == ["balanced", "fast", "off"]
    baseline, *points = runs["points"]
    assert baseline["baseline"] and baseline["computed"] == baseline["iterations"] and "psnr" not in baseline
    assert [point["label"] for point in points] == ["balanced", "fast"] and points[0]["computed"] > points[1][
        "computed"
    ]
    assert all(
        point["psnr"] > 15
        and 0 < point["ssim"] < 1
        and 0 < point["latent_error"] < 1
        and point["psnr_worst"] < point["psnr"]
        for point in points
    )
    assert set(runs["metrics"]) == {"psnr", "ssim", "latent_error"} and "LPIPS" in " ".join(runs["notes"])
    for file in (baseline["clip"], points[0]["clip"], points[0]["difference"]):
        with urllib.request.urlopen(f"{server.url}/view?{urllib.parse.urlencode(file)}") as clip:
            assert clip.read(8)[4:] == b"ftyp"
    assert run_sweep(server, sweep_prompt(length=61))[0] == []
    assert run_sweep(server, sweep_prompt(spread=3, length=61))[0] == ["planned 1.5"]
    sampled, runs = run_sweep(server, sweep_prompt(spread=3, length=61, connected={"teacache": TEACACHE}))
    assert sampled == ["settings_1"] and "teacache 0.2" in [point["label"] for point in runs["points"]]


def test_runs_are_kept_beside_other_branches_of_the_graph(server):
    """A sampler and its timeline, which would run before the sweep, do not make ComfyUI forget the sweep's runs."""

    def both(preset: str) -> dict:
        graph = prompt("beside", {**STAIRCASE, "length": 29}, preset=preset)
        return {**graph, **{name: node for name, node in sweep_prompt(vae=False, seed=9).items() if name not in graph}}

    assert len(run_sweep(server, both("balanced"))[0]) == 3
    assert run_sweep(server, both("fast"))[0] == []


def test_a_sweep_that_was_stopped_goes_on_where_it_stopped(server):
    graph = sweep_prompt(seed=6, vae=False, length=61)
    started = []

    def stop(kind, data):
        if kind == "executing" and "sample " in (data["node"] or ""):
            started.append(data["node"])
            if len(started) == 2:
                server.request("POST", "/interrupt", {})

    with pytest.raises(WorkflowError, match="cancelled"):
        server.run(graph, on_event=stop)
    sampled, runs = run_sweep(server, graph)
    assert run_sweep(server, sweep_prompt(seed=6, vae=False, length=61, spread=0))[1]["points"] == runs["points"][:1]
    begun = [node.split("sample ")[1] for node in started]
    assert {*sampled, *begun} == {"balanced", "fast", "off"} and not {*sampled} & {*begun[:-1]}
    assert set(runs["metrics"]) == {"latent_error"} and runs["points"][0].get("clip") is None


def test_a_sweep_over_seeds_and_prompts_pairs_every_run_with_the_full_one_of_its_clip(server):
    def graph(**more):
        return sweep_prompt(spread=1, steps=8, seed=30, **more)

    one = graph()
    sampled, alone = run_sweep(server, one)
    assert sampled == ["balanced", "off"] and all("clips" not in point for point in alone["points"])
    many = graph(seeds=2, positive_2=["second", 0])
    many["second"] = {
        "class_type": "CLIPTextEncode",
        "inputs": {**many["positive"]["inputs"], "text": "a small blue circle"},
    }
    assert ask(server, "sweep", many)[1]["clips"] == 4
    sampled, runs = run_sweep(server, many)
    assert sampled == sorted(f"clip {i} {name}" for i in (2, 3, 4) for name in ("balanced", "off"))
    _, point = runs["points"]
    clips = [(clip["seed"], clip["prompt"]) for clip in point["clips"]]
    assert clips == [("30", 1), ("30", 2), ("31", 1), ("31", 2)]
    first = alone["points"][1]
    assert point["clips"][0] == first and point["clip"] == first["clip"]
    figures = [clip["psnr"] for clip in point["clips"]]
    assert len(set(figures)) == 4 and point["psnr"] == pytest.approx(sum(figures) / 4)
    assert point["psnr_worst"] == min(clip["psnr_worst"] for clip in point["clips"])
    assert runs["quantiles"] == pytest.approx({"2": 12.706, "3": 4.303, "4": 3.182}, abs=1e-3)
    assert "4 clips (seeds 30 to 31, 2 prompts)" in " ".join(runs["notes"])

    assert run_sweep(server, many)[0] == []
    many["sweep"]["inputs"]["seeds"] = 3
    order = []
    sampled, _ = run_sweep(server, many, order)
    assert sampled == sorted(f"clip {i} {name}" for i in (5, 6) for name in ("balanced", "off"))
    assert [name.rpartition(" ")[0] for name in order] == ["clip 5"] * 2 + ["clip 6"] * 2, "not clip after clip"
    alone_31 = run_sweep(server, sweep_prompt(spread=1, steps=8, seed=31))[1]["points"][1]
    assert {name: point["clips"][2][name] for name in ("psnr", "ssim", "latent_error", "computed")} == {
        name: alone_31[name] for name in ("psnr", "ssim", "latent_error", "computed")
    }


def test_the_plan_of_a_sweep_has_its_points(server):
    status, answer = ask(server, "sweep", sweep_prompt(connected={"teacache": TEACACHE}))
    assert status == 200
    _, runs = run_sweep(server, sweep_prompt(connected={"teacache": TEACACHE}))
    planned = {point["label"]: point["computed"] for point in answer["points"]}
    assert planned == {point["label"]: point["computed"] for point in runs["points"]}
    blind = {
        "method": "easycache",
        "method.preset": "paper",
        "method.tau": 0.05,
        "method.form": "paper",
        "method.max_skip": 12,
        "method.warm_up": 10,
        "method.tail": 0,
    }
    status, answer = ask(server, "sweep", sweep_prompt(connected={"teacache": TEACACHE, "blind": blind}))
    assert status == 200 and {point["label"] for point in answer["points"]} == set(planned)
    assert "o plan for `settings_2`: EasyCache decides from what the network returns" in answer["note"]


def test_quality_compare_and_report(server, output):
    graph = prompt("pair", STAIRCASE)
    graph["off"] = {"class_type": "SCOPE_Sampler", "inputs": {**graph["sampler"]["inputs"], "preset": "off"}}
    for name in ("off", "sampler"):
        graph[f"{name}_frames"] = {"class_type": "VAEDecode", "inputs": {"samples": [name, 0], "vae": ["demo", 2]}}
    graph["video"] = {"class_type": "CreateVideo", "inputs": {"images": ["sampler_frames", 0], "fps": 24.0}}
    pair = {"baseline": ["off_frames", 0], "candidate": ["sampler_frames", 0], "fps": 24.0, "trace": ["sampler", 1]}
    graph["quality"] = {"class_type": "SCOPE_Quality", "inputs": pair}
    graph["compare"] = {
        "class_type": "SCOPE_Compare",
        "inputs": {
            "a": ["off_frames", 0],
            "b": ["video", 0],
            "label_a": "off",
            "label_b": "",
            "fps": 24.0,
            "trace": ["sampler", 1],
            "trace_b": ["sampler", 1],
        },
    }
    graph["save_ab"] = {
        "class_type": "SaveVideo",
        "inputs": {"video": ["compare", 0], "filename_prefix": "pair_ab", "format": "auto", "codec": "auto"},
    }
    graph["report"] = {
        "class_type": "SCOPE_SaveReport",
        "inputs": {"trace": ["sampler", 1], "quality": ["quality", 0], "filename_prefix": "scope/made"},
    }
    outputs = server.run(graph)["outputs"]
    saved_video = next(output.rglob("pair_ab_*.mp4"))
    with av.open(saved_video) as kept:
        stream = kept.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in kept.decode(stream)]
        assert stream.average_rate == 24 and len(frames) == 61
    height, width = frames[0].shape[:2]
    assert width == 2 * 384 + 4 and height > 384
    margin = frames[0][384:].astype(int)
    assert all(part.max() > 200 for part in (margin[:, : width // 2], margin[:, width // 2 :])), "no text is written"
    assert not (margin[..., 0] - margin[..., 2] > 60).any(), "a warning is written"
    (quality,) = outputs["quality"]["scope_quality"]
    (compare,) = outputs["compare"]["scope_compare"]
    (report,) = outputs["report"]["scope_report"]
    assert (
        quality["frames"] == 61 == len(quality["metrics"]["psnr"]["per_frame"])
        and quality["chunks"][0] == [0, 5]
        and quality["chunks"][-1] == [53, 61]
    )
    assert compare["frames"] == 61 and compare["labels"] == ["off", "B"] and compare["chunks"] == quality["chunks"]
    assert compare["psnr"] == pytest.approx(quality["metrics"]["psnr"]["per_frame"], abs=0.01)
    (page,) = output.rglob("made_*.md")
    assert page.read_text() == report["markdown"] and "SSIM" in report["markdown"]
    drawn = next(output.rglob("made_*.html")).read_text()
    assert drawn.count("<svg") == len(trace_of({"outputs": outputs})["segments"]) and "SSIM" in drawn
    assert [Path(name).suffix for name in report["files"]] == [".html", ".md", ".json"]
    saved = json.loads(next(output.rglob("made_*.json")).read_text())
    assert saved["trace"] == trace_of({"outputs": outputs}) and saved["quality"] == quality


@pytest.mark.parametrize(
    "change, words",
    [
        ({"quality": {"candidate": ["short", 0]}}, ["61 frames", "1 frames", "same"]),
        ({"report": {"filename_prefix": "../../escape"}}, ["output folder"]),
    ],
)
def test_bad_input_of_the_measuring_nodes(server, output, change, words):
    graph = prompt("bad_pair")
    graph["frames"] = {"class_type": "VAEDecode", "inputs": {"samples": ["sampler", 0], "vae": ["demo", 2]}}
    graph["short"] = {"class_type": "EmptyImage", "inputs": {"width": 128, "height": 128, "batch_size": 1, "color": 0}}
    graph["quality"] = {
        "class_type": "SCOPE_Quality",
        "inputs": {"baseline": ["frames", 0], "candidate": ["frames", 0], "fps": 24.0},
    }
    graph["report"] = {
        "class_type": "SCOPE_SaveReport",
        "inputs": {"trace": ["sampler", 1], "filename_prefix": "scope/x"},
    }
    for name, inputs in change.items():
        graph[name]["inputs"] |= inputs
    with pytest.raises(WorkflowError) as error:
        server.run(graph)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert not list(Path(output).parent.rglob("escape*"))


@pytest.mark.parametrize(
    "size, kind, change, words",
    [
        (8, "SCOPE_Quality", {}, ["11x11", "8x8"]),
        (1, "SCOPE_Compare", {}, ["1x1", "at least 2x2"]),
        (16, "SCOPE_Quality", {"fps": float("nan")}, ["fps is nan", "1 to 240"]),
        (16, "SCOPE_Compare", {"fps": float("nan")}, ["fps is nan", "1 to 240"]),
    ],
)
def test_frames_that_cannot_be_compared_are_refused_in_words(server, size, kind, change, words):
    frames = {"class_type": "EmptyImage", "inputs": {"width": size, "height": size, "batch_size": 2, "color": 0}}
    names = {"SCOPE_Quality": ("baseline", "candidate"), "SCOPE_Compare": ("a", "b")}[kind]
    inputs = {**{key: ["frames", 0] for key in names}, "label_a": "", "label_b": "", "fps": 24.0, **change}
    with pytest.raises(WorkflowError) as error:
        server.run({"frames": frames, "measure": {"class_type": kind, "inputs": inputs}})
    assert all(word in str(error.value) for word in words), str(error.value)


def test_every_preset_is_expressed_by_the_sliders(server):
    """What the browser moves the sliders to is what the preset means."""
    presets = server.object_info()["SCOPE_Sampler"]["input"]["required"]["preset"][1]["presets"]
    assert set(presets) == {
        "off",
        "quality",
        "balanced",
        "fast",
        "paper_slow",
        "paper_fast",
        "paper_magi_slow",
        "paper_magi_fast",
    }
    for name, widgets in presets.items():
        plans = [
            ask(server, "sampler", prompt("preset", STAIRCASE, **speed))[1]
            for speed in ({"preset": name}, {"preset": "custom", **widgets})
        ]
        assert plans[0]["trace"]["segments"] == plans[1]["trace"]["segments"], name
