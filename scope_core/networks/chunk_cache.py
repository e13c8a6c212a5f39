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


class ChunkCache:
    """Keys and values of self-attention, after norm and rotation, by layer and chunk: [B, tokens, groups * head_dim]
    each.

    They stay on the device that made them up to `budget` bytes; the rest waits in the CPU's memory (KV offload) and
    `get` brings it to the device that asks. What is not here is looked for in the cache `behind` this one, with which
    it shares a budget. With `compress`, finished chunks lose tokens.
    """

    def __init__(
        self, budget: float = math.inf, behind: "ChunkCache | None" = None, compress: Compression | None = None
    ):
        self.shared: Budget = behind.shared if behind else Budget(budget)
        self.shared.caches.add(self)
        self.behind, self.compress = behind, compress
        self.stored: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self.finished = 0
        """Chunks before this one are finished."""

    @property
    def budget(self) -> float:
        return self.shared.nbytes

    def put(self, layer: int, chunk: int, key: Tensor, value: Tensor) -> None:
        self.stored.pop((layer, chunk), None)
        fits = self.shared.held(key.device) + key.nbytes + value.nbytes <= self.budget
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

    @property
    def spillable(self) -> bool:
        return any(cache.stored for cache in self.shared.caches) and self.budget > 0

    def spill(self) -> None:
        """Halve what may stay on the device, at once and from here on; the oldest chunks go first. Where none is left
        none may stay."""
        caches = self.shared.caches
        there = [(at, cache.stored) for cache in caches for at, (key, _) in cache.stored.items() if key.device != CPU]
        there.sort(key=lambda pair: pair[0][1])
        held = sum(x.nbytes for at, stored in there for x in stored[at])
        self.shared.nbytes = min(self.budget, held) / 2
        while there and held > self.budget:
            at, stored = there.pop(0)
            key, value = stored[at]
            stored[at] = key.to(CPU), value.to(CPU)
            held -= key.nbytes + value.nbytes
        if not there:
            self.shared.nbytes = 0

    def drop(self, chunk: int) -> None:
        self.stored = {at: pair for at, pair in self.stored.items() if at[1] != chunk}

    def bytes(self, device: torch.device | None = None) -> int:
        """Bytes held, on one device or on all. Another branch may be putting something in, in a thread of its own."""
        return sum(x.nbytes for pair in tuple(self.stored.values()) for x in pair if device in (None, x.device))
