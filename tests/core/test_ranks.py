"""Two processes that share the work on a video decide alike, though their numbers differ by a hair. The gloo backend on
one machine; a rank that waits for the other for ever fails by the time limit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scope_core import ranks

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What both ranks found, in one pair of processes for all cases."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, str(Path(__file__).with_name("rank_of_two.py"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = [subprocess.Popen([*command, str(rank), str(folder)], env=environment) for rank in range(2)]
    try:
        assert [process.wait(1200) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_two_ranks_decide_alike_on_signals_around_the_threshold(pair):
    first, second = pair
    assert first["together"] == second["together"] and len(first["together"]) == 1000
    assert 100 < first["together"].count("R") < 900


def test_without_the_reduce_they_do_not(pair):
    first, second = pair
    assert sum(a != b for a, b in zip(first["alone"], second["alone"])) > 100


def test_every_method_and_signal_runs_in_step(pair):
    """Whole runs whose forwards wait for each other: the same modes, rules and scores on both ranks, and as many
    reductions."""
    first, second = pair
    assert first["runs"] == second["runs"] and first["reads"] == second["reads"]
    skipped = [name for name, steps in first["runs"].items() if any({"C", "P"} & set(modes) for modes, *_ in steps)]
    assert len(first["runs"]) > 12 and set(skipped) == set(first["runs"])


def test_signals_of_the_schedule_need_no_reduce_at_skipped_steps(pair):
    """Beside that of what each computed step returned."""
    for found in pair:
        computed = sum(set(modes) == {"R"} for modes, *_ in found["runs"]["scheduled"])
        assert found["reads"]["scheduled"] == [1] * computed < [1] * len(found["runs"]["scheduled"])


def test_a_nan_on_one_rank_stops_both(pair):
    first, second = pair
    assert "NaN or infinity at iteration 5" in first["velocity error"] == second["velocity error"]
    assert "the signal 'latent' of this model is NaN" in first["signal error"] == second["signal error"]


def test_alone_numbers_are_what_they_are():
    values = torch.tensor([0.1, float("nan"), -1e-30])
    assert str(ranks.read(values)) == str(values.tolist())
    with ranks.agreeing(lambda values: values + 1):
        assert ranks.read(torch.tensor([1.0])) == [2.0]
    assert ranks.read(torch.tensor([1.0])) == [1.0]
