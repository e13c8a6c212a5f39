"""The benchmark as a picture."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .figures import PRESETS, SCHEDULES, Measured, Row, average
from .methods import OPTIONS, PUBLISHED


def chart(report: dict[str, Any], file: Path) -> None:
    """PSNR over operations, a panel for each schedule: ours, the best rivals and fewer steps in colour, the others
    grey."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    found = Measured(report)
    rivals = [title for title in found.ranking() if found.form[title] in (PUBLISHED, OPTIONS)]
    shown = dict(zip(rivals[:4], ("tab:blue", "tab:green", "tab:purple", "tab:cyan")))
    shown |= {"SCOPE as published": "darkorange", found.ours: "crimson"}
    figure, panels = plt.subplots(
        1, len(found.of_way), figsize=(6.5 * len(found.of_way), 6), sharey=True, squeeze=False, layout="constrained"
    )
    for panel, (way, rows) in zip(panels[0], found.of_way.items()):
        grey = "other methods"
        for title in found.rows:
            points = points_of(row for (at, _), row in found.rows[title].items() if at == way)
            if not points:
                continue
            ours = title == found.ours
            style = (
                {"linewidth": 3.5 if ours else 2, "color": shown[title], "label": title, "zorder": 5 if ours else 4}
                if title in shown
                else {"linewidth": 0.8, "color": "0.75", "label": grey, "zorder": 1}
            )
            grey = grey if title in shown else None
            panel.plot(*zip(*points), marker="o", markersize=7 if ours else 4, **style)
        fewer = points_of(row for row in rows if row["method"] == "fewer")
        panel.plot(
            *zip(*fewer), marker="s", linewidth=2.5, linestyle="--", color="black", label="Fewer steps", zorder=3
        )
        for row in rows:
            if row["method"] == "preset" and row["label"] in PRESETS:
                ((x, y),) = points_of([row])
                panel.plot(x, y, marker="*", markersize=15, color="crimson", markeredgecolor="black", zorder=6)
                panel.annotate(row["label"], (x, y), (6, 6), textcoords="offset points", fontsize=10, zorder=7)
        panel.set(title=SCHEDULES[way], xlabel="operations, % of the full run", xlim=(10, 60))
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("PSNR to the full run, dB")
    handles = dict(zip(*reversed(panels[0][0].get_legend_handles_labels())))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(file, dpi=100)
    plt.close(figure)


def points_of(rows: Iterable[Row]) -> list[tuple[float, float]]:
    return sorted((100 * row["share"], average(row, "psnr")) for row in rows)
