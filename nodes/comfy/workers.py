"""Processes that share the work on one video, or make a video each: the workers of Raylight
(https://github.com/komikndr/raylight), each with a GPU (docs/several-gpus.md).

Raylight and xFuser are found where they are loaded, and never imported.
"""

import sys
from functools import lru_cache, partial
from typing import Any

import torch.distributed as dist

from ...scope_core.methods import METHODS
from ...scope_core.ranks import Reduce, highest, own
from ...scope_core.schedule import ARSchedule
from ...scope_core.settings import Settings
from .families import HostFamily
from .latents import UnsuitableError

XFUSER = "xfuser.core.distributed.parallel_state"


def xfuser() -> Any:
    """Where xFuser keeps who works with whom; None where nobody shares the work on a video by it."""
    state = sys.modules.get(XFUSER)
    return state if state is not None and state.model_parallel_is_initialized() else None


def is_first() -> bool:
    """Whether this process writes files and talks to the user."""
    return not is_distributed() or dist.get_rank() == 0


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def sharers() -> int:
    """Processes that share the tokens, the guidance branches or the blocks of this one's video, itself included."""
    state = xfuser()
    return dist.get_world_size() // state.get_data_parallel_world_size() if state else 1


def reduction(patcher: Any) -> Reduce:
    """How those that have to run the network together agree. Every one of them has to ask.

    With sharded weights (FSDP) these are all, whoever's video it is of, for a forward gathers the weights from all; and
    so they are where nobody says who shares what.
    """
    if not is_distributed():
        return own
    if hasattr(patcher, "patch_fsdp") or XFUSER not in sys.modules:
        return highest
    return own if sharers() == 1 else partial(highest, group=group_of(sharers()))


@lru_cache
def group_of(size: int) -> Any:
    """This process and its neighbours, which share the work on a video: xFuser counts videos last."""
    if size == dist.get_world_size():
        return None
    first = dist.get_rank() // size * size
    return dist.new_group(list(range(first, first + size)), use_local_synchronization=True)


def check(family: HostFamily, schedule: ARSchedule, settings: Settings) -> None:
    """Raises UnsuitableError for what comes out wrong where processes share the work on a video."""
    state = xfuser()
    shared = 1 if state is None else state.get_sequence_parallel_world_size()
    if shared > 1 and (why := family.not_shared(schedule)):
        raise UnsuitableError(
            f"Raylight shares the tokens of a video out to {shared} GPUs (ulysses degree times ring degree), but {why};"
            " or set both degrees to 1, and let Raylight share the guidance branches (cfg degree) or the weights (FSDP)"
        )
    if sharers() > 1 and settings.acting.depth == 0 and not settings.off:
        others = [name for name, method in METHODS.items() if method().depth]
        raise UnsuitableError(
            f"{settings.acting.title} reuses inside the network, of which each of Raylight's GPUs sees a part; choose a"
            f" method that reuses the output: {', '.join(others)}"
        )
