"""The benchmark as a table, as a chart, and in sentences that say who wins and who loses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]
SCHEDULES = {"synchronous": "SkyReels layout, all chunks together", "asynchronous": "SkyReels layout, chunks 5 steps apart",
             "chunk_by_chunk": "MAGI-1 layout, 4 chunks at a time"}
COLUMNS = ("setting", "computed", "forwards", "TFLOP", "FLOP x", "time x", "MB kept", "PSNR", "worst frame", "SSIM")


def markdown(report: dict[str, Any]) -> str:
    """Everything that was measured."""
    lines = []
    for schedule, rows in by_schedule(report):
        lines += [f"## {SCHEDULES[schedule]}", "", line(COLUMNS), line("---" for _ in COLUMNS), *(line(cells(row)) for row in rows), ""]
    return "\n".join([*lines, *verdicts(report), "", footnote(report)])


def summary(report: dict[str, Any]) -> str:
    """For the README: presets, then methods by budget, best first."""
    lines = []
    for schedule, rows in by_schedule(report):
        named = [row for row in rows if "title" not in row]
        lines += [f"**{SCHEDULES[schedule]}**", "", line(COLUMNS), line("---" for _ in COLUMNS), *(line(cells(row)) for row in named), ""]
        if len(named) < len(rows):
            lines += ranking(rows, report["budgets"])
    return "\n".join([*lines, *verdicts(report), "", footnote(report)])


def ranking(rows: list[Row], budgets: list[float]) -> list[str]:
    """Methods at equal budgets: PSNR, spread and FLOP saved."""
    titles = dict.fromkeys(row["title"] for row in rows if "title" in row)
    table = {title: [next((row for row in rows if row.get("title") == title and row["budget"] == budget), None) for budget in budgets] for title in titles}
    table["Fewer steps"] = [min((row for row in rows if row["method"] == "fewer"), key=lambda row: abs(row["share"] - budget)) for budget in budgets]
    ranked = sorted(table, key=lambda title: -sum(row["psnr"] for row in table[title] if row))
    return [line(["method", *(f"PSNR at {budget:.0%} of the forwards" for budget in budgets)]), line(["---"] * (1 + len(budgets))),
            *(line([f"**{title}**" if title.startswith("SCOPE") else title, *map(entry, table[title])]) for title in ranked), ""]


def verdicts(report: dict[str, Any]) -> list[str]:
    """Who loses to what, from the figures alone."""
    found = []
    for schedule, rows in by_schedule(report):
        rivals = [row for row in rows if row["method"] != "full"]
        for row in rivals:
            if row["method"] in ("scope", "scope_paper", "preset"):
                better = [other for other in rivals if other["forwards"] <= 1.02 * row["forwards"] and other["psnr"] > row["psnr"] + 0.5
                          and other["method"] not in ("preset", row["method"])]
                if better:
                    best = max(better, key=lambda other: other["psnr"])
                    fewer = next((other for other in better if other["method"] in ("fewer", "reduced")), None)
                    also = f"; also to {fewer['label']} ({fewer['psnr']:.1f} dB)" if fewer and fewer is not best else ""
                    found.append(f"- {SCHEDULES[schedule]}: {row['label']} ({row['share']:.0%} of the forwards, {row['psnr']:.1f} dB) loses to {best['label']} "
                                 f"({best['share']:.0%}, {best['psnr']:.1f} dB){also}.")
    return ["Where SCOPE loses, at no more forwards and by more than 0.5 dB:", "", *found] if found else ["SCOPE loses nowhere by more than 0.5 dB at equal forwards."]


def chart(report: dict[str, Any], file: Path) -> None:
    """PSNR over the share of forwards, a panel for each schedule, a line for each method."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    schedules = list(by_schedule(report))
    figure, panels = pyplot.subplots(1, len(schedules), figsize=(6 * len(schedules), 5), sharey=True, squeeze=False, layout="constrained")
    for panel, (schedule, rows) in zip(panels[0], schedules):
        lines = {row["title"]: [] for row in rows if "title" in row} | {"Fewer steps": []}
        for row in rows:
            if "title" in row or row["method"] == "fewer":
                lines[row.get("title", "Fewer steps")].append((100 * row["share"], row["psnr"]))
        for i, (title, points) in enumerate(lines.items()):
            ours, base = title.startswith("SCOPE"), title.startswith("Fewer")
            panel.plot(*zip(*sorted(points)), marker="o", markersize=6 if ours or base else 4, linewidth=2.5 if ours else 1.2, linestyle="--" if base else "-",
                       color="black" if base else pyplot.cm.tab20(i % 20), label=title, zorder=3 if ours else 2)
        panel.set(title=SCHEDULES[schedule], xlabel="forward passes, % of the full run")
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("PSNR to the full run, dB")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(file)
    figure.savefig(file.with_suffix(".png"), dpi=110)


def by_schedule(report: dict[str, Any]) -> Iterator[tuple[str, list[Row]]]:
    for schedule in dict.fromkeys(row["schedule"] for row in report["rows"]):
        yield schedule, [row for row in report["rows"] if row["schedule"] == schedule]


def cells(row: Row) -> tuple[str, ...]:
    return (row["label"], f"{row['computed']} of {row['of']}", f"{row['forwards']:g}", f"{row['tflop']:.2f}", f"{row['flop_x']:.2f}", f"{row['time_x']:.2f}",
            f"{row['memory'] / 1e6:.2f}", "inf" if row["psnr"] is None else f"{row['psnr']:.1f} ± {row['spread']:.1f}",
            "inf" if row["worst_frame"] is None else f"{row['worst_frame']:.1f}", f"{row['ssim']:.4f}")


def entry(row: Row | None) -> str:
    if row is None:
        return ""
    far = "" if row.get("reached", True) else f" at {row['share']:.0%}"
    return f"{row['psnr']:.1f} ± {row['spread']:.1f} ({row['flop_x']:.1f}x){far}"


def line(cells) -> str:
    return "| " + " | ".join(cells) + " |"


def footnote(report: dict[str, Any]) -> str:
    gate = report["gate"]
    equal = (f" Methods at equal budgets share one safety gate (at most {gate['max_skip']} skips in a row, first {gate['warm_up']} and last {gate['tail']} step of a chunk computed); their settings "
             "were looked for on another prompt." if any("title" in row for row in report["rows"]) else "")
    return (f"PSNR and SSIM to the run without acceleration: mean ± spread over {report['clips']} prompts and seeds that nothing was tuned on, and the worst frame of all.{equal} "
            f"{report['threads']} CPU threads; made by `python -m tests.bench`.")
