"""Every node of the pack as a user meets it, in each of the four cells: one screenshot, nothing cut off and nothing
covered."""

from itertools import pairwise

import numpy as np
from waits import resize, wait_until_at_rest

ROW_WIDTH = 2500
ADD = """names => {
    app.canvas.ds.scale = 1
    app.canvas.ds.offset = [0, 0]
    const nodes = names.map(name => LiteGraph.createNode(name))
    nodes.forEach((node, index) => { node.pos = [600 * index, 0]; app.graph.add(node) })
}"""
LAY_OUT = """rowWidth => {
    let [x, y, tallest, widest] = [0, 0, 0, 0]
    for (const node of app.graph._nodes) {
        const { width, height } = boxOf(node)
        if (x + width > rowWidth) [x, y, tallest] = [0, y + tallest + 30, 0]
        node.pos = [80 + x, 150 + y]
        x += width + 30
        tallest = Math.max(tallest, height)
        widest = Math.max(widest, x)
    }
    app.canvas.setDirty(true, true)
    return [80 + widest, 150 + y + tallest]

    function boxOf(node) {
        const element = document.querySelector(`[data-node-id="${node.id}"]`)
        const [width, height] = node.size
        return element ? element.getBoundingClientRect() : { width, height: height + LiteGraph.NODE_TITLE_HEIGHT }
    }
}"""
MEASURE = """() => {
    const lineHeight = LiteGraph.NODE_WIDGET_HEIGHT
    const sides = ({ left, top, right, bottom }) => [left, top, right, bottom]
    const { scale, offset } = app.canvas.ds
    const overflow = part => [part.scrollWidth - part.clientWidth, part.scrollHeight - part.clientHeight]
    const onScreen = (x, y, width, height) => {
        const [left, top] = [x + offset[0], y + offset[1]]
        return [left, top, left + width, top + height].map(n => n * scale)
    }
    return app.graph._nodes.map(node => {
        const [x, y] = node.pos
        const vue = document.querySelector(`[data-node-id="${node.id}"]`)
        const title = LiteGraph.NODE_TITLE_HEIGHT
        const widgets = (node.widgets ?? []).filter(widget => node.isWidgetVisible(widget))
        const isShown = element =>  // Nodes 2.0 has text boxes of its own
            element && (element.isConnected || element.matches('.scope-panel'))
        const elements = widgets.map(widget => widget.element).filter(isShown)
        return {
            type: node.type,
            box: vue ? sides(vue.getBoundingClientRect()) : onScreen(x, y - title, node.size[0], node.size[1] + title),
            widgets: vue ? [...vue.querySelectorAll('.lg-node-widget')].map(row => sides(row.getBoundingClientRect()))
                : widgets.map(row => onScreen(x, y + row.y, node.size[0], row.computedHeight ?? lineHeight)),
            displays: elements.map(element => ({
                box: sides(element.getBoundingClientRect()),
                room: sides(element.parentElement.getBoundingClientRect()),
                hidden: [element, ...element.children].flatMap(overflow),
            })),
        }
    })
}"""


def test_every_node_is_shown_whole(page, server):
    names = [name for name in server.object_info() if name.startswith("SCOPE_")]
    page.evaluate(ADD, names)
    wait_until_at_rest(page)
    width, height = page.evaluate(LAY_OUT, ROW_WIDTH)
    resize(page, {"width": int(width) + 60, "height": int(height) + 60})
    wait_until_at_rest(page)
    picture = page.shot("nodes")
    nodes = page.evaluate(MEASURE)
    assert [node["type"] for node in nodes] == names
    complaints = [complaint for node in nodes for complaint in complaints_about(node, picture)]
    assert not complaints, "\n".join(complaints)
    assert not [text for text in page.problems if "scope" in text.lower()]


def complaints_about(node: dict, picture: np.ndarray):
    name, box = node["type"], node["box"]
    if not within(box, [0, 0, picture.shape[1], picture.shape[0]]):
        yield f"{name} is outside the picture: {box}"
    left, top, right, bottom = (int(side) for side in box)
    if len(np.unique(picture[top:bottom, left:right].reshape(-1, 3), axis=0)) < 20:
        yield f"{name} is not drawn"
    rows = sorted(node["widgets"], key=lambda row: row[1])
    for upper, lower in pairwise(rows):
        if upper[3] > lower[1] + 1:
            yield f"{name}: widget {upper} covers {lower}"
    for display in node["displays"]:
        if not within(display["box"], box):
            yield f"{name}: its display {display['box']} sticks out of the node {box}"
        if not within(display["box"], display["room"]):
            yield f"{name}: its display {display['box']} is larger than its room {display['room']}"
        if max(display["hidden"]) > 1:
            yield f"{name}: part of its display can only be seen by scrolling: {display['hidden']}"


def within(inner: list, outer: list) -> bool:
    return (
        inner[0] >= outer[0] - 1 and inner[1] >= outer[1] - 1 and inner[2] <= outer[2] + 1 and inner[3] <= outer[3] + 1
    )
