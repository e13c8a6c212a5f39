"""What the pack costs in the browser: `python -m tests.page_cost`, on a quiet machine.

How long ComfyUI's page takes to load with the pack and without it, by turns, each time in a fresh profile; and how long
it takes from a moved slider to the plan below it, in example 01. By the clock, and of the page's processor time, which
a busy machine stretches less. Python's part of a plan is in the clock alone.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from workflows import examples
from workflows.launcher import find_or_build

ROOT = Path(__file__).resolve().parents[1]
LOADS, MOVES = 10, 30
WITHOUT = ("--disable-all-custom-nodes",)
WATCH = """(() => {
    const look = setInterval(() => {
        if (!(window.app?.graph && app.extensionManager?.spinner === false)) return
        window.readyAfter = performance.now()
        clearInterval(look)
    }, 5)
})()"""
SAMPLER = "app.graph._nodes.find(node => node.comfyClass === 'SCOPE_Sampler' && node.title === 'SCOPE')"
STRIP = f"{SAMPLER}.widgets.find(widget => widget.name === 'scope_plan')"
HEADLINE = f"{STRIP}.element.querySelector('.scope-plan-headline')"
MOVE = f"""speed => new Promise(settle => {{
    const widget = {SAMPLER}.widgets.find(widget => widget.name === "speed"), headline = {HEADLINE}
    const before = headline.textContent, began = performance.now()
    new MutationObserver((_, observer) => {{
        if (headline.textContent === before) return
        observer.disconnect()
        requestAnimationFrame(() => settle(performance.now() - began))
    }}).observe(headline, {{ childList: true, characterData: true, subtree: true }})
    widget.value = speed
    widget.callback(speed)
}})"""


def processor_time(page: Any) -> float:
    """Milliseconds of the page's main thread since it was opened."""
    metrics = page.session.send("Performance.getMetrics")["metrics"]
    return 1000 * next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def opened(browser: Any, url: str) -> Any:
    page = browser.new_context(viewport={"width": 1600, "height": 1000}).new_page()
    page.session = page.context.new_cdp_session(page)
    page.session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.add_init_script(WATCH)
    page.goto(url)
    page.wait_for_function("window.readyAfter > 0", timeout=120_000)
    return page


def loads(browser: Any, urls: dict[str, str]) -> None:
    clock: dict[str, list[float]] = {name: [] for name in urls}
    processor: dict[str, list[float]] = {name: [] for name in urls}
    for turn in range(LOADS + 1):
        for name, url in urls.items():
            page = opened(browser, url)
            if turn:
                clock[name].append(page.evaluate("readyAfter"))
                processor[name].append(processor_time(page))
            page.context.close()
    for what, found in (("by the clock", clock), ("of the processor", processor)):
        told = ", ".join(f"{median(values):.0f} ms {name}" for name, values in found.items())
        added = median(mine - bare for mine, bare in zip(found["with the pack"], found["without it"]))
        print(f"page load {what}: {told}; added {added:+.0f} ms, median of {LOADS} pairs", flush=True)


def moves(browser: Any, url: str) -> None:
    page = opened(browser, url)
    page.evaluate("graph => app.loadGraphData(graph)", examples.load("01 Demo - Text to video"))
    page.wait_for_function(f"{HEADLINE}.textContent.includes('of 125 evaluations')")
    taken, before = [], processor_time(page)
    for move in range(MOVES):
        taken.append(page.evaluate(MOVE, 1.5 + 0.5 * (move % 8)))
    spent = (processor_time(page) - before) / MOVES
    print(
        f"plan after a moved slider: {median(taken):.0f} ms by the clock (median of {MOVES}, {min(taken):.0f} to"
        f" {max(taken):.0f}), {spent:.0f} ms of the page's processor time",
        flush=True,
    )
    page.context.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI to use; otherwise one is found or built")
    parser.add_argument("--here", action="store_true", help="measure with this Python, which has playwright")
    args = parser.parse_args()
    host = find_or_build(args.comfyui, () if args.here else ("playwright",))
    if not args.here:
        command = [str(host.python), "-m", "tests.page_cost", "--here", "--comfyui", str(host.root)]
        return subprocess.run(command, cwd=ROOT).returncode
    from playwright.sync_api import sync_playwright

    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        options = {"executable_path": next(filter(None, found)), "args": ["--no-sandbox", "--disable-gpu"]}
        browser = playwright.chromium.launch(**options)
        with host.serve(Path(folder) / "with", Path(folder) / "log") as mine:
            moves(browser, mine.url)
            with host.serve(Path(folder) / "without", Path(folder) / "log_without", WITHOUT) as bare:
                loads(browser, {"with the pack": mine.url, "without it": bare.url})
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
