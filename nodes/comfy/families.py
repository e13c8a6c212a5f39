"""The families of models as they live in the host. Everything else here asks the object that owns a MODEL, never which
family it is of."""

from abc import ABC, abstractmethod
from typing import Any, Protocol

from comfy.model_sampling import ModelSamplingDiscreteFlow
from torch import Tensor

from ...scope_core.loop.sample import Model
from ...scope_core.schedule import ARSchedule, Family
from .unrolling import Unrolling

MODEL_NAME = "scope_model"
"""Attachment of a MODEL: what its loader calls it."""


class NotPreparedError(ValueError):
    """The MODEL was not prepared for SCOPE's samplers."""


class HostFamily(ABC):
    family: Family
    unrolling: type[Unrolling]
    """What its schedule node gives; made without arguments, how it is unrolled where none is connected."""

    @abstractmethod
    def owns(self, patcher: Any) -> bool:
        """Whether a MODEL is of this family."""

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
        return cfg

    def guidances(self, cfg: float) -> tuple[float, ...]:
        """What could count as guidance at this cfg, whatever the model turns out to be."""
        return (cfg,)

    def caveats(self, conds: dict[str, list[dict[str, Any]]]) -> list[str]:
        """What a user should know of the prompts, `conds` as a guider holds them, in sentences."""
        return []

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
            " that node. Of these nodes only ModelSamplingSD3 suits it, and it sets no more than a shift: the sampler"
            " has one of its own, and so has AR Sigmas"
        )


class HostModel(Model, Protocol):
    progress: float
    """Share of the iterations done; the guider sees the noise level that the schedule has there."""


FAMILIES: list[HostFamily] = []
"""Filled by `register`, in the order in which they are asked."""


def register(family: HostFamily) -> None:
    FAMILIES.append(family)


def family_of(patcher: Any) -> HostFamily:
    """The family of a MODEL. Raises NotPreparedError for models of none."""
    for family in FAMILIES:
        if family.owns(patcher):
            return family
    raise NotPreparedError(
        "this MODEL does not know a noise level per frame. Load it with Load AR Video Model, or connect it to that "
        "node's `model` input"
    )


def hosted(family: Family) -> HostFamily:
    return next(known for known in FAMILIES if known.family is family)
