"""The page of a run."""

import numpy as np
import pytest

from scope_core import SKYREELS
from scope_core.loop.plan import plan
from scope_core.methods import Gate, Scope, TeaCache
from scope_core.settings import PRESETS, Settings, name_of, spread
from scope_core.study.metrics import METRICS
from scope_core.study.report import markdown


@pytest.fixture
def report():
    trace = plan(SKYREELS.schedule(10, 12, 6, 2, 2, 3), PRESETS["fast"], np.linspace(0, 0.05, 13)).to_json()
    trace["run"] |= {"model": "a|b", "preset": "fast", "warnings": ["mind the gap"], "host": {"torch": "2"}}
    return {"trace": trace, "quality": None, "runs": None, "versions": {"scope": "1"}}


def test_the_page_has_the_numbers_of_the_trace(report):
    page = markdown(report)
    totals = report["trace"]["totals"]
    assert page.startswith("# SCOPE run: a|b, planned, fast\n") and "- mind the gap" in page
    assert f"| evaluations | {totals['computed']} of {totals['iterations']}, " in page
    for segment in report["trace"]["segments"]:
        for unit in range(len(segment["units"])):
            assert "".join(step["modes"][unit] for step in segment["steps"]) in page
    assert "| speed | 4.0 |" in page and "| torch | 2 |" in page and "| scope | 1 |" in page


def test_figures_and_points_are_named_with_their_units(report):
    figure = {**METRICS["psnr"], "per_frame": [], "mean": None, "worst": 31.24, "worst_frame": 4}
    report["quality"] = {"metrics": {"psnr": figure}, "notes": ["no LPIPS"]}
    points = [
        {"label": "off", "baseline": True, "computed": 9, "iterations": 9, "seconds": 1.0},
        {"label": "fast", "baseline": False, "computed": 3, "iterations": 9, "seconds": 0.5, "psnr": 40.0},
    ]
    report["runs"] = {"metrics": {"psnr": METRICS["psnr"]}, "notes": [], "points": points}
    page = markdown(report)
    assert "| PSNR | identical | 31.24 dB | 4 |" in page and "- no LPIPS" in page
    assert "| off | 9 of 9 | 1.00 s | reference |" in page and "| fast | 3 of 9 | 0.50 s | 40 dB |" in page


def test_settings_are_named_by_preset_or_by_what_differs():
    assert [name_of(settings) for settings in PRESETS.values()] == list(PRESETS)
    assert name_of(Settings(gate=Gate(6))) == "max_skip 6"
    assert name_of(Settings(Scope(tau_p=0.3, predictor="ab2"))) == "predict_threshold 0.3, predictor ab2"
    assert name_of(Settings(TeaCache(0.1), Gate(warm_up=3))) == "teacache 0.1"
    assert name_of(Settings(Scope(tau_c=0, tau_p=0))) == "off"


def test_a_longer_spread_begins_like_a_shorter_one():
    assert all(spread(12)[:n] == spread(n) for n in range(13)) and len(set(spread(12))) == 12
