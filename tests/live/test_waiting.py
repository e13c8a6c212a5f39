"""What a person sees who waits for a run, stops it, changes something after it, or loads the page anew."""

import uuid
from contextlib import contextmanager

import pytest
from gestures import QUICK, choose, load, node_of, run
from test_plan import SAMPLER, strip
from waits import wait_for_words, wait_until_at_rest, wait_until_idle, wait_until_ready

QUEUE = "app.queuePrompt(0)"
QUEUE_TWO = "app.queuePrompt(0, 2)"
WATCH = """([element, key]) => {
    window[key] = []
    new MutationObserver(() => window[key].push(element.textContent)).observe(element,
        { subtree: true, childList: true, characterData: true })
}"""
COUNT_PREVIEWS = "() => { window.seen = 0; app.api.addEventListener('b_preview_with_metadata', () => window.seen++) }"
STOP_AT_FIRST_STEP = "app.api.addEventListener('scope.step', () => app.api.interrupt(), { once: true })"

FOLLOW = """() => {
    window.steps = {}
    window.interrupted = 0
    app.api.addEventListener("scope.step", ({ detail }) => (steps[detail.prompt_id] = detail.index))
    app.api.addEventListener("execution_interrupted", () => interrupted++)
}"""
LOSE_AT_FIRST_STEP = """() => {
    const Open = window.WebSocket, over = new AbortController()
    window.reconnect = () => {
        window.WebSocket = Open
        over.abort()
    }
    app.api.addEventListener("scope.step", () => {
        window.WebSocket = function () { return new Open("ws://127.0.0.1:9") }
        app.api.socket.close()
    }, { once: true, signal: over.signal })
}"""
"""Nobody listens at port 9. The page tries again until `reconnect` is called."""


def timeline(page):
    return page.locator(".scope-timeline").first


def watch(page, element, key: str):
    page.evaluate(WATCH, [element, key])


@pytest.mark.two_cells
def test_a_run_says_how_long_it_takes_and_a_cancelled_one_that_it_was(page):
    load(page, "01 Demo - Text to video", **{**QUICK, "seed": 11})
    watch(page, strip(page, SAMPLER).query_selector(".scope-plan-note"), "strip")
    watch(page, timeline(page).element_handle(), "timeline")
    page.evaluate(COUNT_PREVIEWS)
    run(page, paced=True)
    assert page.evaluate("seen") >= 2, "without a setting of ComfyUI no preview is shown"
    page.shot("waiting_preview")
    assert any("Running: iteration" in said and "left." in said for said in page.evaluate("strip"))
    assert any("so far" in said and "left" in said for said in page.evaluate("timeline"))
    assert "Running" not in strip(page, SAMPLER).inner_text()

    choose(page, "steps", 1000, SAMPLER)  # far more than pass before the cancel is there
    page.evaluate(STOP_AT_FIRST_STEP)
    page.evaluate(QUEUE)
    wait_for_words(page, timeline(page).element_handle(), "then cancelled")
    assert "left" not in timeline(page).locator(".scope-timeline-time").inner_text()
    page.shot("waiting_cancelled", timeline(page))


@pytest.mark.two_cells
@pytest.mark.parametrize("is_known", [True, False])
def test_a_run_that_ended_without_a_connection_is_not_shown_as_running(page, server, is_known):
    """A server that was started anew does not know the prompt."""
    load(page, "01 Demo - Text to video", **{**QUICK, "seed": 15 + is_known})
    note = strip(page, SAMPLER).query_selector(".scope-plan-note")
    with lost_at_the_first_step(page):
        page.evaluate(QUEUE)
        wait_for_words(page, note, "Running")
        wait_for_words(page, timeline(page).element_handle(), "so far")
        wait_until_idle(page, server)
        (last,) = server.request("GET", "/history?max_items=1")[1].values()
        assert last["status"]["status_str"] == "success"
        if not is_known:
            server.request("POST", "/history", {"clear": True})
    said = "evaluations" if is_known else "then stopped by an error"
    page.wait_for_function("note => !note.textContent.includes('Running')", arg=note)
    assert said in timeline(page).locator(".scope-timeline-evaluations").inner_text()
    assert "so far" not in timeline(page).inner_text()


@contextmanager
def lost_at_the_first_step(page):
    """The page loses its connection at the first step of a run, and has it again afterwards."""
    page.evaluate(LOSE_AT_FIRST_STEP)
    try:
        yield
    finally:
        page.evaluate("reconnect()")


@pytest.mark.two_cells
def test_steps_of_another_workflow_are_not_drawn_on_a_node_of_the_same_id(page):
    workflow = load(page, "01 Demo - Text to video", **{**QUICK, "seed": 17, "steps": 1000})
    page.evaluate(FOLLOW)
    page.evaluate(QUEUE_TWO)
    page.wait_for_function("Object.keys(steps).length === 1")
    page.evaluate("other => app.loadGraphData(other)", {**workflow, "id": str(uuid.uuid4())})
    wait_for_words(page, strip(page, SAMPLER), "Plan")
    page.evaluate("app.api.interrupt()")  # the second one begins
    page.wait_for_function("Object.values(steps)[1] > 4")
    assert "Running" not in strip(page, SAMPLER).inner_text()
    assert "so far" not in timeline(page).inner_text()
    page.evaluate("app.api.interrupt()")
    page.wait_for_function("interrupted === 2")


@pytest.mark.two_cells
def test_a_picture_is_marked_once_the_settings_changed_and_is_there_after_a_reload(page):
    load(page, "01 Demo - Text to video", **{**QUICK, "seed": 13})
    run(page)
    said = timeline(page).locator(".scope-timeline-evaluations").inner_text()
    assert "earlier run" not in timeline(page).inner_text()
    choose(page, "speed", 1.5, SAMPLER)
    wait_for_words(page, timeline(page).element_handle(), "This is an earlier run")
    page.shot("waiting_earlier", timeline(page))
    choose(page, "preset", "balanced", SAMPLER)
    wait_until_at_rest(page)
    assert "earlier run" not in timeline(page).inner_text()

    page.wait_for_function("Object.values({ ...localStorage, ...sessionStorage }).join().includes('SCOPE_Timeline')")
    page.reload()
    wait_until_ready(page)
    assert page.evaluate(f"Boolean({node_of('SCOPE_Timeline')})")
    assert timeline(page).locator(".scope-timeline-evaluations").inner_text() == said
    load(page, "01 Demo - Text to video")
    assert "evaluations" not in timeline(page).locator(".scope-timeline-top").inner_text()


@pytest.mark.two_cells
def test_a_sweep_says_which_run_it_is_at(page):
    load(page, "04 Demo - Speed against quality", **{**QUICK, "seed": 14, "spread": 1})
    chart = page.locator(".scope-tradeoff").first
    watch(page, chart.locator(".scope-tradeoff-title").element_handle(), "titles")
    run(page)
    titles = page.evaluate("titles")
    assert any(title.startswith("Run 1 of 3, without SCOPE") for title in titles), titles
    assert any(title.startswith("Run 2 of 3") and "left" in title for title in titles), titles
    assert "3 settings measured" in chart.locator(".scope-tradeoff-title").inner_text()
