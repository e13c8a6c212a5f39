"""A GPU that is not there: tensors on `cuda` have a shape, a dtype and a device, but no numbers and no memory, so that
runs of full size are watched on any machine. Tensors on the CPU are real.

Operations across devices fail as they do on a GPU. Whatever waits for the device is noted: numbers that are read from
it, which become stand-ins, and what is sent to it without `non_blocking`.
"""

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda", 0)
ROOT = Path(__file__).parents[1]
UNTOLD = __file__, str(ROOT / "scope_core" / "ranks.py")
aten = torch.ops.aten
COPY, COPY_INTO, ITEM = aten._to_copy.default, aten.copy_.default, aten._local_scalar_dense.default
COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
LINEAR = "mm", "addmm", "convolution"


@contextmanager
def fake_cuda() -> Iterator["FakeCuda"]:
    """A GPU as long as this lasts."""
    at_once = patch.object(FakeTensor, "tolist", lambda tensor: tensor.cpu().tolist())
    with at_once, FakeTensorMode() as fake, FakeCuda(fake) as gpu:
        yield gpu


class FakeCuda(TorchDispatchMode):
    def __init__(self, fake: FakeTensorMode) -> None:
        super().__init__()
        self.fake = fake
        self.reads: list[str] = []
        """Where numbers were read from the device, in order,"""
        self.uploads: list[str] = []
        """where something was sent to it that had to arrive first,"""
        self.doubles: list[str] = []
        """and where it computed in double precision: `file.py:line function`."""
        self.linear: Counter[torch.dtype] = Counter()
        """Linear layers and convolutions that ran, by the dtype of their result."""
        self.storages: dict[int, tuple[StorageWeakRef, int]] = {}
        self.told = 0.125
        """What every number reads as that is read; what is true or false reads as true."""

    @property
    def held(self) -> int:
        """Bytes on the device that something still refers to."""
        self.storages = {at: kept for at, kept in self.storages.items() if not kept[0].expired()}
        return sum(size for _, size in self.storages.values())

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        there = [leaf for leaf in leaves if isinstance(leaf, FakeTensor)]
        device = args[0].device if op is COPY_INTO else next((d for d in leaves if isinstance(d, torch.device)), None)
        if not there and (device is None or device.type == "cpu"):
            with unset_fake_temporarily():
                return op(*args, **kwargs)
        if op.namespace == "aten" and op.has_kernel_for_dispatch_key(COMPOSITE):
            with self:
                return op.decompose(*args, **kwargs)
        if there and (op is ITEM or (op in (COPY, COPY_INTO) and device is not None and device.type == "cpu")):
            self.reads.append(place())
            with unset_fake_temporarily():
                return self.read(op, there[0], args, kwargs)
        here = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, FakeTensor)]
        if here and op in (COPY, COPY_INTO):
            waits = not (kwargs.get("non_blocking") or (op is COPY_INTO and len(args) > 2 and args[2]))
            self.uploads += [place()] * waits
        made = op(*tree_map(self.sent, args), **tree_map(self.sent, kwargs))
        results = [leaf for leaf in tree_leaves(made) if isinstance(leaf, FakeTensor)]
        for tensor in results:
            assert tensor.is_cuda, f"{op} made a tensor on {tensor.device} at {place()}"
            storage = tensor.untyped_storage()
            self.storages[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.doubles += [place() for tensor in results if tensor.dtype is torch.float64]
        name = op.name().split("::")[1].split(".")[0]
        if name in LINEAR:
            self.linear[results[0].dtype] += 1
        return made

    def sent(self, leaf):
        if isinstance(leaf, Tensor) and not isinstance(leaf, FakeTensor):
            return self.fake.from_tensor(leaf, static_shapes=True)
        return leaf

    def read(self, op, tensor: FakeTensor, args, kwargs):
        """What comes of an operation that reads a tensor of the device."""
        told = torch.full(tensor.shape, self.told if tensor.dtype.is_floating_point else 1, dtype=tensor.dtype)
        if op is ITEM:
            return told.item()
        return args[0].copy_(told) if op is COPY_INTO else told.to(kwargs.get("dtype"))


def place() -> str:
    """Innermost line of the project that is at work, or asks for numbers (`scope_core.ranks.read`)."""
    frames = traceback.extract_stack()[::-1]
    ours = (frame for frame in frames if Path(frame.filename).is_relative_to(ROOT) and frame.filename not in UNTOLD)
    frame = next(ours, frames[0])
    return f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
