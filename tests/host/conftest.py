"""Tests inside ComfyUI's process: its modules on the path, the pack loaded as ComfyUI loads it."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

PACK = Path(__file__).parents[2]
sys.path.insert(0, os.environ["SCOPE_COMFYUI"])
sys.argv = ["main.py", *os.environ.get("SCOPE_COMFYUI_ARGS", "--cpu").split()]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

spec = importlib.util.spec_from_file_location(
    "scope_pack", PACK / "__init__.py", submodule_search_locations=[str(PACK)]
)
pack = importlib.util.module_from_spec(spec)
sys.modules["scope_pack"] = pack
spec.loader.exec_module(pack)

import comfy.model_management  # noqa: E402
import torch  # noqa: E402

torch.backends.cudnn.allow_tf32 = False  # convolutions in single precision on a GPU too, as the tolerances are meant


@pytest.fixture
def on_cpu(monkeypatch):
    """The host without the GPU that it may have."""
    monkeypatch.setattr(comfy.model_management, "cpu_state", comfy.model_management.CPUState.CPU)


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """What runs keep does not go into the host's own folders."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path / "output"))
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path / "user"))


@pytest.fixture(autouse=True)
def inference_mode():
    """ComfyUI executes every node in it."""
    with torch.inference_mode():
        yield
