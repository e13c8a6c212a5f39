"""Runs of full size on a GPU that is not there (`tests.fake_cuda`): where tensors are and of which dtype, how often a
step waits for the device, and how many bytes are kept."""

from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError

from scope_core import CAUSAL_WAN, HELIOS, MAGI, METHODS, PRESETS, SKYREELS, Gate, Settings, sample
from scope_core.demo.shipped import DEMOS
from scope_core.demo.words import tokenize
from scope_core.families import helios
from scope_core.families.causal_wan import GuidedChunks
from scope_core.families.magi import CHUNK, ChunkModel
from scope_core.families.skyreels import Guided
from scope_core.loop import solver
from scope_core.loop.control import Control
from scope_core.loop.sample import Run
from scope_core.networks.helios import HeliosTransformer
from scope_core.networks.magi import MAGI_4_5B, MAGI_24B, MagiTransformer, kv_bytes
from scope_core.networks.wan import WanConfig, WanTransformer
from scope_core.signals import CONTENT
from tests.fake_cuda import CUDA, fake_cuda

WAN_1_3B = WanConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30)
WAN_14B = WanConfig(dim=5120, ffn_dim=13824, num_heads=40, num_layers=40)
SKYREELS_SIZE, MAGI_SIZE = (68, 120), (60, 60)
"""Of the latents of 544x960 and 480x480 pixels."""
WINDOW = SKYREELS.schedule(25, 6, 25, block=13, ar_step=2)
"""97 frames in two chunks."""
CHUNKS = MAGI.schedule(24, 4, 4)


class Blocks:
    """A Wan network whose blocks do nothing to hidden states of the right size."""

    def __init__(self, config=WAN_1_3B):
        self.blocks, self.dim = range(config.num_layers), config.dim

    def __call__(self, x, t, context, mask=None, around=None):
        assert x.device == t.device == context.device == CUDA and x.dtype == t.dtype == torch.float32
        if around is not None:
            hidden = self.patch_embedding(x).flatten(2).transpose(1, 2)
            for i in self.blocks:
                hidden = around(i, hidden, torch.neg)
                assert hidden.dtype == torch.bfloat16
        return torch.empty_like(x, dtype=torch.bfloat16)

    def patch_embedding(self, x):
        batch, _, frames, height, width = x.shape
        return torch.empty(batch, self.dim, frames, height // 2, width // 2, dtype=torch.bfloat16, device=x.device)

    def time_embed(self, t):
        assert t.device == CUDA
        return torch.empty(*t.shape, self.dim, dtype=torch.bfloat16, device=t.device)

    def time_projection(self, e):
        return torch.empty(*e.shape[:-1], 6 * self.dim, dtype=torch.bfloat16, device=e.device)


class MagiBlocks(ChunkModel):
    """The same of MAGI-1."""

    def __init__(self, config=MAGI_4_5B, text_scale=None):
        self.config, self.layers, self.text_scale = config, config.layers, text_scale

    def __call__(self, x, times, chunks, ranges, text, cache, keep, dt, dropped, around):
        assert x.device == CUDA and x.dtype == torch.float32
        if around is not None:
            hidden = self.patch_embedding(x).flatten(2).transpose(1, 2)
            for i in range(self.layers):
                hidden = around(i, hidden, torch.neg)
                assert hidden.dtype == torch.bfloat16
        return torch.empty_like(x)

    def patch_embedding(self, x):
        batch, _, frames, height, width = x.shape
        dim = self.config.hidden
        return torch.empty(batch, dim, frames, height // 2, width // 2, dtype=torch.bfloat16, device=x.device)

    def features(self, name, sigma):
        return torch.empty(len(sigma), self.config.cond, dtype=torch.bfloat16, device=CUDA)


def prompts(dim=4096):
    return torch.empty(2, 1, 512, dim, dtype=torch.bfloat16, device=CUDA)


def skyreels():
    return Guided(Blocks(), *prompts(), cfg=6.0)


FAMILIES = {"skyreels": (skyreels, WINDOW, SKYREELS_SIZE), "magi": (MagiBlocks, CHUNKS, MAGI_SIZE)}
ONCE = "require_numbers", "require_finite", "change_table"
"""Reads of a run's input and of a segment's table of the signal."""
GRAM = tuple(tuple(float(min(i, j)) for j in range(1, 7)) for i in range(1, 7))


def settings(name, **knobs):
    """A method of which up to three steps are skipped in a row, with what it would learn from a recorded run."""
    return Settings(METHODS[name](**knobs), Gate(3)).calibrated((1.0,) * 6, GRAM)


def check(gpu, model, schedule, size, chosen):
    """Sample, and check every step: one read for a signal of the content, one where the network ran, and one where a
    probe inside of it decides."""
    noise = torch.randn(1, 16, schedule.frames, *size, device=CUDA)
    gpu.reads.clear()

    def on_step(segment, step, x0, record):
        method, modes = chosen.acting.fit(schedule, segment), record.steps[-1]["modes"]
        due = schedule.family.by_chunk and step.active[0].index > 0 and step.index % segment.ar_step == 0
        ran = "R" in modes or not method.depth or due
        probes = method.name == "fbcache"
        reads = [read for read in gpu.reads if not read.endswith(ONCE)]
        least = (method.signal in CONTENT) + ran
        assert least <= len(reads) <= least + probes, (modes, reads)
        assert x0.device == CUDA and x0.dtype == torch.float32
        gpu.reads.clear()

    def release(control, release=Control.release):
        kept = [entry for unit in control.memory.velocities.values() for entry in unit]
        assert all(entry.value.device == CUDA and entry.value.dtype == torch.float32 for entry in kept)
        release(control)

    with patch.object(Control, "release", release):
        made = sample(model, noise, schedule, chosen, on_step=on_step)
    assert made.latents.device == CUDA and made.latents.dtype == torch.float32
    assert not gpu.uploads, "waits for something that is sent to the device"
    assert not gpu.doubles, "computes in double precision on the device"
    return made


@pytest.fixture
def gpu():
    with torch.no_grad(), fake_cuda() as device:
        yield device


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_stays_on_the_device(gpu, name, family):
    model, schedule, size = FAMILIES[family]
    made = check(gpu, model(), schedule, size, settings(name))
    assert name == "off" or made.trace.memory > 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("signal", ["modulation", "embedding", "sigma", *CONTENT])
def test_every_signal_is_read_once_a_step_or_never(gpu, signal, family):
    model, schedule, size = FAMILIES[family]
    check(gpu, model(), schedule, size, settings("scope", predictor="auto", signal=signal, tau_c=0.1, tau_p=0.3))


FAULTS = {
    "a tensor on the CPU": (
        solver,
        "per_frame",
        lambda values, x: torch.as_tensor(values, dtype=x.dtype)[:, None, None],
    ),
    "a number in double precision": (
        solver,
        "per_frame",
        lambda values, x: torch.as_tensor(values).to(x.device, non_blocking=True)[:, None, None],
    ),
    "a table that is waited for": (
        solver,
        "per_frame",
        lambda values, x: torch.as_tensor(values, dtype=x.dtype, device=x.device)[:, None, None],
    ),
    "a read for every unit": (Control, "value", lambda self, unit, decision, memory, x: x * x.mean().item()),
    "velocities in half precision": (
        Control,
        "seen",
        lambda self, step, units, x, made, v, watched, seen=Control.seen: {
            index: of._replace(velocity=of.velocity.half())
            for index, of in seen(self, step, units, x, made, v, watched).items()
        },
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found(gpu, monkeypatch, fault, family):
    """The checks of this file fail where they should."""
    model, schedule, size = FAMILIES[family]
    owner, name, wrong = FAULTS[fault]
    monkeypatch.setattr(owner, name, wrong)
    with pytest.raises((AssertionError, FakeTensorDeviceMismatchError)):
        check(gpu, model(), schedule, size, settings("taylorseer"))


BUDGETS = {
    "skyreels": (skyreels, SKYREELS_SIZE, SKYREELS.schedule(25, 6, 25), 91.4e6),
    "magi": (MagiBlocks, MAGI_SIZE, MAGI.schedule(60, 8, 4), 55.3e6),
}


@pytest.mark.parametrize("name", BUDGETS)
def test_what_is_kept_is_what_is_reported_and_documented(gpu, name):
    """docs/memory.md: 257 frames of 544x960 in windows of 97, and 240 frames of 480x480 on MAGI-1. What is left on the
    device by a step is what decides and corrects, which is what the trace reports; by a segment nothing."""
    model, size, schedule, documented = BUDGETS[name]
    run, network, (segment,) = Run(schedule, PRESETS["balanced"]), model(), schedule.segments
    noise = torch.randn(1, 16, schedule.frames, *size, device=CUDA)
    before, left = gpu.held, {}

    def on_step(*_):
        left.update(memory=run.controls[0].memory, corrected=run.corrected)

    run.segment(network, segment, noise, torch.zeros_like(noise), on_step=on_step)
    assert gpu.held - before == left["memory"].bytes() + left["corrected"].nbytes
    assert run.trace.memory == pytest.approx(documented, rel=1e-3)
    left.clear()
    assert gpu.held == before


LAYERS = 4
"""Of networks of full width: they are all alike."""


def wan(config, make=WanTransformer):
    """A network of the full width in 16 bit."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(CUDA):
            return make(replace(config, num_layers=LAYERS)).requires_grad_(False)
    finally:
        torch.set_default_dtype(torch.float32)


class In16Bit:
    """The network shown latents in its own dtype, as hosts do."""

    def __init__(self, network):
        self.network, self.blocks = network, network.blocks
        self.time_embed, self.time_projection = network.time_embed, network.time_projection

    def __call__(self, x, *args, **kwargs):
        return self.network(x.bfloat16(), *args, **kwargs)


ONE_OF_TWO = Settings(METHODS["budcache"](steps=(1,)), Gate(3))


@pytest.mark.parametrize("config", [WAN_1_3B, WAN_14B], ids=["1.3B", "14B"])
def test_skyreels_of_full_size(gpu, config):
    """A window of 97 frames of 544x960, block-causal."""
    model = Guided(In16Bit(wan(config)), prompts()[0])
    schedule = SKYREELS.schedule(25, 2, 25, block=5, causal=True)
    check(gpu, model, schedule, SKYREELS_SIZE, ONE_OF_TWO)
    assert model.forwards == 1 and set(gpu.linear) == {torch.bfloat16}


def test_causal_wan_of_full_size(gpu):
    """Two chunks of 480x832."""
    model = GuidedChunks(In16Bit(wan(WAN_1_3B)), prompts()[0])
    check(gpu, model, CAUSAL_WAN.schedule(6, 2, 3), (60, 104), ONE_OF_TWO)
    assert set(gpu.linear) == {torch.bfloat16}


def test_helios_of_full_size(gpu):
    model = helios.Guided(In16Bit(wan(WAN_14B, HeliosTransformer)), LAYERS, prompts()[0])
    check(gpu, model, HELIOS.schedule(9, 2), (48, 80), ONE_OF_TWO)
    assert set(gpu.linear) == {torch.bfloat16}


class Captioned(ChunkModel):
    """MAGI-1 with a caption of 300 tokens."""

    caches: frozenset = frozenset()
    """All that it was called with."""

    def __init__(self, network):
        self.network, self.layers = network, len(network.blocks)
        self.caption = torch.empty(300, 4096, device=CUDA)

    def __call__(self, x, times, chunks, ranges, text, cache, keep, dt, dropped, around):
        context = torch.stack([self.caption for _ in text])[None]
        t = torch.tensor([times]).to(CUDA, non_blocking=True)
        told = torch.ones(context.shape[:3], dtype=torch.bool)
        self.cache = cache
        self.caches = {*self.caches, *filter(None, [cache])}
        return self.network(x, t, chunks, ranges, context, told, cache, keep, dt, dropped, around)


@pytest.mark.parametrize("config, chunks, calls", [(MAGI_4_5B, 2, 3), (MAGI_24B, 1, 1)], ids=["4.5B", "24B"])
def test_magi_of_full_size(gpu, config, chunks, calls):
    """480x480; a second chunk reads keys and values, and a finished one is shown clean. In single precision are, as
    released, linear_proj of every layer and what embeds latents, time (of two layers, and the step size), captions and
    the null caption, and the last layer."""
    config = replace(config, layers=LAYERS)
    model = Captioned(MagiTransformer(config, torch.bfloat16, CUDA).requires_grad_(False))
    check(gpu, model, MAGI.schedule(chunks * CHUNK, 4, 4), MAGI_SIZE, ONE_OF_TWO)
    assert gpu.linear[torch.float32] == calls * (config.layers + 8)
    assert gpu.linear[torch.bfloat16] == calls * config.layers * 8
    assert model.cache.bytes() == kv_bytes(config, chunks * CHUNK * 30 * 30, torch.bfloat16)


def test_keys_and_values_of_all_branches_share_one_budget(gpu):
    """Of the three branches two keep chunks: the one with text those in the works, the other finished ones as well."""
    config, frames = replace(MAGI_4_5B, layers=2), 3 * CHUNK
    model = Captioned(MagiTransformer(config, torch.bfloat16, CUDA).requires_grad_(False))
    model.text_scale = 7.5
    chunk = kv_bytes(config, CHUNK * 8 * 8, torch.bfloat16)
    held = []

    def on_step(*step):
        held.append(sum(cache.bytes(CUDA) for cache in model.caches))

    def most(budget):
        model.kv_bytes, model.caches = budget, frozenset()
        held.clear()
        noise = torch.randn(1, 16, frames, 16, 16, device=CUDA)
        sample(model, noise, MAGI.schedule(frames, 4, 4), settings("scope", signal="sigma"), on_step=on_step)
        assert len(model.caches) == 2
        return max(held)

    assert most(float("inf")) > 3 * chunk
    assert most(2 * chunk) == 2 * chunk


@pytest.mark.parametrize("name, way, steps", [("skyreels", "synchronous", 5), ("magi", "chunk_by_chunk", 4)])
def test_the_demos_stay_on_the_device(gpu, name, way, steps):
    demo = DEMOS[name]()
    demo.transformer.to(CUDA)
    demo.words = demo.words.to(CUDA)
    schedule = demo.schedules(steps)[way]
    model = demo.model(torch.tensor([tokenize("a red circle bouncing on a navy background")]), schedule)
    gpu.uploads.clear()
    made = check(gpu, model, schedule, (8, 8), settings("taylorseer"))
    assert made.trace.totals["computed"] < made.trace.totals["iterations"]


def test_the_demo_decodes_on_the_device(gpu):
    demo = DEMOS["magi"]()
    demo.vae.to(CUDA)
    assert demo.decode(torch.empty(1, 16, 2, 8, 8, device=CUDA)).device == CUDA
