"""Calibrations in ComfyUI's user folder, and settings that wait for one."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import folder_paths
from torch import Tensor

from ...scope_core.settings import Settings
from ...scope_core.signals.maps import fingerprint
from ...scope_core.study.calibration import Calibration, CalibrationError, Calibrations, Circumstances
from .families import HostModel

SAMPLED = 64
"""Numbers of every patch that tell it from others."""


def calibrations() -> Calibrations:
    return Calibrations(Path(folder_paths.get_user_directory()) / "scope" / "calibration")


def keep(calibration: Calibration) -> str:
    """Save a calibration for later runs; says where. The run that taught it must not be lost to a folder that cannot be
    written."""
    try:
        return f"Kept as {calibrations().save(calibration).name} in user/scope/calibration"
    except OSError as error:
        return (
            f"Not kept for later runs, because ComfyUI's user folder cannot be written ({error}); connect the settings"
            " output"
        )


def identity(model: HostModel, patcher: Any) -> str:
    """Of a MODEL with its LoRAs: its time embedding, and what is patched onto any of its weights."""
    name = fingerprint(model, model.family)
    if not patcher.patches:
        return name
    digest = hashlib.sha256(name.encode())
    for key in sorted(patcher.patches):
        for strength, patch, *_ in patcher.patches[key]:
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


def taught(settings: Settings, *circumstances: Circumstances) -> Settings:
    """Settings with what was recorded for a run, which is in one of these circumstances. Raises CalibrationError where
    nothing was, or not by this version what they need."""
    found = calibrations().find(*circumstances)
    made = settings.calibrated(found.ratios, found.gram)
    if made.needs_calibration:
        raise CalibrationError(
            f"the calibration for this run has nothing for {settings.method.title}: it was made before that was known,"
            " and SCOPE Calibrate has to run again, or a chunk enters at every step, and another method is needed"
        )
    return made
