"""Blueprints: whole graphs that the node search offers as one node."""

import json
import urllib.parse

import pytest
from gestures import run
from playwright.sync_api import TimeoutError as TooLong
from waits import open_page, wait_until_at_rest

from workflows.launcher import PACK

BLUEPRINTS = sorted(path.stem for path in (PACK / "subgraphs").glob("*.json"))
BOX = "[role=dialog] input, .p-autocomplete-input, [data-testid='node-search-input']"
FOUND = "[role=option], [data-testid='result-item'], .p-autocomplete-option"
QUICK = {"steps": 10, "length": 29, "ar_step": 2}
WIRE = """([quick, sinks]) => {
    const [whole] = app.graph._nodes
    for (const [name, value] of Object.entries(quick)) whole.widgets.find(widget => widget.name === name).value = value
    const demo = LiteGraph.createNode("SCOPE_LoadDemo")
    app.graph.add(demo)
    for (const name of ["model", "clip", "vae"]) {
        const output = demo.outputs.findIndex(({ type }) => type === name.toUpperCase())
        demo.connect(output, whole, whole.inputs.findIndex(input => input.name === name))
    }
    for (const [kind, input, output] of sinks) {
        const sink = app.graph._nodes.find(({ type }) => type === kind) ?? LiteGraph.createNode(kind)
        if (!sink.graph) app.graph.add(sink)
        const from = whole.outputs.findIndex(({ name }) => name === output)
        whole.connect(from, sink, sink.inputs.findIndex(({ name }) => name === input))
    }
}"""
SINKS = {
    "AR video with SCOPE": [["PreviewImage", "images", "IMAGE"], ["SCOPE_Timeline", "trace", "trace"]],
    "Compare with and without SCOPE": [
        ["SCOPE_Compare", "a", "without SCOPE"],
        ["SCOPE_Compare", "b", "with SCOPE"],
        ["SCOPE_SaveReport", "trace", "trace"],
        ["SCOPE_SaveReport", "quality", "quality"],
    ],
}


@pytest.fixture
def fresh(page, server):
    """A page of its own in the same cell."""
    other = open_page(page.context.browser, server.url, page.viewport_size)
    other.evaluate("app.graph.clear()")
    wait_until_at_rest(other)
    other.shot = lambda name: page.shot(name, other)
    yield other
    other.context.close()


def search(page, words: str, name: str, among: int = 1, place: tuple = (900, 700)):
    """Double-click the canvas and type, until a name is among the first that are found."""
    wait_until_searched(page)
    for tries_left in reversed(range(6)):
        page.mouse.dblclick(*place)
        try:
            page.wait_for_selector(BOX, timeout=10_000)
            break
        except TooLong:  # a busy page took the two clicks for single ones
            if not tries_left:
                raise
    page.locator(BOX).first.press_sequentially(words)  # others belong to the picture of a found node
    page.wait_for_function(
        "([found, name, among]) => [...document.querySelectorAll(found)].slice(0, among)"
        ".some(({ textContent }) => textContent.trim().startsWith(name))",
        arg=[FOUND, name, among],
    )


def wait_until_searched(page):
    """The dialog of the search fades out over the canvas, and takes clicks while it does."""
    page.locator(BOX).first.wait_for(state="hidden")


def test_they_are_served_with_what_they_are_for(server):
    _, served = server.request("GET", "/global_subgraphs")
    ours = {one["name"]: key for key, one in served.items() if one["info"]["node_pack"].endswith("scope-for-comfyui")}
    assert sorted(ours) == BLUEPRINTS == sorted(SINKS)
    known = server.object_info()
    for name, key in ours.items():
        graph = json.loads(server.request("GET", f"/global_subgraphs/{urllib.parse.quote(key)}")[1]["data"])
        (whole,), (inside,) = graph["nodes"], graph["definitions"]["subgraphs"]
        assert whole["type"] == inside["id"] and inside["name"] == whole["title"] == name
        assert inside["description"] and inside["category"] == "SCOPE"
        assert {node["type"] for node in inside["nodes"]} <= set(known)


@pytest.mark.two_cells
@pytest.mark.parametrize("name", BLUEPRINTS)
def test_one_node_runs_with_the_demo(fresh, name):
    search(fresh, name, name)
    fresh.keyboard.press("Enter")
    fresh.wait_for_function("name => app.graph._nodes.some(({ title }) => title === name)", arg=name)
    wait_until_searched(fresh)
    fresh.mouse.click(900, 700)  # puts it down
    fresh.evaluate(WIRE, [QUICK, SINKS[name]])
    wait_until_at_rest(fresh)
    fresh.shot(name.replace(" ", "_"))
    run(fresh)
    said = fresh.evaluate(
        "[...document.querySelectorAll('.scope-timeline, .scope-compare, .scope-report textarea')]"
        ".map(element => element.value ?? element.textContent).join(' ')"
    )
    assert "evaluations" in said and "fewer" in said
    fresh.shot(f"{name.replace(' ', '_')}_run")
    assert not [text for text in fresh.problems if "scope" in text.lower()], fresh.problems


@pytest.mark.two_cells
def test_the_search_finds_the_sampler(page):
    """Among names that begin with the word, the frontend puts those with the shortest ids first."""
    search(page, "speed up video", "SCOPE Sampler")
    page.keyboard.press("Escape")
    wait_until_at_rest(page)
    search(page, "scope", "SCOPE Sampler", among=3)
    page.keyboard.press("Escape")
