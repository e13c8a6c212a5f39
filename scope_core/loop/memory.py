"""What is kept between steps: computed velocities of every unit, and what some methods reuse inside the network.

A memory belongs to one segment of one run and holds computed values only; predictions never enter (docs/architecture.md
law 3).
"""

from collections import deque

from torch import Tensor

from ..methods import Entry
from ..schedule import Unit
from .residuals import Residuals


class Memory:
    """The last computed velocities of each unit, newest first, at distinct noise levels."""

    def __init__(self, depth: int, latents: bool = False):
        """`depth`: velocities of each unit. `latents`: keep those that the velocities were computed at, too."""
        self.depth, self.latents = depth, latents
        self.velocities: dict[int, deque[Entry]] = {}
        self.residuals = Residuals()

    def push(self, unit: Unit, value: Tensor | None, latent: Tensor | None) -> None:
        entries = self.velocities.setdefault(unit.index, deque(maxlen=self.depth))
        if entries and entries[0].sigma == unit.sigma:
            entries.popleft()
        kept = latent if self.latents else None
        entries.appendleft(Entry(unit.sigma, value, unit.step, kept))  # type: ignore[arg-type]  # see Entry

    def of(self, unit: int) -> tuple[Entry, ...]:
        return tuple(self.velocities.get(unit, ()))

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
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        return sum(storages.values()) + self.residuals.bytes()
