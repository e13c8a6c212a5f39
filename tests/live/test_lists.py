"""`python -m workflows NAME --prompts FILE` for real: a ComfyUI of this process, and workers of a Ray cluster of which
one is killed half-way."""

import json
import os
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

import workflows.__main__ as command
from scope_core import disk
from tests.soak.parts import kill_a_worker_at_work, lossless, results
from workflows import examples
from workflows.cluster import everywhere

TINY = ["SCOPE_ARSchedule.length=5", "SCOPE_ARSchedule.width=64", "SCOPE_ARSchedule.height=64"]
TINY += ["SCOPE_ARSchedule.ar_step=0", "Baseline.steps=2", "SCOPE.steps=4"]
PROMPTS = ["a red circle", "a blue star", "a green square, bouncing", "a white triangle"]


@pytest.fixture
def run(monkeypatch, tmp_path, capfd):
    """Exit status and what was printed."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    (tmp_path / "demo.json").write_text(json.dumps(lossless()))

    def call(out, *options):
        fixed = [
            str(tmp_path / "demo.json"),
            "--comfyui",
            os.environ["SCOPE_COMFYUI"],
            "--prompts",
            str(tmp_path / "prompts.txt"),
        ]
        changes = [word for change in TINY for word in ("--set", change)]
        monkeypatch.setattr(sys, "argv", ["workflows", *fixed, "--out", str(tmp_path / out), *changes, *options])
        status = command.main()
        printed = capfd.readouterr()
        return status, printed.out + printed.err

    return call


def test_a_list_is_made_once_and_gone_on_with_and_on_a_cluster_just_the_same(run, tmp_path):
    status, printed = run("alone")
    assert status == 0 and "4 of 4" in printed, printed
    alone = results(tmp_path / "alone")
    assert len(alone) == 4 and {file.suffix for file in (tmp_path / "alone").iterdir()} == {
        ".json",
        ".latent",
        ".log",
        ".mp4",
    }
    reports = [json.loads(file.read_text()) for file in (tmp_path / "alone").glob("*.json")]
    assert sorted(report["prompt"] for report in reports) == sorted(PROMPTS)
    assert all(report["traces"]["SCOPE Timeline"]["totals"]["iterations"] == 4 for report in reports)
    again, printed = run("alone")
    assert again == 0 and "4 of them there already" in printed and "Starting" not in printed

    def kill():
        while not list((tmp_path / "cluster").glob("*.json")):
            time.sleep(0.02)
        kill_a_worker_at_work(psutil.Process())

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    status, printed = run("cluster", "--ray", "local", "--workers", "2")
    assert status == 0 and "4 of 4" in printed and "is replaced" in printed, printed
    assert results(tmp_path / "cluster") == alone
    assert {file.suffix for file in (tmp_path / "cluster").iterdir()} == {".json", ".latent", ".mp4"}
    deadline = time.monotonic() + 120
    while left := [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or ())]:
        assert time.monotonic() < deadline, left


def test_bad_lists_are_answered(run, tmp_path):
    for options, words in (
        (["--workers", "2"], "--ray local"),
        (["--vary", "SCOPE.preset"], "no values"),
        (["--ray", "127.0.0.1:1"], "ray start --head"),
    ):
        status, printed = run("bad", *options)
        assert status == 1 and words in printed, printed


SERVER = """
import http.server, sys

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Answer).serve_forever()
"""


def test_a_comfyui_ends_with_whoever_started_it(tmp_path):
    """However that ends. The launcher's own processes, around a server that is there at once."""
    (tmp_path / "main.py").write_text(SERVER)
    code = (
        "import sys, time; from pathlib import Path; from workflows.launcher import Host\n"
        f"host = Host(Path({str(tmp_path)!r}), Path(sys.executable), Path({str(tmp_path / 'models')!r}))\n"
        "host.__dict__['has_accelerator'] = False  # which is found out by loading torch\n"
        "with host.serve() as server: print(server.output.parent, flush=True); time.sleep(600)"
    )
    with psutil.Popen([sys.executable, "-c", code], stdout=-1, text=True, cwd=examples.FOLDER.parent) as starter:
        folder = Path(starter.stdout.readline().strip())
        assert folder.is_dir()
        begun = starter.children()
        assert len(begun) == 2
        starter.kill()
        psutil.wait_procs(begun, timeout=120)
        deadline = time.monotonic() + 120
        while folder.is_dir() or any(process.is_running() for process in begun):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_workers_share_the_work_in_a_folder(tmp_path):
    """As the benchmark has them. Who has a piece of it in hand waits until the other has one too."""

    def share(folder, count):
        deadline = time.monotonic() + 600
        for i in range(count):
            with disk.claim(folder / str(i)) as mine:
                if mine and not (folder / str(i)).exists():
                    (folder / f"at work {os.getpid()}").touch()
                    while len(list(folder.glob("at work *"))) < 2:
                        assert time.monotonic() < deadline
                        time.sleep(0.02)
                    disk.write(folder / str(i), str(os.getpid()).encode())

    everywhere("local", 2, share, tmp_path, 6)
    assert len({(tmp_path / str(i)).read_text() for i in range(6)}) == 2
