"""The demo runs, draws its timeline and shows it again from the cache."""

import numpy as np
import pytest
from gestures import QUICK, load, node_of, run, show
from test_plan import SAMPLER, picture, text
from waits import wait_until_ready


@pytest.mark.two_cells
def test_demo_runs_as_planned_and_draws(page):
    load(page, "01 Demo - Text to video", **QUICK)
    before = picture_of_timeline(page, "empty")
    run(page)
    after = picture_of_timeline(page, "drawn")
    assert len(np.unique(after.reshape(-1, 3), axis=0)) > 30
    assert before.shape != after.shape or (before != after).any(axis=2).mean() > 0.05
    said = page.locator(".scope-timeline").first.inner_text()
    assert "evaluations" in said and "fewer" in said
    page.shot("demo_finished")
    show(page, SAMPLER)
    assert text(page, SAMPLER, "badge") == "exact"
    planned = text(page, SAMPLER, "headline").removeprefix("Plan: ")
    assert planned == page.locator(".scope-timeline-evaluations").first.text_content()
    picture(page, SAMPLER, "exact")
    assert not [problem for problem in page.problems if "scope" in problem.lower()]

    page.reload()
    wait_until_ready(page)
    load(page, "01 Demo - Text to video", **QUICK)
    page.evaluate("window.live = 0; app.api.addEventListener('scope.step', () => window.live++)")
    run(page)
    assert page.evaluate("window.live") == 0, "the second run did not come from the cache"
    assert page.locator(".scope-timeline").first.inner_text() == said


def picture_of_timeline(page, name: str) -> np.ndarray:
    """Screenshot of the timeline's own element, brought into view."""
    show(page, node_of("SCOPE_Timeline"))
    return page.shot(f"timeline_{name}", page.locator(".scope-timeline").first)
