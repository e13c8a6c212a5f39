"""SCOPE Accelerate before KSampler, as a person sees it in the browser: its timeline is drawn while it runs."""

from itertools import count

import pytest
from gestures import node_of, run
from waits import wait_until_at_rest

STEPS = 12
SEEDS = count()
"""Cells share a server, which would not run the same thing twice."""
PROMPT = {
    "1": {"class_type": "SCOPE_LoadDemo", "inputs": {}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a red circle bouncing"}},
    "3": {"class_type": "EmptyHunyuanLatentVideo", "inputs": {"width": 128, "height": 128, "length": 29}},
    "4": {"class_type": "SCOPE_Accelerate", "inputs": {"model": ["1", 0], "preset": "balanced"}},
    "5": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["4", 0],
            "positive": ["2", 0],
            "negative": ["2", 0],
            "latent_image": ["3", 0],
            "steps": STEPS,
            "cfg": 2.5,
            "sampler_name": "euler",
            "scheduler": "simple",
        },
    },
    "6": {"class_type": "SCOPE_Timeline", "inputs": {"after": ["5", 0]}},
}
WATCH = """timeline => {
    window.seen = []
    const words = timeline.widgets.find(({ name }) => name === "scope_display").element.querySelector(
        ".scope-timeline-evaluations")
    app.api.addEventListener("scope.step", () => requestAnimationFrame(() => requestAnimationFrame(() =>
        window.outcome || window.seen.push(words.textContent))))
    window.words = words
}"""
"""Keeps what the timeline says while the run is under way."""


@pytest.mark.two_cells
def test_a_timeline_behind_it_is_drawn_while_ksampler_runs(page):
    sampler = {**PROMPT["5"], "inputs": {**PROMPT["5"]["inputs"], "seed": next(SEEDS)}}
    page.evaluate("prompt => app.loadApiJson(prompt, 'accelerated')", {**PROMPT, "5": sampler})
    wait_until_at_rest(page)
    page.evaluate(f"({WATCH})({node_of('SCOPE_Timeline')})")
    run(page, paced=True)
    counts = [int(words.split(" of ")[1].split()[0]) for words in page.evaluate("window.seen")]
    assert counts and counts[0] < STEPS and counts == sorted(counts), counts
    assert page.evaluate("window.words.textContent").startswith(f"4 of {STEPS} evaluations")
    page.shot("accelerated", page.locator(".scope-timeline").first)
    assert not [problem for problem in page.problems if "scope" in problem.lower()]
