"""The families of models as they live in the host. Everything else here asks the object that owns a MODEL, never which
family it is of."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import torch
from comfy.model_sampling import ModelSamplingDiscreteFlow
from torch import Tensor

from ...scope_core.loop.rollout import unroll
from ...scope_core.loop.sample import Model
from ...scope_core.schedule import ARSchedule, Family, Segment
from ...scope_core.settings import Settings
from .latents import NO_MASK, UnsuitableError, adapted, check_empty, check_video
from .segments import as_latent
from .unrolling import Bridge, Unrolling

MODEL_NAME = "scope_model"
"""Attachment of a MODEL: what its loader calls it."""
MODEL_FAMILY = "scope_family"
"""Attachment of a MODEL whose network does not tell its family."""


class NotPreparedError(ValueError):
    """The MODEL was not prepared for SCOPE's samplers."""


class HostFamily(ABC):
    family: Family
    unrolling: type[Unrolling]
    """What its schedule node gives; made without arguments, how it is unrolled where none is connected."""
    least_guidance: float = -math.inf
    """Guidance below is none, as in the release."""

    def owns(self, patcher: Any) -> bool:
        """Whether a MODEL is of this family, by what its loader attached."""
        return patcher.get_attachment(MODEL_FAMILY) is self.family

    def name_of(self, patcher: Any) -> str | None:
        """What traces and reports call a MODEL."""
        return patcher.get_attachment(MODEL_NAME)

    def unrolled(self, patcher: Any, given: Any) -> Unrolling:
        """How a video of a MODEL is unrolled, by what its schedule node gave where one is connected. Raises
        ScheduleError."""
        return self.unrolling() if given is None else given

    def unrolled_of(self, paths: list[str], given: Any) -> Unrolling | None:
        """The same for the model in some files, before it is loaded; None where they do not tell that it is one of this
        family. Raises ScheduleError."""
        return None

    def check(self, patcher: Any) -> None:
        """Raises NotPreparedError for a MODEL of this family that cannot be sampled as it is."""
        check_flow(patcher)

    @abstractmethod
    def model_sampling(self, patcher: Any, shift: float) -> ModelSamplingDiscreteFlow:
        """What knows noise levels as this family needs them, with a shift."""

    def set_shift(self, patcher: Any, shift: float) -> str:
        """Give a clone the shift of a run, so that conditioning ranges and the noise levels agree; what to tell a user
        who has set another one on the MODEL. Raises NotPreparedError."""
        self.check(patcher)
        known, own = patcher.get_model_object("model_sampling"), self.model_sampling(patcher, shift)
        patcher.add_object_patch("model_sampling", own)
        if isinstance(known, type(own)) or known.shift == shift:
            return ""
        return (
            f"a ModelSampling node sets shift {known.shift:g} on this MODEL, but the sampler has a shift of its own,"
            f" which counts: {shift:g}. Remove that node, or set the shift here."
        )

    def guidance(self, patcher: Any, cfg: float) -> float:
        """What counts as guidance of a run; 1 where there is none."""
        return max(cfg, self.least_guidance)

    def guidances(self, cfg: float) -> tuple[float, ...]:
        """What could count as guidance at this cfg, whatever the model turns out to be."""
        return (max(cfg, self.least_guidance),)

    def samples(self, patcher: Any, latent: dict[str, Any], unrolling: Unrolling) -> Any:
        """Samples of a LATENT as the model can take them, in whole chunks. Raises UnsuitableError."""
        check_empty(latent)
        samples = adapted(patcher, latent)
        lacking = unrolling.whole(samples.shape[2]) - samples.shape[2]
        return torch.nn.functional.pad(samples, (0, 0, 0, 0, 0, lacking))

    def known(self, patcher: Any, latent: dict[str, Any]) -> dict[str, Any]:
        """The LATENT that noise is added to, where the family knows such a thing."""
        return {}

    def result(self, made: list[Tensor], schedule: ARSchedule, latent: dict[str, Any]) -> dict[str, Any]:
        """LATENT of the segments that were made for another one."""
        return as_latent(made, schedule, latent["samples"].shape[2])

    def replaced(self, latent: Tensor, unrolling: Any) -> list[str]:
        """What to tell a user whose graph gives samples to begin with that have no effect, in sentences."""
        if not latent.count_nonzero():
            return []
        return [
            (
                "the latent is not empty, and all of it is replaced by noise, from which"
                f" {self.family.title} makes every frame. Connect an empty latent; known frames go into"
                f" {unrolling.node} as `{unrolling.start_input}`."
            )
        ]

    def check_noise(self, noise: Tensor, mask: Tensor | None) -> None:
        """Raises UnsuitableError for noise or a mask of somebody else's graph that cannot be sampled from."""
        check_video(noise)
        if mask is not None:
            raise UnsuitableError(NO_MASK)

    def frames(self, noise: Any) -> int:
        """Latent frames of a schedule for this noise."""
        return noise.shape[2]

    def levels(self, patcher: Any, sigmas: Tensor) -> tuple[float, ...]:
        """Noise levels of the schedule at the host's."""
        return tuple(sigmas.tolist())

    def sigmas(self, patcher: Any, schedule: ARSchedule, segment: Segment) -> Tensor:
        """What a guider that samples a segment is told as noise levels [iterations + 1]."""
        rows, sampling = segment.rows, patcher.get_model_object("model_sampling")
        return torch.tensor([float(sampling.percent_to_sigma(i / rows)) for i in range(rows + 1)])

    def schedule(self, patcher: Any, unrolling: Unrolling, frames: int, steps: int, shift: float) -> ARSchedule:
        """Of a run of a MODEL whose shift is set. Raises ScheduleError."""
        return unrolling.schedule(frames, steps, shift)

    def unroll(
        self,
        sample: Callable[[Segment, Tensor, Tensor], Tensor],
        noise: Tensor,
        latent: Tensor | None,
        schedule: ARSchedule,
        start: Tensor | None,
        end: Tensor | None,
        bridge: Bridge | None = None,
    ) -> list[Tensor]:
        """See `rollout.unroll`. `latent`: what the noise is added to, where the family knows such a thing."""
        return unroll(sample, noise, schedule, start, end, bridge)

    def segment(
        self,
        run: Any,
        guider: Any,
        sigmas: Tensor,
        extra_args: dict,
        segment: Segment,
        noise: Tensor,
        known: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        """A segment of a `HostRun`, in the model's latent space: what a sampler of the host does."""
        return run.segment(guider, extra_args, segment, noise, known)

    def seen(self, x0: Tensor, noise: Any) -> Tensor:
        """An estimate of the loop as it can be shown beside this noise."""
        return x0

    def remarks(self, guider: Any, settings: Settings) -> list[str]:
        """What a user should know of a guider's MODEL and prompts before trusting a run with these settings, in
        sentences."""
        return []

    def not_shared(self, schedule: ARSchedule) -> str:
        """Why the tokens of a run cannot be shared out to several processes; empty where they can."""
        return f"chunks of {self.family.title} read what was kept of those before, which it does not share"

    def not_split(self, unrolling: Any) -> str:
        """Why the guidance branches of a step cannot run at the same time; empty where they can."""
        return ""

    def conditioning(self, patcher: Any, positive: list, noise: Tensor, unrolling: Any) -> list:
        """The conditioning with what the host has to know to estimate memory."""
        return positive

    @abstractmethod
    def model(self, guider: Any, options: dict, seed: int | None, schedule: ARSchedule, unrolling: Any) -> "HostModel":
        """The guider as the model of the sampling loop, for one segment."""


def check_flow(patcher: Any) -> None:
    """Raises NotPreparedError for a MODEL that another node has taught another process than flow matching."""
    sampling = patcher.get_model_object("model_sampling")
    if not isinstance(sampling, ModelSamplingDiscreteFlow):
        kinds = " ".join(base.__name__ for base in type(sampling).__bases__)
        raise NotPreparedError(
            f"a ModelSampling node makes this MODEL sample as {kinds}, but it was trained for flow matching; remove"
            " that node (of these only ModelSamplingSD3 suits it, which sets no more than a shift: the sampler has one"
            " of its own, and so has AR Sigmas)"
        )


class HostModel(Model, Protocol):
    progress: float
    """Share of the iterations done; the guider sees the noise level that the schedule has there."""


FAMILIES: list[HostFamily] = []
"""Filled by `register`; every MODEL has one of them as its owner."""


def register(family: HostFamily) -> None:
    FAMILIES.append(family)


def family_of(patcher: Any) -> HostFamily:
    """The family of a MODEL."""
    return next(family for family in FAMILIES if family.owns(patcher))


def hosted(family: Family) -> HostFamily:
    return next(known for known in FAMILIES if known.family is family)
