"""Where what is kept between steps lives: on the device as long as there is room, from then on in the CPU's memory.

Nothing else decides about it. What has moved comes back bit for bit where it is used (docs/memory.md).
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from ..ranks import alone

CPU = torch.device("cpu")
Made = TypeVar("Made")
HISTORY = (
    "the device ran out of memory: what is remembered of computed steps waits in the CPU's memory from here on, and is"
    " copied where it is used. The result is the same."
)
KEYS_AND_VALUES = (
    "the device ran out of memory: keys and values of finished chunks wait in the CPU's memory, as many as it takes,"
    " and are copied for every call. The result is the same."
)


class Holder:
    """Something that keeps tensors on the device between steps."""

    spilling: str
    """What is told of it when it makes room."""

    @property
    def spillable(self) -> bool:
        """Whether it could make room."""
        return False

    def spill(self) -> None:
        """Make room, at once and from here on."""

    def mark(self) -> Callable[[], None]:
        """What puts everything back that it holds now, from before a call that fails half-way."""
        return lambda: None


class Room:
    """Of one run."""

    def __init__(self, tell: Callable[[str], None] = lambda sentence: None):
        """`tell` is called with a sentence, once for each kind of thing that moves."""
        self.tell = tell
        self.told: set[str] = set()

    @property
    def short(self) -> bool:
        """The history no longer fits."""
        return HISTORY in self.told

    def kept(self, tensor: Tensor) -> Tensor:
        """A tensor of the history where it is to live."""
        return tensor.to(CPU) if self.short else tensor

    def attempt(self, call: Callable[[], Made], *levels: Sequence[object]) -> Made:
        """What `call` returns, which is called again where the device has no memory for it: after the holders of the
        first level have made room, then those of the next. Not where processes share the work: the others would wait
        inside of theirs."""
        holders = [[holder for holder in level if isinstance(holder, Holder)] for level in levels]
        while True:
            undo = [holder.mark() for level in holders for holder in level]
            try:
                return call()
            except torch.OutOfMemoryError:
                full = [[holder for holder in level if holder.spillable] for level in holders]
                if not any(full) or not alone():
                    raise
            # Outside of the handler, so that nothing refers to the tensors of the call any more.
            for put_back in undo:
                put_back()
            for holder in next(filter(None, full)):
                self.spill(holder)

    def spill(self, holder: Holder) -> None:
        if holder.spilling not in self.told:
            self.told.add(holder.spilling)
            self.tell(holder.spilling)
        holder.spill()
        torch.cuda.empty_cache()
