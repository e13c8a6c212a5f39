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
from scope_core.study.paired import difference, mean_of, together, values
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


CLIPS = {"off": [(9, 1.0, None)] * 3, "quality": [(6, 0.7, 50), (6, 0.8, 40), (6, 0.75, 30)]}
CLIPS |= {"fast": [(3, 0.4, 47.0), (4, 0.5, 36.5), (3, 0.45, 27.5)]}


def point_on_clips(label):
    """Runs of a setting with the seeds 5, 6 and 7, as SCOPE Trade-off Sweep gives them."""
    known = {"label": label, "baseline": label == "off", "iterations": 9, "prompt": 1, "forwards": 9, "memory_bytes": 5}
    return together(
        [
            {**known, "computed": computed, "seconds": seconds, "seed": str(seed)}
            | ({} if psnr is None else {"psnr": psnr, "psnr_worst": psnr - 2, "identical": False})
            for seed, (computed, seconds, psnr) in enumerate(CLIPS[label], 5)
        ]
    )


def test_several_clips_are_told_with_intervals_and_compared_clip_by_clip(report):
    """Three clips 10 dB apart, of which each loses 3 dB more or less: the means tell nothing, the differences do."""
    quality, fast = map(point_on_clips, ("quality", "fast"))
    assert quality["psnr"] == 40 and quality["psnr_worst"] == 28 and quality["clips"][2]["seed"] == "7"
    assert mean_of(values(quality, "psnr")) == pytest.approx((40, 24.84), abs=0.01)
    assert difference(fast, quality, "psnr") == pytest.approx((-3, 1.242), abs=1e-3)
    points = [*map(point_on_clips, CLIPS)]
    report["runs"] = {"metrics": {"psnr": METRICS["psnr"]}, "notes": [], "points": points}
    text = markdown(report)
    row = "| quality | 6 of 9 | 0.75 (0.63 to 0.87) s | 40 dB (15.16 to 64.84), worst clip 30 (seed 7, prompt 1) |"
    assert row in text and "| off | 9 of 9 | 1.00 s | reference |" in text
    assert "| fast | 3.333 (1.899 to 4.768) of 9 |" in text
    assert "| fast | quality | -3 dB (-4.24 to -1.76) |" in text
    drawn = page(report)
    assert drawn.count('class="clip"') == 6 and drawn.count('class="mean"') == 2
    Words.of(drawn)


def test_equal_clips_among_others_count_as_100_db():
    clips = [{**clip, "identical": index == 0} for index, clip in enumerate(point_on_clips("quality")["clips"])]
    clips[0]["psnr"] = None
    assert together(clips)["psnr"] == pytest.approx((100 + 40 + 30) / 3) and not together(clips)["identical"]
    equal = [{**clip, "identical": True, "psnr": None} for clip in clips]
    assert together(equal)["psnr"] is None and together(equal)["identical"]


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
