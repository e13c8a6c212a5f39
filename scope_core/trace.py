"""What happened, step by step, as versioned JSON. Everything that is drawn or reported is rebuilt from it."""

from dataclasses import dataclass, field
from typing import Any

from .control import Decisions
from .schedule import ARSchedule, Segment, Step, pixel_frames

VERSION = 2
RULES = {
    "off": ("o", "SCOPE is off"),
    "cache": ("c", "the score is below the cache threshold"),
    "predict": ("p", "the score is below the predict threshold"),
    "threshold": ("t", "the score reached the threshold"),
    "history": ("n", "not enough computed velocities to predict from"),
    "warm_up": ("w", "warm-up: a chunk's first steps are computed"),
    "tail": ("z", "a chunk's last steps are computed"),
    "entered": ("e", "nothing computed yet that could be reused"),
    "max_skip": ("h", "the longest allowed run of skipped steps was reached"),
    "joint": ("j", "computed because another chunk needed it"),
}
"""Rule -> letter in the trace, sentence for people."""


def score_code(score: float) -> str:
    """Four digits ABCN for the score ABC * 10^-N: a trace holds a score per unit and step, so they have to be short."""
    digits, exponent = f"{score:.2e}".split("e")
    n = 2 - int(exponent)
    if n > 9:
        return f"{round(score * 1e9):03d}9"
    return f"{digits[0]}{digits[2:]}{n}" if n >= 0 else "9990"


class SegmentTrace:
    """Trace of one segment while it is being made."""

    def __init__(self, segment: Segment):
        self.header: dict[str, Any] = {
            "index": segment.index, "start": segment.start, "frames": segment.frames, "prefix": segment.prefix, "tail": segment.tail,
            "ar_step": segment.ar_step, "units": [[u.start, u.stop] for u in segment.units],
            "sigmas": [round(float(s), 6) for s in segment.sigmas],
        }
        self.steps: list[dict[str, Any]] = []

    def add(self, step: Step, columns: slice, decisions: Decisions, seconds: float) -> dict[str, Any]:
        marks = [(decisions[u.index].mode.value, RULES[decisions[u.index].rule][0]) if u.advances else (".", ".") for u in step.units]
        self.steps.append({
            "modes": "".join(mode for mode, _ in marks), "rules": "".join(rule for _, rule in marks),
            "scores": "".join(score_code(decisions[u.index].score) for u in step.active),
            "frames": [columns.start, columns.stop], "seconds": round(seconds, 5),
        })
        return self.steps[-1]

    def to_json(self) -> dict[str, Any]:
        return {**self.header, "steps": self.steps}


@dataclass
class Trace:
    """Trace of a run: `run` describes model, method, settings, schedule and host."""

    run: dict[str, Any]
    segments: list[SegmentTrace] = field(default_factory=list)
    forwards: int = 0
    """Forward passes through all transformer blocks, counted at the model, one for each guidance branch."""

    memory: int = 0
    """Most bytes that the method held between steps."""

    def begin(self, segment: Segment) -> SegmentTrace:
        self.segments.append(SegmentTrace(segment))
        return self.segments[-1]

    @property
    def totals(self) -> dict[str, Any]:
        steps = [step for segment in self.segments for step in segment.steps]
        made = [step for step in steps if "R" in step["modes"]]
        frames = sum(step["frames"][1] - step["frames"][0] for step in made)
        whole = sum(segment.header["frames"] * len(segment.steps) for segment in self.segments)
        per_frame = sum(step["seconds"] for step in made[1:]) / max(1, sum(step["frames"][1] - step["frames"][0] for step in made[1:]))
        return {
            "iterations": len(steps), "computed": len(made), "forwards": self.forwards, "memory_bytes": self.memory,
            "frames_computed": frames, "frames_baseline": whole,
            "seconds": round(sum(step["seconds"] for step in steps), 4),
            "estimated_baseline_seconds": round(per_frame * whole, 4),
            "skipped_reason": self.why_nothing_was_skipped(len(steps), len(made)),
        }

    def why_nothing_was_skipped(self, steps: int, made: int) -> str:
        if made < steps or not steps:
            return ""
        if self.run.get("method") == "off":
            return f"{RULES['off'][1]}."
        letters = "".join(step["rules"] for segment in self.segments for step in segment.steps)
        counts = {sentence: letters.count(letter) for rule, (letter, sentence) in RULES.items() if rule != "joint"}
        return f"Most often because {max(counts, key=counts.get)}."

    def to_json(self) -> dict[str, Any]:
        """The whole trace; `rules` maps letters to sentences."""
        return {
            "format": "scope.trace", "version": VERSION, "run": self.run, "rules": dict(RULES.values()),
            "segments": [segment.to_json() for segment in self.segments], "totals": self.totals,
        }


def describe(schedule: ARSchedule) -> dict[str, Any]:
    """The schedule, for the head of a trace."""
    names = ("frames", "steps", "window", "overlap", "block", "ar_step", "prefix", "tail", "condition_noise", "shift", "causal")
    return {name: getattr(schedule, name) for name in names}


def pixel_chunks(trace: dict[str, Any] | None, frames: int) -> list[list[int]]:
    """Chunks of a trace as ranges of pixel frames of a video that has `frames`, without gaps; one range where there is no trace."""
    units = [segment["start"] + start for segment in (trace["segments"] if trace else []) for start, _ in segment["units"]]
    edges = sorted({0, frames, *(edge for unit in units if (edge := max(0, pixel_frames(unit))) < frames)})
    return [list(pair) for pair in zip(edges, edges[1:])]
