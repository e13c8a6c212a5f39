"""What earlier runs taught about a model's signals, so that the next run can be planned without the model.

A signal that depends on the noise level alone is known for ever after one run: a map of the change between every two of
its family's levels (`Family.levels`) answers for all steps and shifts. A signal that looks at the content is only
remembered.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save
from torch import Tensor

from .. import disk
from ..schedule import ARSchedule, Family
from . import CONTENT, change_table
from .base import EPS, Features, require_finite

MOST_ENTRIES = 500
"""Of a table; the oldest go first."""
MOST_BYTES = 128 * 2**20
"""Of all maps, about 17 models; those that ran longest ago go first."""
TABLES = {"models": str, "whole": str, "families": str, "lengths": int}
"""Small tables, and what their entries are."""
VERSION = 1
MAP, BARE = ".safetensors", ".npy"
PROBES = np.array([0.001, 0.25, 0.5, 0.75, 0.999])
NOT_YET = "this model has not run yet; the noise level stands in for its signal"


def fingerprint(model: Features, family: Family) -> str:
    """Identity of a model's time embedding, LoRAs included: its size and where that lies, in five digits, which devices
    compute alike."""
    digest = hashlib.sha256()
    for name in family.features:
        sizes = model.features(name, PROBES).float().flatten(1).square().mean(0).cpu().double()
        places = torch.linspace(0, 1, len(sizes), dtype=torch.float64)
        digest.update(f"{sizes.mean().sqrt():.4e} {(sizes * places).mean().sqrt():.4e}".encode())
    return digest.hexdigest()[:16]


def entry(key: str, schedule: ARSchedule) -> str:
    """Under which name the model behind `key` is kept."""
    told = schedule.family.told(schedule)
    return f"{key} {told}" if told else key


def change_map(features: Tensor) -> np.ndarray:
    """Relative change (Eq. 4) between every two levels: features [T, D] -> [T now, T before], float32."""
    return (torch.cdist(features, features, p=1) / (features.abs().sum(1) + EPS)).cpu().numpy()


def read_map(path: Path) -> np.ndarray:
    """A map as `SignalMaps` keeps it, or as a bare array. Raises an exception for anything else."""
    if path.suffix == ".npy":
        with path.open("rb") as file:
            changes = np.lib.format.read_array(file)
    else:
        with safe_open(path, "np") as file:
            about, changes = file.metadata(), file.get_tensor("changes")
        if about["format"] != "scope.map" or about["version"] != str(VERSION):
            raise disk.DamagedError("it is not a signal map of this version of SCOPE")
        disk.check(changes.data, about["checksum"])
    rows = 2 if path.stem.endswith(CONTENT) else changes.shape[-1]
    if changes.shape != (rows, changes.shape[-1]) or not np.isfinite(changes).all():
        raise disk.DamagedError("it is not a signal map")
    return changes


def read_table(path: Path) -> dict[str, Any]:
    """A table as `SignalMaps` keeps it, or its bare entries. Raises an exception for anything else."""
    content = disk.read_json(path)
    if content.get("format") == "scope.table":
        if content["version"] != VERSION:
            raise disk.DamagedError("it is not a table of this version of SCOPE")
        content = content["entries"]
    if not all(type(value) is TABLES[path.stem] for value in content.values()):
        raise disk.DamagedError("its entries are not those of this table")
    return content


class SignalMaps:
    """A folder of change maps by model fingerprint, shared between processes. `key` is whatever tells models apart
    before they are loaded. What changes the folder raises OSError where it cannot be written."""

    def __init__(self, folder: Path):
        self.folder = folder

    def models(self) -> dict[str, str]:
        """Fingerprint by key, the model that ran last at the end."""
        return self.read("models")

    def last(self, family: Family) -> str | None:
        """Fingerprint of the model of a family that ran last; None where none is known to be of it."""
        families = self.read("families")
        return next((name for name in reversed(self.models().values()) if families.get(name) == family.name), None)

    def knows(self, key: str, schedule: ARSchedule) -> bool:
        """Whether the model behind `key` has been mapped for schedules like this."""
        name = self.models().get(entry(key, schedule))
        return name is not None and all(self.map_path(name, signal).exists() for signal in schedule.family.features)

    def learn(self, key: str, model: Features, schedule: ARSchedule, identity: str = "") -> None:
        """Map the signals of a loaded model, unless they are known, and remember that it is the one behind `key`.
        `identity` is that of all of it, where its time embedding does not tell it apart. Raises
        NotFiniteSignalError."""
        name, levels = fingerprint(model, schedule.family), schedule.family.levels()
        self.put_last("models", entry(key, schedule), name)
        self.put_last("whole", entry(key, schedule), identity or name)
        self.put_last("families", name, schedule.family.name)
        for signal in schedule.family.features:
            known = self.map(name, signal)
            if known is None or len(known) != len(levels):
                features = model.features(signal, levels).float().flatten(1)
                require_finite(signal, features, levels)
                self.put_map(name, signal, change_map(features))
            with disk.lock(self.folder):
                self.map_path(name, signal).touch()
                disk.trim(self.folder, (MAP, BARE, disk.DAMAGED), MOST_BYTES)

    def identity(self, key: str, schedule: ARSchedule) -> str | None:
        """What identifies the whole model behind `key`, None before it was learnt."""
        return self.read("whole").get(entry(key, schedule))

    def learn_content(self, key: str, signal: str, schedule: ARSchedule, seen: dict[int, list[float]]) -> None:
        """Remember the mean change that a signal of the content had at each own step (`ContentSignal.seen`) of a whole
        run, of a model that was learnt. Raises NotFiniteSignalError."""
        name = self.models().get(entry(key, schedule))
        if name is None:
            return
        changes = np.array([np.mean(seen.get(step, 0.0)) for step in range(1, schedule.steps + 1)])
        levels = schedule.sigmas[:-1]
        require_finite(signal, torch.from_numpy(changes)[:, None], levels)
        self.put_map(name, signal, np.stack([levels, np.cumsum(changes)]))

    def table(self, key: str, signal: str, schedule: ARSchedule) -> tuple[np.ndarray, str]:
        """Change at each own step [S + 1] (see `change_table`), and why it is an estimate (empty if it is exact). For a
        model that has not run stands the last one of its family."""
        sigmas = schedule.sigmas
        if signal == "sigma":
            return change_table(signal, sigmas, None), ""
        models = self.models()
        name = models.get(entry(key, schedule)) or self.last(schedule.family)
        changes = None if name is None else self.map(name, signal)
        if signal in CONTENT:
            if changes is None:
                return (
                    change_table("sigma", sigmas, None),
                    "the signal looks at the video; until a first run the noise level stands in",
                )
            levels, total = changes
            table = np.diff(np.interp(-sigmas[:-1], -levels, total), prepend=0.0)
            return np.concatenate([[0.0], table]), "the signal looks at the video; the changes of the last run are used"
        if changes is None or len(changes) != len(schedule.family.levels()):
            return change_table("sigma", sigmas, None), NOT_YET
        now, exact = schedule.family.place(schedule)
        changes = changes[now[1:], now[:-1]]
        why = (
            ""
            if entry(key, schedule) in models
            else "this model has not run yet; the last one's signal stands in for its own"
        )
        why = why or (
            "" if exact else f"the signal at {schedule.steps} steps is read off at the nearest known noise levels"
        )
        return np.concatenate([[0.0, 0.0], changes.astype(float)]), why

    def learn_length(self, key: str, frames: int) -> None:
        """Remember how many latent frames the part of a graph behind `key` makes."""
        self.put_last("lengths", key, frames)

    def length(self, key: str) -> int | None:
        return self.read("lengths").get(key)

    def read(self, name: str) -> dict[str, Any]:
        return disk.read(self.folder / f"{name}.json", read_table) or {}

    def put_last(self, name: str, key: str, value: str | int) -> None:
        """Put one entry into a table, the newest at the end."""
        with disk.lock(self.folder):
            entries = self.read(name)
            entries.pop(key, None)
            entries = dict([*entries.items(), (key, value)][-MOST_ENTRIES:])
            table = {"format": "scope.table", "version": VERSION, "entries": entries}
            disk.write_json(self.folder / f"{name}.json", table)

    def map(self, name: str, signal: str) -> np.ndarray | None:
        return disk.read(self.map_path(name, signal), read_map)

    def put_map(self, name: str, signal: str, changes: np.ndarray) -> None:
        about = {"format": "scope.map", "version": str(VERSION), "checksum": disk.checksum(changes.data)}
        with disk.lock(self.folder):
            disk.write(self.map_path(name, signal).with_suffix(MAP), save({"changes": changes}, about))

    def map_path(self, name: str, signal: str) -> Path:
        """Of a map, which is a bare array where an earlier version was the last to write it."""
        path = self.folder / f"{name}_{signal}{MAP}"
        bare = path.with_suffix(BARE)
        return bare if bare.exists() and not path.exists() else path
