"""What all signals share: what they are, what they ask of a model, and how units see each other's changes."""

from typing import Protocol

import numpy as np
from torch import Tensor

from ..ranks import read
from ..schedule import Step

AGGREGATES = ("max", "mean_active", "mean_all", "history")
"""max: every unit sees its own change, and with one joint forward the neediest decides. mean_active, mean_all: all see
the mean over the frames that advance, or over the whole window, which dilutes it by the frames that stand still
(docs/scope.md C3). history: every unit sees the mean of those ahead of it that advance; the first one itself."""
EPS = 1e-8


class SignalError(ValueError):
    """A model that does not answer for a signal."""

    def __init__(self, name: str):
        super().__init__(f"this model does not answer for the signal {name!r}; choose one that looks at sigma")


class NotFiniteSignalError(ValueError):
    """A signal that is NaN or infinite, on which nothing can be decided."""

    def __init__(self, name: str, sigma: float):
        super().__init__(
            f"the signal {name!r} of this model is NaN or infinite at noise level {sigma:.3f}. Load the model in bf16"
            " or fp32 instead of fp16 or fp8, check the file and the LoRA strength, or choose the signal sigma"
        )


def require_finite(name: str, values: Tensor, sigma: np.ndarray) -> None:
    """Of a signal's values [N, D] at noise levels [N]. Raises NotFiniteSignalError."""
    bad = ~np.isfinite(read(values.abs().amax(1)))
    if bad.any():
        raise NotFiniteSignalError(name, sigma[bad][0])


class Features(Protocol):
    """What signals ask of a model. Raises SignalError for what a model does not say."""

    def features(self, name: str, sigma: np.ndarray) -> Tensor:
        """What changes with the noise level alone, at levels [N]: 'embedding' e or 'modulation' e0, as [N, ...]."""
        raise SignalError(name)

    def patch_embedding(self, x: Tensor) -> Tensor:
        """Patch-embedded latents [B, dim, F, h, w] of latents x [B, C, F, H, W]."""
        raise SignalError("latent")

    def streams(self, x: Tensor) -> list[Tensor]:
        """Latents [B, C, F, H, W] each of which is to be looked at on its own, where several are packed into x, as
        video and audio; the one that changes most tells."""
        return [x]


class Signal(Protocol):
    @property
    def nbytes(self) -> int:
        """Bytes held between two steps."""
        ...

    def __call__(self, step: Step, x: Tensor | None) -> np.ndarray:
        """Change d_k of every active unit since the previous iteration, [active units]. `x` [B, C, F, H, W] only
        matters to signals that look at the content."""
        ...

    def release(self) -> None:
        """Let go of the tensors held between two steps."""
        return


def relative_change(now: Tensor, before: Tensor, dim: tuple[int, ...]) -> Tensor:
    """d = |phi_k - phi_{k-1}|_1 / (|phi_{k-1}|_1 + eps), Eq. 4."""
    return (now - before).abs().sum(dim) / (before.abs().sum(dim) + EPS)


def aggregated(changes: np.ndarray, step: Step, aggregate: str, frames: int) -> np.ndarray:
    """What every active unit sees of the units' changes [active units], see AGGREGATES; a window has `frames`."""
    if aggregate == "max":
        return changes
    if aggregate == "history":
        return np.array([changes[: max(1, i)].mean() for i in range(len(changes))])
    sizes = np.array([unit.frames.stop - unit.frames.start for unit in step.active])
    return np.full(len(changes), (changes * sizes).sum() / (sizes.sum() if aggregate == "mean_active" else frames))
