"""The check for machines with a GPU, on small models: what it counts, skips and writes."""

import json
import sys

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from scope_core.study.metrics import count_flops
from tests import gpu_check


@pytest.mark.parametrize("name", gpu_check.MODELS)
def test_ways_skip_the_same_iterations_and_operations_are_those_of_the_run(name):
    """Operations are counted by shapes, and by torch over all calls of the run, whose plain attention kernel it knows
    on a CPU too."""
    torch.manual_seed(0)
    network = gpu_check.MODELS[name](torch.device("cpu"), torch.float32, tiny=True)
    schedule, made, flops = network.schedule(8), {}, {}
    with sdpa_kernel(SDPBackend.MATH):
        for way in ("original", *gpu_check.WAYS):
            whole = count_flops(lambda: made.update({way: gpu_check.run(network, schedule, way)}))
            flops[way] = network.take_flops()
            assert flops[way] == whole
    assert flops["line"] == flops["output"] < flops["blocks"] < flops["half"] < flops["original"]

    computed = {way: ["R" in modes for modes in row["modes"]] for way, row in made.items()}
    assert (
        all(computed["original"]) and computed["output"] == computed["line"] and computed["blocks"] == computed["half"]
    )
    if name == "skyreels":
        assert computed["output"] == computed["blocks"]
    assert any("P" in modes for modes in made["line"]["modes"]) and any("C" in modes for modes in made["half"]["modes"])
    assert (
        0 < made["output"]["kept_bytes"] < made["line"]["kept_bytes"]
        and made["blocks"]["kept_bytes"] == made["half"]["kept_bytes"] > 0
    )


def test_it_writes_json_and_markdown(monkeypatch, tmp_path):
    monkeypatch.setattr(
        sys, "argv", ["gpu_check", "--tiny", "--models", "skyreels", "--steps", "4", "--out", str(tmp_path)]
    )
    assert gpu_check.main() == 0
    report = json.loads((tmp_path / "gpu_check.json").read_text())
    (model,) = report["models"]
    assert [row["way"] for row in model["rows"]] == ["original", *gpu_check.WAYS]
    assert all(row["ratio"] == pytest.approx(row["time_x"] / row["flop_x"]) for row in model["rows"])
    text = (tmp_path / "gpu_check.md").read_text()
    assert report["device"] in text and text.count("\n|") == 2 + 5
