"""What earlier runs left in the user folder, damaged at random: no run and no plan stops at it, nothing differs by it,
and it heals."""

import json
import shutil
from random import Random

import numpy as np
import pytest
from cases import draw, explore
from prompts import complete, graph_of
from safetensors.numpy import load_file
from serving import ask, ask_afresh
from test_plans import post

TAUGHT = (
    {"graph": "sampler"},
    {"graph": "sampler", "sampler.preset": "custom", "sampler.signal": "latent"},
    {"graph": "sampler", "schedule.start": ["known", 0]},
    {"graph": "magi", "sampler.preset": "off"},
    {"graph": "calibrate", "calibrate.method": "magcache"},
)
"""Runs that leave tables, maps, lengths and a calibration."""
ASKED = (*TAUGHT, {"graph": "prompted", "settings.method": "magcache", "settings.method.ratios": "calibrated"})
DAMAGES = {
    "cut": (0, 1, 10, 0.5, 0.9),
    "flipped": range(50),
    "replaced": (b"null", b"[]", b"{}", b"3", b'"x"', b"\xff" * 64, b'{"a": ', b'{"a": [], "b": {}, "c": null}'),
    "appended": (b"x", b'{"a": "b"}'),
    "other": range(5),
    "folder": (1,),
    "gone": (1,),
}
"""What is done to a file; `other`: it gets the content of another one."""


def damage(user, case: dict) -> None:
    """Damage a file of the user folder, the one number `file` of them."""
    files = sorted(path for path in (user / "scope").rglob("*") if path.is_file())
    path = files[case.get("file", 0) % len(files)]
    made = path.read_bytes()
    if "other" in case:
        made = files[case["other"] % len(files)].read_bytes()
    made = case.get("replaced", made) + case.get("appended", b"")
    if "flipped" in case and made:
        at = Random(case["flipped"]).randrange(len(made))
        made = made[:at] + bytes([made[at] ^ 1 << case["flipped"] % 8]) + made[at + 1 :]
    if "cut" in case:
        made = made[: int(case["cut"] * len(made)) if 0 < case["cut"] < 1 else case["cut"]]
    path.write_bytes(made)
    if "folder" in case or "gone" in case:
        path.unlink()
    if "folder" in case:
        path.mkdir()


@pytest.fixture(scope="module")
def info(server):
    return server.object_info()


@pytest.fixture(scope="module")
def taught(server, folders, info, tmp_path_factory):
    """A copy of the user folder after some runs."""
    for case in TAUGHT:
        assert ask(server, complete(graph_of(case), info), {})
    copy = tmp_path_factory.mktemp("taught") / "scope"
    shutil.copytree(folders["user"] / "scope", copy)
    return copy


@pytest.fixture(scope="module")
def made(server, folders, info):
    """Runs and plans an asked case: whether the run ended in a result, its latents, and the plan."""

    def run(asked: dict) -> tuple[bool, list[np.ndarray], int, dict]:
        graph = complete(graph_of(asked), info)
        outputs = ask_afresh(server, graph, {"calibration": "calibrated"})
        files = sorted(folders["output"].glob("fuzz_*.latent"))
        latents = [load_file(file)["latent_tensor"] for file in files]
        for file in files:
            file.unlink()
        node = "sampler" if "sampler" in graph else "calibrate"
        return bool(outputs), latents, *post(server, json.dumps({"node": node, "prompt": graph}).encode())

    return run


@pytest.fixture(scope="module")
def expected(made, taught):
    """What undamaged tables give, by number in ASKED."""
    return [made(asked) for asked in ASKED]


@pytest.mark.cases(12, 120)
def test_a_damaged_table_never_stops_a_run(folders, taught, made, expected, seed):
    random = Random(seed)
    asked = ASKED[seed % len(ASKED)]

    def ends_well(case: dict) -> None:
        shutil.rmtree(folders["user"] / "scope")
        shutil.copytree(taught, folders["user"] / "scope")
        damage(folders["user"], case)
        for _ in range(2):
            ran, latents, status, plan = made(asked)
            if "settings.method.ratios" not in asked:
                assert ran, "the run stopped"
                assert all(map(np.array_equal, latents, expected[seed % len(ASKED)][1])), "the video differs"
            assert status in (200, expected[seed % len(ASKED)][2]) or "calibrat" in plan["error"], f"no plan: {plan}"

    explore(ends_well, {**draw(random, DAMAGES, 2), "file": random.randrange(50)}, seed)
