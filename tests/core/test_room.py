"""Out of memory on the device: what is kept goes into the CPU's memory step by step, and the result is the same."""

from itertools import count

import pytest
import torch

from scope_core import CAUSAL_WAN, MAGI, METHODS, PRESETS, SKYREELS, Gate, Settings
from scope_core.families.causal_wan import GuidedChunks, KeyValues, Trained
from scope_core.families.magi import ChunkModel, Reach
from scope_core.families.skyreels import Guided
from scope_core.loop import room
from scope_core.loop.rollout import join, unroll
from scope_core.loop.room import HISTORY
from scope_core.loop.sample import Run
from scope_core.networks.chunk_cache import Budget, ChunkCache
from scope_core.networks.compression import Compression
from scope_core.networks.magi import MagiConfig, MagiTransformer
from scope_core.networks.wan import WanConfig, WanTransformer
from tests.fake_cuda import CUDA, fake_cuda

CONFIG = WanConfig(dim=48, ffn_dim=64, num_heads=2, num_layers=3, text_dim=8, in_dim=4, out_dim=4)
MAGI_CONFIG = MagiConfig(
    layers=3, hidden=64, ffn=96, heads=16, cond=16, head_dim=8, caption_dim=8, caption_length=60, channels=4
)


def tight(network, full):
    """A network on a device that is full at the calls `full` of a block half-way through."""
    calls = count(1)

    def allocate(*args):
        if next(calls) in full:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    network.blocks[1].register_forward_pre_hook(allocate)
    return network.requires_grad_(False)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def wan(full):
    torch.manual_seed(0)
    return tight(WanTransformer(CONFIG), full)


def skyreels(full):
    return Guided(wan(full), drawn(1, 5, 8, seed=1), drawn(1, 5, 8, seed=2), cfg=3.0)


def causal(full):
    return GuidedChunks(wan(full), drawn(1, 5, 8, seed=1), drawn(1, 5, 8, seed=2), 3.0, Trained(2, 8))


class Magi(ChunkModel):
    reach = Reach(())

    def __init__(self, full, text_scale=None, compress=None):
        self.network, self.layers = tight(MagiTransformer(MAGI_CONFIG), full), MAGI_CONFIG.layers
        for i, parameter in enumerate(self.network.parameters()):
            parameter.copy_(drawn(*parameter.shape, seed=i) * 0.1)
        self.text_scale, self.compress = text_scale, compress

    def __call__(self, x, times, chunks, ranges, text, cache, keep, dt, dropped, around):
        context = drawn(1, 1, 9, 8, seed=3).expand(-1, len(chunks), -1, -1)
        told = torch.ones(context.shape[:3], dtype=torch.bool)
        return self.network(x, torch.tensor([times]), chunks, ranges, context, told, cache, keep, dt, dropped, around)


RUNS = {
    "skyreels": (skyreels, SKYREELS.schedule(10, 6, 6, 2, 2, 2), 4),
    "causal Wan": (causal, CAUSAL_WAN.schedule(6, 4, 2), 4),
    "MAGI-1": (Magi, MAGI.schedule(18, 8, 4), 4),
    "MAGI-1 with guidance": (lambda full: Magi(full, 7.5), MAGI.schedule(18, 8, 4), 4),
    "MAGI-1, compressed": (lambda full: Magi(full, None, Compression(2, queries=4)), MAGI.schedule(24, 8, 4), 4),
}
FULL = {"skyreels": [5], "causal Wan": [10, 11]}
"""Calls at which there is something to move."""
SETTINGS = {
    "balanced": PRESETS["balanced"],
    "latents": Settings(METHODS["easycache"](tau=0.3), Gate(2, 1)),
    "residuals": Settings(METHODS["hicache"](site="residual", interval=3), Gate(3)),
    "probe": Settings(METHODS["fbcache"](threshold=0.3), Gate(3)),
    "watched": Settings(METHODS["bwcache"](threshold=0.9), Gate(3)),
}


def made(name, settings, full=()):
    make, schedule, channels = RUNS[name]
    run, model = Run(schedule, settings), make(full)
    with torch.inference_mode():
        segments = unroll(
            lambda segment, noise, known: run.segment(model, segment, noise, known),
            drawn(1, channels, schedule.frames, 4, 4, seed=9),
            schedule,
        )
    return join(segments, schedule.overlap), run


@pytest.fixture(autouse=True)
def in_ram(monkeypatch):
    """How many tensors were moved. The CPU stands in for the device, so what is moved is copied."""
    moved = []

    def kept(self, tensor):
        if not self.short:
            return tensor
        moved.append(tensor)
        return tensor.clone()

    monkeypatch.setattr(room.Room, "kept", kept)
    return moved


def decided(run):
    steps = [step for segment in run.trace.segments for step in segment.steps]
    return [(step["modes"], step["rules"], step["scores"]) for step in steps]


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_ran_out_of_memory_equals_one_that_had_room(name, settings, in_ram):
    whole, usual = made(name, settings)
    again, run = made(name, settings, full=FULL.get(name, [5, 6]))
    assert torch.equal(again, whole)
    assert decided(run) == decided(usual)
    assert run.trace.run["warnings"].count(HISTORY) == 1 and "warnings" not in usual.trace.run
    assert len(run.trace.run["warnings"]) == (1 if name == "skyreels" else 2)
    assert in_ram or settings is SETTINGS["probe"]


def test_an_error_that_no_room_helps_against_is_raised():
    with pytest.raises(torch.OutOfMemoryError):
        made("skyreels", SETTINGS["balanced"], full=range(5, 50))


def test_what_moved_is_in_the_memory_of_the_cpu_and_comes_back(monkeypatch):
    """On a device that is not there."""
    monkeypatch.undo()
    schedule, made_so_far = SKYREELS.schedule(6, 12, 6, 2), []
    with torch.no_grad(), fake_cuda():
        model = skyreels([5])
        model.model.to(CUDA)
        model.positive, model.negative = model.positive.to(CUDA), model.negative.to(CUDA)
        run, (segment,) = Run(schedule, PRESETS["balanced"]), schedule.segments

        def on_step(segment, step, x0, record):
            entries = run.controls[0].memory.velocities.values()
            made_so_far.append({entry.value.device.type for unit in entries for entry in unit})
            assert run.corrected.anchor.x.device.type in made_so_far[-1]

        noise = torch.randn(1, 4, 6, 4, 4, device=CUDA)
        latents = run.segment(model, segment, noise, torch.zeros_like(noise), on_step=on_step)
    assert made_so_far[0] == {"cuda"} and made_so_far[-1] == {"cpu"} and latents.is_cuda


def test_keys_and_values_go_half_by_half_the_oldest_first(monkeypatch):
    monkeypatch.undo()
    with torch.no_grad(), fake_cuda():
        cache = ChunkCache()
        for chunk in range(8):
            cache.put(0, chunk, *torch.empty(2, 1, 2**18, 4, device=CUDA))
        left = []
        while cache.budget.spillable:
            cache.budget.spill()
            left.append([chunk for (_, chunk), (key, _) in cache.stored.items() if key.is_cuda])
        assert left == [[4, 5, 6, 7], [6, 7], [7], []]
        cache.put(0, 8, *torch.empty(2, 1, 2**18, 4, device=CUDA))
        assert not cache.stored[0, 8][0].is_cuda and cache.get(0, 8, CUDA)[0].is_cuda


@pytest.mark.parametrize(("branches", "stay"), [(1, [0, 1]), (2, [0, 0]), (3, [0, 0])])
def test_guidance_branches_share_what_may_stay_on_the_device(monkeypatch, branches, stay):
    monkeypatch.undo()
    with torch.no_grad(), fake_cuda():
        chunk = torch.empty(2, 1, 2**18, 4, device=CUDA)
        kept = KeyValues(2 * chunk.nbytes)
        for kept.write in range(3):
            for branch in range(branches):
                kept.extend(branch, 0, *chunk)
        stored = [item for cache in kept.branches.values() for item in cache.stored.items()]
        assert [chunk for (_, chunk), (key, _) in stored if key.is_cuda] == stay


def test_keys_and_values_go_with_their_last_reader():
    """Not when garbage is looked for, which nothing brings about on a full GPU."""
    cache = ChunkCache(Budget(100))
    key = torch.zeros(1, 2, 4)
    ChunkCache(behind=cache).put(0, 0, key, key)
    assert cache.budget.held(key.device) == 0
