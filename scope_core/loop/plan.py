"""The timeline of a run before it runs: the same decisions, without a single tensor.

Exact where the signal depends on the schedule alone, which is every signal that does not look at the content; see
`signals.maps`.
"""

import numpy as np

from ..schedule import ARSchedule
from ..settings import Settings
from ..signals import CONTENT
from .control import Control, computed
from .trace import Trace


def plan(schedule: ARSchedule, settings: Settings, table: np.ndarray | None = None) -> Trace:
    """Trace of the run to come, with no seconds in it. `table` [S + 1] holds the signal's change at each own step
    (`signals.change_table`); only 'sigma' can do without. Segments of one shape have one plan.

    Raises ValueError for a signal that looks at the content and has no table, and for a method that decides from what
    the network returns.

    >>> from scope_core import METHODS, SKYREELS, Settings, plan
    >>> made = plan(SKYREELS.schedule(25, steps=50), Settings(METHODS["taylorseer"](interval=5)))
    >>> made.totals["computed"], made.totals["iterations"]
    (10, 50)
    """
    method = settings.acting
    if not method.plannable:
        raise ValueError(f"{method.title} decides from what the network returns, so its run cannot be planned")
    if method.signal in CONTENT and table is None:
        raise ValueError(
            f"the {method.signal!r} signal looks at the video itself, so its run cannot be planned; "
            f"choose {', '.join(schedule.family.features)} or sigma"
        )
    trace = Trace.of(schedule, settings, planned=True)
    planned: dict[tuple[int, int, int], list] = {}
    for segment in schedule.segments:
        record = trace.begin(segment)
        shape = (segment.prefix, segment.free, segment.tail)
        if shape not in planned:
            control = Control(settings, schedule, segment, table=table)
            for step in segment.iterations:
                changes = control.signal(step, None)
                decisions = control.decide(step, changes)
                if fresh := computed(step, decisions):
                    control.observe(step, fresh, None, None, None)
                control.settle(step, decisions, changes)
                record.add(step, control.columns[step.index], decisions, 0.0)
            planned[shape] = record.steps
        record.steps = planned[shape]
    return trace
