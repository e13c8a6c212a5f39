"""Core's MultiGPU CFG Split before our samplers: two devices on one CPU, each with weights and a thread of its own,
equal to one device."""

import importlib.util
import json
import threading
from collections import Counter
from pathlib import Path
from typing import ClassVar

import comfy.model_management
import comfy.samplers
import comfy.sd
import pytest
import torch
from comfy_extras.nodes_multigpu import MultiGPUCFGSplitNode
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scope_pack.nodes.comfy.accelerate import Asked, accelerate
from scope_pack.nodes.comfy.loading import load_ar_model
from scope_pack.nodes.comfy.magi import ChunkWindow
from scope_pack.nodes.comfy.sampling import VideoSampler, begin_trace, sample_video, unrolling_of
from scope_pack.nodes.comfy.skyreels import Windows
from scope_pack.scope_core.families.magi import Reach
from scope_pack.scope_core.loop.rollout import join
from scope_pack.scope_core.loop.sample import Run
from scope_pack.scope_core.methods import BWCache, DeltaDiT, FBCache, Gate, Scope
from scope_pack.scope_core.networks.chunk_cache import ChunkCache
from scope_pack.scope_core.networks.compression import Compression
from scope_pack.scope_core.settings import PRESETS, Settings

spec = importlib.util.spec_from_file_location("tiny_wan", Path(__file__).parents[1] / "tiny_wan.py")
tiny_wan = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny_wan)

TOLERANCE = 2e-5
STEPS, CFG = 8, 3.0
DEVICES = torch.device("cpu"), torch.device("cpu", 0)
"""Two for the host, one to torch."""
pytestmark = pytest.mark.usefixtures("on_cpu")
FIXTURES = Path(__file__).parents[1] / "fixtures" / "magi1"
SETTINGS = {
    "off": PRESETS["off"],
    "output": Settings(Scope(tau_c=5, tau_p=10, decay_mode="none", signal="latent"), Gate(3, 1, 0)),
    "inside": Settings(DeltaDiT(3), Gate(3, 1, 0)),
    "watching": Settings(BWCache(9, tail_ratio=0.0), Gate(3, 1, 0)),
}


@pytest.fixture(autouse=True)
def two_devices(monkeypatch):
    monkeypatch.setattr(comfy.model_management, "get_all_torch_devices", lambda **options: list(DEVICES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("multigpu")


def split(model):
    """The node stumbles over models of earlier tests that are gone but still listed as loaded."""
    listed = comfy.model_management.current_loaded_models
    listed[:] = [loaded for loaded in listed if loaded.model is not None]
    (made,) = MultiGPUCFGSplitNode.execute(model, 2).args
    return made


def networks(model):
    """Those of a MODEL by device."""
    patchers = model, *model.get_additional_models_with_key("multigpu")
    return {patcher.load_device: patcher.model.diffusion_model for patcher in patchers}


class Watched:
    """Counts what the networks of a MODEL compute."""

    def __init__(self, model, forwards=len):
        """`forwards`: of a block, by its output."""
        self.ran, self.threads, found = Counter(), set(), networks(model)
        for device, network in found.items():
            for block in network.blocks:
                block.register_forward_hook(
                    lambda block, args, out, device=device: self.note(device, forwards(out) / len(network.blocks))
                )

    def note(self, device, forwards):
        self.ran[device] += forwards
        self.threads.add((device, threading.get_ident(), torch.is_inference_mode_enabled()))


def random(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def prompts():
    return [[random(1, 12, 64, seed=2), {}]], [[random(1, 9, 64, seed=3), {}]]


class SkyReels:
    """A tiny Wan as a file."""

    told: ClassVar[dict] = {}
    unrolling: Windows | None = Windows()
    solver = "unipc"
    forwards = staticmethod(len)

    def __init__(self, folder):
        self.path = str(folder / f"{type(self).__name__}.safetensors")
        save_file(tiny_wan.weights(), self.path, tiny_wan.METADATA | self.told)
        self.noise, self.conds = random(1, 16, 6, 8, 8), prompts()

    def model(self):
        return load_ar_model([self.path], 24, {"dtype": torch.float32})

    def run(self, model, settings, cfg=CFG, steps=STEPS):
        unrolling = unrolling_of(model, self.unrolling)
        schedule = unrolling.schedule(self.noise.shape[2], steps)
        run = Run(schedule, settings, self.solver, 0, begin_trace(model, schedule, settings, self.solver))
        segments = sample_video(model, *self.conds, cfg, self.noise, run, unrolling, lambda *step: None)
        return model.model.process_latent_in(join(segments, schedule.overlap)), run.trace


class Asynchronous(SkyReels):
    unrolling = Windows(block=2, ar_step=2, causal=True)


class CausalWan(SkyReels):
    told: ClassVar[dict] = {"scope": "causal_wan chunk 3"}
    unrolling = None


class Magi(SkyReels):
    """A base model of the published code, whose guidance has three branches."""

    solver = "euler"

    def __init__(self, folder, name="t2v_base", compress=None):
        with safe_open(FIXTURES / f"{name}.safetensors", "pt") as file:
            meta = file.metadata()
        tensors = load_file(FIXTURES / f"{name}.safetensors")
        self.steps, self.noise, self.guided = int(meta["num_steps"]), tensors["in.noise"], name == "t2v_base"
        self.path = str(folder / f"{name}.safetensors")
        save_file({key[2:]: value for key, value in tensors.items() if key.startswith("w.")}, self.path)
        positive = [[tensors["in.caption"][None], {"attention_mask": tensors["in.mask"][None]}]]
        self.conds = positive, [[torch.zeros_like(tensors["in.caption"][None, :1]), {}]]
        reach = Reach(() if compress else tuple(json.loads(meta["kvrange"])), int(meta["clean_kv"]))
        self.unrolling = ChunkWindow(int(meta["window"]), reach, compress=compress)
        tokens = 6 * (self.noise.shape[3] // 2) * (self.noise.shape[4] // 2)
        self.forwards = lambda out: out.shape[1] // tokens

    def model(self):
        return load_ar_model([self.path], 24, {"dtype": torch.float32}, "base" if self.guided else "distilled")

    def run(self, model, settings, cfg=7.5):
        return super().run(model, settings, cfg, self.steps)


class OneChunk(SkyReels):
    """Any MODEL, through a guider of somebody's graph."""

    def model(self):
        return comfy.sd.load_diffusion_model(self.path, {"dtype": torch.float32})

    def run(self, model, settings, cfg=CFG):
        traces = []
        return self.sample(model, VideoSampler(None, settings, "euler", traces.append), cfg), traces[0]

    def sample(self, model, sampler, cfg):
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(*self.conds)
        guider.set_cfg(cfg)
        sigmas = comfy.samplers.KSampler(model, STEPS, "cpu", "euler", "simple").sigmas
        made = guider.sample(self.noise, self.noise * 0, sampler, sigmas, disable_pbar=True, seed=5)
        return model.model.process_latent_in(made)


class Accelerated(OneChunk):
    """The same behind the host's own sampler."""

    def run(self, model, settings, cfg=CFG):
        traces = []
        accelerated = accelerate(model, Asked(settings, on_trace=traces.append))
        return self.sample(accelerated, comfy.samplers.sampler_object("euler"), cfg), traces[0]


def modes(trace):
    return [step["modes"] for segment in trace.segments for step in segment.steps]


CASES = [
    (kind, how)
    for kind in (SkyReels, Asynchronous, CausalWan, Magi, OneChunk, Accelerated)
    for how in SETTINGS
    if kind is not Accelerated or SETTINGS[how].acting.depth or how == "off"
]


@pytest.mark.parametrize("kind, how", CASES, ids=lambda what: getattr(what, "__name__", what))
def test_two_devices_equal_one(folder, kind, how):
    """Video, decisions and forwards; and the forwards are those that the networks see."""
    case, settings = kind(folder), SETTINGS[how]
    expected, alone = case.run(case.model(), settings)
    model = split(case.model())
    watched = Watched(model, case.forwards)
    made, trace = case.run(model, settings)
    assert (made - expected).abs().max() <= TOLERANCE
    assert modes(trace) == modes(alone) and (how == "off") == (not {*"".join(modes(trace))} & {*"CP"})
    assert trace.forwards == alone.forwards == pytest.approx(watched.ran.total())
    assert set(watched.ran) == set(DEVICES) and len(watched.threads) == 2
    assert not any(inference for *_, inference in watched.threads), "the host's threads are not in inference mode"
    assert not [text for text in trace.run["warnings"] if "GPU" in text]


@pytest.mark.parametrize("kind", [SkyReels, Asynchronous, Magi], ids=lambda kind: kind.__name__)
def test_every_run_of_two_devices_is_the_same(folder, kind):
    """docs/architecture.md, law 4, with a method that measures inside the network: neither what is counted nor what is
    measured depends on which thread was faster."""
    case = kind(folder)
    model = split(case.model())
    (first, trace), *others = (case.run(model, SETTINGS["watching"]) for _ in range(3))
    for made, other in others:
        assert torch.equal(made, first) and other.forwards == trace.forwards
        assert [step["scores"] for step in other.segments[0].steps] == [
            step["scores"] for step in trace.segments[0].steps
        ]


@pytest.mark.parametrize("kind", [SkyReels, CausalWan, Magi, OneChunk], ids=lambda kind: kind.__name__)
def test_patches_reach_the_other_device(folder, kind):
    """A LoRA that is applied behind the node that splits."""

    def patched(model):
        model = model.clone()
        keys = [key for key, value in model.model_state_dict().items() if ".1." in key and value.ndim == 2]
        patches = {key: ("diff", (random(*model.model_state_dict()[key].shape) * 0.05,)) for key in keys[:3]}
        assert len(model.add_patches(patches)) == 3
        return model

    case = kind(folder)
    plain, _ = case.run(case.model(), PRESETS["off"])
    expected, _ = case.run(patched(case.model()), PRESETS["off"])
    model = patched(split(case.model()))
    watched = Watched(model, case.forwards)
    made, _ = case.run(model, PRESETS["off"])
    assert (made - expected).abs().max() <= TOLERANCE < 100 * TOLERANCE < (plain - expected).abs().max()
    assert set(watched.ran) == set(DEVICES)


def test_a_prompt_that_begins_later_moves_the_others(folder):
    """What is kept of a prompt is kept, whichever device computes it: with a third prompt they are handed out anew."""
    case = SkyReels(folder)
    (positive, negative), later = case.conds, random(1, 12, 64, seed=7)
    case.conds = [positive[0], [later, {"start_percent": 0.4}]], negative
    settings = Settings(DeltaDiT(3), Gate(3, 1, 0))
    expected, alone = case.run(case.model(), settings)
    model = split(case.model())
    made, trace = case.run(model, settings)
    assert (made - expected).abs().max() <= TOLERANCE and trace.forwards == alone.forwards


def test_keys_and_values_stay_where_they_are(folder, monkeypatch):
    """Those of a branch of MAGI-1 are always written by the same device's thread, however many branches a call has."""
    case, writers = Magi(folder), {}
    put = ChunkCache.put

    def noted(cache, *what):
        writers.setdefault(id(cache), set()).add(threading.get_ident())
        put(cache, *what)

    monkeypatch.setattr(ChunkCache, "put", noted)
    case.run(split(case.model()), SETTINGS["output"])
    assert [len(threads) for threads in writers.values()] == [1, 1]
    assert len({thread for threads in writers.values() for thread in threads}) == 2


UNSPLIT = {
    "a probe": (
        SkyReels,
        {},
        Settings(FBCache(10), Gate(3, 1, 0)),
        {},
        "FBCache / DBCache looks into the network at one prompt",
    ),
    "a probe in chunks": (Magi, {}, Settings(FBCache(10), Gate(3, 1, 0)), {}, "looks into the network"),
    "a probe, one chunk": (OneChunk, {}, Settings(FBCache(10), Gate(3, 1, 0)), {}, "looks into the network"),
    "compression": (Magi, {"compress": Compression(4)}, PRESETS["off"], {}, "kv_chunks of MAGI-1 Schedule"),
    "distilled": (Magi, {"name": "t2v_distill"}, PRESETS["off"], {}, "there is no guidance"),
    "no guidance": (SkyReels, {}, PRESETS["off"], {"cfg": 1.0}, "there is no guidance"),
}


@pytest.mark.parametrize("why", UNSPLIT)
def test_what_cannot_be_split_stays_on_the_first_device_and_is_told(folder, why, caplog):
    kind, made_with, settings, options, sentence = UNSPLIT[why]
    case = kind(folder, **made_with)
    expected, alone = case.run(case.model(), settings, **options)
    assert "GPU" not in caplog.text
    model = split(case.model())
    watched = Watched(model, case.forwards)
    made, trace = case.run(model, settings, **options)
    assert torch.allclose(made, expected, rtol=0, atol=TOLERANCE) and modes(trace) == modes(alone)
    assert set(watched.ran) == {DEVICES[0]} and trace.forwards == pytest.approx(watched.ran.total())
    assert sentence in caplog.text and "The first GPU does all the work" in trace.run["warnings"][-1]


def test_the_trace_names_all_devices(folder):
    case = SkyReels(folder)
    _, trace = case.run(split(case.model()), PRESETS["off"])
    one, other = trace.run["host"]["device"].split("; ")
    assert one == other
