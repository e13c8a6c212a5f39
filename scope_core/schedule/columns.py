"""Which frames an iteration forwards (paper section 3.4).

`full` forwards the whole window. `paper` is Eq. 8-9 read with e_0 = the prefix: frames that have not started are left
out. `auto` leaves them out only where that is exact: under block-causal attention no frame sees them (docs/scope.md
C16).
"""

import numpy as np

from .matrix import Segment

SELECTIVE = ("auto", "full", "paper")


def active_columns(segment: Segment) -> list[slice]:
    """From the first to the last column that advances, at each iteration."""
    return [slice(step.active[0].frames.start, step.active[-1].frames.stop) for step in segment.iterations]


def window_columns(segment: Segment, selective: str, *, causal: bool) -> list[slice]:
    """Columns of a window forwarded at each iteration: T slices. Eq. 9 starts at 0, for a segment is never longer than
    the window.

    Raises ValueError for an unknown choice.
    """
    if selective not in SELECTIVE:
        raise ValueError(f"selective is {selective!r}; choose one of {', '.join(SELECTIVE)}")
    whole = slice(0, segment.frames)
    if selective == "full" or segment.tail or (selective == "auto" and not causal):
        return [whole] * len(segment.matrix)
    result, end = [], segment.prefix
    for active in segment.update:
        end = max(end, 1 + int(np.flatnonzero(active)[-1])) if active.any() else segment.frames
        result.append(slice(0, end))
    return result
