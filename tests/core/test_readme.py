"""Figures in the README that scripts do not write are those of the committed reports."""

import json
from pathlib import Path

import pytest
import torch
from scope_core.metrics import count_flops
from scope_core.models.wan import WanConfig, WanTransformer
from scope_core.schedule import ARSchedule

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("report, names", [
    ("demo_quality", {"rendered world": "rendered world", "synchronous": "synchronous", "asynchronous": "asynchronous"}), ("demo_magi_quality", {"chunk_by_chunk": "MAGI-1 layout"})])
def test_quality_of_the_demos(report, names):
    results = json.loads((ROOT / "tests" / "reports" / f"{report}.json").read_text())["results"]
    for name, title in names.items():
        assert f"| {title} | {' | '.join(f'{share:.1%}' for share in results[name].values())} |" in README


def test_operations_of_the_original_skyreels_run():
    """257 frames of 544x960 as in the paper: iterations of all windows, two guidance branches, all 25 frames forwarded each time."""
    schedule = ARSchedule(65, 50, 25, 5, 5, 5)
    with torch.device("meta"):
        model = WanTransformer(WanConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30)).bfloat16().requires_grad_(False)
        x, t, text = torch.empty(1, 16, 25, 68, 120, dtype=torch.bfloat16), torch.empty(1, 25), torch.empty(1, 512, 4096, dtype=torch.bfloat16)
    total = 2 * schedule.iterations * count_flops(lambda: model(x, t, text, None, None))
    assert f"takes {total / 1e15:.1f} PFLOP" in README
