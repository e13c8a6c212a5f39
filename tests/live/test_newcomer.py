"""From an empty canvas to an accelerated video as a person gets there: with the node search and the mouse."""

import pytest
from test_blueprints import search, wait_until_searched
from waits import wait_for_words, wait_until_at_rest

KEY, POINT, BUTTON, HOME, THINK = 0.28, 1.1, 0.1, 0.4, 1.35
"""Seconds that a person takes to press a key, to point, to press or let go of a button, to move a hand between mouse
and keyboard, and to decide what to do next (Card, Moran and Newell, "The keystroke-level model", 1980)."""
NODES = {
    "SCOPE_LoadDemo": ("scope demo", "Load SCOPE Demo", (300, 160)),
    "AR video with SCOPE": ("ar video", "AR video with SCOPE", (650, 160)),
    "CreateVideo": ("create video", "Create Video", (1100, 160)),
    "SaveVideo": ("save video", "Save Video", (1500, 160)),
    "SCOPE_Timeline": ("scope timeline", "SCOPE Timeline", (1200, 560)),
}
WIRES = [
    ("SCOPE_LoadDemo", "MODEL", "AR video with SCOPE", "model"),
    ("SCOPE_LoadDemo", "CLIP", "AR video with SCOPE", "clip"),
    ("SCOPE_LoadDemo", "VAE", "AR video with SCOPE", "vae"),
    ("AR video with SCOPE", "IMAGE", "CreateVideo", "images"),
    ("CreateVideo", "VIDEO", "SaveVideo", "video"),
    ("AR video with SCOPE", "trace", "SCOPE_Timeline", "trace"),
]
SLOTS = """([output, input]) => {{
    const origin = {origin}, target = {target}, {{ ds, canvas }} = app.canvas
    const {{ left, top }} = canvas.getBoundingClientRect()
    const from = origin.getOutputPos(origin.outputs.findIndex(({{ name }}) => name === output))
    const to = target.getInputPos(target.inputs.findIndex(({{ name }}) => name === input))
    return [from, to].map(place => ds.convertOffsetToCanvas(place)).map(([x, y]) => [x + left, y + top])
}}"""
LINKED = "name => {target}.inputs.find(input => input.name === name).link !== null"
VIDEO = "() => [...document.querySelectorAll('video')].some(({ readyState }) => readyState >= 2)"


class Person:
    def __init__(self, page):
        self.page, self.seconds = page, 0.0

    def takes(self, *parts: float):
        self.seconds += sum(parts)

    def add(self, words: str, name: str, place: tuple):
        """Double-click, type, press Enter, and put the node down where the mouse is."""
        count = self.page.evaluate("app.graph._nodes.length")
        search(self.page, words, name, place=place)
        self.page.keyboard.press("Enter")
        self.page.wait_for_function("count => app.graph._nodes.length > count", arg=count)
        wait_until_searched(self.page)
        wait_until_at_rest(self.page)  # the node hangs at the mouse
        self.page.mouse.click(*place)
        self.page.wait_for_function("app.canvas.state.ghostNodeId === null")
        wait_until_at_rest(self.page)
        self.takes(THINK, POINT, 4 * BUTTON, HOME, len(words) * KEY, THINK, KEY, HOME, 2 * BUTTON)

    def wire(self, origin: str, output: str, target: str, name: str):
        """Drag from an output to an input."""
        start, end = self.page.evaluate(SLOTS.format(origin=origin, target=target), [output, name])
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=5)
        wait_until_at_rest(self.page)
        self.page.mouse.up()
        wait_until_at_rest(self.page)
        assert self.page.evaluate(LINKED.format(target=target), name), (origin, output, target, name)
        self.takes(THINK, POINT, BUTTON, POINT, BUTTON)

    def run(self):
        self.page.get_by_test_id("queue-button").click()
        self.takes(THINK, POINT, 2 * BUTTON)


@pytest.mark.two_cells
def test_from_an_empty_canvas_to_an_accelerated_video_in_less_than_two_minutes_of_actions(page):
    person = Person(page)
    for words, name, place in NODES.values():
        person.add(words, name, place)
    node = {kind: f"app.graph._nodes.find(({{ title, type }}) => [title, type].includes('{kind}'))" for kind in NODES}
    for origin, output, target, name in WIRES:
        person.wire(node[origin], output, node[target], name)
    page.shot("newcomer_before")
    person.run()
    page.wait_for_function(VIDEO)
    wait_for_words(page, page.locator(".scope-timeline").element_handle(), "48 of 125 evaluations, 2.60x fewer")
    wait_until_at_rest(page)
    page.shot("newcomer")
    print(f"{person.seconds:.0f} s of actions")
    assert person.seconds < 120
