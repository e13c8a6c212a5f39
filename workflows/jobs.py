"""Lists of jobs: each is made once, by a ComfyUI of this process (`Here`) or by several of a Ray cluster
(`workflows.cluster`).

A job is done when its file is there; files are written whole. While a job is made its file is claimed, so that several
commands may share a folder, and a command that was ended goes on where it was.
"""

import hashlib
import os
import re
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from scope_core import __version__, disk

from .graph import WorkflowError
from .launcher import CACHE, HostError, find_or_build, require_models
from .progress import Progress

UNFINISHED = "unfinished"
"""Folder of runs that were ended, and of what ComfyUI kept of those that failed."""
CLAIMS = ".claims"
PATIENCE = 1200.0
"""Seconds that ComfyUI may take to start; several may do so on one machine."""
LOSSES = 3
"""Workers that a job may end before it counts as failed."""
FAILURES = 3
"""Jobs that may fail before one is made. What is wrong with so many is wrong with all."""


@dataclass(frozen=True, eq=False)
class Job:
    """A run of ComfyUI."""

    file: Path
    """Where it is there, the job is done."""
    prompt: dict
    """In the API format."""
    workflow: dict | None = None
    """The saved graph, which ComfyUI stores in the files."""
    about: dict[str, Any] = field(default_factory=dict)
    """What whoever keeps the result wants to know."""


class Made(NamedTuple):
    """What a worker made of a job."""

    outputs: dict
    """By node, as in ComfyUI's history."""
    files: dict[str, bytes]
    """All that was written, by path within the output folder."""
    seconds: float
    environment: dict[str, str]
    error: str = ""
    """Why it failed. `files` are then what ComfyUI kept of it."""


class Worker:
    """A ComfyUI with folders of its own, which makes one job after the other. Raises `HostError` where it cannot be
    started or has ended."""

    def __init__(self, comfyui: Path | None = None, log: Path | None = None, unfinished: Path | None = None):
        """`unfinished`: user folder, where runs that were ended go on; by default that of all workers of a machine."""
        self.host = find_or_build(comfyui)
        print(f"Starting ComfyUI from {self.host.root} ...", flush=True)
        self.closing = ExitStack()
        user = (unfinished or CACHE / UNFINISHED).resolve()
        user.mkdir(parents=True, exist_ok=True)
        self.server = self.closing.enter_context(
            self.host.serve(log=log, arguments=["--user-directory", str(user)], patience=PATIENCE)
        )
        stats = self.server.request("GET", "/system_stats")[1]
        self.environment = {
            "pack": __version__,
            **{name: stats["system"][name] for name in ("comfyui_version", "pytorch_version", "python_version")},
            "device": stats["devices"][0]["name"],
        }

    def object_info(self) -> dict:
        return self.server.object_info()

    def check(self, workflow: dict, prompt: dict) -> None:
        """Raise `WorkflowError` for model files that are not there."""
        require_models(workflow, prompt, self.host, self.server)

    def make(
        self, prompt: dict, workflow: dict | None = None, on_event: Callable[[str, dict], None] | None = None
    ) -> Made:
        began, outputs, error = time.monotonic(), {}, ""
        try:
            outputs = self.server.run(prompt, on_event=on_event, workflow=workflow)["outputs"]
        except WorkflowError as failure:
            error = str(failure)
        except (OSError, HTTPException, ValueError) as failure:
            raise HostError(f"ComfyUI does not answer any more ({failure}).") from failure
        written = [path for path in self.server.output.rglob("*") if path.is_file()]
        files = {path.relative_to(self.server.output).as_posix(): path.read_bytes() for path in written}
        for path in written:
            path.unlink()
        return Made(outputs, files, time.monotonic() - began, self.environment, error)

    def close(self) -> None:
        self.closing.close()


class Pool(Protocol):
    """Workers. One that ends is replaced."""

    free: int
    """Workers that wait for a job."""

    def object_info(self) -> dict:
        """Nodes that ComfyUI has. Raises `HostError` where no worker can be started."""

    def begin(self, workflow: dict, prompt: dict) -> None:
        """Have every worker check its models before its first job."""

    def submit(self, job: Job) -> None:
        """Give a job to a free worker."""

    def next(self) -> tuple[Job, Made | HostError] | None:
        """Wait for a job that is made or whose worker has ended, or for a worker to be free. Raises `HostError` where
        none is left."""

    def close(self) -> None: ...


class Here:
    """One worker, in this process."""

    def __init__(self, comfyui: Path | None, out: Path):
        out.mkdir(parents=True, exist_ok=True)
        self.start = lambda: Worker(comfyui, out / "comfyui.log", out / UNFINISHED)
        self.worker: Worker | None = self.start()
        self.free, self.job = 1, None

    def object_info(self) -> dict:
        return self.worker.object_info()

    def begin(self, workflow: dict, prompt: dict) -> None:
        self.worker.check(workflow, prompt)

    def submit(self, job: Job) -> None:
        self.free, self.job = 0, job

    def next(self) -> tuple[Job, Made | HostError]:
        self.worker = self.worker or self.start()
        self.free = 1
        progress = Progress(self.job.prompt)
        try:
            return self.job, self.worker.make(
                self.job.prompt, self.job.workflow, progress if progress.on_terminal else None
            )
        except HostError as lost:
            self.close()
            return self.job, lost
        finally:
            progress.close()

    def close(self) -> None:
        if self.worker:
            self.worker.close()
            self.worker = None


def work(jobs: Iterable[Job], pool: Pool, keep: Callable[[Job, Made], str], out: Path) -> None:
    """Make the jobs that are not done; `keep` writes what became of one, the job's own file last, and tells it in a few
    words. In the folder `out` there are claims while there are any, and what ComfyUI kept of jobs that failed.

    Raises `WorkflowError` at the end for those that failed.
    """
    task = Task(jobs, pool, keep, out)
    try:
        while task.hand_out():
            if ended := pool.next():
                task.settle(*ended)
    finally:
        task.close()
    task.tell()


def clear(out: Path) -> None:
    """Remove what runs left in the folder for going on, unless another command works there and may need it."""
    if not (out / CLAIMS).exists():
        shutil.rmtree(out / UNFINISHED, ignore_errors=True)


class Task:
    """A list in the works."""

    def __init__(self, jobs: Iterable[Job], pool: Pool, keep: Callable[[Job, Made], str], out: Path):
        self.pool, self.keep, self.out = pool, keep, out
        self.waiting = deque(job for job in jobs if not job.file.exists())
        self.total, self.began = len(self.waiting), time.monotonic()
        self.claims: dict[Job, ExitStack] = {}
        """Of the jobs that workers have."""
        self.lost: Counter[Job] = Counter()
        self.made, self.elsewhere = 0, 0
        self.failed: list[str] = []

    def hand_out(self) -> bool:
        """Give every free worker a job. Whether there is something to wait for."""
        while self.waiting and self.pool.free:
            job, claim = self.waiting.popleft(), ExitStack()
            if claim.enter_context(disk.claim(self.out / CLAIMS / named(job.file))) and not job.file.exists():
                self.claims[job] = claim
                self.pool.submit(job)
            else:
                claim.close()
                self.elsewhere += 1
        return bool(self.waiting or self.claims)

    def settle(self, job: Job, result: Made | HostError) -> None:
        """Keep what was made, before another command may claim the job."""
        if isinstance(result, HostError):
            self.lose(job, result)
        elif result.error:
            self.fail(job, result.error)
            for name, data in result.files.items():
                disk.write(self.out / UNFINISHED / f"{job.file.stem}-{Path(name).name}", data)
        else:
            said = self.keep(job, result)
            self.made += 1
            rest = self.total - self.made - len(self.failed) - self.elsewhere
            left = (time.monotonic() - self.began) / self.made * rest
            print(f"  {self.made} of {self.total}, {left / 3600:.1f} h left: {said}", flush=True)
        self.claims.pop(job).close()
        if len(self.failed) >= FAILURES and not self.made:
            raise WorkflowError(f"The first {FAILURES} failed, and no further one is begun. {self.failed[-1]}")

    def lose(self, job: Job, why: HostError) -> None:
        self.lost[job] += 1
        print(f"  A worker ended and is replaced: {why}", flush=True)
        if self.lost[job] < LOSSES:
            self.waiting.appendleft(job)
        else:
            self.fail(job, f"it ended {LOSSES} workers, the last one so: {why}")

    def fail(self, job: Job, why: str) -> None:
        self.failed.append(f"{job.file.stem}: {why}")
        print(f"  Failed: {self.failed[-1]}", flush=True)

    def close(self) -> None:
        for claim in self.claims.values():
            claim.close()
        with suppress(OSError):  # another command's claims are there
            (self.out / CLAIMS).rmdir()

    def tell(self) -> None:
        """Raises `WorkflowError`."""
        if self.elsewhere:
            print(f"{self.elsewhere} are left to another command that works in this folder.", flush=True)
        if self.failed:
            said = f"{len(self.failed)} of {self.total} failed. The same command tries again:"
            raise WorkflowError("\n  ".join([said, *self.failed]))


def named(path: Path) -> str:
    """A file's name for another one about it, which is short where its own is as long as names can be."""
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:16]


def slug(text: str, most: int = 40) -> str:
    """A part of a file's name that tells the text."""
    return re.sub(r"[^\w.]+", "-", text.lower())[:most].strip("-.")
