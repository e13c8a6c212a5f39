"""Methods that decide, per unit and step, whether the network has to run: one file each, one protocol, a registry by name."""

from .base import Decision, Mode, Policy, Seen
from .off import Off
from .scope import Scope
from .teacache import TeaCache

POLICIES: dict[str, type[Policy]] = {policy.name: policy for policy in (Off, Scope, TeaCache)}

__all__ = ["Decision", "Mode", "Off", "Policy", "POLICIES", "Scope", "Seen", "TeaCache"]
