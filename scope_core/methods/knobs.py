"""Knobs: what a user can set. One line beside the field that it sets gives range, default and words; node widgets,
their reading and writing, plans, error messages and reports are all derived from it.

A knob is declared as the default of a dataclass field: `threshold: float = number(0.2, "Change below which ...",
high=10.0)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from functools import cache
from math import inf, isfinite
from typing import Any


@dataclass(frozen=True)
class Knob:
    default: Any
    tooltip: str
    name: str = ""
    """As users see it, on widgets and in errors and reports; the field's name unless said."""
    field: str = ""
    low: float = 0.0
    """Range of the widget; what is allowed can be wider, see `least` and `most`."""
    high: float = 100.0
    step: float = 0.01
    decimals: float | None = 0.0001
    """What the widget rounds to."""
    least: float = -inf
    most: float = inf
    above: float = -inf
    """As `least`, but not itself allowed."""
    options: Mapping[str, Any] | None = None
    """What a choice stands for, by option."""
    free: bool = False
    """Other values than those of `options` are allowed, which no widget can show."""
    usual: str = ""
    """Values to try, for errors: 'published are 0.12 and 0.24'."""
    text: bool = False
    """Whole numbers in a line of text."""
    advanced: bool = False
    slider: bool = False
    late: bool = False
    """Added to a node that was shipped without it, so graphs may lack it."""

    def check(self, owner: str, value: Any) -> None:
        """Raises ValueError with the value, what is allowed and what is usual."""
        if self.options is not None:
            if not self.free and value not in self.options.values():
                raise ValueError(f"{owner}{self.name} is {value!r}; choose one of {', '.join(self.options)}")
            return
        if self.text:
            if any(step < 1 for step in value):
                raise ValueError(
                    f"{owner}{self.name} are {', '.join(map(str, value))}; they count from 1, for example 1, 3, 6, 10"
                )
            return
        if isinstance(value, bool):
            return
        if not isfinite(value):
            raise ValueError(
                f"{owner}{self.name} is {value:g}; it must be a number and {self.allowed()}, {self.default:g} is usual"
            )
        if not (self.least <= value <= self.most and value > self.above):
            hint = f", {self.usual}" if self.usual else ""
            raise ValueError(f"{owner}{self.name} is {value:g}; it must {self.allowed()}{hint}")

    def allowed(self) -> str:
        if self.above > -inf:
            return f"lie in ({self.above:g}, {self.most:g}]"
        return f"be at least {self.least:g}" if self.most == inf else f"lie in [{self.least:g}, {self.most:g}]"

    def read(self, value: Any) -> Any:
        """What a widget's value stands for. Raises ValueError for none of the options, and for text that is not whole
        numbers."""
        if self.options is not None:
            if value not in self.options:
                raise ValueError(f"{self.name} is {value!r}; choose one of {', '.join(self.options)}")
            return self.options[value]
        return whole_numbers(self.name, value) if self.text else value

    def write(self, value: Any) -> Any:
        """The widget's value that stands for this one; None where there is none."""
        if self.options is not None:
            return next((option for option, known in self.options.items() if known == value), None)
        return ", ".join(map(str, value)) if self.text else value


def whole_numbers(name: str, text: str) -> tuple[int, ...]:
    parts = text.replace(",", " ").split()
    if not all(part.isdecimal() for part in parts):
        raise ValueError(
            f"{name} are {text[:60]!r}; write whole numbers from 1 on, for example 1, 3, 6, 10, or nothing"
        )
    return tuple(map(int, parts))


def knob(default: Any, tooltip: str, **more: Any) -> Any:
    return field(default=default, metadata={"knob": Knob(default, tooltip, **more)})


def number(default: float, tooltip: str, least: float = 0.0, **more: Any) -> Any:
    """A number with decimals."""
    return knob(default, tooltip, least=least, **more)


def count(default: int, tooltip: str, least: int = 0, high: int = 1000, **more: Any) -> Any:
    """A whole number."""
    return knob(default, tooltip, least=least, low=more.pop("low", least), high=high, step=1, decimals=None, **more)


def choice(default: Any, tooltip: str, options: Sequence[str] | Mapping[str, Any], **more: Any) -> Any:
    """One of some options, which may stand for other values."""
    options = options if isinstance(options, Mapping) else {name: name for name in options}
    return knob(default, tooltip, options=options, **more)


def switch(default: bool, tooltip: str, **more: Any) -> Any:
    """On or off."""
    return knob(default, tooltip, **more)


def steps_text(tooltip: str, **more: Any) -> Any:
    """Own steps of a unit, as people write them."""
    return knob((), tooltip, text=True, **more)


def knobs_of(owner: Any) -> list[Knob]:
    """The knobs of a dataclass in the order of its fields, with the defaults that they have there."""
    return list(declared_knobs(owner if isinstance(owner, type) else type(owner)))


@cache
def declared_knobs(kind: type) -> tuple[Knob, ...]:
    """Worked out once, for plans ask for them many times while a slider moves."""
    return tuple(named(member) for member in fields(kind) if "knob" in member.metadata)


def named_knob(owner: Any, name: str) -> Knob:
    return next(knob for knob in knobs_of(owner) if knob.name == name)


def named(member: Field) -> Knob:
    declared: Knob = member.metadata["knob"]
    default = declared.default if member.default is MISSING else member.default
    return replace(declared, name=declared.name or member.name, field=member.name, default=default)


def check(owner: Any, title: str) -> None:
    """Check every knob of an instance; `title` begins the sentence. Raises ValueError."""
    for declared in knobs_of(owner):
        declared.check(title, getattr(owner, declared.field))
