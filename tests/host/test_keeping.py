"""docs/architecture.md, law 10: what ends a run early, an error or a cancel, does not take the frames that were
finished; and nothing that goes wrong behind a run takes the run."""

import json
import logging
from dataclasses import replace
from functools import cache

import comfy.latent_formats
import comfy.model_management
import comfy.sample
import pytest
import torch
from safetensors.torch import load_file
from scope_pack.nodes.comfy import demo
from scope_pack.nodes.comfy.magi import ChunkWindow
from scope_pack.nodes.comfy.sampling import VideoSampler, begin_trace, knowledge, sample_video
from scope_pack.nodes.comfy.skyreels import Windows
from scope_pack.nodes.sampling import ScopeSamplerSelect
from scope_pack.scope_core.loop.rollout import join
from scope_pack.scope_core.loop.sample import Run
from scope_pack.scope_core.methods import Gate, Scope
from scope_pack.scope_core.settings import PRESETS, Settings
from scope_pack.scope_core.signals import NotFiniteSignalError

STEPS, SIZE = 8, 4
SEGMENTS = Windows(window=5, overlap=2)
STAIRCASE = replace(SEGMENTS, block=1, ar_step=2)
LATENT = Settings(Scope(tau_c=0.1, tau_p=0.2, signal="latent"), Gate(1))
MODULATION = Settings(Scope(tau_c=0.1, tau_p=0.2, signal="modulation"), Gate(1))


@pytest.fixture(scope="module", autouse=True)
def models():
    yield
    shared.cache_clear()


def load(by_chunk):
    """A demo whose latents the VAE sees otherwise than the model does."""
    model = demo.load_demo_magi() if by_chunk else demo.load_demo_model()
    model.model.latent_format = comfy.latent_formats.Wan21()
    return model


shared = cache(load)


@cache
def conditioning():
    return [[demo.load_demo_clip().encode_from_tokens(demo.load_demo_clip().tokenize("a red circle")), {}]]


def sample(unrolling, frames, on_step=lambda *step: None, settings=PRESETS["off"], key="", model=None):
    """As SCOPE Sampler does."""
    model = model or shared(isinstance(unrolling, ChunkWindow))
    schedule = unrolling.schedule(frames, STEPS)
    solver = unrolling.family.defaults.solver
    run = Run(schedule, settings, solver, 0, begin_trace(model, schedule, settings, solver))
    noise = torch.randn(1, 16, frames, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    segments = sample_video(model, conditioning(), conditioning(), 2.0, noise, run, unrolling, on_step, key)
    return join(segments, schedule.overlap)


def sample_advanced(unrolling, frames, on_step=lambda *step: None, on_trace=lambda trace: None):
    """As SCOPE Sampler (Advanced) in SamplerCustomAdvanced does."""
    model = shared(isinstance(unrolling, ChunkWindow))
    prompts = conditioning(), conditioning()
    noise = torch.randn(1, 16, frames, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    sampler = VideoSampler(unrolling, PRESETS["off"], unrolling.family.defaults.solver, on_trace)
    sigmas = torch.tensor(unrolling.schedule(frames, STEPS).sigmas, dtype=torch.float32)
    return comfy.sample.sample_custom(
        model, noise, 2.0, sampler, sigmas, *prompts, noise * 0, callback=on_step, disable_pbar=True, seed=0
    )


def ending_after(iterations, how):
    """What ends a run by itself after some iterations."""
    left = [iterations]

    def on_step(*step):
        left[0] -= 1
        if not left[0]:
            how()

    return on_step


def cancel():
    """As ComfyUI does for the button."""
    comfy.model_management.interrupt_current_processing()
    comfy.model_management.throw_exception_if_processing_interrupted()


def fail():
    raise torch.OutOfMemoryError("the first error")


ENDINGS = {cancel: comfy.model_management.InterruptProcessingException, fail: torch.OutOfMemoryError}
CASES = {
    "in the second segment": (SEGMENTS, 8, STEPS + 2, 5),
    "in the first staircase": (STAIRCASE, 8, STEPS + 2 * 2, 3),
    "in the second staircase": (STAIRCASE, 8, 2 * STEPS + 4 * 2, 6),
    "chunk by chunk": (ChunkWindow(window=2), 18, STEPS + 6, 12),
    "before anything is finished": (SEGMENTS, 8, STEPS - 1, 0),
}
"""What is made, latent frames, iterations before the end, and the frames that are finished then."""


@pytest.mark.parametrize("node", [sample, sample_advanced])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("how", ENDINGS)
def test_finished_frames_are_kept_for_load_latent(node, case, how, tmp_path, caplog):
    unrolling, frames, iterations, finished = CASES[case]
    video = node(unrolling, frames)
    with pytest.raises(ENDINGS[how]):
        node(unrolling, frames, ending_after(iterations, how))
    written = list(tmp_path.rglob("*.latent"))
    assert len(written) == (1 if finished else 0)
    if finished:
        latents = load_file(written[0])
        assert "latent_format_version_0" in latents
        assert latents["latent_tensor"].shape == video[:, :, :finished].shape
        assert (latents["latent_tensor"] - video[:, :, :finished]).abs().max() < 1e-5
        assert str(written[0]) in caplog.text
    assert torch.equal(node(unrolling, frames), video)


@pytest.mark.parametrize("node", [sample, sample_advanced])
@pytest.mark.parametrize("how", ENDINGS)
@pytest.mark.parametrize("trouble", ["no memory", "no folder"])
def test_what_goes_wrong_while_keeping_does_not_hide_what_ended_the_run(
    node, how, trouble, tmp_path, monkeypatch, caplog
):
    def no_memory(self, latents):
        raise torch.OutOfMemoryError("the second error")

    def end():
        if trouble == "no memory":
            monkeypatch.setattr(comfy.latent_formats.Wan21, "process_out", no_memory)
        how()

    if trouble == "no folder":
        (tmp_path / "output").write_text("a file in its place")
    with pytest.raises(ENDINGS[how]) as ended:
        node(SEGMENTS, 8, ending_after(STEPS + 2, end))
    assert "second" not in str(ended.value) and "could not be kept" in caplog.text


def test_a_report_that_cannot_be_written_does_not_take_the_video(tmp_path, caplog):
    (tmp_path / "output").write_text("a file in its place")
    on_trace = ScopeSamplerSelect.execute("off", "unipc", "report")[0].on_trace
    assert torch.isfinite(sample_advanced(SEGMENTS, 8, on_trace=on_trace)).all()
    assert "report.json cannot be written" in caplog.text


def test_a_report_is_whole(tmp_path):
    on_trace = ScopeSamplerSelect.execute("off", "unipc", "report")[0].on_trace
    sample_advanced(SEGMENTS, 8, on_trace=on_trace)
    (written,) = (tmp_path / "output" / "scope").iterdir()
    assert json.loads(written.read_text())["format"] == "scope.trace"


def test_signals_of_the_content_are_learnt_from_whole_runs_only():
    def known():
        return "last run" in knowledge().table("key", "latent", SEGMENTS.schedule(8, STEPS))[1]

    for iterations in (3, STEPS + 3):
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            sample(SEGMENTS, 8, ending_after(iterations, cancel), LATENT, "key")
        assert not known()
    sample(SEGMENTS, 8, settings=LATENT, key="key")
    assert known()


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_model_whose_embedding_is_not_finite_is_refused_and_not_learnt(broken, tmp_path, caplog):
    model = load(by_chunk=False)
    weights = model.model.diffusion_model.time_projection[1].bias
    with torch.no_grad():
        weights[:3] = broken
    with pytest.raises(NotFiniteSignalError, match="'modulation' of this model is NaN or infinite.*bf16 or fp32"):
        sample(SEGMENTS, 8, settings=MODULATION, key="key", model=model)
    assert "plans of this model stay estimates" in caplog.text
    assert not list(tmp_path.rglob("*.npy")) and not list(tmp_path.rglob("*modulation*"))


@pytest.mark.parametrize("text", ['{"a": "b', "", "[1, 2]"])
def test_damaged_tables_do_not_stop_a_run(text, tmp_path, caplog):
    folder = tmp_path / "user" / "scope"
    folder.mkdir(parents=True)
    for name in ("models", "whole", "lengths"):
        (folder / f"{name}.json").write_text(text)
    sample(SEGMENTS, 8, settings=MODULATION, key="key")
    assert knowledge().table("key", "modulation", SEGMENTS.schedule(8, STEPS))[1] == ""
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [sum(f"{name}.json is damaged" in text for text in warned) for name in ("models", "whole")] == [1, 1]
