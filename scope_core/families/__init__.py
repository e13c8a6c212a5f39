"""Families of models: one file each, a registry by name. How to add one: docs/adding-a-family.md."""

from ..schedule import Family
from .magi import MAGI
from .skyreels import SKYREELS

FAMILIES: dict[str, Family] = {family.name: family for family in (SKYREELS, MAGI)}

__all__ = ["FAMILIES", "MAGI", "SKYREELS"]
