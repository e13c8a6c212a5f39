"""Inputs that a person does not need are out of sight, and those that have no effect say so."""

import pytest
from gestures import choose, connect, load, node_of
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
    load(page, "01_demo_text_to_video")
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


def test_settings_show_their_plan_and_a_legend(page):
    add(page, "SCOPE_Settings", (0, 0))
    assert "of 50 evaluations" in text(page, SETTINGS, "headline")
    legend = strip(page, SETTINGS).query_selector(".scope-legend").inner_text()
    assert "Recompute" in legend and "Predict" in legend
    choose(page, "method.speed", 4.0, SETTINGS)
    assert "12 of 50 evaluations" in text(page, SETTINGS, "headline")
    page.shot("settings_plan", strip(page, SETTINGS))
