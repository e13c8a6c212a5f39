"""The library, a server and its files under random input. `--long` tries ten times as many cases, `--case 5000` one."""

import os
import sys
from pathlib import Path

import pytest

PACK = Path(__file__).parents[2]
sys.path[:0] = [str(PACK), str(Path(__file__).parent)]
os.environ["COMFYUI_PYTHON"] = os.environ["SCOPE_COMFYUI_PYTHON"]

from workflows.launcher import find_or_build  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="the large number of cases of each subject")
    parser.addoption("--case", type=int, help="this one alone; its number is its seed")


def pytest_configure(config):
    config.addinivalue_line("markers", "cases(few, many): how many cases are tried, and how many with --long")


def pytest_generate_tests(metafunc):
    marker = metafunc.definition.get_closest_marker("cases")
    if marker is not None:
        few, many = marker.args
        alone, long = (metafunc.config.getoption(name) for name in ("--case", "--long"))
        metafunc.parametrize("seed", range(many if long else few) if alone is None else [alone])


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Where the server keeps what it writes and reads: output, user, models."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("output", "user", "models")}
    for kind in ("diffusion_models", "vae", "text_encoders"):
        (made["models"] / kind).mkdir()
    return made


@pytest.fixture(scope="session")
def server(folders):
    arguments = ["--user-directory", str(folders["user"]), "--models-directory", str(folders["models"])]
    log = folders["output"] / "comfyui.log"
    with find_or_build(Path(os.environ["SCOPE_COMFYUI"])).serve(folders["output"], log, arguments) as server:
        yield server
