"""Methods that decide, per unit and step, whether the network has to run: one file each, one protocol, a registry by
name.

The order of the imports is that in which they are offered.
"""

# ruff: noqa: I001
from .base import METHODS, Method, Speed, register
from .gate import Gate, couple
from .off import Off
from .planned import Planned
from .scope import Scope
from .teacache import TeaCache
from .taylorseer import TaylorSeer
from .flowcache import FlowCache
from .magcache import MagCache
from .delta_dit import DeltaDiT
from .bwcache import BWCache
from .fbcache import FBCache
from .easycache import EasyCache
from .predit import PrediT
from .motioncache import MotionCache
from .seacache import SeaCache
from .lemica import LeMiCa
from .meancache import MeanCache
from .dpcache import DPCache
from .budcache import BudCache
from .hicache import HiCache
from .arcache import ARCache
from .reduced import Reduced
from .vocabulary import RULES, Decision, Entry, Mode, Seen, Skip

__all__ = [
    "METHODS",
    "RULES",
    "ARCache",
    "BWCache",
    "BudCache",
    "DPCache",
    "Decision",
    "DeltaDiT",
    "EasyCache",
    "Entry",
    "FBCache",
    "FlowCache",
    "Gate",
    "HiCache",
    "LeMiCa",
    "MagCache",
    "MeanCache",
    "Method",
    "Mode",
    "MotionCache",
    "Off",
    "Planned",
    "PrediT",
    "Reduced",
    "Scope",
    "SeaCache",
    "Seen",
    "Skip",
    "Speed",
    "TaylorSeer",
    "TeaCache",
    "couple",
    "register",
]
