"""Block-causal attention without a mask: each block of frames queries all keys up to its own end.

A dense mask would cost gigabytes at video length and lose the fast kernels; slices keep both (docs/skyreels.md 3).
"""

from collections.abc import Callable

import torch
from torch import Tensor


def block_causal(
    attend: Callable[[Tensor, Tensor, Tensor], Tensor],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    blocks: tuple[slice, ...],
    frames: int,
) -> Tensor:
    """Self-attention of q, k, v [B, tokens, channels], `frames` frames of equally many tokens each. `blocks` are
    columns."""
    per_frame = q.shape[1] // frames
    return torch.cat(
        [
            attend(
                q[:, b.start * per_frame : b.stop * per_frame], k[:, : b.stop * per_frame], v[:, : b.stop * per_frame]
            )
            for b in blocks
        ],
        dim=1,
    )
