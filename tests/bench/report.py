"""The benchmark as tables and sentences that say who wins and who loses."""

from collections.abc import Iterable
from statistics import mean, median
from typing import Any

import numpy as np

from scope_core.study.paired import EQUAL_DB

from .figures import (
    CHANGED,
    LONG,
    PRESETS,
    SCHEDULES,
    SHORT,
    Measured,
    Row,
    average,
    by_schedule,
    faithfulness,
    fewer_at,
    full_of,
    lost_share,
    missed,
    over_clips,
    paired,
    points_to_full,
    psnrs,
    worst_frame,
)
from .methods import OPTIONS, PUBLISHED
from .targets import lost_places
from .targets import targets as reached

COLUMNS = ("setting", "computed", "TFLOP", "operations", "time x", "MB kept", "PSNR", "median", "worst clip")
MORE_COLUMNS = ("worst frame", "changed", "SSIM", "LPIPS", "faithful")


def markdown(report: dict[str, Any]) -> str:
    """Everything that was measured."""
    lines = ["# Benchmark", ""]
    for way, rows in by_schedule(report):
        lines += [f"## {SCHEDULES[way]}", "", *table((*COLUMNS, *MORE_COLUMNS), map(cells, rows)), ""]
    return "\n".join([*lines, ranked(report), ""])


def ranked(report: dict[str, Any]) -> str:
    """Methods at equal cost, best first, and where we lose."""
    parts = {
        "Fidelity at equal cost": ranking(report),
        "Ours against each of them": versus(report),
        "Where we lose": losses(report),
        "Targets": targets(report),
        "Clips that became another video": changed(report),
        "Faithfulness to the prompt": faithful(report),
        "Time and memory": speed(report),
        "Long videos": ranking(report, LONG),
    }
    told = [line for title, lines in parts.items() if lines for line in (f"#### {title}", "", *lines, "")]
    return "\n".join([*told, footnote(report)])


def named(report: dict[str, Any]) -> str:
    """The named presets beside fewer steps, and which of them lose."""
    return "\n".join([*presets(report), "", *losing_presets(report), "", footnote(report)])


def result(report: dict[str, Any]) -> str:
    """Three rows for those in a hurry: operations saved by our presets, and the closeness that costs."""
    found: dict[str, list[str]] = {name: [] for name in PRESETS}
    for _, rows in by_schedule(report):
        for row in rows:
            if row["method"] == "preset" and row["label"] in found:
                found[row["label"]].append(f"{row['flop_x']:.1f}x fewer, {plus_minus(row)} dB")
    heads = [SHORT[way] for way, _ in by_schedule(report)]
    lines = table(["preset", *heads], ([f"`{name}`", *cells] for name, cells in found.items()))
    return "\n".join(
        [*lines, "", f"Operations, and PSNR to the run without skipping, mean ± spread over {clips_of(report)} clips."]
    )


def in_short(report: dict[str, Any]) -> str:
    """Who comes nearest to ours, and where we lose, in sentences."""
    found = Measured(report)

    def nearest(form: str) -> str:
        ahead = {title: found.against(found.ours, title) for title, its in found.form.items() if its == form}
        title = min((title for title in ahead if not np.isnan(ahead[title][0])), key=lambda title: ahead[title][0])
        return f"by {ahead[title][0]:.1f} ± {ahead[title][1]:.1f} dB ({title})"

    lost = [f"{SHORT[way]} at {budget:.0%} to {rivals[0][0]}" for (way, budget), rivals in lost_places(found).items()]
    beaten = f"Others are ahead by more than the 95 % interval at {len(lost)} of the places: {', '.join(lost)}."
    gain, interval = found.mean_gain(found.ours)
    return (
        f"Over {clips_of(report)} clips and {len(found.places)} places SCOPE with planned steps is ahead of fewer steps"
        f" by {gain:.1f} ± {interval:.1f} dB, of the nearest rival in its published form {nearest(PUBLISHED)}, and of"
        f" the nearest one {OPTIONS} {nearest(OPTIONS)}."
        f" {beaten if lost else 'At no place is another one ahead by more than the 95 % interval.'}"
    )


def presets(report: dict[str, Any]) -> list[str]:
    """Named presets, and fewer steps as near to every budget as they come, a column for each schedule: operations
    saved, PSNR, worst frame; then SSIM and LPIPS where it is measured."""
    found: dict[str, dict[str, str]] = {}
    alike: dict[str, dict[str, str]] = {}
    for way, rows in by_schedule(report):
        fewer = [row for row in rows if row["method"] == "fewer"]
        shown = {
            f"fewer steps, about {budget:.0%}": min(fewer, key=lambda row: abs(budget - row["share"]))
            for budget in report["budgets"]
        }
        shown |= {row["label"]: row for row in rows if row["method"] == "preset"}
        for name, row in shown.items():
            time = f", {row['time_x']:.1f}x" if row["time_x"] else ""
            found.setdefault(name, {})[way] = f"{row['flop_x']:.1f}x{time}: {plus_minus(row)} ({worst_frame(row):.0f})"
            if "lpips" in row["clips"][0]:
                alike.setdefault(name, {})[way] = f"{average(row, 'ssim'):.4f}, {average(row, 'lpips'):.4f}"

    def by_way(head: str, cells: dict[str, dict[str, str]]) -> list[str]:
        ways = [way for way, _ in by_schedule(report) if any(way in row for row in cells.values())]
        named = ([name, *(row.get(way, "") for way in ways)] for name, row in cells.items())
        return table([head, *(SHORT[way] for way in ways)], named)

    first = by_way("operations, time: PSNR (worst frame)", found)
    return [*first, "", *by_way("SSIM, LPIPS (less is closer)", alike)] if alike else first


def losing_presets(report: dict[str, Any]) -> list[str]:
    found: dict[str, list[str]] = {}
    for way, rows in by_schedule(report):
        for row in rows:
            if row["method"] == "preset":
                loss, interval = paired(fewer_at(rows, row["share"]), psnrs(row))
                if loss > interval:
                    found.setdefault(row["label"], []).append(f"{SHORT[way]} by {loss:.1f}")
    losing = "; ".join(f"`{label}` ({', '.join(where)})" for label, where in found.items())
    return [f"Presets that lose to fewer steps at their own cost, by more than the 95 % interval: {losing or 'none'}."]


def ranking(report: dict[str, Any], ways: Iterable[str] | None = None) -> list[str]:
    """Mean PSNR at every place, and the gain over fewer steps at the same cost, over the places reached."""
    found = Measured(report, ways)
    if not found.rows:
        return []

    def cell(row: Row) -> str:
        text, (gain, interval) = f"{average(row, 'psnr'):.1f}", over_clips(found.gain(row))
        return (f"**{text}**" if gain > interval and not missed(row) else text) + at_cost(row)

    lines = [
        [
            title,
            found.form[title],
            signed(*found.mean_gain(title)),
            *(cell(found.rows[title][place]) if place in found.rows[title] else "" for place in found.places),
        ]
        for title in found.ranking()
    ]
    told = (
        "Mean PSNR in dB. Bold: ahead of fewer steps at its own cost by more than the 95 % interval. Where a cost is"
        " told, no setting comes within four points of the budget; it is that of the nearest one, and the place is not"
        " counted."
    )
    return [*table(["method", "form", "gain over fewer steps, dB", *heads(found)], lines), "", told]


def heads(found: Measured) -> list[str]:
    return [f"{SHORT[way]} {budget:.0%}" for way, budget in found.places]


def versus(report: dict[str, Any]) -> list[str]:
    """Ours minus each other method, paired over clips."""
    found = Measured(report)
    if not found.ours:
        return []
    ours = found.counted(found.ours)
    lines = [
        [
            title,
            signed(*found.against(found.ours, title)),
            *(
                signed(*paired(psnrs(ours[p]), psnrs(found.counted(title)[p])))
                if p in ours and p in found.counted(title)
                else ""
                for p in found.places
            ),
        ]
        for title in found.ranking()
        if title != found.ours
    ]
    return [
        *table(["ours minus", "mean", *heads(found)], lines),
        "",
        "dB with 95 % intervals: paired over clips, Student's t. Only where both reach the budget.",
    ]


def losses(report: dict[str, Any]) -> list[str]:
    """Every place where another method is ahead of ours by more than the interval."""
    found = Measured(report)
    if not found.ours:
        return []
    lost = lost_places(found)
    told = [
        f"- {SHORT[way]} at {budget:.0%}: "
        + ", ".join(f"{title} by {ahead:.1f} ± {interval:.1f} dB" for title, ahead, interval in rivals)
        for (way, budget), rivals in lost.items()
    ]
    of = f"{len(lost)} of {len(found.counted(found.ours))} places"
    not_reached = [
        f"{SHORT[way]} at {budget:.0%}"
        for way, budget in found.places
        if (way, budget) not in found.counted(found.ours)
    ]
    return [
        f"Another method is ahead of ours by more than the 95 % interval at {of}.",
        *told,
        *([f"Ours has no setting near the budget at: {', '.join(not_reached)}."] if not_reached else []),
    ]


def targets(report: dict[str, Any]) -> list[str]:
    """What was to be reached, what was, and by how much it is missed."""
    found = Measured(report)
    if not found.ours:
        return []
    lines = [
        [what, measured, "yes" if lacking <= 0 else f"no, by {lacking:.1f}{unit}"]
        for what, measured, lacking, unit in reached(found)
    ]
    return table(["target", "measured", "reached"], lines)


def changed(report: dict[str, Any]) -> list[str]:
    """Share of clips below CHANGED at every budget, over the schedules."""
    found = Measured(report)
    if not found.rows:
        return []
    budgets = sorted({budget for _, budget in found.places}, reverse=True)

    def over(rows: list[np.ndarray]) -> str:
        return f"{lost_share(np.concatenate(rows)):.0%}" if rows else ""

    lines = [
        [
            title,
            *(over([psnrs(row) for (_, b), row in found.counted(title).items() if b == budget]) for budget in budgets),
        ]
        for title in found.ranking()
    ]
    fewer = ["fewer steps", *(over([fewer_at(rows, budget) for rows in found.of_way.values()]) for budget in budgets)]
    return [
        *table(["clips changed", *(f"at {budget:.0%}" for budget in budgets)], [*lines, fewer]),
        "",
        f"A clip counts as another video below {CHANGED:g} dB to the full run.{another_noise(found)}",
    ]


def another_noise(found: Measured) -> str:
    """What PSNR truly another video has: the same prompts from other noise."""
    values = [psnrs(row) for rows in found.of_way.values() for row in rows if row["method"] == "other"]
    if not values:
        return ""
    all_of = np.concatenate(values)
    return (
        f" The same prompts from other noise, which makes another video indeed, come to {all_of.mean():.1f} dB on"
        f" average, {np.quantile(all_of, 0.95):.1f} dB at the 95th percentile and {all_of.max():.1f} dB at most."
    )


def faithful(report: dict[str, Any]) -> list[str]:
    """What the demo's judge finds of the prompt, in points of the full run, over goals, clips and schedules."""
    found = Measured(report)
    if not found.rows or "faithful" not in report["rows"][0]["clips"][0]:
        return []
    full = {way: full_of(rows) for way, rows in found.of_way.items()}
    budgets = sorted({budget for _, budget in found.places}, reverse=True)

    def points(rows: list[Row]) -> str:
        return f"{mean(points_to_full(row, full[row['schedule']]) for row in rows):+.1f}" if rows else ""

    lines = [
        [title, *(points([row for (_, b), row in found.counted(title).items() if b == budget]) for budget in budgets)]
        for title in found.ranking()
    ]
    others: dict[str, list[Row]] = {}
    for rows in found.of_way.values():
        for row in rows:
            if row["method"] in ("preset", "other"):
                others.setdefault(row["label"], []).append(row)
    alone = ", ".join(f"{label} {points(rows)}" for label, rows in others.items())
    whole = ", ".join(f"{SHORT[way]} {faithfulness(row):.1%}" for way, row in full.items())
    return [
        *table(["points to the full run", *(f"at {budget:.0%}" for budget in budgets)], lines),
        "",
        "Mean over what the demo's judge looks at: objects there, colour, shape, steady colour, background. The full"
        f" runs: {whole}." + (f" At their own cost: {alone}." if alone else ""),
    ]


def speed(report: dict[str, Any]) -> list[str]:
    """Seconds saved over operations saved, and memory."""
    found = Measured(report)
    lines = []
    for title in found.ranking():
        rows = list(found.rows[title].values())
        ratios = [row["time_x"] / row["flop_x"] for row in rows if row["time_x"]]
        clock = [f"{median(ratios):.2f}", f"{min(ratios):.2f}"] if ratios else ["", ""]
        lines.append([title, *clock, f"{max(row['memory'] for row in rows) / 1e6:.1f}"])
    return table(["method", "time x / operations x, median", "least", "MB kept, most"], lines) if lines else []


def at_cost(row: Row) -> str:
    return f" at {row['share']:.0%}" if missed(row) else ""


def signed(value: float, interval: float) -> str:
    if np.isnan(value):
        return ""
    return f"{value:+.1f}" + (f" ± {interval:.1f}" if np.isfinite(interval) else "")


def plus_minus(row: Row) -> str:
    """Mean and standard deviation over clips."""
    values = psnrs(row)
    if values.min() == EQUAL_DB:
        return "inf"
    return f"{values.mean():.1f} ± {values.std(ddof=1) if len(values) > 1 else 0:.1f}"


def cells(row: Row) -> list[str]:
    values = psnrs(row)
    return [
        row["label"] + (f", for {row['budget']:.0%}" if "form" in row else ""),
        f"{row['computed']:.0f} of {row['of']}",
        f"{row['tflop']:.3f}",
        f"{row['share']:.1%}",
        f"{row['time_x']:.2f}" if row["time_x"] else "",
        f"{row['memory'] / 1e6:.2f}",
        plus_minus(row),
        f"{np.median(values):.1f}",
        f"{values.min():.1f}",
        f"{worst_frame(row):.1f}",
        f"{lost_share(values):.0%}",
        f"{average(row, 'ssim'):.4f}",
        f"{average(row, 'lpips'):.4f}" if "lpips" in row["clips"][0] else "",
        f"{faithfulness(row):.1%}" if "faithful" in row["clips"][0] else "",
    ]


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    heads = list(heads)
    return ["| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows)]


def clips_of(report: dict[str, Any]) -> str:
    """How many there are, which differs between methods while a benchmark is in progress. Long videos have fewer, and
    are counted where they are alone."""
    usual = [row for row in report["rows"] if row["schedule"] not in LONG]
    counts = sorted({len(row["clips"]) for row in usual or report["rows"]})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def footnote(report: dict[str, Any]) -> str:
    ways = [way for way, _ in by_schedule(report)]
    gates = ", ".join(
        f"{SHORT[way]} {gate['max_skip']}, {gate['warm_up']}, {gate['tail']}"
        for way, gate in report["gates"].items()
        if way in ways
    )
    equal = (
        " Other methods than ours share one safety gate (`max_skip`, `warm_up`, `tail`:"
        f" {gates}). Settings were planned, or looked for on another prompt."
        if any("form" in row for row in report["rows"])
        else ""
    )
    return (
        f"PSNR to the run without acceleration over {clips_of(report)} clips with prompts that nothing was tuned on,"
        f" each a run of its own.{equal} Operations are counted at the network. Made by `python -m tests.bench`;"
        " everything measured is in `tests/reports`."
    )
