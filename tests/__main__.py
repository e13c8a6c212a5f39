"""Run the tests: `python -m tests`. Finds or builds a ComfyUI, installs what the tests need into it, runs each stage.

python -m tests                      all stages
python -m tests core host            some of them
python -m tests --comfyui PATH       with your own ComfyUI
python -m tests fuzz --long          seven to ten times as many random cases
python -m tests fuzz --case 5000     one of each kind, by its number, which is its seed
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from workflows.launcher import HostError, find_or_build

HERE = Path(__file__).parent
EXTRAS = ("pytest", "pytest-xdist", "diffusers==0.42.1", "playwright", "scikit-image", "imageio", "av", "ray")
CHECKERS = ("ruff==0.17.6", "mypy==2.4.1", "vulture==2.16")
STYLE = (("ruff", "check"), ("ruff", "format", "--check"), ("vulture",))
ENOUGH = 5
"""Failures after which a stage ends: one test that fails does not hide the others, and nobody waits for a broken
build."""
TWO = ("-n", "2", "--dist")
"""Two tests at a time: their tensors are too small for two threads to gain anything."""
STAGES = {
    "style": ((), "rules of ruff, types, dead code"),
    "web": ((), "the browser code: its types, and under vitest"),
    "core": (
        ["core", *TWO, "loadfile"],
        "scope_core alone: schedule, solvers, methods, loop, families, parity with diffusers",
    ),
    "host": (["host", *TWO, "loadfile"], "inside ComfyUI's process: loading, parity, laws"),
    "server": (
        ["live", "-m", "not browser", *TWO, "loadscope"],
        "a real ComfyUI server: runs, cancelling, plans, sweeps, bad input, schema",
    ),
    "browser": (
        ["live", "-m", "browser", *TWO, "loadscope"],
        "a real Chromium: workflows, nodes and widgets, on both canvases of two frontends",
    ),
    "fuzz": (["fuzz", *TWO, "worksteal"], "random input, from seeds: the library, prompts, plans, files, tables"),
}


def run_pytest(python: Path, root: Path, name: str, *selection: str) -> int:
    """Each stage is a process of its own, started outside the repository: its folder `nodes` would hide ComfyUI's
    module."""
    environment = {
        **os.environ,
        "SCOPE_COMFYUI": str(root),
        "SCOPE_COMFYUI_PYTHON": str(python),
        "PYTHONDONTWRITEBYTECODE": "",  # else each of many servers and workers compiles ComfyUI anew
        "OMP_WAIT_POLICY": "PASSIVE",  # machines that test are shared
        "OMP_NUM_THREADS": "1",
    }
    folder = HERE / name
    options = ["-q", f"--maxfail={ENOUGH}", "-rfEs", "--durations=5"]
    options += ["--import-mode=importlib", "-p", "no:cacheprovider", f"--rootdir={folder}"]
    command = [str(python), "-m", "pytest", *selection, *options]
    return subprocess.run(command, cwd=folder, env=environment).returncode


def run_style(python: Path) -> int:
    """Configured in pyproject.toml; pre-commit runs the same. Types are checked in the package that ComfyUI makes of
    the pack, so that nodes and core see each other's. Caches stay out of the repository."""
    root = HERE.parent
    environment = {**os.environ, "RUFF_NO_CACHE": "true", "MYPY_CACHE_DIR": os.devnull}
    codes = [subprocess.run([str(python), "-m", *command], cwd=root, env=environment).returncode for command in STYLE]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "scope_pack").symlink_to(root, target_is_directory=True)
        packages = ["-p", "scope_pack.scope_core", "-p", "scope_pack.nodes"]
        command = [str(python), "-m", "mypy", "--config-file", str(root / "pyproject.toml"), *packages]
        codes.append(subprocess.run(command, cwd=folder, env=environment).returncode)
    return max(codes)


def run_vitest() -> tuple[int, str]:
    """Exit code, and what was printed. The dependencies are installed into a cache folder, never into the
    repository."""
    if shutil.which("npm") is None:
        return 1, "npm is not installed: install Node 20 or newer to test the browser code"
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "scope-comfyui" / "web-tests"
    work = cache / "tests" / "web"
    work.mkdir(parents=True, exist_ok=True)
    for old in work.iterdir():
        if old.is_file() and old.name != "package-lock.json":
            old.unlink()
    shutil.rmtree(cache / "web", ignore_errors=True)
    shutil.copytree(HERE.parent / "web", cache / "web")
    shutil.copytree(HERE / "web", work, dirs_exist_ok=True)
    told = ""
    for command in (
        ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"],
        ["npm", "run", "--silent", "types"],
        ["npx", "vitest", "run", "--testTimeout=60000", "--hookTimeout=60000"],
    ):
        ran = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        told += ran.stdout
        if ran.returncode:
            break
    return ran.returncode, told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=", ".join(STAGES))
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI to test with; otherwise one is found or built")
    parser.add_argument("--long", action="store_true", help="fuzz: seven to ten times as many cases")
    parser.add_argument("--case", metavar="N", help="fuzz: only case N of each kind")
    args = parser.parse_args()
    more = [*(["--long"] if args.long else []), *(["--case", args.case] if args.case else [])]
    if unknown := set(args.stages) - set(STAGES):
        parser.error(f"no stage {', '.join(sorted(unknown))}; choose from {', '.join(STAGES)}")
    try:
        host = find_or_build(args.comfyui, (*EXTRAS, *CHECKERS))
    except HostError as error:
        print(error, file=sys.stderr)
        return 1
    failed, stages = [], args.stages or list(STAGES)
    with ThreadPoolExecutor() as pool:
        web = pool.submit(run_vitest) if "web" in stages else None  # beside the stages before it
        for stage in stages:
            selection, what = STAGES[stage]
            print(f"\n== {stage}: {what}", flush=True)
            if stage == "style":
                code = run_style(host.python)
            elif stage == "web":
                code, told = web.result()
                print(told, flush=True)
            else:
                code = run_pytest(host.python, host.root, *selection, *(more if stage == "fuzz" else ()))
            if code:
                failed.append(stage)
    print(f"\n{'All stages passed.' if not failed else 'Failed: ' + ', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
