"""Choices of a node, which ComfyUI does not check where they come through a link."""

from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def chosen(name: str, value: Any, options: Mapping[str, T]) -> T:
    """What a choice stands for. Raises ValueError for none of the options."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(options)}")
    return options[value]
