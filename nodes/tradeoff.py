"""Trade-off Sweep and Trade-off Chart: what speed costs in fidelity, measured."""

from statistics import median
from typing import Any, NamedTuple

from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder

from ..scope_core import settings as operating_points
from ..scope_core.loop.trace import pixel_chunks
from ..scope_core.settings import CUSTOM, PRESETS, Settings, name_of
from ..scope_core.study.metrics import fidelity, latent_error
from ..scope_core.study.paired import FIGURES, clips_of, quantile, together
from .comfy import clips, events, quality
from .methods import SettingsType, selected, widgets_of
from .sampling import resume_input, sampling_inputs, solver_input
from .timeline import TraceType

RunsType = io.Custom("SCOPE_RUNS")
PointType = io.Custom("SCOPE_POINT")
CONNECTED = tuple(f"settings_{i}" for i in range(1, 9))
PROMPTS = tuple(f"positive_{i}" for i in range(2, 9))
"""Sockets of further prompts."""
MOST_SEEDS = 12
ALL_SEEDS = 2**64
PASSED_ON = {"raw_link": True, "lazy": True}
"""How a sweep is connected. It has to expand before any other node runs, for ComfyUI makes room after every node by
forgetting what the prompt has not asked for yet: hence lazy sockets (dynamic inputs cannot be lazy) and an `async`
execute, which goes first."""
FPS = 24


def point_of(trace: dict[str, Any]) -> dict[str, Any]:
    """What the chart shows of a run, or of its plan, before anything is compared."""
    settings = Settings.from_json(trace["run"]["settings"])
    totals = trace["totals"]
    return {
        "label": name_of(settings),
        "method": trace["run"]["method"],
        "baseline": settings.off,
        "settings": settings.to_json(),
        "widgets": widgets_of(settings),
        "selected": selected(settings),
        **{name: totals[name] for name in ("iterations", "computed", "forwards", "seconds", "memory_bytes")},
    }


def runs_of(model: str, points: list[dict[str, Any]], notes: list[str]) -> dict[str, Any]:
    figures = {name: figure for name, figure in FIGURES.items() if any(name in point for point in points)}
    most = max(len(clips_of(point)) for point in points)
    return {
        "format": "scope.runs",
        "version": 1,
        "model": model,
        "metrics": figures,
        "notes": notes,
        "fps": FPS,
        "points": points,
        **({"quantiles": {clips: quantile(clips) for clips in range(2, most + 1)}} if most > 1 else {}),
    }


def clips_in_words(clips: list[dict[str, Any]]) -> str:
    """Such as "3 clips (seeds 5 to 7)"."""
    seeds, prompts = (list(dict.fromkeys(clip[name] for clip in clips)) for name in ("seed", "prompt"))
    told = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    return f"{len(clips)} clips ({told}" + (f", {len(prompts)} prompts)" if len(prompts) > 1 else ")")


def start_up_seconds(trace: dict[str, Any]) -> float:
    """How much longer the first computed step took than is usual for the others."""
    first, *others = [
        step["seconds"] for segment in trace["segments"] for step in segment["steps"] if "R" in step["modes"]
    ]
    return max(0.0, first - median(others)) if others else 0.0


class Clip(NamedTuple):
    """What a sweep makes with every setting."""

    label: str
    """What the ids of its nodes begin with; empty for the first, whose ids are those of a sweep of one clip."""
    seed: int
    prompt: int
    """Counted from 1."""


def clips_of_sweep(seed: int, seeds: int, prompts: int) -> list[Clip]:
    pairs = [((seed + i) % ALL_SEEDS, prompt) for i in range(seeds) for prompt in range(1, prompts + 1)]
    return [Clip(f"clip {i} " if i > 1 else "", *pair) for i, pair in enumerate(pairs, 1)]


class Sweep(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_Sweep",
            display_name="SCOPE Trade-off Sweep",
            category="SCOPE",
            description=(
                "Makes the same video without SCOPE and at several settings, and measures each against the first. Every"
                " run is kept: adding a setting runs only that one, and a sweep that was stopped goes on where it"
                " stopped."
            ),
            search_aliases=["xy plot", "grid", "compare settings", "pareto", "benchmark"],
            enable_expand=True,
            inputs=[
                *sampling_inputs(**PASSED_ON),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    **PASSED_ON,
                    tooltip=(
                        "To measure PSNR and SSIM on the frames and to keep clips for A/B. Without it only the error of"
                        " the latents is measured."
                    ),
                ),
                io.Int.Input(
                    "spread",
                    default=5,
                    min=0,
                    max=12,
                    tooltip="Points spread from careful to fast. 0: only the connected settings.",
                ),
                *(
                    SettingsType.Input(
                        name,
                        optional=True,
                        **PASSED_ON,
                        tooltip="From SCOPE Settings or SCOPE Calibrate: one more point, of any method.",
                    )
                    for name in CONNECTED
                ),
                solver_input(),
                resume_input(),
                io.Int.Input(
                    "seeds",
                    default=1,
                    min=1,
                    max=MOST_SEEDS,
                    optional=True,
                    tooltip=(
                        "How many seeds every setting is run with, `seed` and those after it. Clips differ from each"
                        " other more than settings do, so choose 3 or more for figures to build on."
                    ),
                ),
                *(
                    io.Conditioning.Input(
                        name,
                        optional=True,
                        **PASSED_ON,
                        tooltip="One more prompt: every setting is run with each of them, and with each seed.",
                    )
                    for name in PROMPTS
                ),
            ],
            outputs=[RunsType.Output(display_name="runs", tooltip="For SCOPE Trade-off Chart and SCOPE Save Report.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, **kwargs) -> float:
        """Always expand: runs that are kept cost nothing then, while ComfyUI forgets those of a sweep that did not
        expand."""
        return float("nan")

    @classmethod
    async def execute(cls, positive, seed: int, spread: int, vae=None, seeds: int = 1, **run) -> io.NodeOutput:
        connected = {name: run.pop(name) for name in CONNECTED if run.get(name) is not None}
        prompts = [positive, *(link for name in PROMPTS if (link := run.pop(name, None)) is not None)]
        graph = GraphBuilder()
        sweep = str(cls.hidden.unique_id)

        def measured(clip: Clip, name: str, preset: str, speed: Settings, given=None, **reference) -> Any:
            sampler = graph.node(
                "SCOPE_Sampler",
                id=f"{clip.label}sample {name}",
                preset=preset,
                settings=given,
                positive=prompts[clip.prompt - 1],
                seed=clip.seed,
                **(widgets_of(speed) or {}),
                **run,
            )
            return graph.node(
                "SCOPE_SweepPoint",
                id=f"{clip.label}{name}",
                sweep=sweep,
                trace=sampler.out(1),
                latent=sampler.out(0),
                vae=vae,
                **reference,
                seed=clip.seed,
                first_seed=seed,
                prompt=clip.prompt,
            )

        def runs(clip: Clip) -> Any:
            """The run without SCOPE, and the others, which are compared with it."""
            baseline = measured(clip, "off", "off", PRESETS["off"])
            reference = {"baseline_latent": baseline.out(1), "baseline_images": baseline.out(2)}
            points = [
                measured(clip, name_of(speed), CUSTOM, speed, **reference) for speed in operating_points.spread(spread)
            ]
            points += [
                measured(clip, name, "balanced", PRESETS["balanced"], link, **reference)
                for name, link in connected.items()
            ]
            return graph.node(
                "SCOPE_SweepRuns",
                id=f"{clip.label}runs",
                baseline=baseline.out(0),
                **{f"points.point{i}": point.out(0) for i, point in enumerate(points)},
            )

        clips = [runs(clip) for clip in clips_of_sweep(seed, seeds, len(prompts))]
        if len(clips) == 1:
            return io.NodeOutput(clips[0].out(0), expand=graph.finalize())
        last_first = {f"clips.clip{i}": clip.out(0) for i, clip in reversed([*enumerate(clips)])}
        collected = graph.node("SCOPE_SweepClips", id="clips", **last_first)  # the host begins at the last input
        return io.NodeOutput(collected.out(0), expand=graph.finalize())


class SweepPoint(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_SweepPoint",
            display_name="SCOPE Sweep Point",
            category="SCOPE",
            description=(
                "One point of a trade-off sweep: decodes a run and compares it with the baseline. Made by SCOPE"
                " Trade-off Sweep."
            ),
            is_dev_only=True,
            inputs=[
                io.String.Input("sweep", tooltip="Id of the sweep that shows the point."),
                TraceType.Input("trace", tooltip="Of the run."),
                io.Latent.Input("latent", tooltip="Of the run."),
                io.Vae.Input("vae", optional=True, tooltip="To compare frames as well as latents."),
                io.Latent.Input(
                    "baseline_latent",
                    optional=True,
                    tooltip="Of the run without SCOPE; not connected for that run itself.",
                ),
                io.Image.Input("baseline_images", optional=True, tooltip="Its frames."),
                io.Int.Input("seed", optional=True, default=0, min=0, max=ALL_SEEDS - 1, tooltip="Seed of the run."),
                io.Int.Input(
                    "first_seed", optional=True, default=0, min=0, max=ALL_SEEDS - 1, tooltip="First seed of the sweep."
                ),
                io.Int.Input(
                    "prompt",
                    optional=True,
                    default=1,
                    min=1,
                    max=1 + len(PROMPTS),
                    tooltip="Which prompt of the sweep the run was made with.",
                ),
            ],
            outputs=[PointType.Output(), io.Latent.Output(), io.Image.Output()],
        )

    @classmethod
    def execute(
        cls,
        sweep: str,
        trace: dict[str, Any],
        latent,
        vae=None,
        baseline_latent=None,
        baseline_images=None,
        seed: int = 0,
        first_seed: int = 0,
        prompt: int = 1,
    ) -> io.NodeOutput:
        point = {
            **point_of(trace),
            "seed": str(seed),
            "first_seed": str(first_seed),
            "prompt": prompt,
            "model": trace["run"]["model"],
            "start_up_seconds": round(start_up_seconds(trace), 3),
        }
        latent = {"samples": quality.picture(latent["samples"])[:1]}
        images = None
        if vae is not None:
            images = quality.decode(vae, latent["samples"])
            point |= {
                "clip": clips.write_clip(images, FPS, "sweep"),
                "frames": len(images),
                "width": images.shape[2],
                "height": images.shape[1],
                "chunks": pixel_chunks(trace, len(images)),
            }
        if baseline_latent is not None:
            point["latent_error"] = latent_error(latent["samples"], baseline_latent["samples"])
            point["identical"] = point["latent_error"] == 0
            if images is not None:
                found = fidelity(quality.video(images), quality.video(baseline_images), quality.perceptual()[0])
                for name in FIGURES.keys() & found:
                    point |= {name: found[name]["mean"], f"{name}_worst": found[name]["worst"]}
                point |= {
                    "psnr_per_frame": found["psnr"]["per_frame"],
                    "difference": clips.write_difference(images, baseline_images, FPS, "sweep"),
                    "gain": clips.GAIN,
                }
                images = None
        runs = runs_of(point["model"], [point], [])
        events.send("scope.point", {"node": sweep, "run": {**runs, "points": []}, "point": point})
        return io.NodeOutput(point, latent, images)


class SweepRuns(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_SweepRuns",
            display_name="SCOPE Sweep Runs",
            category="SCOPE",
            description="The points of a trade-off sweep together. Made by SCOPE Trade-off Sweep.",
            is_dev_only=True,
            inputs=[
                PointType.Input("baseline", tooltip="The run without SCOPE."),
                io.Autogrow.Input(
                    "points",
                    tooltip="The other runs.",
                    template=io.Autogrow.TemplatePrefix(
                        PointType.Input("point", tooltip="A run."), prefix="point", min=0, max=12 + len(CONNECTED)
                    ),
                ),
            ],
            outputs=[RunsType.Output()],
        )

    @classmethod
    def execute(cls, baseline: dict[str, Any], points: dict[str, Any] | None = None) -> io.NodeOutput:
        others = sorted((points or {}).values(), key=lambda point: -point["computed"])
        notes = [] if "clip" not in baseline else [quality.perceptual()[1]]
        if baseline["start_up_seconds"] > 0.05 * baseline["seconds"]:
            notes.append(
                f"The run without SCOPE came first and contains {baseline['start_up_seconds']:.1f} s of start-up, so"
                " speed-ups by the clock are a little too high."
            )
        return io.NodeOutput(runs_of(baseline["model"], [baseline, *others], [note for note in notes if note]))


class SweepClips(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_SweepClips",
            display_name="SCOPE Sweep Clips",
            category="SCOPE",
            description="The clips of a trade-off sweep together. Made by SCOPE Trade-off Sweep.",
            is_dev_only=True,
            inputs=[
                io.Autogrow.Input(
                    "clips",
                    tooltip="The runs of every clip.",
                    template=io.Autogrow.TemplatePrefix(
                        RunsType.Input("clip", tooltip="The runs of a clip."),
                        prefix="clip",
                        min=1,
                        max=MOST_SEEDS * (1 + len(PROMPTS)),
                    ),
                )
            ],
            outputs=[RunsType.Output()],
        )

    @classmethod
    def execute(cls, clips: dict[str, Any]) -> io.NodeOutput:
        runs = [clips[name] for name in sorted(clips, key=lambda name: int(name.removeprefix("clip")))]
        baseline, *others = (together(same) for same in by_setting([each["points"] for each in runs]))
        points = [baseline, *sorted(others, key=lambda point: -point["computed"])]
        notes = dict.fromkeys(note for each in runs for note in each["notes"])
        means = (
            f"Means over {clips_in_words(baseline['clips'])}; bars are 95 % intervals. Each run is compared with the"
            " full run of its own clip, and settings are compared with each other clip by clip."
        )
        return io.NodeOutput(runs_of(runs[0]["model"], points, [*notes, means]))


def by_setting(clips: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """The points of every clip by their setting, in the order of the first clip: the others may have another, since
    points are sorted by their cost."""
    left = [[*points] for points in clips]

    def taken(points: list[dict[str, Any]], name: tuple[str, str]) -> dict[str, Any]:
        return points.pop([(point["label"], point["method"]) for point in points].index(name))

    return [[taken(points, (point["label"], point["method"])) for points in left] for point in clips[0]]


class TradeoffChart(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_TradeoffChart",
            display_name="SCOPE Trade-off Chart",
            category="SCOPE",
            description=(
                "Draws speed against fidelity for the runs of a sweep: which settings are worth having, and what each"
                " costs. A click applies a setting to the sampler or plays it against the run without SCOPE."
            ),
            search_aliases=["pareto", "quality curve", "speed quality", "plot"],
            is_output_node=True,
            inputs=[RunsType.Input("runs", tooltip="From SCOPE Trade-off Sweep.")],
            outputs=[],
        )

    @classmethod
    def execute(cls, runs: dict[str, Any]) -> io.NodeOutput:
        return io.NodeOutput(ui={"scope_runs": [runs]})
