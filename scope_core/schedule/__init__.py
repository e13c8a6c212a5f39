"""Which frame is at which noise level at which iteration, and what an iteration forwards. Pure numpy: nothing here
knows a network."""

from .ar import ARSchedule, Defaults, Family, ScheduleError, check_shift, levels_at
from .matrix import Segment, Step, Unit, step_matrix

__all__ = [
    "ARSchedule",
    "Defaults",
    "Family",
    "ScheduleError",
    "Segment",
    "Step",
    "Unit",
    "check_shift",
    "levels_at",
    "step_matrix",
]
