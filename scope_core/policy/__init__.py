"""Methods that decide, per unit and step, whether the network has to run: one file each, one protocol, a registry by name."""

from .base import Decision, Mode, Policy, Seen
from .bwcache import BWCache
from .delta_dit import DeltaDiT
from .easycache import EasyCache
from .fbcache import FBCache
from .flowcache import FlowCache
from .magcache import MagCache
from .motioncache import MotionCache
from .off import Off
from .predit import PrediT
from .reduced import Reduced
from .scope import Scope
from .seacache import SeaCache
from .taylorseer import TaylorSeer
from .teacache import TeaCache

POLICIES: dict[str, type[Policy]] = {policy.name: policy for policy in (
    Off, Scope, TeaCache, TaylorSeer, FlowCache, MotionCache, PrediT, EasyCache, SeaCache, Reduced, DeltaDiT, MagCache, BWCache, FBCache)}

__all__ = ["BWCache", "Decision", "DeltaDiT", "EasyCache", "FBCache", "FlowCache", "MagCache", "Mode", "MotionCache", "Off", "POLICIES", "Policy",
           "PrediT", "Reduced", "Scope", "SeaCache", "Seen", "TaylorSeer", "TeaCache"]
