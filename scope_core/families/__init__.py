"""Families of models: one file each, a registry by name. How to add one: docs/adding-a-family.md."""

from ..schedule import Family
from .causal_wan import CAUSAL_WAN
from .flow import FLOW
from .helios import HELIOS
from .magi import MAGI
from .skyreels import SKYREELS

FAMILIES: dict[str, Family] = {family.name: family for family in (SKYREELS, MAGI, FLOW, HELIOS, CAUSAL_WAN)}

__all__ = ["CAUSAL_WAN", "FAMILIES", "FLOW", "HELIOS", "MAGI", "SKYREELS"]
