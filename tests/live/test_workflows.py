"""Every workflow loads cleanly, and the demo runs, draws its timeline and shows it again from the cache."""

import numpy as np
import pytest
from gestures import QUICK, WORKFLOWS, load, node_of, run, show
from test_plan import SAMPLER, picture, text
from waits import wait_until_at_rest, wait_until_ready

NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
LOADERS = ("SCOPE_LoadModel", "UNETLoader", "SCOPE_LoadMagiVAE", "CLIPLoader", "VAELoader", "LoadImage", "LoadVideo")
"""Marked by the browser where the file they name is not there."""
OURS = "app.graph.serialize().nodes.filter(node => node.type.startsWith('SCOPE_'))"
UNKNOWN = """app.graph._nodes.map(node => node.isVirtualNode ? "" : node.type)
    .filter(type => type && !LiteGraph.registered_node_types[type])"""


@pytest.mark.two_cells
@pytest.mark.parametrize("name", NAMES)
def test_workflow_loads_without_a_warning(page, name):
    workflow = load(page, name)
    types = page.evaluate("app.graph._nodes.map(node => [node.type, !!node.has_errors])")
    assert len(types) == len(workflow["nodes"])
    assert not [kind for kind, errors in types if errors and kind not in LOADERS], types
    assert page.evaluate(UNKNOWN) == []
    ours = [node for node in workflow["nodes"] if node["type"].startswith("SCOPE_")]
    saved = {node["id"]: node.get("widgets_values") or [] for node in ours}
    seen = {node["id"]: node.get("widgets_values") for node in page.evaluate(OURS)}
    assert {key: [v for v in value or [] if v is not None] for key, value in seen.items()} == saved
    page.evaluate("() => { app.canvas.ds.scale = 0.5; app.canvas.setDirty(true, true) }")
    wait_until_at_rest(page)
    page.shot(name)
    problems = [problem for problem in page.problems if "scope" in problem.lower()]
    assert not problems, problems


@pytest.mark.two_cells
def test_demo_runs_as_planned_and_draws(page):
    load(page, "01_demo_text_to_video", **QUICK)
    before = picture_of_timeline(page, "empty")
    run(page)
    after = picture_of_timeline(page, "drawn")
    assert len(np.unique(after.reshape(-1, 3), axis=0)) > 30
    assert before.shape != after.shape or (before != after).any(axis=2).mean() > 0.05
    said = page.locator(".scope-timeline").first.inner_text()
    assert "evaluations" in said and "fewer" in said
    page.shot("demo_finished")
    show(page, SAMPLER)
    assert text(page, SAMPLER, "badge") == "exact"
    planned = text(page, SAMPLER, "headline").removeprefix("Plan: ")
    assert planned == page.locator(".scope-timeline-evaluations").first.text_content()
    picture(page, SAMPLER, "exact")
    assert not [problem for problem in page.problems if "scope" in problem.lower()]

    page.reload()
    wait_until_ready(page)
    load(page, "01_demo_text_to_video", **QUICK)
    page.evaluate("window.live = 0; app.api.addEventListener('scope.step', () => window.live++)")
    run(page)
    assert page.evaluate("window.live") == 0, "the second run did not come from the cache"
    assert page.locator(".scope-timeline").first.inner_text() == said


def picture_of_timeline(page, name: str) -> np.ndarray:
    """Screenshot of the timeline's own element, brought into view."""
    show(page, node_of("SCOPE_Timeline"))
    return page.shot(f"timeline_{name}", page.locator(".scope-timeline").first)
