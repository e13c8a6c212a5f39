"""Tests against a real ComfyUI server in a process of its own, some of them in a real Chromium."""

import os
import shutil
import sys
from pathlib import Path

import pytest

PACK = Path(__file__).parents[2]
sys.path.insert(0, str(PACK))
os.environ["COMFYUI_PYTHON"] = os.environ["SCOPE_COMFYUI_PYTHON"]

from workflows.host import find_or_build  # noqa: E402


@pytest.fixture(scope="session")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="session")
def server(output):
    with find_or_build(Path(os.environ["SCOPE_COMFYUI"])).serve(output=output, log=output / "comfyui.log") as server:
        yield server


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    path = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
    assert path, "no Chromium is installed; on Debian or Ubuntu: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(params=[False, True], ids=["classic", "nodes 2.0"])
def page(request, browser, server):
    """ComfyUI, loaded and empty, in each of its two renderers. `page.problems` collects what the console reports."""
    context = browser.new_context(viewport={"width": 1900, "height": 1100})
    page = context.new_page()
    page.problems = []
    page.on("console", lambda message: message.type in ("error", "warning") and page.problems.append(message.text))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(server.url)
    page.wait_for_function("window.app && window.app.graph && window.app.extensionManager", timeout=120_000)
    page.evaluate(f"app.extensionManager.setting.set('Comfy.VueNodes.Enabled', {str(request.param).lower()})")
    page.evaluate("app.extensionManager.setting.set('Comfy.Workflow.ShowMissingModelsWarning', false)")
    page.wait_for_timeout(1500)
    page.problems.clear()
    page.renderer = "nodes2" if request.param else "classic"
    yield page
    context.close()
