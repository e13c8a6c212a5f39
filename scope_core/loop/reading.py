"""What a computed step tells the CPU: that the network returned numbers, and what its method measures, in one transfer.

Every transfer waits until the device has caught up, so there is one a step (docs/architecture.md, What waits for the
device).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..ranks import read
from ..schedule import Step


class NotFiniteError(FloatingPointError):
    """The model returned NaN or infinity."""


def measured(made: Tensor, step: Step, wanted: Sequence[Tensor] = ()) -> list[list[float]]:
    """Values of the tensors `wanted`, once it is certain that what the network made is finite. Raises
    NotFiniteError."""
    total, *values = read(torch.cat([made.sum()[None], *(numbers.flatten() for numbers in wanted)]))
    if not math.isfinite(total):
        sigma = max(unit.sigma for unit in step.active)
        raise NotFiniteError(
            f"the model returned NaN or infinity at iteration {step.index + 1}, noise level {sigma:.3f}; "
            "load it in bf16 or fp32 instead of fp16 or fp8, or check the file and the LoRA strength"
        )
    rest = iter(values)
    return [[next(rest) for _ in range(numbers.numel())] for numbers in wanted]
