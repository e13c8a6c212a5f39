"""docs/resume.md: a run that is ended at any iteration goes on where it stopped, and its video and decisions are those
of an uninterrupted one, bit for bit."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from scope_core import CAUSAL_WAN, FLOW, HELIOS, MAGI, PRESETS, SKYREELS, Gate, Settings, disk, sample
from scope_core.families.causal_wan import GuidedChunks, Trained
from scope_core.families.flow import FlowModel
from scope_core.families.helios import Guided as GuidedHelios
from scope_core.families.magi import ChunkModel, Reach
from scope_core.families.skyreels import Guided
from scope_core.loop import checkpoint
from scope_core.loop.checkpoint import Keeper, runs
from scope_core.methods import METHODS, Scope
from scope_core.networks.compression import Compression
from scope_core.networks.helios import HeliosTransformer
from scope_core.networks.magi import MagiConfig, MagiTransformer
from scope_core.networks.wan import WanConfig, WanTransformer

USUAL = Reach()
CONFIG = WanConfig(dim=48, ffn_dim=64, num_heads=2, num_layers=2, text_dim=8, in_dim=4, out_dim=4)


def drawn(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(make):
    torch.manual_seed(0)
    return make().eval().requires_grad_(False)


class Case:
    """A family with a tiny network, made anew for every run, as a new process would."""

    def __init__(self, network, model, schedule, start=0, bridge=False):
        self.network, self.make, self.schedule = seeded(network), model, schedule
        self.start, self.bridge = start, bridge

    def run(self, settings, keeper=None, on_step=None):
        self.model = self.make(self.network)
        noise = drawn(1, 4, self.schedule.frames, 4, 4)
        start = drawn(1, 4, self.start, 4, 4, seed=5) if self.start else None
        bridge = Bridge(self.schedule.overlap) if self.bridge else None
        with torch.inference_mode():
            return sample(
                self.model, noise, self.schedule, settings, start=start, bridge=bridge, keeper=keeper, on_step=on_step
            )


class Bridge:
    """Looks back on all that it was asked for."""

    def __init__(self, overlap):
        self.overlap, self.last = overlap, None

    def __call__(self, made):
        joined = made if self.last is None else torch.cat([self.last, made[:, :, self.overlap :]], 2)
        self.last = joined[:, :, -self.overlap :].clone()
        return self.last * 0.9


class Captioned(ChunkModel):
    def __init__(self, network, reach=USUAL, text_scale=None, compress=None):
        self.network, self.layers = network, len(network.blocks)
        self.reach, self.text_scale, self.compress = reach, text_scale, compress
        self.caption = drawn(*network.y_embedder.null_caption_embedding.shape, seed=3)

    def __call__(self, x, times, chunks, ranges, text, cache, keep, dt, dropped, around):
        null = self.network.y_embedder.null_caption_embedding
        context = torch.stack([null if told is None else self.caption for told in text])[None]
        mask = torch.stack([torch.arange(len(null)) < (3 if told is None else 5) for told in text])[None]
        return self.network(x, torch.tensor([times]), chunks, ranges, context, mask, cache, keep, dt, dropped, around)

    def features(self, name, sigma):
        return self.network.features(name, sigma)

    def patch_embedding(self, x):
        return self.network.patch_embedding(x)


class Whole(FlowModel):
    """A network in one chunk, whose prompt changes on the way."""

    layers = 2

    def __init__(self, network):
        self.network, self.texts, self.before = network, (drawn(1, 4, 8, seed=2), drawn(1, 4, 8, seed=3)), None

    def late(self, step):
        return step.index >= 4

    def border(self, step):
        before, self.before = self.before, self.late(step)
        return before is not None and before != self.before

    def denoised(self, x, step, around):
        sigma = torch.tensor(step.sigma, dtype=torch.float32)
        hook = None if around is None else lambda i, h, block: around(i, h, block, [("cond",)])
        v = self.network(x, 1000 * sigma[None], self.texts[self.late(step)], None, hook)
        self.forwards += 1 if around is None else around.take() / self.layers
        return x - float(sigma[0]) * v

    def features(self, name, sigma):
        return torch.as_tensor(sigma)[:, None]

    def patch_embedding(self, x):
        return x


def wan():
    return WanTransformer(CONFIG)


def text(seed):
    return drawn(1, 4, 8, seed=seed)


def magi():
    tiny = MagiConfig(
        layers=2,
        hidden=64,
        heads=4,
        groups=2,
        head_dim=16,
        ffn=96,
        cond=32,
        caption_dim=24,
        caption_length=8,
        channels=4,
    )
    network = MagiTransformer(tiny)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def staircase(reach=USUAL, window=2, prefix=0):
    return MAGI.schedule(30, 8, window, prefix, reach)


SEES_BACK = Reach((4, 3, 2, 2), -1)
ALL = Reach(())
CASES = {
    "skyreels staircase": Case(
        wan, lambda n: Guided(n, text(2), text(3), 3.0), SKYREELS.schedule(10, 8, 6, 2, 2, 3), bridge=True
    ),
    "skyreels from frames": Case(
        wan, lambda n: Guided(n, text(2), text(3), 3.0), SKYREELS.schedule(12, 6, 6, 4, prefix=1), 1, True
    ),
    "magi distilled": Case(magi, Captioned, staircase()),
    "magi base": Case(magi, lambda n: Captioned(n, text_scale=7.5), staircase()),
    "magi clean sees back": Case(magi, lambda n: Captioned(n, SEES_BACK, 7.5), staircase(SEES_BACK, 4, 13), 13),
    "magi sees all": Case(magi, lambda n: Captioned(n, ALL, compress=None), staircase(ALL)),
    "magi compressed": Case(magi, lambda n: Captioned(n, ALL, compress=Compression(2)), staircase(ALL)),
    "causal wan": Case(
        wan, lambda n: GuidedChunks(n, text(2), text(3), 3.0, Trained(2, 4)), CAUSAL_WAN.schedule(8, 6, 2, 3), 3
    ),
    "helios": Case(
        lambda: HeliosTransformer(CONFIG),
        lambda n: GuidedHelios(n, 2, text(2), text(3), 3.0),
        HELIOS.schedule(27, 5, tokens=36),
        2,
    ),
    "one chunk": Case(wan, Whole, FLOW.schedule(3, 8)),
}
METHODS_TRIED = {
    "off": PRESETS["off"],
    "scope": Settings(Scope(tau_c=0.2, tau_p=0.9, signal="sigma"), Gate(3, 2, 1)),
    "scope auto": Settings(Scope(tau_c=0.05, tau_p=3.0, predictor="auto", signal="displacement"), Gate(2, 2, 1)),
    "planned": Settings(METHODS["planned"](1.7)),
    "corrected": Settings(METHODS["taylorseer"](3), Gate(3, 2, 1), correct=True),
    "teacache": Settings(METHODS["teacache"](0.6, signal="sigma"), Gate(2, 1, 1)),
    "fbcache": Settings(METHODS["fbcache"](0.9), Gate(2, 1, 1)),
    "bwcache": Settings(METHODS["bwcache"](0.3), Gate(2, 1, 1)),
    "easycache": Settings(METHODS["easycache"](), Gate(2, 1, 1)),
}


class Killed(BaseException):
    """Stands for whatever ends a process."""


def ending_after(iterations):
    left = [iterations]

    def on_step(*step):
        left[0] -= 1
        if not left[0]:
            raise Killed

    return on_step


def told(trace):
    """A trace without what a clock and a memory measured."""
    trace = json.loads(json.dumps(trace.to_json()))
    trace["run"].pop("resumed", None)
    for step in (step for segment in trace["segments"] for step in segment["steps"]):
        del step["seconds"]
    kept = ("iterations", "computed", "forwards", "frames_computed", "frames_baseline", "skipped_reason")
    return {**trace, "totals": {name: trace["totals"][name] for name in kept}}


def same(made, expected):
    return torch.equal(made.latents, expected.latents) and told(made.trace) == told(expected.trace)


ALL_METHODS = ("skyreels staircase", "magi base", "causal wan")
TRIED = [
    pytest.param(CASES[case], METHODS_TRIED[method], id=f"{case}, {method}")
    for case in CASES
    for method in METHODS_TRIED
    if case in ALL_METHODS or method in ("scope", "corrected", "teacache")
]


@pytest.mark.parametrize("case, settings", TRIED)
def test_a_run_that_is_ended_at_every_iteration_ends_as_one_that_never_was(case, settings, tmp_path, monkeypatch):
    """Every process makes one iteration and is gone."""
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    expected, iterations = case.run(settings), case.schedule.iterations
    for _ in range(iterations):
        with pytest.raises(Killed):
            case.run(settings, Keeper(tmp_path), ending_after(1))
    made = case.run(settings, Keeper(tmp_path), ending_after(1))
    assert same(made, expected)
    assert [at["iteration"] for at in made.trace.run["resumed"]] == list(range(1, iterations))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_at_most_the_chunk_in_work_is_made_twice(case, tmp_path):
    settings = METHODS_TRIED["scope"]
    expected, iterations = case.run(settings), case.schedule.iterations
    for ended in range(1, iterations + 1, 3):
        with pytest.raises(Killed):
            case.run(settings, Keeper(tmp_path), ending_after(ended))
        steps = []
        made = case.run(settings, Keeper(tmp_path), lambda *step: steps.append(step))
        assert same(made, expected)
        assert ended + len(steps) - iterations <= case.schedule.steps
        rebuilt = sum(at["rebuilt"] for at in made.trace.run.get("resumed", []))
        assert rebuilt <= 3 * 3 * len(case.schedule.segments[0].units)


SHORT, SCOPE = CASES["skyreels staircase"], METHODS_TRIED["scope"]


def ended(folder, iterations, case=SHORT, settings=SCOPE, **keeper):
    """What a run leaves that is ended after some iterations."""
    with pytest.raises(Killed):
        case.run(settings, Keeper(folder, **keeper), ending_after(iterations))


def warned(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


DAMAGE = {
    "torn": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "one bit": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
    "foreign": lambda data: b'{"format": "another", "version": 1}',
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", ["manifest*", "unit_000_00014*", "unit_001_00008*", "state*"])
def test_a_damaged_file_is_set_aside_with_a_word_and_made_again(name, damage, tmp_path, caplog):
    expected = SHORT.run(SCOPE)
    ended(tmp_path, 23)
    (file,) = tmp_path.glob(f"*/{name}")
    file.write_bytes(damage(file.read_bytes()))
    steps = []
    made = SHORT.run(SCOPE, Keeper(tmp_path), lambda *step: steps.append(step))
    assert same(made, expected)
    assert len(steps) == (25 if "manifest" in name or "unit_000" in name else 11)
    assert [str(file) in text for text in warned(caplog)] == [True]


def test_of_a_run_that_made_nothing_nothing_is_left(tmp_path):
    ended(tmp_path, 3)
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_made_again(tmp_path):
    ended(tmp_path, 23)
    next(tmp_path.glob("*/state*")).unlink()
    assert same(SHORT.run(SCOPE, Keeper(tmp_path)), SHORT.run(SCOPE))


@pytest.mark.parametrize(
    "settings, model, sentence",
    [
        (SCOPE, "b", 'model is "b" and was "a"'),
        (replace(SCOPE, gate=Gate(1, 2, 1)), "a", "settings max_skip is 1 and was 3"),
    ],
)
def test_what_has_changed_is_told_and_never_mixed(settings, model, sentence, tmp_path, caplog):
    ended(tmp_path, 23, identity={"model": "a"})
    (left,) = tmp_path.iterdir()
    before = {path: path.read_bytes() for path in left.iterdir()}
    assert same(SHORT.run(settings, Keeper(tmp_path, {"model": model})), SHORT.run(settings))
    (text,) = warned(caplog)
    assert sentence in text and str(left) in text
    assert {path: path.read_bytes() for path in left.iterdir()} == before and list(tmp_path.iterdir()) == [left]


def test_another_seed_noise_or_start_is_another_run(tmp_path):
    names = set()
    for frames in (SHORT, CASES["skyreels from frames"]):
        ended(tmp_path, 8, frames)
        names |= {folder.name for folder in tmp_path.iterdir()}
    assert len(names) == 2
    told = [run.asked for run in runs(tmp_path)]
    assert [{"noise", "seed", "solver", "settings", "schedule"} <= set(asked) for asked in told] == [True, True]


def test_runs_are_listed_and_removed_but_for_one_in_work(tmp_path, monkeypatch):
    ended(tmp_path, 23, who="node 3")
    (run,) = runs(tmp_path)
    assert (run.who, run.frames, run.made, run.finished) == ("node 3", 10, 8, False)
    assert run.bytes > 1000 and abs(run.changed - time.time()) < 60
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    ended(tmp_path / "between", 15)
    (between,) = runs(tmp_path / "between")
    assert (between.frames, between.made) == (10, 6)
    checkpoint.remove(between.folder)
    (tmp_path / "between").rmdir()
    monkeypatch.undo()

    def in_work(*step):
        child = CHILD.Process(target=remove_and_tell, args=(run.folder,))
        child.start()
        child.join()
        assert child.exitcode == 3
        raise Killed

    with pytest.raises(Killed):
        SHORT.run(SCOPE, Keeper(tmp_path), in_work)
    checkpoint.remove(run.folder)
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_removed_while_it_is_listed_is_left_out(tmp_path, monkeypatch):
    ended(tmp_path, 8)

    def read(path, parse, read=disk.read):
        shutil.rmtree(path.parent)
        return read(path, parse)

    monkeypatch.setattr(disk, "read", read)
    assert runs(tmp_path) == []


def test_a_run_that_cannot_be_removed_is_let_go(tmp_path, monkeypatch):
    ended(tmp_path, 8)
    (run,) = runs(tmp_path)

    def refuse(path, *_):
        raise PermissionError(path)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(PermissionError):
        checkpoint.remove(run.folder)
    monkeypatch.undo()
    child = CHILD.Process(target=remove_and_tell, args=(run.folder,))
    child.start()
    child.join()
    assert child.exitcode == 0 and not run.folder.exists()


CHILD = multiprocessing.get_context("fork")
"""A process of its own that has torch already; it must not compute with it."""


def remove_and_tell(folder):
    try:
        checkpoint.remove(folder)
    except OSError:
        os._exit(3)


def hold_for_ever(folder, held):
    lock = disk.hold(folder)
    held.set()
    time.sleep(600)
    lock.release()


def test_a_run_that_another_process_is_at_goes_on_without_being_kept(tmp_path, caplog):
    ended(tmp_path, 23)
    (folder,) = tmp_path.iterdir()
    files = sorted(folder.iterdir())
    held = CHILD.Event()
    holder = CHILD.Process(target=hold_for_ever, args=(folder, held))
    holder.start()
    held.wait()
    assert same(SHORT.run(SCOPE, Keeper(tmp_path)), SHORT.run(SCOPE))
    assert len(warned(caplog)) == 1 and sorted(folder.iterdir()) == files
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert same(SHORT.run(SCOPE, Keeper(tmp_path)), SHORT.run(SCOPE)) and not list(tmp_path.iterdir())


def test_where_nothing_can_be_written_a_run_goes_on(tmp_path, caplog):
    (tmp_path / "runs").write_text("a file in the place of the folder")
    assert same(SHORT.run(SCOPE, Keeper(tmp_path / "runs")), SHORT.run(SCOPE))
    assert len(warned(caplog)) == 1


@pytest.mark.parametrize("written", range(0, 11, 2))
def test_a_disk_that_is_full_at_any_file_leaves_what_was_kept(written, tmp_path, caplog, monkeypatch):
    left, write = [written], disk.write

    def full(path, data, lasting=False):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        write(path, data, lasting)

    monkeypatch.setattr(disk, "write", full)
    ended(tmp_path, 23)
    assert len(warned(caplog)) == 1
    monkeypatch.undo()
    assert same(SHORT.run(SCOPE, Keeper(tmp_path)), SHORT.run(SCOPE))
    assert len(warned(caplog)) == 1


CHILD_CODE = """
import sys
sys.path[:0] = sys.argv[2:]
import test_resume
from pathlib import Path
test_resume.slowly(Path(sys.argv[1]))
"""


def slowly(folder):
    """A run for a process that is to be killed."""
    SHORT.run(SCOPE, Keeper(folder), lambda *step: time.sleep(0.01))


def test_kills_at_any_moment(tmp_path):
    """kill -9 of a process of its own; one goes on where the one before was killed."""
    expected, random = SHORT.run(SCOPE), Random(0)
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    for _ in range(4):
        child = subprocess.Popen([sys.executable, "-c", CHILD_CODE, str(tmp_path), *paths])
        while not list(tmp_path.iterdir()) and child.poll() is None:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.3))
        child.kill()
        child.wait()
    made = SHORT.run(SCOPE, Keeper(tmp_path))
    assert same(made, expected) and not list(tmp_path.iterdir())


def test_without_a_keeper_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "write", lambda *_: pytest.fail("nothing was to be written"))
    assert "resumed" not in SHORT.run(SCOPE).trace.run
