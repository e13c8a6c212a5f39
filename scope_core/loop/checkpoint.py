"""Runs that survive whatever ends them: what is finished goes to disk as it is made, and the same run goes on from
there (docs/resume.md).

A run has a folder of its own, named after all that it was asked for, so that nothing else can go on in it:

    manifest.json                 what was asked for, and which of the files below count, with their checksums
    unit_<segment>_<iterations>   latents of what was finished since the file before, and the trace of these iterations
    state_<segment>_<iterations>  of the segment in work, the newest: all that a later iteration may ask for

The manifest is written last, so whatever ends the process leaves it with files that fit together.
"""

import hashlib
import json
import logging
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import disk
from ..methods import Entry
from ..schedule import Segment, Step
from ..signals import ContentSignal
from .codec import snapshot, unpack
from .control import Control
from .correct import Anchor, Corrected
from .memory import Memory
from .residuals import Residuals
from .rollout import Field
from .solver import Solver

FORMAT, VERSION = "scope.run", 1
MANIFEST, ENDING = "manifest.json", ".safetensors"
MOST_LETTERS = 60
"""Of a value that is told; of longer ones only that they differ."""
EVERY = 60.0
"""Seconds after which a state is kept in the midst of a chunk, so that no more is lost of long ones."""


class Work(NamedTuple):
    """What a segment is made with; all of it but the latents that changes from iteration to iteration."""

    control: Control
    solver: Solver
    corrected: Corrected | None
    field: Field


REMEMBERED: dict[type, tuple[str, ...]] = {
    Control: ("states", "skipped", "recorded", "border", "peak_bytes"),
    Memory: ("velocities",),
    Residuals: ("stored", "prints"),
    ContentSignal: ("seen",),
}
"""Attributes that are the state of a part of the loop."""


def remembering(control: Control) -> list[Any]:
    parts = [control, control.memory, control.memory.residuals, control.signal]
    return [part for part in parts if type(part) in REMEMBERED]


def in_work(step: Step) -> slice:
    """Columns of the units that have begun by the end of an iteration and are not finished. What a solver remembers of
    others is never asked for, and their latents are the noise, or finished."""
    frames = [unit.frames for unit in step.active if unit.step < unit.steps]
    return slice(frames[0].start, frames[-1].stop) if frames else slice(0, 0)


def each(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A tree with every tensor of [B, C, F, H, W] changed."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, tuple):
        made = [each(held, change) for held in tree]
        return type(tree)(*made) if hasattr(tree, "_fields") else tuple(made)
    return tree


def state_of(work: Work, step: Step, x: Tensor) -> dict[str, Any]:
    """All that decides how a segment goes on after an iteration that left latents x."""
    columns, control = in_work(step), work.control
    whole = x, work.solver.memory, work.corrected and work.corrected.anchor, getattr(control.signal, "before", None)
    return {
        "columns": columns,
        "latents": each(whole, lambda latents: latents[:, :, columns]),
        "parts": [{name: getattr(part, name) for name in REMEMBERED[type(part)]} for part in remembering(control)],
        "field": work.field.state(step),
    }


class Moment(NamedTuple):
    """A segment in work after an iteration."""

    segment: Segment
    step: Step
    x: Tensor
    """Latents of all its columns."""
    steps: list[dict[str, Any]]
    """Of its trace so far."""
    about: dict[str, Any]
    """Figures of the run so far, which its trace tells."""
    work: Work

    @property
    def stop(self) -> int:
        """Column up to which units were finished by the iteration, 0 where none was."""
        return max((unit.frames.stop for unit in self.step.active if unit.step == unit.steps), default=0)

    @property
    def is_last(self) -> bool:
        return len(self.steps) == self.segment.rows

    def state(self) -> dict[str, Any]:
        """All that decides how the segment goes on."""
        return state_of(self.work, self.step, self.x)


def put_back(state: dict[str, Any], work: Work, x: Tensor) -> Tensor:
    """Make a segment that was just set up go on from a state; x has its noise, and what is finished. Returns its
    latents."""
    control = work.control

    def widened(part: Tensor) -> Tensor:
        whole = x.to(part, copy=True)
        whole[:, :, state["columns"]] = part
        return whole

    latents, work.solver.memory, anchor, before = each(state["latents"], widened)
    if work.corrected:
        work.corrected.anchor = anchor
    if isinstance(control.signal, ContentSignal):
        control.signal.before = before
    for part, kept in zip(remembering(control), state["parts"]):
        for name, value in kept.items():
            setattr(part, name, value)
    return latents


def names_in(control: Control) -> tuple[type, ...]:
    """Named tuples and dataclasses that a state holds."""
    return Entry, Anchor, type(control.method.init())


@dataclass
class Made:
    """What an earlier run made of a segment."""

    segment: Segment
    latents: list[Tensor] = field(default_factory=list)
    """[B, C, frames, H, W] of what was finished, one part after the other from column 0 on."""
    steps: list[dict[str, Any]] = field(default_factory=list)
    """Of its trace."""
    about: dict[str, Any] = field(default_factory=dict)
    """Forwards, and most bytes held, of the run so far."""
    state: bytes | None = None
    """What `state_of` gave after these steps; None where the segment is finished."""

    @property
    def frames(self) -> int:
        return sum(part.shape[2] for part in self.latents)

    @property
    def finished(self) -> bool:
        return self.frames == self.segment.prefix + self.segment.free


class Keeper:
    """Keeps one run in a folder under `root`, and removes it when the run is finished (as a context manager).

    A folder belongs to one process at a time. Where it is taken or cannot be written, the run goes on without being
    kept, with one warning.
    """

    def __init__(self, root: Path, identity: Mapping[str, Any] | None = None, who: str = ""):
        """`identity`: what decides the video beside settings, schedule, solver and seed, such as the model, by names
        for people: plain values, or checksums of tensors (`checksum`). `who`: one name for runs that replace each
        other, such as those of a node; what was asked for otherwise than in the last unfinished one is told."""
        self.root, self.identity, self.who = root, dict(identity or {}), who
        self.folder: Path | None = None
        """Of the run, while it is kept."""
        self.files: list[dict[str, Any]] = []
        """Of finished units."""
        self.state: dict[str, Any] | None = None
        """File of the newest state, with the trace since the last unit."""
        self.resumed: list[dict[str, Any]] = []
        """Where the run went on, each time."""
        self.writing: Future[None] | None = None
        """The newest files, which are written while the next iteration is made."""

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        folder = self.folder
        self.close()
        if error is None and folder is not None:
            remove(folder)

    def open(self, asked: Mapping[str, Any], segments: Sequence[Segment]) -> list[Made]:
        """Take the folder of the run that is asked for. What an earlier one made of its segments, one after the other,
        of which the last may be unfinished."""
        self.asked = json.loads(json.dumps({**self.identity, **asked}))
        self.frames = segments[-1].start + segments[-1].prefix + segments[-1].free
        self.written = time.monotonic()
        folder = self.root / hashlib.sha256(json.dumps(self.asked, sort_keys=True).encode()).hexdigest()[:16]
        try:
            if not folder.exists():
                self.tell_changes()
            self.lock = disk.hold(folder)
            self.folder, self.writer = folder, ThreadPoolExecutor(1, "scope-keeper")
            made = self.read(folder, segments)
            self.tidy(folder)
            return made
        except OSError as error:
            self.give_up(error)
            return []

    def tell_changes(self) -> None:
        """Say how this run differs from the newest unfinished one of the same `who`."""
        others = [run for run in runs(self.root) if run.asked and run.who == self.who and not run.finished]
        if others:
            newest = max(others, key=lambda run: run.changed)
            logging.warning(
                "SCOPE: an unfinished run is left as it is, and a new one begins, because it was asked for something"
                " else: %s. What it made is in %s.",
                "; ".join(differences(newest.asked, self.asked)),
                newest.folder,
            )

    def read(self, folder: Path, segments: Sequence[Segment]) -> list[Made]:
        """What is there, up to the first segment that is unfinished; nothing of that where a file of it is missing or
        damaged."""
        manifest = disk.read(folder / MANIFEST, read_manifest)
        if manifest is None:
            return []
        self.resumed, state = manifest["resumed"], manifest["state"]
        found = []
        for segment in segments:
            made, files = Made(segment), [file for file in manifest["files"] if file["segment"] == segment.index]
            units = [contents(folder, file) for file in files]
            for unit in [unpack(data) for data in units if data is not None]:
                made.latents.append(unit["latents"])
                made.steps += unit["steps"]
                made.about = unit["about"]
            if not made.finished and state and state["segment"] == segment.index:
                made.state = contents(folder, state)
                made.steps += state["steps"]
                made.about = state["about"]
            if None in units or not (made.finished or made.state):
                break
            found.append(made)
            self.files += files
            self.state = state if made.state else None
        return found

    def tidy(self, folder: Path) -> None:
        """Remove what a process that was killed had written and the manifest did not count yet."""
        counted = {file["file"] for file in (*self.files, self.state) if file}
        for path in [*folder.glob(f"*{disk.FRESH}"), *folder.glob(f"*_*{ENDING}")]:
            if path.name not in counted:
                path.unlink()

    def keep(self, moment: Moment) -> None:
        """Called after every iteration. Writes where a unit was finished, or nothing was written for a while, beside
        the next iteration; that one is not over before the files are there."""
        self.finish_writing()
        if self.folder is None or not (moment.stop or time.monotonic() - self.written >= EVERY):
            return
        try:
            self.writing = self.writer.submit(self.prepare(self.folder, moment))
        except TypeError as error:
            self.give_up(error)
        self.written = time.monotonic()

    def finish_writing(self) -> None:
        """Wait for the newest files, and go on without keeping where they cannot be written."""
        writing, self.writing = self.writing, None
        try:
            if writing is not None:
                writing.result()
        except OSError as error:
            self.give_up(error)

    def prepare(self, folder: Path, moment: Moment) -> Callable[[], None]:
        """What writes the run as it is now, and raises OSError. Raises TypeError for a state of other than tensors and
        plain values."""
        segment, steps, about, stop = moment.segment, moment.steps, moment.about, moment.stop
        known = [file for file in self.files if file["segment"] == segment.index]
        start, told = (known[-1]["stop"], known[-1]["steps"]) if known else (0, 0)
        count, since = len(steps), steps[told:]
        unit = snapshot({"latents": moment.x[:, :, start:stop], "steps": since, "about": about}) if stop else None
        rest = None if moment.is_last else snapshot(moment.state())

        def put(kind: str, packed: Callable[[], bytes]) -> dict[str, Any]:
            file, data = f"{kind}_{segment.index:03}_{count:05}{ENDING}", packed()
            disk.write(folder / file, data, lasting=True)
            return {"file": file, "checksum": disk.checksum(data), "segment": segment.index}

        def write() -> None:
            files, old, new = self.files, self.state, None
            if unit is not None:
                entry = {"stop": stop, "steps": count, "made": segment.start + stop}
                files = [*files, {**put("unit", unit), **entry}]
            if rest is not None:
                new = {**put("state", rest), "steps": [] if stop else since, "about": about}
            manifest = {
                "format": FORMAT,
                "version": VERSION,
                "who": self.who,
                "asked": self.asked,
                "frames": self.frames,
                "made": files[-1]["made"] if files else 0,
                "resumed": self.resumed,
                "files": files,
                "state": new,
            }
            disk.write_json(folder / MANIFEST, manifest, lasting=True)
            self.files, self.state = files, new
            if old:
                (folder / old["file"]).unlink(missing_ok=True)

        return write

    def went_on(self, made: Made, iterations: int) -> list[dict[str, Any]]:
        """Say that a run goes on behind what was made last, which took so many iterations of all segments. Where it
        went on so far, each time, for its trace, with the forwards spent on what was not kept (`Field.resume`)."""
        segment, whole = made.segment.index, made.segment.start + made.frames == self.frames
        chunk = sum(unit.stop <= made.frames for unit in made.segment.units)
        if made.finished and not whole:
            segment, chunk = segment + 1, 0
        if whole:
            logging.info("SCOPE: an earlier run has made this video; it is taken from disk.")
        else:
            at = {"segment": segment, "chunk": chunk, "iteration": iterations, "rebuilt": 0}
            self.resumed = [*self.resumed, at]
            logging.info(
                "SCOPE: an earlier run goes on, from chunk %d of segment %d, after %d iterations.",
                chunk + 1,
                segment + 1,
                iterations,
            )
        return self.resumed

    def give_up(self, error: Exception) -> None:
        """Go on without keeping; what was kept so far stays."""
        logging.warning("SCOPE: this run is not kept on disk from here on, where a kill would take it: %s", error)
        self.close()

    def close(self) -> None:
        """Leave the folder to whoever goes on, and none where nothing was kept."""
        self.finish_writing()
        if self.folder is not None:
            folder, self.folder = self.folder, None
            self.writer.shutdown()
            self.lock.release()
            if not (folder / MANIFEST).exists():
                shutil.rmtree(folder, ignore_errors=True)


class KeptRun(NamedTuple):
    """A folder of a run that nobody has removed."""

    folder: Path
    who: str
    asked: dict[str, Any]
    """Empty where the manifest is damaged."""
    frames: int
    """Latent frames of the video,"""
    made: int
    """and of it finished."""
    bytes: int
    changed: float
    """When it was written last, in seconds since 1970."""

    @property
    def finished(self) -> bool:
        return 0 < self.frames <= self.made


def runs(root: Path) -> list[KeptRun]:
    """All runs that are kept under a folder."""
    return [run for folder in sorted(root.glob("*/")) if (run := kept_run(folder))]


def kept_run(folder: Path) -> KeptRun | None:
    """What a folder holds, None where it is being removed."""
    try:
        files = [path.stat() for path in folder.iterdir()]
        told = disk.read(folder / MANIFEST, read_manifest) or {}
        changed = max((file.st_mtime for file in files), default=folder.stat().st_mtime)
    except OSError:
        return None
    return KeptRun(
        folder,
        told.get("who", ""),
        told.get("asked", {}),
        told.get("frames", 0),
        told.get("made", 0),
        sum(file.st_size for file in files),
        changed,
    )


def remove(folder: Path) -> None:
    """Remove a run. Raises OSError where a process is at work on it."""
    lock = disk.hold(folder)
    try:
        for path in folder.iterdir():
            if path.name != Path(lock.lock_file).name:
                path.unlink()
    finally:
        lock.release()
    shutil.rmtree(folder, ignore_errors=True)


def read_manifest(path: Path) -> dict[str, Any]:
    """Raises an exception for anything else."""
    manifest = disk.read_json(path)
    if manifest.get("format") != FORMAT or manifest["version"] != VERSION:
        raise disk.DamagedError("it is not the manifest of a run of this version of SCOPE")
    return manifest


def contents(folder: Path, file: Mapping[str, Any]) -> bytes | None:
    """Of a file that a manifest names, None where it is missing or damaged."""

    def whole(path: Path) -> bytes:
        data = path.read_bytes()
        disk.check(data, file["checksum"])
        return data

    return disk.read(folder / file["file"], whole)


def checksum(latents: Tensor) -> str:
    """Of a tensor's shape, type and numbers."""
    held = latents.detach().cpu().contiguous()
    digest = hashlib.blake2b(f"{list(held.shape)} {held.dtype}".encode(), digest_size=8)
    digest.update(held.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


DIGEST = re.compile("[0-9a-f]{16}")


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """In sentences, what was asked for now and not before."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = {**before, **now}
        return [line for each in names for line in differences(before.get(each), now.get(each), f"{name} {each}")]
    if before == now:
        return []
    told = [json.dumps(value, ensure_ascii=False) for value in (before, now)]
    if max(map(len, told)) > MOST_LETTERS or any(DIGEST.fullmatch(str(value)) for value in (before, now)):
        return [f"{name.strip()} is another"]
    return [f"{name.strip()} is {told[1]} and was {told[0]}"]
