"""The timeline of a run before it runs: the same decisions, without a single tensor.

Exact where the signal depends on the schedule alone, which is every signal that does not look at the content; see `known`.
"""

import numpy as np

from .control import Control, computed
from .interval import active_intervals, intervals
from .magi import twice
from .presets import Settings
from .schedule import ARSchedule, Segment
from .signal import CONTENT, make_signal
from .term import Term
from .trace import Trace, describe


def make_control(settings: Settings, schedule: ARSchedule, segment: Segment, term: Term | None = None, table: np.ndarray | None = None) -> Control:
    """Decision maker of one segment, fresh. `table`, where given, stands in for the model behind `term`."""
    policy = settings.policy
    signal = make_signal(policy.signal, policy.aggregate, segment, term, table)
    columns = active_intervals(segment) if schedule.chunked else intervals(segment, settings.interval, causal=schedule.causal)
    layouts = [(columns, twice(step)) for columns, step in zip(columns, segment.iterations)] if schedule.chunked else columns
    return Control(policy, settings.gate, signal, segment, columns, settings.joint or not schedule.chunked or policy.depth == 0, layouts)


def plan(schedule: ARSchedule, settings: Settings, table: np.ndarray | None = None) -> Trace:
    """Trace of the run to come, with no seconds in it. `table` holds the signal's change at each own step, see `known`; only
    'sigma' can do without. Segments of one shape have one plan.

    Raises ValueError for a signal that looks at the content and has no table, and for a method that decides from what the network returns.
    """
    if not settings.policy.plannable:
        raise ValueError(f"{settings.policy.title} decides from what the network returns, so its run cannot be planned")
    if settings.policy.signal in CONTENT and table is None:
        raise ValueError(f"the {settings.policy.signal!r} signal looks at the video itself, so its run cannot be planned; choose modulation, embedding or sigma")
    trace = Trace({"planned": True, "method": "off" if settings.off else settings.method, "settings": settings.to_json(), "schedule": describe(schedule)},
                  by_chunk=schedule.chunked)
    planned: dict[tuple[int, int, int], list] = {}
    for segment in schedule.segments:
        record = trace.begin(segment)
        shape = (segment.prefix, segment.free, segment.tail)
        if shape not in planned:
            control = make_control(settings, schedule, segment, table=table)
            for step in segment.iterations:
                decisions = control.decide(step, None)
                if fresh := computed(step, decisions):
                    control.observe(step, fresh, None, None, None)
                control.settle(step, decisions)
                record.add(step, control.columns[step.index], decisions, 0.0)
            planned[shape] = record.steps
        record.steps = planned[shape]
    return trace
