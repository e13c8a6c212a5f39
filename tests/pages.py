"""Write what the committed reports say into README and docs: `python -m tests.pages`. Prose is written by people,
figures here.

`tests.bench`, `tests.efficiency`, `tests.accelerate` and `tests.soak` leave their reports in tests/reports with
`--keep`; the JSON of `scope_core.demo.training.evaluate` and the files of `tests.gpu_check` are copied there by hand. A
test holds the pages to the reports.
"""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from .bench.report import in_short, named, ranked, result

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "tests" / "reports"
WANTED = "wanted"


def efficiency(report: dict[str, Any]) -> str:
    """What the loop itself costs, in sentences."""
    cadence, others = report["two skipped"], report["methods"].values()
    outside = "loop outside the network, of the full run"
    ratios = [row["time x / FLOP x"] for row in others if row["output"]]
    return (
        f"On {report['parameters'] / 1e6:.0f} million random parameters, two of three steps skipped, which random"
        f" weights need a fixed cadence for: {cadence['time x']:.2f}x faster by the clock and"
        f" {cadence['FLOP x']:.2f}x by operations, a ratio of {cadence['time x / FLOP x']:.2f}, and {min(ratios):.2f}"
        f" to {max(ratios):.2f} with the other methods that reuse the output. What is not the network took"
        f" {cadence[outside]:.2%} of the full run's time, with the other methods at most"
        f" {max(row[outside] for row in others):.2%}. Without acceleration it took"
        f" {report['unaccelerated loop / diffusers pipeline']:.2f} times the time of diffusers' pipeline."
    )


def demo(skyreels: dict[str, Any], magi: dict[str, Any]) -> str:
    """What the judge found on held-out prompts, a row for each way to sample."""
    rows = {**skyreels["results"], "MAGI-1 layout": magi["results"]["chunk_by_chunk"], WANTED: skyreels["goals"]}
    heads = list(skyreels["goals"])
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    lines += [
        f"| {name} | " + " | ".join(f"{shares[what]:.1%}" for what in heads) + " |" for name, shares in rows.items()
    ]
    return "\n".join(lines)


def accelerate(report: dict[str, Any]) -> str:
    """SCOPE Accelerate beside SCOPE Sampler, and how far apart they are clip by clip."""
    ways, clips = list(next(iter(report["psnr"].values()))), report["clips"]
    lines = ["| computed | " + " | ".join(ways) + " |", "|---|" + "---|" * len(ways)]
    apart = []
    for computed, of in report["psnr"].items():
        lines.append(
            f"| {computed} of {report['steps']} | " + " | ".join(f"{mean(of[way]):.1f}" for way in ways) + " |"
        )
        ours, simple, theirs, _ = of.values()
        found = [[a - b for a, b in zip(*pair)] for pair in ((ours, theirs), (simple, ours))]
        told = [f"{mean(each):+.2f} ± {stdev(each) / len(each) ** 0.5:.2f}" for each in found]
        apart.append(f"at {computed} computed {told[0]} dB, and what `simple` changes {told[1]} dB")
    said = (
        f"PSNR in dB, means over {clips} clips. Clip by clip SCOPE Accelerate is apart from SCOPE Sampler without"
        f" correction, {'; '.join(apart)} (mean ± its standard error)."
    )
    return "\n".join([*lines, "", said])


PARTS = {
    "usual": "runs of other noise",
    "mixed": "mixed runs",
    "cancels": "cancels, one at each step",
    "clients": "runs of two clients",
    "servers": "runs of two servers",
    "disks": "runs on full and read-only disks",
    "torn": "torn files",
    "clocks": "runs under a jumping clock",
    "video": "kills of a long video",
    "sweep": "kills of a sweep",
    "listed": "kills of a list of prompts",
    "cluster": "prompts on four Ray workers",
}
"""Of tests.soak, and what is counted."""


def soak(report: dict[str, Any]) -> str:
    """A row for each part that was run."""

    def memory(f: dict[str, Any]) -> str:
        return (
            f"memory {f['slope']:+.4f} ± {f['interval']:.4f} MB a run over the last {f['measured']}"
            f" ({f['megabytes'][0]:.1f} to {f['megabytes'][1]:.1f} MB), open files {f['files_slope']:+.4f} ±"
            f" {f['files_interval']:.4f} a run ({f['files'][0]} to {f['files'][1]})"
        )

    found = {
        "usual": memory,
        "mixed": lambda f: f"{', '.join(f'{count} {how}' for how, count in f['ended'].items())}; {memory(f)}",
        "cancels": lambda f: (
            f"{f['in_time']} before the run ended; {f['equal']} of {f['count']} next runs equal a fresh one"
        ),
        "disks": lambda f: "; ".join(
            [f"{name}: {count} made" for name, count in f["made"].items() if count]
            + [f"{name}: answered “{said}”" for name, said in f["answered"].items()]
        ),
        "servers": lambda f: f"{f['equal']} of {f['equal']} equal one server's; {f['files']} files whole",
        "video": lambda f: (
            f"{f['equal']} of {f['videos']} videos of {f['iterations']} iterations equal undisturbed ones bit for bit;"
            f" at most {f['repeated']} iterations made again, a chunk takes {f['chunk']}"
        ),
        "sweep": lambda f: (
            f"{f['equal']} of {f['sweeps']} sweeps found the same as undisturbed ones to the last bit;"
            f" {f['repeated']:.1f} iterations made again after a kill, a chunk takes {f['chunk']}"
        ),
        "listed": lambda f: f"{f['equal']} of {f['videos']} videos equal those of a list that was not killed",
        "cluster": lambda f: (
            f"{f['equal']} equal the one made alone, none made twice, {f['killed']} workers killed;"
            f" {f['ray_seconds']} s, one ComfyUI alone {f['alone_seconds']} s on the same machine"
        ),
    }

    def row(part: str) -> str:
        figures = report[part]
        told = found.get(part, lambda f: f"{f['equal']} of {f['count']} equal undisturbed ones")(figures)
        return f"| {part} | {figures['count']} {PARTS[part]} | {told} | {figures['minutes']} min |"

    lines = ["| part | what | found | time |", "|---|---|---|---|"]
    return "\n".join([*lines, *(row(part) for part in PARTS if part in report)])


def gpu(text: str) -> str:
    """The report of tests.gpu_check without its title, as a part of a page."""
    return text.partition("\n")[2].replace("\n## ", "\n#### ")


def read(name: str) -> dict[str, Any]:
    return json.loads((REPORTS / f"{name}.json").read_text())


def keep(files: Iterable[Path]) -> None:
    """Put a command's reports beside the others, and what they say into the pages."""
    for file in files:
        shutil.copy(file, REPORTS)
    write()


def pages() -> dict[Path, dict[str, str]]:
    """What stands in which marked place of which page."""
    return {
        ROOT / "README.md": {"result": result(read("presets")), "short": in_short(read("benchmark"))},
        ROOT / "docs" / "benchmark.md": {
            "presets": named(read("presets")),
            "short": in_short(read("benchmark")),
            "benchmark": ranked(read("benchmark")),
            "efficiency": efficiency(read("efficiency")),
            "gpu": gpu((REPORTS / "gpu_check.md").read_text()),
            "earlier": "\n".join(["```", (REPORTS / "gpu_check_earlier.log").read_text().rstrip(), "```"]),
        },
        ROOT / "docs" / "accelerate.md": {"trained": accelerate(read("accelerate"))},
        ROOT / "docs" / "soak.md": {"soak": soak(read("soak"))},
        ROOT / "docs" / "demo.md": {"demo": demo(read("demo_quality"), read("demo_magi_quality"))},
    }


def write() -> None:
    for page, places in pages().items():
        text = page.read_text()
        for place, made in places.items():
            before, rest = text.split(f"<!-- {place} -->")
            after = rest.split(f"<!-- /{place} -->")[1]
            text = f"{before}<!-- {place} -->\n{made.strip()}\n<!-- /{place} -->{after}"
        page.write_text(text)


if __name__ == "__main__":
    write()
