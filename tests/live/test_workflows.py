"""Every workflow loads cleanly, and the demo runs, draws its timeline and shows it again from the cache."""

import json
from pathlib import Path

import numpy as np
import pytest

WORKFLOWS = Path(__file__).parents[2] / "workflows"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
LOADERS = ("SCOPE_LoadModel", "SCOPE_LoadMagiVAE", "CLIPLoader", "VAELoader", "LoadImage", "LoadVideo")
"""Marked by the browser where the file they name is not there."""


def load(page, name: str) -> dict:
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text())
    page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
    page.wait_for_timeout(1500)
    return workflow


@pytest.mark.two_cells
@pytest.mark.parametrize("name", NAMES)
def test_workflow_loads_without_a_warning(page, name):
    workflow = load(page, name)
    types = page.evaluate("app.graph._nodes.map(node => [node.type, !!node.has_errors])")
    assert len(types) == len(workflow["nodes"])
    assert not [kind for kind, errors in types if errors and kind not in LOADERS], types
    assert page.evaluate("app.graph._nodes.filter(node => !LiteGraph.registered_node_types[node.type] && !node.isVirtualNode).length") == 0
    saved = {node["id"]: node.get("widgets_values") for node in workflow["nodes"] if node["type"].startswith("SCOPE_")}
    seen = {node["id"]: node.get("widgets_values") for node in page.evaluate("app.graph.serialize().nodes") if node["type"].startswith("SCOPE_")}
    assert {key: [v for v in value or [] if v is not None] for key, value in seen.items()} == {key: value or [] for key, value in saved.items()}
    page.evaluate("app.canvas.ds.scale = 0.5")
    page.shot(name)
    ours = [text for text in page.problems if "scope" in text.lower()]
    assert not ours, ours


@pytest.mark.two_cells
def test_demo_runs_and_draws(page):
    load_quick_demo(page)
    before = picture_of_timeline(page, "empty")
    run(page)
    after = picture_of_timeline(page, "drawn")
    assert len(np.unique(after.reshape(-1, 3), axis=0)) > 30
    assert before.shape != after.shape or (before != after).any(axis=2).mean() > 0.05
    text = page.locator(".scope-timeline").first.inner_text()
    assert "evaluations" in text and "fewer" in text
    page.shot("demo_finished")
    assert not [text for text in page.problems if "scope" in text.lower()]

    page.reload()
    page.wait_for_function("window.app && window.app.graph && window.app.extensionManager", timeout=120_000)
    load_quick_demo(page)
    page.evaluate("window.live = 0; app.api.addEventListener('scope.step', () => window.live++)")
    run(page)
    assert page.evaluate("window.live") == 0, "the second run did not come from the cache"
    assert page.locator(".scope-timeline").first.inner_text() == text


def load_quick_demo(page):
    load(page, "01_demo_text_to_video")
    page.evaluate("""() => app.graph._nodes.filter(n => n.type === 'SCOPE_Sampler')
        .forEach(n => { n.widgets.find(w => w.name === 'steps').value = 10 })""")


def run(page):
    page.evaluate("""() => new Promise(done => {
        app.api.addEventListener('execution_success', done, {once: true}); app.queuePrompt(0) })""")
    page.wait_for_timeout(2000)


def picture_of_timeline(page, name: str) -> np.ndarray:
    """Screenshot of the timeline's own element, brought into view."""
    page.evaluate("""() => { const node = app.graph._nodes.find(n => n.type === 'SCOPE_Timeline');
        app.canvas.ds.scale = 1; app.canvas.centerOnNode(node); app.canvas.setDirty(true, true) }""")
    page.wait_for_timeout(800)
    return page.shot(f"timeline_{name}", page.locator(".scope-timeline").first)
