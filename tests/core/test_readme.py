"""Figures in the README that scripts do not write are those of the committed reports."""

import json
from pathlib import Path

import pytest
import torch
from scope_core.metrics import count_flops
from scope_core.models.wan import WanConfig, WanTransformer
from scope_core.schedule import ARSchedule
from tests.bench.report import NEAR, average, fewer_at

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("report, names", [
    ("demo_quality", {"rendered world": "rendered world", "synchronous": "synchronous", "asynchronous": "asynchronous"}), ("demo_magi_quality", {"chunk_by_chunk": "MAGI-1 layout"})])
def test_quality_of_the_demos(report, names):
    results = json.loads((ROOT / "tests" / "reports" / f"{report}.json").read_text())["results"]
    for name, title in names.items():
        assert f"| {title} | {' | '.join(f'{share:.1%}' for share in results[name].values())} |" in README


def test_conclusions_are_those_of_the_benchmark():
    """The sentences under "In short", at every schedule and cost that a method reaches."""
    rows = json.loads((ROOT / "tests" / "reports" / "benchmark.json").read_text())["rows"]
    of = {name: [row for row in rows if row["schedule"] == name] for name in ("synchronous", "asynchronous", "chunk_by_chunk")}
    gains = {}
    for row in rows:
        if "title" in row and abs(row["share"] - row["budget"]) <= NEAR:
            gains.setdefault(row["method"], []).append(average(row, "psnr") - fewer_at(of[row["schedule"]], row["share"]))
    mean = {method: sum(values) / len(values) for method, values in gains.items()}
    by_signal = {"teacache", "flowcache", "magcache", "bwcache", "easycache", "fbcache", "motioncache", "seacache", "scope_paper", "scope_thresholds"}
    assert min(mean["taylorseer"], mean["scope"]) > max(mean[method] for method in by_signal & mean.keys())
    published = {name: [average(row, "psnr") - fewer_at(of[name], row["share"]) for row in of[name] if row["method"] == "scope_paper"] for name in of}
    assert sum(gain > 0 for gain in published["synchronous"] + published["asynchronous"]) >= 4 and max(published["chunk_by_chunk"]) < 0
    for name in ("synchronous", "asynchronous"):
        fast, = (row for row in of[name] if row["label"] == "fast")
        taylorseer, = (row for row in of[name] if row["method"] == "taylorseer" and row["budget"] == 0.22)
        assert average(taylorseer, "psnr") > average(fast, "psnr") and taylorseer["share"] < fast["share"] + 0.03


def test_operations_of_the_original_skyreels_run():
    """257 frames of 544x960 as in the paper: iterations of all windows, two guidance branches, all 25 frames forwarded each time."""
    schedule = ARSchedule(65, 50, 25, 5, 5, 5)
    with torch.device("meta"):
        model = WanTransformer(WanConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30)).bfloat16().requires_grad_(False)
        x, t, text = torch.empty(1, 16, 25, 68, 120, dtype=torch.bfloat16), torch.empty(1, 25), torch.empty(1, 512, 4096, dtype=torch.bfloat16)
    total = 2 * schedule.iterations * count_flops(lambda: model(x, t, text, None, None))
    assert f"takes {total / 1e15:.1f} PFLOP" in README
