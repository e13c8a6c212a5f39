"""The private ComfyUI: built once, whoever asks for it at the same time."""

import subprocess
import sys
import threading

import pytest

from workflows import launcher


@pytest.fixture
def building(tmp_path, monkeypatch):
    """A cache of its own, in which a build takes no download, and what was said."""
    said = []
    monkeypatch.setattr(launcher, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(launcher, "_say", said.append)
    monkeypatch.setattr(launcher, "_pip", lambda *arguments: None)
    monkeypatch.setattr(launcher.venv, "create", lambda folder, **_: folder.mkdir(parents=True))
    monkeypatch.setattr(launcher.Host, "missing", lambda self, needed: [])
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    return said


def test_two_commands_build_one_comfyui(building, monkeypatch):
    """The first is in the middle of it until the second waits, or builds as well."""
    builders, second_is_there = [], threading.Event()

    def say(line):
        building.append(line)
        if "waiting for it" in line:
            second_is_there.set()

    def unpack(host):
        builders.append(threading.current_thread().name)
        host.root.mkdir()
        (host.root / "main.py").touch()
        if len(builders) == 1:
            second.start()
            assert second_is_there.wait(600)
        second_is_there.set()

    monkeypatch.setattr(launcher, "_say", say)
    monkeypatch.setattr(launcher, "_unpack_source", unpack)
    hosts = []
    first, second = (
        threading.Thread(target=lambda: hosts.append(launcher.find_or_build()), name=name) for name in ("one", "two")
    )
    first.start()
    first.join(600)
    second.join(600)
    assert builders == ["one"] and hosts[0] == hosts[1] and (hosts[0].root / "main.py").exists()


def test_a_command_that_was_killed_keeps_nobody_waiting(building, monkeypatch):
    code = (
        "import sys, time; from pathlib import Path; from workflows import launcher\n"
        "launcher.CACHE = Path(sys.argv[1])\n"
        "with launcher._alone(): print(flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(launcher.CACHE)]
    with subprocess.Popen(command, cwd=launcher.PACK, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        monkeypatch.setattr(launcher, "_say", lambda line: other.kill())
        with launcher._alone():
            assert other.wait(600)
