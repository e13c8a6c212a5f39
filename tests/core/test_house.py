"""The house as docs/architecture.md draws it: imports run one way, names stay in their rooms, pages that are cited
exist."""

import ast
import re
from pathlib import Path

import pytest

from scope_core import FAMILIES, METHODS

ROOT = Path(__file__).parents[2]
FLOORS = [
    {"disk", "ranks", "schedule"},
    {"signals", "methods"},
    {"settings"},
    {"networks"},
    {"loop"},
    {"families"},
    {"study", "pipelines"},
    {"demo"},
]
"""Rooms of scope_core from the ground up; a room imports from its own floor's rooms only if it is that room."""
SOURCES = sorted(path for folder in ("scope_core", "nodes", "workflows") for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    """Modules of this repository that a file imports, also where only a type checker does, or within functions."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            module = f"{base}.{node.module}".strip(".") if node.module else base
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


GRAPH = {name_of(path): imports_of(path) for path in SOURCES}
GRAPH = {name: {other for other in found if other in GRAPH and other != name} for name, found in GRAPH.items()}


def floor(name: str) -> int:
    parts = name.split(".")
    return next((i for i, rooms in enumerate(FLOORS) if len(parts) > 1 and parts[1] in rooms), len(FLOORS))


def test_no_circle_of_imports():
    done, path = set(), []

    def visit(name: str) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for other in GRAPH[name]:
            if not name.startswith(f"{other}."):
                visit(other)
        path.pop()
        done.add(name)

    for name in GRAPH:
        visit(name)


def test_no_arrow_points_up():
    for name, found in GRAPH.items():
        for other in found:
            if name.startswith("scope_core"):
                assert other.startswith("scope_core"), f"{name} imports {other}"
                same = name.split(".")[1:2] == other.split(".")[1:2]
                assert same or floor(other) < floor(name) or other == "scope_core", f"{name} imports {other}"
            assert not (name.startswith("nodes.comfy") and re.match(r"nodes\.(?!comfy)\w", other)), (name, other)


def test_rooms_do_not_know_each_other_in_circles():
    """The same for whole rooms: no two of them import each other."""
    rooms = {
        (a.split(".")[1], b.split(".")[1])
        for a, found in GRAPH.items()
        for b in found
        if a.startswith("scope_core.") and b.startswith("scope_core.")
    }
    assert not {pair for pair in rooms if pair[::-1] in rooms and pair[0] != pair[1]}


def test_only_the_adapters_touch_the_host():
    for path in SOURCES:
        found = re.findall(
            r"^\s*(?:import|from) (comfy|folder_paths|server|latent_preview)\b", path.read_text(), re.MULTILINE
        )
        assert not found or "comfy" in path.relative_to(ROOT).parts, path


def test_only_the_pipelines_import_diffusers():
    """It is an extra."""
    found = {path for path in SOURCES if re.search(r"^\s*(?:import|from) diffusers\b", path.read_text(), re.MULTILINE)}
    assert found and all("pipelines" in path.relative_to(ROOT).parts for path in found)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_named_in_its_own_files_only(family):
    """Neither by its registry name nor by asking an object which family it is."""
    own = {
        "skyreels": ("skyreels",),
        "magi": ("magi",),
        "flow": ("flow",),
        "helios": ("helios",),
        "causal_wan": ("causal",),
    }[family]
    for path in SOURCES:
        text = path.read_text()
        if not any(part.startswith(own) for part in path.stem.split("_")) and "vbench" not in path.stem:
            assert not re.search(rf"""(==|is|in|startswith\() *\(?["']{family}""", text), path
            assert not re.search(rf"\b(is|is not|==|!=) {family.upper()}\b|isinstance\(\w+, Magi", text), path


def test_a_method_is_named_in_its_own_file_only():
    classes = {method.__name__ for method in METHODS.values()} - {"Off", "Scope", "Planned"}
    for path in SOURCES:
        if "methods" in path.relative_to(ROOT).parts and path.parts[-2] == "methods":
            continue
        tree = ast.parse(path.read_text())
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & classes
        assert not used, (path, used)


CITED = re.compile(r"docs/([\w-]+\.md)(?:,? (C\d+|law \d+|\d+(?:\.\d+)*|[A-Z][\w -]+?))?(?=[\s.,;:)`\"']|$)")


def test_cited_pages_and_sections_exist():
    """Citations read `docs/skyreels.md 4.1`, `docs/scope.md C4`, `docs/architecture.md, law 3` or `docs/methods.md,
    TeaCache`."""
    files = [*SOURCES, *(ROOT / "tests").rglob("*.py")]
    count = 0
    for path in files:
        for page, place in CITED.findall(path.read_text()):
            text = (ROOT / "docs" / page).read_text()
            count += 1
            if re.fullmatch(r"C\d+|\d+(\.\d+)*", place):
                assert re.search(rf"^#+ {re.escape(place)}\b", text, re.MULTILINE), f"{path.name} cites {page} {place}"
            elif place.startswith("law"):
                assert re.search(rf"^{place.split()[1]}\. ", text, re.MULTILINE), f"{path.name} cites {page} {place}"
    assert count > 60


def test_notes_that_are_not_here_are_not_cited():
    for path in [
        *SOURCES,
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "web").rglob("*.*"),
    ]:
        if path.suffix in (".py", ".md", ".js") and path != Path(__file__):
            assert not re.search(r"(demo-model|models-2|methods-2|study-2|comfyui)\.md|shared/", path.read_text()), path


def test_links_between_pages_work():
    for path in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def written(message: ast.expr) -> str:
    """A message as it stands in the source, with {} for what is filled in."""
    if isinstance(message, ast.BinOp):
        return written(message.left) + written(message.right)
    parts = message.values if isinstance(message, ast.JoinedStr) else [message]
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)


def test_an_error_is_one_sentence():
    """Of what a dialog shows after the error's name and a colon: what is wrong; what to do."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if path.parts[-2] == "workflows" or not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
                continue
            for message in map(written, node.exc.args[:1]):
                assert not re.search(r"\.(?: [A-Z]|$)", message), f"{path.name}, line {node.lineno}: {message}"
