"""Many runs and many faults against real servers: `python -m tests.soak`.

python -m tests.soak                       all parts, some hours on two cores
python -m tests.soak runs --count 100      one of them, smaller
python -m tests.soak --keep                also writes docs/soak.md

Every part adds its figures to OUT/soak.json. It ends with an error where one of its runs is not what it has to be.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="runs, cancels, clients, servers, ...; default: all")
    parser.add_argument("--count", type=int, help="of runs, kills and so on, instead of each part's own number")
    parser.add_argument("--out", type=Path, default=Path("scope-output") / "soak", help="default: %(default)s")
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI to test with; otherwise one is found or built")
    parser.add_argument(
        "--keep", action="store_true", help="also keep the figures in tests/reports, and write the pages"
    )
    parser.add_argument("--here", action="store_true", help="in this Python, which has torch, psutil and pytest")
    args = parser.parse_args()
    from workflows.launcher import find_or_build

    host = find_or_build(args.comfyui, ("pytest", "av", "ray"))
    if not args.here:
        command = [str(host.python), "-m", "tests.soak", "--here", *sys.argv[1:]]
        return subprocess.run(command, cwd=HERE.parents[1]).returncode
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # bits depend on the number of threads

    from .parts import PARTS

    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.parts or PARTS:
        part, usual = PARTS[name]
        print(f"== {name}: {part.__doc__.splitlines()[0]}", flush=True)
        began = time.monotonic()
        figures = part(host, args.count or usual)
        figures["minutes"] = round((time.monotonic() - began) / 60, 1)
        print(json.dumps(figures), flush=True)
        record(args.out / "soak.json", name, figures)
    if args.keep:
        from tests import pages

        pages.keep([args.out / "soak.json"])
    return 0


def record(file: Path, name: str, figures: dict) -> None:
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | {name: figures}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
