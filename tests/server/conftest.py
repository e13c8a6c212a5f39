"""Tests against a real ComfyUI server in a process of its own."""

import os
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
