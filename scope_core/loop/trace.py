"""What happened, step by step, as versioned JSON. Everything that is drawn or reported is rebuilt from it."""

import itertools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..methods import RULES
from ..schedule import ARSchedule, Segment, Step
from ..settings import Settings
from .control import Decisions

VERSION = 3
PIXELS_PER_LATENT = 4


def score_code(score: float) -> str:
    """Four digits ABCN for the score ABC * 10^-N: a trace holds a score per unit and step, so they have to be short."""
    digits, exponent = f"{score:.2e}".split("e")
    n = 2 - int(exponent)
    if n > 9:
        return f"{round(score * 1e9):03d}9"
    return f"{digits[0]}{digits[2:]}{n}" if n >= 0 else "9990"


class SegmentTrace:
    """Trace of one segment while it is being made."""

    def __init__(self, segment: Segment, by_chunk: bool = False):
        """`by_chunk`: chunks are forwarded on their own, and counted as such; otherwise an iteration forwards its whole
        interval."""
        self.header: dict[str, Any] = {
            "index": segment.index,
            "start": segment.start,
            "frames": segment.frames,
            "prefix": segment.prefix,
            "tail": segment.tail,
            "ar_step": segment.ar_step,
            "by_chunk": by_chunk,
            "units": [[u.start, u.stop] for u in segment.units],
            "sigmas": [round(float(s), 6) for s in segment.sigmas],
        }
        self.steps: list[dict[str, Any]] = []

    def add(self, step: Step, columns: slice, decisions: Decisions, seconds: float) -> dict[str, Any]:
        marks = [
            (decisions[u.index].mode.value, RULES[decisions[u.index].rule][0]) if u.advances else (".", ".")
            for u in step.units
        ]
        self.steps.append(
            {
                "modes": "".join(mode for mode, _ in marks),
                "rules": "".join(rule for _, rule in marks),
                "scores": "".join(score_code(decisions[u.index].score) for u in step.active),
                "frames": [columns.start, columns.stop],
                "seconds": round(seconds, 5),
            }
        )
        return self.steps[-1]

    def to_json(self) -> dict[str, Any]:
        return {**self.header, "steps": self.steps}


class Cost(NamedTuple):
    computed: int
    """Evaluations made,"""
    of: int
    """of those of a full run; then the same in latent frames."""
    frames: int
    all_frames: int


@dataclass
class Trace:
    """Trace of a run: `run` describes model, method, settings, schedule and host.

    >>> from scope_core import PRESETS, SKYREELS, plan
    >>> plan(SKYREELS.schedule(4, steps=10), PRESETS["off"]).to_json()["segments"][0]["steps"][0]["modes"]
    'R'
    """

    run: dict[str, Any]
    segments: list[SegmentTrace] = field(default_factory=list)
    by_chunk: bool = False
    """See SegmentTrace."""
    forwards: float = 0
    """Forward passes through all transformer blocks, counted at the model, one for each guidance branch (and for each
    chunk)."""
    memory: int = 0
    """Most bytes that the method held between steps."""

    @classmethod
    def of(cls, schedule: ARSchedule, settings: Settings, **run: Any) -> "Trace":
        """An empty trace of a run of these, with what else is known of it."""
        told = {
            "method": settings.acting.name,
            "settings": settings.to_json(),
            "schedule": schedule.family.describe(schedule),
        }
        return cls({**run, **told}, by_chunk=schedule.family.by_chunk)

    def begin(self, segment: Segment) -> SegmentTrace:
        self.segments.append(SegmentTrace(segment, self.by_chunk))
        return self.segments[-1]

    @property
    def totals(self) -> dict[str, Any]:
        steps = [(segment, step) for segment in self.segments for step in segment.steps]
        costs = [self.cost(segment, step) for segment, step in steps]
        computed, whole = sum(c.computed for c in costs), sum(c.of for c in costs)
        frames, all_frames = sum(c.frames for c in costs), sum(c.all_frames for c in costs)
        timed = [(c.frames, step["seconds"]) for c, (_, step) in zip(costs, steps) if c.frames][1:]
        per_frame = sum(seconds for _, seconds in timed) / max(1, sum(frames for frames, _ in timed))
        return {
            "iterations": whole,
            "computed": computed,
            "forwards": self.forwards,
            "memory_bytes": self.memory,
            "frames_computed": frames,
            "frames_baseline": all_frames,
            "seconds": round(sum(step["seconds"] for _, step in steps), 4),
            "estimated_baseline_seconds": round(per_frame * all_frames, 4),
            "skipped_reason": self.why_nothing_was_skipped(whole, computed),
        }

    def cost(self, segment: SegmentTrace, step: dict[str, Any]) -> "Cost":
        """Evaluations at one iteration: one of the network, or with `by_chunk` one for each chunk that advances."""
        modes, (start, stop) = step["modes"], step["frames"]
        if not self.by_chunk:
            made = "R" in modes
            return Cost(int(made), 1, (stop - start) * made, segment.header["frames"])
        sizes = [(mode, stop - start) for mode, (start, stop) in zip(modes, segment.header["units"]) if mode != "."]
        fresh = [size for mode, size in sizes if mode == "R"]
        return Cost(len(fresh), len(sizes), sum(fresh), sum(size for _, size in sizes))

    def why_nothing_was_skipped(self, steps: int, made: int) -> str:
        if told := self.run.get("nothing_skipped"):
            return str(told)
        if made < steps or not steps:
            return ""
        if self.run.get("method") == "off":
            return f"{RULES['off'][1]}."
        letters = "".join(step["rules"] for segment in self.segments for step in segment.steps)
        counts = {sentence: letters.count(letter) for rule, (letter, sentence) in RULES.items() if rule != "joint"}
        return f"Most often because {max(counts, key=counts.__getitem__)}."

    def to_json(self) -> dict[str, Any]:
        """The whole trace; `rules` maps letters to sentences."""
        return {
            "format": "scope.trace",
            "version": VERSION,
            "run": self.run,
            "rules": dict(RULES.values()),
            "segments": [segment.to_json() for segment in self.segments],
            "totals": self.totals,
        }


def pixel_chunks(trace: dict[str, Any] | None, frames: int) -> list[list[int]]:
    """Chunks of a trace as ranges of pixel frames of a video that has `frames`, without gaps; one range where there is
    no trace.

    An autoencoder that makes four frames of every latent one, as MAGI-1's, gives a length that is a multiple of four.
    Others make one frame of the first one; of segments that take over nothing each has a first one.
    """
    segments = trace["segments"] if trace else []
    apart = len(segments) > 1 and not segments[1]["prefix"]
    lacking = 0 if frames % PIXELS_PER_LATENT == 0 and not apart else PIXELS_PER_LATENT - 1
    firsts = [
        max(0, (segment["start"] + start) * PIXELS_PER_LATENT - lacking * (segment["index"] if apart else 1))
        for segment in segments
        for start, _ in segment["units"]
    ]
    edges = sorted({0, frames, *(first for first in firsts if first < frames)})
    return [list(pair) for pair in itertools.pairwise(edges)]
