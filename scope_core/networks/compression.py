"""Compression of MAGI-1's keys and values, as FlowCache has it (arXiv 2602.10825, after R-KV; docs/methods.md,
FlowCache, docs/magi1.md 8.1).

With a long reach the keys and values of finished chunks grow with the video. Beyond a buffer of a few chunks only those
tokens of finished chunks stay that matter to the queries at hand and are unlike the others. Keys carry their positions
and attention has no mask, so every head may keep other tokens.

Where the sources are silent: importance and redundancy are taken over the keys of finished chunks alone, and kept
tokens stay in their order, which is what the maximum over neighbours goes by. The published "Query states not
available" cannot happen, for it is done inside a call, with its own queries.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

NEIGHBOURS = 7
"""Tokens over which importance is max-pooled."""


@dataclass(frozen=True)
class Compression:
    """Raises ValueError for settings out of range."""

    buffer: int = 5
    """Chunks' worth of tokens that are kept; published are 5 and 6."""
    importance: float = 0.07
    """lambda; the rest is the weight of redundancy."""
    queries: int = 50
    """Last tokens of a call that are asked what matters."""

    def __post_init__(self) -> None:
        if self.buffer < 2:
            raise ValueError(f"the K/V buffer is {self.buffer} chunks; it must be at least 2, published are 5 and 6")
        if not 0 <= self.importance <= 1:
            raise ValueError(f"K/V importance is {self.importance:g}; it must lie in [0, 1], published is 0.07")
        if self.queries < 1:
            raise ValueError(f"K/V compression asks {self.queries} tokens; it must be at least 1, published is 50")

    def keep(self, count: int, query: Tensor, key: Tensor, value: Tensor, groups: int) -> tuple[Tensor, Tensor]:
        """The `count` best tokens of each group of heads: query [B, q, heads * head_dim], key and value [B, n, groups *
        head_dim]."""
        q, k, v = (x.unflatten(2, (groups, -1)).transpose(1, 2) for x in (query[:, -self.queries :], key, value))
        score = self.importance * importance(q, k) - (1 - self.importance) * redundancy(k)
        chosen = score.topk(count, -1).indices.sort(-1).values[..., None].expand(-1, -1, -1, k.shape[3])
        return tuple(x.gather(2, chosen).transpose(1, 2).flatten(2) for x in (k, v))


def importance(q: Tensor, k: Tensor) -> Tensor:
    """Attention [B, groups, n] that the keys [B, groups, n, head_dim] get from the queries [B, groups, q, heads of a
    group * head_dim]: of the heads of a group the largest logit, mean over queries, largest of the neighbours."""
    q = q.unflatten(3, (-1, k.shape[3])).float()
    logits = torch.einsum("bgqhd,bgnd->bgqhn", q, k.float()).amax(3) / k.shape[3] ** 0.5
    return F.max_pool1d(logits.softmax(-1).mean(2), NEIGHBOURS, 1, NEIGHBOURS // 2)


def redundancy(k: Tensor) -> Tensor:
    """Softmax over the keys of their mean cosine similarity to the other keys, [B, groups, n]."""
    unit = F.normalize(k.float(), dim=-1)
    others = (unit * unit.sum(2, keepdim=True)).sum(-1) - 1
    return (others / max(1, k.shape[2] - 1)).softmax(-1)
