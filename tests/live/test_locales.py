"""The nodes and the panels in other languages: nothing is missing, and both frontends show them."""

import pytest
from gestures import load, node_of, show
from waits import wait_until_at_rest, wait_until_ready

from tests.locales.panels import calls, panel_texts
from tests.locales.tables import LANGUAGES, LOCALES, complaints, english, files, read

SETTINGS = node_of("SCOPE_Settings")
SHOWN = """() => {
    const node = LiteGraph.createNode("SCOPE_Sampler")
    app.graph.add(node)
    const labelOf = slot => slot.label ?? slot.localized_name ?? slot.name
    return [node.title, ...node.inputs.map(labelOf), ...node.outputs.map(labelOf)]
}"""
SAVED = """() => app.graphToPrompt().then(({ output, workflow }) => [
    Object.values(output)[0].inputs, workflow.nodes[0].widgets_values])"""
TOOLTIP = f"name => {SETTINGS}.widgets.find(widget => widget.name === name).tooltip"
SAYS = "([panel, words]) => document.querySelector(`.scope-${panel}`).innerText.includes(words)"
PLACE = """name => {{
    const node = {node}, widget = node.widgets.find(widget => widget.name === name), {{ ds, canvas }} = app.canvas
    const {{ left, top }} = canvas.getBoundingClientRect()
    const [x, y] = ds.convertOffsetToCanvas([node.pos[0] + node.size[0] / 2, node.pos[1] + widget.last_y + 10])
    return [x + left, y + top]
}}"""


@pytest.fixture(scope="module")
def info(server):
    return {name: node for name, node in server.object_info().items() if name.startswith("SCOPE_")}


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_is_translated(info, language):
    """Where this fails after a text was changed: `python -m tests.locales` names it, and makes locales/ anew."""
    table, wanted = read(language), english(info)
    assert not list(complaints(table, wanted))
    made = {name: (LOCALES / language / name).read_text(encoding="utf-8") for name in files(info, table)}
    assert made == files(info, table), "locales/ is older than its table: run python -m tests.locales"


def test_a_text_of_a_panel_that_no_table_has_is_named():
    plan, wanted = "Plan: {evaluations}", panel_texts()
    table = {text: read("zh")[text] for text in wanted}
    assert not list(complaints(table, wanted))
    assert list(complaints(table | {plan: ""}, wanted)) == [f"missing: {plan}"]
    assert list(complaints(table | {plan: "计划"}, wanted)) == ["lacks {evaluations}: 计划"]


def test_the_texts_of_panels_are_written_out_where_they_are_asked_for():
    """The others look up what Python said, and `t` itself is one of them."""
    assert {file for file, text in calls() if not text} == {"language.js", "trace.js", "headline.js"}


def test_the_server_hands_them_out(server):
    _, served = server.request("GET", "/i18n")
    assert set(LANGUAGES) <= set(served)
    assert served["zh"]["nodeDefs"]["SCOPE_Sampler"]["inputs"]["steps"]["name"] == read("zh")["steps"]


@pytest.fixture(scope="module")
def in_chinese(cell, server):
    try:
        server.request("POST", "/settings", {"Comfy.Locale": "zh"})
        cell.reload()
        wait_until_ready(cell)
        yield
    finally:
        server.request("POST", "/settings", {"Comfy.Locale": "en"})
        cell.reload()
        wait_until_ready(cell)


@pytest.mark.two_cells
@pytest.mark.usefixtures("in_chinese")
def test_a_node_speaks_chinese(page):
    table = read("zh")
    shown = page.evaluate(SHOWN)
    wait_until_at_rest(page)
    page.shot("chinese")
    wanted = {table[text] for text in ("SCOPE Sampler", "steps", "preset", "positive", "trace")}
    assert wanted <= set(shown), shown


@pytest.mark.two_cells
@pytest.mark.usefixtures("in_chinese")
def test_options_speak_chinese_and_are_saved_in_english(page):
    table = read("zh")
    page.evaluate("void app.graph.add(LiteGraph.createNode('SCOPE_Settings'))")
    show(page, SETTINGS)
    for name, value in (("method", "planned"), ("method.preset", "fast")):
        label, option = table[name.rpartition(".")[2]], f"{value} · {table[value]}"
        pick(page, name, label, option)
        assert shown_in(page, name, label) == option
    assert (
        page.evaluate(TOOLTIP, "method.preset")
        == table["The presets of SCOPE Sampler, or custom: the inputs below decide."]
    )
    page.shot("chinese_options")
    inputs, saved = page.evaluate(SAVED)
    assert (inputs["method"], inputs["method.preset"]) == ("planned", "fast")
    assert {"planned", "fast"} <= set(saved) and " · " not in str(saved)
    assert not [text for text in page.problems if "scope" in text.lower()]


@pytest.mark.two_cells
@pytest.mark.usefixtures("in_chinese")
def test_the_panels_speak_chinese_and_change_with_the_language(page):
    table = read("zh")
    load(page, "01 Demo - Text to video")
    empty = next(text for text in panel_texts() if text.startswith("Run the workflow to see which steps"))
    for language, words in (("zh", table), ("en", {}), ("zh", table)):
        page.evaluate("language => app.extensionManager.setting.set('Comfy.Locale', language)", language)
        for panel, text in (("plan", "Plan: {evaluations}"), ("timeline", empty)):
            page.wait_for_function(SAYS, arg=[panel, words.get(text, text).partition("{")[0]])
        wait_until_at_rest(page)
        page.shot(f"panels_{language}")
    assert not [text for text in page.problems if "scope" in text.lower()]


def pick(page, name: str, label: str, option: str):
    """Choose an option of SCOPE Settings with the mouse."""
    if page.name.endswith("classic"):
        page.mouse.click(*page.evaluate(PLACE.format(node=SETTINGS), name))
        page.locator(".litecontextmenu .litemenu-entry").get_by_text(option, exact=True).click()
    else:
        page.get_by_role("combobox", name=label, exact=True).click()
        page.get_by_role("option", name=option, exact=True).click()
    wait_until_at_rest(page)


def shown_in(page, name: str, label: str) -> str:
    """The text that a choice of SCOPE Settings shows."""
    if page.name.endswith("classic"):
        return page.evaluate(f"name => {SETTINGS}.widgets.find(widget => widget.name === name)._displayValue", name)
    return page.get_by_role("combobox", name=label, exact=True).inner_text()
