"""Rank every method on the demo models: `python -m tests.bench`.

Of each method those settings are looked for that cost a half, a third and a fifth of the full run, on a prompt that is
not judged. Then all run on the same held-out prompts and seeds, on three schedules. Writes JSON, a Markdown table and a
chart; every finished run is kept, so an interrupted benchmark goes on where it stopped.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI whose Python to use; otherwise one is found or built")
    parser.add_argument(
        "--clips", type=int, default=16, help="prompts and seeds to judge on, two at least (default: %(default)s)"
    )
    parser.add_argument("--schedules", nargs="+", help="which to run (default: all)")
    parser.add_argument(
        "--presets-only",
        action="store_true",
        help="leave out the search for equal budgets and the methods at them, which take most of the time; a report of"
        " its own, presets.json",
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
        "--keep", action="store_true", help="also keep the report in tests/reports, and write the pages"
    )
    parser.add_argument(
        "--here", action="store_true", help="measure in this Python, which has torch, scikit-image and matplotlib"
    )
    parser.add_argument("--methods", nargs="+", help="which to run (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="processes that make runs (default: %(default)s)")
    args = parser.parse_args()
    if args.clips < 2:
        parser.error(
            f"--clips is {args.clips}; it must be at least 2, for operations are counted in one and times in the others"
        )
    if not args.here:
        from workflows.launcher import find_or_build

        host = find_or_build(args.comfyui, ("scikit-image", "matplotlib"))
        return subprocess.run(
            [str(host.python), "-m", "tests.bench", "--here", *sys.argv[1:]], cwd=HERE.parents[1]
        ).returncode

    import torch.multiprocessing as processes

    from .measure import Bench, work
    from .runs import WAYS

    ways = args.schedules or list(WAYS)
    task = (args.out, args.clips, ways, args.methods)
    if args.jobs == 1:
        work(*task)
    else:
        workers = [processes.get_context("spawn").Process(target=work, args=task) for _ in range(args.jobs)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return 0
    name = "presets" if args.presets_only else "benchmark"
    (args.out / f"{name}.json").write_text(json.dumps(report, indent=1))
    (args.out / f"{name}.md").write_text(markdown(report))
    if not args.presets_only:
        chart(report, args.out / "benchmark.png")
    if args.keep:
        from tests import pages

        pages.keep(args.out.glob(f"{name}.*"))
    print(f"\nDone in {(time.monotonic() - began) / 60:.0f} min. Written to {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
