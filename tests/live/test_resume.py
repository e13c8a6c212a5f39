"""docs/resume.md through a real server: a cancelled run and a killed sweep go on when the same graph is queued again,
and what is kept is listed and removed."""

import os
import signal
import time

import psutil
import pytest
from test_server import SAMPLER, latent, prompt, trace_of

from workflows.graph import WorkflowError
from workflows.launcher import HostError

LONG = {"length": 97, "window": 61}
STEPS = 30


def kept(server):
    return server.request("GET", "/scope/runs")[1]["runs"]


def all_gone(server, seconds=10):
    deadline = time.monotonic() + seconds
    while kept(server) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not kept(server)


def cancelled(server, graph):
    """A run of two segments that is cancelled in the second one."""
    asked = []

    def cancel(kind, data):
        if kind == "progress" and data["value"] > STEPS + 2 and not asked:
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


def sweep(seed):
    graph = prompt("sweep", {"length": 29}, seed=seed)
    inputs = graph.pop("sampler")["inputs"]
    passed = {name: inputs[name] for name in inputs if name not in SAMPLER}
    basic = {name: SAMPLER[name] for name in ("steps", "cfg", "shift", "solver")}
    graph["sweep"] = {
        "class_type": "SCOPE_Sweep",
        "inputs": {**passed, **basic, "seed": seed, "spread": 2, "resume": True},
    }
    graph["chart"] = {"class_type": "SCOPE_TradeoffChart", "inputs": {"runs": ["sweep", 0]}}
    return {name: node for name, node in graph.items() if name not in ("timeline", "save")}


def test_a_sweep_whose_server_is_killed_computes_only_what_is_missing(host, tmp_path):
    """kill -9 in its second run."""
    (tmp_path / "user").mkdir()

    def serve():
        return host.serve(tmp_path, tmp_path / "log", ["--user-directory", str(tmp_path / "user")])

    runs = set()

    def kill(kind, data):
        if kind == "progress":
            runs.add(data["node"])
            if len(runs) == 2:
                for child in psutil.Process().children():
                    if str(tmp_path / "user") in child.cmdline():
                        os.kill(child.pid, signal.SIGKILL)

    with serve() as server, pytest.raises((HostError, OSError)):
        server.run(sweep(23), on_event=kill)
    with serve() as server:
        finished = [0 < run["frames"] == run["made"] for run in kept(server)].count(True)
        assert finished >= 1
        points = server.run(sweep(23))["outputs"]["chart"]["scope_runs"][0]["points"]
        assert len(points) == 3 and points[0]["baseline"]
        assert server.log.read_text().count("an earlier run has made this video") == finished
        assert all_gone(server)
