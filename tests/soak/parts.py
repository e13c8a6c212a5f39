"""The parts of the soak: each takes a host and a number, asserts what has to be true, and returns figures."""

import json
import math
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from safetensors.numpy import load_file

from workflows import examples
from workflows.graph import WorkflowError
from workflows.launcher import Host, HostError, Server

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "fuzz")]

from prompts import case_of, complete, graph_of  # noqa: E402
from serving import ask  # noqa: E402

Figures = dict[str, Any]
STEPS = 12
WARM_UP = 0.2
"""Share of the runs at the beginning in which memory may grow: torch, caches and tables fill."""
LEAK = 0.02
"""MB a run."""


def graph(server: Server, name: str, **changes: Any) -> dict:
    """The demo's usual run, its latent saved under a name."""
    case = {
        "sampler.steps": STEPS,
        "sampler.preset": "balanced",
        "save.filename_prefix": name,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    return complete(graph_of(case), server.object_info())


def latent(server: Server, name: str) -> np.ndarray:
    newest = max(server.output.glob(f"{name}_*.latent"))
    return load_file(newest)["latent_tensor"]


def servers_of(process: psutil.Process) -> list[psutil.Process]:
    """ComfyUIs that a process has started, not their watchers."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in process.children():
            with suppress(psutil.NoSuchProcess):
                found += [child] if "--port" in child.cmdline() else []
    return found


def process_of(server: Server) -> psutil.Process:
    return next(found for found in servers_of(psutil.Process()) if str(server.port) in found.cmdline())


@contextmanager
def folders() -> Iterator[tuple[Path, Path]]:
    """For output and user."""
    with tempfile.TemporaryDirectory(prefix="scope-soak-") as folder:
        made = Path(folder, "output"), Path(folder, "user")
        for each in made:
            each.mkdir()
        yield made


@contextmanager
def serving(host: Host, output: Path, user: Path, *arguments: str) -> Iterator[Server]:
    options = ["--user-directory", str(user), *arguments]
    with host.serve(output, output.parent / f"{output.name}.log", options) as server:
        yield server


@contextmanager
def place(host: Host, *arguments: str) -> Iterator[Server]:
    """A server with folders of its own."""
    with folders() as (output, user), serving(host, output, user, *arguments) as server:
        yield server


@contextmanager
def custom_node(code: str) -> Iterator[list[str]]:
    """What a server has to be told to run some code as a custom node."""
    with tempfile.TemporaryDirectory(prefix="scope-soak-") as folder:
        nodes, paths = Path(folder, "nodes"), Path(folder, "paths.yaml")
        nodes.mkdir()
        (nodes / "soak.py").write_text(f"{code}\nNODE_CLASS_MAPPINGS = {{}}\n")
        paths.write_text(json.dumps({"soak": {"base_path": folder, "custom_nodes": "nodes"}}))
        yield ["--extra-model-paths-config", str(paths)]


MEMORY = """
import ctypes, gc
import psutil
from aiohttp import web
from server import PromptServer

@PromptServer.instance.routes.get("/soak/memory")
async def memory(request):
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return web.json_response(psutil.Process().memory_info().rss)
"""
"""Has the server give back what it does not use, and tells what it then has in memory. Needs Linux with glibc, which
else keeps what the largest run so far has freed."""


@contextmanager
def measured(host: Host) -> Iterator[Server]:
    """A server whose memory can be read, and that forgets what earlier prompts gave: ComfyUI's usual cache remembers
    the inputs of every node that ever failed."""
    with custom_node(MEMORY) as more, place(host, "--cache-classic", *more) as server:
        yield server


def slope(values: Sequence[float]) -> tuple[float, float]:
    """Of a straight line through values one apart, by least squares, and the half of its 95 % interval."""
    x, y = np.arange(len(values)) - (len(values) - 1) / 2, np.asarray(values, dtype=float)
    steep = float(x @ y / (x @ x))
    rest = y - y.mean() - steep * x
    error = math.sqrt(float(rest @ rest) / (len(values) - 2) / float(x @ x))
    return steep, 1.96 * error


def watched(server: Server, count: int, run: Callable[[int], str]) -> Figures:
    """Memory and open files of a `measured` server over runs, of which `run` tells how each ended."""
    process, ended = process_of(server), Counter[str]()
    memory, files = [], []
    for i in range(count):
        ended[run(i)] += 1
        server.request("POST", "/history", {"clear": True})  # which ComfyUI keeps for the browser
        memory.append(server.request("GET", "/soak/memory")[1] / 1e6)
        files.append(open_files(process))
        if i % 20 == 19:
            print(f"  {i + 1} of {count}, {memory[-1]:.1f} MB, {files[-1]} files, {dict(ended)}", flush=True)
    warm = int(count * WARM_UP)
    grows, within = slope(memory[warm:])
    files_grow, files_within = slope(files[warm:])
    return {
        "count": count,
        "ended": dict(ended),
        "measured": count - warm,
        "slope": grows,
        "interval": within,
        "megabytes": [memory[warm], memory[-1]],
        "files_slope": files_grow,
        "files_interval": files_within,
        "files": [files[warm], files[-1]],
    }


def open_files(process: psutil.Process) -> int:
    """Without a socket that the client has closed already and the server is about to."""
    counts = []
    for _ in range(20):
        counts.append(process.num_fds())
        time.sleep(0.01)
    return min(counts)


def require_flat(figures: Figures) -> Figures:
    grows, within = figures["slope"], figures["interval"]
    assert grows - within <= LEAK, f"memory grows by {grows:.3f} +- {within:.3f} MB a run"
    grows, within = figures["files_slope"], figures["files_interval"]
    assert grows - within <= 0.001, f"open files grow by {grows:.4f} +- {within:.4f} a run"
    return figures


def usual(host: Host, count: int) -> Figures:
    """The same run with other noise, again and again: memory and open files of the server."""
    with measured(host) as server:

        def run(i: int) -> str:
            server.run(graph(server, "usual", sampler__seed=i))
            return "made"

        return require_flat(watched(server, count, run))


def mixed(host: Host, count: int) -> Figures:
    """Random prompts on one server: memory and open files, and that no run changes a later one.

    Those of tests/fuzz: methods, families and schedules, calibrations, sweeps, and errors; each seventh is cancelled.
    """
    with measured(host) as server:
        info = server.object_info()
        server.run(graph(server, "first"))
        first = latent(server, "first")

        def run(i: int) -> str:
            case = case_of(20_000 + i, info)
            if i % 7 == 6:
                return "cancelled" if cancelled(server, complete(graph_of(case), info)) else "ended before the cancel"
            odd = {**case, "schedule": ""} if case["graph"].startswith("magi") else case
            return "made" if ask(server, complete(graph_of(case), info), odd) else "answered with an error"

        figures = watched(server, count, run)
        server.run(graph(server, "last"))
        assert np.array_equal(latent(server, "last"), first), "runs before changed the usual run"
    return require_flat(figures)


def answer(server: Server, prompt: dict, on_event: Callable[[str, dict], None] | None = None) -> str:
    """Run a prompt. What it was answered with, nothing where it was made."""
    try:
        server.run(prompt, on_event=on_event)
    except WorkflowError as error:
        return str(error)
    return ""


def cancelled(server: Server, prompt: dict, after: int = 1) -> bool:
    """Run a prompt and cancel it after a step. Whether it was still running.

    A sampler that runs by itself tells each step in a live event. In a sweep only ComfyUI's progress does, which leaves
    out steps that follow at once, but not the first.
    """
    asked = []

    def cancel(kind: str, data: dict) -> None:
        step = {"scope.step": data.get("index", -1) + 1, "progress": data.get("value")}.get(kind)
        if step == after and not asked:
            asked.append(server.request("POST", "/interrupt", {}))

    return "cancelled" in answer(server, prompt, cancel)


def cancels(host: Host, count: int) -> Figures:
    """A cancel at every step of a run: the next run equals a fresh one, bit for bit."""
    steps = []
    with place(host) as server:
        server.run(graph(server, "fresh", sampler__steps=count, sampler__seed=1))
        fresh = latent(server, "fresh")
        # a step has to last until the cancel is there
        large = {"schedule__width": 128, "schedule__height": 128, "schedule__length": 61, "sampler__preset": "off"}
        for step in range(1, count + 1):
            changes = {"sampler__steps": count, "sampler__seed": step + 1, **large}
            if cancelled(server, graph(server, "cancelled", **changes), step):
                steps.append(step)
            server.run(graph(server, "after", sampler__steps=count, sampler__seed=1))
            assert np.array_equal(latent(server, "after"), fresh), f"a cancel at step {step} changed the next run"
    assert len(steps) >= count // 2, f"only cancels at steps {steps} came in time"
    return {"count": count, "in_time": len(steps), "equal": count}


def clients(host: Host, count: int) -> Figures:
    """Two clients on one server: each sees its own runs alone, and gets what it asked for."""
    with place(host) as server:
        wanted = alone(server, count)
        problems: list[str] = []

        def client(number: int) -> None:
            try:
                for i in range(count):
                    seed = (i + number) % count
                    shown: list[dict] = []
                    server.run(
                        graph(server, f"c{number}", sampler__seed=seed),
                        on_event=lambda kind, data: shown.append(data) if kind == "progress" else None,
                    )
                    if not np.array_equal(latent(server, f"c{number}"), wanted[seed]):
                        problems.append(f"client {number}, seed {seed}: another video")
                    if any(data["max"] != STEPS for data in shown):
                        problems.append(f"client {number}: progress of another run")
            except Exception as error:  # noqa: BLE001 - told below
                problems.append(f"client {number}: {error}")

        together(client, range(2))
        assert not problems, problems
    return {"count": 2 * count, "equal": 2 * count}


def alone(server: Server, count: int) -> list[np.ndarray]:
    """Latents of the usual run with seeds from 0 on."""
    made = []
    for seed in range(count):
        server.run(graph(server, "alone", sampler__seed=seed))
        made.append(latent(server, "alone"))
    return made


def together(call: Callable[[Any], None], arguments: Sequence[Any]) -> None:
    threads = [threading.Thread(target=call, args=(argument,)) for argument in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def servers(host: Host, count: int) -> Figures:
    """Two servers on one user folder: same videos, no damaged file, and what both learnt."""
    with folders() as (output, user):
        other = output.with_name("other")
        with serving(host, output, user) as one, serving(host, other, user) as two:
            told = len(one.log.read_text())
            wanted = alone(one, count)
            problems: list[str] = []

            def use(server: Server) -> None:
                try:
                    for seed in range(count):
                        # another length each time, so that both write tables and maps
                        server.run(graph(server, "other", sampler__seed=seed, schedule__length=13 + 4 * seed))
                        server.run(graph(server, "same", sampler__seed=seed))
                        if not np.array_equal(latent(server, "same"), wanted[seed]):
                            problems.append(f"port {server.port}, seed {seed}: another video")
                except Exception as error:  # noqa: BLE001 - told below
                    problems.append(f"port {server.port}: {error}")

            together(use, (one, two))
            assert not problems, problems
            logs = one.log.read_text()[told:] + two.log.read_text()
        assert "damaged" not in logs, "a file was damaged"
        kept = list((user / "scope").rglob("*.json"))
        assert kept and all(json.loads(file.read_text()) for file in kept)
        left = [file.name for file in (user / "scope").rglob("*.new")]
        assert not left, f"half-written files: {left}"
    return {"count": 4 * count, "equal": 2 * count, "files": len(kept)}


TROUBLES = {
    "full user folder": ("user", "full"),
    "full output folder": ("output", "full"),
    "read-only user folder": ("user", "read-only"),
    "read-only output folder": ("output", "read-only"),
}


@contextmanager
def trouble(folder: Path, kind: str) -> Iterator[None]:
    """A disk of its own in the place of a folder, full or read-only. Needs Linux and the rights to mount."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=True)
    try:
        if kind == "full":
            with suppress(OSError):
                (folder / "filling").write_bytes(bytes(1 << 20))
        else:
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def disks(host: Host, count: int) -> Figures:
    """Full and read-only disks: a run is made or answered, the server goes on, and then all is as before."""
    made: Counter[str] = Counter()
    answered: dict[str, str] = {}
    with folders() as (output, user), serving(host, output, user) as server:
        wanted = alone(server, 1)[0]
        for seed, (name, (where, kind)) in enumerate(sorted(count * list(TROUBLES.items())), 1):
            folder = user / "scope" if where == "user" else output
            folder.mkdir(exist_ok=True)
            with trouble(folder, kind):
                said = answer(
                    server, graph(server, "trouble", sampler__seed=seed, schedule__length=13 + 4 * (seed % 8))
                )
            assert not said or where == "output", f"{name}: the run ended: {said}"
            made[name] += not said
            if said:
                answered[name] = said.splitlines()[0].replace(str(output), "output")
        server.run(graph(server, "end", sampler__seed=0))
        assert np.array_equal(latent(server, "end"), wanted), "another video after trouble with disks"
    return {"count": count * len(TROUBLES), "made": dict(made), "answered": answered}


def torn(host: Host, count: int) -> Figures:
    """Files that outlive a run torn at random places: the run is made all the same."""
    chance = random.Random(0)
    hit: Counter[str] = Counter()
    with folders() as (output, user), serving(host, output, user) as server:
        wanted = alone(server, 2)
        whole = user.with_name("whole")
        shutil.copytree(user / "scope", whole)
        for i in range(count):
            shutil.rmtree(user / "scope")
            shutil.copytree(whole, user / "scope")
            files = sorted(file for file in (user / "scope").rglob("*") if file.is_file() and file.name != ".lock")
            file = chance.choice(files)
            data = file.read_bytes()
            file.write_bytes(data[: chance.randrange(len(data))])
            seed = i % 2
            server.run(graph(server, "torn", sampler__seed=seed, save__filename_prefix=f"torn{i}"))
            assert np.array_equal(latent(server, f"torn{i}"), wanted[seed]), f"{file.name} torn: another video"
            hit[file.suffix] += 1
    return {"count": count, "equal": count, "files": dict(hit)}


JUMPS = """
import random, time
real, chance = time.time, random.Random(0)
time.time = lambda: real() + chance.choice((0, 1, -1)) * chance.random() * 4e8
"""
"""After which the clock of the process is up to 13 years off, differently each time it is asked."""


def clocks(host: Host, count: int) -> Figures:
    """A clock that jumps by years, also that of the files: same videos, and nothing is lost."""
    chance = random.Random(0)
    with folders() as (output, user):
        with serving(host, output, user) as server:
            wanted = alone(server, 2)
        with custom_node(JUMPS) as more, serving(host, output, user, *more) as server:
            assert "soak.py" in server.log.read_text(), "the clock was not changed"
            for i in range(count):
                for file in (user / "scope").rglob("*"):
                    os.utime(file, (0, max(0.0, time.time() + chance.uniform(-1, 1) * 4e8)))
                server.run(graph(server, f"jump{i}", sampler__seed=i % 2))
                assert np.array_equal(latent(server, f"jump{i}"), wanted[i % 2]), f"run {i}: another video"
                _, planned = server.request(
                    "POST", "/scope/plan", {"node": "sampler", "prompt": graph(server, "plan", sampler__seed=i % 2)}
                )
                assert planned["exact"], f"run {i}: what was learnt is lost"
            assert "damaged" not in server.log.read_text()
    return {"count": count, "equal": count}


def video(host: Host, count: int) -> Figures:
    """kill -9 at random moments of a long video that is kept: it goes on, and is the same bit for bit."""
    from . import kept

    chance, start = random.Random(0), multiprocessing.get_context("forkserver")
    start.set_forkserver_preload(["tests.soak.kept"])
    killed, repeated, videos = 0, [], 0
    with tempfile.TemporaryDirectory(prefix="scope-soak-") as name:
        folder = Path(name)
        while killed < count:
            whole, target, log = (folder / f"{videos}.{kind}" for kind in ("whole", "made", "log"))
            undisturbed = start.Process(target=kept.make, args=(videos, whole, folder / "whole.log"))
            undisturbed.start()
            undisturbed.join()
            while not target.exists():
                process = start.Process(target=kept.make, args=(videos, target, log, folder / "runs"))
                begun = len(lines(log))
                process.start()
                while process.is_alive() and len(lines(log)) == begun:
                    time.sleep(0.005)
                if killed < count:
                    process.join(chance.uniform(0, 4))
                    killed += process.is_alive()
                    process.kill()
                process.join()
                done = lines(log)
                if begun and len(done) > begun:
                    repeated.append(int(done[begun - 1]) - int(done[begun]) + 1)
            assert torch.equal(kept.latents(target), kept.latents(whole)), f"video {videos} differs"
            videos += 1
            print(f"  {killed} of {count} kills, {videos} videos, at most {max(repeated)} iterations again", flush=True)
        left = list((folder / "runs").iterdir())
    assert not left, f"finished runs were left on disk: {left}"
    assert max(repeated) <= kept.IN_WORK, f"{max(repeated)} iterations were made again, more than of a chunk"
    return {
        "count": killed,
        "videos": videos,
        "equal": videos,
        "iterations": sum(len(segment.iterations) for segment in kept.SCHEDULE.segments),
        "repeated": max(repeated),
        "chunk": kept.IN_WORK,
    }


def lines(log: Path) -> list[str]:
    """Whole ones."""
    return log.read_text().splitlines() if log.exists() else []


MEASURED = "computed", "iterations", "forwards", "latent_error", "psnr", "psnr_worst", "psnr_per_frame"
"""Of a point of a sweep, what is the same each time."""


def sweep(host: Host, count: int) -> Figures:
    """kill -9 of a server at random moments of a sweep that is kept: it goes on, and finds the same to the last bit."""
    chance, killed, sweeps = random.Random(0), 0, 0
    needed, made = 0, 0
    with folders() as (output, user):
        while killed < count:
            with serving(host, output, user) as server:
                expected, steps, seconds = swept(server, sweeps, resume=False)
                needed += steps
            found = None
            while found is None:
                with serving(host, output, user) as server:
                    after = chance.uniform(0, seconds) if killed < count else None
                    found, steps, _ = swept(server, sweeps, resume=True, kill_after=after)
                    made += steps
                    killed += found is None
            assert found == expected, f"sweep {sweeps} found something else"
            sweeps += 1
            print(f"  {killed} of {count} kills, {sweeps} sweeps, {made} iterations made of {needed}", flush=True)
    repeated = (made - needed) / killed
    assert repeated <= STEPS, f"{repeated:.1f} iterations were made again after a kill, more than of a chunk"
    return {"count": killed, "sweeps": sweeps, "equal": sweeps, "repeated": repeated, "chunk": STEPS}


def swept(
    server: Server, seed: int, resume: bool, kill_after: float | None = None
) -> tuple[list[dict] | None, int, float]:
    """What a sweep of three runs found, None where its server was killed so many seconds after its first iteration;
    iterations made, and seconds from the first one on."""
    asked = {"steps": STEPS, "spread": 2, "seed": seed, "resume": resume, "vae": ["demo", 2]}
    case = {"graph": "sweep", "schedule.length": 61, "schedule.ar_step": 2}
    prompt = complete(graph_of(case | {f"sweep.{name}": value for name, value in asked.items()}), server.object_info())
    killer = threading.Timer(kill_after or 0, process_of(server).kill)
    steps: list[float] = []

    def on_event(kind: str, data: dict) -> None:
        if kind == "progress":
            steps.append(time.monotonic())
            if len(steps) == 1 and kill_after is not None:
                killer.start()

    try:
        points = server.run(prompt, on_event=on_event)["outputs"]["chart"]["scope_runs"][0]["points"]
    except (HostError, OSError):
        return None, len(steps), 0
    finally:
        killer.cancel()
    found = [{name: point[name] for name in MEASURED if name in point} for point in points]
    return found, len(steps), time.monotonic() - steps[0] if steps else 0


COLOURS = ["red", "blue", "green", "white", "orange", "purple", "yellow", "cyan"]
SHAPES = ["circle", "square", "star", "triangle", "ring"]
TINY = {"SCOPE_ARSchedule.length": 13, "SCOPE_ARSchedule.width": 64, "SCOPE_ARSchedule.height": 64}
TINY |= {"SCOPE_ARSchedule.ar_step": 0, "Baseline.steps": 2, "SCOPE.steps": 6}
"""Of the demo workflow."""


def lossless() -> dict:
    """The demo workflow, which saves its latent as well, for x264 does not always repeat itself bit for bit."""
    workflow = examples.load("01 Demo")
    link = 1 + max(link[0] for link in workflow["links"])
    source = next(node for node in workflow["nodes"] if node.get("title") == "SCOPE")
    slot = {"name": "samples", "type": "LATENT", "link": link}
    save = {"id": 1000, "type": "SaveLatent", "inputs": [slot], "widgets_values": ["latent"]}
    links = [*workflow["links"], [link, source["id"], 0, 1000, 0, "LATENT"]]
    return {**workflow, "nodes": [*workflow["nodes"], save], "links": links}


def command(host: Host, out: Path, prompts: Sequence[str], *options: str) -> list[str]:
    """`python -m workflows` with a list of prompts."""
    out.parent.mkdir(parents=True, exist_ok=True)
    (out.parent / "prompts.txt").write_text("\n".join(prompts))
    (out.parent / "demo.json").write_text(json.dumps(lossless()))
    changes = [word for change, value in TINY.items() for word in ("--set", f"{change}={value}")]
    fixed = [str(out.parent / "demo.json"), "--comfyui", str(host.root), "--out", str(out)]
    return [
        sys.executable, "-m", "workflows", *fixed, "--prompts", str(out.parent / "prompts.txt"), *changes, *options
    ]  # fmt: skip


def results(folder: Path) -> dict[str, bytes]:
    """Latents of the finished runs by name, of which each has its video."""
    done = list(folder.glob("*.json"))
    assert all(file.with_suffix(".mp4").stat().st_size for file in done)
    return {file.stem: load_file(file.with_suffix(".latent"))["latent_tensor"].tobytes() for file in done}


def start(words: list[str], log: Path) -> psutil.Popen:
    with log.open("ab") as told:
        environment = {**os.environ, "COMFYUI_PYTHON": sys.executable}
        return psutil.Popen(words, cwd=TESTS.parent, stdout=told, stderr=subprocess.STDOUT, env=environment)


def listed(host: Host, count: int) -> Figures:
    """Lists of prompts whose command or ComfyUI is killed at random moments, and gone on with each time."""
    chance = random.Random(0)
    with folders() as (output, _):
        prompts = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES][: max(4, count // 2)]
        subprocess.run(command(host, output / "whole" / "out", prompts), cwd=TESTS.parent, check=True)
        whole, log = results(output / "whole" / "out"), output / "log"
        assert len(whole) == len(prompts)
        killed, lists = Counter[str](), 0
        while killed.total() < count:
            out, written = output / f"killed {lists}" / "out", dict[str, int]()
            while len(results(out)) < len(whole):
                process = start(command(host, out, prompts), log)
                there = len(results(out))
                while process.poll() is None and (len(results(out)) == there or killed.total() >= count):
                    time.sleep(0.05)  # starting ComfyUI takes longest, and nothing is at stake meanwhile
                time.sleep(chance.random() * 2)
                victim = chance.choice(["command", "ComfyUI"])
                for server in servers_of(process) if victim == "ComfyUI" else ():
                    server.kill()
                    killed[victim] += 1
                    time.sleep(chance.random() * 4)  # it is started again
                if process.poll() is None:
                    process.kill()
                    process.wait()
                    killed["command"] += 1
                for name, data in results(out).items():
                    assert data == whole[name], f"{name} is another video, or torn"
                    time_of = (out / f"{name}.json").stat().st_mtime_ns
                    assert written.setdefault(name, time_of) == time_of, f"{name} was made twice"
                print(f"  {dict(killed)} of {count} kills, {len(results(out))} of {len(whole)} videos", flush=True)
            subprocess.run(command(host, out, prompts), cwd=TESTS.parent, check=True)
            assert results(out) == whole and not list(out.glob("*.new"))
            lists += 1
    videos = lists * len(whole)
    return {"count": killed.total(), "kills": dict(killed), "videos": videos, "equal": videos}


def cluster(host: Host, count: int) -> Figures:
    """A list of prompts on four Ray workers of one machine, of which one is killed twice."""
    with folders() as (output, _):
        prompts = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES][:count]
        began = time.monotonic()
        subprocess.run(command(host, output / "alone" / "out", prompts), cwd=TESTS.parent, check=True)
        seconds = time.monotonic() - began
        log, out = output / "log", output / "ray" / "out"
        began = time.monotonic()
        process = start(command(host, out, prompts, "--ray", "local", "--workers", "4"), log)
        for kill in (1, 2):
            while process.poll() is None and len(list(out.glob("*.json"))) < kill * count // 4:
                time.sleep(0.1)
            kill_a_worker_at_work(process)
        assert process.wait() == 0, log.read_text()
        told = log.read_text()
        made, wanted = results(out), results(output / "alone" / "out")
        lost = told.count("is replaced")
        lines = [line.split(": ", 1)[1].split(",")[0] for line in told.splitlines() if " h left: " in line]
        assert len(made) == count and made == wanted, "a video is missing, or differs from the one made alone"
        assert len(lines) == len(set(lines)) == count, "a video was made twice"
        assert lost == 2, told
    return {
        "count": count,
        "equal": sum(made[name] == data for name, data in wanted.items()),
        "killed": lost,
        "alone_seconds": round(seconds),
        "ray_seconds": round(time.monotonic() - began),
    }


def kill_a_worker_at_work(process: psutil.Process) -> None:
    """A Ray worker in the midst of a job."""
    while process.is_running():
        for child in process.children(recursive=True):
            try:
                if "Worker.make" not in " ".join(child.cmdline()):
                    continue
                child.suspend()  # else it may be done when it is killed
                if "Worker.make" in " ".join(child.cmdline()):
                    return child.kill()
                child.resume()
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.05)
    raise AssertionError("no worker was seen at work")


PARTS: dict[str, tuple[Callable[[Host, int], Figures], int]] = {
    "usual": (usual, 500),
    "mixed": (mixed, 500),
    "cancels": (cancels, 50),
    "clients": (clients, 20),
    "servers": (servers, 10),
    "disks": (disks, 5),
    "torn": (torn, 100),
    "clocks": (clocks, 50),
    "video": (video, 50),
    "sweep": (sweep, 50),
    "listed": (listed, 50),
    "cluster": (cluster, 40),
}
"""With the numbers that make the report."""
