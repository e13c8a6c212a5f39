"""BudCache's search for the steps to compute: annealing, then hill climbing, by swaps that leave their number as it is,
on what the final latents become (arXiv 2606.13496; docs/methods.md, BudCache).

Losses are relative to the mean square of the full run's latents, so that the published temperatures hold for latents of
any scale.
"""

from collections.abc import Callable, Iterable
from itertools import islice
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
    forced: Iterable[int] = (),
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
        annealing: its iterations.
        rounds: of hill climbing.
        neighbours: swaps looked at in each round.
        told: called with the best so far whenever it changes.

    Raises ValueError where no list of so many steps is allowed, as where `forced` alone are more.
    """
    searched = Search(evaluate, steps, budget, forced, allowed, seed, told)
    searched.anneal(annealing)
    for _ in range(rounds):
        searched.climb(neighbours)
    return searched.best._replace(evaluations=len(searched.losses))


class Search:
    """A search on its way, see `search`."""

    def __init__(
        self,
        evaluate: Callable[[Steps], float],
        steps: int,
        budget: int,
        forced: Iterable[int],
        allowed: Callable[[Steps], bool],
        seed: int,
        told: Callable[[Found], None],
    ):
        self.evaluate, self.allowed, self.told = evaluate, allowed, told
        self.steps, self.budget, self.rng = steps, budget, np.random.default_rng(seed)
        self.stay = frozenset(range(1, max(1, int(PREFIX * budget)) + 1)) | frozenset(forced)
        self.free = [step for step in range(1, steps + 1) if step not in self.stay]
        self.losses: dict[Steps, float] = {}
        self.best = Found((), np.inf, 0)

    def loss(self, chosen: Steps) -> float:
        if chosen not in self.losses:
            self.losses[chosen] = self.evaluate(chosen)
            if self.losses[chosen] < self.best.loss:
                self.best = Found(chosen, self.losses[chosen], len(self.losses))
                self.told(self.best)
        return self.losses[chosen]

    def first(self) -> Steps:
        """At random, or if that gives none that is allowed evenly spread. Raises ValueError."""
        more = self.budget - len(self.stay)
        if 0 <= more <= len(self.free):
            draws = (self.rng.choice(self.free, more, replace=False).tolist() for _ in range(TRIES))
            random = (tuple(sorted(self.stay.union(draw))) for draw in draws)
            for chosen in (*random, start(self.budget, self.steps)):
                if len(chosen) == self.budget and self.stay <= set(chosen) and self.allowed(chosen):
                    return chosen
        raise ValueError(
            f"no list of {self.budget} of {self.steps} steps keeps the rules, for {len(self.stay)} of them are computed"
            " in any case; use a larger budget"
        )

    def drawn(self, chosen: Steps) -> Steps | None:
        """With a random step in the place of another; None where none is allowed."""
        inside, outside = ([s for s in self.free if (s in chosen) == computed] for computed in (True, False))
        if not inside or not outside:
            return None
        pairs = ((self.rng.choice(inside), self.rng.choice(outside)) for _ in range(TRIES))
        return next(filter(self.allowed, (swapped(chosen, *pair) for pair in pairs)), None)

    def anneal(self, iterations: int) -> None:
        now = self.first()
        loss = self.loss(now)
        for heat in np.geomspace(*HEAT, iterations):
            other = self.drawn(now)
            if other is None:
                return
            change = self.loss(other) - loss
            if change < 0 or self.rng.random() < np.exp(-change / heat):
                now, loss = other, self.losses[other]

    def climb(self, neighbours: int) -> None:
        """Look at so many swaps of the best list: near ones first, then far ones."""
        now = self.best.steps
        near = [
            swapped(now, leaves, enters)
            for leaves in self.free
            for enters in self.free
            if leaves in now and enters not in now and abs(leaves - enters) <= NEAR
        ]
        order = self.rng.permutation(len(near))
        looked = list(islice(filter(self.allowed, (near[i] for i in order)), neighbours))
        far = (self.drawn(now) for _ in range(neighbours - len(looked)))
        for chosen in (*looked, *(other for other in far if other)):
            self.loss(chosen)


def swapped(chosen: Steps, leaves: int, enters: int) -> Steps:
    return tuple(sorted({*chosen, int(enters)} - {int(leaves)}))
