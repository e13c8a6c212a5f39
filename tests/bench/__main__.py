"""Rank every method on the demo models: `python -m tests.bench`.

Of each method those settings are looked for that cost 50, 35, 22 and 15 % of the full run's operations, before any run
or on a prompt that is not judged. Then all run on the same held-out prompts and noise, on three schedules and on long
videos. Writes JSON, Markdown and a chart. Every run is kept, so a benchmark that was stopped goes on where it was, and
several can work in one folder; `--report` tells what is there so far.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
QUICK = {
    "clips": 4,
    "schedules": ["synchronous", "chunk_by_chunk"],
    "methods": ["taylorseer", "reduced", "scope_paper", "magcache", "planned"],
}
"""What `--quick` measures: about ten minutes on two cores."""


def parser_of() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI whose Python to use; otherwise one is found or built")
    parser.add_argument("--clips", type=int, default=16, help="to judge on, two at least (default: %(default)s)")
    parser.add_argument("--schedules", nargs="+", help="which to run (default: all)")
    parser.add_argument(
        "--methods", nargs="+", help="which to run, `preset` for SCOPE's presets (default: all); fewer steps always do"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--quick", action="store_true", help="four clips, two schedules, five methods: ten minutes")
    what.add_argument(
        "--presets-only",
        action="store_true",
        help="only the presets and fewer steps; a report of its own, presets.json",
    )
    what.add_argument("--report", action="store_true", help="make nothing; write the report of what is there")
    what.add_argument(
        "--time",
        action="store_true",
        help="only measure seconds, on a quiet machine: each run beside a full one of the same clip",
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes at work, one thread each (default: %(default)s)")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="have --jobs workers of a Ray cluster, whose machines share --out, do the work"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("scope-output") / "bench", help="where results are kept (default: %(default)s)"
    )
    parser.add_argument(
        "--lpips",
        type=Path,
        metavar="FOLDER",
        help="also measure LPIPS, which needs the lpips package and AlexNet's weights in this folder",
    )
    parser.add_argument(
        "--into",
        type=Path,
        metavar="FILE",
        help="report of before, whose rows for what is measured now are replaced; with --time they get their seconds",
    )
    parser.add_argument(
        "--keep", action="store_true", help="also keep the report in tests/reports, and write the pages"
    )
    parser.add_argument(
        "--here", action="store_true", help="measure in this Python, which has torch, scikit-image and matplotlib"
    )
    return parser


def main() -> int:
    parser = parser_of()
    args = parser.parse_args()
    if args.clips < 2:
        parser.error(f"--clips is {args.clips}; it must be at least 2, for differences are told with their interval")
    if args.here:
        return measure(parser, args)
    from workflows.launcher import find_or_build

    extras = [name for name, wanted in (("ray", args.ray), ("lpips", args.lpips)) if wanted]
    host = find_or_build(args.comfyui, ("scikit-image", "matplotlib", *extras))
    return subprocess.run(
        [str(host.python), "-m", "tests.bench", "--here", *sys.argv[1:]], cwd=HERE.parents[1]
    ).returncode


def measure(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    import torch

    from .measure import Bench

    torch.set_num_threads(1)
    task = task_of(parser, args)
    bench = Bench(*task)
    bench.making = not args.report
    if (args.report or (args.time and not args.into)) and not any(map(bench.full, bench.ways)):
        parser.error(f"--out is {args.out}, where no full runs of two clips are; measure there first")
    if args.methods and (unknown := set(args.methods) - set(bench.known())):
        parser.error(f"--methods has {', '.join(sorted(unknown))}; choose among {', '.join(bench.known())}")
    times = bench.time() if args.time else []
    if not args.time and not args.report:
        make(bench, task, args)
    report = bench.report()
    if args.into:
        before = json.loads(args.into.read_text())
        report = with_seconds(before, times) if args.time else updated(before, report)
    write(report, args, "presets" if args.presets_only else "quick" if args.quick else "benchmark")
    return 0


def task_of(parser: argparse.ArgumentParser, args: argparse.Namespace) -> tuple[Any, ...]:
    """What a `Bench` is made of, here and in other processes."""
    from scope_core.study.metrics import lpips

    from .runs import WAYS

    if args.quick:
        args.clips, args.schedules, args.methods = QUICK["clips"], QUICK["schedules"], QUICK["methods"]
    if args.presets_only:
        args.methods = ["preset"]
    ways = args.schedules or [way for way in WAYS if not (args.presets_only and way.startswith("long"))]
    if unknown := set(ways) - set(WAYS):
        parser.error(f"--schedules has {', '.join(sorted(unknown))}; choose among {', '.join(WAYS)}")
    if args.lpips and (missing := lpips(args.lpips)[1]):
        parser.error(missing)
    return args.out.absolute(), args.clips, ways, args.methods, args.lpips


def make(bench: Any, task: tuple[Any, ...], args: argparse.Namespace) -> None:
    """All that is missing, with others at work in the same folder."""
    from .measure import work

    if args.ray:
        from workflows.cluster import everywhere

        everywhere(args.ray, args.jobs, work, *task)
    else:
        import torch

        start = torch.multiprocessing.get_context("spawn").Process
        others = [start(target=work, args=task) for _ in range(args.jobs - 1)]
        for other in others:
            other.start()
        bench.work()
        for other in others:
            other.join()
    bench.work()


def updated(before: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """A report with the rows of another one in place of its own; a ranked method has one for each budget."""

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["schedule"], row["method"], row.get("budget", row["label"])

    rows = {place(row): row for row in (*before["rows"], *report["rows"])}
    return {**report, "rows": list(rows.values())}


def with_seconds(report: dict[str, Any], times: list[dict[str, Any]]) -> dict[str, Any]:
    """A report with the seconds of rows that were timed at the same settings."""

    def name(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["schedule"], row["label"], row.get("budget")

    found = {name(row): row for row in times}
    return {**report, "rows": [{**row, **found.get(name(row), {})} for row in report["rows"]]}


def write(report: dict[str, Any], args: argparse.Namespace, name: str) -> None:
    from .chart import chart
    from .report import markdown

    (args.out / f"{name}.json").write_text(json.dumps(report, indent=1))
    (args.out / f"{name}.md").write_text(markdown(report))
    if not args.presets_only:
        chart(report, args.out / f"{name}.png")
    if args.keep:
        from tests import pages

        pages.keep(args.out.glob(f"{name}.*"))
    print(f"Written to {args.out}")


if __name__ == "__main__":
    sys.exit(main())
