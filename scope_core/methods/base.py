"""What every method is: a frozen set of settings that decides, per unit and step, whether the network has to run.

Its state belongs to one unit of one segment, is made by `init` and passed from step to step; it never touches modules,
and tensors only through what it is given. The safety rules that all methods share are in `gate`, what units and signals
are in `schedule` and `signals`. How to add one: docs/adding-a-method.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor

from ..schedule import ARSchedule, Segment, Unit
from .gate import Gate
from .knobs import Knob, check, knobs_of
from .vocabulary import Decision, Entry, Seen, Skip

CUSTOM = "custom"
Gram = tuple[tuple[float, ...], ...]
"""[S, S]; empty where nothing was recorded."""


class Speed(NamedTuple):
    """The knob that trades speed for fidelity, for searches for an operating point of a given cost."""

    knob: str
    slow: float
    fast: float

    def values(self, whole: bool, count: int = 32) -> tuple[float, ...]:
        """Values to try, slow ones first: all of them where the knob is a whole number, else evenly or, above 0, by
        equal factors."""
        if whole:
            way = 1 if self.fast > self.slow else -1
            return tuple(map(float, range(int(self.slow), int(self.fast) + way, way)))
        spread = np.geomspace if min(self.slow, self.fast) > 0 else np.linspace
        return tuple(spread(self.slow, self.fast, count).tolist())


class Method:
    """A method that reuses the output: the last computed velocity. What differs is overridden.

    A subclass is a frozen dataclass whose knobs (see `knobs`) are fields. Methods that reuse inside the network return
    a Skip and keep no velocities (`depth` 0); for them one decision holds for all units.
    """

    __dataclass_fields__: ClassVar[dict[str, Field]]  # as every subclass has them
    name: ClassVar[str]
    title: ClassVar[str]
    """For people."""
    offered: ClassVar[bool] = True
    """Users can choose it."""
    gate: ClassVar[Gate] = Gate(12, 0, 0)
    """Its usual safety rules."""
    points: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Published operating points by name: knobs, those of the gate included, that differ from the defaults."""
    usual_point: ClassVar[str] = CUSTOM
    """The point that its selector stands at first; custom: the knobs decide."""
    points_help: ClassVar[str] = (
        "A published operating point, or custom: the inputs below decide. The points were published for other models"
        " and schedules."
    )
    points_came_later: ClassVar[bool] = False
    """Its selector was shipped without the points, so they come last there."""
    tuned: ClassVar[bool] = False
    """A calibration can choose its settings, see `candidates`."""
    speed: ClassVar[Speed | None] = None
    aims: ClassVar[Sequence[Knob]] = ()
    """Knobs for what is wanted of the result; one that is not 0 decides alone, and the others rest."""
    node_order: ClassVar[Sequence[str]] = ()
    """Names of the knobs of a node in order, where it is not the method's own and then the gate's."""
    looks: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """What differs in this method's node from how the gate declares its knobs."""
    expected: float | None = None
    """PSNR in dB to the full run that its steps are known to give."""
    signal: str = "sigma"
    """Name of the discrepancy signal `decide` wants, see `signals.SIGNALS`."""
    aggregate: str = "max"
    """How the change of several units becomes the one each of them sees, see `signals.AGGREGATES`."""
    latents: ClassVar[bool] = False
    """Keep the latents they were computed at as well."""
    corrected: ClassVar[bool] = False
    """Its past is corrected where nobody says otherwise, see `Settings.correct`."""
    probes: ClassVar[bool] = False
    """Decides inside the network, from what it makes of one guidance branch (`Skip.probe`)."""
    plannable: ClassVar[bool] = True
    """Decides from the schedule and its signal alone, not from what the network returns."""

    def __post_init__(self) -> None:
        check(self, f"{self.title} ")

    @classmethod
    def knobs(cls) -> list[Knob]:
        """What users set of the method itself."""
        return knobs_of(cls)

    @classmethod
    def of_knobs(cls, values: Mapping[str, Any]) -> "Method":
        """The method at these values by knob. Raises ValueError out of range."""
        return cls(**{knob.field: values[knob.name] for knob in cls.knobs()})

    def to_knobs(self) -> dict[str, Any]:
        """Values by knob at which `of_knobs` gives this."""
        return {knob.name: getattr(self, knob.field) for knob in knobs_of(self)}

    @property
    def depth(self) -> int:
        """Computed velocities of each unit to keep."""
        return 1

    @property
    def off(self) -> bool:
        """Settings under which nothing can be skipped."""
        return False

    @property
    def needs_calibration(self) -> bool:
        """Numbers are missing that only a recorded run of the model shows."""
        return False

    def calibrated(self, ratios: tuple[float, ...], gram: Gram = ()) -> "Method":
        """The method with what a recorded run showed: how much the residual of all blocks grew at each own step, and
        inner products of the velocities at own steps."""
        return self

    @classmethod
    def candidates(cls, ratios: tuple[float, ...]) -> Iterator[tuple["Method", Gate]]:
        """Settings to choose a wanted speed from after a recorded run, careful ones first."""
        raise NotImplementedError

    def fit(self, schedule: ARSchedule, segment: Segment, apart: bool = False) -> "Method":
        """The method as it acts in a segment of a schedule: with everything worked out that depends on them alone.
        `apart`: units go through the network on their own (`Settings.apart`)."""
        return self

    def caveat(self, schedule: ARSchedule) -> str:
        """What a user should know before a run of this schedule; empty where there is nothing to say."""
        return ""

    def init(self) -> Any:
        """State of a unit that has not been decided for yet."""
        return None

    def forget(self, state: Any) -> Any:
        """State where the field becomes another one, so that what was learnt of it holds no longer."""
        return self.init()

    def decide(self, state: Any, unit: Unit, change: float, history: Sequence[Entry]) -> Decision:
        """The mode this method wants. `change` is the relative change of its signal since the previous iteration."""
        raise NotImplementedError

    def settle(self, state: Any, unit: Unit, change: float, decision: Decision) -> Any:
        """State after the decision that was carried out, which gate or other units may have turned into RECOMPUTE."""
        return state

    def value(self, state: Any, unit: Unit, decision: Decision, history: Sequence[Entry], x: Tensor) -> Tensor:
        """Velocity of a unit at latents x that is not computed, from its history (computed steps, newest first)."""
        return history[0].value

    def measure(self, unit: Unit, history: Sequence[Entry], velocity: Tensor, latent: Tensor) -> Tensor | None:
        """Numbers on the device that `observe` wants of a computed step, as `Seen.measured`; those of all units are
        read in one transfer. `history` is what was known before."""
        return None

    def observe(self, state: Any, unit: Unit, history: Sequence[Entry], seen: Seen | None) -> Any:
        """State after the network computed a step (`seen` is None in a dry run); `history` is what was known before."""
        return state

    def skip(self, state: Any, unit: Unit, layers: int) -> Skip | None:
        """What is reused inside a network of `layers` transformer blocks, told by the unit furthest on; None for
        methods that reuse its output."""
        return None


CANDIDATES = tuple(0.02 * 1.2**i for i in range(37))
"""Thresholds to try, or factors on them."""
METHODS: dict[str, type[Method]] = {}
"""Every method by its name."""


def register(method: type[Method]) -> type[Method]:
    """Class decorator: make a method known to settings, selectors, plans, traces and the benchmark."""
    METHODS[method.name] = method
    return method
