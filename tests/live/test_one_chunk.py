"""A Wan file of core's own loader through a real server: plan, run, timeline, KSampler beside it, and a sweep."""

import numpy as np
import pytest
from safetensors.torch import save_file
from test_server import SAMPLER, latent, trace_of

from tests import tiny_wan

NAME = "scope_test_wan.safetensors"
SIZE = {"width": 64, "height": 64, "length": 17, "batch_size": 1}


@pytest.fixture(scope="module")
def serving(host, tmp_path_factory):
    """One that has the file, in a folder of its own."""
    models, output = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("one_chunk")
    (models / "diffusion_models").mkdir()
    save_file(tiny_wan.weights(), models / "diffusion_models" / NAME, tiny_wan.METADATA)
    arguments = ["--models-directory", str(models)]
    with host.serve(output=output, log=output / "comfyui.log", arguments=arguments) as server:
        yield server


def prompt(name: str, **sampler) -> dict:
    """To a saved latent and a timeline, in the API format; the demo's text encoder has the width of the tiny model."""
    given = {"model": ["loader", 0], "positive": ["text", 0], "negative": ["none", 0]}
    links = {**given, "latent": ["empty", 0]}
    euler = {"sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    return {
        "demo": {"class_type": "SCOPE_LoadDemo", "inputs": {}},
        "loader": {"class_type": "UNETLoader", "inputs": {"unet_name": NAME, "weight_dtype": "default"}},
        "text": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["demo", 1], "text": "a red circle bouncing"}},
        "none": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["demo", 1], "text": ""}},
        "empty": {"class_type": "EmptyHunyuanLatentVideo", "inputs": SIZE},
        "sampler": {"class_type": "SCOPE_Sampler", "inputs": {**SAMPLER, "solver": "euler", **links, **sampler}},
        "stock": {
            "class_type": "KSampler",
            "inputs": {**given, **euler, "seed": 7, "steps": 10, "cfg": 3.0, "latent_image": ["empty", 0]},
        },
        "sweep": {
            "class_type": "SCOPE_Sweep",
            "inputs": {**links, "seed": 7, "steps": 10, "cfg": 3.0, "shift": 8.0, "spread": 2, "solver": "euler"},
        },
        "chart": {"class_type": "SCOPE_TradeoffChart", "inputs": {"runs": ["sweep", 0]}},
        "timeline": {"class_type": "SCOPE_Timeline", "inputs": {"trace": ["sampler", 1]}},
        "save": {"class_type": "SaveLatent", "inputs": {"samples": ["sampler", 0], "filename_prefix": name}},
        "saved": {"class_type": "SaveLatent", "inputs": {"samples": ["stock", 0], "filename_prefix": f"stock_{name}"}},
    }


def without(graph: dict, *names: str) -> dict:
    return {name: node for name, node in graph.items() if name not in names}


def test_a_wan_file_runs_as_planned_and_off_is_ksampler(serving):
    widgets = {"seed": 7, "steps": 10, "cfg": 3.0, "shift": 8.0}
    off = without(prompt("one_whole", **widgets, preset="off"), "sweep", "chart")
    trace = trace_of(serving.run(off))
    assert trace["totals"]["computed"] == 10 and NAME in trace["run"]["model"]
    assert np.array_equal(latent(serving.log.parent, "one_whole"), latent(serving.log.parent, "stock_one_whole"))
    fast = without(prompt("one_chunk_fast", **widgets, preset="fast"), "sweep", "chart", "stock", "saved")
    _, planned = serving.request("POST", "/scope/plan", {"node": "sampler", "prompt": fast})
    made = trace_of(serving.run(fast))
    modes = [[step["modes"] for step in of["segments"][0]["steps"]] for of in (planned["trace"], made)]
    assert planned["exact"] and modes[0] == modes[1] and made["totals"]["computed"] < 5


def test_a_sweep_of_it_is_measured_against_the_full_run(serving):
    graph = without(prompt("one_chunk_sweep"), "sampler", "timeline", "save", "stock", "saved")
    entry = serving.run(graph)
    points = entry["outputs"]["chart"]["scope_runs"][0]["points"]
    assert [point["computed"] for point in points] == sorted((point["computed"] for point in points), reverse=True)
    assert len(points) == 3 and points[0]["baseline"] and all(point["latent_error"] > 0 for point in points[1:])


def test_ab_quality_sweep_and_report_of_it(serving):
    """All that compares, on frames: the demo's autoencoder has the channels of the tiny model."""
    graph = without(prompt("one_chunk_compared", preset="fast", steps=10), "timeline", "stock", "saved", "save")
    pictures = {"vae": ["demo", 2]}
    sampler = graph["sampler"]["inputs"]
    graph |= {
        "off": {"class_type": "SCOPE_Sampler", "inputs": {**sampler, "preset": "off"}},
        "b": {"class_type": "VAEDecode", "inputs": {**pictures, "samples": ["sampler", 0]}},
        "a": {"class_type": "VAEDecode", "inputs": {**pictures, "samples": ["off", 0]}},
        "quality": {
            "class_type": "SCOPE_Quality",
            "inputs": {"baseline": ["a", 0], "candidate": ["b", 0], "trace": ["sampler", 1], "fps": 16.0},
        },
        "compare": {
            "class_type": "SCOPE_Compare",
            "inputs": {
                "a": ["a", 0],
                "b": ["b", 0],
                "trace": ["sampler", 1],
                "label_a": "",
                "label_b": "",
                "fps": 16.0,
            },
        },
        "report": {
            "class_type": "SCOPE_SaveReport",
            "inputs": {
                "trace": ["sampler", 1],
                "quality": ["quality", 0],
                "runs": ["sweep", 0],
                "filename_prefix": "scope/one_chunk",
            },
        },
    }
    graph["sweep"]["inputs"] |= pictures
    outputs = serving.run(graph)["outputs"]
    (found,), (compared,), (report,) = (
        outputs[node][key]
        for node, key in (("quality", "scope_quality"), ("compare", "scope_compare"), ("report", "scope_report"))
    )
    assert found["chunks"] == compared["chunks"] == [[0, 17]] and compared["frames"] == 17
    assert 0 < found["metrics"]["psnr"]["mean"] < 100 and 0 < found["metrics"]["ssim"]["mean"] < 1
    points = outputs["chart"]["scope_runs"][0]["points"]
    assert all(0 < point["psnr"] < 100 and point["clip"] for point in points[1:])
    assert NAME in report["markdown"] and f"{found['metrics']['psnr']['mean']:.1f}" in report["markdown"]
    for name in report["files"]:
        assert (serving.log.parent / name).stat().st_size > 1000
