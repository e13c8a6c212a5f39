"""Keys and values of the chunks of a video that later chunks attend to."""

import math
from weakref import WeakSet

import torch
from torch import Tensor

from .compression import Compression

CPU = torch.device("cpu")


class Budget:
    """What caches may keep on a device, all together. It holds none of them, so that each goes with its last reader."""

    def __init__(self, nbytes: float):
        self.nbytes = nbytes
        self.caches: WeakSet[ChunkCache] = WeakSet()

    def held(self, device: torch.device) -> int:
        return sum(cache.bytes(device) for cache in self.caches)

    @property
    def spillable(self) -> bool:
        return any(cache.stored for cache in self.caches) and self.nbytes > 0

    def spill(self) -> None:
        """Halve what may stay on the device, at once and from here on; the oldest chunks go first. Where none is left
        none may stay."""
        stores = [cache.stored for cache in self.caches]
        there = [(at, stored) for stored in stores for at, (key, _) in stored.items() if key.device != CPU]
        there.sort(key=lambda pair: pair[0][1])
        held = sum(x.nbytes for at, stored in there for x in stored[at])
        self.nbytes = min(self.nbytes, held) / 2
        while there and held > self.nbytes:
            at, stored = there.pop(0)
            key, value = stored[at]
            stored[at] = key.to(CPU), value.to(CPU)
            held -= key.nbytes + value.nbytes
        if not there:
            self.nbytes = 0


class ChunkCache:
    """Keys and values of self-attention, after norm and rotation, by layer and chunk: [B, tokens, groups * head_dim]
    each.

    They stay on the device that made them within the budget; the rest waits in the CPU's memory (KV offload) and `get`
    brings it to the device that asks. What is not here is looked for in the cache `behind` this one, with which it
    shares its budget. With `compress`, finished chunks lose tokens.
    """

    def __init__(
        self, budget: Budget | None = None, behind: "ChunkCache | None" = None, compress: Compression | None = None
    ):
        self.budget: Budget = behind.budget if behind else budget or Budget(math.inf)
        self.budget.caches.add(self)
        self.behind, self.compress = behind, compress
        self.stored: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self.finished = 0
        """Chunks before this one are finished."""

    def put(self, layer: int, chunk: int, key: Tensor, value: Tensor) -> None:
        self.stored.pop((layer, chunk), None)
        fits = self.budget.held(key.device) + key.nbytes + value.nbytes <= self.budget.nbytes
        device = key.device if fits else CPU
        self.stored[layer, chunk] = key.to(device, copy=True), value.to(device, copy=True)

    def get(self, layer: int, chunk: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Raises KeyError where the chunk was never kept."""
        if (layer, chunk) not in self.stored and self.behind:
            return self.behind.get(layer, chunk, device)
        key, value = self.stored[layer, chunk]
        return key.to(device), value.to(device)

    def shrink(self, layer: int, tokens: int, query: Tensor, groups: int) -> None:
        """Compress the finished chunks of a layer to what the buffer leaves beside those in the works, a chunk's worth
        of `tokens` at least. `query` [B, q, heads * head_dim] tells what matters. The tokens kept move to the newest
        finished chunk, which all later ones read: how many are left of each chunk differs from head to head."""
        if self.compress is None:
            return
        chunks = sorted(chunk for at, chunk in self.stored if at == layer)
        finished = [chunk for chunk in chunks if chunk < self.finished]
        count = tokens * max(1, self.compress.buffer - (len(chunks) - len(finished)))
        if sum(self.stored[layer, chunk][0].shape[1] for chunk in finished) <= count:
            return
        key, value = (
            torch.cat(parts, 1) for parts in zip(*(self.get(layer, chunk, query.device) for chunk in finished))
        )
        for chunk in finished[:-1]:
            self.put(layer, chunk, key[:, :0], value[:, :0])
        self.put(layer, finished[-1], *self.compress.keep(count, query, key, value, groups))

    def drop(self, chunk: int) -> None:
        self.stored = {at: pair for at, pair in self.stored.items() if at[1] != chunk}

    def bytes(self, device: torch.device | None = None) -> int:
        """Bytes held, on one device or on all. Another branch may be putting something in, in a thread of its own."""
        return sum(x.nbytes for pair in tuple(self.stored.values()) for x in pair if device in (None, x.device))
