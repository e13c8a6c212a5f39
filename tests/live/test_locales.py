"""The nodes in other languages: nothing is missing, and both frontends show them."""

import pytest
from waits import wait_until_at_rest, wait_until_ready

from tests.locales.tables import LANGUAGES, LOCALES, complaints, dumped, english, node_defs, read

SHOWN = """() => {
    const node = LiteGraph.createNode("SCOPE_Sampler")
    app.graph.add(node)
    const labelOf = slot => slot.label ?? slot.localized_name ?? slot.name
    return [node.title, ...node.inputs.map(labelOf), ...node.outputs.map(labelOf)]
}"""


@pytest.fixture(scope="module")
def info(server):
    return {name: node for name, node in server.object_info().items() if name.startswith("SCOPE_")}


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_is_translated(info, language):
    """Where this fails after a text was changed: `python -m tests.locales` names it, and makes locales/ anew."""
    table, wanted = read(language), english(info)
    assert not list(complaints(table, wanted))
    made = (LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8")
    assert made == dumped(node_defs(info, table)), "locales/ is older than its table: run python -m tests.locales"


def test_the_server_hands_them_out(server):
    _, served = server.request("GET", "/i18n")
    assert set(LANGUAGES) <= set(served)
    assert served["zh"]["nodeDefs"]["SCOPE_Sampler"]["inputs"]["steps"]["name"] == read("zh")["steps"]


@pytest.mark.two_cells
def test_a_node_speaks_chinese(page, server):
    table = read("zh")
    server.request("POST", "/settings", {"Comfy.Locale": "zh"})
    try:
        page.reload()
        wait_until_ready(page)
        page.evaluate("app.graph.clear()")
        shown = page.evaluate(SHOWN)
        wait_until_at_rest(page)
        page.shot("chinese")
        wanted = {table[text] for text in ("SCOPE Sampler", "steps", "preset", "positive", "trace")}
        assert wanted <= set(shown), shown
    finally:
        server.request("POST", "/settings", {"Comfy.Locale": "en"})
        page.reload()
        wait_until_ready(page)
