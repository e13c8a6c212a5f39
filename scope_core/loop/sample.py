"""A whole run: a model, noise, a schedule and settings in, latents and a trace out. Every run is assembled here, the
host's too."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import count
from math import ceil
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..schedule import ARSchedule, Family, Segment, Step
from ..settings import PRESETS, Settings
from ..signals import Features
from . import checkpoint
from .checkpoint import Keeper, Made, Moment, Work
from .codec import unpack
from .control import Control
from .correct import Corrected
from .rollout import Field, compose, join, rollout, unroll
from .room import Room
from .solver import SOLVERS, Solver
from .stepwise import Stepwise
from .trace import SegmentTrace, Trace

OnStep = Callable[[Segment, Step, Tensor, SegmentTrace], None]
"""Called after every iteration with segment, step, clean estimate [B, C, F, H, W] and the trace so far."""


class Model(Features, Protocol):
    """A network with its prompts, as a family runs it: it answers for signals, and makes the velocity field of a
    segment."""

    family: Family
    forwards: float
    """Forward passes through all transformer blocks so far, counted at the network."""

    def field(self, segment: Segment, schedule: ARSchedule, seed: int, apart: bool, start: Tensor | None) -> Field:
        """`seed`: of noise that the family mixes in. `apart`: units may be left out of forwards one by one. `start` [B,
        C, P, H, W]: known first frames of the video, in the model's latent space; for a family with a history they
        stand before the video, and all frames made so far follow."""
        ...


class Run:
    """What the segments of one run share: made for it, gone with it."""

    corrected: Corrected | None = None
    """What corrects the past of the segment in work."""

    def __init__(
        self,
        schedule: ARSchedule,
        settings: Settings,
        solver: str | Callable[[np.ndarray], Solver] | None = None,
        seed: int = 0,
        trace: Trace | None = None,
    ):
        """`solver`: a key of SOLVERS, or what makes one of noise levels [S + 1]; by default the family's."""
        self.schedule, self.settings, self.seed = schedule, settings, seed
        solver = solver or schedule.family.defaults.solver
        self.solver = solver if isinstance(solver, str) else getattr(solver, "__qualname__", str(solver))
        if isinstance(solver, str):
            if solver not in SOLVERS:
                raise ValueError(f"solver is {solver!r}; choose one of {', '.join(SOLVERS)}")
            solver = partial(SOLVERS[solver], **schedule.family.solver_options.get(solver, {}))
        self.make_solver = solver
        self.trace = trace or Trace.of(schedule, settings)
        self.room = Room(self.tell)
        self.controls: list[Control] = []
        """What decided, segment by segment."""
        self.made: list[Tensor] = []
        """Frames of the finished segments, without overlap, in the model's latent space, where memory does not run
        out."""

        self.keeper: Keeper | None = None
        self.earlier: list[Made] = []
        """What an earlier run, which this one continues, made of the first segments,"""
        self.begun = 0
        """and in how many iterations."""

    @property
    def done(self) -> int:
        """Iterations, over all segments."""
        return sum(len(segment.steps) for segment in self.trace.segments)

    def keep(self, keeper: Keeper) -> None:
        """Have a keeper keep this run, and go on with what it has of an earlier one that was asked for the same."""
        self.keeper = keeper
        asked = {
            "settings": self.settings.to_json(),
            "schedule": {
                "family": self.schedule.family.name,
                **self.schedule.family.describe(self.schedule),
                "noise levels": self.schedule.sigmas.tolist(),
            },
            "solver": self.solver,
            "seed": self.seed,
        }
        self.earlier = keeper.open(asked, self.schedule.segments)
        for made in self.earlier:
            self.trace.begin(made.segment).steps = made.steps
            self.trace.forwards, self.trace.memory = made.about["forwards"], made.about["memory"]
        self.begun = self.done
        if self.earlier:
            self.trace.run["resumed"] = keeper.went_on(self.earlier[-1], self.begun)

    def sparing(self, bridge: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """A bridge that is not asked for segments that are there already, so far as it cannot remember them: it looks
        back what a segment takes over, and that may reach beyond the segment before."""
        overlap = self.schedule.overlap
        reach = ceil(overlap / max(1, self.schedule.window - overlap))
        index = count(1)

        def spared(made: Tensor) -> Tensor:
            return bridge(made) if next(index) > len(self.earlier) - 1 - reach else made[:, :, -overlap:]

        return spared

    def calibrated(self, settings: Settings) -> None:
        """Go on with settings that know what a recorded run of the model showed (`Method.calibrated`), or its plan."""
        self.settings = settings
        self.trace.run["settings"] = self.settings.to_json()

    def tell(self, sentence: str) -> None:
        """Log what befell the run and keep it in its trace, once."""
        told = self.trace.run.setdefault("warnings", [])
        if sentence not in told:
            logging.warning("SCOPE: %s", sentence)
            told.append(sentence)

    def changed(self) -> None:
        """Somebody has changed the latents: no step before that is taken again."""
        if self.corrected:
            self.corrected.forget()

    def segment(
        self,
        model: Model,
        segment: Segment,
        noise: Tensor,
        known: Tensor,
        start: Tensor | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Denoise one segment: all its columns [B, C, F, H, W], from noise and known latents of that size
        (`rollout.compose`)."""
        control = Control(self.settings, self.schedule, segment, model, room=self.room)
        self.controls.append(control)
        known_frames = self.past(start, noise) if self.schedule.family.history else start
        field = model.field(segment, self.schedule, self.seed, not control.joint, known_frames)
        solver = self.make_solver(self.schedule.sigmas)
        corrects = self.settings.correct and control.method.depth
        self.corrected = corrected = Corrected(solver, self.schedule.sigmas, self.room) if corrects else None
        work, record = Work(control, solver, corrected, field), self.record(segment)
        x, done = compose(segment, noise, known), len(record.steps)
        if done:
            x = self.go_on(model, work, segment, x)
        forwards, before = self.trace.forwards, model.forwards

        def so_far() -> dict[str, float]:
            extra = corrected.nbytes if corrected else 0
            self.trace.forwards = forwards + model.forwards - before
            self.trace.memory = max(self.trace.memory, control.peak_bytes + extra)
            return {"forwards": self.trace.forwards, "memory": self.trace.memory}

        def keep(step: Step, x: Tensor) -> None:
            if self.keeper is not None:
                self.keeper.keep(Moment(segment, step, x, record.steps, so_far(), work))

        def told(step: Step, x0: Tensor) -> None:
            if on_step is not None:
                on_step(segment, step, x0, record)

        try:
            made = rollout(field, x, segment, control, corrected or solver, record, told, keep, done)
            self.made.append(kept(made, segment.prefix if segment.index else 0, segment.prefix + segment.free))
            return made
        finally:
            so_far()
            control.release()
            self.corrected = None

    def record(self, segment: Segment) -> SegmentTrace:
        """The trace of a segment, with what an earlier run made of it."""
        begun = len(self.trace.segments) > segment.index
        return self.trace.segments[segment.index] if begun else self.trace.begin(segment)

    def go_on(self, model: Model, work: Work, segment: Segment, x: Tensor) -> Tensor:
        """Latents of a segment where an earlier run left them, from those at its start; what it is made with is as it
        was there."""
        made = self.earlier[segment.index]
        x[:, :, : made.frames] = torch.cat([x[:, :, :0], *(part.to(x) for part in made.latents)], 2)
        if made.state is None:
            return x
        state, made.state = unpack(made.state, checkpoint.names_in(work.control), x.device), None
        x = checkpoint.put_back(state, work, x)
        by_output = work.control.method.depth > 0
        shown = [
            (step, [unit for unit in step.active if not by_output or modes[unit.index] == "R"])
            for step, modes in zip(segment.iterations, (step["modes"] for step in made.steps))
        ]
        before = model.forwards
        work.field.resume(x, shown, state["field"])
        self.trace.run["resumed"][-1]["rebuilt"] = model.forwards - before
        return x

    def past(self, start: Tensor | None, noise: Tensor) -> Tensor | None:
        """All frames before the next segment, None where there are none."""
        frames = [*([] if start is None else [start]), *(made.to(noise) for made in self.made)]
        return torch.cat(frames, 2) if frames else None

    def stepwise(self, model: Features, segment: Segment) -> Stepwise:
        """Go through one segment, which is one unit, in the steps of somebody else's sampler."""
        control = Control(self.settings, self.schedule, segment, model, room=self.room)
        self.controls.append(control)
        return Stepwise(control, segment, self.trace)


def kept(latents: Tensor, first: int, stop: int) -> Tensor:
    """Some frames, where memory does not run out."""
    return latents[:, :, first:stop].to("cpu", torch.float32, copy=True)


class Sampled(NamedTuple):
    """What `sample` gives: the video, the trace of how it was made, and what decided in each segment."""

    latents: Tensor
    """[B, C, L, H, W]"""
    trace: Trace
    controls: list[Control]
    """What decided, segment by segment."""


def sample(
    model: Model,
    noise: Tensor,
    schedule: ARSchedule,
    settings: Settings = PRESETS["balanced"],
    *,
    solver: str | Callable[[np.ndarray], Solver] | None = None,
    seed: int = 0,
    start: Tensor | None = None,
    end: Tensor | None = None,
    bridge: Callable[[Tensor], Tensor] | None = None,
    on_step: OnStep | None = None,
    keeper: Keeper | None = None,
) -> Sampled:
    """Denoise a video with an autoregressive diffusion model, skipping what the settings let it skip.

    Args:
        model: a network with its prompts, such as `families.skyreels.Guided`.
        noise: [B, C, L, H, W] standard normal, L = schedule.frames.
        schedule: from the family, such as `SKYREELS.schedule(25, steps=50)`.
        settings: a preset, or `Settings(METHODS[name](...))`; `PRESETS["off"]` computes every step.
        solver: 'unipc', 'euler', 'ab2' or 'cab', or what makes a solver of noise levels [S + 1]; by default the
            family's.
        seed: of noise that the family mixes in (conditioning noise of SkyReels-V2).
        start: known first frames [B, C, P, H, W], as many as the schedule was told; for a family with a history those
            before the video.
        end: clean frames [B, C, T, H, W] that the video leads to; not part of the result.
        bridge: turns a segment, as it was sampled, into the prefix of the next one; by default that is the last frames
            of the video so far.
        on_step: called after every iteration, skipped ones too, with the clean estimate.
        keeper: keeps what is finished on disk as it is made, so that the same call goes on there after a kill
            (docs/resume.md). What it cannot see has to be in its identity: the model, its prompts and the bridge.

    Returns latents [B, C, L, H, W], the trace, and what decided. Raises NotFiniteError where the network returns NaN or
    infinity, and ValueError for tensors of other shapes or with NaN in them, and where model and schedule are of
    different families.

    >>> import torch
    >>> from scope_core import PRESETS, SKYREELS, sample
    >>> from scope_core.families.skyreels import Guided
    >>> from scope_core.networks.wan import WanConfig, WanTransformer
    >>> network = WanTransformer(WanConfig(dim=48, ffn_dim=64, num_heads=2, num_layers=2, text_dim=8))
    >>> model = Guided(network, positive=torch.randn(1, 4, 8))
    >>> latents, trace, _ = sample(model, torch.randn(1, 16, 4, 4, 4), SKYREELS.schedule(4, steps=10), PRESETS["fast"])
    >>> latents.shape, trace.totals["computed"] < trace.totals["iterations"]
    (torch.Size([1, 16, 4, 4, 4]), True)
    """
    if model.family is not schedule.family:
        raise ValueError(
            f"the schedule is one of {schedule.family.title} and the model one of {model.family.title}; make it with"
            " the model's family"
        )
    if noise.ndim != 5 or noise.shape[2] != schedule.frames:
        raise ValueError(
            f"noise has shape {list(noise.shape)}; it has to be [batch, channels, {schedule.frames} frames, height,"
            " width], as long as the schedule"
        )
    require_numbers("noise", noise)
    for name, known, frames in ("start", start, schedule.prefix), ("end", end, schedule.tail):
        if known is not None:
            require_known(name, known, noise, frames)
        elif frames:
            raise ValueError(f"{name} is missing; give the {frames} latent frames that the schedule was told of")
    run = Run(schedule, settings, solver, seed)
    whole = start[:, :, : schedule.prefix] if start is not None and schedule.prefix else None
    with keeper or nullcontext():
        if keeper:
            given = {"noise": noise, "start": start, "end": end}
            keeper.identity |= {name: checkpoint.checksum(x) for name, x in given.items() if x is not None}
            run.keep(keeper)
        segments = unroll(
            lambda segment, noise, known: run.segment(model, segment, noise, known, start, on_step),
            noise,
            schedule,
            whole,
            end,
            run.sparing(bridge) if bridge else None,
        )
    return Sampled(join(segments, schedule.overlap), run.trace, run.controls)


def require_known(name: str, known: Tensor, noise: Tensor, frames: int) -> None:
    """Raises ValueError for latents that are not of the noise's size, `frames` long at least, or hold other than
    numbers."""
    same = known.shape[:2] == noise.shape[:2] and known.shape[3:] == noise.shape[3:]
    if not same or known.shape[2] < frames:
        raise ValueError(
            f"{name} has shape {list(known.shape)}; it has to be [batch, channels, {frames} frames, height, width],"
            f" the same as the noise, which has {list(noise.shape)}"
        )
    require_numbers(name, known)


def require_numbers(name: str, latents: Tensor) -> None:
    if not torch.isfinite(latents).all():
        raise ValueError(f"{name} holds NaN or infinity; give latents that are numbers")
