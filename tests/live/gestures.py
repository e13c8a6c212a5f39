"""What a person does in ComfyUI, on both canvases. Each returns when its effect can be seen."""

from waits import wait_until_at_rest

from workflows import examples

QUICK = {"steps": 10, "length": 29, "ar_step": 2}
"""Widgets of a demo that is run."""
LOAD = """([workflow, values]) => app.loadGraphData(workflow).then(() => app.graph._nodes.forEach(node =>
    (node.widgets ?? []).forEach(widget => {
        if (!(widget.name in values)) return
        widget.value = values[widget.name]
        widget.callback?.(widget.value, app.canvas, node)
    })))"""
CENTRE = """() => {{
    app.canvas.ds.scale = 1
    app.canvas.centerOnNode({node})
    app.canvas.setDirty(true, true)
}}"""
CHOOSE = """([name, value]) => {{
    const node = {node}, widget = node.widgets.find(widget => widget.name === name)
    widget.value = value
    widget.callback(value, app.canvas, node)
}}"""
SLOTS = """name => {{
    const origin = {origin}, target = {target}, {{ ds, canvas }} = app.canvas
    const {{ left, top }} = canvas.getBoundingClientRect()
    const places = [origin.getOutputPos(0), target.getInputPos(target.inputs.findIndex(input => input.name === name))]
    return places.map(place => ds.convertOffsetToCanvas(place)).map(([x, y]) => [x + left, y + top])
}}"""
QUEUE = """async paced => {
    window.isPaced = paced
    window.outcome = ""
    const over = new AbortController()
    const end = outcome => {
        window.outcome = outcome
        over.abort()
    }
    for (const kind of ["execution_success", "execution_error", "execution_interrupted"]) {
        app.api.addEventListener(kind, ({ detail }) => end([kind, detail]), { signal: over.signal })
    }
    if (await app.queuePrompt(0) === false) end(["refused", app.lastNodeErrors])
}"""


def node_of(kind: str, title: str = "") -> str:
    """The expression that gives a node of the open workflow."""
    has_title = f" && node.title === '{title}'" if title else ""
    return f"app.graph._nodes.find(node => node.type === '{kind}'{has_title})"


def load(page, name: str, **values) -> dict:
    """Open a workflow; widgets of these names are set in all nodes."""
    workflow = examples.load(name)
    page.evaluate(LOAD, [workflow, values])
    page.keyboard.press("Escape")
    wait_until_at_rest(page)
    return workflow


def show(page, node: str):
    page.evaluate(CENTRE.format(node=node))
    wait_until_at_rest(page)


def choose(page, name: str, value, node: str):
    """What both canvases do when a person chooses a value of a widget."""
    page.evaluate(CHOOSE.format(node=node), [name, value])
    wait_until_at_rest(page)


def widget(page, node: str, name: str):
    return page.evaluate(f"name => {node}.widgets.find(widget => widget.name === name)?.value", name)


def values(page, node: str, *names: str) -> list:
    return [widget(page, node, name) for name in names]


def connect(page, origin: str, target: str, name: str):
    """Drag a link from the first output of a node to an input of another."""
    start, end = page.evaluate(SLOTS.format(origin=origin, target=target), name)
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=5)
    wait_until_at_rest(page)
    page.mouse.up()
    wait_until_at_rest(page)


def run(page, paced=False):
    """Run the open workflow until all it puts out is shown. `paced`: each live event is drawn before the next is
    heard."""
    page.evaluate(QUEUE, paced)
    kind, detail = page.wait_for_function("window.outcome", timeout=300_000).json_value()
    assert kind == "execution_success", detail
    wait_until_at_rest(page)
