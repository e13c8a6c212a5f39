"""The example graphs by name. ComfyUI's template browser shows the names of their files as titles."""

import json
from pathlib import Path
from typing import Any

from .graph import WorkflowError

FOLDER = Path(__file__).parent
FORMER = {
    "01_demo_text_to_video": "01 Demo - Text to video",
    "02_skyreels_text_to_video": "05 SkyReels-V2 - Text to video",
    "03_skyreels_image_to_video": "06 SkyReels-V2 - Image to video",
    "04_skyreels_long_video": "07 SkyReels-V2 - Long video",
    "05_demo_tradeoff": "04 Demo - Speed against quality",
    "06_demo_ab_compare": "03 Demo - With and without SCOPE",
    "07_skyreels_tradeoff": "09 SkyReels-V2 - Speed against quality",
    "08_skyreels_ab_compare": "08 SkyReels-V2 - With and without SCOPE",
    "09_magi_demo": "02 Demo - Chunk by chunk, as MAGI-1",
    "10_magi_text_to_video": "10 MAGI-1 - Text to video",
    "11_magi_image_to_video": "11 MAGI-1 - Image to video",
    "12_magi_video_continuation": "12 MAGI-1 - Video continuation",
    "13_wan_text_to_video": "13 Wan - Text to video",
    "14_wan_ksampler_accelerate": "14 Wan - Faster KSampler",
    "15_causal_wan_text_to_video": "15 Causal Wan - Text to video",
    "16_helios_text_to_video": "16 Helios - Text to video",
}
"""What they are called now, by the names under which versions up to 0.6 had them."""


def names() -> list[str]:
    return sorted(file.stem for file in FOLDER.glob("*.json"))


def find(name: str) -> Path:
    """The file of the example of that name, of a name that is part of no other's, or of a former one. Raises
    `WorkflowError`, which lists those that fit."""
    fitting = [known for known in names() if name.lower() in known.lower()]
    if name in fitting:
        fitting = [name]
    former = [new for old, new in FORMER.items() if name in old]
    chosen = fitting or former
    if len(chosen) != 1:
        complaint = f"{name!r} fits several workflows" if chosen else f"There is no workflow {name!r}"
        raise WorkflowError("\n  ".join([f"{complaint}. Choose from:", *(chosen or names())]))
    return FOLDER / f"{chosen[0]}.json"


def load(name: str) -> dict[str, Any]:
    """The graph as the browser saved it. Raises as `find`."""
    return read(find(name))


def read(file: Path) -> dict[str, Any]:
    """A graph that the browser saved. Raises `WorkflowError` for anything else, OSError."""
    try:
        graph = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        graph = None
    if not isinstance(graph, dict) or not {"nodes", "links"} <= graph.keys():
        raise WorkflowError(
            f"{file} is no workflow that ComfyUI saved. Take one from Save or Export; Export (API) leaves out what is"
            " needed here."
        )
    return graph
