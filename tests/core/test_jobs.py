"""Lists of jobs: whole or absent, each once, whatever happens to workers. Workers are stand-ins here; tests/live runs
real ones."""

import io
import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from scope_core import disk
from workflows import __main__ as command
from workflows import lists, vbench
from workflows.graph import WorkflowError
from workflows.jobs import CLAIMS, FAILURES, LOSSES, UNFINISHED, Job, Made, clear, named, work
from workflows.launcher import Host, HostError, _events


class Workers:
    """A pool that follows a script: job by job what becomes of it, `made` where nothing is said."""

    def __init__(self, workers=2, **script):
        self.free, self.script, self.given, self.submitted = workers, script, [], []

    def submit(self, job):
        self.free -= 1
        self.given.append(job)
        self.submitted.append(job.file.stem)

    def next(self):
        job = self.given.pop(0)
        self.free += 1
        result = (self.script.get(job.file.stem) or ["made"]).pop(0)
        if result == "lost":
            return job, HostError("gone")
        return job, Made({}, {"a.latent": b"part"}, 0.1, {}, "" if result == "made" else result)


@pytest.fixture
def jobs(tmp_path):
    return [Job(tmp_path / "out" / name, {}) for name in "abcdefgh"]


def keep(job, made):
    disk.write(job.file, b"made")
    return job.file.name


def test_jobs_whose_workers_end_are_made_by_others_and_none_twice(jobs, tmp_path, capsys):
    pool = Workers(a=["lost", "made"], c=["lost", "lost", "made"])
    jobs[1].file.parent.mkdir()
    jobs[1].file.write_bytes(b"there already")
    work(jobs, pool, keep, tmp_path)
    assert sorted(pool.submitted) == sorted("aacccdefgh")
    assert jobs[1].file.read_bytes() == b"there already" and all(job.file.exists() for job in jobs)
    assert "7 of 7" in capsys.readouterr().out and not (tmp_path / CLAIMS).exists()
    work(jobs, pool, keep, tmp_path)
    assert len(pool.submitted) == 10


def test_a_job_that_ends_its_workers_or_fails_does_not_stop_the_others(jobs, tmp_path):
    pool = Workers(b=["lost"] * LOSSES, d=["out of memory"])
    with pytest.raises(WorkflowError, match="2 of 8 failed") as failed:
        work(jobs, pool, keep, tmp_path)
    assert "b: it ended" in str(failed.value) and "d: out of memory" in str(failed.value)
    assert [job.file.name for job in jobs if not job.file.exists()] == ["b", "d"]
    assert (tmp_path / "unfinished" / "d-a.latent").read_bytes() == b"part"
    work(jobs, pool, keep, tmp_path)
    assert all(job.file.exists() for job in jobs)


def test_what_fails_from_the_start_is_not_tried_for_the_whole_list(jobs, tmp_path):
    pool = Workers(1, **{name: ["no such model"] for name in "abcdefgh"})
    with pytest.raises(WorkflowError, match="no further one is begun. c: no such model"):
        work(jobs, pool, keep, tmp_path)
    assert len(pool.submitted) == FAILURES


def test_jobs_that_another_command_makes_are_left_to_it(jobs, tmp_path, capsys):
    with disk.claim(tmp_path / CLAIMS / named(jobs[2].file)) as mine:
        assert mine
        work(jobs, Workers(), keep, tmp_path)
    assert [job.file.name for job in jobs if not job.file.exists()] == ["c"]
    assert "1 are left to another command" in capsys.readouterr().out


def test_what_another_command_needs_for_going_on_stays_while_it_works(tmp_path):
    state = tmp_path / UNFINISHED / "scope" / "runs" / "state"
    disk.write(state, b"half a video")
    with disk.claim(tmp_path / CLAIMS / "its job"):
        clear(tmp_path)
        assert state.exists()
    (tmp_path / CLAIMS).rmdir()
    clear(tmp_path)
    assert not (tmp_path / UNFINISHED).exists()


def test_what_cannot_be_written_ends_the_work_and_frees_the_claims(jobs, tmp_path):
    (tmp_path / "out").write_text("a file in its place")
    with pytest.raises(OSError, match="out"):
        work(jobs, Workers(), keep, tmp_path)
    assert not (tmp_path / CLAIMS).exists()


WORKFLOW = {"nodes": [{"id": 1, "type": "KSampler", "widgets_values": [5, "fixed"], "pos": [0, 0]}], "links": []}


def options(out, **more):
    usual = {"prompts": None, "seeds": None, "vary": [], "changes": [], "prompt_widget": None, "out": out}
    return Namespace(**usual | more)


def test_a_name_tells_all_that_a_run_is_made_of(tmp_path):
    (tmp_path / "list.txt").write_text("a cat.\n\n红色的球\na dog\na cat.\n", encoding="utf-8")
    varied = [["KSampler.cfg", "1", "2"], ["KSampler.steps", "4"]]
    given = options(tmp_path, prompts=tmp_path / "list.txt", seeds=[1, 2], vary=varied)
    jobs = list(lists.combinations(given, "mine", WORKFLOW))
    assert len(jobs) == 4 * 2 * 2 and len({job.file for job in jobs}) == len({str(job.about) for job in jobs}) == 12
    assert jobs[0].about == {
        "workflow": "mine", "prompt": "a cat.", "seed": 1, "changes": ["KSampler.cfg=1", "KSampler.steps=4"]
    }  # fmt: skip
    assert jobs[0].file.name.startswith("a-cat-seed1-1-4-") and len(jobs[0].file.stem) == len("a-cat-seed1-1-4-") + 8

    def name(workflow=WORKFLOW, **more):
        return next(lists.combinations(options(tmp_path, **more), "mine", workflow)).file.stem

    (node,) = WORKFLOW["nodes"]
    assert name() == name({**WORKFLOW, "nodes": [{**node, "pos": [9, 9]}]})
    others = [
        name({**WORKFLOW, "nodes": [{**node, "widgets_values": [6, "fixed"]}]}),
        name({**WORKFLOW, "nodes": [{**node, "mode": 4}]}),
        name(changes=["KSampler.cfg=3"]),
        name(seeds=[3]),
    ]
    assert len({name(), *others}) == 5
    long = options(tmp_path, vary=[["KSampler.text", "球" * 300], ["KSampler.more", "球" * 300]], seeds=[2**64 - 1])
    assert all(len(job.file.name.encode()) < 200 for job in lists.combinations(long, "球" * 300, WORKFLOW))


def test_where_prompts_go_is_found_or_asked_for():
    text = {"inputs": {"text": "a", "clip": ["9", 0]}}
    combined = {"inputs": {"one": ["1", 0], "two": ["2", 0]}}
    sampler = {"inputs": {"positive": ["3", 0], "negative": ["2", 0]}}
    plain = {"1": text, "2": text, "s": {"inputs": {"positive": ["1", 0], "negative": ["2", 0]}}, "9": {"inputs": {}}}
    assert lists.prompt_of(plain) == "1.text"
    for graph, words in (
        ({**plain, "3": combined, "s": sampler}, r"could go to 1.text, 2.text.*--prompt-widget"),
        ({"9": {"inputs": {}}}, "no place"),
    ):
        with pytest.raises(WorkflowError, match=words):
            lists.prompt_of(graph)
    with pytest.raises(WorkflowError, match="--seeds"):
        lists.seeds_of(plain)
    assert lists.seeds_of({"1": {"inputs": {"noise_seed": 3, "seed": ["2", 0]}}}) == ["1.noise_seed"]


def test_what_is_wrong_with_a_list_is_told(tmp_path):
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbfa cat\r\n")
    assert lists.read_lines(tmp_path / "marked.txt") == ["a cat"]
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(WorkflowError, match=r"empty.txt has no prompts"):
        lists.read_lines(tmp_path / "empty.txt")
    with pytest.raises(WorkflowError, match=r"none.txt cannot be read"):
        lists.read_lines(Path(tmp_path, "none.txt"))
    with pytest.raises(WorkflowError, match="--vary KSampler.cfg has no values"):
        list(lists.combinations(options(tmp_path, vary=[["KSampler.cfg"]]), "mine", WORKFLOW))


def test_files_have_the_job_s_name_and_the_report_comes_last(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(
        disk, "write", lambda path, data, real=disk.write: written.append(path.name) or real(path, data)
    )
    trace = {"totals": {"iterations": 8, "computed": 3}}
    prompt = {"7": {"_meta": {"title": "Timeline"}, "inputs": {}}}
    outputs = {"7": {"scope_trace": [trace], "text": ["said"]}}
    files = {"video_1.mp4": b"v", "a_1.png": b"1", "sub/a_2.png": b"2", "scope/r.json": b"{}"}
    job = Job(tmp_path / "job.json", prompt, None, {"prompt": "a cat"})
    said = lists.keep(job, Made(outputs, files, 1.0, {"device": "cpu"}))
    assert said == "job, 1.0 s, Timeline: 3 of 8 computed"
    assert written == ["job.mp4", "job.a_1.png", "job.a_2.png", "job.r.json", "job.json"]
    report = json.loads(job.file.read_text())
    assert report["prompt"] == "a cat" and report["traces"] == {"Timeline": trace} and report["api"] == prompt
    assert report["files"]["video_1.mp4"] == "job.mp4"


def test_files_of_one_name_in_two_folders_are_both_kept(tmp_path):
    files = {"video/ComfyUI_1.mp4": b"one", "clips/ComfyUI_1.mp4": b"two", "c.mp4": b"three"}
    lists.keep(Job(tmp_path / "job.json", {}, None, {}), Made({}, files, 1.0, {}))
    assert (tmp_path / "job.video-ComfyUI_1.mp4").read_bytes() == b"one"
    assert (tmp_path / "job.clips-ComfyUI_1.mp4").read_bytes() == b"two"
    assert (tmp_path / "job.c.mp4").read_bytes() == b"three"


def test_a_python_without_what_is_needed_is_not_started_again_and_again(tmp_path, monkeypatch):
    host = Host(tmp_path, Path(sys.executable), tmp_path)
    monkeypatch.setattr(Host, "missing", lambda self, wanted: wanted[:1])
    monkeypatch.setattr(command, "find_or_build", lambda *_: host)
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(command.subprocess, "run", lambda *_: pytest.fail("started again"))
    with pytest.raises(HostError, match="lacks torch.*COMFYUI_PYTHON"):
        command._run_many(Namespace(comfyui=None, ray=None))


def test_a_server_that_dies_in_a_message_ends_its_messages():
    def frame(data):
        return bytes([0x81, len(data)]) + data

    whole = frame(b'{"type": "status", "data": {}}')

    class Dying(io.BytesIO):
        def read(self, size):
            return super().read(size) or self.die()

        def die(self):
            raise ConnectionResetError

    assert list(_events(io.BytesIO(whole + whole[:9]))) == [("status", {})]
    assert list(_events(Dying(whole))) == [("status", {})]


def test_a_video_that_another_command_made_meanwhile_stays(tmp_path, monkeypatch):
    (tmp_path / "prompts.txt").write_text("a boat")
    out, (node,) = tmp_path / "out", [{"input": {"required": {"seed": ["INT", {}]}}}]

    class Starting(Workers):
        def object_info(self):
            (out / "Original").mkdir(parents=True)
            (out / "Original" / "a boat-0.mp4").write_bytes(b"video")
            (out / "Original.jsonl").write_text(json.dumps({"video": "a boat-0.mp4", "bytes": 5}) + "\n")
            kinds = (kind for kind, _ in vbench.complete(vbench.demo("", None), {}, 0).values())
            return dict.fromkeys(kinds, node)

        def begin(self, *_):
            pass

        def close(self):
            pass

    pool = Starting()
    monkeypatch.setattr(vbench, "pool_of", lambda *_: pool)
    names = {"model": "demo", "prompts": tmp_path / "prompts.txt", "names": None, "rows": ["Original"], "samples": 1}
    nothing = dict.fromkeys(("limit", "ray", "workers", "comfyui", "model_file", "text_encoder_file", "vae_file"))
    vbench.render(Namespace(**names, **nothing, out=out, seed=0, changes=[]))
    assert pool.submitted == [] and (out / "Original" / "a boat-0.mp4").read_bytes() == b"video"
