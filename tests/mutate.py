"""Do the tests bite? `python -m tests.mutate --here` puts small faults into the core, one at a time, and counts those
that no test notices.

Faults are drawn by a seed from every place where one fits: a comparison or an operator turned, a number off by one, a
condition negated, a branch or an assignment left out. Each runs in a copy of the repository, against the core's tests,
until the first failure. What survives is printed to be looked at: it is either a gap, or no fault at all.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    "loop/*.py",
    "schedule/*.py",
    "methods/gate.py",
    "methods/predict.py",
    "methods/scope.py",
    "methods/knobs.py",
    "signals/*.py",
    "families/*.py",
    "settings.py",
)
TESTS = (
    "test_schedule",
    "test_predict",
    "test_solver",
    "test_settings",
    "test_signal",
    "test_methods",
    "test_toy_method",
    "test_trace",
    "test_maps",
    "test_family",
    "test_library",
    "test_magi_loop",
    "test_rollout",
    "test_recordings",
    "test_rivals_output",
    "test_rivals_residual",
    "test_parity",
    "test_magi",
    "test_report",
)
TURNED = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


class Fault:
    """A change of a syntax tree, and what it says for people."""

    def __init__(self, line: int, words: str, make: Callable[[], None]):
        self.line, self.words, self.make = line, words, make


def faults(tree: ast.AST) -> Iterator[Fault]:
    """Every fault that fits into a file."""
    skipped = {id(child) for node in ast.walk(tree) for child in without_meaning(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Compare) and type(node.ops[0]) in TURNED:
            yield turned(node, node.ops[0], lambda op, node=node: node.ops.__setitem__(0, op))
        elif isinstance(node, (ast.BinOp, ast.BoolOp)) and type(node.op) in TURNED:
            yield turned(node, node.op, lambda op, node=node: setattr(node, "op", op))
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield Fault(
                node.lineno,
                f"{node.value} is {node.value + 1}",
                lambda node=node: setattr(node, "value", node.value + 1),
            )
        elif isinstance(node, ast.IfExp):
            yield Fault(node.lineno, "the other branch", lambda node=node: negate(node))
        elif isinstance(node, ast.If):
            yield Fault(node.lineno, "condition negated", lambda node=node: negate(node))
        elif isinstance(node, (ast.AugAssign, ast.Expr)):
            yield Fault(node.lineno, "left out", lambda node=node: leave_out(tree, node))


def without_meaning(node: ast.AST) -> Iterator[ast.AST]:
    """Parts that no test can or should notice: annotations, docstrings, messages, imports for types."""
    annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
    parts = [annotation] if annotation else []
    parts += [node] if isinstance(node, (ast.Raise, ast.JoinedStr)) else []
    parts += [node] if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else []
    for part in parts:
        yield from ast.walk(part)


def turned(node: ast.AST, op: ast.AST, put: Callable[[ast.AST], None]) -> Fault:
    other = TURNED[type(op)]
    return Fault(node.lineno, f"{type(op).__name__} is {other.__name__}", lambda: put(other()))


def negate(node: ast.If | ast.IfExp) -> None:
    node.test = ast.UnaryOp(ast.Not(), node.test)


def leave_out(tree: ast.AST, gone: ast.AST) -> None:
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list) and gone in body:
                body[body.index(gone)] = ast.copy_location(ast.Pass(), gone)


def noticed(copy: Path, patience: float) -> bool:
    """Whether a test fails in the copy; a fault that makes them hang is noticed too."""
    tests = [str(copy / "tests" / "core" / f"{name}.py") for name in TESTS]
    options = ["-q", "-x", "--import-mode=importlib", "-p", "no:cacheprovider", f"--rootdir={copy / 'tests' / 'core'}"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", *options, *tests]
    try:
        return (
            subprocess.run(command, cwd=copy.parent, env=environment, capture_output=True, timeout=patience).returncode
            != 0
        )
    except subprocess.TimeoutExpired:
        return True


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--here", action="store_true", required=True, help="run in this Python, which has what the core's tests need"
    )
    parser.add_argument("--count", type=int, default=40, help="faults to try (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which ones are drawn (default: %(default)s)")
    parser.add_argument(
        "--files",
        nargs="+",
        default=FILES,
        metavar="PATTERN",
        help="below scope_core (default: the loop and what it stands on)",
    )
    parser.add_argument(
        "--patience", type=float, default=900, help="seconds for the tests of one fault (default: %(default)s)"
    )
    args = parser.parse_args()
    paths = sorted({path for pattern in args.files for path in (ROOT / "scope_core").glob(pattern)})
    places = [(path, i) for path in paths for i, _ in enumerate(faults(ast.parse(path.read_text())))]
    drawn = random.Random(args.seed).sample(places, min(args.count, len(places)))
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pack"
        shutil.copytree(
            ROOT, copy, ignore=shutil.ignore_patterns(".git", "__pycache__", "node_modules", "scope-output")
        )
        for n, (path, i) in enumerate(drawn, 1):
            source, target = path.read_text(), copy / path.relative_to(ROOT)
            tree = ast.parse(source)
            fault = list(faults(tree))[i]
            fault.make()
            target.write_text(ast.unparse(ast.fix_missing_locations(tree)))
            caught = noticed(copy, args.patience)
            target.write_text(source)
            survivors += not caught
            where = f"{path.relative_to(ROOT)}:{fault.line}"
            line = source.splitlines()[fault.line - 1].strip()
            print(f"{n:3} {'caught  ' if caught else 'SURVIVED'} {where}: {fault.words}: {line}", flush=True)
    print(f"{len(drawn) - survivors} of {len(drawn)} faults were noticed, drawn from {len(places)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
