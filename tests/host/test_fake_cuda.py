"""Runs inside the host on a GPU that is not there (`tests/fake_cuda.py`): its networks and guider, our samplers."""

import importlib.util
from contextlib import nullcontext
from pathlib import Path

import comfy.controlnet
import comfy.model_management
import comfy.sd
import pytest
import torch
from scope_pack.nodes.comfy.conds import holding
from scope_pack.nodes.comfy.sampling import sample_video, unrolling_of
from scope_pack.nodes.comfy.skyreels import prepare
from scope_pack.scope_core.loop.sample import Run
from scope_pack.scope_core.loop.trace import Trace
from scope_pack.scope_core.settings import PRESETS

spec = importlib.util.spec_from_file_location("fake_cuda", Path(__file__).parents[1] / "fake_cuda.py")
fake_cuda = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fake_cuda)

spec = importlib.util.spec_from_file_location("tiny_wan", Path(__file__).parents[1] / "tiny_wan.py")
tiny_wan = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny_wan)
CUDA = fake_cuda.CUDA
pytestmark = pytest.mark.usefixtures("on_cpu")


def loaded(models, *args, **kwargs):
    """Every MODEL is on the GPU already; what nodes have put into it is not."""
    for model in models:
        model.patch_model(load_weights=False)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU with any amount of free memory, on which every MODEL is already, in the place of one that may be there."""
    management = comfy.model_management
    free = lambda device=None, torch_free_too=False: (1e12, 1e12) if torch_free_too else 1e12  # noqa: E731
    monkeypatch.setattr(management, "get_free_memory", free)
    monkeypatch.setattr(management, "get_total_memory", lambda *args, **kwargs: 1e12)
    monkeypatch.setattr(management, "load_models_gpu", loaded)
    monkeypatch.setattr(management, "cuda_device_context", lambda device: nullcontext())
    with fake_cuda.fake_cuda() as device:
        yield device


def test_a_computed_step_of_the_host_reads_once_and_a_skipped_one_never(gpu):
    """A run of SCOPE Sampler. The prompt is sent by the host, in every call."""
    told = tiny_wan.weights("t2v"), {"dtype": torch.bfloat16}, tiny_wan.METADATA
    patcher = comfy.sd.load_diffusion_model_state_dict(*told)
    prepare(patcher, "SkyReels-V2 DF of width 256")
    patcher.load_device = CUDA
    patcher.model.to(CUDA)
    unrolling = unrolling_of(patcher, None)
    schedule, steps = unrolling.schedule(5, 8), []
    run = Run(schedule, PRESETS["balanced"], "unipc", 0, Trace.of(schedule, PRESETS["balanced"], warnings=[]))

    def on_step(segment, step, x0, record):
        assert x0.device == CUDA and x0.dtype == torch.float32
        steps.append((record.steps[-1]["modes"], gpu.reads[:], len(gpu.uploads)))
        gpu.reads.clear()
        gpu.uploads.clear()

    prompt, noise = torch.randn(1, 9, 64), torch.randn(1, 16, 5, 8, 8)
    (made,) = sample_video(patcher, [[prompt, {}]], [[prompt, {}]], 3.0, noise, run, unrolling, on_step)
    for modes, reads, uploads in steps[1:-1]:
        ran = "R" in modes
        assert len(reads) == ran and uploads == ran, (modes, reads)
    assert {"R", "P"} <= {modes for modes, _, _ in steps[1:-1]} and made.device.type == "cpu"


def test_what_holds_at_a_noise_level_is_read_for_ranges_alone(gpu):
    """SCOPE Accelerate asks at every step, of a noise level that is on the device."""
    level, control = torch.full((1,), 0.5, device=CUDA), comfy.controlnet.ControlBase()
    always = {"positive": [{"uuid": 1, "control": control}], "negative": [{"uuid": 2}]}
    assert [name for name, *_ in holding(always, level, None, {})] == ["positive", "negative"] and not gpu.reads
    control.timestep_range = 1.0, 0.0
    ranged = {**always, "middle": [{"uuid": 3, "timestep_start": 0.75, "timestep_end": 0.25}]}
    assert holding(ranged, level, None, {}) and gpu.reads
