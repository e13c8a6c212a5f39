"""SCOPE Quality and SCOPE A/B Compare: how far a video is from another, in figures and to the eye."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..scope_core.loop.trace import pixel_chunks
from ..scope_core.settings import CUSTOM, Settings, name_of
from ..scope_core.study.labelled import LAYOUTS, SIDE_BY_SIDE, Caption, Labelled
from ..scope_core.study.metrics import fidelity, psnr
from .comfy import clips, quality
from .comfy.graph import Graph
from .timeline import TraceType

QualityType = io.Custom("SCOPE_QUALITY")
ALIKE = {
    "seed": ("seed", "noise_seed", "noise"),
    "prompt": ("positive", "negative"),
    "size or length": ("latent", "latent_image", "schedule"),
    "steps": ("steps", "sigmas"),
}
"""Inputs of samplers that two runs of one video have in common."""


class DifferentVideosError(ValueError):
    """Videos that cannot be compared frame by frame."""


def frames_of(video: Any, fps: float) -> tuple[Tensor, float]:
    """Images [T, H, W, C] and frames per second of an IMAGE batch, which has none of its own, or of a VIDEO."""
    check_fps(fps)
    if isinstance(video, Tensor):
        return video, fps
    parts = video.get_components()
    return parts.images, float(parts.frame_rate)


def check_fps(fps: float) -> None:
    """ComfyUI lets NaN pass, and does not check what is connected."""
    if not 1 <= fps <= 240:
        raise ValueError(f"fps is {fps:g}; it has to be a number from 1 to 240, such as 24")


def require_equal_sizes(a: Tensor, b: Tensor, names: tuple[str, str]) -> None:
    if a.shape[:3] != b.shape[:3]:
        sizes = [
            f"{name} has {len(images)} frames of {images.shape[2]}x{images.shape[1]}"
            for name, images in zip(names, (a, b))
        ]
        raise DifferentVideosError(
            f"{sizes[0]}, {sizes[1]}; both need the same; sample them from the same latent, or scale and cut one of"
            " them first"
        )


def differences(graph: Graph, node: str) -> list[str]:
    """In what the nearest samplers behind `a` and `b` of a node differ, of ALIKE."""
    sources = (graph.source(node, name) for name in ("a", "b"))
    a, b = (None if source is None else sampler_behind(graph, source) for source in sources)
    if a is None or b is None:
        return []
    return [
        what
        for what, names in ALIKE.items()
        if any(graph.identity(a, name) != graph.identity(b, name) for name in names)
    ]


def warning_of(unlike: list[str]) -> str:
    """What stands in the picture where two runs are not one video made in two ways."""
    return f"The two runs differ in {' and '.join(unlike)}." if unlike else ""


def caption(graph: Graph, node: str, name: str, label: str, trace: dict[str, Any] | None) -> Caption:
    """Label, seed, settings and cost of the run behind an input, as far as they are known."""
    facts = []
    source = graph.source(node, name)
    sampler = None if source is None else sampler_behind(graph, source)
    inputs = {} if sampler is None else graph.inputs(sampler)
    seed = next((inputs[key] for key in ALIKE["seed"] if isinstance(inputs.get(key), int)), None)
    if seed is not None:
        facts.append(f"seed {seed}")
    if trace is not None:
        run, totals = trace["run"], trace["totals"]
        preset = run.get("preset", CUSTOM)
        facts += [
            name_of(Settings.from_json(run["settings"])) if preset == CUSTOM else preset,
            f"{totals['computed']} of {totals['iterations']} evaluations",
            f"{totals['seconds']:.3g} s",
        ]
    return Caption(label, tuple(facts))


def sampler_behind(graph: Graph, node: str) -> str | None:
    return next((each for each in graph.upstream(node) if "positive" in graph.inputs(each)), None)


class Quality(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_Quality",
            display_name="SCOPE Quality",
            category="SCOPE",
            description=(
                "How close a video is to the same one made without SCOPE: PSNR, SSIM and, where it is installed, LPIPS,"
                " in every frame and on average. It measures fidelity; a video that differs is not always worse."
            ),
            search_aliases=["psnr", "ssim", "lpips", "metrics", "fidelity"],
            is_output_node=True,
            inputs=[
                io.Image.Input("baseline", tooltip="Frames of the run without SCOPE."),
                io.Image.Input("candidate", tooltip="Frames of the run with SCOPE, same seed and size."),
                TraceType.Input(
                    "trace", optional=True, tooltip="From the sampler of the candidate, to mark the chunks."
                ),
                io.Float.Input(
                    "fps", default=24.0, min=1.0, max=240.0, step=1.0, tooltip="Frames per second, for the time axis."
                ),
            ],
            outputs=[QualityType.Output(display_name="quality", tooltip="For SCOPE Save Report.")],
        )

    @classmethod
    def execute(
        cls, baseline: Tensor, candidate: Tensor, fps: float, trace: dict[str, Any] | None = None
    ) -> io.NodeOutput:
        check_fps(fps)
        require_equal_sizes(baseline, candidate, ("baseline", "candidate"))
        measure, missing = quality.perceptual()
        found = {
            "format": "scope.quality",
            "version": 1,
            "frames": len(candidate),
            "fps": fps,
            "chunks": pixel_chunks(trace, len(candidate)),
            "metrics": fidelity(quality.video(candidate), quality.video(baseline), measure),
            "notes": [missing] if missing else [],
        }
        return io.NodeOutput(found, ui={"scope_quality": [found]})


class Compare(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SCOPE_Compare",
            display_name="SCOPE A/B Compare",
            category="SCOPE",
            description=(
                "Plays two videos in step: wipe between them, side by side, or their amplified difference. Scrub, step"
                " by frame, loop a chunk."
            ),
            search_aliases=["video compare", "wipe", "side by side", "difference", "a/b"],
            is_output_node=True,
            inputs=[
                io.MultiType.Input(
                    "a", types=[io.Image, io.Video], tooltip="Left: frames or a video, such as the run without SCOPE."
                ),
                io.MultiType.Input(
                    "b", types=[io.Image, io.Video], tooltip="Right: frames or a video of the same size and length."
                ),
                TraceType.Input("trace", optional=True, tooltip="From a sampler, to mark the chunks and loop one."),
                io.String.Input("label_a", default="A", tooltip="What is written into the left picture."),
                io.String.Input("label_b", default="B", tooltip="What is written into the right picture."),
                io.Float.Input(
                    "fps",
                    default=24.0,
                    min=1.0,
                    max=240.0,
                    step=1.0,
                    tooltip="Frames per second of image batches; videos bring their own.",
                ),
                io.Combo.Input(
                    "layout",
                    options=list(LAYOUTS),
                    default=SIDE_BY_SIDE,
                    optional=True,
                    advanced=True,
                    tooltip="How the `video` output shows the two: side by side, or under a wipe that moves.",
                ),
                TraceType.Input(
                    "trace_a",
                    optional=True,
                    tooltip="From the sampler of `a`: its settings and its cost are written into the `video` output.",
                ),
                TraceType.Input(
                    "trace_b",
                    optional=True,
                    tooltip="From the sampler of `b`: its settings and its cost are written into the `video` output.",
                ),
            ],
            outputs=[
                io.Video.Output(
                    display_name="video",
                    tooltip="Both with their labels, for Save Video. It is made only where it is connected.",
                )
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def execute(
        cls,
        a,
        b,
        label_a: str,
        label_b: str,
        fps: float,
        trace: dict[str, Any] | None = None,
        layout: str = SIDE_BY_SIDE,
        trace_a: dict[str, Any] | None = None,
        trace_b: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        (a, fps_a), (b, fps_b) = frames_of(a, fps), frames_of(b, fps)
        require_equal_sizes(a, b, ("a", "b"))
        if fps_a != fps_b:
            raise DifferentVideosError(
                f"a has {fps_a:g} frames per second, b {fps_b:g}; both need the same to be played in step"
            )
        graph, node = Graph(cls.hidden.dynprompt.get_node), cls.hidden.unique_id
        unlike = differences(graph, node)
        captions = (
            caption(graph, node, "a", label_a or "A", trace_a),
            caption(graph, node, "b", label_b or "B", trace_b),
        )
        curve = psnr(quality.video(b), quality.video(a))[0].tolist()
        return io.NodeOutput(
            clips.LabelledVideo(Labelled(a, b, captions, warning_of(unlike), layout), fps_a),
            ui={
                "scope_compare": [
                    {
                        "format": "scope.compare",
                        "version": 1,
                        "a": clips.write_clip(a, fps_a, "compare_a"),
                        "b": clips.write_clip(b, fps_a, "compare_b"),
                        "difference": clips.write_difference(b, a, fps_a, "compare_difference"),
                        "gain": clips.GAIN,
                        "labels": [label_a or "A", label_b or "B"],
                        "fps": fps_a,
                        "frames": len(a),
                        "width": a.shape[2],
                        "height": a.shape[1],
                        "chunks": pixel_chunks(trace, len(a)),
                        "unlike": unlike,
                        "psnr": [round(value, 2) if value != float("inf") else None for value in curve],
                    }
                ]
            },
        )
