"""Inputs that a person does not need are out of sight, and those that have no effect say so."""

import pytest
from gestures import choose, connect, load, node_of, show
from test_plan import strip, text
from waits import wait_until_at_rest

SAMPLER, SCHEDULE = node_of("SCOPE_Sampler"), node_of("SCOPE_ARSchedule")
SETTINGS, SWEEP = node_of("SCOPE_Settings"), node_of("SCOPE_Sweep")
ADD = """([kind, pos]) => {
    const node = LiteGraph.createNode(kind)
    node.pos = pos
    app.graph.add(node)
    app.canvas.ds.scale = 0.8
    app.canvas.ds.offset = [100, 100]
}"""
IN_SIGHT = """{node}.widgets.filter(widget => {node}.isWidgetRowVisible?.(widget) ?? {node}.isWidgetVisible(widget))
    .map(({{ name }}) => name)"""
DISABLED = "{node}.widgets.filter(({{ disabled }}) => disabled).map(({{ name }}) => name)"
SOCKETS = "{node}.inputs.map(({{ name }}) => name).filter(name => name.startsWith('settings_'))"


def add(page, kind: str, pos: tuple[int, int]):
    page.evaluate(ADD, [kind, pos])
    wait_until_at_rest(page)


def height(page, node: str) -> float:
    return page.evaluate(f"{node}.size[1]")


def test_inputs_for_experts_are_folded(page):
    add(page, "SCOPE_Sampler", (100, 0))
    if page.name.endswith("nodes2"):
        node = page.locator(f"[data-node-id='{page.evaluate(f'{SAMPLER}.id')}']")
        assert "warm_up" not in node.inner_text() and "more inputs" not in node.inner_text()
        return
    sight = IN_SIGHT.format(node=SAMPLER)
    folded, before = page.evaluate(sight), height(page, SAMPLER)
    assert "speed" in folded and not {"warm_up", "solver", "fidelity"} & set(folded)
    assert page.evaluate(f"{SAMPLER}.computeSize()[1]") <= before < 700
    page.shot("inputs_folded")
    page.evaluate(f"{SAMPLER}.widgets.find(widget => widget.name === 'scope_fold').callback()")
    wait_until_at_rest(page)
    opened = page.evaluate(sight)
    assert {"warm_up", "solver", "fidelity"} < set(opened)
    assert height(page, SAMPLER) - before == 24 * (len(opened) - len(folded))
    page.shot("inputs_open")
    page.evaluate(f"{SAMPLER}.widgets.find(widget => widget.name === 'scope_fold').callback()")
    wait_until_at_rest(page)
    assert page.evaluate(sight) == folded and height(page, SAMPLER) == before
    page.evaluate(f"{SAMPLER}.widgets.find(widget => widget.name === 'scope_fold').callback()")
    page.evaluate("() => app.loadGraphData(app.graph.serialize())")
    wait_until_at_rest(page)
    assert page.evaluate(sight) == opened
    assert "scope_fold" not in str(page.evaluate("app.graphToPrompt()"))


def test_a_connected_expert_input_stays_in_sight(page):
    if page.name.endswith("nodes2"):
        pytest.skip("Nodes 2.0 folds by itself")
    add(page, "SCOPE_Sampler", (400, 0))
    add(page, "PrimitiveInt", (0, 0))
    slot = f"{SAMPLER}.inputs.findIndex(({{ name }}) => name === 'warm_up')"
    page.evaluate(f"() => {{ {node_of('PrimitiveInt')}.connect(0, {SAMPLER}, {slot}) }}")
    wait_until_at_rest(page)
    assert "warm_up" in page.evaluate(IN_SIGHT.format(node=SAMPLER))


def test_inputs_without_effect_are_disabled_and_say_why(page):
    load(page, "01 Demo - Text to video")
    disabled = [DISABLED.format(node=node) for node in (SAMPLER, SCHEDULE)]
    assert page.evaluate(disabled[0]) == ["joint"] and page.evaluate(disabled[1]) == ["overlap"]
    tooltip = page.evaluate(f"{SCHEDULE}.widgets.find(({{ name }}) => name === 'overlap').tooltip")
    assert tooltip == "No effect: there is one segment."
    choose(page, "window", 41, SCHEDULE)
    assert page.evaluate(disabled[1]) == []
    label = page.evaluate(f"{SCHEDULE}.widgets.find(({{ name }}) => name === 'overlap').label")
    assert label in (None, "overlap")

    add(page, "SCOPE_Settings", (420, 400))
    slot = f"{SAMPLER}.inputs.findIndex(({{ name }}) => name === 'settings')"
    page.evaluate(f"() => {{ {SETTINGS}.connect(0, {SAMPLER}, {slot}) }}")
    choose(page, "steps", 40, SAMPLER)
    assert {"preset", "threshold", "speed", "fidelity"} < set(page.evaluate(disabled[0]))
    assert "steps" not in page.evaluate(disabled[0])
    assert "The connected settings replace the preset and the sliders." in text(page, SAMPLER, "note")
    page.shot("inputs_replaced")


def test_sockets_of_a_sweep_grow_as_they_are_used(page):
    add(page, "SCOPE_Sweep", (600, 0))
    add(page, "SCOPE_Settings", (0, 0))
    sockets = SOCKETS.format(node=SWEEP)
    assert page.evaluate(sockets) == ["settings_1"]
    connect(page, SETTINGS, SWEEP, "settings_1")
    assert page.evaluate(sockets) == ["settings_1", "settings_2"]
    connect(page, SETTINGS, SWEEP, "settings_2")
    assert page.evaluate(sockets) == ["settings_1", "settings_2", "settings_3"]
    page.shot("sockets")
    page.evaluate("() => app.loadGraphData(app.graph.serialize())")
    wait_until_at_rest(page)
    assert page.evaluate(sockets) == ["settings_1", "settings_2", "settings_3"]
    prompt = page.evaluate("app.graphToPrompt()")["output"]
    (inputs,) = [node["inputs"] for node in prompt.values() if node["class_type"] == "SCOPE_Sweep"]
    assert {name for name in inputs if name.startswith("settings_")} == {"settings_1", "settings_2"}
    page.evaluate(f"""() => {{ const slot = {SWEEP}.inputs.findIndex(({{ name }}) => name === 'settings_2')
        {SWEEP}.disconnectInput(slot) }}""")
    wait_until_at_rest(page)
    assert page.evaluate(sockets) == ["settings_1", "settings_2"]


@pytest.mark.two_cells
def test_a_sweep_takes_one_more_prompt_at_a_time(page):
    add(page, "SCOPE_Sweep", (600, 0))
    add(page, "ConditioningZeroOut", (0, 0))
    prompts = SOCKETS.format(node=SWEEP).replace("settings_", "positive")
    assert page.evaluate(prompts) == ["positive", "positive_2"]
    connect(page, node_of("ConditioningZeroOut"), SWEEP, "positive_2")
    assert page.evaluate(prompts) == ["positive", "positive_2", "positive_3"]
    page.evaluate("() => app.loadGraphData(app.graph.serialize())")
    wait_until_at_rest(page)
    assert page.evaluate(prompts) == ["positive", "positive_2", "positive_3"]


def test_settings_show_their_plan_and_a_legend(page):
    add(page, "SCOPE_Settings", (0, 0))
    assert "of 50 evaluations" in text(page, SETTINGS, "headline")
    legend = strip(page, SETTINGS).query_selector(".scope-legend").inner_text()
    assert "Recompute" in legend and "Predict" in legend
    choose(page, "method.speed", 4.0, SETTINGS)
    assert "12 of 50 evaluations" in text(page, SETTINGS, "headline")
    page.shot("settings_plan", strip(page, SETTINGS))


SHOWN = f"() => {SETTINGS}.widgets.map(({{ name }}) => name).filter(name => name.startsWith('method'))"
SAVED = f"() => {SETTINGS}.serialize().widgets_values"
NAMED = f"() => Object.fromEntries({SETTINGS}.widgets.map(({{ name, value }}) => [name, value]))"
OLD = ["teacache", 0.2, "none", "modulation", 4, 3, 2, "custom"]
"""Values of SCOPE Settings as every earlier version has saved them, the preset last."""
READ_OLD = """values => {
    const node = LiteGraph.createNode('SCOPE_Settings')
    app.graph.add(node)
    return app.loadGraphData({ ...app.graph.serialize(), nodes: [{ ...node.serialize(), widgets_values: values }] })
}"""
STATE = "() => { app.canvas.emitBeforeChange(); app.canvas.emitAfterChange() }"
"""A state that undo comes back to."""
COPY = f"""() => {{
    const copy = {SETTINGS}.clone()
    app.graph.add(copy)
    return Object.fromEntries(copy.widgets.map(({{ name, value }}) => [name, value]))
}}"""


@pytest.mark.two_cells
def test_the_preset_of_every_method_stands_first_and_is_saved_where_it_was(page):
    page.evaluate(READ_OLD, OLD)
    wait_until_at_rest(page)
    assert page.evaluate(SHOWN)[:3] == ["method", "method.preset", "method.threshold"]
    assert page.evaluate(SAVED) == OLD
    named = page.evaluate(NAMED)
    assert (named["method.threshold"], named["method.max_skip"], named["method.tail"]) == (0.2, 4, 2)
    show(page, SETTINGS)
    page.shot("preset_first")
    copied = page.evaluate(COPY)
    assert all(copied[name] == value for name, value in named.items() if name.startswith("method"))
    for method in ("magcache", "scope", "flowcache", "taylorseer", "teacache"):
        choose(page, "method", method, SETTINGS)
        assert page.evaluate(SHOWN)[:2] == ["method", "method.preset"], method
    before = page.evaluate(SAVED)
    page.evaluate(STATE)
    choose(page, "method.threshold", 0.3, SETTINGS)
    page.evaluate(STATE)
    saved = page.evaluate(SAVED)
    assert saved == [before[0], 0.3, *before[2:]] and saved[-1] == "custom" and len(saved) == len(OLD)
    page.evaluate("() => { document.activeElement?.blur(); app.canvas.canvas.focus() }")
    for keys, expected in (("Control+z", before), ("Control+y", saved)):
        page.keyboard.press(keys)
        wait_until_at_rest(page)
        assert page.evaluate(SAVED) == expected
        assert page.evaluate(SHOWN)[:2] == ["method", "method.preset"]
    page.evaluate("graph => app.loadGraphData(graph)", page.evaluate("app.graph.serialize()"))
    wait_until_at_rest(page)
    assert page.evaluate(SAVED) == saved
    assert not [text for text in page.problems if "scope" in text.lower()]
