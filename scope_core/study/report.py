"""A run in words and figures, as Markdown that can be pasted into an issue."""

from typing import Any

from ..settings import knob_names

WIDEST_TIMELINE = 300


def markdown(report: dict[str, Any]) -> str:
    """Page of a report {"trace": ..., "quality": ... or None, "runs": ... or None, "versions": {...}}."""
    trace = report["trace"]
    run, totals = trace["run"], trace["totals"]
    lines = [f"# SCOPE run: {run['model']}, {run['method']}" + (f", {run['preset']}" if "preset" in run else ""), ""]
    lines += table(
        ("figure", "value"),
        [
            (
                "evaluations",
                (
                    f"{totals['computed']} of {totals['iterations']},"
                    f" {totals['iterations'] / max(1, totals['computed']):.2f}x fewer"
                ),
            ),
            ("frames through the model", f"{totals['frames_computed']} of {totals['frames_baseline']}"),
            ("forward passes, all guidance branches", totals["forwards"]),
            ("time", f"{totals['seconds']:.2f} s"),
            (
                "time if every step were computed, estimated from the computed ones",
                f"{totals['estimated_baseline_seconds']:.2f} s",
            ),
            ("memory kept by the method", f"{totals['memory_bytes'] / 1e6:.1f} MB"),
        ],
    )
    lines += [f"Nothing was skipped. {totals['skipped_reason']}", ""] if totals["skipped_reason"] else []
    lines += [f"- {warning}" for warning in run.get("warnings", [])] + [""]
    lines += quality_lines(report["quality"]) if report.get("quality") else []
    lines += runs_lines(report["runs"]) if report.get("runs") else []
    lines += ["## Timeline", "", *timeline(trace)]
    lines += ["## Settings", "", *table(("setting", "value"), knob_names(run["settings"]).items())]
    lines += table(("schedule", "value"), run["schedule"].items())
    lines += ["## Made with", "", *table(("what", "version"), {**run["host"], **report["versions"]}.items())]
    return "\n".join(lines)


def quality_lines(quality: dict[str, Any]) -> list[str]:
    rows = [
        (
            figure["label"],
            value(figure["mean"], figure["unit"]),
            value(figure["worst"], figure["unit"]),
            figure["worst_frame"],
        )
        for figure in quality["metrics"].values()
    ]
    return [
        "## Fidelity to the run without SCOPE",
        "",
        "A video that differs is not always worse.",
        "",
        *table(("figure", "mean", "worst frame", "which"), rows),
        *(f"- {note}" for note in quality["notes"]),
        "",
    ]


def runs_lines(runs: dict[str, Any]) -> list[str]:
    figures = runs["metrics"]
    rows = [
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
    ]
    return [
        "## Trade-off",
        "",
        *table(("setting", "evaluations", "time", *(figure["label"] for figure in figures.values())), rows),
        *(f"- {note}" for note in runs["notes"]),
        "",
    ]


def value(number: float | None, unit: str) -> str:
    return "identical" if number is None else f"{number:.4g} {unit}".strip()


def timeline(trace: dict[str, Any]) -> list[str]:
    """One row of letters per chunk, one column per iteration."""
    lines = ["R recomputed, P predicted, C reused, . no step; one row per chunk.", ""]
    for segment in trace["segments"]:
        steps = segment["steps"][:WIDEST_TIMELINE]
        rows = ["".join(step["modes"][unit] for step in steps) for unit in range(len(segment["units"]))]
        cut = (
            f" (first {WIDEST_TIMELINE} of {len(segment['steps'])} iterations)"
            if len(segment["steps"]) > WIDEST_TIMELINE
            else ""
        )
        lines += [f"Segment {segment['index'] + 1}{cut}:", "", "```", *rows, "```", ""]
    return lines


def table(head: tuple[str, ...], rows: Any) -> list[str]:
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in cells), ""]
