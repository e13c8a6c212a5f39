"""From the sweep to the chart, the sampler and the A/B window, as a user goes through them."""

import re

import numpy as np
import pytest
from gestures import QUICK, load, node_of, run, show, widget
from test_first_sight import BOXES, overlapping
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
    assert overlapping(page.evaluate(BOXES)) == [], "a node that shows what was made covers another"
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


WATCH_TITLE = """element => {
    window.titles = []
    new MutationObserver(() => titles.push(element.textContent)).observe(element,
        { subtree: true, childList: true, characterData: true })
}"""


@pytest.mark.two_cells
def test_a_sweep_over_seeds_has_bars_and_plays_every_clip(page):
    load(page, "05_demo_tradeoff", spread=2, seed=51, seeds=3, **{**QUICK, "length": 13})
    show(page, CHART)
    chart = display(page, "SCOPE_TradeoffChart")
    wait_for_words(page, chart, "settings planned on 3 clips")
    page.evaluate(WATCH_TITLE, chart.query_selector(".scope-tradeoff-title"))
    run(page)
    titles = page.evaluate("titles")
    assert any(re.match(r"Run \d+ of 12, .+, clip 3 of 3, about .+ left$", title) for title in titles), titles
    show(page, CHART)
    assert "4 settings measured on 3 clips" in chart.text_content()
    assert "Means over 3 clips (seeds 51 to 53); bars are 95 % intervals." in chart.text_content()
    page.shot("chart_seeds", chart)

    chart.query_selector(".scope-tradeoff-plot").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    text = chart.query_selector(".scope-tradeoff-text").text_content()
    assert "Measured on 3 clips" in text and "worst clip" in text and "clip by clip" in text, text
    page.shot("chart_seeds_held", chart)
    chart.query_selector("[title='Clip to play']").select_option(label="clip 2, seed 52")
    chart.query_selector("button:has-text('A/B')").click()
    dialog = page.locator("dialog")
    dialog.wait_for()
    wait_for_clips(page, dialog.element_handle())
    assert "seed 52" in dialog.text_content()
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


SIXTY = """clips => {
    const seeds = Array.from({ length: clips }, (_, index) => String(index))
    const pointOf = (index, more) => {
        const measured = seeds.map(seed => ({
            label: `setting ${index}`, method: ["scope", "teacache"][index % 2], settings: { index },
            widgets: {}, seed, prompt: 1, iterations: 50, computed: 8 + index % 30,
            seconds: 2 + index % 30 / 5 + seed / 10,
            psnr: 30 + (index * 7) % 17 + (index % 30) / 3 + 3 * seed, psnr_worst: 20, identical: false, ...more
        }))
        const psnr = measured.reduce((sum, each) => sum + each.psnr, 0) / clips
        return { ...measured[0], psnr, ...(clips > 1 && { clips: measured }) }
    }
    const unmeasured = { identical: undefined, psnr: undefined, psnr_worst: undefined }
    const full = { label: "off", method: "off", baseline: true, computed: 50, seconds: 12, ...unmeasured }
    return {
        format: "scope.runs", version: 1, model: "demo", notes: [], quantiles: { 3: 4.303 },
        metrics: { psnr: { label: "PSNR", unit: "dB", better: "higher" } },
        points: [pointOf(0, full), ...Array.from({ length: 59 }, (_, index) => pointOf(index + 1))],
    }
}"""
DRAW = f"""() => new Promise(settle => {{
    {CHART}.onExecuted({{ scope_runs: [sixty] }})
    requestAnimationFrame(() => requestAnimationFrame(settle))
}})"""
DRAWS = 20


@pytest.mark.two_cells
@pytest.mark.parametrize("clips", [1, 3])
def test_a_chart_of_sixty_points_is_drawn(page, clips):
    """Prints the processor time that a draw takes in the page; `pytest -s` shows it."""
    page.evaluate("() => { app.graph.add(LiteGraph.createNode('SCOPE_TradeoffChart')) }")
    show(page, CHART)
    chart = display(page, "SCOPE_TradeoffChart")
    page.evaluate(f"clips => {{ window.sixty = ({SIXTY})(clips) }}", clips)
    page.evaluate(f"{CHART}.onExecuted({{ scope_runs: [sixty] }})")
    wait_for_words(page, chart, "60 settings measured")
    assert len(chart.query_selector_all(".scope-tradeoff-plot svg path")) >= 60
    page.shot(f"chart_sixty_{clips}", chart)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def processor_seconds():
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    costs = []
    for _ in range(DRAWS):
        before = processor_seconds()
        page.evaluate(DRAW)
        costs.append(1000 * (processor_seconds() - before))
    session.detach()
    print(f"\n60 points of {clips} clips, {page.name}: {sorted(costs)[DRAWS // 2]:.1f} ms of processor time a draw")


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
