"""Which conditionings, weights and controls hold at a noise level: where these change, so does the velocity field."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

Conds = dict[str, list[dict[str, Any]] | None]
"""As a guider holds them while it samples."""


def holding(conds: Conds, t: Tensor, patcher: Any, model_options: dict[str, Any]) -> tuple:
    """Everything that may change from step to step, to be compared: the conditionings in their ranges, the strength of
    their hooks (LoRAs with keyframes) and the controls in theirs, at noise level t [B] as the host has it.

    Moves the keyframes on, as the host does at every step that it computes: call it at each step in turn.
    """
    found = []
    for name, parts in conds.items():
        for cond in parts or ():
            if not is_active(cond, t):
                continue
            hooks = cond.get("hooks")
            if hooks is not None:
                patcher.prepare_hook_patches_current_keyframe(t, hooks, model_options)
            strengths = tuple(hook.strength for hook in hooks.hooks) if hooks is not None else ()
            found.append((name, cond["uuid"], strengths, tuple(controls(cond.get("control"), t))))
    return tuple(found)


def is_active(cond: dict[str, Any], t: Tensor) -> bool:
    """Whether a conditioning holds at noise level t [B], as the host finds it."""
    return is_within(cond.get("timestep_start"), cond.get("timestep_end"), t)


def controls(control: Any, t: Tensor) -> Iterator[bool]:
    """Whether each of a chain of ControlNets is within its range."""
    while control is not None:
        start, end = control.timestep_range or (None, None)
        yield is_within(start, end, t)
        control = control.previous_controlnet


def is_within(start: float | None, end: float | None, t: Tensor) -> bool:
    """Whether noise level t [B] is in a range. Without one t is not read, which waits for the device."""
    return not ((start is not None and t[0] > start) or (end is not None and t[0] < end))
