"""SCOPE A/B Compare in the browser: pixels, the whole screen, and runs that cannot be compared."""

import pytest
from gestures import QUICK, choose, load, node_of, run, show
from waits import wait_for_clips, wait_until_at_rest

COMPARE = node_of("SCOPE_Compare")
ZOOMS = """() => [...document.querySelectorAll('.scope-compare-pane canvas')].filter(canvas => canvas.clientWidth)
    .map(canvas => getComputedStyle(canvas).transform)"""


@pytest.mark.two_cells
def test_both_pictures_are_enlarged_in_step_and_shown_on_the_whole_screen(page):
    load(page, "06_demo_ab_compare", **{**QUICK, "seed": 21})
    choose(page, "seed", 22, node_of("SCOPE_Sampler", "With SCOPE"))
    run(page)
    show(page, COMPARE)
    element = page.locator(".scope-compare").first
    wait_for_clips(page, element.element_handle())
    assert "The two runs differ in seed, so" in element.inner_text()
    element.get_by_role("button", name="+", exact=True).click()
    assert element.get_by_role("button", name="200%").is_visible()
    transforms = page.evaluate(ZOOMS)
    assert len(set(transforms)) == 1 and transforms[0].startswith("matrix(2, 0, 0, 2")
    page.shot("compare_zoomed", element)
    element.get_by_title("Full screen, and back (F)").click()
    page.wait_for_function("document.fullscreenElement?.matches('.scope-compare')")
    wait_until_at_rest(page)
    page.shot("compare_full_screen")
    box = element.bounding_box()
    assert box["width"] >= page.viewport_size["width"] - 1
    page.keyboard.press("f")
    page.wait_for_function("!document.fullscreenElement")

    choose(page, "seed", 21, node_of("SCOPE_Sampler", "With SCOPE"))
    run(page)
    assert "differ" not in element.inner_text()
