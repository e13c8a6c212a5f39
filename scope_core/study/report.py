"""A run in words and figures: as Markdown that can be pasted into an issue, and as a page to open in a browser."""

from collections.abc import Iterator
from html import escape
from itertools import groupby, pairwise
from math import isfinite
from typing import Any, NamedTuple

from ..settings import knob_names
from .paired import clips_of, difference, mean_of, values, worst_clip

WIDEST_TIMELINE = 300
"""Iterations of a segment as letters; the drawn timeline has them all."""
MODES = {"R": "computed", "P": "predicted", "C": "reused", ".": "no step"}
CELL_HEIGHT, LABELS_WIDTH, LARGEST_CELL = 18, 60, 14
"""Pixels of the drawn timeline."""
NAMES_WIDTH, BARS_WIDTH, ROW_HEIGHT = 170, 500, 26
"""Pixels of the drawn intervals."""
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
.mean { fill: var(--ink) } .clip { fill: var(--P) } .bar { stroke: var(--ink) } .grid { stroke: var(--line) }
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


class Bars(NamedTuple):
    """A figure of every setting: its values on the clips, their mean and its 95 % interval."""

    title: str
    rows: list[tuple[str, list[float]]]


Part = Heading | Sentence | Notes | Table | Timeline | Bars


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
                f"{point['computed']:.4g}{interval(values(point, 'computed'), '.4g')} of {point['iterations']}",
                f"{point['seconds']:.2f}{interval(values(point, 'seconds'), '.2f')} s",
                *(
                    "reference" if point["baseline"] else on_clips(point, name, figure["unit"])
                    for name, figure in figures.items()
                ),
            )
            for point in runs["points"]
        ],
    )
    yield from clips_parts([point for point in runs["points"] if not point["baseline"]], figures)
    yield Notes(runs["notes"])


def clips_parts(points: list[dict[str, Any]], figures: dict[str, Any]) -> Iterator[Part]:
    """What several clips tell besides their means: how far they lie apart, and settings next to each other compared
    clip by clip."""
    if not any(len(clips_of(point)) > 1 for point in points):
        return
    for name, figure in list(figures.items())[:1]:
        title = f"{figure['label']} in {figure['unit']}" if figure["unit"] else figure["label"]
        yield Bars(title, [(point["label"], values(point, name)) for point in points if values(point, name)])
    pairs = [(a, b) for b, a in pairwise(points)]
    if pairs:
        yield Sentence("Differences between settings next to each other, taken clip by clip, with 95 % intervals:")
        yield Table(
            ("setting", "against", *(figure["label"] for figure in figures.values())),
            [
                (a["label"], b["label"], *(apart(a, b, name, figure["unit"]) for name, figure in figures.items()))
                for a, b in pairs
            ],
        )


def on_clips(point: dict[str, Any], name: str, unit: str) -> str:
    """Mean with its interval, and the worst clip."""
    text = value(point.get(name), unit)
    if len(clips_of(point)) == 1 or not values(point, name):
        return text
    worst, clip = worst_clip(point, name)
    told = f"seed {clip['seed']}, prompt {clip['prompt']}"
    return f"{text}{interval(values(point, name), '.4g')}, worst clip {worst:.4g} ({told})"


def interval(numbers: list[float], form: str) -> str:
    """Of the mean of several."""
    mean, half = mean_of(numbers) if len(numbers) > 1 else (0.0, 0.0)
    return f" ({mean - half:{form}} to {mean + half:{form}})" if half else ""


def apart(a: dict[str, Any], b: dict[str, Any], name: str, unit: str) -> str:
    if not values(a, name) or not values(b, name):
        return ""
    mean, half = difference(a, b, name)
    text = f"{mean:+.3g} {unit}".strip()
    return f"{text} ({mean - half:+.3g} to {mean + half:+.3g})" if isfinite(half) else text


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
    if isinstance(part, Bars):
        return []
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
    if isinstance(part, Bars):
        return bars(part)
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


def bars(part: Bars) -> str:
    """Settings from top to bottom: a dot for every clip, a disc for the mean and a bar for its interval. Bars may leave
    the picture, which shows twice the range of the clips."""
    measured = [number for _, row in part.rows for number in row]
    low, high = min(measured), max(measured)
    margin = (high - low or abs(high) or 1) / 2
    left, right = low - margin, high + margin

    def x(number: float) -> float:
        return NAMES_WIDTH + BARS_WIDTH * (min(right, max(left, number)) - left) / (right - left)

    height = ROW_HEIGHT * len(part.rows)
    drawn = []
    for number in (left, low, (low + high) / 2, high, right):
        drawn.append(f'<line class="grid" x1="{x(number):.1f}" x2="{x(number):.1f}" y1="0" y2="{height}"/>')
        drawn.append(f'<text x="{x(number):.1f}" y="{height + 14}" text-anchor="middle">{number:.3g}</text>')
    for row, (name, numbers) in enumerate(part.rows):
        y = ROW_HEIGHT * (row + 0.5)
        mean, half = mean_of(numbers)
        drawn.append(f'<text x="0" y="{y + 4}">{escape(name[:26])}</text>')
        drawn.append(f'<line class="bar" x1="{x(mean - half):.1f}" x2="{x(mean + half):.1f}" y1="{y}" y2="{y}"/>')
        drawn += [
            f'<line class="bar" x1="{x(end):.1f}" x2="{x(end):.1f}" y1="{y - 5}" y2="{y + 5}"/>'
            for end in (mean - half, mean + half)
            if left <= end <= right
        ]
        drawn += [f'<circle class="clip" cx="{x(number):.1f}" cy="{y}" r="3"/>' for number in numbers]
        drawn.append(f'<circle class="mean" cx="{x(mean):.1f}" cy="{y}" r="5"><title>{mean:.4g}</title></circle>')
    return (
        f"<figure>\n<figcaption>{escape(part.title)}: every clip, the mean and its 95 % interval</figcaption>\n"
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{NAMES_WIDTH + BARS_WIDTH + 40}" height="{height + 20}"'
        f' role="img" aria-label="{escape(part.title)}">\n' + "\n".join(drawn) + "\n</svg>\n</figure>"
    )
