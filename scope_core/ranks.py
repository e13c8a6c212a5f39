"""Numbers that leave the device and decide what happens next.

Where processes share the work on one video (a part of the tokens, of the guidance branches or of the weights each) all
have to decide alike: while one leaves a step out, the others wait for it inside the network for ever. Their numbers
differ by what is rounded differently, so within `agreeing` the highest on any rank counts. Numbers that follow from the
schedule alone are the same everywhere and need no agreement.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.distributed
from torch import Tensor

Reduce = Callable[[Tensor], Tensor]
"""Numbers [N] of this process -> those that count."""


def own(values: Tensor) -> Tensor:
    return values


def highest(values: Tensor, group: torch.distributed.ProcessGroup | None = None) -> Tensor:
    """The highest of each number [N] on any rank of a group, by default of all; infinity where one is not finite. Every
    rank has to ask at the same time."""
    nccl = torch.distributed.get_backend(group) == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")
    numbers = torch.nan_to_num(values.to(device, torch.float64), nan=torch.inf, neginf=torch.inf)
    torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MAX, group)
    return numbers


reduction: ContextVar[Reduce] = ContextVar("reduction", default=own)


def alone() -> bool:
    """Whether no other process waits for what this one does."""
    return reduction.get() is own


@contextmanager
def agreeing(reduce: Reduce) -> Iterator[None]:
    """Runs within decide by what `reduce` makes of their numbers, such as `highest`."""
    before = reduction.set(reduce)
    try:
        yield
    finally:
        reduction.reset(before)


def read(values: Tensor) -> list[float]:
    """Numbers [N] that decide something. Every rank reads as often, whatever its numbers are."""
    return reduction.get()(values).tolist()
