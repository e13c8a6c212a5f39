"""Calibrations in ComfyUI's user folder, and settings that wait for one."""

from dataclasses import replace
from pathlib import Path

import folder_paths

from ...scope_core.calibrate import Calibrations, Circumstances
from ...scope_core.policy import MagCache
from ...scope_core.presets import Settings
from .magi import is_magi


def calibrations() -> Calibrations:
    return Calibrations(Path(folder_paths.get_user_directory()) / "scope" / "calibration")


def guidance(model, cfg: float) -> float:
    """What counts as guidance of a run: distilled MAGI-1 has none, whatever cfg says."""
    return 1.0 if is_magi(model) and model.model.distilled else cfg


def needs_ratios(settings: Settings) -> bool:
    return isinstance(settings.rival, MagCache) and not settings.rival.ratios


def with_ratios(settings: Settings, circumstances: Circumstances) -> Settings:
    """Settings whose ratios are those calibrated for a run. Raises CalibrationError where there are none."""
    return replace(settings, rival=replace(settings.rival, ratios=calibrations().find(circumstances).ratios))
