"""Graphs of our nodes under random widgets and links, sent to a real server."""

from pathlib import Path

import numpy as np
import pytest
from cases import explore
from prompts import case_of, complete, graph_of
from safetensors.numpy import load_file
from serving import ask, ask_afresh


@pytest.fixture(scope="module")
def info(server):
    return server.object_info()


@pytest.fixture(scope="module")
def normal(server, folders, info):
    """Latents of a usual run, made anew each time it is called."""

    def run() -> np.ndarray:
        case = {"sampler.preset": "fast", "save.filename_prefix": "normal"}
        assert ask_afresh(server, complete(graph_of(case), info), {})
        newest = max(folders["output"].glob("normal_*.latent"))
        made = load_file(newest)["latent_tensor"]
        newest.unlink()
        return made

    return run


@pytest.fixture(scope="module")
def first(normal):
    return normal()


def check(outputs: dict, output: Path) -> None:
    for trace in (trace for shown in outputs.values() for trace in shown.get("scope_trace", [])):
        modes = "".join(step["modes"] for segment in trace["segments"] for step in segment["steps"]).replace(".", "")
        by_chunk = any(segment["by_chunk"] for segment in trace["segments"])
        whole = len(modes) if by_chunk else sum(len(segment["steps"]) for segment in trace["segments"])
        assert trace["totals"]["iterations"] == whole and set(modes) <= set("RCP"), "the trace does not add up"
        assert trace["totals"]["computed"] <= whole and trace["totals"]["forwards"] > 0
    for file in output.glob("fuzz_*.latent"):
        latent = load_file(file)["latent_tensor"]
        file.unlink()
        assert np.isfinite(latent).all(), "not a number in the latent"


@pytest.mark.cases(100, 700)
def test_every_prompt_ends_in_a_result_or_a_sentence(server, folders, info, first, normal, seed):
    def ends_well(case: dict) -> None:
        odd = {**case, "schedule": ""} if case.get("graph", "").startswith("magi") else case
        check(ask(server, complete(graph_of(case), info), odd), folders["output"])

    explore(ends_well, case_of(seed, info), seed)
    if seed % 20 == 19:
        assert np.array_equal(normal(), first), "prompts before changed the normal run"
