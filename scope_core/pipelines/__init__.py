"""Pipelines of diffusers, accelerated: a pipeline and the arguments of its call in, its output and a trace out.

diffusers is an extra (`pip install .[diffusers]`), and no other room of the library knows of it. docs/diffusers.md says
what is exact, and where a pipeline's own faults are kept or mended.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.utils import BaseOutput

from ..loop.trace import Trace
from ..settings import PRESETS, Settings
from . import helios, skyreels

SERVED: dict[str, Callable[[Any, dict[str, Any], Settings], tuple[Any, Trace]]] = {
    "SkyReelsV2DiffusionForcingPipeline": skyreels.run,
    "SkyReelsV2DiffusionForcingImageToVideoPipeline": skyreels.run,
    "SkyReelsV2DiffusionForcingVideoToVideoPipeline": skyreels.run,
    "HeliosPipeline": helios.run,
}
"""How pipelines are run, by the name of their class."""


@dataclass
class AcceleratedOutput(BaseOutput):
    """What the pipeline returns, and how it came about."""

    frames: Any
    """As the pipeline's: by `output_type` an array, a tensor, images or latents."""
    trace: Trace


@torch.no_grad()
def accelerate(pipe: Any, /, *args: Any, settings: Settings | str = "balanced", **kwargs: Any) -> Any:
    """Call a pipeline, with the denoising steps that need it computed and the others predicted.

    Args:
        pipe: a pipeline of diffusers, one of `SERVED`, set up as usual (types, offload, LoRA, compiled blocks).
        args, kwargs: those of the pipeline's own call, with its defaults.
        settings: a preset's name ('off', 'quality', 'balanced', 'fast', ...) or `Settings`.

    Returns an output with `frames` as the pipeline gives them, and `trace`; with `return_dict=False` a tuple of both.
    With 'off' the frames equal the pipeline's. Raises TypeError for other pipelines and for arguments that the
    pipeline does not take, ValueError for values that it refuses and for settings that cannot be served.
    """
    name = next((base.__name__ for base in type(pipe).__mro__ if base.__name__ in SERVED), None)
    if name is None:
        raise TypeError(f"{type(pipe).__name__} is not served; give one of {', '.join(SERVED)}")
    if isinstance(settings, str):
        if settings not in PRESETS:
            raise ValueError(f"settings is {settings!r}; give Settings, or one of {', '.join(PRESETS)}")
        settings = PRESETS[settings]
    bound = inspect.signature(type(pipe).__call__).bind(pipe, *args, **kwargs)
    bound.apply_defaults()
    _, *arguments = bound.arguments.items()
    frames, trace = SERVED[name](pipe, dict(arguments), settings)
    return AcceleratedOutput(frames, trace) if bound.arguments["return_dict"] else (frames, trace)


__all__ = ["SERVED", "AcceleratedOutput", "accelerate"]
