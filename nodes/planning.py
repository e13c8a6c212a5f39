"""Plans of the SCOPE nodes of a graph, from the graph alone: no model is touched and nothing is changed."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from comfy_api.latest import io

from ..scope_core.demo.shipped import signals_of
from ..scope_core.families import FLOW
from ..scope_core.loop.plan import plan
from ..scope_core.loop.trace import Trace
from ..scope_core.methods import RULES, Planned
from ..scope_core.schedule import ARSchedule, Family
from ..scope_core.settings import PRESETS, Settings, read, spread
from ..scope_core.signals.maps import SignalMaps
from ..scope_core.study import plans
from ..scope_core.study.calibration import Circumstances
from ..scope_core.study.plans import Plan
from .accelerate import Accelerate
from .comfy import calibration, loading
from .comfy.accelerate import objection
from .comfy.families import FAMILIES, hosted
from .comfy.flow import Whole
from .comfy.graph import Graph, GraphError
from .comfy.plans import known_plans
from .comfy.skyreels import Windows
from .comfy.unrolling import Unrolling
from .loaders import DEMOS, LoadARModel, LoadDemo
from .methods import OURS, ScopeSettings, inputs, settings_of
from .sampling import SCHEDULES, ScopeSampler
from .tradeoff import CONNECTED, PROMPTS, Sweep, point_of

MOST_DECISIONS = 150_000
"""Of a plan that is drawn while sliders move."""
MOST_OF_SWEEP = 2 * MOST_DECISIONS
"""Decisions and iterations of the plans of a sweep together, a few seconds of work."""
WITH_REMARKS = "SCOPE_Sampler", "SCOPE_Accelerate", "SCOPE_Settings"
"""Nodes with settings of their own."""
STOCK_SAMPLERS = "KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"
LENGTH_NODES = ("EmptyHunyuanLatentVideo", "Wan22ImageToVideoLatent", "EmptyLTXVLatentVideo", "EmptyCosmosLatentVideo")


SPEED_WIDGETS = [widget.id for widget in inputs(OURS)]


@lru_cache(maxsize=8)
def shared(schedule: ARSchedule) -> ARSchedule:
    """An equal schedule of an earlier plan, whose iterations are worked out already: most sliders do not change it."""
    return schedule


def decisions(schedule: ARSchedule) -> int:
    """What a plan costs: segments of one shape have one plan."""
    return sum({(s.prefix, s.free, s.tail): len(s.units) * s.rows for s in schedule.segments}.values())


class UnreadableError(GraphError):
    """What a node gives is not known before it runs."""


@dataclass
class Planner:
    """Plans nodes of one graph. Raises ValueError with the sentence to show."""

    graph: Graph
    known: SignalMaps
    guesses: list[str] = field(default_factory=list)
    """Why the plan is an estimate; empty if it is exact."""
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """What the settings give, and which of them decide."""
    assumed: bool = False
    """The settings are not those of the run."""
    idle: dict[str, str] = field(default_factory=dict)
    """Widgets of the node that have no effect as things are, and why, in few words: they become the label."""

    def sampler(self, node: str) -> Trace:
        widgets = self.widgets(node, ScopeSampler)
        schedule = self.ar_schedule(node, widgets)
        if not schedule.family.by_chunk:
            self.idle["joint"] = "chunks go together anyway"
        return self.plan(schedule, self.settings(node, widgets), self.model(node, schedule), widgets["cfg"])

    def accelerate(self, node: str) -> Trace:
        self.idle["correct"] = "not with this sampler"
        return self.behind_accelerate(node, self.settings(node, self.widgets(node, Accelerate)))

    def behind_accelerate(self, node: str, settings: Settings) -> Trace:
        """What the first of the host's samplers behind SCOPE Accelerate is going to do."""
        sampler, steps = next(self.steps_behind(node), ("", 0))
        if not sampler:
            steps = FLOW.defaults.steps
            self.guesses.append(f"no sampler that is known reads this model; {steps} steps are assumed")
        settings = replace(settings, correct=False)
        if sampler and (reason := objection(str(self.graph.inputs(sampler).get("sampler_name")))):
            settings, self.remarks = PRESETS["off"], [f"nothing is skipped, because {reason}"]
        made = self.plan(FLOW.schedule(1, steps), settings, self.graph.identity(node, "model"))
        if not settings.off and not isinstance(settings.method, Planned):
            self.guesses.append(f"the noise levels are taken as those of simple with shift {FLOW.defaults.shift:g}")
        return made

    def steps_behind(self, node: str) -> Iterator[tuple[str, int]]:
        """Samplers of a MODEL made by a node, and their steps."""
        for reader in self.graph.ids:
            kind, inputs = self.graph.node(reader)["class_type"], self.graph.inputs(reader)
            guided = self.graph.source(reader, "guider") if kind == "SamplerCustomAdvanced" else reader
            if kind not in STOCK_SAMPLERS or guided is None or not self.is_model_of(guided, node):
                continue
            teller = self.graph.source(reader, "sigmas") if kind.startswith("SamplerCustom") else reader
            steps = None if teller is None else self.graph.inputs(teller).get("steps")
            if isinstance(steps, int):
                first, last = inputs.get("start_at_step"), inputs.get("end_at_step")
                if isinstance(first, int) and isinstance(last, int):
                    steps = min(steps, last) - first
                yield reader, steps

    def is_model_of(self, reader: str, node: str) -> bool:
        """Whether the MODEL of a reader is that of a node, past LoRAs and the like."""
        seen: set[str | None] = {None}
        source = self.graph.source(reader, "model")
        while source not in seen and source != node:
            seen.add(source)
            source = self.graph.source(str(source), "model")
        return source == node

    def demo(self, node: str) -> Family | None:
        """Family of the demo model that feeds a sampler, None if it is another model."""
        source = self.graph.source(node, "model")
        if source is None or self.graph.node(source)["class_type"] != "SCOPE_LoadDemo":
            return None
        return DEMOS[self.widgets(source, LoadDemo)["family"]]

    def model(self, node: str, schedule: ARSchedule) -> str:
        """Identity of a sampler's model. A demo's signals are learnt from the shipped file, so that its plans are exact
        from the start."""
        key = self.graph.identity(node, "model")
        family = self.demo(node)
        if family is not None and not self.known.knows(key, schedule):
            if schedule.family is not family:
                raise GraphError(
                    f"this schedule is not one for the connected demo model; {family.title} needs"
                    f" {hosted(family).unrolling.node}"
                )
            with torch.inference_mode(), suppress(OSError):
                self.known.learn(key, signals_of(schedule), schedule)
        return key

    def settings(self, node: str, widgets: dict[str, Any]) -> Settings:
        source = self.graph.source(node, "settings")
        if source is not None:
            self.idle |= dict.fromkeys(SPEED_WIDGETS, "`settings` decide")
            self.remarks.append("the connected settings replace the preset and the sliders")
            try:
                return self.connected_settings(source)
            except UnreadableError as error:
                self.guesses.append(f"{error}; balanced is assumed")
                self.assumed = True
                return PRESETS["balanced"]
        settings = read(OURS, widgets)
        if plans.wanted(settings):
            self.remarks.append("thresholds and max_skip have no effect")
        return settings

    def connected_settings(self, source: str) -> Settings:
        if self.graph.node(source)["class_type"] != "SCOPE_Settings":
            raise UnreadableError("the settings come from a node that decides when it runs")
        return settings_of(self.widgets(source, ScopeSettings)["method"])

    def shared_settings(self, node: str) -> Trace:
        """What SCOPE Settings give the first node that reads them."""
        settings = self.connected_settings(node)
        for reader in self.graph.ids:
            kind = self.graph.node(reader)["class_type"]
            if kind == "SCOPE_Sampler" and self.graph.source(reader, "settings") == node:
                return self.of_reader(settings, reader, self.widgets(reader, ScopeSampler))
            if kind == "SCOPE_Sweep" and node in [self.graph.source(reader, name) for name in CONNECTED]:
                return self.of_reader(settings, reader, self.widgets(reader, Sweep))
            if kind == "SCOPE_Accelerate" and self.graph.source(reader, "settings") == node:
                return self.behind_accelerate(reader, settings)
        usual = Windows.family.defaults
        self.guesses.append(f"no sampler reads these settings; {usual.steps} steps of SkyReels-V2 are assumed")
        return self.plan(Windows().schedule(Windows.window, usual.steps, usual.shift), settings, "")

    def of_reader(self, settings: Settings, node: str, widgets: dict[str, Any]) -> Trace:
        schedule = self.ar_schedule(node, widgets)
        return self.plan(schedule, settings, self.model(node, schedule), widgets["cfg"])

    def schedule(self, node: str) -> Trace:
        """Staircase of a schedule node, as a sampler that reads it would run it, one that skips if there is one."""
        made = self.staircase(node)
        self.idle = {"overlap": "there is one segment"} if len(made.segments) == 1 else {}
        return made

    def staircase(self, node: str) -> Trace:
        readers = [
            reader
            for reader in self.graph.ids
            if self.graph.node(reader)["class_type"] == "SCOPE_Sampler"
            and node in (self.graph.source(reader, "schedule"), self.graph.source(reader, "latent"))
        ]
        if readers:
            return self.sampler(min(readers, key=lambda reader: self.graph.inputs(reader).get("preset") == "off"))
        unrolling, frames = self.unrolling(node)
        usual = unrolling.family.defaults
        self.notes.append(f"no sampler reads this schedule; {usual.steps} steps are assumed")
        return self.plan(unrolling.schedule(frames, usual.steps, usual.shift), PRESETS["off"], "")

    def ar_schedule(self, node: str, widgets: dict[str, Any]) -> ARSchedule:
        """Schedule of a sampler with `steps` and `shift`."""
        source = self.graph.source(node, "schedule")
        unrolling, frames = self.unrolling(source) if source else (self.usual(node), None)
        unrolling = self.told(node, unrolling if source else None) or unrolling
        latent = self.graph.source(node, "latent")
        if latent != source or frames is None:
            frames = self.latent_length(latent, frames, unrolling)
        self.guesses += unrolling.guesses(widgets["shift"], self.changes_on_the_way())
        schedule = unrolling.schedule(frames, widgets["steps"], widgets["shift"])
        self.notes += filter(None, [schedule.family.unusual(widgets["cfg"], widgets["shift"])])
        return schedule

    def upstream(self, node: str) -> Iterator[str]:
        """The nodes that the model of a sampler comes through, the nearest first."""
        source = self.graph.source(node, "model")
        for _ in self.graph.ids:  # a graph may go in circles
            if source is not None:
                yield source
                source = self.graph.source(source, "model")

    def loader(self, node: str) -> str | None:
        """The Load AR Video Model that feeds a sampler, if one does."""
        kind = LoadARModel.define_schema().node_id
        return next((source for source in self.upstream(node) if self.graph.node(source)["class_type"] == kind), None)

    def told(self, node: str, given: Unrolling | None) -> Unrolling | None:
        """How the model that feeds a sampler is unrolled, where its file tells."""
        loader = self.loader(node)
        name = None if loader is None else self.graph.inputs(loader).get("model_name")
        paths = loading.paths_of(name) if isinstance(name, str) else []
        found = (family.unrolled_of(paths, given) for family in FAMILIES)
        return next((unrolling for unrolling in found if unrolling is not None), None) if paths else None

    def changes_on_the_way(self) -> bool:
        """Whether the graph has prompts or controls within a range of the steps, or LoRAs with keyframes."""
        nodes = [self.graph.node(name) for name in self.graph.ids]
        ranges = [(node["inputs"].get("start_percent", 0), node["inputs"].get("end_percent", 1)) for node in nodes]
        keyframes = [node for node in nodes if "HookKeyframe" in node["class_type"]]
        return bool(keyframes) or any(span != (0, 1) for span in ranges)

    def usual(self, node: str) -> Unrolling:
        """How the model that feeds a sampler is unrolled where no schedule node says so."""
        if demo := self.demo(node):
            return hosted(demo).unrolling()
        known = not any(self.upstream(node)) or self.loader(node) is not None
        return Windows() if known else Whole()

    def sweep(self, node: str) -> list[Trace]:
        """The baseline and the points of a sweep, as many as MOST_OF_SWEEP has room for."""
        widgets = self.widgets(node, Sweep)
        schedule = self.ar_schedule(node, widgets)
        key = self.model(node, schedule)
        own = (PRESETS["off"], *spread(widgets["spread"]))
        connected = {name: source for name in CONNECTED if (source := self.graph.source(node, name)) is not None}
        most = MOST_OF_SWEEP // (decisions(schedule) + schedule.iterations)
        planned = [self.plan(schedule, settings, key, widgets["cfg"]) for settings in own[: max(1, most)]]
        for name, source in list(connected.items())[: max(0, most - len(own))]:
            try:
                planned.append(self.plan(schedule, self.connected_settings(source), key, widgets["cfg"]))
            except ValueError as error:
                self.notes.append(f"no plan for `{name}`: {error}")
        wanted = len(own) + len(connected)
        if most < wanted:
            self.notes.append(
                f"only the first {most} of {wanted} runs are planned, for each has {schedule.iterations:,} iterations"
                f" with {decisions(schedule):,} decisions; the sweep itself makes them all"
            )
        return planned

    def clips(self, node: str) -> int:
        """How many clips a sweep makes with every setting."""
        prompts = 1 + sum(self.graph.source(node, name) is not None for name in PROMPTS)
        return prompts * int(self.widgets(node, Sweep)["seeds"])

    def with_ratios(self, settings: Settings, schedule: ARSchedule, key: str, cfg: float) -> Settings:
        """Settings with what the calibration that the run will find has taught."""
        if not settings.needs_calibration:
            return settings
        model = self.known.identity(key, schedule)
        if model is None:
            raise GraphError(
                f"{settings.method.title} is calibrated for a model that has run before; this one has not; run SCOPE"
                " Calibrate, or choose published ratios"
            )
        guidances = hosted(schedule.family).guidances(cfg)
        circumstances = (Circumstances.of(model, schedule, guidance) for guidance in guidances)
        return calibration.taught(settings, *circumstances)

    def with_plan(self, settings: Settings, schedule: ARSchedule, key: str) -> Settings:
        """Settings with the steps that the run will find planned. Raises PlanError."""
        if not plans.wanted(settings):
            return settings
        model = self.known.identity(key, schedule)
        known, problems = known_plans(shipped=model is not None)
        self.notes += problems
        plan = plans.fitting(schedule, known, model)
        if model is None and plan is not None and plan.model:
            self.guesses.append(f"this model has not run yet; the plan {plan.title!r} is taken for its own")
        settings = plans.planned(settings, schedule, known, model)
        self.remarks.insert(0, bought(settings, plan, schedule))
        return settings

    def plan(self, schedule: ARSchedule, settings: Settings, key: str, cfg: float = 1.0) -> Trace:
        schedule = shared(schedule)
        if schedule.iterations > MOST_DECISIONS // 10 or decisions(schedule) > MOST_DECISIONS:
            raise ValueError(
                f"a plan of {schedule.iterations:,} iterations is too large to draw while sliders move; the run itself"
                " has no such limit"
            )
        settings = self.with_plan(self.with_ratios(settings, schedule, key, cfg), schedule, key)
        table, why = self.known.table(key, settings.acting.signal, schedule)
        if why and not settings.off:
            self.guesses.append(why)
        if (caveat := settings.acting.caveat(schedule).rstrip(".")) and caveat not in self.remarks:
            self.remarks.append(caveat)
        made = plan(schedule, settings, table)
        if settings.acting.name == OURS:
            plain = replace(settings, method=replace(settings.method, decay_mode="none"))
            self.remarks += idle(made, plan(schedule, plain, table))
        return made

    def unrolling(self, node: str) -> tuple[Unrolling, int]:
        """What a schedule node makes, and its length in latent frames."""
        kind = SCHEDULES.get(self.graph.node(node)["class_type"])
        if kind is None:
            self.guesses.append("the schedule comes from a node that cannot be read before it runs")
            return Windows(), Windows.window
        unrolling, frames = kind.unroll(self.widgets(node, kind), self.given(node, "start"), self.given(node, "end"))
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

    def latent_length(self, node: str | None, fallback: int | None, unrolling: Unrolling) -> int:
        """Latent frames of an empty latent."""
        if node is not None and self.graph.node(node)["class_type"] in SCHEDULES:
            return self.unrolling(node)[1]
        if node is not None and (not unrolling.by_length or self.graph.node(node)["class_type"] in LENGTH_NODES):
            length = self.graph.inputs(node).get("length")
            if isinstance(length, int) and 1 <= length <= 8193:
                return Windows.family.latent_frames(length)
        if not unrolling.by_length:
            return 1
        self.guesses.append("the length is not known yet; 97 frames are assumed")
        return fallback or Windows.window

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
                    raise GraphError(
                        f"{spec.id} is {str(value)[:40]!r}; choose one of"
                        f" {', '.join(option.key for option in spec.options)}"
                    )
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
                raise GraphError(
                    f"{spec.id} is {str(value)[:40]!r}; it has to be a number from {spec.min} to {spec.max}"
                )
            value = int(value) if isinstance(spec, io.Int.Input) else float(value)
        return value


def bought(settings: Settings, plan: Plan | None, schedule: ARSchedule) -> str:
    """What planned steps are known to give."""
    if plan is None:
        return "planned by a rule: no plan is known for this model and schedule"
    if settings.method.expected is None:
        return "planned by a rule: the plan for this model has no choice near this speed"
    if not settings.correct:
        return (
            f"planned by {plan.title!r}, whose dB hold where forecast steps are taken again (`correct`), which they are"
            " not here"
        )
    known = f"about {settings.method.expected:.1f} dB to the full run on the plan's {plan.clips} check clips"
    return known if len(plan.levels) == schedule.steps else f"{known} at {len(plan.levels)} steps"


def idle(made: Trace, without_decay: Trace) -> list[str]:
    """Which limit decides what is computed, where `threshold` or `decay` do not."""
    rules, modes, others = (
        "".join(step[name] for segment in trace.segments for step in segment.steps)
        for trace, name in ((made, "rules"), (made, "modes"), (without_decay, "modes"))
    )
    limits = " and ".join(rule for rule in ("max_skip", "warm_up", "tail") if RULES[rule][0] in rules)
    reached, decays = RULES["threshold"][0] in rules, modes != others
    if reached:
        return [] if decays else ["here decay changes nothing"]
    if decays or not limits:
        return ["here the threshold is never reached"]
    decide = "decide" if " and " in limits else "alone decides"
    return [f"here {limits} {decide} what is computed: the threshold is never reached, and decay changes nothing"]


def plan_node(node: str, graph: Graph, known: SignalMaps) -> dict[str, Any]:
    """What the browser shows under a node before it runs. Raises ValueError with the sentence to show instead."""
    planner = Planner(graph, known)
    kind = graph.node(node)["class_type"]
    if kind == "SCOPE_Sampler":
        trace = planner.sampler(node).to_json()
        result: dict[str, Any] = {"trace": trace} if planner.assumed else {"trace": trace, "point": point_of(trace)}
    elif kind == "SCOPE_Accelerate":
        result = {"trace": planner.accelerate(node).to_json()}
    elif kind == "SCOPE_Settings":
        result = {"trace": planner.shared_settings(node).to_json()}
    elif kind in SCHEDULES:
        result = {"trace": planner.schedule(node).to_json()}
    elif kind == "SCOPE_Sweep":
        result = {"points": [point_of(trace.to_json()) for trace in planner.sweep(node)], "clips": planner.clips(node)}
    else:
        raise GraphError(
            f"there is no plan for a {kind[:40]!r} node; choose one of"
            f" {', '.join((*WITH_REMARKS, *SCHEDULES, 'SCOPE_Sweep'))}"
        )
    remarks = planner.remarks if kind in WITH_REMARKS else []
    said = dict.fromkeys([*planner.guesses, *remarks, *planner.notes])
    note = " ".join(f"{text[0].upper()}{text[1:]}." for text in said)
    return {**result, "exact": not planner.guesses, "note": note, "idle": planner.idle}


def family_node(node: str, graph: Graph, known: SignalMaps) -> dict[str, Any]:
    """The family of the model of a sampler, whose defaults its untouched widgets take; empty where its file does not
    tell one that shares its schedule node with others."""
    told = Planner(graph, known).told(node, None)
    return {"family": told.family.name if told else ""}
