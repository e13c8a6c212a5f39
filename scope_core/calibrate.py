"""What one recorded run teaches about a model: the ratios that MagCache needs, how its signals change, and settings for a wanted speed.

It holds for one model (by fingerprint), number of steps, shift, guidance and schedule, and is refused for others.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .plan import plan
from .presets import Settings
from .schedule import ARSchedule

VERSION = 1


class CalibrationError(ValueError):
    """There is no calibration for a run. The message says what is different, and the way out."""


@dataclass(frozen=True)
class Circumstances:
    """What a calibration holds for."""

    model: str
    """Fingerprint, see known.fingerprint."""
    steps: int
    shift: float
    guidance: float
    """1 where there is none."""
    table: str
    """Noise levels, see schedule.sigma_table."""
    chunk: int
    """Latent frames of a chunk."""
    lag: int
    """Steps by which a chunk follows the one before it; 0: all together."""
    causal: bool

    @classmethod
    def of(cls, model: str, schedule: ARSchedule, guidance: float) -> "Circumstances":
        table = schedule.table if schedule.levels is None else ", ".join(f"{level:.4f}" for level in schedule.levels)
        return cls(model, schedule.steps, schedule.shift, guidance, table, schedule.block, schedule.ar_step, schedule.causal)

    def differences(self, other: "Circumstances") -> list[str]:
        """In words, the other's value first."""
        return [f"{name} {theirs} instead of {mine}" for (name, mine), theirs in zip(asdict(self).items(), asdict(other).values()) if mine != theirs]


@dataclass(frozen=True)
class Calibration:
    circumstances: Circumstances
    ratios: tuple[float, ...]
    """gamma at each own step [steps], the first one 1: how much larger the residual of all blocks is than a step before (MagCache)."""
    changes: dict[str, tuple[float, ...]]
    """Relative change of each signal at each own step [steps]."""

    @property
    def scales(self) -> dict[str, float]:
        """What each signal adds up to over a run: the natural scale of a threshold on it."""
        return {name: float(sum(changes)) for name, changes in self.changes.items()}

    def table(self, signal: str) -> np.ndarray | None:
        """Change table of a signal (see signal.change_table), None if it was not recorded."""
        return np.array([0.0, *self.changes[signal]]) if signal in self.changes else None

    def for_speed(self, schedule: ARSchedule, settings: Callable[[float], Settings], knobs: Iterable[float], speed: float) -> tuple[float, float]:
        """Of some values of a method's knob the one that makes about `speed` times fewer evaluations, and how many times that is."""
        found = []
        for knob in knobs:
            totals = plan(schedule, settings(knob), self.table(settings(knob).policy.signal)).totals
            found.append((knob, totals["iterations"] / max(1, totals["computed"])))
        return min(found, key=lambda pair: abs(pair[1] - speed))

    def to_json(self) -> dict[str, Any]:
        return {"format": "scope.calibration", "version": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Calibration":
        """Raises CalibrationError for what is not a calibration that this version reads."""
        if data.get("format") != "scope.calibration" or data.get("version") != VERSION:
            raise CalibrationError("this is not a calibration of this version of SCOPE; run SCOPE Calibrate again")
        return cls(Circumstances(**data["circumstances"]), tuple(data["ratios"]), {name: tuple(changes) for name, changes in data["changes"].items()})


class Calibrations:
    """A folder of them, one file for each circumstances."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, circumstances: Circumstances) -> Path:
        return self.folder / f"{hashlib.sha256(json.dumps(asdict(circumstances)).encode()).hexdigest()[:16]}.json"

    def save(self, calibration: Calibration) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(calibration.circumstances)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(calibration.to_json()))
        fresh.replace(path)
        return path

    def find(self, circumstances: Circumstances) -> Calibration:
        """Raises CalibrationError, with what the nearest one was made for."""
        path = self.path(circumstances)
        if path.exists():
            return Calibration.from_json(json.loads(path.read_text()))
        known = [Calibration.from_json(json.loads(file.read_text())).circumstances for file in sorted(self.folder.glob("*.json"))]
        if not known:
            raise CalibrationError("no model has been calibrated yet. Run SCOPE Calibrate once with this model and these settings, or choose published ratios")
        nearest = min(known, key=lambda other: len(circumstances.differences(other)))
        raise CalibrationError(f"this run is not calibrated: the nearest calibration has {', '.join(circumstances.differences(nearest))}. Run SCOPE Calibrate "
                               "once with this model and these settings, or choose published ratios")
