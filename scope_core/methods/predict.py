"""Extrapolators of the velocity in the noise level, and their limits.

Each is a set of weights on the last computed velocities: v_hat = sum_i w_i v_i, newest first. Nodes are noise levels
sigma_k > sigma_{k+1} > ... as in paper Eq. 6-7; the coordinate is per unit, so frames at different levels never mix.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Weights = tuple[float, ...]


def hold(target: float, nodes: Sequence[float]) -> Weights:
    return (1.0,)


def taylor1(target: float, nodes: Sequence[float]) -> Weights:
    """Paper Eq. 6: v_k + (v_k - v_{k-1}) * D_k / D_{k-1}."""
    s0, s1 = nodes[:2]
    a = (target - s0) / (s0 - s1)
    return 1 + a, -a


def taylor2_paper(target: float, nodes: Sequence[float]) -> Weights:
    """Paper Eq. 7 as printed. It is not of second order: on a quadratic a s^2 it is off by a D_k D_{k-1} (docs/scope.md
    C7)."""
    s0, s1, s2 = nodes[:3]
    d0, d1, d2 = target - s0, s0 - s1, s1 - s2
    curve = d0**2 / (d1 + d2)
    a = d0 / d1
    return 1 + a + curve / d1, -a - curve / d1 - curve / d2, curve / d2


def newton2(target: float, nodes: Sequence[float]) -> Weights:
    """The parabola through the last three velocities."""
    s0, s1, s2 = nodes[:3]
    return (
        (target - s1) * (target - s2) / ((s0 - s1) * (s0 - s2)),
        (target - s0) * (target - s2) / ((s1 - s0) * (s1 - s2)),
        (target - s0) * (target - s1) / ((s2 - s0) * (s2 - s1)),
    )


def ab2(target: float, nodes: Sequence[float]) -> Weights:
    """Momentum: the slope dv/dsigma integrated by Adams-Bashforth 2 over uneven gaps; on even ones it is Eq. 7."""
    s0, s1, s2 = nodes[:3]
    d0, d1, d2 = target - s0, s0 - s1, s1 - s2
    growth = 0.5 * d0 / d1
    new, old = d0 * (1 + growth) / d1, d0 * growth / d2
    return 1 + new, -new - old, old


PREDICTORS: dict[str, tuple[Callable[[float, Sequence[float]], Weights], int]] = {
    "hold": (hold, 1),
    "taylor1": (taylor1, 2),
    "taylor2_paper": (taylor2_paper, 3),
    "newton2": (newton2, 3),
    "ab2": (ab2, 3),
}
"""Name -> weights, number of velocities needed. `auto` chooses among them by measured error; see methods.scope."""


def best(name: str, have: int) -> str:
    """The predictor of this name, or with fewer velocities the strongest one that they allow."""
    if PREDICTORS[name][1] <= have:
        return name
    return "taylor1" if have >= 2 else "hold"


def combine(weights: Weights, velocities: Sequence[Tensor]) -> Tensor:
    result = velocities[0] * weights[0]
    for w, v in zip(weights[1:], velocities[1:]):
        result = result.add(v, alpha=w)
    return result


def norm(v: Tensor) -> Tensor:
    """Length of every sample of a batch [B, ...], shaped to broadcast over it."""
    return torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), keepdim=True)


def clip(predicted: Tensor, target: float, nodes: Sequence[float], velocities: Sequence[Tensor]) -> Tensor:
    """Limit how far a prediction leaves the last computed velocity: at most 1.5 times the linear change, and half of
    that velocity's norm; hold it where the prediction is not finite (docs/scope.md C14). Samples of a batch are
    independent."""
    last, before = velocities[:2]
    change = predicted - last
    ratio = abs((target - nodes[0]) / (nodes[0] - nodes[1]))
    limit = torch.minimum(1.5 * ratio * norm(last - before), 0.5 * norm(last))
    length = norm(change)
    scale = torch.where(length > limit, limit / length, torch.ones_like(length))
    return torch.where(torch.isfinite(length), last + scale * change, last)


def extrapolate(
    name: str, target: float, nodes: Sequence[float], velocities: Sequence[Tensor], clipped: bool = True
) -> Tensor:
    """Velocity at noise level `target` from velocities at `nodes`, newest first. Raises ValueError for equal nodes."""
    name = best(name, len(nodes))
    if name == "hold":
        return velocities[0]
    function, count = PREDICTORS[name]
    if len(set(nodes[:count])) < count or any(math.isnan(s) for s in nodes[:count]):
        raise ValueError(
            f"cannot extrapolate over equal noise levels {list(nodes[:count])}; keep only the newest of each"
        )
    predicted = combine(function(target, nodes), velocities)
    return clip(predicted, target, nodes, velocities) if clipped else predicted
