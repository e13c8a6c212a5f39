"""Steps, guidance, shift and solver follow the schedule that a person connects, and nothing else moves them."""

import pytest
from gestures import choose, connect, load, node_of, values
from waits import wait_until_at_rest

SKYREELS, MAGI, CAUSAL_WAN = [50, 6, 8, "unipc"], [64, 7.5, 3, "euler"], [50, 3, 5, "unipc"]
NAMES = ("steps", "cfg", "shift", "solver")
AR_NODE, MAGI_NODE, SAMPLER = node_of("SCOPE_ARSchedule"), node_of("SCOPE_MagiSchedule"), node_of("SCOPE_Sampler")
REROUTE = node_of("Reroute")
EMPTY = {
    "version": 0.4,
    "last_node_id": 0,
    "last_link_id": 0,
    "nodes": [],
    "links": [],
    "groups": [],
    "config": {},
    "extra": {},
}
ADD = """places => {
    app.canvas.ds.scale = 0.7
    app.canvas.ds.offset = [100, 100]
    for (const [kind, pos] of places) {
        const node = LiteGraph.createNode(kind)
        node.pos = pos
        app.graph.add(node)
    }
}"""
COPY = """connectInputs => {
    app.canvas.copyToClipboard(app.graph._nodes.filter(node => node.type === 'SCOPE_Sampler').slice(0, 1))
    app.canvas.pasteFromClipboard({ connectInputs })
}"""
PROMPT = {
    "1": {"class_type": "SCOPE_MagiSchedule", "inputs": {"length": 96}},
    "2": {"class_type": "SCOPE_Sampler", "inputs": {"schedule": ["1", 0], **dict(zip(NAMES, SKYREELS))}},
}
LAST_SAMPLER = "app.graph._nodes.findLast(node => node.type === 'SCOPE_Sampler')"


@pytest.fixture
def loose(page):
    """Two schedules, a reroute and three samplers, which nothing connects."""
    places = {
        "SCOPE_ARSchedule": [0, 0],
        "SCOPE_MagiSchedule": [0, 800],
        "Reroute": [600, 200],
        "SCOPE_Sampler": [900, 0],
        "SCOPE_Sweep": [1400, 0],
        "SCOPE_Calibrate": [1400, 800],
    }
    page.evaluate("workflow => app.loadGraphData(workflow)", EMPTY)
    page.evaluate(ADD, list(places.items()))
    wait_until_at_rest(page)
    assert values(page, SAMPLER, *NAMES) == SKYREELS
    return page


def test_untouched_widgets_follow_the_schedule(loose):
    page = loose
    for sampler in (SAMPLER, node_of("SCOPE_Sweep"), node_of("SCOPE_Calibrate")):
        connect(page, MAGI_NODE, sampler, "schedule")
        assert values(page, sampler, *NAMES) == MAGI
    page.shot("defaults_followed")
    connect(page, AR_NODE, SAMPLER, "schedule")
    assert values(page, SAMPLER, *NAMES) == SKYREELS
    connect(page, REROUTE, SAMPLER, "schedule")
    assert values(page, SAMPLER, *NAMES) == SKYREELS
    connect(page, MAGI_NODE, REROUTE, "")
    assert values(page, SAMPLER, *NAMES) == MAGI
    assert not [problem for problem in page.problems if "scope" in problem.lower()]


def test_where_a_schedule_is_for_models_of_two_families_the_model_decides(loose):
    """What Python answers of a file of causal Wan is tested inside of ComfyUI."""
    page = loose
    page.route("**/scope/family", lambda route: route.fulfill(json={"family": "causal_wan"}))
    try:
        connect(page, AR_NODE, SAMPLER, "schedule")
        assert values(page, SAMPLER, *NAMES) == CAUSAL_WAN
    finally:
        page.unroute("**/scope/family")
    connect(page, MAGI_NODE, SAMPLER, "schedule")
    assert values(page, SAMPLER, *NAMES) == MAGI
    connect(page, AR_NODE, SAMPLER, "schedule")
    assert values(page, SAMPLER, *NAMES) == SKYREELS


def test_a_widget_that_was_changed_by_hand_holds_all_of_them(loose):
    page = loose
    connect(page, AR_NODE, SAMPLER, "schedule")
    choose(page, "steps", 40, SAMPLER)
    connect(page, MAGI_NODE, SAMPLER, "schedule")
    assert values(page, SAMPLER, *NAMES) == [40, *SKYREELS[1:]]


def test_a_graph_means_the_same_when_it_is_loaded_copied_and_undone(loose):
    """Its sampler has the defaults of SkyReels under a schedule of MAGI-1, which is behind a reroute."""
    page = loose
    choose(page, "steps", 40, SAMPLER)
    connect(page, REROUTE, SAMPLER, "schedule")
    connect(page, MAGI_NODE, REROUTE, "")
    choose(page, "steps", 50, SAMPLER)
    page.evaluate("() => app.loadGraphData(app.graph.serialize())")
    wait_until_at_rest(page)
    assert values(page, SAMPLER, *NAMES) == SKYREELS
    for connect_inputs in (False, True):
        page.evaluate(COPY, connect_inputs)
        wait_until_at_rest(page)
        assert values(page, LAST_SAMPLER, *NAMES) == SKYREELS
    assert page.evaluate(f"{LAST_SAMPLER}.getInputNode({LAST_SAMPLER}.findInputSlot('schedule')).type") == "Reroute"
    page.evaluate(f"() => {{ while ({LAST_SAMPLER} !== {SAMPLER}) app.graph.remove({LAST_SAMPLER}) }}")
    connect(page, AR_NODE, SAMPLER, "schedule")
    connect(page, MAGI_NODE, SAMPLER, "schedule")
    assert values(page, SAMPLER, *NAMES) == MAGI
    page.keyboard.press("Control+z")
    wait_until_at_rest(page)
    assert values(page, SAMPLER, *NAMES) == SKYREELS
    page.evaluate("prompt => app.loadApiJson(prompt, 'of MAGI-1')", PROMPT)
    wait_until_at_rest(page)
    assert values(page, SAMPLER, *NAMES) == SKYREELS


@pytest.mark.two_cells
@pytest.mark.parametrize("name", ["05 SkyReels-V2 - Text to video", "10 MAGI-1 - Text to video"])
def test_a_workflow_keeps_what_was_saved(page, name):
    workflow = load(page, name)
    saved = next(node["widgets_values"] for node in workflow["nodes"] if node["type"] == "SCOPE_Sampler")
    assert values(page, SAMPLER, *NAMES) == [*saved[2:5], saved[18]]
