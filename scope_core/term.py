"""The right-hand side of the ODE: the network, as seen by the sampling loop."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .residuals import BlockResiduals


class Term(Protocol):
    """A guided velocity model. The host's model is one, behind the user's guider; so is any plain network."""

    blocks: int
    """Number of transformer blocks, for methods that reuse inside the network."""
    forwards: float
    """Forward passes so far, one for each guidance branch; of those that reuse blocks only the share of blocks that ran."""

    def velocity(self, x: Tensor, timestep: np.ndarray, blocks: tuple[slice, ...] | None, residuals: BlockResiduals | None) -> Tensor:
        """Velocity after guidance [B, C, F, H, W] of latents x at `timestep` [F] (1000 sigma, truncated as in the release).

        `blocks` are the columns of the blocks of block-causal attention, None for full attention. `residuals`, where
        given, is called around every transformer block.
        """
        ...

    def features(self, name: str, sigma: np.ndarray) -> Tensor:
        """Signal features that need no latent: 'embedding' e or 'modulation' e0 at noise levels [N], as [N, ...]."""
        ...

    def patch_embedding(self, x: Tensor) -> Tensor:
        """Patch-embedded latents [B, dim, F, h, w], for signals that look at the content."""
        ...


def timesteps(sigma: np.ndarray) -> np.ndarray:
    """Model timesteps of noise levels; the release truncates them to whole numbers, with 999 for not-started frames."""
    return np.minimum(np.floor(1000 * sigma + 1e-9), 999)


class Guided:
    """Classifier-free guidance over a plain network `model(x, t, context, mask)` such as models.wan.WanTransformer."""

    def __init__(self, model, positive: Tensor, negative: Tensor | None = None, cfg: float = 1.0):
        self.model, self.positive, self.negative, self.cfg = model, positive, negative, cfg
        self.blocks, self.forwards = len(model.blocks), 0.0

    @torch.no_grad()
    def velocity(self, x: Tensor, timestep: np.ndarray, blocks: tuple[slice, ...] | None, residuals: BlockResiduals | None) -> Tensor:
        t = torch.as_tensor(timestep, dtype=torch.float32, device=x.device).expand(x.shape[0], -1)
        mask = None if blocks is None else block_causal_mask(blocks, x.shape[2]).to(x.device)

        def run(context: Tensor, branch: str) -> Tensor:
            around: Callable | None = None if residuals is None else lambda i, h, block: residuals(i, h, block, (branch,))
            v = self.model(x, t, context.expand(x.shape[0], -1, -1), mask, around)
            self.forwards += 1 if residuals is None else residuals.take() / self.blocks
            return v

        v = run(self.positive, "cond")
        if self.cfg == 1 or self.negative is None:
            return v
        uncond = run(self.negative, "uncond")
        return uncond + self.cfg * (v - uncond)

    @torch.no_grad()
    def features(self, name: str, sigma: np.ndarray) -> Tensor:
        e = self.model.time_embed(torch.as_tensor(timesteps(sigma), dtype=torch.float32, device=self.positive.device))
        return e if name == "embedding" else self.model.time_projection(e)

    @torch.no_grad()
    def patch_embedding(self, x: Tensor) -> Tensor:
        return self.model.patch_embedding(x)


def block_causal_mask(blocks: tuple[slice, ...], frames: int) -> Tensor:
    """[F, F] bool, True where the frame of a row may attend to the frame of a column."""
    owner = torch.zeros(frames, dtype=torch.long)
    for i, columns in enumerate(blocks):
        owner[columns] = i
    return owner[:, None] >= owner[None]
