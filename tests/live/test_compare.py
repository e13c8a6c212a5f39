"""SCOPE A/B Compare in the browser: pixels, the whole screen, and runs that cannot be compared."""

from itertools import pairwise

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


LABELS = """() => [...document.querySelectorAll('.scope-compare-label')].filter(each => each.clientWidth).map(label => {
    const { left, right } = label.getBoundingClientRect()
    const stage = label.closest('.scope-compare-stage').getBoundingClientRect()
    return { left, right, whole: label.scrollWidth <= label.clientWidth, title: label.title, stage }
})"""


@pytest.mark.two_cells
def test_long_labels_are_cut_and_do_not_overlap(page):
    load(page, "08 SkyReels-V2 - With and without SCOPE")
    assert page.evaluate(f"{COMPARE}.outputs.map(({{ name }}) => name)") == ["video"], "it was saved without one"
    load(page, "06_demo_ab_compare", **{**QUICK, "seed": 23})
    names = {
        "label_a": "without SCOPE, every step computed, seed 23, fp32",
        "label_b": "with SCOPE at the preset balanced",
    }
    for name, label in names.items():
        choose(page, name, label, COMPARE)
    run(page)
    show(page, COMPARE)
    element = page.locator(".scope-compare").first
    wait_for_clips(page, element.element_handle())
    for mode in ("Wipe", "Side by side", "Difference"):
        element.get_by_role("button", name=mode, exact=True).click()
        page.shot(f"compare_labels_{mode.split()[0].lower()}", element)
        labels = page.evaluate(LABELS)
        whole = [names["label_a"], names["label_b"]] if mode != "Difference" else [" − ".join(names.values())]
        assert [label["title"] for label in labels] == whole
        for label in labels:
            assert label["stage"]["left"] <= label["left"] and label["right"] <= label["stage"]["right"]
        assert all(a["right"] <= b["left"] for a, b in pairwise(labels))
        assert mode != "Wipe" or not labels[0]["whole"]
