"""What one recorded run teaches about a model: the ratios that MagCache needs, inner products of the velocities, how
its signals change, and settings for a wanted speed.

It holds for one model (by fingerprint), number of steps, shift, guidance and schedule, and is refused for others.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import disk
from ..loop.plan import plan
from ..methods.base import Gram
from ..schedule import ARSchedule
from ..settings import Settings

VERSION = 1
MOST_BYTES = 16 * 2**20
"""Of all calibrations together, many hundreds; the oldest go first."""
ABOUT = 0.03
"""How far, relative to it, a speed may be from the wanted one."""

NAMES = {
    "model": "another model or LoRA (or is from before SCOPE 0.7.0, which knows models by other names)",
    "table": "other noise levels",
    "guidance": "cfg {} instead of {}",
    "lag": "ar_step {} instead of {}",
}
"""How differences are told that would be hard to read."""
WAY_OUT = (
    "run SCOPE Calibrate once with this model and these settings, or connect the settings that it gives, or choose"
    " published ratios or steps of your own"
)


class CalibrationError(ValueError):
    """There is no calibration for a run. The message says what is different, and the way out."""


@dataclass(frozen=True)
class Circumstances:
    """What a calibration holds for."""

    model: str
    """Identity of the model with its LoRAs."""
    steps: int
    shift: float
    guidance: float
    """1 where there is none."""
    table: str
    """Noise levels: one of the family's tables, or a digest of a host's own."""
    chunk: int
    """Latent frames of a chunk."""
    lag: int
    """Steps by which a chunk follows the one before it; 0: all together."""
    causal: bool

    @classmethod
    def of(cls, model: str, schedule: ARSchedule, guidance: float) -> "Circumstances":
        table = (
            schedule.table if schedule.levels is None else hashlib.sha256(schedule.sigmas.tobytes()).hexdigest()[:16]
        )
        return cls(
            model, schedule.steps, schedule.shift, guidance, table, schedule.block, schedule.ar_step, schedule.causal
        )

    def differences(self, other: "Circumstances") -> list[str]:
        """In words, the other's value first."""
        return [
            NAMES.get(name, f"{name} {{}} instead of {{}}").format(theirs, mine)
            for (name, mine), theirs in zip(asdict(self).items(), asdict(other).values())
            if mine != theirs
        ]


@dataclass(frozen=True)
class Calibration:
    circumstances: Circumstances
    ratios: tuple[float, ...]
    """gamma at each own step [steps], the first one 1: how much larger the residual of all blocks is than a step before
    (MagCache)."""
    changes: dict[str, tuple[float, ...]]
    """Relative change of each signal at each own step [steps]."""
    gram: Gram = ()
    """Inner products of the velocities at own steps [steps, steps], mean over the chunks; empty in files of versions
    that did not record them."""

    @property
    def scales(self) -> dict[str, float]:
        """What each signal adds up to over a run: the natural scale of a threshold on it."""
        return {name: float(sum(changes)) for name, changes in self.changes.items()}

    def table(self, signal: str) -> np.ndarray | None:
        """Change table of a signal (see `signals.change_table`), None if it was not recorded."""
        return np.array([0.0, *self.changes[signal]]) if signal in self.changes else None

    def for_speed(self, schedule: ARSchedule, candidates: Iterable[Settings], speed: float) -> tuple[Settings, float]:
        """The first of some settings, careful ones first, that makes about `speed` times fewer evaluations, and how
        many times that is; or the nearest."""
        found = []
        for settings in candidates:
            totals = plan(schedule, settings, self.table(settings.acting.signal)).totals
            reached = totals["iterations"] / max(1, totals["computed"])
            found.append((settings, reached))
            if abs(reached / speed - 1) < ABOUT:
                return found[-1]
        return min(found, key=lambda pair: abs(pair[1] - speed))

    def to_json(self) -> dict[str, Any]:
        return {"format": "scope.calibration", "version": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Calibration":
        """Raises CalibrationError for what is not a calibration that this version reads."""
        if data.get("format") != "scope.calibration" or data.get("version") != VERSION:
            raise CalibrationError("this is not a calibration of this version of SCOPE; run SCOPE Calibrate again")
        return cls(
            Circumstances(**data["circumstances"]),
            tuple(map(float, data["ratios"])),
            {name: tuple(map(float, changes)) for name, changes in data["changes"].items()},
            tuple(tuple(map(float, row)) for row in data.get("gram", ())),
        )


def read_calibration(path: Path) -> dict[str, Any]:
    """A calibration's file, of this version or another. Raises an exception for anything else."""
    data = disk.read_json(path)
    if data["version"] == VERSION:
        Calibration.from_json(data)
    return data


class Calibrations:
    """A folder of them, one file for each circumstances, shared between processes."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, circumstances: Circumstances) -> Path:
        return self.folder / f"{hashlib.sha256(json.dumps(asdict(circumstances)).encode()).hexdigest()[:16]}.json"

    def save(self, calibration: Calibration) -> Path:
        """Raises OSError where the folder cannot be written."""
        path = self.path(calibration.circumstances)
        with disk.lock(self.folder):
            disk.write_json(path, calibration.to_json())
            disk.trim(self.folder, (".json", disk.DAMAGED), MOST_BYTES)
        return path

    def find(self, circumstances: Circumstances, *or_else: Circumstances) -> Calibration:
        """Raises CalibrationError, with what the nearest one was made for."""
        for path in map(self.path, (circumstances, *or_else)):
            if (found := disk.read(path, read_calibration)) is not None:
                return Calibration.from_json(found)
        kept = [disk.read(file, read_calibration) for file in sorted(self.folder.glob("*.json"))]
        known = [Circumstances(**data["circumstances"]) for data in kept if data and data["version"] == VERSION]
        if not known:
            raise CalibrationError(f"there is no calibration, for no model has been calibrated yet; {WAY_OUT}")
        nearest = min(known, key=lambda other: len(circumstances.differences(other)))
        raise CalibrationError(
            "there is no calibration for this run: the nearest calibration has "
            f"{', '.join(circumstances.differences(nearest))}; {WAY_OUT}"
        )
