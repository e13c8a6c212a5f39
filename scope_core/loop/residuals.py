"""The change that spans of transformer blocks make to the hidden states: kept at computed steps, put back at skipped
ones.

Methods that reuse inside the network (TeaCache, Delta-DiT, FBCache and others) tell what they want with a `Skip`; a
network calls a `BlockPass` around every block. It never touches modules.
"""

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from ..methods import Skip
from ..methods.predict import combine
from ..ranks import read
from .room import CPU, Room

EPS = 1e-8
Key = tuple[str | int] | tuple[str | int, Hashable]
"""A guidance branch, a chunk, or both. The first item sorts first for the branch with text."""


class Residuals:
    """What is kept from computed step to computed step."""

    def __init__(self, room: Room | None = None) -> None:
        self.room = room or Room()
        self.stored: dict[tuple[Key, range], tuple[Tensor, ...]] = {}
        """Changes at the last computed steps, newest first."""
        self.prints: dict[tuple[Key, int], Tensor] = {}
        """Output of every block, averaged over the tokens of a frame, at the last computed step."""

    def forget(self) -> None:
        """The hidden states will have another shape from here on."""
        self.stored, self.prints = {}, {}

    def copy(self) -> "Residuals":
        """Another that the same tensors are in."""
        other = Residuals(self.room)
        other.stored, other.prints = dict(self.stored), dict(self.prints)
        return other

    def spill(self) -> None:
        """Move the changes into the CPU's memory."""
        self.stored = {at: tuple(change.to(CPU) for change in kept) for at, kept in self.stored.items()}

    def bytes(self) -> int:
        return sum(x.nbytes for kept in self.stored.values() for x in kept) + sum(
            x.nbytes for x in self.prints.values()
        )


class BlockPass:
    """The forwards of one iteration. Call it around every block: `around(i, x, run, keys)`, with x [B, tokens, dim],
    `run(x)` the block and `keys` one for each equal part of x along `dim`, so that guidance branches (parts of the
    batch) and chunks (parts of the tokens) never mix. Of a part whose key is None nothing is kept, and a part of which
    nothing was kept, as of a conditioning that begins later, is computed. The last `copies` parts show a chunk a second
    time and are not watched.

    Guidance branches may be forwarded at the same time, each by a thread and on a device of its own; not where a probe
    decides, for then one branch decides for all.
    """

    def __init__(self, kept: Residuals, skip: Skip, skipping: bool, frames: int):
        """`skipping`: the span of `skip` may be left out. Each part holds `frames` frames."""
        self.kept, self.skip, self.frames = kept, skip, frames
        self.may_skip = skipping
        self.skipping = skipping and skip.probe is None
        """Blocks of the span are being left out; with a probe, from when it found so."""
        self.spans = tuple(dict.fromkeys((*skip.record, *(skip.probe[:1] if skip.probe else ()))))
        self.starts: dict[tuple[Key, range], Tensor] = {}
        self.score: float | None = None
        """What the probe measured."""
        self.changes: list[tuple[Key, Tensor]] = []
        self.growths: list[tuple[Key, Tensor]] = []
        self.ran: list[int] = []

    def take(self) -> int:
        """Blocks run since this was last asked, counted for each part."""
        ran, self.ran = sum(self.ran), []
        return ran

    def seen(self) -> tuple[Tensor, Tensor] | None:
        """Relative change of the blocks' outputs, mean over blocks, and mean over tokens of |R_k| / |R_k-1|; both
        [parts * frames]. None at a first step or where nothing was watched."""
        if not (self.changes and self.growths):
            return None
        return torch.stack(in_order(self.changes)).mean(0), torch.cat(in_order(self.growths))

    def __call__(
        self,
        index: int,
        x: Tensor,
        run: Callable[[Tensor], Tensor],
        keys: Sequence[Key | None],
        dim: int = 0,
        copies: int = 0,
    ) -> Tensor:
        replay, stored = self.skip.replay, self.kept.stored
        if self.skipping and index in replay and all((key, replay) in stored for key in keys):
            return x + self.replayed(keys, dim, x.device) if index == replay[0] else x
        before = x
        x = run(x)
        self.ran.append(len(keys))
        if self.skipping:
            return x
        parts = {key: part for key, part in zip(keys, x.chunk(len(keys), dim)) if key is not None}
        watched = [key for key in keys[: len(keys) - copies] if key in parts] if self.skip.watch else []
        if watched:
            self.watch(index, {key: parts[key] for key in watched})
        for span in self.spans:
            if index == span[0]:
                self.starts |= {
                    (key, span): part for key, part in zip(keys, before.chunk(len(keys), dim)) if key in parts
                }
            if index == span[-1]:
                changes = {key: part - self.starts.pop((key, span)) for key, part in parts.items()}
                if self.skip.probe and span == self.skip.probe[0]:
                    self.judge(*self.skip.probe, changes, dim)
                if not self.skipping:
                    self.keep(span, changes, watched)
        return x

    def replayed(self, keys: Sequence[Key | None], dim: int, device: torch.device) -> Tensor:
        kept = [self.kept.stored[key, self.skip.replay] for key in keys if key is not None]
        missing = self.skip.weights[len(kept[0]) :]
        weights = (1.0,) if any(missing) else self.skip.weights
        return torch.cat([combine(weights, [change.to(device) for change in changes]) for changes in kept], dim)

    def keep(self, span: range, changes: dict[Key, Tensor], watched: list[Key]) -> None:
        stored = self.kept.stored
        for key, change in changes.items():
            kept = stored.get((key, span), ())
            if key in watched and kept and span == self.skip.replay:
                growth = change.float().norm(dim=-1) / (kept[0].to(change.device).float().norm(dim=-1) + EPS)
                self.growths.append((key, growth.unflatten(1, (self.frames, -1)).mean((0, 2))))
            changes_kept = (self.kept.room.kept(change), *kept)
            stored[key, span] = changes_kept[: len(self.skip.weights) if span in self.skip.record else 1]

    def judge(self, span: range, threshold: float, changes: dict[Key, Tensor], dim: int) -> None:
        """Decide once an iteration, from the first call; where guidance branches are batched in it, from the one with
        text, so that the decision depends neither on whether they are nor on their order."""
        looked = [min(changes, key=lambda key: key[0])] if dim == 0 else list(changes)
        if self.may_skip and self.score is None and all((key, span) in self.kept.stored for key in looked):
            kept = {key: self.kept.stored[key, span][0].to(changes[key].device) for key in looked}
            difference = sum((changes[key] - kept[key]).abs().mean() for key in looked)
            score = difference / (sum(old.abs().mean() for old in kept.values()) + EPS)
            (self.score,) = read(torch.as_tensor(score)[None])
            self.may_skip = self.score < threshold
        self.skipping = self.may_skip

    def watch(self, index: int, parts: dict[Key, Tensor]) -> None:
        changes = []
        for key, part in parts.items():
            pooled = part.float().unflatten(1, (self.frames, -1)).mean(2)
            before = self.kept.prints.get((key, index))
            self.kept.prints[key, index] = pooled
            if before is not None:
                before = before.to(pooled.device)
                changes.append((pooled - before).abs().mean((0, 2)) / (before.abs().mean((0, 2)) + EPS))
        if changes:
            self.changes.append((min(parts), torch.cat(changes)))


def in_order(found: list[tuple[Key, Tensor]]) -> list[Tensor]:
    """Tensors in the order of their keys, on one device."""
    tensors = [tensor for _, tensor in sorted(found, key=lambda entry: entry[0])]
    return [tensor.to(tensors[0].device) for tensor in tensors]
