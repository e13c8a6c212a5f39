"""Trade-off Sweep and Trade-off Chart: what speed costs in fidelity, measured."""

from statistics import median
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder

from ..scope_core import settings as operating_points
from ..scope_core.loop.trace import pixel_chunks
from ..scope_core.settings import CUSTOM, PRESETS, Settings, name_of
from ..scope_core.study.metrics import METRICS, fidelity, latent_error
from .comfy import clips, events, quality
from .methods import SettingsType, widgets_of
from .sampling import resume_input, sampling_inputs, solver_input
from .timeline import TraceType

RunsType = io.Custom("SCOPE_RUNS")
PointType = io.Custom("SCOPE_POINT")
CONNECTED = tuple(f"settings_{i}" for i in range(1, 9))
PASSED_ON = {"raw_link": True, "lazy": True}
"""How a sweep is connected. It has to expand before any other node runs, for ComfyUI makes room after every node by
forgetting what the prompt has not asked for yet: hence lazy sockets (dynamic inputs cannot be lazy) and an `async`
execute, which goes first."""
FPS = 24
FIGURES = {name: figure for name, figure in METRICS.items() if name != "difference"}


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
        **{name: totals[name] for name in ("iterations", "computed", "forwards", "seconds", "memory_bytes")},
    }


def runs_of(model: str, points: list[dict[str, Any]], notes: list[str]) -> dict[str, Any]:
    figures = {name: figure for name, figure in FIGURES.items() if any(name in point for point in points)}
    return {
        "format": "scope.runs",
        "version": 1,
        "model": model,
        "metrics": figures,
        "notes": notes,
        "fps": FPS,
        "points": points,
    }


def start_up_seconds(trace: dict[str, Any]) -> float:
    """How much longer the first computed step took than is usual for the others."""
    first, *others = [
        step["seconds"] for segment in trace["segments"] for step in segment["steps"] if "R" in step["modes"]
    ]
    return max(0.0, first - median(others)) if others else 0.0


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
    async def execute(cls, spread: int, vae=None, **run) -> io.NodeOutput:
        connected = {name: run.pop(name) for name in CONNECTED if run.get(name) is not None}
        graph = GraphBuilder()
        sweep = str(cls.hidden.unique_id)

        def measured(name: str, preset: str, speed: Settings, given=None, **reference) -> Any:
            sampler = graph.node(
                "SCOPE_Sampler", id=f"sample {name}", preset=preset, settings=given, **(widgets_of(speed) or {}), **run
            )
            return graph.node(
                "SCOPE_SweepPoint",
                id=name,
                sweep=sweep,
                trace=sampler.out(1),
                latent=sampler.out(0),
                vae=vae,
                **reference,
            )

        baseline = measured("off", "off", PRESETS["off"])
        reference = {"baseline_latent": baseline.out(1), "baseline_images": baseline.out(2)}
        points = [measured(name_of(speed), CUSTOM, speed, **reference) for speed in operating_points.spread(spread)]
        points += [
            measured(name, "balanced", PRESETS["balanced"], link, **reference) for name, link in connected.items()
        ]
        collected = graph.node(
            "SCOPE_SweepRuns",
            id="runs",
            baseline=baseline.out(0),
            **{f"points.point{i}": point.out(0) for i, point in enumerate(points)},
        )
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
            ],
            outputs=[PointType.Output(), io.Latent.Output(), io.Image.Output()],
        )

    @classmethod
    def execute(
        cls, sweep: str, trace: dict[str, Any], latent, vae=None, baseline_latent=None, baseline_images=None
    ) -> io.NodeOutput:
        point = {
            **point_of(trace),
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
