"""Methods that decide, per unit and step, whether the network has to run: one file each, one protocol, a registry by name."""

from .base import Decision, Mode, Policy, Skip
from .off import Off
from .scope import Scope
from .teacache import TeaCache

POLICIES: dict[str, type] = {"off": Off, "scope": Scope, "teacache": TeaCache}

__all__ = ["Decision", "Mode", "Off", "Policy", "POLICIES", "Scope", "Skip", "TeaCache"]
