"""Plans of the SCOPE nodes of a graph, from the graph alone: no model is touched and nothing is changed."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from comfy_api.latest import io

from ..scope_core.calibrate import Circumstances
from ..scope_core.known import Known, entry
from ..scope_core.plan import plan
from ..scope_core.presets import PRESETS, Settings, spread
from ..scope_core.schedule import ARSchedule, latent_frames
from ..scope_core.trace import Trace
from .graph import Graph, GraphError
from .host import calibration
from .host.demo import demo_signals
from .host.unrolling import ChunkWindow, Unrolling, unroll, unroll_chunks
from .loaders import LoadDemo
from .magi import REACHES, MagiScheduleNode
from .sampling import ScopeSampler, ScopeSettings, resolve, settings_of
from .schedule import ARScheduleNode
from .tradeoff import CONNECTED, Sweep, point_of

MOST_DECISIONS = 150_000
LENGTH_NODES = ("EmptyHunyuanLatentVideo", "Wan22ImageToVideoLatent", "EmptyLTXVLatentVideo", "EmptyCosmosLatentVideo")
SCHEDULES = ("SCOPE_ARSchedule", "SCOPE_MagiSchedule")
STAIRCASE = {Unrolling: {"steps": 50, "shift": 8.0}, ChunkWindow: {"steps": 64, "shift": 3.0}}
"""What a schedule node is drawn with while no sampler reads it."""


@lru_cache(maxsize=8)
def shared(schedule: ARSchedule) -> ARSchedule:
    """An equal schedule of an earlier plan, whose iterations are worked out already: most sliders do not change it."""
    return schedule


class UnreadableError(GraphError):
    """What a node gives is not known before it runs."""


@dataclass
class Planner:
    """Plans nodes of one graph. Raises ValueError with the sentence to show."""

    graph: Graph
    known: Known
    guesses: list[str] = field(default_factory=list)
    """Why the plan is an estimate; empty if it is exact."""
    notes: list[str] = field(default_factory=list)
    assumed: bool = False
    """The settings are not those of the run."""

    def sampler(self, node: str) -> Trace:
        widgets = self.widgets(node, ScopeSampler)
        schedule = self.ar_schedule(node, widgets)
        return self.plan(schedule, self.settings(node, widgets), self.model(node, schedule), self.guidance(node, widgets))

    def demo(self, node: str) -> str | None:
        """Family of the demo model that feeds a sampler, None if it is another model."""
        source = self.graph.source(node, "model")
        if source is None or self.graph.node(source)["class_type"] != "SCOPE_LoadDemo":
            return None
        return self.widgets(source, LoadDemo)["family"]

    def model(self, node: str, schedule: ARSchedule) -> str:
        """Identity of a sampler's model. A demo's signals are learnt from the shipped file, so that its plans are exact from the start."""
        key = self.graph.identity(node, "model")
        family = self.demo(node)
        if family is not None and entry(key, schedule) not in self.known.models():
            if schedule.chunked != (family == "MAGI-1"):
                raise GraphError("this schedule is not one for the connected demo model; MAGI-1 needs MAGI-1 Schedule, SkyReels-V2 AR Schedule")
            with torch.inference_mode():
                self.known.learn(key, demo_signals(family, schedule.steps), schedule)
        return key

    def guidance(self, node: str, widgets: dict[str, Any]) -> float:
        """That of a distilled MAGI-1, which ignores cfg, is 1; whether another model than the demo is one, only the run itself knows."""
        return 1.0 if self.demo(node) == "MAGI-1" else widgets["cfg"]

    def settings(self, node: str, widgets: dict[str, Any]) -> Settings:
        source = self.graph.source(node, "settings")
        if source is not None:
            try:
                return self.connected_settings(source)
            except UnreadableError as error:
                self.guesses.append(f"{error}; balanced is assumed")
                self.assumed = True
                return PRESETS["balanced"]
        return resolve(**{name: widgets[name] for name in resolve.__annotations__ if name != "return"})

    def connected_settings(self, source: str) -> Settings:
        if self.graph.node(source)["class_type"] != "SCOPE_Settings":
            raise UnreadableError("the settings come from a node that decides when it runs")
        return settings_of(self.widgets(source, ScopeSettings)["method"])

    def schedule(self, node: str) -> Trace:
        """Staircase of a schedule node, as a sampler that reads it would run it, one that skips if there is one."""
        readers = [reader for reader in self.graph.ids if self.graph.node(reader)["class_type"] == "SCOPE_Sampler"
                   and node in (self.graph.source(reader, "schedule"), self.graph.source(reader, "latent"))]
        if readers:
            return self.sampler(min(readers, key=lambda reader: self.graph.inputs(reader).get("preset") == "off"))
        unrolling, frames = self.unrolling(node)
        assumed = STAIRCASE[type(unrolling)]
        self.notes.append(f"no sampler reads this schedule; {assumed['steps']} steps are assumed")
        return self.plan(unrolling.schedule(frames, **assumed), PRESETS["off"], "")

    def ar_schedule(self, node: str, widgets: dict[str, Any]) -> ARSchedule:
        """Schedule of a sampler with `steps` and `shift`."""
        source = self.graph.source(node, "schedule")
        unrolling, frames = self.unrolling(source) if source else (ChunkWindow() if self.demo(node) == "MAGI-1" else Unrolling(), None)
        latent = self.graph.source(node, "latent")
        if latent != source or frames is None:
            frames = self.latent_length(latent, frames)
        return unrolling.schedule(frames, widgets["steps"], widgets["shift"])

    def sweep(self, node: str) -> list[Trace]:
        """The baseline and every point of a sweep."""
        widgets = self.widgets(node, Sweep)
        schedule = self.ar_schedule(node, widgets)
        key = self.model(node, schedule)
        guidance = self.guidance(node, widgets)
        planned = [self.plan(schedule, settings, key, guidance) for settings in (PRESETS["off"], *spread(widgets["spread"]))]
        for name in CONNECTED:
            source = self.graph.source(node, name)
            try:
                planned += [self.plan(schedule, self.connected_settings(source), key, guidance)] if source is not None else []
            except ValueError as error:
                self.notes.append(f"no plan for `{name}`: {error}")
        return planned

    def with_ratios(self, settings: Settings, schedule: ARSchedule, key: str, guidance: float) -> Settings:
        """Settings with the ratios of the calibration that the run will find."""
        if not calibration.needs_ratios(settings):
            return settings
        model = self.known.model(key, schedule)
        if model is None:
            raise GraphError("MagCache is calibrated for a model that has run before; this one has not. Run SCOPE Calibrate, or choose published ratios")
        return calibration.with_ratios(settings, *(Circumstances.of(model, schedule, cfg) for cfg in ((guidance, 1.0) if schedule.chunked else (guidance,))))

    def plan(self, schedule: ARSchedule, settings: Settings, key: str, guidance: float = 1.0) -> Trace:
        schedule = shared(schedule)
        shapes = {(s.prefix, s.free, s.tail): len(s.units) * len(s.matrix) for s in schedule.segments}
        if schedule.iterations > MOST_DECISIONS // 10 or sum(shapes.values()) > MOST_DECISIONS:
            raise ValueError(f"a plan of {schedule.iterations:,} iterations is too large to draw while sliders move; the run itself has no such limit")
        settings = self.with_ratios(settings, schedule, key, guidance)
        table, why = self.known.table(key, settings.policy.signal, schedule)
        if why and not settings.off:
            self.guesses.append(why)
        return plan(schedule, settings, table)

    def unrolling(self, node: str) -> tuple[Unrolling | ChunkWindow, int]:
        """What a schedule node makes, and its length in latent frames."""
        kind = self.graph.node(node)["class_type"]
        if kind == "SCOPE_MagiSchedule":
            widgets = self.widgets(node, MagiScheduleNode)
            unrolling, frames = unroll_chunks(widgets["length"], widgets["window"], REACHES[widgets["look_back"]], widgets["short_cut"], widgets["kv_gpu_gb"],
                                              self.given(node, "start"))
        elif kind == "SCOPE_ARSchedule":
            widgets = self.widgets(node, ARScheduleNode)
            names = ("length", "window", "overlap", "chunk", "ar_step", "causal", "condition_noise")
            unrolling, pixels = unroll(*(widgets[name] for name in names), self.given(node, "start"), self.given(node, "end"))
            frames = latent_frames(pixels)
        else:
            self.guesses.append("the schedule comes from a node that cannot be read before it runs")
            return Unrolling(), 25
        self.notes += [unrolling.note] if unrolling.note else []
        return unrolling, frames

    def given(self, node: str, name: str) -> torch.Tensor | None:
        """Stand-in for the known frames connected to AR Schedule, of the length they had when this last ran."""
        if self.graph.source(node, name) is None:
            return None
        frames = self.known.length(self.graph.identity(node, name))
        if frames is None:
            self.guesses.append(f"`{name}` is taken as one latent frame until it has run once")
        return torch.empty(1, 16, frames or 1, 1, 1)

    def latent_length(self, node: str | None, fallback: int | None) -> int:
        """Latent frames of an empty latent."""
        if node is not None and self.graph.node(node)["class_type"] in SCHEDULES:
            return self.unrolling(node)[1]
        if node is not None and self.graph.node(node)["class_type"] in LENGTH_NODES:
            length = self.graph.inputs(node).get("length")
            if isinstance(length, int) and 1 <= length <= 8193:
                return latent_frames(length)
        self.guesses.append("the length is not known yet; 97 frames are assumed")
        return fallback or 25

    def widgets(self, node: str, kind: type[io.ComfyNode]) -> dict[str, Any]:
        """Values of a node's widgets, as `execute` gets them."""
        return self.read(kind.define_schema().inputs, self.graph.inputs(node), "")

    def read(self, inputs: list[io.Input], given: dict[str, Any], prefix: str) -> dict[str, Any]:
        values = {}
        for spec in inputs:
            value = given.get(prefix + spec.id)
            if isinstance(spec, io.DynamicCombo.Input):
                option = next((option for option in spec.options if option.key == value), None)
                if option is None:
                    raise GraphError(f"{spec.id} is {str(value)[:40]!r}; choose one of {', '.join(option.key for option in spec.options)}")
                values[spec.id] = {spec.id: value, **self.read(option.inputs, given, f"{prefix}{spec.id}.")}
            elif isinstance(spec, io.WidgetInput):
                values[spec.id] = self.widget(spec, value)
        return values

    def widget(self, spec: io.WidgetInput, value: Any) -> Any:
        """A widget's value, checked; its default where it is fed by another node that is not a primitive."""
        if isinstance(value, list):
            fed = self.graph.inputs(value[0]).get("value") if value and isinstance(value[0], str) else None
            if not isinstance(fed, (int, float, str)):
                self.guesses.append(f"{spec.id} comes from another node; {spec.default} is assumed")
            value = fed if isinstance(fed, (int, float, str)) else spec.default
        value = spec.default if value is None else value
        if isinstance(spec, io.Combo.Input) and value not in spec.options:
            raise GraphError(f"{spec.id} is {str(value)[:40]!r}; choose one of {', '.join(spec.options)}")
        if isinstance(spec, io.Boolean.Input) and not isinstance(value, bool):
            raise GraphError(f"{spec.id} is {str(value)[:40]!r}; it has to be true or false")
        if isinstance(spec, (io.Int.Input, io.Float.Input)):
            if isinstance(value, (str, bool)) or not spec.min <= value <= spec.max:
                raise GraphError(f"{spec.id} is {str(value)[:40]!r}; it has to be a number from {spec.min} to {spec.max}")
            value = int(value) if isinstance(spec, io.Int.Input) else float(value)
        return value


def plan_node(node: str, graph: Graph, known: Known) -> dict[str, Any]:
    """What the browser shows under a node before it runs. Raises ValueError with the sentence to show instead."""
    planner = Planner(graph, known)
    kind = graph.node(node)["class_type"]
    if kind == "SCOPE_Sampler":
        trace = planner.sampler(node).to_json()
        result = {"trace": trace} if planner.assumed else {"trace": trace, "point": point_of(trace)}
    elif kind in SCHEDULES:
        result = {"trace": planner.schedule(node).to_json()}
    elif kind == "SCOPE_Sweep":
        result = {"points": [point_of(trace.to_json()) for trace in planner.sweep(node)]}
    else:
        raise GraphError(f"there is no plan for a {kind[:40]!r} node")
    said = dict.fromkeys([*planner.guesses, *planner.notes])
    return {**result, "exact": not planner.guesses, "note": " ".join(f"{text[0].upper()}{text[1:]}." for text in said)}
