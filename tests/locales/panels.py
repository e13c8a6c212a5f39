"""Texts of the panels: those that the browser code hands to `t` of web/lib/language.js, and the sentences of the rules,
which it gets with a trace."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

PACK = Path(__file__).parents[2]
RULES = PACK / "scope_core" / "methods" / "vocabulary.py"
"""Read, not run: torch, which it imports, is no part of the Python that makes locales/."""
CALL = re.compile(r'(?<![\w.])t\(\s*("(?:[^"\\]|\\.)*")?')


def panel_texts() -> list[str]:
    """Each once, in the order of the files."""
    return list(dict.fromkeys([*(json.loads(text) for _, text in calls() if text), *rules()]))


def calls() -> Iterator[tuple[str, str]]:
    """The file of every call, and the text as it is written there; empty where it is not written out."""
    for file in sorted((PACK / "web").rglob("*.js")):
        yield from ((file.name, text) for text in CALL.findall(file.read_text(encoding="utf-8")))


def rules() -> Iterator[str]:
    for statement in ast.parse(RULES.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "RULES":
            yield from (sentence for _, sentence in ast.literal_eval(statement.value).values())
