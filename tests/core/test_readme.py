"""Figures in README and docs are those of the committed reports, and sentences about them are true of them."""

import pytest
import torch

from scope_core import SKYREELS
from scope_core.networks.wan import WanConfig, WanTransformer
from scope_core.study.metrics import count_flops
from tests import pages

README = pages.ROOT / "README.md"
BENCHMARK = (pages.ROOT / "docs" / "benchmark.md").read_text()
PAGES = pages.pages()


@pytest.mark.parametrize("page, place", [(page, place) for page, places in PAGES.items() for place in places])
def test_marked_places_hold_what_the_reports_say(page, place):
    written = page.read_text().split(f"<!-- {place} -->")[1].split(f"<!-- /{place} -->")[0]
    assert written.strip() == PAGES[page][place].strip(), f"run `python -m tests.pages` for {page.name}"


def test_the_readme_is_short_and_its_pictures_are_there():
    assert len(README.read_bytes()) <= 10_000
    assert (pages.ROOT / "docs" / "images" / "demo.webp").stat().st_size <= 1_500_000


def test_a_gpu_gains_what_operations_promise_to_within_one_percent():
    rows = [row for model in pages.read("gpu_check")["models"] for row in model["rows"]]
    printed = (pages.REPORTS / "gpu_check_earlier.log").read_text().splitlines()
    ratios = [row["ratio"] for row in rows] + [float(line.split()[-1]) for line in printed]
    assert len(ratios) == 13 and all(abs(ratio - 1) < 0.01 for ratio in ratios)


def test_every_method_gains_most_of_what_its_operations_promise_on_a_gpu():
    rows = [row for model in pages.read("gpu_check")["methods"] for row in model["rows"]]
    least = f"{min(row['ratio'] for row in rows):.3f}"
    assert len(rows) == 34 and f"at least {least} of what" in BENCHMARK
    assert f"{least} of it at least" in README.read_text()


def test_operations_of_the_original_skyreels_run():
    """257 frames of 544x960 as in the paper: iterations of all windows, two guidance branches, all 25 frames forwarded
    each time."""
    schedule = SKYREELS.schedule(65, 50, 25, 5, 5, 5)
    with torch.device("meta"):
        model = WanTransformer(WanConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30))
        model = model.bfloat16().requires_grad_(False)
        x, t = torch.empty(1, 16, 25, 68, 120, dtype=torch.bfloat16), torch.empty(1, 25)
        text = torch.empty(1, 512, 4096, dtype=torch.bfloat16)
    total = 2 * schedule.iterations * count_flops(lambda: model(x, t, text, None, None))
    assert f"takes {total / 1e15:.1f} PFLOP" in BENCHMARK
