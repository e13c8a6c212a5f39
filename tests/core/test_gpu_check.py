"""The check for machines with a GPU, on small models: what it counts, skips and writes."""

import json
import sys

import pytest
import torch

from scope_core import METHODS, PRESETS, plan
from scope_core.methods import Scope
from scope_core.signals import CONTENT, change_table
from scope_core.study.metrics import count_flops
from tests import gpu_check
from tests.bench.methods import VARIANTS, WITH_OPTIONS

OFF = PRESETS["off"]


@pytest.mark.parametrize("name", gpu_check.MODELS)
def test_ways_skip_the_same_iterations_and_operations_are_those_of_the_run(name):
    """Operations are counted by shapes, and by torch over all calls of the run."""
    torch.manual_seed(0)
    network = gpu_check.MODELS[name](torch.device("cpu"), torch.float32, tiny=True)
    schedule, made, flops = network.schedule(8), {}, {}
    for way, settings in {"original": OFF, **gpu_check.ways(schedule)}.items():
        whole = count_flops(lambda: made.update({way: gpu_check.run(network, schedule, settings)}))
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


OFFERED = {name for name, method in METHODS.items() if method.offered} - {Scope.name}
SCOPES = {"scope_paper", "scope_thresholds"}


@pytest.mark.parametrize("name", gpu_check.SHORT)
def test_methods_skip_what_the_gate_lets_them_and_operations_are_those_of_the_run(name):
    """Those of blocks that a probe runs and of what signals ask of the network are in them; a plan is its run."""
    torch.manual_seed(0)
    network = gpu_check.SHORT[name](torch.device("cpu"), torch.float32, tiny=True)
    schedule = network.schedule({"skyreels": 7, "magi": 12}[name])
    found, made = gpu_check.methods(schedule), {}
    assert found.keys() == OFFERED | SCOPES | VARIANTS.keys() | {f"{name}_options" for name in WITH_OPTIONS}
    for method, settings in found.items():
        whole = count_flops(lambda: made.update({method: gpu_check.run(network, schedule, settings)}))
        assert network.take_flops() == whole, method
    shares = {method: row["computed"] / row["of"] for method, row in made.items()}
    assert {method for method, share in shares.items() if not 0.25 < share < 0.75} == set(), shares
    for method, settings in found.items():
        if settings.acting.plannable and settings.acting.signal not in CONTENT:
            table = change_table(settings.acting.signal, schedule.sigmas, network.prompted())
            (segment,) = plan(schedule, settings, table).segments
            assert [step["modes"] for step in segment.steps] == made[method]["modes"], method


def check(monkeypatch, folder, *arguments):
    monkeypatch.setattr(sys, "argv", ["gpu_check", "--tiny", "--steps", "4", "--out", str(folder), *arguments])
    assert gpu_check.main() == 0
    return json.loads((folder / "gpu_check.json").read_text()), (folder / "gpu_check.md").read_text()


def test_it_writes_json_and_markdown_and_adds_to_those_it_finds(monkeypatch, tmp_path):
    def rows(tables):
        return [row["way"] for table in tables for row in table["rows"]]

    report, text = check(monkeypatch, tmp_path, "--models", "skyreels", "--ways", "output", "half")
    (model,) = report["models"]
    assert rows(report["models"]) == ["original", "output", "half"] and not report["methods"]
    assert all(row["ratio"] == pytest.approx(row["time_x"] / row["flop_x"]) for row in model["rows"])
    assert report["device"] in text and text.count("\n|") == 2 + 3

    report, text = check(monkeypatch, tmp_path, "--models", "skyreels", "--ways", "blocks", "half")
    assert rows(report["models"]) == ["original", "output", "half", "blocks"]
    report, text = check(monkeypatch, tmp_path, "--methods", "fbcache", "seacache")
    assert [table["model"] for table in report["methods"]] == list(gpu_check.SHORT)
    assert rows(report["methods"]) == 2 * ["original", "fbcache", "seacache"]
    assert text.count("\n|") == 2 + 4 + 2 * (2 + 3)
    assert rows(report["models"]) == ["original", "output", "half", "blocks"]


def test_it_refuses_a_report_of_another_machine_and_models_without_methods(monkeypatch, tmp_path, capsys):
    (tmp_path / "gpu_check.json").write_text(json.dumps({"torch": "1.0", "models": []}))
    for arguments, told in (
        ([], "has torch 1.0 and this is"),
        (["--methods", "--models", "wan"], "--methods measures skyreels and magi, not wan"),
    ):
        with pytest.raises(SystemExit):
            check(monkeypatch, tmp_path, *arguments)
        assert told in capsys.readouterr().err
