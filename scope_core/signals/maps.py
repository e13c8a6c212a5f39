"""What earlier runs taught about a model's signals, so that the next run can be planned without the model.

A signal that depends on the noise level alone is known for ever after one run: a map of the change between every two of
its family's levels (`Family.levels`) answers for all steps and shifts. A signal that looks at the content is only
remembered.
"""

import hashlib
import json
from pathlib import Path
from threading import RLock

import numpy as np
import torch
from torch import Tensor

from ..schedule import ARSchedule, Family
from . import CONTENT, change_table
from .base import EPS, Features

MOST_ENTRIES = 500
WRITING = RLock()
PROBES = np.array([0.001, 0.25, 0.5, 0.75, 0.999])
NOT_YET = "this model has not run yet; the noise level stands in for its signal"


def fingerprint(model: Features, family: Family) -> str:
    """Identity of a model's time embedding, LoRAs included."""
    digest = hashlib.sha256()
    for name in family.features:
        digest.update(model.features(name, PROBES).float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def entry(key: str, schedule: ARSchedule) -> str:
    """Under which name the model behind `key` is kept."""
    told = schedule.family.told(schedule)
    return f"{key} {told}" if told else key


def change_map(features: Tensor) -> np.ndarray:
    """Relative change (Eq. 4) between every two levels: features [T, D] -> [T now, T before], float32."""
    return (torch.cdist(features, features, p=1) / (features.abs().sum(1) + EPS)).cpu().numpy()


class SignalMaps:
    """A folder of change maps by model fingerprint. `key` is whatever tells models apart before they are loaded."""

    def __init__(self, folder: Path):
        self.folder = folder

    def models(self) -> dict[str, str]:
        """Fingerprint by key, the model that ran last at the end."""
        return self.read("models")

    def knows(self, key: str, schedule: ARSchedule) -> bool:
        """Whether the model behind `key` has been mapped for schedules like this."""
        return entry(key, schedule) in self.models()

    def learn(self, key: str, model: Features, schedule: ARSchedule, identity: str = "") -> None:
        """Map the signals of a loaded model, unless they are known, and remember that it is the one behind `key`.
        `identity` is that of all of it, where its time embedding does not tell it apart."""
        name = fingerprint(model, schedule.family)
        self.folder.mkdir(parents=True, exist_ok=True)
        with WRITING:
            for signal in schedule.family.features:
                if not self.map_path(name, signal).exists():
                    features = model.features(signal, schedule.family.levels()).float().flatten(1)
                    np.save(self.map_path(name, signal), change_map(features))
            self.put_last("models", entry(key, schedule), name)
            self.put_last("whole", entry(key, schedule), identity or name)

    def identity(self, key: str, schedule: ARSchedule) -> str | None:
        """What identifies the whole model behind `key`, None before it was learnt."""
        return self.read("whole").get(entry(key, schedule))

    def learn_content(self, key: str, signal: str, schedule: ARSchedule, seen: dict[int, list[float]]) -> None:
        """Remember the mean change that a signal of the content had at each own step (`ContentSignal.seen`), of a model
        that was learnt."""
        name = self.models().get(entry(key, schedule))
        if name is None:
            return
        changes = [np.mean(seen.get(step, 0.0)) for step in range(1, schedule.steps + 1)]
        np.save(self.map_path(name, signal), np.stack([schedule.sigmas[:-1], np.cumsum(changes)]))

    def table(self, key: str, signal: str, schedule: ARSchedule) -> tuple[np.ndarray, str]:
        """Change at each own step [S + 1] (see `change_table`), and why it is an estimate (empty if it is exact)."""
        sigmas = schedule.sigmas
        if signal == "sigma":
            return change_table(signal, sigmas, None), ""
        models = self.models()
        name = models.get(entry(key, schedule)) or next(reversed(models.values()), None)
        if signal in CONTENT:
            path = self.map_path(name, signal)
            if not path.exists():
                return (
                    change_table("sigma", sigmas, None),
                    "the signal looks at the video; until a first run the noise level stands in",
                )
            levels, total = np.load(path)
            table = np.diff(np.interp(-sigmas[:-1], -levels, total), prepend=0.0)
            return np.concatenate([[0.0], table]), "the signal looks at the video; the changes of the last run are used"
        if name is None:
            return change_table("sigma", sigmas, None), NOT_YET
        changes = np.load(self.map_path(name, signal), mmap_mode="r")
        now, exact = schedule.family.place(schedule)
        if len(changes) != len(schedule.family.levels()):
            return change_table("sigma", sigmas, None), NOT_YET
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

    def read(self, name: str) -> dict:
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def put_last(self, name: str, key: str, value: str | int) -> None:
        """Write one entry of a small table, the newest at the end, in a way that a crash cannot damage."""
        with WRITING:
            entries = self.read(name)
            entries.pop(key, None)
            entries = dict([*entries.items(), (key, value)][-MOST_ENTRIES:])
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = self.folder / f"{name}.new"
            fresh.write_text(json.dumps(entries))
            fresh.replace(self.folder / f"{name}.json")

    def map_path(self, name: str | None, signal: str) -> Path:
        return self.folder / f"{name}_{signal}.npy"
