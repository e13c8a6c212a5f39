"""Thumbnails of the example workflows: `python -m tests.thumbnails [NAME ...]`.

They show what comes out. Demos are run: a frame of their video, halved between without and with SCOPE, or the points
that were measured. For models whose files nobody may have here it is the plan that ComfyUI makes of the graph.
"""

import argparse
import io
import math
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.pictures import BACKGROUND, FAINT, INK, PAPER, PREDICT, RECOMPUTE, REUSE, ROOT, font
from workflows import examples
from workflows.graph import to_prompt

SIZE, MARGIN, HEAD, FOOT = 640, 28, 132, 588
LOOKS = {"R": RECOMPUTE, "P": PREDICT, "C": REUSE}
WORDS = {"R": "computed", "P": "predicted", "C": "reused"}
TEACACHE = (120, 170, 230)
WAITING, FINISHED = (38, 44, 54), (72, 80, 92)
WITH_PLAN = ("SCOPE_Sampler", "SCOPE_Accelerate")

Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""


def grid(trace: dict[str, Any]):
    """Colours [chunks, iterations, 3] of a plan, its segments one after the other."""
    import numpy as np

    rows = max(len(segment["units"]) for segment in trace["segments"])
    columns = []
    for segment in trace["segments"]:
        begun = [False] * rows
        for step in segment["steps"]:
            column = [WAITING] * rows
            for row, mode in enumerate(step["modes"]):
                begun[row] = begun[row] or mode != "."
                column[row] = LOOKS.get(mode, FINISHED if begun[row] else WAITING)
            columns.append(column)
    return np.array(columns, np.uint8).swapaxes(0, 1)


def staircase(image, box: Box, trace: dict[str, Any]) -> None:
    """A plan: iterations from left to right, chunks from top to bottom."""
    from PIL import Image

    left, top, right, bottom = box
    cells = grid(trace)
    height = min((bottom - top) / len(cells), 170)
    top += int((bottom - top - height * len(cells)) / 2)
    for row, colours in enumerate(cells):
        upper, lower = round(top + row * height), round(top + (row + 1) * height) - 2
        strip = Image.fromarray(colours[None]).resize((right - left, lower - upper), Image.Resampling.BOX)
        image.paste(strip, (left, upper))


def saved(trace: dict[str, Any]) -> str:
    computed, iterations = trace["totals"]["computed"], trace["totals"]["iterations"]
    return f"{computed} of {iterations} evaluations, {iterations / computed:.1f}x fewer"


def length(prompt: dict[str, Any]) -> str:
    """Of the video that comes out."""
    inputs = next(node["inputs"] for node in prompt.values() if {"width", "height", "length"} <= node["inputs"].keys())
    return f"{inputs['length']} frames, {inputs['width']} x {inputs['height']}"


def foot(draw, left: str, right: str = "") -> None:
    draw.text((MARGIN, FOOT), left, INK, font(23))
    draw.text((SIZE - MARGIN, FOOT + 4), right, FAINT, font(18), anchor="ra")


def legend(draw, top: int, colours: dict[str, tuple]) -> None:
    left = MARGIN
    for word, colour in colours.items():
        draw.rectangle((left, top + 3, left + 15, top + 18), fill=colour)
        draw.text((left + 24, top), word, FAINT, font(18))
        left += 48 + int(draw.textlength(word, font(18)))


def planned(image, draw, prompt, traces) -> None:
    """The plan of each sampler."""
    for (title, trace), (left, top, right, bottom) in zip(traces, boxes(len(traces), HEAD + 4, 520)):
        words = title if len(traces) > 1 else ""
        draw.text((left, top), words, FAINT, font(20))
        staircase(image, (left, top + (32 if words else 0), right, bottom), trace)
    present = "".join(
        step["modes"] for _, trace in traces for segment in trace["segments"] for step in segment["steps"]
    )
    legend(draw, 544, {WORDS[mode]: colour for mode, colour in LOOKS.items() if mode in present})
    foot(draw, saved(traces[-1][1]), length(prompt))


def boxes(count: int, top: int, bottom: int) -> Iterator[Box]:
    height = (bottom - top) // count
    for index in range(count):
        yield MARGIN, top + index * height, SIZE - MARGIN, top + (index + 1) * height - 14


def halves(image, draw, prompt, traces, frames) -> None:
    """The middle frame, without SCOPE at the left and with it at the right, over the plan."""
    from PIL import Image

    side, top = 336, HEAD
    left = (SIZE - side) // 2
    without, with_scope = (Image.fromarray(frame).resize((side, side), Image.Resampling.LANCZOS) for frame in frames)
    image.paste(with_scope, (left, top))
    image.paste(without.crop((0, 0, side // 2, side)), (left, top))
    centre = left + side // 2
    draw.rectangle((centre - 1, top, centre + 1, top + side), fill=INK)
    draw.ellipse((centre - 13, top + side // 2 - 13, centre + 13, top + side // 2 + 13), fill=INK)
    for x, anchor, words in ((left - 16, "ra", ("every", "step")), (left + side + 16, "la", ("with", "SCOPE"))):
        for line, word in enumerate(words):
            draw.text((x, top + side // 2 - 24 + 26 * line), word, INK, font(21), anchor=anchor)
    staircase(image, (MARGIN, top + side + 16, SIZE - MARGIN, FOOT - 12), traces[-1][1])
    foot(draw, saved(traces[-1][1]), length(prompt))


def middle_frames(server, outputs: dict[str, Any]) -> list:
    """Without SCOPE and with it: of the clips that were compared, or of the video in which they stand side by side."""
    for output in outputs.values():
        for clips in output.get("scope_compare", []):
            return [middle_frame(server, clips[name]) for name in "ab"]
    (file,) = (file for output in outputs.values() for file in output.get("images", []))
    both = middle_frame(server, file)
    return [both[:, : len(both)], both[:, -len(both) :]]


def middle_frame(server, file: dict[str, str]):
    import av

    with urllib.request.urlopen(f"{server.url}/view?{urlencode(file)}") as answer:
        video = io.BytesIO(answer.read())
    with av.open(video) as clip:
        frames = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
    return frames[len(frames) // 2]


def curve(image, draw, runs) -> None:
    """What was measured: how close to the full run over how many evaluations were saved."""
    points = [(run["iterations"] / run["computed"], run["psnr"], run["method"]) for run in runs if not run["baseline"]]
    left, top, right, bottom = MARGIN + 52, HEAD + 10, SIZE - MARGIN - 10, 520
    most, (low, high) = max(x for x, *_ in points) * 1.08, (min(y for _, y, _ in points), max(y for _, y, _ in points))
    low, high = 5 * math.floor(low / 5 - 0.2), 5 * math.ceil(high / 5 + 0.2)

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (x - 1) / (most - 1) * (right - left), bottom - (y - low) / (high - low) * (bottom - top)

    for y in range(low, high + 1, 5):
        draw.line((*place(1, y), *place(most, y)), fill=PAPER, width=2)
        draw.text((left - 10, place(1, y)[1]), f"{y}", FAINT, font(18), anchor="rm")
    for x in range(1, int(most) + 1):
        draw.text((place(x, low)[0], bottom + 8), f"{x}x", FAINT, font(18), anchor="ma")
    for x, y, method in points:
        centre, colour = place(x, y), TEACACHE if method == "teacache" else PREDICT
        draw.ellipse((centre[0] - 10, centre[1] - 10, centre[0] + 10, centre[1] + 10), fill=colour)
    legend(draw, 552, {"SCOPE": PREDICT, "TeaCache": TEACACHE})
    foot(draw, "PSNR in dB over fewer evaluations", "this clip alone")


def bars(image, draw, prompt, points) -> None:
    """What each setting of a sweep computes."""
    rows = (505 - HEAD) / len(points)
    for row, point in enumerate(sorted(points, key=lambda point: -point["computed"])):
        top = HEAD + 8 + row * rows
        width = (SIZE - 2 * MARGIN - 250) * point["computed"] / point["iterations"]
        label = "without SCOPE" if point["baseline"] else point["label"].partition(",")[0]
        draw.text((MARGIN, top + 4), label, INK, font(20))
        draw.rectangle((MARGIN + 190, top + 4, MARGIN + 190 + width, top + rows - 14), fill=bar_colour(point))
        draw.text((MARGIN + 200 + width, top + 4), f"{point['computed']}", FAINT, font(20))
    legend(draw, 544, {"every step": RECOMPUTE, "SCOPE": PREDICT, "TeaCache": TEACACHE})
    foot(draw, "evaluations of each setting", length(prompt))


def bar_colour(point: dict[str, Any]) -> tuple[int, int, int]:
    return RECOMPUTE if point["baseline"] else TEACACHE if point["method"] == "teacache" else PREDICT


def thumbnail(name: str, server, object_info: dict[str, Any]):
    """640 x 640 pixels."""
    from PIL import Image, ImageDraw

    workflow = examples.load(name)
    prompt = to_prompt(workflow, object_info)
    kinds = {node["class_type"] for node in prompt.values()}
    answers = {
        node: server.request("POST", "/scope/plan", {"node": node, "prompt": prompt})[1]
        for node, entry in prompt.items()
        if entry["class_type"] in (*WITH_PLAN, "SCOPE_Sweep")
    }
    traces = [
        (prompt[node]["_meta"]["title"], answer["trace"]) for node, answer in answers.items() if "trace" in answer
    ]
    traces.sort(key=lambda told: -told[1]["totals"]["computed"])
    points = [point for answer in answers.values() for point in answer.get("points", [])]
    image = Image.new("RGB", (SIZE, SIZE), BACKGROUND)
    draw = ImageDraw.Draw(image)
    family, _, what = name[3:].partition(" - ")
    draw.text((SIZE - MARGIN, 24), family, PREDICT, font(26), anchor="ra")  # at the left the browser puts a badge
    draw.text((MARGIN, 58), what, INK, font(44 if draw.textlength(what, font(44)) < SIZE - 2 * MARGIN else 35))
    if "SCOPE_LoadDemo" in kinds:
        outputs = server.run(prompt, workflow=workflow)["outputs"]
        runs = [
            run for output in outputs.values() for payload in output.get("scope_runs", []) for run in payload["points"]
        ]
        if runs:
            curve(image, draw, runs)
        else:
            halves(image, draw, prompt, traces, middle_frames(server, outputs))
    elif points:
        bars(image, draw, prompt, points)
    else:
        planned(image, draw, prompt, traces)
    return image


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.thumbnails", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the examples' names; without them all")
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI to use; otherwise one is found or built")
    parser.add_argument("--here", action="store_true", help="draw in this Python")
    args = parser.parse_args()
    from workflows.launcher import find_or_build

    host = find_or_build(args.comfyui)
    if not args.here:
        command = [str(host.python), "-m", "tests.thumbnails", *sys.argv[1:], "--here"]
        return subprocess.run(command, cwd=ROOT).returncode
    with host.serve() as server:
        object_info = server.object_info()
        for name in [examples.find(name).stem for name in args.names] or examples.names():
            thumbnail(name, server, object_info).save(examples.FOLDER / f"{name}.jpg", quality=88, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
