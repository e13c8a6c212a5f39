"""Calibrations in ComfyUI's user folder, and settings that wait for one."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths
from torch import Tensor

from ...scope_core.calibrate import Calibration, Calibrations, Circumstances
from ...scope_core.known import fingerprint
from ...scope_core.policy import MagCache
from ...scope_core.presets import Settings
from ...scope_core.term import Term
from .magi import is_magi

SAMPLED = 64
"""Numbers of every patch that tell it from others."""


def calibrations() -> Calibrations:
    return Calibrations(Path(folder_paths.get_user_directory()) / "scope" / "calibration")


def keep(calibration: Calibration) -> str:
    """Save a calibration for later runs; says where. The run that taught it must not be lost to a folder that cannot be written."""
    try:
        return f"Kept as {calibrations().save(calibration).name} in user/scope/calibration"
    except OSError as error:
        return f"Not kept for later runs, because ComfyUI's user folder cannot be written ({error}); connect the settings output"


def identity(term: Term, model) -> str:
    """Of a MODEL with its LoRAs: its time embedding, and what is patched onto any of its weights."""
    name = fingerprint(term)
    if not model.patches:
        return name
    digest = hashlib.sha256(name.encode())
    for key in sorted(model.patches):
        for strength, patch, *_ in model.patches[key]:
            digest.update(f"{key} {strength}".encode())
            for tensor in tensors(patch):
                digest.update(tensor.flatten()[:SAMPLED].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def tensors(patch: Any) -> Iterator[Tensor]:
    """Of a patch of the host, which is an adapter with weights, or a tuple of a name and tensors."""
    if isinstance(patch, Tensor):
        yield patch
    elif isinstance(patch, (tuple, list)):
        for part in patch:
            yield from tensors(part)
    elif hasattr(patch, "weights"):
        yield from tensors(patch.weights)


def guidance(model, cfg: float) -> float:
    """What counts as guidance of a run: distilled MAGI-1 has none, whatever cfg says."""
    return 1.0 if is_magi(model) and model.model.distilled else cfg


def needs_ratios(settings: Settings) -> bool:
    return isinstance(settings.policy, MagCache) and not settings.policy.ratios


def with_ratios(settings: Settings, *circumstances: Circumstances) -> Settings:
    """Settings whose ratios are those calibrated for a run, which is in one of these circumstances. Raises CalibrationError where there are none."""
    return replace(settings, rival=replace(settings.rival, ratios=calibrations().find(*circumstances).ratios))
