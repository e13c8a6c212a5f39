"""What a method looks at before a step: the relative change of a cheap feature, per unit (paper Eq. 4).

Everything derived from the noise level depends on the schedule alone, so it is a table and a run can be planned; the
others look at the content and cost one device-to-host read per step.
"""

import numpy as np

from ..schedule import ARSchedule, Segment
from .base import AGGREGATES, Features, NotFiniteSignalError, Signal, SignalError
from .content import MEASURES, ContentSignal
from .table import SCHEDULED, TableSignal, change_table

CONTENT = tuple(MEASURES)
"""Signals that look at the latents."""
SIGNALS = (*SCHEDULED, *CONTENT)


def make_signal(
    name: str,
    aggregate: str,
    schedule: ARSchedule,
    segment: Segment,
    features: Features | None,
    table: np.ndarray | None = None,
) -> Signal:
    """The signal of a segment. `table` [S + 1], where given, is used instead of asking for features.

    Raises ValueError for names that the schedule's family does not have, and for signals that need one of the two, and
    NotFiniteSignalError.
    """
    known = schedule.family.signals
    if name not in known:
        raise ValueError(f"signal is {name!r}; choose one of {', '.join(known)}")
    if aggregate not in AGGREGATES:
        raise ValueError(f"aggregate is {aggregate!r}; choose one of {', '.join(AGGREGATES)}")
    if table is None and name in CONTENT:
        return ContentSignal(name, features, segment, aggregate)
    return TableSignal(change_table(name, segment.sigmas, features) if table is None else table, segment, aggregate)


__all__ = [
    "AGGREGATES",
    "CONTENT",
    "SIGNALS",
    "ContentSignal",
    "Features",
    "NotFiniteSignalError",
    "Signal",
    "SignalError",
    "TableSignal",
    "change_table",
    "make_signal",
]
