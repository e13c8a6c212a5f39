"""docs/architecture.md, law 9: what is kept on disk is whole or absent. Two processes, kills, damage of every kind, and
files of earlier versions."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scope_core import SKYREELS, disk
from scope_core.signals import CONTENT, NotFiniteSignalError, change_table, maps, table
from scope_core.signals.maps import SignalMaps, entry
from scope_core.study import calibration
from scope_core.study.calibration import Calibration, CalibrationError, Calibrations, Circumstances

resource = pytest.importorskip("resource", reason="the tests fork")
SCHEDULE = SKYREELS.schedule(8, 10)
CIRCUMSTANCES = Circumstances.of("model", SCHEDULE, 6.0)
CALIBRATION = Calibration(CIRCUMSTANCES, (1.0,) * 10, {"sigma": (0.1,) * 10})
CHILD = multiprocessing.get_context("fork")
"""A process of its own that has torch already; it must not compute with it."""


class Network(SimpleNamespace):
    """What maps ask of a model; `number` tells it from others, at `broken` it is NaN."""

    number: int = 1
    broken: float = -1.0

    def features(self, name: str, sigma: np.ndarray) -> torch.Tensor:
        angles = torch.as_tensor(np.outer(sigma, np.arange(1, 9) * self.number))
        return torch.where(torch.as_tensor(np.abs(sigma - self.broken) < 0.01)[:, None], torch.nan, angles.cos())


def fill(folder: Path, steps: float = 0.02) -> None:
    """Every kind of file."""
    known = SignalMaps(folder)
    known.learn("key", Network(), SCHEDULE, "whole")
    known.learn_content("key", "latent", SCHEDULE, {step: [steps] for step in range(1, 11)})
    known.learn_length("start", 3)
    Calibrations(folder / "calibration").save(CALIBRATION)


def fill_as_before(folder: Path) -> None:
    """The same without versions and checksums."""
    fill(folder)
    for name in maps.TABLES:
        file = folder / f"{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text())["entries"]))
    for file in folder.glob(f"*{maps.MAP}"):
        np.save(file.with_suffix(maps.BARE), maps.read_map(file))
        file.unlink()
    for file in (folder / "calibration").glob("*.json"):
        file.write_text(json.dumps(CALIBRATION.to_json()))


def ask(folder: Path) -> dict:
    """Everything that is read for plans and runs."""
    known = SignalMaps(folder)
    tables = {name: known.table("key", name, SCHEDULE) for name in ("modulation", "embedding", "latent")}
    try:
        ratios = Calibrations(folder / "calibration").find(CIRCUMSTANCES).ratios
    except CalibrationError:
        ratios = None
    return {
        **{name: (found.tolist(), why) for name, (found, why) in tables.items()},
        "knows": known.knows("key", SCHEDULE),
        "last": known.last(SCHEDULE.family),
        "identity": known.identity("key", SCHEDULE),
        "length": known.length("start"),
        "ratios": ratios,
    }


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("intact")
    fill(folder)
    assert len(files_of(folder)) == 8
    return ask(folder)


DAMAGE = {
    "empty": lambda data: b"",
    "torn": lambda data: data[: len(data) // 2],
    "torn at the end": lambda data: data[:-1],
    "one bit": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
    "noise": lambda data: np.random.default_rng(0).bytes(len(data)),
    "zeros": lambda data: bytes(len(data)),
    "a list": lambda data: b"[1, 2]",
    "null": lambda data: b"null",
    "a deep list": lambda data: b"[" * 100_000,
    "an object of something else": lambda data: b'{"a": {"b": [1.5]}}',
}


@pytest.mark.parametrize(
    "made, damage",
    [(fill, damage) for damage in DAMAGE] + [(fill_as_before, damage) for damage in DAMAGE if damage != "one bit"],
)
def test_a_damaged_file_is_set_aside_with_one_warning_and_made_again(tmp_path, intact, made, damage, caplog):
    made(tmp_path / "made")
    for name in [file.relative_to(tmp_path / "made") for file in files_of(tmp_path / "made")]:
        folder = tmp_path / name.stem
        shutil.copytree(tmp_path / "made", folder)
        file = folder / name
        damaged = DAMAGE[damage](file.read_bytes())
        file.write_bytes(damaged)
        caplog.clear()
        assert ask(folder) != intact
        ask(folder)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING and f"{file} is damaged" in record.getMessage()
        assert not file.exists() and file.with_name(f"{file.name}.damaged").read_bytes() == damaged
        fill(folder)
        assert ask(folder) == intact


def test_files_of_earlier_versions_are_read(tmp_path, intact, caplog):
    fill_as_before(tmp_path)
    assert {file.suffix for file in files_of(tmp_path)} == {".json", ".npy"}
    assert ask(tmp_path) == intact and not caplog.records
    fill(tmp_path, steps=0.04)
    assert ask(tmp_path) == intact | {"latent": ask(tmp_path)["latent"]} != intact


def test_a_folder_in_the_place_of_a_file_is_set_aside(tmp_path, intact):
    (tmp_path / "models.json").mkdir()
    fill(tmp_path)
    assert ask(tmp_path) == intact


def test_where_nothing_can_be_written_runs_go_on(tmp_path, caplog):
    (tmp_path / "taken").write_text("a file where the folder should be")
    nothing = ask(tmp_path / "taken")
    assert not nothing["knows"] and nothing["length"] is None and nothing["modulation"][1] == maps.NOT_YET
    with pytest.raises(OSError, match="taken"):
        fill(tmp_path / "taken")


def put(folder: Path, name: str, count: int, start) -> None:
    start.wait()
    for i in range(count):
        SignalMaps(folder).learn_length(f"{name} {i}", i + 1)


def test_two_processes_do_not_lose_each_other_s_entries(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "PATIENCE", 300)  # who has just let go may have the lock first, many times in a row
    start = CHILD.Barrier(2)
    writers = [CHILD.Process(target=put, args=(tmp_path, name, 100, start)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(600)
        assert writer.exitcode == 0
    known = SignalMaps(tmp_path)
    assert all(known.length(f"{name} {i}") == i + 1 for name in "ab" for i in range(100))


def write_for_ever(folder: Path) -> None:
    changes = np.random.default_rng(0).random((600, 600), dtype=np.float32)
    for i in range(1_000_000):
        SignalMaps(folder).put_map(f"model{i % 2}", "modulation", changes + i)
        SignalMaps(folder).learn_length(f"key {i}", 1)
        Calibrations(folder / "calibration").save(CALIBRATION)


def test_kills_leave_whole_files_and_a_free_folder(tmp_path, caplog):
    for i in range(12):
        writers = [CHILD.Process(target=write_for_ever, args=(tmp_path,)) for _ in range(2)]
        for writer in writers:
            writer.start()
        time.sleep(0.05 + 0.007 * i)
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
        for file in tmp_path.glob("*.json"):
            maps.read_table(file)
        for file in tmp_path.glob(f"*{maps.MAP}"):
            maps.read_map(file)
        for file in (tmp_path / "calibration").glob("*.json"):
            calibration.read_calibration(file)
    fill(tmp_path)
    assert len(list(tmp_path.rglob("*.json"))) == 5 and not list(tmp_path.rglob(f"*{disk.FRESH}"))
    assert not caplog.records


def fill_until_the_file_is_too_large(folder: Path, most_bytes: int, killed: bool) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if killed else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    try:
        SignalMaps(folder).learn_length("another", 4)
    except OSError:
        os._exit(3)


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "disk full"])
def test_a_write_that_ends_halfway_leaves_what_was_there(tmp_path, intact, killed, caplog):
    """By a limit of the system on the size of files."""
    fill(tmp_path)
    writer = CHILD.Process(target=fill_until_the_file_is_too_large, args=(tmp_path, 20, killed))
    writer.start()
    writer.join()
    assert writer.exitcode == (-signal.SIGXFSZ if killed else 3)
    assert bool(list(tmp_path.glob(f"*{disk.FRESH}"))) == killed
    assert ask(tmp_path) == intact and not caplog.records
    fill(tmp_path)
    assert not list(tmp_path.glob(f"*{disk.FRESH}"))


def hold(folder: Path, held) -> None:
    with disk.lock(folder):
        held.set()
        time.sleep(600)


def test_a_folder_that_stays_taken_is_an_error_of_the_system_and_ends_with_its_holder(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "PATIENCE", 0.2)
    held = CHILD.Event()
    holder = CHILD.Process(target=hold, args=(tmp_path, held))
    holder.start()
    held.wait()
    with pytest.raises(OSError, match=r"\.lock"):
        fill(tmp_path)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    fill(tmp_path)


def test_maps_that_were_used_longest_ago_make_room(tmp_path, monkeypatch):
    known = SignalMaps(tmp_path)
    sizes = []
    for key, number in (("a", 1), ("b", 2), ("a", 1), ("c", 3)):
        known.learn(key, Network(number=number), SCHEDULE)
        sizes.append(sum(file.stat().st_size for file in tmp_path.glob(f"*{maps.MAP}")))
        monkeypatch.setattr(maps, "MOST_BYTES", int(2.1 * sizes[0]))
        time.sleep(0.02)
    assert sizes[1:] == [2 * sizes[0]] * 3
    assert [known.knows(key, SCHEDULE) for key in "abc"] == [True, False, True]
    assert known.table("b", "modulation", SCHEDULE)[1] == maps.NOT_YET
    known.learn("b", Network(number=2), SCHEDULE)
    assert known.knows("b", SCHEDULE) and not known.knows("a", SCHEDULE)


def test_calibrations_make_room_too(tmp_path, monkeypatch):
    kept = Calibrations(tmp_path)
    monkeypatch.setattr(calibration, "MOST_BYTES", 3 * kept.save(CALIBRATION).stat().st_size)
    for steps in range(11, 20):
        kept.save(Calibration(Circumstances.of("model", SKYREELS.schedule(8, steps), 6.0), (1.0,) * steps, {}))
        time.sleep(0.03)
    assert 2 <= len(list(tmp_path.glob("*.json"))) <= 4
    with pytest.raises(CalibrationError, match="steps 1[789]"):
        kept.find(CIRCUMSTANCES)


def test_a_signal_that_is_not_finite_is_refused_with_its_level_and_not_kept(tmp_path):
    known = SignalMaps(tmp_path)
    sentence = r"signal 'modulation' of this model is NaN or infinite at noise level 0\.(49|50).*bf16 or fp32"
    with pytest.raises(NotFiniteSignalError, match=sentence):
        known.learn("key", Network(broken=0.5), SCHEDULE)
    with pytest.raises(NotFiniteSignalError, match=sentence):
        change_table("modulation", np.array([0.9, 0.5, 0.1, 0.0]), Network(broken=0.5))
    known.learn("key", Network(), SCHEDULE)
    with pytest.raises(NotFiniteSignalError, match="signal 'latent'"):
        known.learn_content("key", "latent", SCHEDULE, {3: [np.inf]})
    assert not list(tmp_path.glob("*latent*")) and len(list(tmp_path.glob(f"*{maps.MAP}"))) == 2


def test_every_content_signal_is_told_by_its_file(tmp_path):
    assert not any(name.endswith(CONTENT) for name in table.SCHEDULED)
    known = SignalMaps(tmp_path)
    known.learn("key", Network(), SCHEDULE)
    for name in CONTENT:
        known.learn_content("key", name, SCHEDULE, {step: [0.1] for step in range(1, 11)})
        assert "last run" in known.table("key", name, SCHEDULE)[1], name
    assert entry("key", SCHEDULE) in known.models()


def test_a_claim_that_ends_is_never_anothers(tmp_path, monkeypatch):
    """One takes it over while its file is about to go."""
    file, taken, done = tmp_path / "file", Event(), Event()

    def wait():
        with disk.claim(file, wait=True):
            taken.set()
            done.wait()

    def unlink(path, *args, unlink=Path.unlink, **kwargs):
        taken.wait(0.5)
        unlink(path, *args, **kwargs)

    waits = Thread(target=wait, daemon=True)
    with disk.claim(file):
        waits.start()
        monkeypatch.setattr(Path, "unlink", unlink)
    assert taken.wait(120)
    with disk.claim(file) as mine:
        assert not mine
    done.set()
    waits.join()
    assert not list(tmp_path.iterdir())
