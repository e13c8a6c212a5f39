"""The change that spans of transformer blocks make to the hidden states: kept at computed steps, put back at skipped ones.

Methods that reuse inside the network (TeaCache, Delta-DiT, FBCache and others) tell what they want with a `Skip`; a network calls
`BlockResiduals` around every block. It never touches modules.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .predict import combine

EPS = 1e-8


class Skip(NamedTuple):
    """Where a method reuses inside the network."""

    record: tuple[range, ...]
    """Spans whose change is kept at computed steps."""
    replay: range
    """The one of them that is put back at skipped steps; blocks outside of it run."""
    weights: tuple[float, ...] = (1.0,)
    """Of the changes kept last, newest first: extrapolation over more than one of them. Where fewer are kept the newest is put back as it is."""
    probe: tuple[range, float] | None = None
    """A span that runs first, and the relative change of its own change since the last computed step below which this one is skipped; else it
    is computed after all."""
    watch: bool = False
    """Measure at computed steps how the blocks' outputs and the residual's size changed since the last one (`BlockResiduals.seen`)."""


class BlockResiduals:
    """Call it around every block: `residuals(i, x, run, keys)`, with x [B, tokens, dim], `run(x)` the block and `keys` one for each
    equal part of x along `dim`, so that guidance branches (parts of the batch) and chunks (parts of the tokens) never mix. Keys are sequences
    whose first item sorts first for the branch with text. Of a part whose key is None nothing is kept, and a part of which nothing was kept, as of
    a conditioning that begins later, is computed. The last `copies` parts show a chunk a second time and are not watched.
    """

    def __init__(self) -> None:
        self.stored: dict[tuple[Hashable, range], tuple[Tensor, ...]] = {}
        """Changes at the last computed steps, newest first."""
        self.prints: dict[tuple[Hashable, int], Tensor] = {}
        """Output of every block, averaged over the tokens of a frame, at the last computed step."""
        self.ran = 0
        self.score: Tensor | None = None
        """What the probe measured."""
        self.changes: list[Tensor] = []
        self.growths: list[Tensor] = []

    def begin(self, skip: Skip, skipping: bool, frames: int) -> None:
        """Before the forwards of an iteration, whose parts hold `frames` frames each."""
        self.skip, self.skipping, self.frames = skip, skipping and skip.probe is None, frames
        self.spans = tuple(dict.fromkeys((*skip.record, *(skip.probe[:1] if skip.probe else ()))))
        self.may_skip = skipping
        self.score = None
        self.starts: dict[tuple[Hashable, range], Tensor] = {}
        self.changes, self.growths = [], []

    def forget(self) -> None:
        """The hidden states will have another shape from here on."""
        self.stored, self.prints = {}, {}

    def bytes(self) -> int:
        return sum(x.nbytes for kept in self.stored.values() for x in kept) + sum(x.nbytes for x in self.prints.values())

    def take(self) -> int:
        """Blocks run since this was last asked, counted for each part."""
        ran, self.ran = self.ran, 0
        return ran

    def seen(self) -> tuple[Tensor, Tensor] | None:
        """Relative change of the blocks' outputs, mean over blocks, and mean over tokens of |R_k| / |R_k-1|; both [parts * frames]. None
        at a first step or where nothing was watched."""
        return (torch.stack(self.changes).mean(0), torch.cat(self.growths)) if self.changes and self.growths else None

    def __call__(self, index: int, x: Tensor, run: Callable[[Tensor], Tensor], keys: Sequence[Hashable], dim: int = 0, copies: int = 0) -> Tensor:
        if self.skipping and index in self.skip.replay and all((key, self.skip.replay) in self.stored for key in keys):
            return x + self.replayed(keys, dim) if index == self.skip.replay[0] else x
        before = x
        x = run(x)
        self.ran += len(keys)
        if self.skipping:
            return x
        parts = {key: part for key, part in zip(keys, x.chunk(len(keys), dim)) if key is not None}
        watched = [key for key in keys[:len(keys) - copies] if key in parts] if self.skip.watch else []
        if watched:
            self.watch(index, {key: parts[key] for key in watched})
        for span in self.spans:
            if index == span[0]:
                self.starts |= {(key, span): part for key, part in zip(keys, before.chunk(len(keys), dim)) if key in parts}
            if index == span[-1]:
                changes = {key: part - self.starts.pop((key, span)) for key, part in parts.items()}
                if self.skip.probe and span == self.skip.probe[0]:
                    self.judge(changes, dim)
                if not self.skipping:
                    self.keep(span, changes, watched)
        return x

    def replayed(self, keys: Sequence[Hashable], dim: int) -> Tensor:
        kept = [self.stored[key, self.skip.replay] for key in keys]
        missing = self.skip.weights[len(kept[0]):]
        weights = (1.0,) if any(missing) else self.skip.weights
        return torch.cat([combine(weights, changes) for changes in kept], dim)

    def keep(self, span: range, changes: dict[Hashable, Tensor], watched: list[Hashable]) -> None:
        for key, change in changes.items():
            kept = self.stored.get((key, span), ())
            if key in watched and kept and span == self.skip.replay:
                growth = change.float().norm(dim=-1) / (kept[0].float().norm(dim=-1) + EPS)
                self.growths.append(growth.unflatten(1, (self.frames, -1)).mean((0, 2)))
            self.stored[key, span] = (change, *kept)[:len(self.skip.weights) if span in self.skip.record else 1]

    def judge(self, changes: dict[Hashable, Tensor], dim: int) -> None:
        """Decide once an iteration, from the first call; where guidance branches are batched in it, from the one with text, so that the
        decision depends neither on whether they are nor on their order."""
        looked = [min(changes, key=lambda key: key[0])] if dim == 0 else list(changes)
        if self.may_skip and self.score is None and all((key, self.skip.probe[0]) in self.stored for key in looked):
            kept = {key: self.stored[key, self.skip.probe[0]][0] for key in looked}
            difference = sum((changes[key] - kept[key]).abs().mean() for key in looked)
            self.score = difference / (sum(old.abs().mean() for old in kept.values()) + EPS)
            self.may_skip = bool(self.score < self.skip.probe[1])
        self.skipping = self.may_skip

    def watch(self, index: int, parts: dict[Hashable, Tensor]) -> None:
        changes = []
        for key, part in parts.items():
            pooled = part.float().unflatten(1, (self.frames, -1)).mean(2)
            before = self.prints.get((key, index))
            self.prints[key, index] = pooled
            if before is not None:
                changes.append((pooled - before).abs().mean((0, 2)) / (before.abs().mean((0, 2)) + EPS))
        if changes:
            self.changes.append(torch.cat(changes))
