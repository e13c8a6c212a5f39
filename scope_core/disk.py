"""Files that outlive a run: whole or absent (docs/architecture.md, law 9).

They are written beside and renamed. Where several processes share a folder, each holds its lock while it changes
anything there. Whoever reads a damaged file sets it aside, and goes on as if there were none.
"""

import json
import logging
import os
import secrets
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import BaseFileLock, FileLock, Timeout

PATIENCE = 10.0
"""Seconds to wait for whoever holds a folder, and only writes a few files meanwhile."""
FRESH = ".new"
"""Ending of a file that is being written."""
DAMAGED = ".damaged"
"""Ending of a file that was set aside."""

T = TypeVar("T")


class DamagedError(ValueError):
    """A file that is not what was written. The message says what is wrong with it."""


def lock(folder: Path) -> BaseFileLock:
    """The lock of a folder, which is made if need be: for one thread of one process at a time, which may take it again.
    It ends with the process. Raises OSError where the folder cannot be written, or stays taken."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / ".lock", timeout=PATIENCE, is_singleton=True)


def hold(folder: Path) -> BaseFileLock:
    """The lock of a folder, taken at once until it is released or the process ends. Raises OSError where another
    process has it, or the folder cannot be written."""
    held = lock(folder)
    held.acquire(timeout=0)
    return held


def write(path: Path, data: bytes, lasting: bool = False) -> None:
    """Write a file whole or not at all; `lasting` waits for the disk, so that a power cut does not take it. Raises
    OSError."""
    with beside(path) as fresh, fresh.open("wb") as file:
        file.write(data)
        if lasting:
            file.flush()
            os.fsync(file.fileno())
    if lasting and os.name != "nt":
        settle(path.parent)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `path` in the end, or goes where that fails. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}{FRESH}")
    try:
        yield fresh
        fresh.replace(path)
    except BaseException:
        with suppress(OSError):
            fresh.unlink()
        raise


def settle(folder: Path) -> None:
    """Wait until the disk has the names in a folder. Windows has no such call, and writes them through."""
    entries = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(entries)
    finally:
        os.close(entries)


def checksum(data: bytes | memoryview) -> str:
    return f"{zlib.crc32(data):08x}"


def check(data: bytes | memoryview, stated: str | None) -> None:
    """Raises DamagedError."""
    if checksum(data) != stated:
        raise DamagedError("its checksum does not fit")


def write_json(path: Path, content: dict[str, Any], lasting: bool = False) -> None:
    """Write an object with its checksum. Raises OSError."""
    data = json.dumps({**content, "checksum": checksum(json.dumps(content).encode())}).encode()
    write(path, data, lasting)


def read_json(path: Path) -> dict[str, Any]:
    """An object of `write_json`, or of a version that knew no checksum yet. Raises ValueError for anything else."""
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise DamagedError("it is not an object")
    if "checksum" in content:
        stated = content.pop("checksum")
        check(json.dumps(content).encode(), stated)
    return content


def read(path: Path, parse: Callable[[Path], T]) -> T | None:
    """What `parse` makes of a file, None where there is none. One that it cannot make anything of is renamed to
    NAME.damaged with a warning, and is None as well."""
    with suppress(Exception):
        return parse(path)
    try:
        if path.exists():
            with lock(path.parent):
                return read_or_set_aside(path, parse)
    except OSError as error:
        logging.warning("SCOPE: %s is left out: it is damaged, and cannot be set aside (%s)", path, error)
    return None


def read_or_set_aside(path: Path, parse: Callable[[Path], T]) -> T | None:
    """Once more under the lock, for another process may have set the file aside or mended it. Raises OSError."""
    try:
        return parse(path) if path.exists() else None
    except Exception as damage:  # noqa: BLE001 - whatever damage makes a parser do
        path.replace(path.with_name(path.name + DAMAGED))
        logging.warning("SCOPE: %s is damaged (%s). It is set aside as %s", path, damage, path.name + DAMAGED)
        return None


def trim(folder: Path, endings: tuple[str, ...], most_bytes: int) -> None:
    """Remove the files with these endings that were used longest ago until the others fit, and what a process that was
    killed had half written. Raises OSError."""
    with lock(folder):
        for left in folder.glob(f"*{FRESH}"):
            left.unlink()
        kept = [(path, path.stat()) for path in folder.iterdir() if path.suffix in endings]
        excess = sum(stat.st_size for _, stat in kept) - most_bytes
        for path, stat in sorted(kept, key=lambda each: each[1].st_mtime_ns):
            if excess > 0:
                excess -= stat.st_size
                path.unlink()


@contextmanager
def claim(path: Path, wait: bool = False) -> Iterator[bool]:
    """The making of one file, for one process at a time, and whether it is this one's; another's claim is waited for or
    left alone. It ends with the process. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):  # Windows removes it when it is released
            Path(lock.lock_file).unlink()  # while it is held: behind that it may be another's
        lock.release()
