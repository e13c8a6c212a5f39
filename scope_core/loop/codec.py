"""Trees of tensors and plain values as bytes, and back, without pickle: the tensors as safetensors, what holds them as
JSON in the header.

Tensors lie in memory as they did, views of one storage too: in which order a sum over one is taken depends on that, and
with it the last bit.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

PLAIN = (type(None), bool, int, float, str)
HOLDERS: dict[type, tuple[Callable[[Any], list], Callable[[list], Any]]] = {
    list: (list, list),
    tuple: (list, tuple),
    dict: (lambda held: [list(pair) for pair in held.items()], dict),
    deque: (lambda held: [held.maxlen, *held], lambda parts: deque(parts[1:], parts[0])),
    slice: (lambda held: [held.start, held.stop, held.step], lambda parts: slice(*parts)),
    range: (lambda held: [held.start, held.stop, held.step], lambda parts: range(*parts)),
    np.ndarray: (lambda held: [str(held.dtype), held.tolist()], lambda parts: np.array(parts[1], parts[0])),
}
"""What holds values: its parts, and what they make; also named tuples and dataclasses, by their names."""
KINDS = {kind.__name__: make for kind, (_, make) in HOLDERS.items()}


def pack(tree: Any) -> bytes:
    """See `snapshot`."""
    return snapshot(tree)()


def snapshot(tree: Any) -> Callable[[], bytes]:
    """What packs a tree as it is now, whatever becomes of it. Raises TypeError for what is neither a tensor, a plain
    value nor a holder of them."""
    stored = Stored()
    described = describe(tree, stored)
    return lambda: save(stored.tensors, {"tree": json.dumps(described)})


def unpack(data: bytes, names: Iterable[type] = (), device: torch.device | None = None) -> Any:
    """What `pack` was given, with tensors on `device` but for those that waited in the CPU's memory. `names`: the named
    tuples and dataclasses that may be in it. Raises KeyError for others."""
    size = int.from_bytes(data[:8], "little")
    tree = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["tree"])
    named = {name.__name__: lambda parts, name=name: name(*parts) for name in names}
    return restore(tree, Restored(load(data), device), {**named, **KINDS})


class Stored:
    """Tensors on their way to disk, each once however often it is held."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.names: dict[tuple, str] = {}
        self.storages: dict[tuple, int] = {}

    def put(self, tensor: Tensor) -> dict[str, Any]:
        storage = tensor.untyped_storage()
        place = {
            "storage": self.storages.setdefault((tensor.device, storage.data_ptr()), len(self.storages)),
            "elements": storage.nbytes() // tensor.itemsize,
            "stride": tensor.stride(),
            "offset": tensor.storage_offset(),
        }
        same = (*place.values(), tensor.shape, tensor.dtype)
        if same not in self.names:
            self.names[same] = name = str(len(self.tensors))
            self.tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": self.names[same], "waits": tensor.device.type == "cpu", **place}


class Restored:
    """Tensors from disk, in storages as they were."""

    def __init__(self, tensors: dict[str, Tensor], device: torch.device | None):
        self.tensors, self.device = tensors, device
        self.storages: dict[tuple, Tensor] = {}

    def get(self, told: dict[str, Any]) -> Tensor:
        tensor = self.tensors[told["tensor"]]
        storage = told["storage"], tensor.dtype
        if storage not in self.storages:
            device = None if told["waits"] else self.device
            self.storages[storage] = torch.zeros(told["elements"], dtype=tensor.dtype, device=device)
        return self.storages[storage].as_strided(tensor.shape, told["stride"], told["offset"]).copy_(tensor)


def describe(value: Any, stored: Stored) -> Any:
    if type(value) in PLAIN:
        return value
    if isinstance(value, Tensor):
        return stored.put(value)
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in HOLDERS:
        parts = HOLDERS[type(value)][0](value)
    elif is_dataclass(value):
        parts = [getattr(value, field.name) for field in fields(value)]
    elif hasattr(value, "_fields"):
        parts = list(value)
    else:
        raise TypeError(f"{type(value).__name__} cannot be kept")
    return {type(value).__name__: [describe(part, stored) for part in parts]}


def restore(told: Any, stored: Restored, kinds: dict[str, Callable[[list], Any]]) -> Any:
    if not isinstance(told, dict):
        return told
    if "tensor" in told:
        return stored.get(told)
    ((kind, parts),) = told.items()
    return kinds[kind]([restore(part, stored, kinds) for part in parts])
