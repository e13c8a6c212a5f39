"""Every example workflow means what it meant before the house was rearranged: its prompt, its plans, and what
the demos did."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from workflows import examples

NAMES = sorted(examples.FORMER)
"""Those under which they were recorded, and in that order."""
FILE = Path(__file__).parents[1] / "fixtures" / "workflows.json"
PLANNED = ("SCOPE_Sampler", "SCOPE_Sweep", "SCOPE_ARSchedule", "SCOPE_MagiSchedule")
RUN = ("01_demo_text_to_video", "09_magi_demo")
"""Those that need no files, and are not run by other tests to their end."""
STEP = ("modes", "rules", "scores", "frames")


def decisions(trace: dict[str, Any]) -> dict[str, Any]:
    """Of a trace, what does not depend on the clock or the versions."""
    totals = {name: trace["totals"][name] for name in ("iterations", "computed", "frames_computed", "skipped_reason")}
    told = {name: trace["run"][name] for name in ("method", "settings", "schedule")}
    return {
        **told,
        "totals": totals,
        "segments": [[[step[name] for name in STEP] for step in segment["steps"]] for segment in trace["segments"]],
    }


def record(server, to_prompt, name: str, workflow: dict[str, Any]) -> dict[str, Any]:
    """The API prompt of a workflow, the plan of every node that has one, and the traces of a demo's run."""
    prompt = to_prompt(workflow, server.object_info())
    plans = {}
    for node, entry in prompt.items():
        if entry["class_type"] in PLANNED:
            status, answer = server.request("POST", "/scope/plan", {"node": node, "prompt": prompt})
            assert status == 200, answer
            plans[node] = {
                "exact": answer["exact"],
                "note": answer["note"],
                "trace": decisions(answer["trace"]) if "trace" in answer else None,
                "points": [[point["label"], point["computed"], point["widgets"]] for point in answer.get("points", [])],
            }
    traces = {}
    if name in RUN:
        outputs = server.run(prompt, workflow=workflow)["outputs"]
        traces = {node: decisions(made["scope_trace"][0]) for node, made in outputs.items() if "scope_trace" in made}
        assert traces
    return {"prompt": prompt, "plans": plans, "traces": traces}


@pytest.fixture(scope="module")
def now(host, tmp_path_factory):
    """All of them in a server of their own, for what one of them ran can make another's plan exact."""
    from workflows.graph import to_prompt

    folder = tmp_path_factory.mktemp("recordings")
    with host.serve(output=folder, log=folder / "comfyui.log") as server:
        return {name: record(server, to_prompt, name, examples.load(name)) for name in NAMES}


def rounded_alike(made: Any, before: Any) -> Any:
    """`made`, with the numbers of `before` where they are the same but for the rounding of another device."""
    if isinstance(made, dict):
        return {name: rounded_alike(value, before.get(name)) for name, value in made.items()} if before else made
    if isinstance(made, list) and isinstance(before, list) and len(made) == len(before):
        return [rounded_alike(*pair) for pair in zip(made, before)]
    alike = isinstance(made, float) and isinstance(before, float) and math.isclose(made, before, rel_tol=1e-3)
    return before if alike else made


@pytest.mark.parametrize("name", NAMES)
def test_workflow_means_what_it_meant(now, host, name):
    """Bit for bit on a CPU, on which it was recorded."""
    before, made = json.loads(FILE.read_text())[name], json.loads(json.dumps(now[name]))
    if host.has_accelerator:
        made = rounded_alike(made, before)
    assert made["prompt"] == before["prompt"]
    assert made["plans"] == before["plans"]
    assert made["traces"] == before["traces"]
