"""docs/resume.md through a real server: a cancelled run and a killed sweep go on when the same graph is queued again,
and what is kept is listed and removed."""

import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import expect
from test_server import SAMPLER, latent, prompt, trace_of
from waits import PATIENCE

from workflows.graph import WorkflowError
from workflows.launcher import HostError

LONG = {"length": 97, "window": 61}
STEPS = 60
expect.set_options(timeout=PATIENCE)


def kept(server):
    return server.request("GET", "/scope/runs")[1]["runs"]


def all_gone(server, seconds=120):
    deadline = time.monotonic() + seconds
    while kept(server) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not kept(server)


def cancelled(server, graph):
    """A run of two segments that is cancelled in the second one."""
    asked = []

    def cancel(kind, data):
        if kind == "scope.step" and data["segment"] == 1 and data["index"] > 1 and not asked:
            asked.append(server.request("POST", "/interrupt", {}))

    with pytest.raises(WorkflowError, match="cancelled"):
        server.run(graph, on_event=cancel)


def test_a_cancelled_run_goes_on_and_is_gone_when_the_prompt_has_ended(server, output):
    graph = prompt("resumed", LONG, seed=21, steps=STEPS, resume=True)
    cancelled(server, graph)
    (run,) = kept(server)
    assert (run["made"], run["frames"], run["seed"]) == (16, 25, "21") and run["bytes"] > 10_000
    trace = trace_of(server.run(graph))
    assert [(at["segment"], at["chunk"]) for at in trace["run"]["resumed"]] == [(1, 0)]
    server.run(prompt("uninterrupted", LONG, seed=21, steps=STEPS))
    assert (latent(output, "resumed") == latent(output, "uninterrupted")).all()
    assert all_gone(server)


def test_a_run_is_removed_when_asked_for(server):
    cancelled(server, prompt("removed", LONG, seed=22, steps=STEPS, resume=True))
    (run,) = kept(server)
    assert server.request("POST", "/scope/runs/remove", {"name": "../.."})[1]["error"]
    assert server.request("POST", "/scope/runs/remove", {})[0] == 400
    status, answer = server.request("POST", "/scope/runs/remove", {"name": run["name"]})
    assert status == 200 and answer["runs"] == [] and "error" not in answer


def failing_after_the_sampler(name, seed):
    return prompt("../" + name, LONG, seed=seed, steps=8, resume=True)


def test_what_fails_after_the_sampler_stays_until_it_is_shown(server, output):
    """Prompts without it do not count, and ComfyUI need not run the sampler again to show it."""

    def fails():
        with pytest.raises(WorkflowError, match="outside the output folder"):
            server.run(failing_after_the_sampler("shown", 24))

    fails()
    server.run(prompt("other", seed=25))
    (run,) = kept(server)
    assert run["made"] == run["frames"] == 25
    fails()
    executed = []
    graph = prompt("shown", LONG, seed=24, steps=8, resume=True)
    server.run(graph, on_event=lambda kind, data: executed.append(data["node"]) if kind == "executing" else None)
    assert "save" in executed and "sampler" not in executed and latent(output, "shown").shape[2] == 25
    assert all_gone(server)


MANY = """async ([module, count]) => {
    const { UnfinishedRuns } = await import(module)
    const run = { model: "SkyReels-V2", seed: "1", frames: 65, made: 20, bytes: 3e8, changed: 0 }
    const runs = Array.from({ length: count }, (_, index) => ({ ...run, name: `run${index}` }))
    await new UnfinishedRuns({ list: async () => ({ runs, folder: "runs" }), remove: async () => ({ runs }) }).open()
}"""
IN_SIGHT = """() => [...document.querySelectorAll(".scope-runs-dialog button")].every(button => {
    const { left, top, width, height } = button.getBoundingClientRect()
    return document.elementFromPoint(left + width / 2, top + height / 2) === button
})"""


@pytest.mark.two_cells
def test_the_dialog_is_as_tall_as_its_list(page):
    page.evaluate(MANY, ["/extensions/scope-for-comfyui/runs/unfinished.js", 12])
    page.shot("many_unfinished_runs")
    assert page.evaluate(IN_SIGHT)
    page.keyboard.press("Escape")
    page.locator("dialog.scope-runs-dialog").wait_for(state="detached")


@pytest.mark.two_cells
def test_the_dialog_lists_runs_with_their_size_and_removes_them(page, server):
    cancelled(server, prompt("listed", LONG, seed=26, steps=STEPS, resume=True))
    with pytest.raises(WorkflowError, match="outside the output folder"):
        server.run(failing_after_the_sampler("listed", 27))
    folder = Path(server.request("GET", "/scope/runs")[1]["folder"])
    sizes = {run["seed"]: sum(file.stat().st_size for file in (folder / run["name"]).iterdir()) for run in kept(server)}
    page.evaluate("app.extensionManager.command.execute('SCOPE.UnfinishedRuns')")
    dialog, rows = page.locator("dialog.scope-runs-dialog"), page.locator(".scope-runs-row")
    expect(rows).to_have_count(2)
    page.shot("unfinished_runs")
    for seed, share in (("26", "64% of 25 latent frames"), ("27", "finished, all 25 latent frames")):
        (text,) = [text for text in rows.all_inner_texts() if f"seed {seed}" in text]
        size = re.search(r"· ([\d.]+) kB · ", text)
        assert share in text and float(size[1]) * 1000 == pytest.approx(sizes[seed], abs=500), text
    box = dialog.bounding_box()
    assert box["x"] > 0 and box["x"] + box["width"] < page.viewport_size["width"]
    rows.filter(has_text="seed 26").get_by_role("button").click()
    expect(rows).to_have_count(1)
    assert [run["seed"] for run in kept(server)] == ["27"]
    rows.get_by_role("button").click()
    expect(rows).to_have_count(0)
    expect(dialog).to_contain_text("No run is kept on disk")
    assert not list(folder.iterdir())
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert not page.problems


def sweep(resume, length=61):
    graph = prompt("sweep", {"length": length, "ar_step": 2})
    inputs = graph.pop("sampler")["inputs"]
    passed = {name: inputs[name] for name in inputs if name not in SAMPLER}
    basic = {name: SAMPLER[name] for name in ("steps", "cfg", "shift", "solver")}
    graph["sweep"] = {
        "class_type": "SCOPE_Sweep",
        "inputs": {**passed, **basic, "seed": 23, "spread": 1, "seeds": 2, "resume": resume},
    }
    graph["chart"] = {"class_type": "SCOPE_TradeoffChart", "inputs": {"runs": ["sweep", 0]}}
    return {name: node for name, node in graph.items() if name not in ("timeline", "save")}


def found(entry):
    """By a sweep, to the last bit."""
    points = entry["outputs"]["chart"]["scope_runs"][0]["points"]
    return [(point["baseline"], point["computed"], point.get("latent_error"), len(point["clips"])) for point in points]


def test_runs_of_a_sweep_stay_until_it_is_shown(server):
    graph = sweep(resume=True, length=29)
    trace, report = prompt("", steps=2)["sampler"], {"trace": ["sampler", 1], "runs": ["sweep", 0]}
    fails = {"class_type": "SCOPE_SaveReport", "inputs": {**report, "filename_prefix": "../sweep"}}
    with pytest.raises(WorkflowError):
        server.run(graph | {"sampler": trace, "fails": fails})
    assert [run["made"] == run["frames"] for run in kept(server)] == [True] * 4
    executed = []
    server.run(graph, on_event=lambda kind, data: executed.append(data.get("node")) if kind == "progress" else None)
    assert not executed and all_gone(server)


def test_a_sweep_whose_server_is_killed_computes_only_what_is_missing(host, tmp_path):
    """kill -9 in the midst of its second run, which goes on."""
    (tmp_path / "user").mkdir()

    def serve():
        return host.serve(tmp_path, tmp_path / "log", ["--user-directory", str(tmp_path / "user")])

    def kill(kind, data):
        if kind == "progress":
            runs[data["node"]] = data["value"]
            if len(runs) == 2 and data["value"] > 0.7 * data["max"]:
                for child in psutil.Process().children():
                    with suppress(psutil.NoSuchProcess):
                        if str(tmp_path / "user") in child.cmdline():
                            os.kill(child.pid, signal.SIGKILL)

    runs = {}
    with serve() as server, pytest.raises((HostError, OSError)):
        server.run(sweep(resume=True), on_event=kill)
    with serve() as server:
        finished = [0 < run["frames"] == run["made"] for run in kept(server)].count(True)
        begun = [0 < run["made"] < run["frames"] for run in kept(server)].count(True)
        assert finished >= 1 and finished + begun >= 2
        made = found(server.run(sweep(resume=True)))
        log = server.log.read_text()
        assert log.count("an earlier run has made this video") == finished
        assert log.count("an earlier run goes on") == begun
        assert all_gone(server)
        assert [clips for *_, clips in made] == [2, 2] and made[0][0] and made == found(server.run(sweep(resume=False)))
