"""The plan under the sliders and the presets, as a user sees them, in both renderers."""

import json
from pathlib import Path

import numpy as np
import pytest

WORKFLOW = Path(__file__).parents[2] / "workflows" / "01_demo_text_to_video.json"
SAMPLER = "app.graph._nodes.find(node => node.type === 'SCOPE_Sampler' && node.title === 'SCOPE')"
SCHEDULE = "app.graph._nodes.find(node => node.type === 'SCOPE_ARSchedule')"
BLUE, ORANGE, WHITE = (44, 106, 155), (232, 150, 46), (228, 240, 255)
"""Reused, predicted and computed cells in the dark theme."""


@pytest.fixture
def demo(page):
    page.evaluate("workflow => app.loadGraphData(workflow)", json.loads(WORKFLOW.read_text()))
    page.keyboard.press("Escape")
    show(page, SAMPLER)
    wait_for_headline(page, SAMPLER, "of 125 evaluations")
    return page


def show(page, node: str):
    page.evaluate(f"() => {{ app.canvas.ds.scale = 1; app.canvas.centerOnNode({node}); app.canvas.setDirty(true, true) }}")
    page.wait_for_timeout(500)


def strip(page, node: str):
    return page.evaluate_handle(f"{node}.widgets.find(widget => widget.name === 'scope_plan').element").as_element()


def text(page, node: str, part: str) -> str:
    return strip(page, node).query_selector(f".scope-plan-{part}").text_content()


def wait_for_headline(page, node: str, words: str):
    element = f"{node}.widgets.find(widget => widget.name === 'scope_plan').element"
    page.wait_for_function(
        f"words => {element}.querySelector('.scope-plan-headline').textContent.includes(words)", arg=words, timeout=10_000)


def picture(page, node: str, name: str) -> np.ndarray:
    page.wait_for_timeout(300)
    return page.shot(f"plan_{name}", strip(page, node))


def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    return (abs(picture.astype(int) - colour).max(axis=2) < 12).mean()


def values(page, *names: str) -> list:
    return page.evaluate(f"names => names.map(name => {SAMPLER}.widgets.find(widget => widget.name === name).value)", list(names))


def choose(page, name: str, value, node: str = SAMPLER):
    """What both renderers do when a user chooses a value."""
    page.evaluate(f"""([name, value]) => {{ const node = {node}, widget = node.widgets.find(widget => widget.name === name);
        widget.value = value; widget.callback(value, app.canvas, node) }}""", [name, value])


def drag(page, name: str, steps: int):
    """Move a slider of the sampler with the mouse, by tenths of its width."""
    if page.name.endswith("classic"):
        start, y, width = page.evaluate(f"""() => {{
            const node = {SAMPLER}, {{ last_y, value, options }} = node.widgets.find(widget => widget.name === '{name}');
            const {{ ds, canvas }} = app.canvas, box = canvas.getBoundingClientRect(), width = node.size[0] - 30;
            const done = width * (value - options.min) / (options.max - options.min);
            const [x, y] = ds.convertOffsetToCanvas([node.pos[0] + 15 + done, node.pos[1] + last_y + 10]);
            return [x + box.left, y + box.top, width * ds.scale] }}""")
    else:
        node_id = page.evaluate(f"{SAMPLER}.id")
        label = page.locator(f"[data-node-id='{node_id}']").get_by_text(name, exact=True)
        row = label.locator("xpath=ancestor::*[.//*[@role='slider']][1]")
        thumb = row.get_by_role("slider").bounding_box()
        start, y = thumb["x"] + thumb["width"] / 2, thumb["y"] + thumb["height"] / 2
        width = 100
    page.mouse.move(start, y)
    page.mouse.down()
    for i in range(1, 6):
        page.mouse.move(start + steps * width / 10 * i / 5, y)
        page.wait_for_timeout(60)
    during = text(page, SAMPLER, "headline")
    page.mouse.up()
    return during


def test_plans_appear_and_redraw_while_a_slider_moves(demo):
    page = demo
    before = picture(page, SAMPLER, "balanced")
    assert text(page, SAMPLER, "headline").startswith("Plan: ") and "fewer" in text(page, SAMPLER, "headline")
    assert min(share(before, colour) for colour in (BLUE, ORANGE, WHITE)) > 0.002
    assert text(page, SCHEDULE, "headline") == text(page, SAMPLER, "headline")
    headline = text(page, SAMPLER, "headline")

    during = drag(page, "max_skip", 4)
    assert values(page, "max_skip")[0] > 2 and values(page, "preset") == ["custom"]
    assert during != headline and "fewer" in during
    after = picture(page, SAMPLER, "dragged")
    assert before.shape == after.shape and (before != after).any(axis=2).mean() > 0.01
    page.wait_for_timeout(300)
    assert text(page, SCHEDULE, "headline") == text(page, SAMPLER, "headline") != headline


def test_a_cell_is_explained_in_words(demo):
    page = demo
    plot = strip(page, SAMPLER).query_selector(".scope-plot")
    plot.focus()
    page.keyboard.press("End")
    page.wait_for_timeout(100)
    assert "Iteration 125 of 125, chunk 1 of 16" in text(page, SAMPLER, "cell")
    assert not plot.query_selector(".scope-plot-mark").is_hidden()
    page.keyboard.press("Escape")
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.4)
    page.wait_for_timeout(200)
    words = text(page, SAMPLER, "cell")
    assert any(word in words for word in ("Recomputed", "Predicted", "Reused", "Not started", "Finished")), words
    picture(page, SAMPLER, "hovered")
    page.mouse.move(box["x"], box["y"] - 300)
    plot.evaluate("plot => plot.blur()")
    page.wait_for_timeout(200)
    assert text(page, SAMPLER, "cell") == "" and strip(page, SAMPLER).query_selector(".scope-plan-cell").is_hidden()


def test_preset_moves_the_sliders_and_a_slider_makes_it_custom(demo):
    page = demo
    assert values(page, "preset", "threshold", "max_skip") == ["balanced", 1.0, 2]
    choose(page, "preset", "fast")
    assert values(page, "preset", "threshold", "max_skip") == ["fast", 1.0, 4]
    choose(page, "preset", "paper_fast")
    assert values(page, "max_skip", "warm_up", "cache_threshold", "predict_threshold", "selective") == [5, 5, 0.18, 0.42, "paper"]
    choose(page, "preset", "off")
    wait_for_headline(page, SAMPLER, "125 of 125")
    assert values(page, "threshold") == [0]
    if page.name.endswith("nodes2"):
        page.wait_for_timeout(300)
        node = page.locator(f"[data-node-id='{page.evaluate(f'{SAMPLER}.id')}']")
        assert "off" in node.inner_text() and node.locator("input").evaluate_all("all => all.map(input => input.value)").count("0.00") >= 1
    picture(page, SAMPLER, "off")
    choose(page, "max_skip", 7)
    assert values(page, "preset", "threshold", "max_skip") == ["custom", 0, 7]
    choose(page, "preset", "balanced")
    choose(page, "steps", 30)
    assert values(page, "preset", "max_skip", "steps") == ["balanced", 2, 30]
    wait_for_headline(page, SAMPLER, "of 105 evaluations")


def test_a_loaded_preset_moves_the_sliders(demo):
    page = demo
    page.evaluate(f"""() => {{ const workflow = app.graph.serialize(), node = workflow.nodes.find(node => node.title === 'SCOPE');
        const names = {SAMPLER}.widgets.map(widget => widget.name);
        node.widgets_values[names.indexOf('threshold')] = 0.3; node.widgets_values[names.indexOf('preset')] = 'fast';
        return app.loadGraphData(workflow) }}""")
    page.wait_for_timeout(500)
    assert values(page, "preset", "threshold", "max_skip") == ["fast", 1.0, 4]
    saved = page.evaluate("app.graph.serialize().nodes.find(node => node.title === 'SCOPE').widgets_values")
    assert "fast" in saved and 0.3 not in saved


def test_settings_node_plans_the_sampler_and_keeps_its_preset_in_step(demo):
    page = demo
    page.evaluate(f"""() => {{ const settings = LiteGraph.createNode('SCOPE_Settings'); app.graph.add(settings);
        const sampler = {SAMPLER}; settings.connect(0, sampler, sampler.findInputSlot('settings')); app.graph.change() }}""")
    settings = "app.graph._nodes.find(node => node.type === 'SCOPE_Settings')"
    value = f"name => {settings}.widgets.find(widget => widget.name === name)?.value"
    before = text(page, SAMPLER, "headline")
    choose(page, "steps", 50)  # tells the strip of the new link, as the end of a drag does for a user
    page.wait_for_timeout(800)
    choose(page, "method.preset", "fast", settings)
    page.wait_for_timeout(800)
    assert page.evaluate(value, "method.max_skip") == 4
    assert text(page, SAMPLER, "headline") != before
    choose(page, "method.max_skip", 9, settings)
    assert page.evaluate(value, "method.preset") == "custom"
    choose(page, "method", "teacache", settings)
    page.wait_for_timeout(800)
    teacache = text(page, SAMPLER, "headline")
    choose(page, "method.threshold", 0, settings)
    wait_for_headline(page, SAMPLER, "125 of 125")
    assert "fewer" in teacache


def test_settings_that_make_no_sense_say_why(demo):
    page = demo
    for name, value in (("preset", "custom"), ("cache_threshold", 0.6), ("predict_threshold", 0.5)):
        choose(page, name, value)
    wait_for_headline(page, SAMPLER, "No plan")
    assert "tau_c = 0.6" in text(page, SAMPLER, "note")
    assert strip(page, SAMPLER).query_selector(".scope-plot").is_hidden()
    picture(page, SAMPLER, "problem")
    choose(page, "preset", "balanced")
    wait_for_headline(page, SAMPLER, "fewer")


def test_schedule_says_why_a_length_was_rounded(demo):
    page = demo
    for name, value in (("window", 77), ("chunk", 5)):
        choose(page, name, value, SCHEDULE)
    page.wait_for_timeout(800)
    assert "61" in text(page, SCHEDULE, "note") and "77" in text(page, SCHEDULE, "note")
    show(page, SCHEDULE)
    picture(page, SCHEDULE, "rounded")


def test_plan_is_exact_after_a_run_and_equals_it(demo):
    page = demo
    choose(page, "ar_step", 2, SCHEDULE)
    for title in ("Baseline", "SCOPE"):
        choose(page, "steps", 10, f"app.graph._nodes.find(node => node.title === '{title}')")
    page.evaluate("() => new Promise(done => { app.api.addEventListener('execution_success', done, {once: true}); app.queuePrompt(0) })")
    page.wait_for_timeout(2000)
    assert text(page, SAMPLER, "badge") == "exact"
    planned = text(page, SAMPLER, "headline").removeprefix("Plan: ")
    assert planned == page.locator(".scope-timeline-evaluations").first.text_content()
    picture(page, SAMPLER, "exact")
    assert not [problem for problem in page.problems if "scope" in problem.lower()]


def test_plans_cross_the_border_of_a_subgraph(demo):
    page = demo
    wait_for_headline(page, SCHEDULE, "fewer")
    planned = text(page, SCHEDULE, "headline")
    page.evaluate(f"""() => {{ const nodes = app.graph._nodes.filter(node => node.type === 'SCOPE_Sampler');
        app.canvas.select(nodes[0]); app.canvas.select(nodes[1]); app.graph.convertToSubgraph(new Set(nodes)) }}""")
    page.wait_for_timeout(1000)
    choose(page, "ar_step", 4, SCHEDULE)
    wait_for_headline(page, SCHEDULE, "of 110 evaluations")
    inner = "[...app.graph.subgraphs.values()][0]._nodes.find(node => node.title === 'SCOPE')"
    page.wait_for_timeout(800)
    assert text(page, inner, "headline") == text(page, SCHEDULE, "headline") != planned
