"""The timeline in a plain page of a real Chromium, with the longest run it is made for: 2,000 iterations of 64
chunks."""

import mimetypes
from pathlib import Path

import pytest
from waits import PATIENCE

from scope_core import SKYREELS
from scope_core.loop.plan import plan
from scope_core.settings import PRESETS

WEB = Path(__file__).parents[2] / "web"
ADDRESS = "http://timeline.test/"
PAGE = """<!doctype html><link rel="stylesheet" href="scope.css">
<div id="room" style="width: 900px; height: 500px"></div>
<script type="module">
    import { Timeline } from "./timeline/timeline.js"
    window.timeline = new Timeline()
    document.getElementById("room").append(timeline.element)
    timeline.element.style.height = "100%"
    timeline.drawn.connect()
</script>"""
EXERCISE = """async trace => {
    const room = document.getElementById("room")
    const frame = () => new Promise(requestAnimationFrame)
    const longTasks = []
    const watch = new PerformanceObserver(list => longTasks.push(...list.getEntries()))
    watch.observe({ entryTypes: ["longtask"] })
    const figures = {}
    const measure = async (name, times, act) => {
        const [handlers, frames] = [[], []]
        await frame()
        watch.takeRecords()
        longTasks.length = 0
        for (let time = 0; time < times; time++) {
            const began = performance.now()
            act(time)
            handlers.push(performance.now() - began)
            await frame()
            frames.push(performance.now() - began)
        }
        longTasks.push(...watch.takeRecords())
        const median = frames.sort((a, b) => a - b)[times >> 1]
        figures[name] = { handler: Math.max(...handlers), median, slowest: frames.at(-1), longTasks: longTasks.length }
    }
    const point = (type, share) => {
        const { left, top, width, height } = timeline.plot.element.getBoundingClientRect()
        const at = { clientX: left + 60 + share * (width - 70), clientY: top + 20 + ((share * 7) % 1) * (height - 50) }
        timeline.plot.element.dispatchEvent(new PointerEvent(type, at))
        return timeline.details.textContent
    }
    const { steps, ...header } = trace.segments[0]
    timeline.follow({ node: "1", segment: header, index: 0, step: steps[0], rules: trace.rules })
    await frame()
    const grid = timeline.grid
    const follow = time => timeline.follow({ node: "1", segment: 0, index: time + 1, step: steps[time + 1] })
    await measure("live events", 200, follow)
    const texts = new Set()
    const hover = time => texts.add(point("pointermove", time / 200))
    await measure("live events while hovering", 200, time => { follow(200 + time); hover(time) })
    for (let time = 400; time < steps.length - 1; time++) follow(time)
    await frame()
    const sameGrid = timeline.grid === grid
    const looks = [...timeline.grid.looks]
    timeline.show(trace)
    const { looks: finished, columns, rows } = timeline.grid
    const sameLooks = looks.every((look, index) => look === finished[index])
    await measure("hovering", 200, hover)
    await measure("resizing", 60, time => (room.style.width = `${900 - 5 * time}px`))
    await measure("saving as SVG", 3, () => timeline.picture())
    const evaluations = timeline.evaluations.textContent
    return { figures, columns, rows, texts: texts.size, sameGrid, sameLooks, evaluations }
}"""


@pytest.fixture
def plain_page(browser):
    page = browser.new_page(viewport={"width": 1000, "height": 700})
    page.set_default_timeout(PATIENCE)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))

    def answer(route):
        name = route.request.url.removeprefix(ADDRESS)
        file = WEB / name
        body = file.read_bytes() if name and file.is_file() else PAGE.encode() if not name else b""
        route.fulfill(body=body, content_type=mimetypes.guess_type(name)[0] or "text/html")

    page.route(f"{ADDRESS}**", answer)
    page.goto(ADDRESS)
    page.wait_for_function("window.timeline")
    yield page
    page.close()


@pytest.fixture(scope="module")
def long_trace():
    schedule = SKYREELS.schedule(frames=64, window=64, steps=1937, ar_step=1, causal=True)
    table = [0.0] + [0.002 + 0.05 * (step / 1937) ** 4 for step in range(1937)]
    return plan(schedule, PRESETS["fast"], table).to_json()


def test_a_long_run_is_followed_hovered_and_resized(plain_page, long_trace, capsys):
    result = plain_page.evaluate(EXERCISE, long_trace)
    words = (
        "handler at most {handler:.1f} ms, frames {median:.0f} ms in the median, at most {slowest:.0f} ms;"
        " {longTasks} tasks over 50 ms"
    )
    with capsys.disabled():
        print("", *(f"    {name}: {words.format(**figure)}" for name, figure in result["figures"].items()), sep="\n")
    assert (result["columns"], result["rows"]) == (2000, 64)
    assert result["sameGrid"], "the grid was made anew while following"
    assert result["sameLooks"], "following shows something else than the finished trace"
    assert result["texts"] > 100
    totals = long_trace["totals"]
    assert result["evaluations"].startswith(f"{totals['computed']} of {totals['iterations']} evaluations")
    assert not plain_page.problems


def test_pictures_are_saved(plain_page, long_trace, tmp_path):
    plain_page.evaluate("trace => timeline.show(trace)", long_trace)
    for kind, start in (("PNG", b"\x89PNG"), ("SVG", b"<svg"), ("JSON", b'{"format":"scope.trace"')):
        with plain_page.expect_download() as download:
            plain_page.get_by_role("button", name=kind).click()
        saved = tmp_path / download.value.suggested_filename
        download.value.save_as(saved)
        assert saved.suffix == f".{kind.lower()}" and saved.read_bytes().startswith(start)
