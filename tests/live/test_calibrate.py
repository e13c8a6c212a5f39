"""SCOPE Calibrate in the browser: what was found can be given to another node, and taken back."""

import pytest
from gestures import QUICK, load, node_of, run, show, values, widget
from test_plan import SAMPLER
from waits import wait_until_at_rest

CALIBRATE, SETTINGS = map(node_of, ("SCOPE_Calibrate", "SCOPE_Settings"))
BESIDE = f"""method => {{
    const sampler = {SAMPLER}, node = LiteGraph.createNode('SCOPE_Calibrate')
    node.pos = [0, -900]
    app.graph.add(node)
    for (const input of node.inputs.filter(({{ widget }}) => !widget)) {{
        const slot = sampler.inputs.findIndex(({{ name }}) => name === input.name)
        const link = sampler.getInputLink(slot)
        if (link) app.graph.getNodeById(link.origin_id).connect(link.origin_slot, node, node.inputs.indexOf(input))
    }}
    for (const {{ name, value }} of sampler.widgets.filter(({{ name }}) => name !== 'speed')) {{
        const own = node.widgets.find(widget => widget.name === name)
        if (own) own.value = value
    }}
    node.widgets.find(({{ name }}) => name === 'method').value = method
}}"""
"""A SCOPE Calibrate with what the sampler of the graph has."""
ADD_SETTINGS = """() => {
    const node = LiteGraph.createNode('SCOPE_Settings')
    node.pos = [900, -900]
    app.graph.add(node)
}"""


def panel(page):
    return page.locator(".scope-calibration").first


@pytest.mark.two_cells
@pytest.mark.parametrize("method, target", [("scope", SAMPLER), ("teacache", SETTINGS)], ids=["sampler", "settings"])
def test_what_was_found_is_given_to_a_node_and_taken_back(page, method, target):
    load(page, "01_demo_text_to_video", **QUICK)
    page.evaluate(BESIDE, method)
    if target == SETTINGS:
        page.evaluate(ADD_SETTINGS)
    wait_until_at_rest(page)
    run(page)
    show(page, CALIBRATE)
    assert "x fewer evaluations" in panel(page).inner_text()
    page.shot(f"calibrate_{method}", panel(page))
    before = page.evaluate(f"{target}.widgets.filter(({{ serialize }}) => serialize !== false).map(one => one.value)")
    panel(page).get_by_role("button", name="Apply").click()
    wait_until_at_rest(page)
    assert "is set to" in panel(page).inner_text()
    page.shot(f"calibrate_{method}_applied", panel(page))
    if target == SAMPLER:
        assert widget(page, target, "preset") == "custom" and widget(page, target, "speed") == 0
        found = panel(page).inner_text()
        names = ("threshold", "max_skip", "decay")
        assert any(f"{name} {value:g}" in found for name, value in zip(names, values(page, target, *names)))
    else:
        method_of, threshold = values(page, target, "method", "method.threshold")
        assert method_of == "teacache" and f"teacache {threshold:g}" in panel(page).inner_text()
        assert "connect it to the settings input" in panel(page).inner_text()
    after = page.evaluate(f"{target}.widgets.filter(({{ serialize }}) => serialize !== false).map(one => one.value)")
    assert after != before
    page.evaluate("() => { document.activeElement?.blur(); app.canvas.canvas.focus() }")
    page.keyboard.press("Control+z")
    wait_until_at_rest(page)
    undone = page.evaluate(f"{target}.widgets.filter(({{ serialize }}) => serialize !== false).map(one => one.value)")
    assert undone == before
    assert not [text for text in page.problems if "scope" in text.lower()]
