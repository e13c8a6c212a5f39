"""From the sweep to the chart, the sampler and the A/B window, as a user goes through them."""

import numpy as np
import pytest
from gestures import QUICK, load, node_of, run, show, widget
from waits import wait_for_clips, wait_for_words, wait_until_at_rest

CHART = node_of("SCOPE_TradeoffChart")
SAMPLER = node_of("SCOPE_Sampler")


def display(page, node_type: str):
    return page.evaluate_handle(f"{node_of(node_type)}.widgets.at(-1).element").as_element()


def wait_for_plan(page, chart):
    wait_for_words(page, chart, "settings planned")
    wait_until_at_rest(page)


@pytest.mark.two_cells
def test_a_sweep_fills_the_chart_and_a_click_uses_it(page):
    load(page, "05_demo_tradeoff", spread=2, **QUICK)
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
    assert "balanced" in text and "PSNR" in text and "not always worse" in text

    plot = chart.query_selector(".scope-tradeoff-plot")
    plot.focus()
    page.keyboard.press("Home")
    for _ in range(10):
        if "fast" in chart.query_selector(".scope-tradeoff-title").text_content():
            break
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    chart.query_selector("button:has-text('Apply')").click()
    assert (widget(page, SAMPLER, "preset"), widget(page, SAMPLER, "speed")) == ("fast", 4)
    wait_until_at_rest(page)
    page.shot("chart_applied", chart)

    chart.query_selector("button:has-text('A/B')").click()
    dialog = page.locator("dialog")
    dialog.wait_for()
    wait_for_clips(page, dialog.element_handle())
    page.shot("chart_ab", dialog)
    assert "fast" in dialog.text_content()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert not [text for text in page.problems if "scope" in text.lower()]


@pytest.mark.two_cells
def test_compare_quality_and_report_show_the_pair(page):
    load(page, "06_demo_ab_compare", **QUICK)
    run(page)
    for kind, words in (
        ("SCOPE_Compare", ["frame"]),
        ("SCOPE_Quality", ["PSNR", "SSIM", "worst"]),
        ("SCOPE_SaveReport", ["Copy as Markdown", "evaluations"]),
    ):
        show(page, node_of(kind))
        element = display(page, kind)
        wait_for_clips(page, element)
        picture = page.shot(f"shown_{kind}", element)
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
        written = page.evaluate("element => element.querySelector('textarea')?.value ?? ''", element)
        text = f"{element.text_content()}{written}".lower()
        assert all(word.lower() in text for word in words), text
    assert not [text for text in page.problems if "scope" in text.lower()]


GARBAGE = [
    ("scope.step", {}),
    ("scope.step", {"node": "999", "segment": 4, "step": {}}),
    ("scope.step", {"node": None, "segment": None}),
    ("scope.step", {"segment": {"units": [], "sigmas": []}, "step": 3}),
    ("scope.point", {"node": "../..", "point": 5}),
    ("scope.point", {"node": {}, "run": [], "point": None}),
]


@pytest.mark.two_cells
def test_garbage_events_change_nothing(page):
    load(page, "05_demo_tradeoff")
    wait_for_plan(page, display(page, "SCOPE_TradeoffChart"))
    displays = [display(page, kind) for kind in ("SCOPE_TradeoffChart", "SCOPE_Timeline")]
    before = [one.text_content() for one in displays]
    for kind, event in GARBAGE:
        for target in (None, CHART, SAMPLER, node_of("SCOPE_Sweep")):
            detail = event if target is None else {**event, "node": page.evaluate(f"String({target}.id)")}
            page.evaluate("([kind, detail]) => app.api.dispatchCustomEvent(kind, detail)", [kind, detail])
    wait_until_at_rest(page)
    assert [one.text_content() for one in displays] == before
    assert not [text for text in page.problems if "scope" in text.lower() or "TypeError" in text], page.problems
