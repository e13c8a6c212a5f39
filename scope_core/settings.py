"""Everything that decides speed and fidelity: a method, the safety rules around it, what is forwarded; and named
operating points.

How widgets become settings and back is derived from the knobs that methods, gate and settings declare
(`methods.knobs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from .methods import METHODS, Gate, Method, Off, Planned, Scope
from .methods.base import CUSTOM, Gram
from .methods.knobs import Knob, check, choice, knobs_of, switch
from .schedule import ARSchedule
from .schedule.columns import SELECTIVE


@dataclass(frozen=True)
class Settings:
    """How a run is accelerated. Raises ValueError for values out of range.

    >>> from scope_core import METHODS, PRESETS, Settings
    >>> PRESETS["balanced"] == Settings(METHODS["planned"](2.5))
    True
    >>> Settings(METHODS["teacache"](threshold=0.1)).off
    False
    """

    method: Method = Scope()
    gate: Gate = None  # type: ignore[assignment]
    """Safety rules; the method's usual ones unless given."""
    selective: str = choice(
        "auto",
        "Leave out frames that have not started yet. auto: only where that cannot change the result (causal attention)."
        " paper: always, as the paper does. full: never.",
        SELECTIVE,
    )
    joint: bool = switch(
        False,
        "MAGI-1: one decision for all chunks that are denoised at a time, instead of one for each. Needs less memory"
        " with base models. SkyReels always decides so.",
        advanced=True,
        late=True,
    )
    correct: bool = switch(
        None,  # type: ignore[arg-type]
        "When a chunk is computed again, take the predicted steps before it once more, with what is known by then."
        " Costs no evaluation. Of the methods here only planned steps do so by default.",
        advanced=True,
        late=True,
    )

    def __post_init__(self) -> None:
        if self.gate is None:
            object.__setattr__(self, "gate", self.method.gate)
        if self.correct is None:
            object.__setattr__(self, "correct", self.method.corrected)
        check(self, "")

    @property
    def acting(self) -> Method:
        """The method; Off where the settings leave it nothing to skip."""
        return Off() if self.method.off or self.gate.max_skip == 0 else self.method

    @property
    def needs_calibration(self) -> bool:
        return self.acting.needs_calibration

    def calibrated(self, ratios: tuple[float, ...], gram: Gram = ()) -> Settings:
        """With what a recorded run showed, see `Method.calibrated`."""
        return replace(self, method=self.method.calibrated(ratios, gram))

    @property
    def off(self) -> bool:
        """No step can be skipped: the run is then exactly the one without SCOPE."""
        return self.acting.off

    def apart(self, schedule: ARSchedule) -> bool:
        """Chunks go through the network on their own, and each is decided for; otherwise one forward computes all that
        an iteration denoises, or none. What is reused inside of the network always goes together."""
        return schedule.family.by_chunk and not self.joint

    @property
    def forwarded(self) -> str:
        """Choice of `schedule.columns` that holds for the run."""
        return "full" if self.off and self.selective == "auto" else self.selective

    def to_json(self) -> dict[str, Any]:
        """Name and numbers of the method, safety rules and the rest, flat."""
        return {
            "method": self.acting.name,
            **asdict(self.acting),
            **asdict(self.gate),
            **{rule: getattr(self, rule) for rule in RULES},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Settings:
        of_gate, of_settings = ({name: data[name] for name in names if name in data} for names in (GATE, RULES))
        numbers = {name: value for name, value in data.items() if name not in (*GATE, *RULES, "method")}
        return cls(method_named(data["method"])(**numbers), Gate(**of_gate), **of_settings)


GATE = tuple(member.name for member in fields(Gate))
RULES = ("selective", "joint", "correct")


def knobs(method: type[Method]) -> list[Knob]:
    """What users set to run a method, in the order of its node: its own knobs, and of the rules for all those that its
    node has."""
    own = method.knobs()
    usual = asdict(method.gate)
    rules = [replace(knob, default=usual[knob.field], **method.looks.get(knob.name, {})) for knob in knobs_of(Gate)]
    options = {knob.name: knob for knob in knobs_of(Settings)}
    options["correct"] = replace(options["correct"], default=method.corrected)
    if not method.node_order:
        return [*own, *rules, *([options["joint"], options["correct"]] if method().depth else [])]
    known = options | {knob.name: knob for knob in (*own, *rules)}
    return [known[name] for name in method.node_order]


def method_named(name: str) -> type[Method]:
    """Raises ValueError for an unknown one."""
    if name not in METHODS:
        raise ValueError(f"method is {name!r}; choose one of {', '.join(METHODS)}")
    return METHODS[name]


def read(name: str, widgets: Mapping[str, Any]) -> Settings:
    """Settings of a method's widgets by name, a `preset` among them: unless that is custom, its numbers win. The host
    makes None of late ones that a graph lacks. Raises ValueError for an unknown method or preset and out of range."""
    method = method_named(name)
    preset = widgets.get("preset") or CUSTOM
    if preset != CUSTOM:
        points = presets(name)
        if preset not in points:
            raise ValueError(f"preset of {name} is {preset!r}; choose one of {', '.join([*points, CUSTOM])}")
        return points[preset]
    lacking = {knob.name for knob in knobs(method) if knob.late and widgets.get(knob.name) is None}
    values = {
        knob.name: knob.read(widgets[knob.name]) if knob.name in widgets.keys() - lacking else knob.default
        for knob in knobs(method)
    }
    of_gate, of_settings = ({key: values[key] for key in keys if key in values} for keys in (GATE, RULES))
    made = method.of_knobs(values)
    return Settings(made, Gate(**of_gate), **of_settings) if isinstance(made, method) else Settings(made)


def write(settings: Settings, name: str = "") -> dict[str, Any] | None:
    """Values of the widgets of a method by name, by default their own, at which `read` gives these settings; None where
    they cannot express them. Off is SCOPE with its dial at 0; what a plan has filled in is not theirs."""
    settings = asked(settings)
    method = Scope() if settings.off else settings.method
    if name == Scope.name and isinstance(method, Planned):
        widgets = {**(write(CALIBRATED) or {}), "speed": method.at_least, "fidelity": method.fidelity}
        return widgets if read(name, widgets) == settings else None
    if name not in ("", method.name):
        return None
    values = {**method.to_knobs(), **asdict(settings.gate), **{rule: getattr(settings, rule) for rule in RULES}}
    if settings.off:
        values[Scope.dial.name] = 0.0
    widgets = {knob.name: knob.write(values[knob.name]) for knob in knobs(type(method))}
    if None in widgets.values():
        return None
    found = read(method.name, widgets)
    return widgets if found == settings or (found.off and settings.off) else None


def asked(settings: Settings) -> Settings:
    """Without what a plan has filled in."""
    method = settings.method
    return replace(settings, method=method.asked) if isinstance(method, Planned) else settings


def presets(name: str) -> dict[str, Settings]:
    """Operating points of a method by name; those of SCOPE include off."""
    points = {point: read(name, values) for point, values in METHODS[name].points.items()}
    return {"off": Settings(Off()), **points} if name == Scope.name else points


PRESETS: dict[str, Settings] = presets(Scope.name)
"""Named operating points of SCOPE."""
CALIBRATED = Settings(Scope())
"""The point that 1 on the threshold dial stands for."""


def spread(count: int) -> list[Settings]:
    """Operating points from careful to fast, the most telling ones first, so that a longer list begins like a shorter
    one."""
    return [
        Settings(Planned(speed)) for speed in (2.5, 4.0, 1.5, 6.0, 2.0, 3.0, 5.0, 8.0, 1.75, 3.5, 2.25, 7.0)[:count]
    ]


def name_of(settings: Settings) -> str:
    """A preset's name, or what distinguishes the settings from the usual ones: of SCOPE by thresholds all that differs,
    of another method its first knob and what else of it differs."""
    settings = asked(settings)
    for name, preset in PRESETS.items():
        if settings == preset or (settings.off and preset.off):
            return name
    method, usual = settings.method, type(settings.method)()
    differing = [
        (knob.name, getattr(method, knob.field))
        for knob in knobs_of(method)
        if getattr(method, knob.field) != getattr(usual, knob.field)
    ]
    if isinstance(method, Scope):
        hidden = [(name, getattr(method, name)) for name in ("monotone", "clipped") if not getattr(method, name)]
        rules, calibrated = (
            {**asdict(of.gate), **{rule: getattr(of, rule) for rule in RULES}} for of in (settings, CALIBRATED)
        )
        return (
            ", ".join(told(*pair) for pair in (*differing, *hidden, *(rules.items() - calibrated.items())))
            or "usual thresholds"
        )
    first = knobs_of(method)[0]
    others = [told(*pair) for pair in differing if pair[0] != first.name and not isinstance(pair[1], tuple)]
    return ", ".join([f"{method.name} {getattr(method, first.field):g}", *others])


def told(name: str, value: Any) -> str:
    return f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"


def knob_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as `Settings.to_json` gives them, under the names that users know them by."""
    names = (
        {knob.field: knob.name for knob in knobs_of(METHODS[settings["method"]])}
        if settings["method"] in METHODS
        else {}
    )
    return {names.get(name, name): value for name, value in settings.items()}
