"""A method in one file, as docs/adding-a-method.md tells it: computes every n-th step, and the others with the
velocity's mean over time.

Tests load it into the package of methods under their feet (`load`), as if it lay there.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

if __name__.endswith(".methods.toy"):
    from .base import Method, Speed, register
    from .gate import Gate
    from .knobs import choice, count
    from .vocabulary import Decision, Entry, Mode

    @register
    @dataclass(frozen=True)
    class Toy(Method):
        name = "toy"
        title = "Toy cadence"
        gate = Gate(9, 1, 0)
        points: ClassVar = {"often": {}, "seldom": {"every": 6, "max_skip": 5, "kind": "old"}}
        speed = Speed("every", 2, 8)

        every: int = count(
            3, "One step in so many is computed; 1 computes all.", least=1, high=20, usual="for example 3"
        )
        kind: str = choice("new", "Which computed velocity is taken.", ["new", "old"])
        depth = 2

        @property
        def off(self) -> bool:
            return self.every == 1

        def decide(self, state: None, unit, change: float, history: Sequence[Entry]) -> Decision:
            due = (unit.step - 1) % self.every == 0
            return Decision(Mode.RECOMPUTE, 1.0, "threshold") if due else Decision(Mode.REUSE, 0.5, "cache")

        def value(self, state: None, unit, decision: Decision, history: Sequence[Entry], x):
            return history[0 if self.kind == "new" else -1].value


def load(methods: ModuleType) -> None:
    """Put this file into a package of methods, under the name that it would have there."""
    name = f"{methods.__name__}.toy"
    spec = importlib.util.spec_from_file_location(name, __file__)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
