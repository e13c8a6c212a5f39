"""On a GPU: the same decisions and the same video as on the CPU, and hardly more waits for the device than without
skipping."""

import warnings

import pytest
import torch

from scope_core import METHODS, PRESETS
from scope_core.demo.shipped import DEMOS
from scope_core.demo.words import tokenize
from scope_core.loop.sample import sample
from scope_core.networks.chunk_cache import Budget, ChunkCache
from scope_core.networks.magi import Fp8Linear
from scope_core.settings import Settings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CUDA = torch.device("cuda")
CLOSE = 2e-2
"""Of latents of unit scale: kernels round differently, and a sampler carries that through 64 steps."""
OF_CONTENT = ("latent", "motion", "sea")
SCHEDULES = {"skyreels": "asynchronous", "magi": "chunk_by_chunk"}
SETTINGS = {name: PRESETS[name] for name in ("off", "quality", "balanced", "fast")} | {
    name: Settings(method()) for name, method in METHODS.items() if method.offered and not method.needs_calibration
}


@pytest.fixture(scope="module", autouse=True)
def whole_fp32():
    """Convolutions in TF32 would differ from the CPU's in the third digit."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def demos():
    return {name: DEMOS[name]() for name in SCHEDULES}


def run(demo, device, settings):
    demo.transformer.to(device)
    demo.words = demo.words.to(device)
    schedule = demo.schedules()[SCHEDULES[demo.family.name]]
    noise = torch.randn(1, 16, schedule.frames, 8, 8, generator=torch.Generator().manual_seed(0))
    model = demo.model(torch.tensor([tokenize("a red circle bouncing on a navy background")]), schedule)
    with torch.inference_mode():
        return sample(model, noise.to(device), schedule, settings)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("family", SCHEDULES)
def test_a_gpu_decides_and_makes_what_a_cpu_does(demos, family, name):
    here, there = (run(demos[family], device, SETTINGS[name]) for device in (torch.device("cpu"), CUDA))
    modes = [[step["modes"] for step in made.trace.segments[0].steps] for made in (here, there)]
    assert there.latents.device.type == "cuda"
    if modes[0] != modes[1]:
        method = SETTINGS[name].acting
        assert not method.plannable or method.signal in OF_CONTENT
        pytest.skip("a score of the content stood at its threshold")
    assert (there.latents.cpu() - here.latents).abs().max() < CLOSE


@pytest.mark.parametrize("family", SCHEDULES)
def test_a_second_run_on_a_gpu_equals_the_first(demos, family):
    first, second = (run(demos[family], CUDA, PRESETS["balanced"]).latents for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("family", SCHEDULES)
def test_skipping_waits_for_the_device_at_most_once_more_an_iteration(demos, family):
    """Waits of the whole run, by torch's own count."""
    waits = {}
    for name in ("off", "balanced"):
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                made = run(demos[family], CUDA, PRESETS[name])
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits[name] = sum("synchroniz" in str(warning.message) for warning in told)
        iterations = made.trace.totals["iterations"]
    assert waits["balanced"] <= waits["off"] + iterations


def test_the_fp8_product_of_the_gpu_is_the_one_computed_here():
    if torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this GPU has no fp8 product")
    generator = torch.Generator().manual_seed(0)
    for smooth in (False, True):
        linear = Fp8Linear(256, 128, smooth, torch.device("cpu"))
        linear.weight.data = torch.randn(1, 128, 256, generator=generator).to(torch.float8_e4m3fn)
        linear.weight_scale.data = torch.tensor([0.02])
        linear.input_scale.data = torch.full_like(linear.input_scale, 0.05)
        if smooth:
            linear.smooth_scale.data = torch.rand(1, 256, generator=generator) * 0.05 + 0.02
        x = torch.randn(2, 40, 256, generator=generator).bfloat16()
        here, there = linear(x), linear.to(CUDA)(x.to(CUDA)).cpu()
        assert (here.float() - there.float()).abs().max() <= here.float().abs().max() * 2**-7


def test_keys_and_values_beyond_the_budget_come_back_as_they_were():
    cache = ChunkCache(Budget(2 * 4 * 6 * 8))
    kept = {chunk: torch.randn(1, 6, 8, device=CUDA) for chunk in range(3)}
    for chunk, key in kept.items():
        cache.put(0, chunk, key, key)
    assert {pair[0].device.type for pair in cache.stored.values()} == {"cpu", "cuda"}
    for chunk, key in kept.items():
        assert all(torch.equal(x, key) and x.is_cuda for x in cache.get(0, chunk, CUDA))
