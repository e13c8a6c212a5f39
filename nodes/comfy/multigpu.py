"""Core's MultiGPU CFG Split before our samplers: guidance branches of a step run at the same time, each on a device of
its own. What cannot be split runs on the first one, and the user is told (docs/several-gpus.md)."""

from typing import Any

import comfy.samplers
import torch

from ...scope_core.settings import Settings


def devices_of(patcher: Any) -> list[torch.device]:
    """All that a MODEL has weights on, the first one first."""
    return [patcher.load_device, *(clone.load_device for clone in patcher.get_additional_models_with_key("multigpu"))]


def idle(patcher: Any, guider: Any, guidance: float, settings: Settings, not_split: str) -> list[str]:
    """Why all but the first device of a MODEL have nothing to do, in sentences. `not_split`: what its family says."""
    if len(devices_of(patcher)) == 1:
        return []
    method, found = settings.acting, [not_split] if not_split else []
    if len(guider.conds) == 1 or (type(guider) is comfy.samplers.CFGGuider and guidance == 1):
        found.append("there is no guidance, so a step has one forward only")
    elif method.probes:
        found.append(f"{method.title} looks into the network at one prompt and decides for the others")
    return [f"MultiGPU CFG Split has nothing to split: {why}. The first GPU does all the work." for why in found[:1]]
