"""The benchmark as a table, as a chart, and in sentences that say who wins and who loses."""

from collections.abc import Iterable, Iterator
from math import inf, isinf
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

Row = dict[str, Any]
SCHEDULES = {
    "synchronous": "SkyReels layout, all chunks together",
    "asynchronous": "SkyReels layout, chunks 5 steps apart",
    "chunk_by_chunk": "MAGI-1 layout, 4 chunks at a time",
}
SHORT = {"synchronous": "SkyReels together", "asynchronous": "SkyReels apart", "chunk_by_chunk": "MAGI-1"}
COLUMNS = ("setting", "computed", "forwards", "TFLOP", "FLOP x", "time x", "MB kept", "PSNR", "worst frame", "SSIM")
OURS = ("quality", "balanced", "fast")
EQUAL = 0.5
"""Differences of so many dB do not count."""
NEAR = 0.06
"""How far from a budget a cost may be."""


def markdown(report: dict[str, Any]) -> str:
    """Everything that was measured."""
    with_lpips = "lpips" in report["rows"][0]["clips"][0]
    columns = (*COLUMNS, "LPIPS") if with_lpips else COLUMNS
    lines = ["# Benchmark", ""]
    for schedule, rows in by_schedule(report):
        lines += [f"## {SCHEDULES[schedule]}", "", *table(columns, map(cells, rows)), ""]
    return "\n".join([*lines, *ranking(report), "", *verdicts(report), "", footnote(report), ""])


def ranked(report: dict[str, Any]) -> str:
    """Methods at equal cost, best first, and who loses."""
    return "\n".join([*ranking(report), "", *verdicts(report), "", footnote(report)])


def named(report: dict[str, Any]) -> str:
    """The named presets beside fewer steps, and which of them lose."""
    return "\n".join([*presets(report), "", verdicts(report)[-1], "", footnote(report)])


def result(report: dict[str, Any]) -> str:
    """Three rows for those in a hurry: operations saved by our presets, and the closeness that costs."""
    found: dict[str, list[str]] = {name: [] for name in OURS}
    for _, rows in by_schedule(report):
        for row in rows:
            if row["method"] == "preset" and row["label"] in found:
                found[row["label"]].append(f"{row['flop_x']:.1f}x fewer, {plus_minus(row)} dB")
    heads = [SHORT[schedule] for schedule, _ in by_schedule(report)]
    lines = table(["preset", *heads], ([f"`{name}`", *cells] for name, cells in found.items()))
    return "\n".join(
        [*lines, "", f"Operations, and PSNR to the run without skipping, mean ± spread over {report['clips']} clips."]
    )


def presets(report: dict[str, Any]) -> list[str]:
    """Named presets and fewer steps, a column for each schedule: operations saved, PSNR, worst frame."""
    found: dict[str, dict[str, str]] = {}
    for schedule, rows in by_schedule(report):
        for row in rows:
            if row["method"] in ("preset", "fewer"):
                name = (
                    row["label"]
                    if row["method"] == "preset"
                    else f"fewer steps, about {nearest(report['budgets'], row['share']):.0%}"
                )
                found.setdefault(name, {})[schedule] = (
                    f"{row['flop_x']:.1f}x, {row['time_x']:.1f}x: {plus_minus(row)} ({worst(row):.0f})"
                )
    schedules = [schedule for schedule, _ in by_schedule(report)]
    return table(
        ["operations, time: PSNR (worst frame)", *(SHORT[schedule] for schedule in schedules)],
        ([name, *(row.get(schedule, "") for schedule in schedules)] for name, row in found.items()),
    )


def ranking(report: dict[str, Any]) -> list[str]:
    """PSNR of every method on every schedule and at every budget, and what it gains over fewer steps at its own cost,
    on average over the budgets it reaches."""
    places: dict[str, dict[tuple[str, float], str]] = {}
    gains: dict[str, list[float]] = {}
    for schedule, rows in by_schedule(report):
        for row in rows:
            if "title" in row:
                gain, made = average(row, "psnr") - fewer_at(rows, row["share"]), gains.setdefault(row["title"], [])
                if not missed(row):
                    made.append(gain)
                text = f"**{plus_minus(row)}**" if gain > EQUAL and not missed(row) else plus_minus(row)
                places.setdefault(row["title"], {})[schedule, row["budget"]] = text + missed(row)
    if not places:
        return []
    heads = [(schedule, budget) for schedule, _ in by_schedule(report) for budget in report["budgets"]]
    ranked = sorted(places, key=lambda title: -mean(gains[title] or [-inf]))
    return table(
        ["method", "mean gain, dB", *(f"{SHORT[schedule]} {budget:.0%}" for schedule, budget in heads)],
        (
            [
                title,
                f"{mean(gains[title]):+.1f}" if gains[title] else "",
                *(places[title].get(head, "") for head in heads),
            ]
            for title in ranked
        ),
    )


def verdicts(report: dict[str, Any]) -> list[str]:
    """Where SCOPE loses, from the figures alone: to fewer steps, and to how many other methods."""
    heads, lines, presets = report["budgets"], [], {}
    for schedule, rows in by_schedule(report):
        for row in rows:
            if row["method"] == "preset" and (loss := fewer_at(rows, row["share"]) - average(row, "psnr")) > EQUAL:
                presets.setdefault(row["label"], []).append(f"{SHORT[schedule]} by {loss:.1f}")
        for title in dict.fromkeys(row["title"] for row in rows if row.get("title", "").startswith("SCOPE")):
            at = {row["budget"]: losses(row, rows) + missed(row) for row in rows if row.get("title") == title}
            lines.append([title, SHORT[schedule], *(at.get(budget, "") for budget in heads)])
    losing = "; ".join(f"`{label}` ({', '.join(where)})" for label, where in presets.items())
    told = [f"Presets that lose to fewer steps, at no more cost and by more than {EQUAL:g} dB: {losing or 'none'}."]
    if not lines:
        return told
    return [
        "Where SCOPE loses:",
        "",
        *table(["", "", *(f"at {budget:.0%}" for budget in heads)], sorted(lines, key=lambda line: line[0])),
        "",
        *told,
    ]


def losses(row: Row, rows: list[Row]) -> str:
    """What does better at no more cost, the best by name."""
    own = average(row, "psnr")
    fewer = fewer_at(rows, row["share"])
    better = {}
    for other in rows:
        if (
            "title" in other
            and not other["title"].startswith("SCOPE")
            and other["share"] <= row["share"] + 0.02
            and average(other, "psnr") > own + EQUAL
        ):
            better[other["title"]] = max(average(other, "psnr"), better.get(other["title"], -inf))
    told = [f"fewer steps by {fewer - own:.1f}"] if fewer > own + EQUAL else []
    if better:
        best = max(better, key=better.get)
        others = f" and {len(better) - 1} more" if len(better) > 1 else ""
        told.append(f"{best} by {better[best] - own:.1f}{others}")
    return "; ".join(told) or "nothing"


def fewer_at(rows: list[Row], share: float) -> float:
    """PSNR of runs with fewer steps at this share of the full run's forwards, along the line between those measured."""
    measured = sorted((row["share"], average(row, "psnr")) for row in rows if row["method"] == "fewer")
    return float(np.interp(share, *zip(*measured)))


def chart(report: dict[str, Any], file: Path) -> None:
    """PSNR over the share of forwards, a panel for each schedule, a line for each method, a star for each preset."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    schedules = list(by_schedule(report))
    titles = list(dict.fromkeys(row["title"] for row in report["rows"] if "title" in row))
    colours = {
        title: plt.cm.tab20(i % 20)
        for i, title in enumerate(title for title in titles if not title.startswith("SCOPE"))
    }
    colours |= {"SCOPE (ours)": "crimson", "SCOPE (ours), by thresholds": "hotpink", "SCOPE as published": "darkorange"}
    figure, panels = plt.subplots(
        1, len(schedules), figsize=(6.5 * len(schedules), 6), sharey=True, squeeze=False, layout="constrained"
    )
    for panel, (schedule, rows) in zip(panels[0], schedules):
        for title in titles:
            points = sorted((100 * row["share"], average(row, "psnr")) for row in rows if row.get("title") == title)
            ours = title.startswith("SCOPE")
            panel.plot(
                *zip(*points),
                marker="o",
                markersize=6 if ours else 3.5,
                linewidth=3 if ours else 1.2,
                color=colours[title],
                label=title,
                zorder=3 if ours else 2,
            )
        fewer = sorted((100 * row["share"], average(row, "psnr")) for row in rows if row["method"] == "fewer")
        panel.plot(
            *zip(*fewer),
            marker="s",
            markersize=6,
            linewidth=3,
            linestyle="--",
            color="black",
            label="Fewer steps",
            zorder=4,
        )
        for row in rows:
            if row["method"] == "preset" and not row["label"].startswith("paper"):
                at = (100 * row["share"], average(row, "psnr"))
                panel.plot(
                    *at, marker="*", markersize=15, color="crimson", markeredgecolor="black", linestyle="", zorder=5
                )
                panel.annotate(row["label"], at, (6, 6), textcoords="offset points", fontsize=10, zorder=6)
        panel.set(title=SCHEDULES[schedule], xlabel="forward passes, % of the full run", xlim=(15, 65))
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("PSNR to the full run, dB")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(file, dpi=100)


def by_schedule(report: dict[str, Any]) -> Iterator[tuple[str, list[Row]]]:
    for schedule in dict.fromkeys(row["schedule"] for row in report["rows"]):
        yield schedule, [row for row in report["rows"] if row["schedule"] == schedule]


def values(row: Row, name: str) -> list[float]:
    """A figure of every clip; PSNR of equal videos is infinite, which JSON does not know."""
    return [inf if clip[name] is None else clip[name] for clip in row["clips"]]


def average(row: Row, name: str) -> float:
    return mean(values(row, name))


def spread(row: Row) -> float:
    """Of PSNR over the clips."""
    return stdev(values(row, "psnr")) if len(row["clips"]) > 1 else 0.0


def worst(row: Row) -> float:
    return min(values(row, "worst_frame"))


def plus_minus(row: Row) -> str:
    return "inf" if isinf(average(row, "psnr")) else f"{average(row, 'psnr'):.1f} ± {spread(row):.1f}"


def missed(row: Row) -> str:
    """Where a method does not reach a budget: what it costs instead."""
    return f" at {row['share']:.0%}" if abs(row["share"] - row["budget"]) > NEAR else ""


def nearest(budgets: Iterable[float], share: float) -> float:
    return min(budgets, key=lambda budget: abs(budget - share))


def cells(row: Row) -> list[str]:
    return [
        row["label"],
        f"{row['computed']:.0f} of {row['of']}",
        f"{row['forwards']:.1f}",
        f"{row['tflop']:.3f}",
        f"{row['flop_x']:.2f}",
        f"{row['time_x']:.2f}",
        f"{row['memory'] / 1e6:.2f}",
        plus_minus(row),
        f"{worst(row):.1f}",
        f"{average(row, 'ssim'):.4f}",
        *([f"{average(row, 'lpips'):.4f}"] if "lpips" in row["clips"][0] else []),
    ]


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    heads = list(heads)
    return ["| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows)]


def footnote(report: dict[str, Any]) -> str:
    gates = ", ".join(
        f"{SHORT[schedule]} {gate['max_skip']}, {gate['warm_up']}, {gate['tail']}"
        for schedule, gate in report["gates"].items()
    )
    equal = (
        " Methods at equal cost forward the same frames and share one safety gate (`max_skip`, `warm_up`, `tail`:"
        f" {gates}); their settings were looked for on another prompt."
        if any("title" in row for row in report["rows"])
        else ""
    )
    return (
        f"PSNR to the run without acceleration, mean ± spread over {report['clips']} clips with prompts that nothing"
        f" was tuned on, each a run of its own.{equal} Operations are counted at the network. {report['threads']} CPU"
        " threads; made by `python -m tests.bench`; everything measured is in `tests/reports`."
    )
