"""The main job through a real server: run, cached re-run, cancel then run, known frames, bad input."""

import http.client
import json
import urllib.request
from contextlib import closing
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest
from safetensors.numpy import load_file

from workflows import examples
from workflows.graph import WorkflowError, to_prompt

WORKFLOWS = Path(__file__).parents[2] / "workflows"
SAMPLER = {
    "seed": 5,
    "steps": 12,
    "cfg": 2.5,
    "shift": 8.0,
    "preset": "balanced",
    "threshold": 1.0,
    "decay": 0.75,
    "max_skip": 2,
    "selective": "auto",
    "warm_up": 0,
    "tail": 0,
    "predictor": "taylor1",
    "cache_threshold": 0.0,
    "predict_threshold": 0.0,
    "decay_mode": "inverse",
    "signal": "modulation",
    "aggregate": "max",
    "solver": "unipc",
}
SEEDS = count(100)
"""The server would not run the same thing twice."""
SCHEDULE = {
    "width": 128,
    "height": 128,
    "length": 61,
    "batch_size": 1,
    "window": 61,
    "overlap": 17,
    "chunk": 1,
    "ar_step": 0,
    "causal": False,
    "condition_noise": 20.0,
}


def prompt(name: str, schedule: dict | None = None, **sampler) -> dict:
    """Demo model to a saved latent and a timeline, in the API format."""
    return {
        "demo": {"class_type": "SCOPE_LoadDemo", "inputs": {}},
        "positive": {
            "class_type": "CLIPTextEncode",
            "inputs": {"clip": ["demo", 1], "text": "a red circle bouncing on a navy background"},
        },
        "negative": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["demo", 1], "text": ""}},
        "schedule": {"class_type": "SCOPE_ARSchedule", "inputs": {**SCHEDULE, **(schedule or {})}},
        "sampler": {
            "class_type": "SCOPE_Sampler",
            "inputs": {
                **SAMPLER,
                "model": ["demo", 0],
                "positive": ["positive", 0],
                "negative": ["negative", 0],
                "latent": ["schedule", 1],
                "schedule": ["schedule", 0],
                **sampler,
            },
        },
        "timeline": {"class_type": "SCOPE_Timeline", "inputs": {"trace": ["sampler", 1]}},
        "save": {"class_type": "SaveLatent", "inputs": {"samples": ["sampler", 0], "filename_prefix": name}},
    }


def trace_of(entry: dict) -> dict:
    return entry["outputs"]["timeline"]["scope_trace"][0]


def latent(output, name: str):
    newest = max(output.glob(f"{name}_*.latent"))
    return load_file(newest)["latent_tensor"]


def test_run_and_cached_run_show_the_same_trace(server, output):
    cached = []
    first = trace_of(server.run(prompt("run")))
    again = trace_of(
        server.run(
            prompt("run"), on_event=lambda kind, data: kind == "execution_cached" and cached.extend(data["nodes"])
        )
    )
    assert first["totals"]["computed"] < first["totals"]["iterations"] == 12
    assert first == again and "sampler" in cached
    assert latent(output, "run").shape == (1, 16, 16, 8, 8)


@pytest.mark.parametrize("workflow", [{"id": "a workflow"}, {"nodes": []}, "of another kind", None])
def test_a_step_tells_its_prompt_its_place_and_the_workflow_of_a_browser(server, workflow):
    steps = []
    server.run(
        prompt("told", {"length": 29}, steps=4, seed=next(SEEDS)),
        on_event=lambda kind, data: kind == "scope.step" and steps.append(data),
        workflow=workflow,
    )
    assert [step["index"] for step in steps] == [0, 1, 2, 3]
    assert {step.get("workflow") for step in steps} == {"a workflow" if workflow == {"id": "a workflow"} else None}


def test_the_largest_seed_is_one_like_others(server, output):
    server.run(prompt("largest", {"length": 29}, seed=2**64 - 1, steps=2))
    assert latent(output, "largest").shape[2] == 8


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "is damaged"),
        ('{"format": "scope.trace", "segm', "is damaged"),
        ("[]", "is not a trace"),
        ('{"format": "scope.report"}', "is not a trace"),
    ],
)
def test_a_damaged_report_is_answered_with_its_name_and_the_way_out(server, output, text, words):
    report = output / "scope" / "torn.json"
    report.parent.mkdir(exist_ok=True)
    report.write_text(text)
    with pytest.raises(
        WorkflowError, match=rf"scope.torn\.json {words}.*run SCOPE Accelerate or SCOPE Sampler \(Advanced\)"
    ):
        server.run({"timeline": {"class_type": "SCOPE_Timeline", "inputs": {"report_name": "torn"}}})


def test_off_computes_every_step(server):
    totals = trace_of(server.run(prompt("off", preset="off")))["totals"]
    assert totals["computed"] == totals["iterations"] == 12 and totals["forwards"] == 24
    assert "SCOPE is off" in totals["skipped_reason"]


def test_cancelled_run_leaves_nothing_behind(server, output):
    """Cancel stops within a step; the next run equals a fresh one bit for bit."""
    server.run(prompt("fresh", seed=8))
    fresh = latent(output, "fresh")
    steps = []

    def cancel(kind, data):
        if kind == "progress":
            if not steps:
                server.request("POST", "/interrupt", {})
            steps.append(data["value"])

    with pytest.raises(WorkflowError, match="cancelled"):
        server.run(prompt("cancelled", {"ar_step": 5}, seed=9, steps=1000), on_event=cancel)
    assert max(steps) < 500
    cached = []
    server.run(
        prompt("after", seed=8), on_event=lambda kind, data: kind == "execution_cached" and cached.extend(data["nodes"])
    )
    assert "sampler" not in cached
    assert (latent(output, "after") == fresh).all()


def test_a_cancelled_run_keeps_its_finished_segments(server, output):
    """docs/architecture.md, law 10: in a file as an error leaves it, with what the whole run makes."""
    long = {"length": 97, "window": 61}
    server.run(prompt("whole", long, seed=12, steps=60))
    before = set(output.rglob("unfinished_*"))
    asked = []

    def cancel(kind, data):
        if kind == "scope.step" and data["segment"] == 1 and data["index"] > 1 and not asked:
            asked.append(server.request("POST", "/interrupt", {}))

    changed = prompt("never", long, seed=12, steps=60)
    changed["sampler"]["inputs"]["model"] = ["reloaded", 0]
    changed["reloaded"] = {"class_type": "SCOPE_LoadDemo", "inputs": {}}
    with pytest.raises(WorkflowError, match="cancelled"):
        server.run(changed, on_event=cancel)
    (kept,) = set(output.rglob("unfinished_*")) - before
    whole, finished = latent(output, "whole"), load_file(kept)["latent_tensor"]
    assert finished.shape[2] == 16 and abs(finished - whole[:, :, :16]).max() < 1e-5


def test_damaged_files_in_the_user_folder_stop_no_run_and_no_plan(server, user):
    """docs/architecture.md, law 9."""
    graph = prompt("damaged", seed=13)
    server.run(graph)
    _, planned = server.request("POST", "/scope/plan", {"node": "sampler", "prompt": graph})
    files = [file for file in (user / "scope").rglob("*") if file.suffix in (".json", ".safetensors")]
    assert {"models.json", "whole.json"} < {file.name for file in files} and planned["exact"]
    for i, text in enumerate((b'{"models": "tor', b"", b"[1, 2]")):
        for file in files:
            file.write_bytes(text)
        status, _ = server.request("POST", "/scope/plan", {"node": "sampler", "prompt": graph})
        assert status == 200
        server.run(prompt("damaged", seed=14 + i))
        assert server.request("POST", "/scope/plan", {"node": "sampler", "prompt": graph})[1] == planned
    said = server.log.read_text()
    assert said.count("models.json is damaged") == 3 and "models.json.damaged" in said


def test_progress_counts_every_iteration(server):
    seen = []
    server.run(
        prompt("progress", seed=11),
        on_event=lambda kind, data: kind == "progress" and seen.append((data["value"], data["max"])),
    )
    assert seen[-1] == (12, 12)


def test_long_video_starts_from_known_frames_and_keeps_them(host, server, output):
    """Image-to-video, then a long video of three segments from it, overlap decoded and encoded again. Decoded segment
    by segment it is as long as decoded at once, the same up to the first seam, and can keep the image as it is."""
    graph = prompt("long", {"length": 141, "chunk": 1, "start": ["first", 0], "vae": ["demo", 2]}, seed=3)
    graph["image"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 128, "height": 128, "batch_size": 1, "color": 0x203060},
    }
    graph["first"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["image", 0], "vae": ["demo", 2]}}
    graph["first_saved"] = {"class_type": "SaveLatent", "inputs": {"samples": ["first", 0], "filename_prefix": "first"}}
    made = {"samples": ["sampler", 0], "vae": ["demo", 2]}
    graph |= {
        "whole": {"class_type": "VAEDecode", "inputs": made},
        "apart": {"class_type": "SCOPE_DecodeSegments", "inputs": made},
        "kept": {"class_type": "SCOPE_DecodeSegments", "inputs": {**made, "video": ["image", 0]}},
        "first_frame": {
            "class_type": "ImageFromBatch",
            "inputs": {"image": ["kept", 0], "batch_index": 0, "length": 1},
        },
    }
    for name, a, b in (("seams", "whole", "apart"), ("new", "kept", "apart"), ("given", "first_frame", "image")):
        inputs = {"baseline": [a, 0], "candidate": [b, 0], "fps": 24.0}
        graph[name] = {"class_type": "SCOPE_Quality", "inputs": inputs}
    ran = server.run(graph)
    trace, made, first = trace_of(ran), latent(output, "long"), latent(output, "first")
    assert made.shape[2] == 36
    assert [segment["prefix"] for segment in trace["segments"]] == [1, 5, 5]
    assert abs(made[:, :, :1] - first).max() < 1e-5
    seams, new, given = (
        ran["outputs"][name]["scope_quality"][0]["metrics"]["difference"]["per_frame"]
        for name in ("seams", "new", "given")
    )
    rounding = 0.05 if host.has_accelerator else 0  # of 255 levels: a GPU convolves 36 frames otherwise than 16
    differs = [frame for frame, difference in enumerate(seams) if difference > rounding]
    assert len(seams) == 141 and differs[0] == 61 and differs[-1] > 105
    assert new[0] > 0 and not any(new[1:]) and given == [0]


def test_end_frame_is_shown_to_the_model_and_cut(server, output):
    graph = prompt("end", {"length": 29, "end": ["last", 0]}, seed=3)
    graph["image"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 128, "height": 128, "batch_size": 1, "color": 0x803020},
    }
    graph["last"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["image", 0], "vae": ["demo", 2]}}
    trace = trace_of(server.run(graph))
    assert trace["segments"][0]["tail"] == 1 and trace["segments"][0]["frames"] == 9
    assert latent(output, "end").shape[2] == 8
    graph["schedule"]["inputs"]["causal"] = True
    for node in ("schedule", "sampler"):
        status, answer = server.request("POST", "/scope/plan", {"node": node, "prompt": graph})
        assert status == 400 and "Turn causal off" in answer["error"]


def test_a_model_sampling_node_does_not_displace_ours(server, output):
    server.run(prompt("plain", seed=21))
    graph = prompt("shifted", seed=21, model=["shift", 0])
    graph["shift"] = {"class_type": "ModelSamplingSD3", "inputs": {"model": ["demo", 0], "shift": 3.0}}
    server.run(graph)
    assert (latent(output, "shifted") == latent(output, "plain")).all()


def test_batch_of_two(server, output):
    server.run(prompt("batch", {"batch_size": 2, "length": 29}))
    assert latent(output, "batch").shape[0] == 2


def test_advanced_sampler_writes_a_report_that_timeline_opens(server):
    graph = prompt("advanced")
    del graph["sampler"]
    graph |= {
        "settings": {
            "class_type": "SCOPE_Settings",
            "inputs": {
                "method": "teacache",
                "method.threshold": 0.2,
                "method.polynomial": "none",
                "method.signal": "modulation",
                "method.max_skip": 3,
                "method.warm_up": 1,
                "method.tail": 1,
            },
        },
        "select": {
            "class_type": "SCOPE_SamplerSelect",
            "inputs": {
                "schedule": ["schedule", 0],
                "settings": ["settings", 0],
                "preset": "balanced",
                "solver": "unipc",
                "report_name": "advanced",
            },
        },
        "noise": {"class_type": "RandomNoise", "inputs": {"noise_seed": 4}},
        "guider": {
            "class_type": "CFGGuider",
            "inputs": {"model": ["demo", 0], "positive": ["positive", 0], "negative": ["negative", 0], "cfg": 2.5},
        },
        "sigmas": {"class_type": "SCOPE_Sigmas", "inputs": {"steps": 12, "shift": 8.0, "table": "SkyReels-V2"}},
        "empty": {
            "class_type": "EmptyHunyuanLatentVideo",
            "inputs": {"width": 64, "height": 64, "length": 61, "batch_size": 1},
        },
        "custom": {
            "class_type": "SamplerCustomAdvanced",
            "inputs": {
                "noise": ["noise", 0],
                "guider": ["guider", 0],
                "sampler": ["select", 0],
                "sigmas": ["sigmas", 0],
                "latent_image": ["empty", 0],
            },
        },
        "timeline": {"class_type": "SCOPE_Timeline", "inputs": {"report_name": "advanced", "after": ["custom", 0]}},
        "save": {"class_type": "SaveLatent", "inputs": {"samples": ["custom", 0], "filename_prefix": "advanced"}},
    }
    trace = trace_of(server.run(graph))
    assert trace["run"]["method"] == "teacache"
    assert trace["totals"]["computed"] < 12


def test_calibration_is_found_again_and_refused_for_other_settings(server):
    graph = prompt("calibrated", settings=["settings", 0])
    links = {
        name: graph["sampler"]["inputs"][name]
        for name in ("model", "positive", "negative", "latent", "schedule", "seed", "steps", "cfg", "shift", "solver")
    }
    graph["settings"] = {
        "class_type": "SCOPE_Settings",
        "inputs": {
            "method": "magcache",
            "method.preset": "custom",
            "method.threshold": 0.3,
            "method.longest": 4,
            "method.retention": 0.1,
            "method.ratios": "calibrated",
            "method.max_skip": 6,
            "method.warm_up": 1,
            "method.tail": 1,
        },
    }
    with pytest.raises(WorkflowError, match="calibrat.*SCOPE Calibrate"):
        server.run(graph)
    calibrating = {
        **graph,
        "calibrate": {"class_type": "SCOPE_Calibrate", "inputs": {**links, "method": "scope", "speed": 2.0}},
    }
    del calibrating["sampler"], calibrating["timeline"], calibrating["settings"]
    calibrating["save"] = {
        "class_type": "SaveLatent",
        "inputs": {"samples": ["calibrate", 1], "filename_prefix": "recorded"},
    }
    said = server.run(calibrating)["outputs"]["calibrate"]["text"][0]
    assert "x fewer evaluations" in said and "Ratios of the residual" in said
    graph["sampler"]["inputs"]["seed"] = 6
    trace = trace_of(server.run(graph))
    assert (
        trace["run"]["method"] == "magcache"
        and 0 < trace["totals"]["computed"] < 12
        and len(trace["run"]["settings"]["ratios"]) == 12
    )
    _, planned = server.request("POST", "/scope/plan", {"prompt": graph, "node": "sampler"})
    assert planned["point"]["computed"] == trace["totals"]["computed"]
    magcache = graph["settings"]
    graph["settings"] = {
        "class_type": "SCOPE_Settings",
        "inputs": {
            "method": "dpcache",
            "method.preset": "custom",
            "method.computed": 5,
            "method.order": 1,
            "method.search": "exact",
            "method.site": "output",
            "method.steps": "",
            "method.max_skip": 12,
            "method.warm_up": 0,
            "method.tail": 0,
        },
    }
    trace = trace_of(server.run(graph))
    steps = trace["run"]["settings"]["steps"]
    assert trace["run"]["method"] == "dpcache" and steps[:3] == [1, 2, 3] and len(steps) == 5
    _, planned = server.request("POST", "/scope/plan", {"prompt": graph, "node": "sampler"})
    assert planned["point"]["computed"] == trace["totals"]["computed"] < 12
    graph["settings"] = magcache
    graph["sampler"]["inputs"]["steps"] = 10
    with pytest.raises(WorkflowError, match="steps 12 instead of 10.*SCOPE Calibrate"):
        server.run(graph)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"schedule": {"window": 60}}, ["window is 60", "57 or 61"]),
        ({"schedule": {"length": 97, "overlap": 61}}, ["overlap is 16", "between 1 and 15"]),
        (
            {"schedule": {"length": 97, "chunk": 4, "ar_step": 2}},
            ["not a multiple of the chunk of 4", "13 or 29 frames"],
        ),
        ({"schedule": {"ar_step": 20}}, ["ar_step is 20", "steps = 12"]),
        (
            {"schedule": {"causal": True, "end": ["schedule of end", 1]}},
            ["end has 16 latent frames", "Turn causal off"],
        ),
        (
            {"preset": "custom", "cache_threshold": 0.6, "predict_threshold": 0.5},
            ["cache_threshold is 0.6", "must not be above"],
        ),
        ({"latent": ["other", 0]}, ["noise mask", "start"]),
        ({"preset": "nonsense"}, ["preset"]),
        ({"cfg": float("nan")}, ["cfg is nan", "such as 6"]),
        ({"latent": ["audio", 0]}, ["not that of a video", "[1, 64, 44]", "schedule node"]),
        ({"latent": ["song", 0]}, ["not that of a video", "of audio", "schedule node"]),
        ({"settings": ["settings", 0]}, ["method is none of the choices", "scope, planned, teacache"]),
        ({"settings": ["linked settings", 0]}, ["comes from another node", "scope, planned, teacache", "itself"]),
        ({"model": ["easy", 0]}, ["EasyCache", "remove"]),
        ({"speed": float("nan")}, ["speed is nan", "from 1 to 20"]),
    ],
)
def test_bad_input_names_the_value_and_the_way_out(server, change, words):
    change = dict(change)
    graph = prompt("bad", change.pop("schedule", {}), seed=77, **change)
    if "latent" in change:
        graph["mask"] = {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 8, "height": 8}}
        graph["other"] = {
            "class_type": "SetLatentNoiseMask",
            "inputs": {"samples": ["schedule", 1], "mask": ["mask", 0]},
        }
    graph["schedule of end"] = {"class_type": "SCOPE_ARSchedule", "inputs": SCHEDULE}
    graph["audio"] = {"class_type": "EmptyLatentAudio", "inputs": {"seconds": 2.0, "batch_size": 1}}
    graph["song"] = {"class_type": "EmptyAceStepLatentAudio", "inputs": {"seconds": 2.0, "batch_size": 1}}
    graph["settings"] = {"class_type": "SCOPE_Settings", "inputs": {"method": "nope"}}
    graph["word"] = {"class_type": "PrimitiveString", "inputs": {"value": "teacache"}}
    graph["linked settings"] = {"class_type": "SCOPE_Settings", "inputs": {"method": ["word", 0]}}
    graph["easy"] = {
        "class_type": "EasyCache",
        "inputs": {
            "model": ["demo", 0],
            "reuse_threshold": 0.2,
            "start_percent": 0.15,
            "end_percent": 0.95,
            "verbose": False,
        },
    }
    if "speed" in change:
        links = {key: value for key, value in graph["sampler"]["inputs"].items() if key != "settings"}
        graph["calibrate"] = {"class_type": "SCOPE_Calibrate", "inputs": {**links, "method": "scope"}}
        del graph["sampler"], graph["timeline"], graph["save"]
    with pytest.raises(WorkflowError) as error:
        server.run(graph)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_every_node_has_tooltips_and_a_help_page(server):
    nodes = {name: info for name, info in server.object_info().items() if name.startswith("SCOPE_")}
    assert set(nodes) == {
        "SCOPE_LoadModel",
        "SCOPE_LoadDemo",
        "SCOPE_LoadMagiVAE",
        "SCOPE_MagiPrompt",
        "SCOPE_ARSchedule",
        "SCOPE_MagiSchedule",
        "SCOPE_HeliosSchedule",
        "SCOPE_Settings",
        "SCOPE_Sampler",
        "SCOPE_SamplerSelect",
        "SCOPE_Accelerate",
        "SCOPE_DecodeSegments",
        "SCOPE_Sigmas",
        "SCOPE_Calibrate",
        "SCOPE_Timeline",
        "SCOPE_Sweep",
        "SCOPE_SweepPoint",
        "SCOPE_SweepClips",
        "SCOPE_SweepRuns",
        "SCOPE_TradeoffChart",
        "SCOPE_Quality",
        "SCOPE_Compare",
        "SCOPE_SaveReport",
        "SCOPE_Raylight",
    }
    for name, info in nodes.items():
        assert info["description"] and info["category"] == "SCOPE"
        for group in ("required", "optional"):
            for key, spec in info["input"].get(group, {}).items():
                assert spec[1].get("tooltip"), f"{name}.{key} has no tooltip"
        assert (Path(__file__).parents[2] / "web" / "docs" / f"{name}.md").exists()
        with urllib.request.urlopen(f"{server.url}/extensions/scope-for-comfyui/docs/{name}.md") as page:
            assert page.read().decode().startswith(f"# {info['display_name']}")


def download(server, path: str) -> int:
    """Status of an address as it is, for which `..` and `%2e` are not resolved here."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


def test_of_the_packs_folders_only_what_the_browser_needs_can_be_downloaded(server):
    pack = WORKFLOWS.parent
    assert {path.suffix for path in (pack / "web").rglob("*") if path.is_file()} == {".js", ".css", ".md"}
    templates = "/api/workflow_templates/scope-for-comfyui"
    _, listed = server.request("GET", "/workflow_templates")
    assert sorted(listed["scope-for-comfyui"]) == sorted(path.stem for path in WORKFLOWS.glob("*.json"))
    for path in WORKFLOWS.iterdir():
        wanted = 200 if path.suffix in (".json", ".jpg") else 404
        assert download(server, f"{templates}/{quote(path.name)}") == wanted, path
    for escape in (
        "../pyproject.toml",
        "..%2fpyproject.toml",
        "%2e%2e/README.md",
        "__pycache__/graph.pyc",
        "launcher%2Epy",
    ):
        assert download(server, f"{templates}/{escape}") == 404, escape


def test_an_error_is_shown_with_a_name_that_can_be_read(server):
    """ComfyUI shows module and class; our modules begin with the path of the pack."""
    with pytest.raises(WorkflowError, match="window is 60"):
        server.run(prompt("named", {"window": 60}))
    *_, entry = server.request("GET", "/history?max_items=1")[1].values()
    (error,) = [data for kind, data in entry["status"]["messages"] if kind == "execution_error"]
    assert error["exception_type"] == "SCOPE.ScheduleError"


def test_schema_is_frozen(server):
    """Ids, inputs and defaults that shipped; a change here breaks saved workflows."""

    def inputs(groups):
        """Defaults by name; of an input whose choices have inputs of their own, those by choice."""
        return {
            key: (
                {option["key"]: inputs(option["inputs"]) for option in spec[1]["options"]}
                if "DYNAMICCOMBO" in str(spec[0])
                else spec[1].get("default")
            )
            for group in ("required", "optional")
            for key, spec in groups.get(group, {}).items()
        }

    seen = {
        name: inputs(info["input"]) | {"->": info["output"]}
        for name, info in server.object_info().items()
        if name.startswith("SCOPE_")
    }
    frozen = json.loads((Path(__file__).parent / "schema.json").read_text())
    assert seen == frozen


@pytest.mark.parametrize("name, prefix", [("01 Demo", "demo"), ("02 Demo", "magi_demo")])
def test_demo_workflow_writes_a_video(server, output, name, prefix):
    graph = to_prompt(examples.load(name), server.object_info())
    for node in graph.values():
        quick = {"steps": 8, "length": 29, "ar_step": 2}
        node["inputs"] |= {widget: value for widget, value in quick.items() if widget in node["inputs"]}
    server.run(graph)
    assert list(output.rglob(f"{prefix}_*.mp4"))


@pytest.mark.parametrize("name", [name for name in examples.names() if "Demo" not in name])
def test_workflow_lacks_nothing_but_files(server, name):
    """ComfyUI refuses it only for models, images and videos that are not there."""
    graph = to_prompt(examples.load(name), server.object_info())
    status, answer = server.request("POST", "/prompt", {"prompt": graph})
    if status == 200:
        server.request("POST", "/interrupt", {})
        pytest.skip("its files are there")
    refused = {
        node["class_type"]: {problem["type"] for problem in node["errors"]} for node in answer["node_errors"].values()
    }
    assert refused and set(refused) <= {
        "SCOPE_LoadModel",
        "SCOPE_LoadMagiVAE",
        "UNETLoader",
        "CLIPLoader",
        "VAELoader",
        "LoadImage",
        "LoadVideo",
    }, answer
    assert set.union(*refused.values()) <= {"value_not_in_list", "custom_validation_failed"}, answer
