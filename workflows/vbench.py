"""Videos for VBench: every prompt of a file, several times, at each setting of a table: `python -m workflows.vbench`.

They become FOLDER/<row>/{prompt}-{index}.mp4, the names that VBench's standard mode looks for. VBench takes the ending
of all videos from any one file of the folder, so nothing else may lie there; settings and times are FOLDER/<row>.json
and FOLDER/<row>.jsonl. Whatever ends the command, the same one goes on: a video counts once it and its line are there
whole, and one in work is resumed from FOLDER/unfinished.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from scope_core import disk

from . import examples
from .__main__ import add_workers, count
from .cluster import pool_of
from .graph import WorkflowError, check_types, set_widget, widget_values
from .jobs import Job, Made, clear, named, work
from .launcher import HostError
from .lists import read_lines

Graph = dict[str, tuple[str, dict[str, Any]]]
"""Nodes by name: type, and the inputs that are not at their defaults. A list is a link: name of a node, number of its
output."""

Rows = dict[str, dict[str, Any]]

ORIGINAL: Rows = {"Original": {"preset": "off"}}
DELTA_DIT: Rows = {"Delta-DiT": {"settings": {"method": "delta_dit"}}}
TAYLORSEER: Rows = {
    "TaylorSeer-slow": {"settings": {"method": "taylorseer", "method.interval": 3, "method.site": "residual"}},
    "TaylorSeer-fast": {"settings": {"method": "taylorseer", "method.preset": "Wan, every 5"}},
}
OURS: Rows = {name: {"preset": name} for name in ("quality", "balanced", "fast")}
TEACACHE = {"method": "teacache", "method.tail": 0}
TEACACHE_SKYREELS = TEACACHE | {"method.polynomial": "1.3B", "method.max_skip": 50}
SKYREELS_ROWS = {
    **ORIGINAL,
    **DELTA_DIT,
    # The paper does not print its thresholds. These are the default and the advice of the SkyReels-V2 release, with its
    # `use_ret_steps`.
    "TeaCache-slow": {"settings": TEACACHE_SKYREELS | {"method.threshold": 0.2}},
    "TeaCache-fast": {"settings": TEACACHE_SKYREELS | {"method.threshold": 0.3}},
    **TAYLORSEER,
    "FlowCache-slow": {"settings": {"method": "flowcache", "method.preset": "SkyReels slow"}},
    "FlowCache-fast": {"settings": {"method": "flowcache", "method.preset": "SkyReels fast"}},
    "SCOPE-slow": {"preset": "paper_slow"},
    "SCOPE-fast": {"preset": "paper_fast"},
    **OURS,
}
MAGI_ROWS = {
    **ORIGINAL,
    **DELTA_DIT,
    # FlowCache's comparison has 0.01; a faster point was not published, so this is its own fast threshold.
    "TeaCache-slow": {"settings": {"method": "teacache", "method.preset": "MAGI-1, 0.01"}},
    "TeaCache-fast": {
        "settings": TEACACHE | {"method.threshold": 0.015, "method.signal": "latent", "method.max_skip": 12}
    },
    **TAYLORSEER,
    "FlowCache-slow": {"settings": {"method": "flowcache", "method.preset": "MAGI-1 slow"}},
    "FlowCache-fast": {"settings": {"method": "flowcache", "method.preset": "MAGI-1 fast"}},
    "SCOPE-slow": {"preset": "paper_magi_slow"},
    "SCOPE-fast": {"preset": "paper_magi_fast"},
    **OURS,
}
ROWS_WITHOUT_THRESHOLDS = ORIGINAL | TAYLORSEER | OURS
ROWS: dict[str, Rows] = {
    "skyreels": SKYREELS_ROWS,
    "magi": MAGI_ROWS,
    "helios": ROWS_WITHOUT_THRESHOLDS,
    "causal_wan": ROWS_WITHOUT_THRESHOLDS,
    "wan": ROWS_WITHOUT_THRESHOLDS,
    "wan22_5b": ROWS_WITHOUT_THRESHOLDS,
    "demo": SKYREELS_ROWS,
}
"""The paper's Table 1 by model, of models that it does not have the methods without thresholds, and our presets:
`preset` of SCOPE Sampler, or the inputs of a SCOPE Settings node that are not at their defaults."""

NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
    "丑陋的，残缺的，多余的手指，画得不好的手部，"
    "画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
"""That of the SkyReels-V2 release."""
HELIOS_NEGATIVE = (
    "Bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, images, static, overall"
    " gray, worst quality, low quality, JPEG compression residue, ugly, incomplete, extra fingers, poorly drawn hands,"
    " poorly drawn faces, deformed, disfigured, misshapen limbs, fused fingers, still picture, messy background, three"
    " legs, many people in the background, walking backwards"
)
"""That of the Helios release."""
UNFIT = '<>:"/\\|?*' if os.name == "nt" else "/"
"""Characters that a file name cannot hold here."""


LINKS = {"model": ["model", 0], "positive": ["positive", 0], "negative": ["negative", 0]}
"""Of the sampler, where the graph of a model does not have others."""


class Files(NamedTuple):
    """Model files in ComfyUI's model folders."""

    model: str
    text_encoder: str
    vae: str


def skyreels(text: str, files: Files) -> Graph:
    """SkyReels-V2 DF 1.3B as in the paper: 257 frames of 544x960 in three windows."""
    return {
        "model": ("SCOPE_LoadModel", {"model_name": files.model}),
        "clip": ("CLIPLoader", {"clip_name": files.text_encoder, "type": "wan"}),
        "vae": ("VAELoader", {"vae_name": files.vae}),
        "positive": ("CLIPTextEncode", {"clip": ["clip", 0], "text": text}),
        "negative": ("CLIPTextEncode", {"clip": ["clip", 0], "text": NEGATIVE}),
        "schedule": (
            "SCOPE_ARSchedule",
            {
                "width": 960,
                "height": 544,
                "length": 257,
                "window": 97,
                "overlap": 17,
                "chunk": 5,
                "ar_step": 5,
                "vae": ["vae", 0],
            },
        ),
        "sampler": ("SCOPE_Sampler", {"steps": 50, "cfg": 6.0, "shift": 8.0, "solver": "unipc"}),
        "decode": ("VAEDecode", {"vae": ["vae", 0]}),
    }


def causal_wan(text: str, files: Files) -> Graph:
    """Causal-Forcing's chunkwise model of many steps: 81 frames of 480x832, in chunks of three latent frames."""
    graph = skyreels(text, files)
    kind, sampling = graph["sampler"]
    size = {"width": 832, "height": 480, "length": 81, "window": 81, "chunk": 3}
    return graph | {
        "schedule": ("SCOPE_ARSchedule", size),
        "sampler": (kind, {**sampling, "cfg": 3.0, "shift": 5.0}),
        "video": ("CreateVideo", {"fps": 16.0}),
    }


def wan(text: str, files: Files) -> Graph:
    """Wan 2.1 T2V 1.3B as released: 81 frames of 480x832, all of them together."""
    graph = skyreels(text, files)
    del graph["schedule"]
    return graph | {
        "model": ("UNETLoader", {"unet_name": files.model}),
        "latent": ("EmptyHunyuanLatentVideo", {"width": 832, "height": 480, "length": 81}),
        "video": ("CreateVideo", {"fps": 16.0}),
    }


def wan22_5b(text: str, files: Files) -> Graph:
    """Wan 2.2 TI2V 5B as released: 121 frames of 704x1280 from text alone, all of them together."""
    graph = wan(text, files)
    kind, sampling = graph["sampler"]
    return graph | {
        "latent": ("Wan22ImageToVideoLatent", {"vae": ["vae", 0], "width": 1280, "height": 704, "length": 121}),
        "sampler": (kind, {**sampling, "cfg": 5.0, "shift": 5.0}),
        "video": ("CreateVideo", {"fps": 24.0}),
    }


def magi(text: str, files: Files) -> Graph:
    """MAGI-1 4.5B distilled as in the paper: 240 frames of 480x480, each chunk attending to all before it, whose keys
    and values take 7.6 GB."""
    return {
        "model": ("SCOPE_LoadModel", {"model_name": files.model}),
        "clip": ("CLIPLoader", {"clip_name": files.text_encoder, "type": "pixart"}),
        "vae": ("SCOPE_LoadMagiVAE", {"vae_name": files.vae}),
        "prompt": ("SCOPE_MagiPrompt", {"clip": ["clip", 0], "text": text}),
        "schedule": (
            "SCOPE_MagiSchedule",
            {"width": 480, "height": 480, "length": 240, "window": 4, "look_back": "all", "kv_gpu_gb": 16.0},
        ),
        "sampler": (
            "SCOPE_Sampler",
            {
                "positive": ["prompt", 0],
                "negative": ["prompt", 1],
                "steps": 64,
                "cfg": 1.0,
                "shift": 3.0,
                "solver": "euler",
            },
        ),
        "decode": ("VAEDecode", {"vae": ["vae", 0]}),
    }


def helios(text: str, files: Files) -> Graph:
    """Helios-Base 14B as released: 132 frames of 384x640 in four chunks, each decoded alone."""
    return {
        "model": ("SCOPE_LoadModel", {"model_name": files.model}),
        "clip": ("CLIPLoader", {"clip_name": files.text_encoder, "type": "wan"}),
        "vae": ("VAELoader", {"vae_name": files.vae}),
        "positive": ("CLIPTextEncode", {"clip": ["clip", 0], "text": text}),
        "negative": ("CLIPTextEncode", {"clip": ["clip", 0], "text": HELIOS_NEGATIVE}),
        "schedule": ("SCOPE_HeliosSchedule", {"width": 640, "height": 384, "length": 132}),
        "sampler": ("SCOPE_Sampler", {"steps": 50, "cfg": 5.0, "shift": 0.0, "solver": "unipc"}),
        "decode": ("SCOPE_DecodeSegments", {"vae": ["vae", 0]}),
    }


def demo(text: str, files: None) -> Graph:
    """The demo model of SkyReels-V2's kind, 61 frames of 128x128."""
    return {
        "demo": ("SCOPE_LoadDemo", {"family": "SkyReels-V2"}),
        "positive": ("CLIPTextEncode", {"clip": ["demo", 1], "text": text}),
        "negative": ("CLIPTextEncode", {"clip": ["demo", 1], "text": ""}),
        "schedule": (
            "SCOPE_ARSchedule",
            {"width": 128, "height": 128, "length": 61, "window": 61, "chunk": 1, "ar_step": 5},
        ),
        "sampler": ("SCOPE_Sampler", {"model": ["demo", 0], "steps": 50, "cfg": 2.5, "shift": 8.0, "solver": "unipc"}),
        "decode": ("VAEDecode", {"vae": ["demo", 2]}),
    }


class Model(NamedTuple):
    graph: Callable[[str, Files | None], Graph]
    files: Files | None
    example: str
    """Workflow that tells where these files are downloaded,"""
    more: tuple[dict[str, str], ...] = ()
    """and those that it does not have."""


WAN22 = "https://huggingface.co/Comfy-Org/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files"
MODELS = {
    "demo": Model(demo, None, "01 Demo - Text to video"),
    "skyreels": Model(
        skyreels,
        Files(
            "Wan2_1-SkyReels-V2-DF-1_3B-540P_fp32.safetensors",
            "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
            "wan_2.1_vae.safetensors",
        ),
        "05 SkyReels-V2 - Text to video",
    ),
    "causal_wan": Model(
        causal_wan,
        Files(
            "causal_wan_1.3b_chunk3.safetensors", "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan_2.1_vae.safetensors"
        ),
        "15 Causal Wan - Text to video",
    ),
    "wan": Model(
        wan,
        Files("wan2.1_t2v_1.3B_fp16.safetensors", "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan_2.1_vae.safetensors"),
        "13 Wan - Text to video",
    ),
    "wan22_5b": Model(
        wan22_5b,
        Files("wan2.2_ti2v_5B_fp16.safetensors", "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan2.2_vae.safetensors"),
        "13 Wan - Text to video",
        tuple(
            {"name": name, "url": f"{WAN22}/{directory}/{name}", "directory": directory}
            for directory, name in (
                ("diffusion_models", "wan2.2_ti2v_5B_fp16.safetensors"),
                ("vae", "wan2.2_vae.safetensors"),
            )
        ),
    ),
    "magi": Model(
        magi,
        Files(
            "MAGI-1/4.5B_distill/model-00001-of-00002.safetensors", "t5xxl_fp16.safetensors", "magi_1_vae.safetensors"
        ),
        "10 MAGI-1 - Text to video",
    ),
    "helios": Model(
        helios,
        Files(
            "choose the first file of Helios-Base", "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan_2.1_vae.safetensors"
        ),
        "16 Helios - Text to video",
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workflows.vbench", description="Render VBench's prompts at each setting of a table."
    )
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument(
        "--prompts",
        type=Path,
        required=True,
        metavar="FILE",
        help="one prompt a line, such as VBench's prompts/all_dimension.txt",
    )
    parser.add_argument(
        "--names",
        type=Path,
        metavar="FILE",
        help="names of the videos, a line for each prompt: VBench's own prompts, where others are rendered",
    )
    parser.add_argument("--rows", nargs="+", metavar="ROW", help=f"default: all of {', '.join(SKYREELS_ROWS)}")
    parser.add_argument(
        "--samples",
        type=count,
        default=5,
        help="videos of each prompt (default: %(default)s; VBench wants 25 for temporal flickering)",
    )
    parser.add_argument("--limit", type=count, metavar="N", help="only the first N prompts")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of every prompt's first video; the next one has the next seed, in all rows alike",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--comfyui", type=Path, metavar="PATH", help="the ComfyUI to use (otherwise COMFYUI_PATH, or a private one)"
    )
    for file in Files._fields:
        parser.add_argument(
            f"--{file.replace('_', '-')}-file",
            dest=f"{file}_file",
            metavar="NAME",
            help="another file than that of the example workflow",
        )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="NODE.WIDGET=VALUE",
        help="change a widget, such as sampler.steps=30",
    )
    add_workers(parser)
    options = parser.parse_args()
    try:
        render(options)
    except (WorkflowError, HostError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Cancelled. The same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def render(options: argparse.Namespace) -> None:
    prompts = read_prompts(options.prompts, options.names, options.samples, options.limit)
    rows = options.rows or list(ROWS[options.model])
    if unknown := [row for row in rows if row not in ROWS[options.model]]:
        raise WorkflowError(f"There is no row {', '.join(unknown)}. Choose from: {', '.join(ROWS[options.model])}")
    # All rows of a video before the next video: what is there after an interruption can be compared.
    videos = [
        (row, text, index, options.out / row / f"{name}-{index}.mp4")
        for name, text in prompts.items()
        for index in range(options.samples)
        for row in rows
    ]
    there = {(row, name) for row in rows for name in rendered(options.out, row)}
    todo = [video for video in videos if (video[0], video[3].name) not in there]
    print(f"{len(videos)} videos, {len(videos) - len(todo)} of them there already", flush=True)
    if not todo:
        clear(options.out)
        return

    model = MODELS[options.model]
    files = model.files and Files(
        *(getattr(options, f"{name}_file") or file for name, file in model.files._asdict().items())
    )
    pool = pool_of(options.ray, options.workers, options.comfyui, options.out)
    try:
        object_info = pool.object_info()

        def prompt(row: str, text: str, seed: int) -> dict:
            made = to_api(complete(model.graph(text, files), ROWS[options.model][row], seed), object_info)
            for change in options.changes:
                set_widget(change, made)
            made["sampler"]["inputs"].pop("resume", None)  # which does not change the video
            return made

        example = examples.load(model.example)
        example["nodes"].append({"properties": {"models": model.more}})
        pool.begin(example, prompt(rows[0], "", 0))
        settings = {
            row: {"row": row, "model": options.model, "seed": options.seed, "prompt": prompt(row, "", options.seed)}
            for row in rows
        }
        for row in rows:
            (options.out / row).mkdir(exist_ok=True)
            keep_settings(options.out / f"{row}.json", settings[row])
            keep_whole(options.out, row)
        whole = {row: rendered(options.out, row) for row in rows}  # another command may have made some meanwhile
        for row, *_, file in todo:
            if file.name not in whole[row]:
                file.unlink(missing_ok=True)

        def keep(job: Job, made: Made) -> str:
            row = job.about["row"]
            keep_settings(options.out / f"{row}.json", settings[row], made.environment)
            return keep_video(options.out, job, made)

        def job(row: str, text: str, index: int, file: Path) -> Job:
            seed = options.seed + index
            made = prompt(row, text, seed)
            made["sampler"]["inputs"]["resume"] = True
            return Job(file, made, about={"row": row, "prompt": text, "seed": seed})

        work((job(*video) for video in todo), pool, keep, options.out)
    finally:
        pool.close()
    clear(options.out)


def keep_video(out: Path, job: Job, made: Made) -> str:
    """Write a video and, before it, its line, which counts with it alone. What to tell of it."""
    row, totals = job.about["row"], made.outputs["timeline"]["scope_trace"][0]["totals"]
    saved = made.outputs["save"]["images"][0]
    video = made.files[Path(saved["subfolder"], saved["filename"]).as_posix()]
    record = {
        "video": job.file.name,
        "prompt": job.about["prompt"],
        "seed": job.about["seed"],
        "seconds": round(made.seconds, 2),
        "sampling_seconds": totals["seconds"],
        "computed": totals["computed"],
        "of": totals["iterations"],
        "bytes": len(video),
    }
    with (out / f"{row}.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(record, ensure_ascii=False) + "\n")
    fresh = out / f"{named(job.file)}{disk.FRESH}"  # in the row's folder it would count as a video
    fresh.write_bytes(video)
    fresh.replace(job.file)
    return f"{row}/{job.file.name}, {totals['computed']} of {totals['iterations']} computed, {totals['seconds']:.1f} s"


def rendered(out: Path, row: str) -> dict[str, dict[str, Any]]:
    """The records of a row whose videos are there whole, by the names of the videos. A kill may leave half a line, or a
    line whose video was not moved there yet, and a power cut an empty video."""
    records = {}
    file = out / f"{row}.jsonl"
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []:
        try:
            record = json.loads(line)
            size = (out / row / record["video"]).stat().st_size
        except (ValueError, KeyError, TypeError, OSError):
            continue
        if size and record.get("bytes", size) == size:
            records[record["video"]] = record
    return records


def keep_whole(out: Path, row: str) -> None:
    """Leave out the lines of a row that do not count, so that there is one for each video."""
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in rendered(out, row).values()]
    disk.write(out / f"{row}.jsonl", "".join(lines).encode(), lasting=True)


def read_prompts(prompts: Path, names: Path | None, samples: int, limit: int | None) -> dict[str, str]:
    """Prompts by the names of their videos. Raises `WorkflowError` for files that do not fit together, and names that
    cannot be those of files."""
    texts, titles = read_lines(prompts), read_lines(names or prompts)
    if len(texts) != len(titles):
        raise WorkflowError(
            f"{prompts} has {len(texts)} prompts and {names} {len(titles)}; they have to fit line by line."
        )
    refused = [
        title
        for title in titles[:limit]
        if set(title) & set(UNFIT) or len(os.fsencode(f"{title}-{samples - 1}.mp4")) > 255
    ]
    if refused:
        raise WorkflowError(
            "\n  ".join(
                [
                    (
                        "VBench finds videos by their prompts, and these cannot be file names here (at most 255 bytes,"
                        f" none of {' '.join(UNFIT)}). Where they are longer versions of VBench's prompts, give those"
                        " as --names:"
                    ),
                    *refused,
                ]
            )
        )
    return dict(zip(titles[:limit], texts))


def complete(graph: Graph, row: dict[str, Any], seed: int) -> Graph:
    """The graph with the row's settings and what all models have in common."""
    kind, inputs = graph["sampler"]
    inputs = LINKS | inputs | {"seed": seed, "preset": row.get("preset", "off")}
    inputs |= (
        {"schedule": ["schedule", 0], "latent": ["schedule", 1]} if "schedule" in graph else {"latent": ["latent", 0]}
    )
    settings: Graph = {}
    if "settings" in row:
        settings["settings"] = ("SCOPE_Settings", row["settings"])
        inputs["settings"] = ["settings", 0]
    kind_of_decode, decode = graph["decode"]
    _, video = graph.get("video", ("CreateVideo", {"fps": 24.0}))
    return (
        graph
        | settings
        | {
            "sampler": (kind, inputs),
            "timeline": ("SCOPE_Timeline", {"trace": ["sampler", 1]}),
            "decode": (kind_of_decode, decode | {"samples": ["sampler", 0]}),
            "video": ("CreateVideo", video | {"images": ["decode", 0]}),
            "save": ("SaveVideo", {"video": ["video", 0], "filename_prefix": "video", "format": "mp4"}),
        }
    )


def to_api(graph: Graph, object_info: dict) -> dict:
    """ComfyUI's API format, with the defaults that its nodes declare. Raises `WorkflowError` for a node type that the
    server does not have."""
    check_types({kind for kind, _ in graph.values()}, object_info)
    return {
        name: {
            "class_type": kind,
            "_meta": {"title": name},
            "inputs": (
                widget_values(object_info[kind]["input"], inputs.get)
                | {key: value for key, value in inputs.items() if isinstance(value, list)}
            ),
        }
        for name, (kind, inputs) in graph.items()
    }


def keep_settings(file: Path, settings: dict, environment: dict | None = None) -> None:
    """Write a row's settings, and every environment that its videos are made in. Raises `WorkflowError` where videos of
    other settings are there."""
    environments = []
    if file.exists():
        known = json.loads(file.read_text(encoding="utf-8"))
        environments = known.pop("environments")
        if known != settings:
            raise WorkflowError(
                f"{file.with_suffix('')} holds videos made with other settings, which {file} tells. Choose another"
                " --out."
            )
    if environment and environment not in environments:
        environments.append(environment)
    content = json.dumps(settings | {"environments": environments}, indent=1, ensure_ascii=False)
    disk.write(file, content.encode())


if __name__ == "__main__":
    sys.exit(main())
