"""From the sweep to the chart, the sampler and the A/B window, as a user goes through them."""

import json
from pathlib import Path

import numpy as np
import pytest

WORKFLOWS = Path(__file__).parents[2] / "workflows"
CHART = "app.graph._nodes.find(node => node.type === 'SCOPE_TradeoffChart')"
SAMPLER = "app.graph._nodes.find(node => node.type === 'SCOPE_Sampler')"


def load(page, name: str, **values):
    """Open a workflow, with some widgets of all nodes that have them set to other values."""
    page.evaluate("workflow => app.loadGraphData(workflow)", json.loads((WORKFLOWS / f"{name}.json").read_text()))
    page.evaluate("""values => app.graph._nodes.forEach(node => (node.widgets ?? []).forEach(widget => {
        if (widget.name in values) { widget.value = values[widget.name]; widget.callback?.(widget.value, app.canvas, node) } }))""", values)
    page.wait_for_timeout(500)


def show(page, node: str):
    page.evaluate(f"() => {{ app.canvas.ds.scale = 1; app.canvas.centerOnNode({node}); app.canvas.setDirty(true, true) }}")
    page.wait_for_timeout(500)


def run(page):
    page.evaluate("""() => new Promise((done, fail) => { app.api.addEventListener('execution_success', done, {once: true});
        app.api.addEventListener('execution_error', event => fail(JSON.stringify(event.detail)), {once: true}); app.queuePrompt(0) })""")
    page.wait_for_timeout(1500)


def display(page, node_type: str):
    return page.evaluate_handle(f"app.graph._nodes.find(node => node.type === '{node_type}').widgets.at(-1).element").as_element()


def widget(page, name: str):
    return page.evaluate(f"{SAMPLER}.widgets.find(widget => widget.name === '{name}').value")


def wait_for_plan(page, chart):
    page.wait_for_function("element => element.textContent.includes('settings planned')", arg=chart, timeout=60_000)
    page.wait_for_timeout(500)


@pytest.mark.two_cells
def test_a_sweep_fills_the_chart_and_a_click_uses_it(page):
    load(page, "05_demo_tradeoff", steps=10, spread=2)
    show(page, CHART)
    chart = display(page, "SCOPE_TradeoffChart")
    wait_for_plan(page, chart)
    page.shot("chart_planned", chart)
    page.evaluate("window.live = 0; app.api.addEventListener('scope.point', () => window.live++)")
    run(page)
    show(page, CHART)
    picture = page.shot("chart_measured", chart)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    assert page.evaluate("window.live") >= 3, "points did not arrive while the sweep ran"
    text = chart.text_content()
    assert "fast" in text and "PSNR" in text and "not always worse" in text

    plot = chart.query_selector(".scope-tradeoff-plot")
    plot.focus()
    page.keyboard.press("Home")
    for _ in range(10):
        if "fast" in chart.query_selector(".scope-tradeoff-title").text_content():
            break
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    chart.query_selector("button:has-text('Apply')").click()
    assert (widget(page, "preset"), widget(page, "max_skip")) == ("fast", 4)
    page.wait_for_timeout(800)
    page.shot("chart_applied", chart)

    chart.query_selector("button:has-text('A/B')").click()
    dialog = page.locator("dialog")
    dialog.wait_for()
    page.wait_for_timeout(1500)
    page.shot("chart_ab", dialog)
    assert "fast" in dialog.text_content()
    page.keyboard.press("Escape")
    assert page.locator("dialog").count() == 0
    assert not [text for text in page.problems if "scope" in text.lower()]


@pytest.mark.two_cells
def test_compare_quality_and_report_show_the_pair(page):
    load(page, "06_demo_ab_compare", steps=10)
    run(page)
    for kind, words in (("SCOPE_Compare", ["frame"]), ("SCOPE_Quality", ["PSNR", "SSIM", "worst"]), ("SCOPE_SaveReport", ["Copy as Markdown", "evaluations"])):
        show(page, f"app.graph._nodes.find(node => node.type === '{kind}')")
        element = display(page, kind)
        picture = page.shot(f"shown_{kind}", element)
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
        text = (element.text_content() + page.evaluate("element => element.querySelector('textarea')?.value ?? ''", element)).lower()
        assert all(word.lower() in text for word in words), text
    assert not [text for text in page.problems if "scope" in text.lower()]


GARBAGE = [
    ("scope.step", {}), ("scope.step", {"node": "999", "segment": 4, "step": {}}), ("scope.step", {"node": None, "segment": None}),
    ("scope.step", {"segment": {"units": [], "sigmas": []}, "step": 3}), ("scope.point", {"node": "../..", "point": 5}),
    ("scope.point", {"node": {}, "run": [], "point": None}),
]


def test_garbage_events_change_nothing(page):
    load(page, "05_demo_tradeoff")
    wait_for_plan(page, display(page, "SCOPE_TradeoffChart"))
    before = display(page, "SCOPE_TradeoffChart").text_content(), display(page, "SCOPE_Timeline").text_content()
    for kind, event in GARBAGE:
        for target in (None, CHART, SAMPLER, "app.graph._nodes.find(node => node.type === 'SCOPE_Sweep')"):
            detail = event if target is None else {**event, "node": page.evaluate(f"String({target}.id)")}
            page.evaluate("([kind, detail]) => app.api.dispatchCustomEvent(kind, detail)", [kind, detail])
    page.wait_for_timeout(200)
    assert (display(page, "SCOPE_TradeoffChart").text_content(), display(page, "SCOPE_Timeline").text_content()) == before
    assert not [text for text in page.problems if "scope" in text.lower() or "TypeError" in text], page.problems
