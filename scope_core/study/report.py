"""A run in words and figures: as Markdown that can be pasted into an issue, and as a page to open in a browser."""

from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import Any, NamedTuple

from ..settings import knob_names

WIDEST_TIMELINE = 300
"""Iterations of a segment as letters; the drawn timeline has them all."""
MODES = {"R": "computed", "P": "predicted", "C": "reused", ".": "no step"}
CELL_HEIGHT, LABELS_WIDTH, LARGEST_CELL = 18, 60, 14
"""Pixels of the drawn timeline."""
DRAWN_WIDTH = 900
STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --faint: #59636e; --line: #d1d9e0; --ground: #fff;
  --R: #2b3137; --P: #f0a33c; --C: #a9d3f0; --none: #eef1f4 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --faint: #9198a1; --line: #3d444d; --ground: #15181c;
  --R: #eceff2; --P: #c97d16; --C: #2c6a9b; --none: #23282e } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 1010px;
  margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.2em; margin-top: 2em }
table { border-collapse: collapse; margin: 1em 0 }
th, td { border: 1px solid var(--line); padding: .3em .7em; text-align: left; vertical-align: top;
  overflow-wrap: anywhere }
th { color: var(--faint); font-weight: 600 }
figure { margin: 1em 0; overflow-x: auto } figcaption { color: var(--faint) }
svg text { font-size: 11px; fill: var(--faint) }
.R { fill: var(--R) } .P { fill: var(--P) } .C { fill: var(--C) } .none { fill: var(--none) }
.key { display: inline-block; width: 1em; height: 1em; margin: 0 .4em 0 1em; vertical-align: -.1em }
.key.R { background: var(--R) } .key.P { background: var(--P) } .key.C { background: var(--C) }
.key.none { background: var(--none) }
"""


class Heading(NamedTuple):
    level: int
    text: str


class Sentence(NamedTuple):
    text: str


class Notes(NamedTuple):
    lines: list[str]


class Table(NamedTuple):
    head: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class Timeline(NamedTuple):
    segment: dict[str, Any]
    rules: dict[str, str]
    """Sentence by letter."""


Part = Heading | Sentence | Notes | Table | Timeline


def parts(report: dict[str, Any]) -> Iterator[Part]:
    """A report {"trace": ..., "quality": ... or None, "runs": ... or None, "versions": {...}} from top to bottom."""
    trace = report["trace"]
    run, totals = trace["run"], trace["totals"]
    yield Heading(1, f"SCOPE run: {run['model']}, {run['method']}" + (f", {run['preset']}" if "preset" in run else ""))
    yield Table(
        ("figure", "value"),
        [
            ("evaluations", saved(totals["computed"], totals["iterations"])),
            ("frames through the model", saved(totals["frames_computed"], totals["frames_baseline"])),
            ("forward passes, all guidance branches", totals["forwards"]),
            ("time", f"{totals['seconds']:.2f} s"),
            (
                "time if every step were computed, estimated from the computed ones",
                f"{totals['estimated_baseline_seconds']:.2f} s",
            ),
            ("memory kept by the method", f"{totals['memory_bytes'] / 1e6:.1f} MB"),
        ],
    )
    if totals["skipped_reason"]:
        yield Sentence(f"Nothing was skipped. {totals['skipped_reason']}")
    yield Notes(run.get("warnings", []))
    yield Heading(2, "Timeline")
    for segment in trace["segments"]:
        yield Timeline(segment, trace.get("rules", {}))
    if report.get("quality"):
        yield from quality_parts(report["quality"])
    if report.get("runs"):
        yield from runs_parts(report["runs"])
    yield Heading(2, "Settings")
    yield Table(("setting", "value"), list(knob_names(run["settings"]).items()))
    yield Table(("schedule", "value"), list(run["schedule"].items()))
    yield Heading(2, "Made with")
    yield Table(("what", "version"), list({**run["host"], **report["versions"]}.items()))


def quality_parts(quality: dict[str, Any]) -> Iterator[Part]:
    yield Heading(2, "Fidelity to the run without SCOPE")
    yield Sentence("A video that differs is not always worse.")
    yield Table(
        ("figure", "mean", "worst frame", "which"),
        [
            (
                figure["label"],
                value(figure["mean"], figure["unit"]),
                value(figure["worst"], figure["unit"]),
                figure["worst_frame"],
            )
            for figure in quality["metrics"].values()
        ],
    )
    yield Notes(quality["notes"])


def runs_parts(runs: dict[str, Any]) -> Iterator[Part]:
    figures = runs["metrics"]
    yield Heading(2, "Trade-off")
    yield Table(
        ("setting", "evaluations", "time", *(figure["label"] for figure in figures.values())),
        [
            (
                point["label"],
                f"{point['computed']} of {point['iterations']}",
                f"{point['seconds']:.2f} s",
                *(
                    "reference" if point["baseline"] else value(point.get(name), figure["unit"])
                    for name, figure in figures.items()
                ),
            )
            for point in runs["points"]
        ],
    )
    yield Notes(runs["notes"])


def saved(made: int, of: int) -> str:
    return f"{made} of {of}, {of / max(1, made):.2f}x fewer"


def value(number: float | None, unit: str) -> str:
    return "identical" if number is None else f"{number:.4g} {unit}".strip()


def markdown(report: dict[str, Any]) -> str:
    """The report as Markdown; a timeline is a row of letters per chunk."""
    return "\n".join(line for part in parts(report) for line in markdown_lines(part))


def markdown_lines(part: Part) -> list[str]:
    if isinstance(part, Heading):
        return [f"{'#' * part.level} {part.text}", ""]
    if isinstance(part, Sentence):
        return [part.text, ""]
    if isinstance(part, Notes):
        return [*(f"- {line}" for line in part.lines), ""] if part.lines else []
    if isinstance(part, Timeline):
        return letters(part.segment)
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in part.rows]
    rows = [f"| {' | '.join(row)} |" for row in cells]
    return [f"| {' | '.join(part.head)} |", "|" + "---|" * len(part.head), *rows, ""]


def letters(segment: dict[str, Any]) -> list[str]:
    """One row per chunk, one column per iteration."""
    steps = segment["steps"][:WIDEST_TIMELINE]
    rows = ["".join(step["modes"][unit] for step in steps) for unit in range(len(segment["units"]))]
    cut = f", first {WIDEST_TIMELINE} of {len(segment['steps'])} iterations" if steps != segment["steps"] else ""
    key = ", ".join(f"{letter} {meaning}" for letter, meaning in MODES.items())
    return [f"Segment {segment['index'] + 1}{cut}, one row per chunk: {key}.", "", "```", *rows, "```", ""]


def page(report: dict[str, Any]) -> str:
    """The report as one HTML file that needs no other, with the timeline drawn."""
    title = next(part.text for part in parts(report) if isinstance(part, Heading))
    body = "\n".join(html(part) for part in parts(report))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def html(part: Part) -> str:
    if isinstance(part, Heading):
        return f"<h{part.level}>{escape(part.text)}</h{part.level}>"
    if isinstance(part, Sentence):
        return f"<p>{escape(part.text)}</p>"
    if isinstance(part, Notes):
        return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in part.lines) + "</ul>" if part.lines else ""
    if isinstance(part, Timeline):
        return figure(part)
    head = "".join(f"<th>{escape(name)}</th>" for name in part.head)
    rows = ("".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in part.rows)
    return f"<table>\n<tr>{head}</tr>\n" + "".join(f"<tr>{row}</tr>\n" for row in rows) + "</table>"


def figure(part: Timeline) -> str:
    """The timeline of a segment: chunks from top to bottom, iterations from left to right; what happened, and why, is
    told where the mouse rests."""
    segment, steps = part.segment, part.segment["steps"]
    cell = min(LARGEST_CELL, (DRAWN_WIDTH - LABELS_WIDTH) / max(1, len(steps)))
    width, height = LABELS_WIDTH + cell * len(steps), CELL_HEIGHT * len(segment["units"])
    drawn = []
    for unit, (start, stop) in enumerate(segment["units"]):
        y = CELL_HEIGHT * unit
        drawn.append(f'<text x="0" y="{y + 13}">chunk {unit + 1}</text>')
        column = 0
        for (mode, rule), same in groupby((step["modes"][unit], step["rules"][unit]) for step in steps):
            count = len(list(same))
            told = f"latent frames {start} to {stop - 1}, iterations {column + 1} to {column + count}: {MODES[mode]}"
            told += f", {part.rules[rule]}" if rule in part.rules else ""
            drawn.append(
                f'<rect class="{"none" if mode == "." else mode}" x="{LABELS_WIDTH + cell * column:.2f}" y="{y}"'
                f' width="{cell * count:.2f}" height="{CELL_HEIGHT - 1}"><title>{escape(told)}</title></rect>'
            )
            column += count
    ends = f'<text x="{LABELS_WIDTH}" y="{height + 14}">iteration 1</text>'
    ends += f'<text x="{width:.2f}" y="{height + 14}" text-anchor="end">{len(steps)}</text>'
    key = "".join(f'<span class="key {"none" if k == "." else k}"></span>{name}' for k, name in MODES.items())
    return (
        f"<figure>\n<figcaption>Segment {segment['index'] + 1}, latent frames {segment['start']} to"
        f" {segment['start'] + segment['frames'] - 1}.{key}</figcaption>\n"
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height + 20}" role="img"'
        f' aria-label="Timeline">\n' + "\n".join([*drawn, ends]) + "\n</svg>\n</figure>"
    )
