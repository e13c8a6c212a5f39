"""States of the page that the browser tests wait for. None of them is a time."""

from itertools import count

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
READY = "window.app?.graph && app.extensionManager?.spinner === false"
AT_REST = """wait => {
    const nodes = [...document.querySelectorAll("[data-node-id]")]
    const boxes = [...nodes, ...document.querySelectorAll(".scope-panel")].map(part => part.getBoundingClientRect())
    const look = JSON.stringify([boxes, app.graph._nodes.map(({ pos, size }) => [...pos, ...size])])
    const isMounted = !LiteGraph.vueNodesMode || nodes.length >= app.graph._nodes.length
    const isDrawn = !app.canvas.dirty_canvas && !app.canvas.dirty_bgcanvas
    const before = window.rest?.wait === wait ? window.rest : { frames: 0 }
    const isStill = isMounted && isDrawn && !plansUnderWay && look === before.look
    window.rest = { wait, look, frames: isStill ? before.frames + 1 : 0 }
    return window.rest.frames >= 4
}"""
"""Asked once in every frame; each wait, which has a number of its own, counts its frames anew."""
CLIPS = """element => [...element.querySelectorAll("video")].every(video => {
    const canvas = video.parentElement.querySelector("canvas")
    return video.readyState >= 2 && !video.seeking && canvas.width === video.videoWidth
})"""
CONTAINS = "([element, words]) => element.textContent.includes(words)"


def wait_until_ready(page):
    """ComfyUI and its extensions are loaded, and the workflow that it opens by itself is shown."""
    page.wait_for_function(READY, timeout=120_000)
    wait_until_at_rest(page)


def wait_until_at_rest(page):
    """For some frames in a row no plan is asked for, the canvas has nothing left to draw, and every node and every
    element of ours stands where it stood."""
    page.wait_for_function(AT_REST, arg=next(WAITS))


def wait_for_words(page, element, words: str):
    page.wait_for_function(CONTAINS, arg=[element, words])


def wait_for_clips(page, element):
    """Every clip in an element shows its first frame."""
    page.wait_for_function(CLIPS, arg=element)
