"""BudCache's search for the steps to compute: annealing, then hill climbing, by swaps that leave their number as it is,
on what the final latents become (arXiv 2606.13496; docs/methods.md, BudCache).

Losses are relative to the mean square of the full run's latents, so that the published temperatures hold for latents of
any scale.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..methods.budcache import PREFIX, start

HEAT = (0.1, 1e-4)
"""First and last temperature of the annealing, published for Wan."""
NEAR = 3
"""Steps that a near swap moves a computed step by, at most."""
TRIES = 100
"""Draws until one is allowed."""

Steps = tuple[int, ...]


class Found(NamedTuple):
    steps: Steps
    """From 1 on."""
    loss: float
    evaluations: int
    """Runs made, each of so many computed steps."""


def search(
    evaluate: Callable[[Steps], float],
    steps: int,
    budget: int,
    forced: Sequence[int] = (),
    allowed: Callable[[Steps], bool] = lambda chosen: True,
    annealing: int = 200,
    rounds: int = 5,
    neighbours: int = 20,
    seed: int = 0,
    told: Callable[[Found], None] = lambda best: None,
) -> Found:
    """The best `budget` of `steps` steps that were looked at.

    Args:
        evaluate: loss of a list of computed steps, relative to the full run.
        forced: steps that stay computed, beside the first 0.3 of the budget.
        allowed: whether a list keeps the budget; others are not looked at.
        annealing, rounds, neighbours: iterations of the annealing, rounds of hill climbing, and swaps looked at in each.
        told: called with the best so far whenever it changes.

    Raises ValueError where no list of so many steps is allowed, as where `forced` alone are more.
    """
    rng = np.random.default_rng(seed)
    stay = frozenset(range(1, max(1, int(PREFIX * budget)) + 1)) | frozenset(forced)
    free = [step for step in range(1, steps + 1) if step not in stay]
    losses: dict[Steps, float] = {}
    best = Found((), np.inf, 0)

    def loss_of(chosen: Steps) -> float:
        nonlocal best
        if chosen not in losses:
            losses[chosen] = evaluate(chosen)
            if losses[chosen] < best.loss:
                best = Found(chosen, losses[chosen], len(losses))
                told(best)
        return losses[chosen]

    def first() -> Steps:
        if 0 <= budget - len(stay) <= len(free):
            draws = (rng.choice(free, budget - len(stay), replace=False).tolist() for _ in range(TRIES))
            for chosen in (*(tuple(sorted(stay.union(draw))) for draw in draws), start(budget, steps)):
                if len(chosen) == budget and stay <= set(chosen) and allowed(chosen):
                    return chosen
        raise ValueError(
            f"no list of {budget} of {steps} steps keeps the rules, for {len(stay)} of them are computed in any case;"
            " use a larger budget"
        )

    def swapped(chosen: Steps, leaves: int, enters: int) -> Steps:
        return tuple(sorted({*chosen, enters} - {leaves}))

    def drawn(chosen: Steps) -> Steps | None:
        inside, outside = ([step for step in free if (step in chosen) == computed] for computed in (True, False))
        if not inside or not outside:
            return None
        swaps = (swapped(chosen, int(rng.choice(inside)), int(rng.choice(outside))) for _ in range(TRIES))
        return next(filter(allowed, swaps), None)

    now = first()
    loss = loss_of(now)
    for heat in np.geomspace(*HEAT, annealing):
        other = drawn(now)
        if other is not None:
            change = loss_of(other) - loss
            if change < 0 or rng.random() < np.exp(-change / heat):
                now, loss = other, losses[other]
    for _ in range(rounds):
        now = best.steps
        near = [
            swapped(now, leaves, enters)
            for leaves in free
            for enters in free
            if leaves in now and enters not in now and abs(leaves - enters) <= NEAR
        ]
        rng.shuffle(near)
        looked = list(filter(allowed, (tuple(map(int, chosen)) for chosen in near)))[:neighbours]
        looked += [far for far in (drawn(now) for _ in range(neighbours - len(looked))) if far is not None]
        for chosen in looked:
            loss_of(chosen)
    return best._replace(evaluations=len(losses))
