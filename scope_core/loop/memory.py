"""What is kept between steps: computed velocities of every unit, and what some methods reuse inside the network.

A memory belongs to one segment of one run and holds computed values only; predictions never enter (docs/architecture.md
law 3).
"""

from collections import deque
from collections.abc import Iterable

from torch import Tensor

from ..methods import Entry
from ..schedule import Unit
from .residuals import Residuals
from .room import CPU, Room


class Memory:
    """The last computed velocities of each unit, newest first, at distinct noise levels."""

    def __init__(self, depth: int, latents: bool = False, room: Room | None = None):
        """`depth`: velocities of each unit. `latents`: keep those that the velocities were computed at, too. `room`
        decides where."""
        self.depth, self.latents, self.room = depth, latents, room or Room()
        self.velocities: dict[int, deque[Entry]] = {}
        self.residuals = Residuals(self.room)

    def push(self, unit: Unit, value: Tensor | None, latent: Tensor | None) -> None:
        entries = self.velocities.setdefault(unit.index, deque(maxlen=self.depth))
        if entries and entries[0].sigma == unit.sigma:
            entries.popleft()
        kept = (tensor if tensor is None else self.room.kept(tensor) for tensor in (value, latent))
        value, latent = kept if self.latents else (next(kept), None)
        entries.appendleft(Entry(unit.sigma, value, unit.step, latent))  # type: ignore[arg-type]  # see Entry

    def of(self, unit: int) -> tuple[Entry, ...]:
        return tuple(self.velocities.get(unit, ()))

    def spill(self) -> None:
        """Move all of it into the CPU's memory."""
        self.velocities = {
            unit: deque((entry.on(CPU) for entry in entries), self.depth) for unit, entries in self.velocities.items()
        }
        self.residuals.spill()

    def drop(self, unit: int) -> None:
        self.velocities.pop(unit, None)

    def bytes(self) -> int:
        """Bytes of the tensors held, each storage counted once: units share the tensor they were computed in."""
        tensors = [
            t
            for entries in self.velocities.values()
            for entry in entries
            for t in (entry.value, entry.latent)
            if t is not None
        ]
        return held(tensors) + self.residuals.bytes()


def held(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors, each storage counted once."""
    storages = {storage._cdata: storage.nbytes() for storage in (tensor.untyped_storage() for tensor in tensors)}
    return sum(storages.values())
