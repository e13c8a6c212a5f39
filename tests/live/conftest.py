"""Tests against a real ComfyUI server in a process of its own, some of them in a real Chromium.

Tests that ask for `page` run in four cells: the frontend that ComfyUI pins and the newest one published, each with the
classic canvas and with Nodes 2.0; those marked `two_cells`, which take long or hardly depend on the cell, in two of
them that have both frontends and both canvases. Set SCOPE_OFFLINE to leave the newest frontend out.

Each of pytest's workers has a server of its own, and those with a browser one of the two frontends.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from xdist.scheduler import LoadScopeScheduling

PACK = Path(__file__).parents[2]
SHOTS = PACK / "tests" / "output"
sys.path[:0] = [str(PACK), str(Path(__file__).parent)]
os.environ["COMFYUI_PYTHON"] = os.environ["SCOPE_COMFYUI_PYTHON"]

from waits import open_page, resize, wait_until_at_rest, wait_until_idle  # noqa: E402

from workflows.launcher import HostError, find_or_build, newest_frontend  # noqa: E402

TWO_CELLS = (("pinned", "classic"), ("newest", "nodes2"))
CELL = re.compile(r"\[(?P<frontend>pinned|newest)-(classic|nodes2)")
"""In the name of a test with a page."""
SHARED = ("test_recordings.py", "test_one_chunk.py", "test_lists.py")
"""Files whose tests share a server of their own, or start Ray."""
VIEWPORT = {"width": 1900, "height": 1100}
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
    "Comfy.Minimap.Visible": False,
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,
}
"""Nothing covers the graph, and its text is drawn at any zoom."""

EMPTY = """() => {
    window.isPaced = false
    app.clean()
    app.graph.clear()
}"""
"""What nodes of these numbers put out goes as well."""


def pytest_configure(config):
    config.addinivalue_line("markers", "browser: needs a browser")
    config.addinivalue_line("markers", "two_cells: runs in two of the four cells")


class Shares(LoadScopeScheduling):
    """Which tests go to the same worker."""

    def _split_scope(self, nodeid: str) -> str:
        file, cell = nodeid.partition("::")[0], CELL.search(nodeid)
        return cell["frontend"] if cell else file if file in SHARED else nodeid


def pytest_xdist_make_scheduler(config, log):
    return Shares(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if "browser" in item.fixturenames:
            item.add_marker("browser")
    items[:] = [
        item
        for item in items
        if not item.get_closest_marker("two_cells")
        or (item.callspec.params["frontend"], item.callspec.params["renderer"]) in TWO_CELLS
    ]


def pytest_generate_tests(metafunc):
    if "server" in metafunc.fixturenames:
        frontends = ["pinned", "newest"] if "page" in metafunc.fixturenames else ["pinned"]
        metafunc.parametrize("frontend", frontends, indirect=True, scope="session")
    if "page" in metafunc.fixturenames:
        metafunc.parametrize("renderer", ["classic", "nodes2"], indirect=True, scope="session")


@pytest.fixture(scope="session")
def host():
    return find_or_build(Path(os.environ["SCOPE_COMFYUI"]))


@pytest.fixture(scope="session")
def frontend(request, host):
    """What the server has to be told to use this frontend."""
    if request.param == "pinned":
        return []
    if os.environ.get("SCOPE_OFFLINE"):
        pytest.skip("SCOPE_OFFLINE is set: the newest frontend is left out")
    try:
        return ["--front-end-root", str(newest_frontend(host))]
    except HostError as error:
        pytest.fail(
            f"The newest frontend could not be fetched: {error} Set SCOPE_OFFLINE=1 to test without it.", pytrace=False
        )


@pytest.fixture(scope="session")
def renderer(request):
    return request.param


@pytest.fixture(scope="session")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="session")
def user(tmp_path_factory):
    return tmp_path_factory.mktemp("user")


@pytest.fixture(scope="session")
def server(host, frontend, output, user):
    arguments = [*frontend, "--user-directory", str(user)]
    with host.serve(output=output, log=output / "comfyui.log", arguments=arguments) as server:
        yield server


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    path = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    assert path, "no Chromium is installed; on Debian or Ubuntu: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def cell(browser, server, frontend, renderer):
    """ComfyUI, loaded, in one of the four cells."""
    server.request("POST", "/settings", SETTINGS | {"Comfy.VueNodes.Enabled": renderer == "nodes2"})
    page = open_page(browser, server.url, VIEWPORT)
    version = page.evaluate("window.__COMFYUI_FRONTEND_VERSION__")
    assert not frontend or f"/{version}/" in frontend[1], f"the server shows frontend {version}"
    page.name = f"{version}_{renderer}"
    yield page
    page.context.close()


@pytest.fixture
def page(cell, server):
    """The page of a cell with an empty graph, on a server that runs nothing. `page.problems` collects what the console
    reports, `page.shot` writes screenshots."""
    server.request("POST", "/queue", {"clear": True})
    wait_until_idle(cell, server, stops=True)
    resize(cell, VIEWPORT)
    cell.mouse.move(0, 0)  # off the graph: it shows tooltips
    cell.evaluate(EMPTY)
    wait_until_at_rest(cell)
    cell.problems.clear()
    cell.shot = lambda name, target=cell: screenshot(target, f"{name}_{cell.name}")
    return cell


def screenshot(target, name: str) -> np.ndarray:
    """Of a page or a locator, kept in tests/output for people to look at."""
    SHOTS.mkdir(exist_ok=True)
    target.screenshot(path=SHOTS / f"{name}.png")
    return np.array(Image.open(SHOTS / f"{name}.png").convert("RGB"))
