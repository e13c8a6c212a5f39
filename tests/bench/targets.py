"""What our method was to reach, what it reached, and by how much it falls short."""

from collections.abc import Iterator
from statistics import mean

import numpy as np

from .figures import (
    PRESETS,
    SHORT,
    Measured,
    Place,
    Row,
    along,
    average,
    difference,
    fewer_at,
    full_of,
    lost_share,
    paired,
    points_to_full,
    psnrs,
)
from .methods import OPTIONS, PUBLISHED

Target = tuple[str, str, float, str]
"""What, as measured, by how much it is missed (0 or less: reached), and the unit of that."""


def targets(found: Measured) -> Iterator[Target]:
    for part in (against_rivals, closeness_on_magi, cost_of_the_paper, own_presets):
        yield from part(found)


def against_rivals(found: Measured) -> Iterator[Target]:
    ours, (gain, interval) = found.ours, found.mean_gain(found.ours)
    lost = len(lost_places(found)) + len(found.places) - len(found.counted(ours))
    yield f"no rival ahead by more than the interval at {len(found.places)} places", f"{lost} lost", lost, " places"
    for form, wanted in ((PUBLISHED, 2.5), (OPTIONS, 0.0)):
        apart = {title: found.against(ours, title) for title, its in found.form.items() if its == form}
        apart = {title: ahead for title, ahead in apart.items() if not np.isnan(ahead[0])}
        if apart:
            title, (ahead, wide) = min(apart.items(), key=lambda item: item[1][0])
            what = f"over all places >= {wanted:g} dB above every rival {form}"
            yield what, f"{ahead:+.1f} ± {wide:.1f} dB ({title})", wanted - ahead, " dB"
    yield "mean gain over fewer steps >= 12 dB", f"{gain:+.1f} ± {interval:.1f} dB", 12 - gain, " dB"


def closeness_on_magi(found: Measured) -> Iterator[Target]:
    rows = curve(found, "chunk_by_chunk")
    for wanted, share in ((60, 0.53), (53, 0.36), (46, 0.26)) if rows else ():
        made = float(np.interp(share, [row["share"] for row in rows], [average(row, "psnr") for row in rows]))
        yield f"MAGI-1: >= {wanted} dB at {share:.0%}", f"{made:.1f} dB", wanted - made, " dB"


def cost_of_the_paper(found: Measured) -> Iterator[Target]:
    """The least of its operations that ours needs for at least the mean PSNR of SCOPE as published."""
    for way, wanted in (("synchronous", 0.5), ("asynchronous", 0.5), ("chunk_by_chunk", 0.35)):
        rows = curve(found, way)
        points = [
            row
            for row in found.of_way.get(way, ())
            if row["method"] == "preset"
            and row["label"].startswith("paper")
            and ("magi" in row["label"]) == (way == "chunk_by_chunk")
        ]
        for point in points if rows else ():
            enough = [row["share"] for row in rows if average(row, "psnr") >= average(point, "psnr")]
            if not enough:
                yield f"{SHORT[way]}: fidelity of `{point['label']}`", "not reached", 100.0, " %"
                continue
            part = min(enough) / point["share"]
            most = "at most " if min(enough) == rows[0]["share"] else ""
            what = f"{SHORT[way]}: fidelity of `{point['label']}` at <= {wanted:.0%} of its operations"
            yield what, f"{most}{part:.0%}", 100 * (part - wanted), " points"


def own_presets(found: Measured) -> Iterator[Target]:
    """Each named preset against every rival at its own cost, and its faithfulness."""
    for label in PRESETS:
        own = {
            way: row
            for way, rows in found.of_way.items()
            for row in rows
            if row["method"] == "preset" and row["label"] == label
        }
        if not own:
            continue
        margins = {
            (SHORT[way], title): mean(difference(psnrs(row), rival))
            for way, row in own.items()
            for title, rival in rivals_at(found, way, row["share"])
        }
        if margins:
            where, least = min(margins.items(), key=lambda item: item[1])
            what = f"`{label}` ahead of every rival at its own cost"
            yield what, f"{least:+.1f} dB ({', '.join(where)})", -least, " dB"
        more = {
            way: lost_share(psnrs(row)) - lost_share(fewer_at(found.of_way[way], row["share"]))
            for way, row in own.items()
        }
        way = max(more, key=more.__getitem__)
        changed = f"{100 * more[way]:+.0f} points ({SHORT[way]})"
        yield f"`{label}`: no more clips changed than by fewer steps", changed, 100 * more[way], " points"
        if label != "quality" and all("faithful" in clip for row in own.values() for clip in row["clips"]):
            allowed = {"balanced": 1.0, "fast": 3.0}[label]
            points = mean(points_to_full(row, full_of(found.of_way[way])) for way, row in own.items())
            yield (
                f"`{label}` as faithful to the prompt, within {allowed:g} points",
                f"{points:+.1f} points",
                -points - allowed,
                " points",
            )


def lost_places(found: Measured) -> dict[Place, list[tuple[str, float, float]]]:
    """Who is ahead of ours by more than the interval, by how much, at each place; fewer steps among them."""
    lost: dict[Place, list[tuple[str, float, float]]] = {}
    for place, row in found.counted(found.ours).items():
        rivals = {
            title: psnrs(found.counted(title)[place])
            for title, form in found.form.items()
            if form in (PUBLISHED, OPTIONS) and place in found.counted(title)
        }
        rivals["fewer steps"] = fewer_at(found.of_way[place[0]], row["share"])
        for title, values in rivals.items():
            ahead, interval = paired(values, psnrs(row))
            if ahead > interval:
                lost.setdefault(place, []).append((title, ahead, interval))
    return {place: sorted(rivals, key=lambda each: -each[1]) for place, rivals in lost.items()}


def rivals_at(found: Measured, way: str, share: float) -> Iterator[tuple[str, np.ndarray]]:
    """PSNR of each clip of every rival at a cost, along the line between its settings; not beyond them."""
    for title, form in found.form.items():
        rows = sorted(
            {row["share"]: row for (at, _), row in found.rows[title].items() if at == way}.values(),
            key=lambda row: row["share"],
        )
        if form in (PUBLISHED, OPTIONS) and rows and rows[0]["share"] <= share <= rows[-1]["share"]:
            yield title, along(rows, share)


def curve(found: Measured, way: str) -> list[Row]:
    """Ours on a schedule, cheap ones first."""
    rows = [row for (at, _), row in found.rows[found.ours].items() if at == way]
    return sorted(rows, key=lambda row: row["share"])
