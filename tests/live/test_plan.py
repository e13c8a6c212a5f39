"""The plan under the sliders and the presets, as a user sees them, in both renderers."""

import numpy as np
import pytest
from gestures import choose, load, node_of, show, values, widget
from waits import wait_for_words, wait_until_at_rest

SAMPLER = node_of("SCOPE_Sampler", "SCOPE")
SCHEDULE = node_of("SCOPE_ARSchedule")
BLUE, ORANGE, WHITE = (44, 106, 155), (232, 150, 46), (228, 240, 255)
"""Reused, predicted and computed cells in the dark theme."""


@pytest.fixture
def demo(page):
    load(page, "01 Demo - Text to video")
    show(page, SAMPLER)
    wait_for_headline(page, SAMPLER, "of 125 evaluations")
    return page


def strip(page, node: str):
    return page.evaluate_handle(f"{node}.widgets.find(widget => widget.name === 'scope_plan').element").as_element()


def text(page, node: str, part: str) -> str:
    return strip(page, node).query_selector(f".scope-plan-{part}").text_content()


def wait_for_headline(page, node: str, words: str):
    wait_for_words(page, strip(page, node).query_selector(".scope-plan-headline"), words)


def picture(page, node: str, name: str) -> np.ndarray:
    wait_until_at_rest(page)
    return page.shot(f"plan_{name}", strip(page, node))


def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    return (abs(picture.astype(int) - colour).max(axis=2) < 12).mean()


def drag(page, name: str, steps: int) -> str:
    """Move a slider of the sampler with the mouse, by tenths of its width; the headline before it is let go."""
    if page.name.endswith("classic"):
        start, y, width = page.evaluate(f"""() => {{
            const node = {SAMPLER};
            const {{ last_y, value, options }} = node.widgets.find(widget => widget.name === '{name}');
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
    page.mouse.move(start + steps * width / 10, y, steps=5)
    wait_until_at_rest(page)
    during = text(page, SAMPLER, "headline")
    page.mouse.up()
    wait_until_at_rest(page)
    return during


def test_plans_appear_and_redraw_while_a_slider_moves(demo):
    page = demo
    before = picture(page, SAMPLER, "balanced")
    assert text(page, SAMPLER, "headline").startswith("Plan: ") and "fewer" in text(page, SAMPLER, "headline")
    assert min(share(before, colour) for colour in (ORANGE, WHITE)) > 0.002
    assert text(page, SCHEDULE, "headline") == text(page, SAMPLER, "headline")
    headline = text(page, SAMPLER, "headline")

    during = drag(page, "max_skip", 4)
    assert values(page, SAMPLER, "max_skip")[0] > 2 and values(page, SAMPLER, "preset", "speed") == ["custom", 0]
    assert during != headline and "fewer" in during
    after = picture(page, SAMPLER, "dragged")
    assert before.shape == after.shape and (before != after).any(axis=2).mean() > 0.01
    assert min(share(after, colour) for colour in (BLUE, ORANGE, WHITE)) > 0.002
    assert text(page, SCHEDULE, "headline") == text(page, SAMPLER, "headline") != headline


def test_a_cell_is_explained_in_words(demo):
    page = demo
    plot, words = (strip(page, SAMPLER).query_selector(part) for part in (".scope-plot", ".scope-plan-cell"))
    plot.focus()
    page.keyboard.press("End")
    wait_for_words(page, words, "Iteration 125 of 125, chunk 1 of 16")
    assert not plot.query_selector(".scope-plot-mark").is_hidden()
    page.keyboard.press("Escape")
    words.wait_for_element_state("hidden")
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.4)
    words.wait_for_element_state("visible")
    said = words.text_content()
    assert any(word in said for word in ("Recomputed", "Predicted", "Reused", "Not started", "Finished")), said
    picture(page, SAMPLER, "hovered")
    page.mouse.move(box["x"], box["y"] - 300)
    plot.evaluate("plot => plot.blur()")
    words.wait_for_element_state("hidden")
    assert words.text_content() == ""


def test_preset_moves_the_sliders_and_a_slider_makes_it_custom(demo):
    page = demo
    assert values(page, SAMPLER, "preset", "threshold", "max_skip", "speed") == ["balanced", 1.0, 2, 2.5]
    choose(page, "preset", "fast", SAMPLER)
    assert values(page, SAMPLER, "preset", "threshold", "max_skip", "speed") == ["fast", 1.0, 2, 4.0]
    choose(page, "preset", "paper_fast", SAMPLER)
    assert values(page, SAMPLER, "speed") == [0]
    assert values(page, SAMPLER, "max_skip", "warm_up", "cache_threshold", "predict_threshold", "selective") == [
        5,
        5,
        0.18,
        0.42,
        "paper",
    ]
    choose(page, "preset", "off", SAMPLER)
    wait_for_headline(page, SAMPLER, "125 of 125")
    assert values(page, SAMPLER, "threshold") == [0]
    if page.name.endswith("nodes2"):
        node = page.locator(f"[data-node-id='{page.evaluate(f'{SAMPLER}.id')}']")
        assert (
            "off" in node.inner_text()
            and node.locator("input").evaluate_all("all => all.map(input => input.value)").count("0.00") >= 1
        )
    picture(page, SAMPLER, "off")
    choose(page, "max_skip", 7, SAMPLER)
    assert values(page, SAMPLER, "preset", "threshold", "max_skip") == ["custom", 0, 7]
    choose(page, "preset", "balanced", SAMPLER)
    choose(page, "steps", 30, SAMPLER)
    assert values(page, SAMPLER, "preset", "speed", "steps") == ["balanced", 2.5, 30]
    wait_for_headline(page, SAMPLER, "of 105 evaluations")


def test_of_dial_and_sliders_the_one_that_was_moved_counts(demo):
    page = demo
    assert "Thresholds and max_skip have no effect." in text(page, SAMPLER, "note")
    choose(page, "speed", 3.0, SAMPLER)
    assert values(page, SAMPLER, "preset", "threshold", "max_skip", "speed") == ["custom", 1.0, 2, 3.0]
    assert "Thresholds and max_skip have no effect." in text(page, SAMPLER, "note")
    picture(page, SAMPLER, "dial")
    choose(page, "max_skip", 3, SAMPLER)
    assert values(page, SAMPLER, "preset", "max_skip", "speed") == ["custom", 3, 0]
    assert "max_skip alone decides" in text(page, SAMPLER, "note")
    picture(page, SAMPLER, "limit")
    choose(page, "fidelity", 99, SAMPLER)
    wait_for_headline(page, SAMPLER, "No plan")
    assert "speed instead" in text(page, SAMPLER, "note") or "or for a speed" in text(page, SAMPLER, "note")
    choose(page, "speed", 3.0, SAMPLER)
    assert values(page, SAMPLER, "speed", "fidelity") == [3.0, 0]
    page.evaluate("() => app.loadGraphData(app.graph.serialize())")
    wait_until_at_rest(page)
    assert values(page, SAMPLER, "preset", "threshold", "max_skip", "speed") == ["custom", 1.0, 3, 3.0]


@pytest.mark.two_cells
def test_a_loaded_preset_moves_the_sliders(demo):
    page = demo
    page.evaluate(f"""() => {{ const workflow = app.graph.serialize();
        const node = workflow.nodes.find(node => node.title === 'SCOPE');
        const names = {SAMPLER}.widgets.map(widget => widget.name);
        node.widgets_values[names.indexOf('threshold')] = 0.3; node.widgets_values[names.indexOf('preset')] = 'fast';
        return app.loadGraphData(workflow) }}""")
    wait_until_at_rest(page)
    assert values(page, SAMPLER, "preset", "threshold", "speed") == ["fast", 1.0, 4.0]
    saved = page.evaluate("app.graph.serialize().nodes.find(node => node.title === 'SCOPE').widgets_values")
    assert "fast" in saved and 0.3 not in saved


@pytest.mark.two_cells
def test_a_custom_that_was_saved_before_the_dial_stays_one_of_thresholds(demo):
    page = demo
    page.evaluate(f"""() => {{ const workflow = app.graph.serialize();
        const node = workflow.nodes.find(node => node.title === 'SCOPE');
        const names = {SAMPLER}.widgets.map(widget => widget.name);
        node.widgets_values[names.indexOf('max_skip')] = 4; node.widgets_values[names.indexOf('preset')] = 'custom';
        node.widgets_values.length = names.indexOf('correct');
        node.inputs = node.inputs.filter(({{ name }}) => !['correct', 'speed', 'fidelity'].includes(name));
        return app.loadGraphData(workflow) }}""")
    wait_until_at_rest(page)
    names = ("preset", "threshold", "max_skip", "joint", "correct", "speed", "fidelity")
    assert values(page, SAMPLER, *names) == ["custom", 1.0, 4, False, False, 0, 0]
    assert "max_skip alone decides" in text(page, SAMPLER, "note")
    settings = node_of("SCOPE_Settings")
    page.evaluate(f"""() => {{ app.graph.add(LiteGraph.createNode('SCOPE_Settings'));
        const workflow = app.graph.serialize(), names = {settings}.widgets.map(widget => widget.name);
        const node = workflow.nodes.find(node => node.type === 'SCOPE_Settings');
        node.widgets_values[names.indexOf('method.preset')] = 'custom';
        node.widgets_values.length = names.indexOf('method.correct');
        return app.loadGraphData(workflow) }}""")
    wait_until_at_rest(page)
    assert values(page, settings, "method", "method.preset", "method.speed") == ["scope", "custom", 0]


@pytest.mark.two_cells
def test_settings_node_plans_the_sampler_and_keeps_its_preset_in_step(demo):
    page = demo
    page.evaluate(f"""() => {{ const settings = LiteGraph.createNode('SCOPE_Settings'); app.graph.add(settings);
        const sampler = {SAMPLER}; settings.connect(0, sampler, sampler.findInputSlot('settings'));
        app.graph.change() }}""")
    settings = node_of("SCOPE_Settings")
    before = text(page, SAMPLER, "headline")
    choose(page, "steps", 50, SAMPLER)  # tells the strip of the new link, as the end of a drag does for a user
    choose(page, "method.preset", "fast", settings)
    assert widget(page, settings, "method.speed") == 4
    assert text(page, SAMPLER, "headline") != before
    choose(page, "method.max_skip", 9, settings)
    assert values(page, settings, "method.preset", "method.speed") == ["custom", 0]
    choose(page, "method", "teacache", settings)
    teacache = text(page, SAMPLER, "headline")
    choose(page, "method.threshold", 0, settings)
    wait_for_headline(page, SAMPLER, "125 of 125")
    assert "fewer" in teacache


@pytest.mark.two_cells
def test_settings_that_make_no_sense_say_why(demo):
    page = demo
    for name, value in (("preset", "custom"), ("cache_threshold", 0.6), ("predict_threshold", 0.5)):
        choose(page, name, value, SAMPLER)
    wait_for_headline(page, SAMPLER, "No plan")
    assert "cache_threshold is 0.6" in text(page, SAMPLER, "note")
    assert strip(page, SAMPLER).query_selector(".scope-plot").is_hidden()
    picture(page, SAMPLER, "problem")
    choose(page, "preset", "balanced", SAMPLER)
    wait_for_headline(page, SAMPLER, "fewer")


@pytest.mark.two_cells
def test_schedule_says_why_a_length_was_rounded(demo):
    page = demo
    for name, value in (("window", 77), ("chunk", 5)):
        choose(page, name, value, SCHEDULE)
    assert "61" in text(page, SCHEDULE, "note") and "77" in text(page, SCHEDULE, "note")
    show(page, SCHEDULE)
    picture(page, SCHEDULE, "rounded")


@pytest.mark.two_cells
def test_plans_cross_the_border_of_a_subgraph(demo):
    page = demo
    wait_for_headline(page, SCHEDULE, "fewer")
    planned = text(page, SCHEDULE, "headline")
    page.evaluate("""() => { const nodes = app.graph._nodes.filter(node => node.type === 'SCOPE_Sampler');
        app.canvas.select(nodes[0]); app.canvas.select(nodes[1]); app.graph.convertToSubgraph(new Set(nodes)) }""")
    wait_until_at_rest(page)
    choose(page, "ar_step", 4, SCHEDULE)
    wait_for_headline(page, SCHEDULE, "of 110 evaluations")
    inner = "[...app.graph.subgraphs.values()][0]._nodes.find(node => node.title === 'SCOPE')"
    assert text(page, inner, "headline") == text(page, SCHEDULE, "headline") != planned
