"""States of the page that the browser tests wait for. None of them is a time: how long a state may take to come is
bounded for a test that fails, far above what a busy machine needs."""

import time
from itertools import count

PATIENCE = 180_000
"""Milliseconds."""
WAITS = count(1)
COUNT_PLANS = """(() => {
    const ask = window.fetch
    window.plansUnderWay = 0
    window.fetch = async (...request) => {
        const url = String(request[0])
        if (!["/scope/plan", "/scope/family"].some(route => url.endsWith(route))) return ask(...request)
        window.plansUnderWay++
        try {
            const answer = await ask(...request)
            await answer.clone().text()
            return answer
        } finally {
            window.plansUnderWay--
        }
    }
})()"""
"""Runs before the page's own scripts, and counts the plans that Python has not answered yet."""
PACE = """(() => {
    const listen = WebSocket.prototype.addEventListener
    const drawn = () => new Promise(requestAnimationFrame)
    window.isPaced = false
    WebSocket.prototype.addEventListener = function (kind, hear, ...more) {
        if (kind !== "message") return listen.call(this, kind, hear, ...more)
        let before = Promise.resolve()
        const inTurn = event => {
            const isOurs = String(event.data).includes('"scope.')
            before = before.then(() => hear(event)).catch(reportError).then(() => isPaced && isOurs && drawn())
        }
        listen.call(this, kind, inTurn, ...more)
    }
})()"""
"""Runs before the page's own scripts. With `isPaced` the page hears what follows a live event of ours once it has drawn
the event, so that what it shows of a run depends neither on the run's speed nor on its own."""
READY = "window.app?.graph && app.extensionManager?.spinner === false"
AT_REST = """wait => {
    const nodes = [...document.querySelectorAll("[data-node-id]")]
    const boxes = [...nodes, ...document.querySelectorAll(".scope-panel")].map(part => part.getBoundingClientRect())
    const { scale, offset } = app.canvas.ds
    const look = JSON.stringify([boxes, scale, offset, app.graph._nodes.map(({ pos, size }) => [...pos, ...size])])
    const isRestoring = app.extensionManager.workflow.activeWorkflow?.changeTracker?._restoringState
    const isMounted = !LiteGraph.vueNodesMode || nodes.length >= app.graph._nodes.length
    const isDrawn = !app.canvas.dirty_canvas && !app.canvas.dirty_bgcanvas
    const before = window.rest?.wait === wait ? window.rest : { frames: 0 }
    const isStill = isMounted && isDrawn && !isRestoring && !plansUnderWay && look === before.look
    window.rest = { wait, look, frames: isStill ? before.frames + 1 : 0 }
    return window.rest.frames >= 4
}"""
"""Asked once in every frame; each wait, which has a number of its own, counts its frames anew."""
FILLS_WINDOW = """() => {
    const { width, height } = app.canvas.canvas
    return width === innerWidth * devicePixelRatio && height === innerHeight * devicePixelRatio
}"""
CLIPS = """element => [...element.querySelectorAll("video")].every(video => {
    const canvas = video.parentElement.querySelector("canvas")
    return video.readyState >= 2 && !video.seeking && canvas.width === video.videoWidth
})"""
CONTAINS = "([element, words]) => element.textContent.includes(words)"


def open_page(browser, url: str, viewport: dict[str, int]):
    """ComfyUI, loaded, in a profile of its own. `page.problems` collects what the console reports."""
    context = browser.new_context(viewport=viewport)
    context.set_default_timeout(PATIENCE)
    for script in (COUNT_PLANS, PACE):
        context.add_init_script(script)
    page = context.new_page()
    page.problems = []
    page.on("console", lambda message: message.type in ("error", "warning") and page.problems.append(message.text))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(url)
    wait_until_ready(page)
    return page


def wait_until_ready(page):
    """ComfyUI and its extensions are loaded, and the workflow that it opens by itself is shown."""
    page.wait_for_function(READY)
    wait_until_at_rest(page)


def wait_until_at_rest(page):
    """For some frames in a row no plan is asked for, no change is being undone, the canvas has nothing left to draw,
    and every node and every element of ours stands where it stood."""
    page.wait_for_function(AT_REST, arg=next(WAITS))


def wait_until_idle(page, server, stops: bool = False):
    """The server has nothing to run. `stops`: what it still runs is cancelled."""
    deadline = time.monotonic() + PATIENCE / 1000
    while any(server.request("GET", "/queue")[1].values()):
        assert time.monotonic() < deadline, "the server is still at work"
        if stops:
            server.request("POST", "/interrupt", {})
        page.wait_for_timeout(100)


def resize(page, size: dict[str, int]):
    """The window, with the canvas, which follows it some frames later: a workflow is fitted into it as it is."""
    page.set_viewport_size(size)
    page.wait_for_function(FILLS_WINDOW)


def wait_for_words(page, element, words: str):
    page.wait_for_function(CONTAINS, arg=[element, words])


def wait_for_clips(page, element):
    """Every clip in an element shows its first frame."""
    page.wait_for_function(CLIPS, arg=element)
