"""Rendering for VBench: names, settings, going on after an interruption, and what is answered instead."""

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from workflows import jobs, vbench
from workflows.graph import WorkflowError

MISSING = (
    ("skyreels", "wan_2.1_vae.safetensors"),
    ("magi", "model-00002-of-00002.safetensors"),
    ("wan", "wan2.1_t2v_1.3B_fp16.safetensors"),
    ("wan22_5b", "wan2.2_vae.safetensors"),
)
"""Models, and one of the files that each of them lacks."""
QUICK = ["--set", "schedule.length=13", "--set", "sampler.steps=16", "--set", "schedule.ar_step=0"]


@pytest.fixture
def render(monkeypatch, tmp_path, capsys):
    """`python -m workflows.vbench` on the demo, in this process; its exit status and what it printed."""

    def run(prompts, *options, model="demo"):
        (tmp_path / "prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")
        monkeypatch.setattr(
            sys,
            "argv",
            [
                "vbench",
                "--model",
                model,
                "--prompts",
                str(tmp_path / "prompts.txt"),
                "--comfyui",
                os.environ["SCOPE_COMFYUI"],
                "--out",
                str(tmp_path / "out"),
                *options,
            ],
        )
        status = vbench.main()
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    run.out = tmp_path / "out"
    return run


def frames(file: Path) -> np.ndarray:
    with av.open(file) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])


def test_rows_are_rendered_from_the_same_seeds_and_gone_on_with(render):
    prompt, rows = "a red circle, bouncing on a navy background.", ["Original", "TeaCache-fast", "quality"]
    there = render.out / "TeaCache-fast" / f"{prompt}-0.mp4"
    there.parent.mkdir(parents=True)
    there.write_text("of an earlier run")
    (render.out / "TeaCache-fast.jsonl").write_text(
        json.dumps({"video": there.name}) + "\n" + json.dumps({"video": f"{prompt}-1.mp4"}) + '\n{"video": "torn'
    )
    arguments = [prompt, "a blue star"], "--rows", *rows, "--samples", "2", "--limit", "1", *QUICK

    status, printed = render(*arguments)
    assert status == 0 and "6 videos, 1 of them there already" in printed, printed
    assert there.read_text() == "of an earlier run"
    for row in rows:
        there = {path.name for path in (render.out / row).iterdir()}
        assert there == {f"{prompt}-{index}.mp4" for index in range(2)}, "VBench takes every file for a video"
    assert {path.name for path in render.out.iterdir()} == {
        *rows,
        *(f"{row}.{kind}" for row in rows for kind in ("json", "jsonl")),
        "comfyui.log",
    }

    video = {
        (row, index): frames(render.out / row / f"{prompt}-{index}.mp4").astype(int)
        for row in ("Original", "quality")
        for index in range(2)
    }
    assert video["Original", 0].shape == (13, 128, 128, 3)
    to_seed, to_row = (abs(video["Original", 0] - video[other]).mean() for other in (("Original", 1), ("quality", 0)))
    assert to_row < 0.7 * to_seed

    settings = json.loads((render.out / "TeaCache-fast.json").read_text())
    assert (
        settings["prompt"]["settings"]["inputs"]["method.threshold"] == 0.3
        and settings["prompt"]["sampler"]["inputs"]["steps"] == 16
    )
    assert (
        len(settings["environments"]) == 1
        and {"pack", "comfyui_version", "device"} <= settings["environments"][0].keys()
    )
    lines = [json.loads(line) for line in (render.out / "Original.jsonl").read_text().splitlines()]
    assert [(line["video"], line["seed"]) for line in lines] == [(f"{prompt}-{index}.mp4", index) for index in range(2)]
    assert all(line["computed"] == line["of"] == 16 and line["prompt"] == prompt for line in lines)
    lines = (render.out / "TeaCache-fast.jsonl").read_text().splitlines()
    assert [json.loads(line)["video"] for line in lines] == [f"{prompt}-{index}.mp4" for index in range(2)]

    status, printed = render(*arguments)
    assert status == 0 and "Starting" not in printed


def test_a_video_counts_once_it_and_its_line_are_there_whole(tmp_path):
    (tmp_path / "fast").mkdir()
    whole, moving, empty, unknown, cut = (f"{name}.mp4" for name in ("whole", "moving", "empty", "unknown", "cut"))
    for name, data in (whole, b"video"), (empty, b""), (unknown, b"video"), (cut, b"vid"):
        (tmp_path / "fast" / name).write_bytes(data)
    lines = [{"video": name, "bytes": 5} for name in (whole, moving, cut)] + [{"video": empty}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "fast.jsonl").write_text(text + text + json.dumps({"video": unknown})[:-2])
    assert list(vbench.rendered(tmp_path, "fast")) == [whole]
    vbench.keep_whole(tmp_path, "fast")
    assert (tmp_path / "fast.jsonl").read_text() == json.dumps(lines[0]) + "\n"


def test_other_settings_are_not_mixed_with_those_there(tmp_path):
    vbench.keep_settings(tmp_path / "fast.json", {"seed": 0}, {"device": "one"})
    vbench.keep_settings(tmp_path / "fast.json", {"seed": 0}, {"device": "another"})
    assert json.loads((tmp_path / "fast.json").read_text())["environments"] == [
        {"device": "one"},
        {"device": "another"},
    ]
    with pytest.raises(WorkflowError, match="other settings"):
        vbench.keep_settings(tmp_path / "fast.json", {"seed": 1}, {"device": "one"})


def test_long_prompts_are_named_after_short_ones(render, tmp_path):
    status, printed = render(["a fine shape " * 30])
    assert status == 1 and "--names" in printed
    assert render(["either/or"])[0] == 1
    (tmp_path / "names.txt").write_text("a shape\n")
    assert vbench.read_prompts(tmp_path / "prompts.txt", tmp_path / "names.txt", 5, None) == {"a shape": "either/or"}
    status, printed = render(["one", "two"], "--names", str(tmp_path / "names.txt"))
    assert status == 1 and "line by line" in printed


def test_unknown_rows_and_missing_files_are_named(render, host, server, monkeypatch):
    status, printed = render(["a boat"], "--rows", "Fastest")
    assert status == 1 and "Original" in printed
    running = SimpleNamespace(root=host.root, models=host.models, serve=lambda **options: nullcontext(server))
    monkeypatch.setattr(jobs, "find_or_build", lambda _: running)
    for model, file in MISSING:
        status, printed = render(["a boat"], "--rows", "Original", model=model)
        assert status == 1 and file in printed and "huggingface.co" in printed


def test_every_row_of_every_model_is_a_prompt_of_the_nodes(server):
    object_info = server.object_info()
    for name, model in vbench.MODELS.items():
        for row, settings in vbench.ROWS[name].items():
            prompt = vbench.to_api(vbench.complete(model.graph("a boat", model.files), settings, 3), object_info)
            for node in prompt.values():
                declared = object_info[node["class_type"]]["input"]
                assert declared["required"].keys() <= node["inputs"].keys(), (name, row, node)
                assert {key.partition(".")[0] for key in node["inputs"]} <= {
                    *declared["required"],
                    *declared.get("optional", {}),
                }, (name, row, node)
            answer = server.request("POST", "/scope/plan", {"node": "sampler", "prompt": prompt})[1]
            assert answer.get("trace"), (name, row, answer)
