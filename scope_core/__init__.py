"""SCOPE: training-free acceleration of autoregressive video diffusion (arXiv 2604.02979).

The names in `__all__` are the library's surface and stay; what is not there may change from version to version.

>>> import scope_core
>>> sorted(scope_core.FAMILIES), "scope" in scope_core.METHODS, "balanced" in scope_core.PRESETS
(['causal_wan', 'flow', 'helios', 'magi', 'skyreels'], True, True)
"""

from .families import CAUSAL_WAN, FAMILIES, FLOW, HELIOS, MAGI, SKYREELS
from .loop.plan import plan
from .loop.sample import Sampled, sample
from .loop.trace import Trace
from .methods import METHODS, Gate
from .schedule import ARSchedule, ScheduleError
from .settings import PRESETS, Settings

__version__ = "0.7.0"

__all__ = [
    "CAUSAL_WAN",
    "FAMILIES",
    "FLOW",
    "HELIOS",
    "MAGI",
    "METHODS",
    "PRESETS",
    "SKYREELS",
    "ARSchedule",
    "Gate",
    "Sampled",
    "ScheduleError",
    "Settings",
    "Trace",
    "plan",
    "sample",
]
