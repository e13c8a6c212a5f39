"""Jobs on the machines of a Ray cluster, which need this pack's `ray` extra and a ComfyUI each.

The pack itself travels with the jobs, and results come back through Ray's object store: no folder has to be shared.
"""

import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .graph import WorkflowError
from .jobs import Here, Job, Made, Pool, Worker
from .launcher import PACK, HostError

TOKEN = Path.home() / ".ray" / "auth_token"
"""What a cluster is guarded with, since Ray 2.52."""
PATIENCE = 10.0
"""Seconds that the head of a cluster has to answer."""
LEFT_OUT = [".git", "tests", "docs", "**/__pycache__"]
"""Of the pack, where ComfyUI runs it."""


def connect(address: str, left_out: Iterable[str] = ()) -> Any:
    """Ray, connected to a cluster, or on this machine alone at `local`. Raises `WorkflowError`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machines
    if address != "local" and TOKEN.exists():  # `ray start` then asks for it, and Ray does not show it by itself
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError as missing:
        raise WorkflowError(
            'Ray is not installed in this Python. To install: python -m pip install "scope-for-comfyui[ray]", or ray'
            " alone. Without --ray the jobs run on this machine."
        ) from missing
    travels = {"working_dir": str(PACK), "excludes": list(left_out)}
    host, _, port = address.rpartition(":")
    try:
        if host:  # Ray itself asks for minutes
            socket.create_connection((host.removeprefix("ray://"), int(port)), timeout=PATIENCE).close()
        ray.init(address, runtime_env=travels, logging_level="WARNING")
    except (OSError, ValueError, RuntimeError) as problem:
        raise WorkflowError(
            f"--ray {address}: no cluster answers ({problem}). Start one with `ray start --head`, and give its address,"
            f" such as 10.0.0.1:6379, or auto on one of its machines; {TOKEN} has to be the same on all of them. local"
            " needs no cluster."
        ) from problem
    return ray


def shares(ray: Any, workers: int | None) -> tuple[int, dict[str, float]]:
    """Number of workers and what each takes: a GPU, or else a machine's CPUs, unless there are more workers."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus, cpus = (sum(machine.get(kind, 0) for machine in machines) for kind in ("GPU", "CPU"))
    workers = workers or int(gpus) or len(machines)
    cpu = min(cpus / workers, *(machine["CPU"] for machine in machines if "CPU" in machine))
    return workers, {"num_gpus": min(1, gpus / workers), "num_cpus": cpu if cpu < 1 else int(cpu)}


class Cluster:
    """A worker for every GPU of a cluster, or every machine where there are none. One that ends is replaced, unless it
    ended before it was ready."""

    def __init__(self, address: str, workers: int | None, comfyui: Path | None):
        self.ray = connect(address, LEFT_OUT)
        count, share = shares(self.ray, workers)
        # The job is tried again by whoever gives it, on another worker.
        kind = self.ray.remote(Worker).options(scheduling_strategy="SPREAD", max_restarts=0, **share)
        self.start = lambda: kind.remote(comfyui)
        self.workers = [self.start() for _ in range(count)]
        self.ready: list[Any] = []
        self.waited: dict[Any, tuple[Any, Job | None]] = {}
        """What is waited for, by whom, and for which job."""
        self.needs: tuple[dict, dict] = ({}, {})
        self.reason = ""
        print(f"{count} workers, each with {share['num_gpus']:g} GPU and {share['num_cpus']:g} CPU", flush=True)

    @property
    def free(self) -> int:
        return len(self.ready)

    def object_info(self) -> dict:
        waited = {worker.object_info.remote(): worker for worker in self.workers}
        while waited:
            (first,), _ = self.ray.wait(list(waited))
            worker = waited.pop(first)
            try:
                return self.ray.get(first)
            except self.ray.exceptions.RayError as failure:
                self.end(worker, failure)
        raise HostError(f"No worker could be started: {self.reason}")

    def begin(self, workflow: dict, prompt: dict) -> None:
        self.needs = workflow, prompt
        for worker in self.workers:
            self.await_check(worker)

    def await_check(self, worker: Any) -> None:
        self.waited[worker.check.remote(*self.needs)] = worker, None

    def submit(self, job: Job) -> None:
        worker = self.ready.pop(0)
        self.waited[worker.make.remote(job.prompt, job.workflow)] = worker, job

    def next(self) -> tuple[Job, Made | HostError] | None:
        if not self.waited:
            raise HostError(f"No worker is left. The last one ended so: {self.reason}")
        (first,), _ = self.ray.wait(list(self.waited))
        worker, job = self.waited.pop(first)
        try:
            made = self.ray.get(first)
        except self.ray.exceptions.RayError as failure:
            self.end(worker, failure)
            if job is None:
                return None
            self.workers.append(self.start())
            self.await_check(self.workers[-1])
            return job, HostError(self.reason)
        self.ready.append(worker)
        return None if job is None else (job, made)

    def end(self, worker: Any, failure: Exception) -> None:
        cause = failure.cause if isinstance(failure, self.ray.exceptions.RayTaskError) else failure
        self.reason = str(cause).strip()
        self.workers.remove(worker)
        self.ray.kill(worker)

    def close(self) -> None:
        self.ray.shutdown()


def everywhere(address: str, workers: int | None, call: Callable[..., None], *arguments: Any) -> None:
    """Have workers of a cluster do the same work, which they share by what they find in a folder. Raises what one of
    them raises, when all have ended."""
    ray = connect(address)
    count, share = shares(ray, workers)
    task = ray.remote(call).options(scheduling_strategy="SPREAD", **share)
    try:
        calls = [task.remote(*arguments) for _ in range(count)]
        ray.wait(calls, num_returns=count)
        ray.get(calls)
    finally:
        ray.shutdown()


def pool_of(ray: str | None, workers: int | None, comfyui: Path | None, out: Path) -> Pool:
    """Workers of a cluster, or where none is named one in this process. Raises `WorkflowError`, `HostError`."""
    if ray is None:
        if workers not in (None, 1):
            raise WorkflowError(f"--workers is {workers}; without --ray there is one. Add --ray local, or an address.")
        return Here(comfyui, out)
    return Cluster(ray, workers, comfyui)
