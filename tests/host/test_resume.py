"""docs/resume.md in ComfyUI: SCOPE Sampler with `resume` goes on after a cancel and an error, and its latent is that of
an uninterrupted run, bit for bit. Kills are in tests/live/test_resume.py."""

import asyncio
import time
from functools import cache
from threading import Thread
from types import SimpleNamespace

import comfy.model_management
import comfy.samplers
import execution
import pytest
import torch
from comfy_execution.graph import DynamicPrompt
from comfy_execution.progress import reset_progress_state
from comfy_execution.utils import CurrentNodeContext
from scope_pack.nodes import sampling
from scope_pack.nodes.comfy import demo, runs
from scope_pack.nodes.comfy.causal_wan import prepare_causal
from scope_pack.nodes.comfy.magi import ChunkWindow
from scope_pack.nodes.comfy.sampling import HostRun, empty_latent
from scope_pack.nodes.comfy.skyreels import Windows
from scope_pack.nodes.sampling import Request, ScopeSamplerSelect, render
from scope_pack.scope_core.families.causal_wan import Trained
from scope_pack.scope_core.methods import METHODS, Gate
from scope_pack.scope_core.settings import PRESETS, Settings

STEPS = 8
TEACACHE = Settings(METHODS["teacache"](0.6), Gate(2, 1, 1))
CORRECTED = Settings(METHODS["taylorseer"](3), Gate(3, 2, 1), correct=True)
STAIRCASE = Windows(window=5, overlap=2, block=1, ar_step=2)


@cache
def loaded(by_chunk):
    return demo.load_demo_magi() if by_chunk else demo.load_demo_model()


def causal():
    model = loaded(False).clone()
    prepare_causal(model, "Causal Wan demo", Trained(2, 4))
    return model


CASES = {
    "staircase": (lambda: loaded(False), STAIRCASE, 8),
    "magi": (lambda: loaded(True), ChunkWindow(window=2), 18),
    "causal": (causal, None, 6),
}


class Graph:
    """Of one sampler node, as ComfyUI's dynprompt."""

    def __init__(self, **inputs):
        self.inputs = inputs

    def get_node(self, name):
        return {"class_type": "SCOPE_Sampler", "inputs": self.inputs}

    def get_real_node_id(self, name):
        return name


@cache
def conditioning(text):
    clip = demo.load_demo_clip()
    return [[clip.encode_from_tokens(clip.tokenize(text)), {}]]


def sample(case, settings, resume=True, seed=0, text="a red circle"):
    """As SCOPE Sampler does."""
    model, unrolling, frames = CASES[case]
    hidden = SimpleNamespace(unique_id="3", dynprompt=Graph(model="demo", positive=text))
    latent = {**empty_latent(1, frames, 32, 32), "downscale_ratio_spacial": 8}
    solver = "euler" if case == "magi" else "unipc"
    asked = Request(model(), conditioning(text), conditioning(""), latent, unrolling, seed, STEPS, 2.5, 8.0, solver)
    made, run = render(hidden, asked, settings, resume)
    return made["samples"], run.trace.to_json()


def decided(trace):
    return [[step["modes"] + step["rules"] + step["scores"] for step in part["steps"]] for part in trace["segments"]]


def end_after(monkeypatch, iterations, how):
    """What ends the next run after some iterations."""
    left = [iterations]

    def sent(*event):
        left[0] -= 1
        if left[0] == 0:
            how()

    monkeypatch.setattr(sampling.events, "send_step", sent)
    monkeypatch.setattr(sampling.events, "send_trace", sent)


def cancel():
    comfy.model_management.interrupt_current_processing()
    comfy.model_management.throw_exception_if_processing_interrupted()


def fail():
    raise torch.OutOfMemoryError("no memory")


ENDINGS = {cancel: comfy.model_management.InterruptProcessingException, fail: torch.OutOfMemoryError}


@pytest.mark.parametrize("settings", [PRESETS["off"], TEACACHE, CORRECTED], ids=["off", "teacache", "corrected"])
@pytest.mark.parametrize("how", ENDINGS)
@pytest.mark.parametrize("case", CASES)
def test_the_same_graph_goes_on(case, how, settings, tmp_path, monkeypatch, caplog):
    expected, trace = sample(case, settings, resume=False)
    iterations = sum(map(len, decided(trace)))
    assert not (tmp_path / "user" / "scope" / "runs").exists()
    for ended in (iterations // 2 + 1, iterations // 4):
        with monkeypatch.context() as patched:
            end_after(patched, ended, how)
            with pytest.raises(ENDINGS[how]):
                sample(case, settings)
    assert "it goes on" in caplog.text and not list(tmp_path.rglob("*.latent"))
    made, resumed = sample(case, settings)
    assert torch.equal(made, expected) and decided(resumed) == decided(trace)
    assert resumed["totals"]["forwards"] == trace["totals"]["forwards"]
    assert 1 <= len(resumed["run"]["resumed"]) <= 2
    assert not list(runs.folder().iterdir())


@pytest.mark.parametrize("change", [{"seed": 1}, {"text": "a blue star"}, {"settings": TEACACHE}], ids=str)
def test_what_has_changed_is_told_and_begins_anew(change, monkeypatch, caplog):
    asked = {"case": "causal", "settings": PRESETS["off"]} | change
    expected, _ = sample(**asked, resume=False)
    with monkeypatch.context() as patched:
        end_after(patched, 9, fail)
        with pytest.raises(torch.OutOfMemoryError):
            sample("causal", PRESETS["off"])
    (left,) = runs.folder().iterdir()
    made, trace = sample(**asked)
    assert torch.equal(made, expected) and "resumed" not in trace["run"]
    told = [record.getMessage() for record in caplog.records if "left as it is" in record.getMessage()]
    assert (
        len(told) == 1
        and {"seed": "seed is 1 and was 0", "text": "positive is another"}.get(
            next(iter(change)), 'settings method is "teacache" and was "off"'
        )
        in told[0]
    )
    assert list(runs.folder().iterdir()) == [left]


def stopping(follow, run):
    """Of what follows a run: it fails in the midst."""

    def on_step(*told):
        follow(*told)
        if run.done == 15:
            fail()

    return on_step


def sample_in_a_node_of_the_host(prompt, resume, seed=0):
    """As SamplerCustomAdvanced does with SCOPE Sampler (Advanced)."""
    (sampler,) = ScopeSamplerSelect.execute("off", "unipc", "", STAIRCASE, TEACACHE, resume).args
    model = loaded(False)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conditioning("a red circle"), conditioning(""))
    guider.set_cfg(2.5)
    latent = empty_latent(1, 8, 4 * 8, 4 * 8)["samples"]
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed))
    sigmas = comfy.samplers.KSampler(model, STEPS, "cpu", "euler", "simple").sigmas
    reset_progress_state("prompt", DynamicPrompt(prompt))
    traces = []
    sampler.on_trace = traces.append
    with CurrentNodeContext("prompt", "custom"):
        made = guider.sample(noise, latent, sampler, sigmas, disable_pbar=True, seed=seed)
    return made, traces[0].to_json()


def test_so_does_the_sampler_in_a_node_of_the_host(tmp_path, monkeypatch, caplog):
    """Asked for otherwise, by the graph or by what is connected, it begins anew."""
    inputs = {"noise": ["noise", 0], "guider": ["guider", 0], "sampler": ["select", 0], "sigmas": ["sigmas", 0]}
    node = {"class_type": "SamplerCustomAdvanced", "inputs": inputs}
    others = {name: {"class_type": name, "inputs": {}} for name in ("noise", "guider", "select", "sigmas")}
    prompt = {"custom": node, **others}
    expected, trace = sample_in_a_node_of_the_host(prompt, resume=False)
    assert not (tmp_path / "user" / "scope" / "runs").exists()

    usual = HostRun.follow
    with monkeypatch.context() as patched:
        patched.setattr(HostRun, "follow", lambda self, model: stopping(usual(self, model), self.run))
        with pytest.raises(torch.OutOfMemoryError):
            sample_in_a_node_of_the_host(prompt, resume=True)
    (left,) = runs.folder().iterdir()
    changed = {**prompt, "guider": {"class_type": "guider", "inputs": {"model": "another"}}}
    made, other = sample_in_a_node_of_the_host(changed, resume=True)
    assert torch.equal(made, expected) and "resumed" not in other["run"] and "guider is another" in caplog.text
    renamed = {**prompt, "select": {"class_type": "select", "inputs": {"report_name": "another"}}}
    made, resumed = sample_in_a_node_of_the_host(renamed, resume=True)
    assert torch.equal(made, expected) and decided(resumed) == decided(trace) and resumed["run"]["resumed"]
    assert not list(runs.folder().iterdir()) and not left.exists()


@pytest.fixture
def server(monkeypatch):
    """ComfyUI's queue and the loop of its server, without the server."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    server = SimpleNamespace(loop=loop, client_id=None, queue_updated=lambda: None)
    server.prompt_queue = execution.PromptQueue(server)
    monkeypatch.setattr(runs.PromptServer, "instance", server, raising=False)
    monkeypatch.setattr(runs, "PATIENCE", 0.01)
    yield server
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.mark.parametrize("well", [True, False])
def test_a_finished_run_stays_until_its_prompt_has_ended_well(well, server, monkeypatch):
    """Whatever ends a prompt behind the sampler, in the decoder or in another run of a sweep, does not take it."""
    expected, trace = sample("causal", PRESETS["off"], resume=False)
    queue = server.prompt_queue
    queue.put((0, "prompt", {}, {}, []))
    _, item = queue.get()
    with CurrentNodeContext("prompt", "3"):
        sample("causal", PRESETS["off"])
        time.sleep(0.1)
        assert len(list(runs.folder().iterdir())) == 1
        steps = []
        monkeypatch.setattr(sampling.events, "send_step", lambda *step: steps.append(step))
        made, again = sample("causal", PRESETS["off"])
    assert torch.equal(made, expected) and not steps and decided(again) == decided(trace)
    status = execution.PromptQueue.ExecutionStatus("success" if well else "error", well, [])
    queue.task_done(item, {"outputs": {}}, status)
    deadline = time.monotonic() + (300 if well else 0.5)
    while list(runs.folder().iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(list(runs.folder().iterdir())) == (0 if well else 1)


def test_prompts_of_any_size_let_finished_runs_go_whatever_ends_meanwhile(monkeypatch):
    nodes = {str(i): {"class_type": "x", "inputs": {}} for i in range(400)}
    source, removed = runs.Source("7", runs.Graph(nodes.__getitem__).identity_of("7")), []

    class Prompt(dict):
        def __contains__(self, node):
            runs.FINISHED[runs.Source("another", "run")] = set()
            return super().__contains__(node)

    async def remove_behind(prompt, source):
        removed.append(source)

    async def ask():
        runs.expect({"prompt": Prompt(nodes)})
        await asyncio.sleep(0)

    monkeypatch.setattr(runs, "FINISHED", {source: {"folder"}})
    monkeypatch.setattr(runs, "remove_behind", remove_behind)
    asyncio.run(ask())
    assert removed == [source]
