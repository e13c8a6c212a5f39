"""The report of a run, as Markdown and as a page."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from scope_core import SKYREELS
from scope_core.loop.plan import plan
from scope_core.methods import Gate, Scope, TeaCache
from scope_core.settings import PRESETS, Settings, name_of, spread
from scope_core.study.metrics import METRICS
from scope_core.study.report import markdown, page


@pytest.fixture
def report():
    trace = plan(SKYREELS.schedule(10, 12, 6, 2, 2, 3), PRESETS["fast"], np.linspace(0, 0.05, 13)).to_json()
    trace["run"] |= {"model": "a|b<c>", "preset": "fast", "warnings": ["mind the gap"], "host": {"torch": "2"}}
    return {"trace": trace, "quality": None, "runs": None, "versions": {"scope": "1"}}


def test_markdown_has_the_numbers_of_the_trace(report):
    text = markdown(report)
    totals = report["trace"]["totals"]
    assert text.startswith("# SCOPE run: a|b<c>, planned, fast\n") and "- mind the gap" in text
    assert f"| evaluations | {totals['computed']} of {totals['iterations']}, " in text
    for segment in report["trace"]["segments"]:
        for unit in range(len(segment["units"])):
            assert "".join(step["modes"][unit] for step in segment["steps"]) in text
    assert "| speed | 4.0 |" in text and "| torch | 2 |" in text and "| scope | 1 |" in text


def test_figures_and_points_are_named_with_their_units(report):
    figure = {**METRICS["psnr"], "per_frame": [], "mean": None, "worst": 31.24, "worst_frame": 4}
    report["quality"] = {"metrics": {"psnr": figure}, "notes": ["no LPIPS"]}
    points = [
        {"label": "off", "baseline": True, "computed": 9, "iterations": 9, "seconds": 1.0},
        {"label": "fast", "baseline": False, "computed": 3, "iterations": 9, "seconds": 0.5, "psnr": 40.0},
    ]
    report["runs"] = {"metrics": {"psnr": METRICS["psnr"]}, "notes": [], "points": points}
    text = markdown(report)
    assert "| PSNR | identical | 31.24 dB | 4 |" in text and "- no LPIPS" in text
    assert "| off | 9 of 9 | 1.00 s | reference |" in text and "| fast | 3 of 9 | 0.50 s | 40 dB |" in text
    assert {"identical", "31.24 dB", "no LPIPS", "0.50 s", "40 dB"} <= set(Words.of(page(report)))


class Words(HTMLParser):
    """Texts of a page, each for itself; fails where a tag is not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        assert not any(name in ("src", "href") for name, _ in attrs), "the page needs another file"
        assert tag != "script"
        self.open += [] if tag == "meta" else [tag]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @classmethod
    def of(cls, text):
        words = cls()
        words.feed(text)
        assert not words.open
        return words.texts


def test_the_page_stands_alone_and_draws_every_step(report):
    made = page(report)
    words = Words.of(made)
    assert {"SCOPE run: a|b<c>, planned, fast", "mind the gap", "evaluations", "4.0", "torch"} <= set(words)
    pictures = [ET.fromstring(picture) for picture in re.findall("<svg.+?</svg>", made, re.DOTALL)]
    segments = report["trace"]["segments"]
    assert len(pictures) == len(segments)
    for picture, segment in zip(pictures, segments):
        cells = picture.findall("{*}rect")
        columns = {cell.get("class"): 0.0 for cell in cells}
        for cell in cells:
            columns[cell.get("class")] += float(cell.get("width"))
        letters = "".join(step["modes"] for step in segment["steps"])
        one = sum(columns.values()) / len(letters)
        assert {name: round(width / one) for name, width in columns.items()} == {
            "none" if letter == "." else letter: letters.count(letter) for letter in set(letters)
        }
        assert any(report["trace"]["rules"]["s"] in cell.find("{*}title").text for cell in cells)


def test_settings_are_named_by_preset_or_by_what_differs():
    assert [name_of(settings) for settings in PRESETS.values()] == list(PRESETS)
    assert name_of(Settings(gate=Gate(6))) == "max_skip 6"
    assert name_of(Settings(Scope(tau_p=0.3, predictor="ab2"))) == "predict_threshold 0.3, predictor ab2"
    assert name_of(Settings(TeaCache(0.1), Gate(warm_up=3))) == "teacache 0.1"
    assert name_of(Settings(Scope(tau_c=0, tau_p=0))) == "off"


def test_a_longer_spread_begins_like_a_shorter_one():
    assert all(spread(12)[:n] == spread(n) for n in range(13)) and len(set(spread(12))) == 12
