"""Causal Wan on the host's stock WanModel with keys and values kept, against a loop of two caches on core's own causal
network, and against the window rollout that keeps none."""

import json
import logging
from itertools import count
from types import SimpleNamespace

import comfy.model_management
import comfy.ops
import comfy.sample
import numpy as np
import pytest
import torch
from comfy.ldm.wan.ar_model import CausalWanModel
from comfy.ldm.wan.model import WanModel
from safetensors.torch import save_file
from scope_pack.nodes.comfy import events, room
from scope_pack.nodes.comfy.causal_wan import Chunks, HostChunks, NotByChunksError, chunks, identify, kv_bytes, reserve
from scope_pack.nodes.comfy.graph import Graph
from scope_pack.nodes.comfy.loading import complete_model, load_ar_model
from scope_pack.nodes.comfy.sampling import VideoSampler, begin_trace, empty_latent, sample_video, unrolling_of
from scope_pack.nodes.comfy.skyreels import Windows, frame_sampling, prepare
from scope_pack.nodes.planning import family_node, plan_node
from scope_pack.nodes.sampling import Request, render
from scope_pack.nodes.schedule import ARScheduleNode, Sigmas
from scope_pack.scope_core import CAUSAL_WAN, SKYREELS
from scope_pack.scope_core.families.causal_wan import Trained
from scope_pack.scope_core.loop.rollout import join
from scope_pack.scope_core.loop.room import HISTORY, KEYS_AND_VALUES
from scope_pack.scope_core.loop.sample import Run
from scope_pack.scope_core.loop.solver import UniPC
from scope_pack.scope_core.methods import Gate, Scope, TeaCache
from scope_pack.scope_core.networks.chunk_cache import ChunkCache
from scope_pack.scope_core.networks.skyreels_keys import NotARVideoModelError, check_weights, shapes_of
from scope_pack.scope_core.schedule import ScheduleError
from scope_pack.scope_core.settings import PRESETS, Settings
from scope_pack.scope_core.signals.maps import SignalMaps

TOLERANCE = 2e-5
STEPS, H, W, TEXT, CFG = 6, 8, 8, 64, 3.0
SHAPE = {"dim": 256, "ffn_dim": 512, "num_heads": 2, "num_layers": 2, "text_dim": TEXT, "model_type": "t2v"}
CONFIG = {"config": json.dumps({"transformer": {"text_dim": TEXT}})}


def weights(kind, **more):
    """A network of the host with random weights."""
    torch.manual_seed(0)
    network = kind(**{**SHAPE, **more}, operations=comfy.ops.disable_weight_init, dtype=torch.float32, device="cpu")
    with torch.no_grad():
        for _, parameter in sorted(network.named_parameters()):
            parameter.copy_(
                torch.randn_like(parameter) * (0.3 if parameter.ndim == 1 else 0.5 / parameter[0].numel() ** 0.5)
            )
    return network.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("causal")


def model_of(folder, told, channels=16):
    path = folder / f"{told.replace(' ', '_')}_{channels}.safetensors"
    if not path.exists():
        state = weights(WanModel, in_dim=channels, out_dim=channels).state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, path, {**CONFIG, "scope": told})
    return load_ar_model([str(path)], 24, {"dtype": torch.float32})


def random(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def contexts():
    return random(1, 12, TEXT, seed=2), random(1, 9, TEXT, seed=3)


def run(model, noise, unrolling, settings=PRESETS["off"], solver="unipc", steps=STEPS, cfg=CFG, prompts=None):
    schedule = unrolling.schedule(noise.shape[2], steps)
    made = Run(schedule, settings, solver, 0, begin_trace(model, schedule, settings, solver))
    positive, negative = prompts or contexts()
    segments = sample_video(model, [[positive, {}]], [[negative, {}]], cfg, noise, made, unrolling, lambda *step: None)
    return model.model.process_latent_in(join(segments, schedule.overlap)), made.trace


def two_caches(noise, chunk, solver, known=None, channels=16):
    """Every chunk through all its steps, then once more clean, on two sets of caches, where the host computes too."""
    device = comfy.model_management.get_torch_device()
    network = weights(CausalWanModel, in_dim=channels, out_dim=channels).to(device)
    texts = [context.to(device) for context in contexts()]
    sigmas = CAUSAL_WAN.sigmas(STEPS, 5.0, "official")
    frames, tokens = noise.shape[2], (H // 2) * (W // 2)
    caches = [network.init_kv_caches(1, frames * tokens, device, torch.float32) for _ in range(2)]
    cross = [network.init_crossattn_caches(1, device, torch.float32) for _ in range(2)]
    x = noise.to(device, copy=True)
    known_frames = 0 if known is None else known.shape[2]
    if known_frames:
        x[:, :, :known_frames] = known

    def call(latents, t, start):
        made = []
        for context, kv, text in zip(texts, caches, cross):
            for cache in kv:
                cache["end"] = start * tokens
            made.append(network.forward_block(latents, t, context, start, kv, text))
        return made[1] + CFG * (made[0] - made[1])

    for start in range(0, frames, chunk):
        part, fixed = x[:, :, start : start + chunk].clone(), max(0, min(chunk, known_frames - start))
        take = UniPC(sigmas, match_reference=False)
        for step in range(STEPS if fixed < chunk else 0):
            t = torch.full((1, chunk), float(int(1000 * sigmas[step])), device=device)
            t[:, :fixed] = 0
            v = call(part, t, start)
            v[:, :, :fixed] = 0
            if solver == "euler":
                part = part + (sigmas[step + 1] - sigmas[step]) * v
            else:
                part = take.step(part, v, np.full(chunk, step), np.ones(chunk, bool), np.zeros(chunk, bool))
        call(part, torch.zeros(1, chunk, device=device), start)
        x[:, :, start : start + chunk] = part
    return x.cpu()


@pytest.mark.parametrize("solver", ["euler", "unipc"])
@pytest.mark.parametrize("chunk, frames", [(3, 9), (1, 4)], ids=["chunkwise", "framewise"])
def test_off_equals_a_loop_of_two_caches(folder, chunk, frames, solver):
    noise, model = random(1, 16, frames, H, W), model_of(folder, f"causal_wan chunk {chunk}")
    assert type(model.model.diffusion_model) is WanModel
    made, trace = run(model, noise, unrolling_of(model, None), solver=solver)
    expected = two_caches(noise, chunk, solver)
    assert (made - expected).abs().max() <= TOLERANCE
    count = frames // chunk
    assert trace.totals["computed"] == count * STEPS and trace.forwards == 2 * (count * STEPS + count - 1)


@pytest.mark.parametrize("settings", [PRESETS["off"], PRESETS["balanced"]], ids=["off", "balanced"])
def test_a_batch_of_two_prompts_is_each_of_them_alone(folder, settings):
    model, noise, prompts = model_of(folder, "causal_wan chunk 3"), random(2, 16, 6, H, W), random(2, 2, 12, TEXT)

    def made(part):
        unrolling, texts = unrolling_of(model, None), [prompt[part] for prompt in prompts]
        return run(model, noise[part], unrolling, settings, prompts=texts)[0]

    both = made(slice(0, 2))
    assert (both - torch.cat([made(slice(i, i + 1)) for i in range(2)])).abs().max() <= TOLERANCE
    assert (both[0] - both[1]).abs().max() > 0.1


@pytest.mark.parametrize("solver", ["euler", "unipc"])
def test_it_equals_the_window_rollout_that_keeps_nothing(folder, solver):
    """Finished frames shown again beside each chunk under block-causal attention, through the hooks of SkyReels-V2."""
    noise, model = random(1, 16, 9, H, W), model_of(folder, "causal_wan chunk 3")
    made, trace = run(model, noise, unrolling_of(model, None), solver=solver)
    window = model.clone()
    prepare(window, "the same weights")
    schedule = SKYREELS.schedule(9, STEPS, 9, 0, 3, STEPS, condition_noise=0, shift=5.0, causal=True)
    take = UniPC if solver == "unipc" else None
    plain = Run(
        schedule,
        PRESETS["off"],
        (lambda s: take(s, match_reference=False)) if take else "euler",
        0,
        begin_trace(window, schedule, PRESETS["off"], solver),
    )
    positive, negative = contexts()
    window.add_object_patch("model_sampling", frame_sampling(window, 5.0))
    (expected,) = sample_video(
        window, [[positive, {}]], [[negative, {}]], CFG, noise, plain, Windows(), lambda *s: None
    )
    assert (made - model.model.process_latent_in(expected)).abs().max() <= TOLERANCE
    frames = [step["frames"] for segment in plain.trace.segments for step in segment.steps]
    assert sum(stop - start for start, stop in frames) == 3 * trace.totals["frames_computed"]


@pytest.mark.parametrize(
    "told, frames, known, channels",
    [
        ("causal_wan chunk 1", 4, 1, 16),
        ("causal_wan chunk 3", 9, 3, 16),
        ("causal_wan chunk 8 window 32 sink 8", 16, 1, 48),
    ],
    ids=["framewise", "whole chunk", "LongLive-2.0"],
)
def test_known_frames_equal_a_loop_of_two_caches(folder, told, frames, known, channels):
    """An image is frame 0; in chunks of eight on Wan 2.2's 48 channels it is put back at every step and shown clean."""
    noise, start, model = (
        random(1, channels, frames, H, W),
        random(1, channels, known, H, W, seed=4),
        model_of(folder, told, channels),
    )
    unrolling = Chunks(unrolling_of(model, None).trained, model.model.process_latent_out(start))
    made, _ = run(model, noise, unrolling)
    expected = two_caches(noise, unrolling.trained.chunk, "unipc", start, channels)
    assert (made[:, :, :known] - start).abs().max() <= 1e-6 and (made - expected).abs().max() <= TOLERANCE


SKIPPING = [
    Settings(Scope(tau_c=9, tau_p=20, decay_mode="none", signal="sigma"), Gate(3, 1, 1)),
    Settings(TeaCache(9, signal="embedding"), Gate(2, 1, 1)),
]


@pytest.mark.parametrize("settings", SKIPPING, ids=["scope", "teacache"])
def test_forwards_are_counted_and_runs_do_not_know_each_other(folder, settings):
    """docs/architecture.md, laws 4 and 6; clean calls count, and are never skipped."""
    noise, model = random(1, 16, 9, H, W), model_of(folder, "causal_wan chunk 3")
    unrolling, calls = unrolling_of(model, None), []
    blocks = model.model.diffusion_model.blocks
    hooks = [block.register_forward_hook(lambda module, args, out: calls.append(out.shape[0])) for block in blocks]
    made, trace = run(model, noise, unrolling, settings, steps=10)
    for hook in hooks:
        hook.remove()
    assert sum(calls) / len(blocks) == trace.forwards
    assert 4 < trace.forwards < 2 * trace.totals["iterations"]
    full, _ = run(model, noise, unrolling, steps=10)
    run(model, random(1, 16, 6, 4, H), unrolling, settings, steps=10)
    again, _ = run(model, noise, unrolling, settings, steps=10)
    assert torch.equal(made, again) and not torch.equal(made, full)


def test_branches_in_calls_of_their_own_are_the_same(folder, monkeypatch):
    """Where memory is short the host forwards one conditioning at a time; keys and values are found by its uuid."""
    noise, model = random(1, 16, 6, H, W), model_of(folder, "causal_wan chunk 3")
    together, _ = run(model, noise, unrolling_of(model, None))
    sizes = []
    hook = model.model.diffusion_model.register_forward_pre_hook(lambda module, args: sizes.append(args[0].shape[0]))
    monkeypatch.setattr(type(model), "get_free_memory", lambda self, device: 0)
    apart, _ = run(model, noise, unrolling_of(model, None))
    hook.remove()
    assert set(sizes) == {1} and (apart - together).abs().max() <= 1e-5


def test_a_device_that_runs_full_changes_no_video(folder):
    """History and keys and values make room in turn, once each is told, and the call that failed is made again."""
    noise, model, calls = random(1, 16, 6, H, W), model_of(folder, "causal_wan chunk 3"), count(1)
    whole, usual = run(model, noise, unrolling_of(model, None), PRESETS["balanced"], steps=10)

    def allocate(*args):
        if next(calls) in (9, 10):  # where a chunk has computed a step before
            raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = model.model.diffusion_model.blocks[1].register_forward_pre_hook(allocate)
    made, trace = run(model, noise, unrolling_of(model, None), PRESETS["balanced"], steps=10)
    hook.remove()
    assert next(calls) > 11 and torch.equal(made, whole)
    told = [text for text in trace.run["warnings"] if text not in usual.run["warnings"]]
    assert told == [HISTORY, KEYS_AND_VALUES]
    assert trace.totals["computed"] == usual.totals["computed"]


@pytest.mark.usefixtures("on_cpu")
def test_workers_outside_inference_mode_write_keys_and_values(folder):
    """Several devices sample in threads that torch's inference mode does not reach; a cache made by the node could not
    be written to there. Two for the host, one to torch: of GPUs there may be one alone."""
    from comfy.multigpu import MultiGPUThreadPool

    noise, model = random(1, 16, 6, H, W), model_of(folder, "causal_wan chunk 3")
    expected, _ = run(model, noise, unrolling_of(model, None))
    other = model_of(folder, "causal_wan chunk 3")
    patcher = model.clone()
    second = patcher.clone(model_override=other.get_clone_model_override())
    second.model.current_patcher = second
    patcher.set_additional_models("multigpu", [second])
    devices = [torch.device("cpu"), torch.device("cpu", 0)]
    patcher.model_options["multigpu_clones"] = dict(zip(devices, (patcher, second)))
    pool = patcher.model_options["multigpu_thread_pool"] = MultiGPUThreadPool(devices)
    modes = []
    for network in (patcher.model.diffusion_model, other.model.diffusion_model):
        network.register_forward_pre_hook(lambda module, args: modes.append(torch.is_inference_mode_enabled()))
    try:
        made, trace = run(patcher, noise, unrolling_of(patcher, None))
    finally:
        pool.shutdown()
    assert modes == [False] * int(trace.forwards)
    assert trace.forwards == 2 * (2 * STEPS + 1) and (made - expected).abs().max() <= TOLERANCE


def test_the_host_makes_room_for_one_chunk_and_for_keys_and_values(folder):
    model = model_of(folder, "causal_wan chunk 3")
    asked = []
    reserve(lambda model, shape, conds: asked.append(shape), model, [1, 16, 60, H, W], {})
    memory = model.model.memory_required
    kept = 2 * kv_bytes(model.model, 21, H, W)
    assert kept == 2 * 2 * 2 * 21 * 16 * 256 * 4
    needed, frame = memory([2, *asked[0][1:]]), memory([2, 16, 1, H, W])
    assert 3 * frame + kept <= needed <= 4 * frame + kept
    seen = []
    real = comfy.model_management.load_models_gpu
    comfy.model_management.load_models_gpu = lambda *args, **kwargs: (seen.append(kwargs), real(*args, **kwargs))
    try:
        run(model, random(1, 16, 3, H, W), unrolling_of(model, None), steps=2)
    finally:
        comfy.model_management.load_models_gpu = real
    assert seen[0]["memory_required"] >= memory([2, 16, 3, H, W]) + 2 * kv_bytes(model.model, 3, H, W)


def test_one_branch_without_guidance_has_all_the_room_there_is(folder, monkeypatch):
    """So have two together, for they share it."""
    model, budgets = model_of(folder, "causal_wan chunk 3"), set()
    monkeypatch.setattr(room, "for_keys_and_values", lambda patcher: 12345.0)
    put = ChunkCache.put

    def watched(cache, *kept):
        budgets.add((id(cache.budget), cache.budget.nbytes))
        put(cache, *kept)

    monkeypatch.setattr(ChunkCache, "put", watched)
    for cfg in (1.0, CFG):
        budgets.clear()
        run(model, random(1, 16, 6, H, W), unrolling_of(model, None), cfg=cfg, steps=2)
        ((_, nbytes),) = budgets
        assert nbytes == 12345


def test_ar_schedule_says_how_far_a_chunk_looks_back(folder):
    """Chunk is the model's, window and sink are the run's, and what a causal model cannot do is answered."""
    trained = Trained(3)
    assert chunks(trained, None) == Chunks(trained)
    assert chunks(trained, Windows(window=9, block=3, sink=3)).trained == Trained(3, 9, 3)
    assert "trained with 81" in chunks(trained, Windows(block=3)).note
    image = torch.zeros(1, 16, 1, H, W)
    assert "framewise" in chunks(trained, Windows(21, block=3, start=image)).note
    assert chunks(Trained(1), Windows(21, start=image)).note == ""
    with pytest.raises(ScheduleError, match="set it to 3"):
        chunks(trained, Windows(21, block=5))
    with pytest.raises(ScheduleError, match="`end` of AR Schedule"):
        chunks(trained, Windows(21, block=3, end=image))
    model = model_of(folder, "causal_wan chunk 3")
    long, _ = run(model, random(1, 16, 9, H, W), unrolling_of(model, Windows(6, block=3)))
    whole, _ = run(model, random(1, 16, 9, H, W), unrolling_of(model, Windows(9, block=3)))
    assert torch.equal(long[:, :, :6], whole[:, :, :6]) and not torch.equal(long, whole)


def test_conditioning_that_has_no_keys_and_values_at_some_steps_is_refused(folder):
    noise, model = random(1, 16, 3, H, W), model_of(folder, "causal_wan chunk 3")
    unrolling = unrolling_of(model, None)
    text, _ = contexts()
    for positive, why in (
        ([[text, {}], [text, {}]], "2 parts"),
        ([[text, {"start_percent": 0.0, "end_percent": 0.5}]], "a range of steps"),
    ):
        made = Run(unrolling.schedule(3, STEPS), PRESETS["off"], "euler")
        with pytest.raises(NotByChunksError, match=why):
            sample_video(model, positive, [[text, {}]], CFG, noise, made, unrolling, lambda *step: None)


def test_user_options_of_the_rotary_embedding_hold_for_the_whole_video(folder):
    """Positions scaled by another node, as one call over all frames has them."""
    model = model_of(folder, "causal_wan chunk 3")
    network, seen = model.model.diffusion_model, []
    options = {"rope_options": {"scale_t": 0.5, "shift_t": 2.0}}
    whole = network.rope_encode(9, H, W, transformer_options=options, dtype=torch.float32)

    def guider(x, sigma, model_options, seed):
        seen.append(
            network.rope_encode(3, H, W, transformer_options=model_options["transformer_options"], dtype=torch.float32)
        )
        return x

    guider.inner_model, guider.model_patcher, guider.conds = model.model, model, {}
    HostChunks(guider, {"transformer_options": options}, 0, Trained(3)).evaluate(
        random(1, 16, 3, H, W), np.zeros(3), None, first=3
    )
    assert torch.allclose(seen[0], whole[:, 48:96], atol=1e-6) and options["rope_options"]["shift_t"] == 2.0


def test_a_file_that_core_calls_causal_loads_into_the_stock_network(folder, caplog):
    """By its metadata, framewise or not by its name; one that is distilled by its name is answered with a warning."""
    state = {key: value.contiguous() for key, value in weights(WanModel).state_dict().items()}
    config = {"config": json.dumps({"transformer": {"text_dim": TEXT, "causal_ar": True}})}
    for name, chunk, few in (("wan_causal.safetensors", 3, False), ("causal_forcing-framewise.safetensors", 1, True)):
        save_file(state, folder / name, config)
        with caplog.at_level(logging.WARNING):
            model = load_ar_model([str(folder / name)], 24, {"dtype": torch.float32})
        assert type(model.model.diffusion_model) is WanModel
        assert unrolling_of(model, None).trained == Trained(chunk)
        assert ("nothing to skip" in caplog.text) == few


def test_a_model_of_another_loader_is_told_by_the_file(folder):
    """Such as GGUF; the file beside it says how it was trained."""
    ready, told = model_of(folder, "causal_wan chunk 1"), folder / "causal_wan_chunk_1_16.safetensors"
    stock = comfy.sd.load_diffusion_model(str(told), {"dtype": torch.float32})
    completed = complete_model(stock, [str(told)], 24)
    noise = random(1, 16, 2, H, W)
    assert torch.equal(
        run(completed, noise, unrolling_of(completed, None))[0], run(ready, noise, unrolling_of(ready, None))[0]
    )


def test_distilled_weights_without_metadata_are_answered(folder):
    """The 1.3B model has no frame-rate branch; by its name it is not worth converting either."""
    state = {"patch_embedding.weight": torch.zeros(1536, 16, 1, 2, 2), "head.modulation": torch.zeros(1, 2, 1536)}
    for name, words in (("causal_ode.safetensors", "nothing to skip"), ("wan.safetensors", "workflows.convert")):
        save_file(state, folder / name)
        with pytest.raises(NotARVideoModelError, match=words):
            load_ar_model([str(folder / name)], 24, {})


PUBLISHED = {
    "1.3B": (1_418_996_800, {"dim": 1536, "ffn_dim": 8960, "num_heads": 12, "num_layers": 30}),
    "5B": (
        4_999_787_712,
        {"dim": 3072, "ffn_dim": 14336, "num_heads": 24, "num_layers": 30, "in_dim": 48, "out_dim": 48},
    ),
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_every_key_of_the_published_sizes_is_used(size):
    """On the meta device: the key list that the loader expects is that of the host's network."""
    count, shape = PUBLISHED[size]
    with torch.device("meta"):
        network = WanModel(**shape, text_dim=4096, operations=comfy.ops.disable_weight_init)
    state = network.state_dict()
    assert sum(value.numel() for value in state.values()) == count
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert shapes_of(state, shape["dim"], shape["num_heads"], 4096) == shapes
    check_weights(state, "model.safetensors")
    assert identify(shapes, "model.safetensors", Trained(3)) == f"Causal Wan {size}, chunks of 3"


def graph(name, widgets, through=()):
    """Loader, nodes in between, schedule and sampler, as the browser sends them."""
    nodes = {"load": {"class_type": "SCOPE_LoadModel", "inputs": {"model_name": name}}}
    last = "load"
    for kind in through:
        nodes[kind] = {"class_type": kind, "inputs": {"model": [last, 0]}}
        last = kind
    nodes["schedule"] = {
        "class_type": "SCOPE_ARSchedule",
        "inputs": {"length": 33, "window": 81, "chunk": 3, **widgets},
    }
    sampler = {"model": [last, 0], "schedule": ["schedule", 0], "latent": ["schedule", 1], "steps": 10, "preset": "off"}
    nodes["sampler"] = {"class_type": "SCOPE_Sampler", "inputs": {**sampler, "cfg": 3.0, "shift": 5.0}}
    return nodes


def test_the_plan_of_a_graph_is_that_of_the_model_in_the_file(folder, tmp_path, monkeypatch):
    """Chunk after chunk, before anything is loaded, behind a LoRA too; the schedule draws what its sampler does."""
    import folder_paths

    model = model_of(folder, "causal_wan chunk 3")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "diffusion_models", ([str(folder)], {".safetensors"}))
    folder_paths.filename_list_cache.clear()
    nodes = graph("causal_wan_chunk_3_16.safetensors", {}, ["LoraLoaderModelOnly"])
    for name in ("sampler", "schedule"):
        planned = plan_node(name, Graph.of(nodes), SignalMaps(tmp_path))
        segments = planned["trace"]["segments"]
        assert len(segments) == 1 and segments[0]["units"] == [[0, 3], [3, 6], [6, 9]] and segments[0]["by_chunk"]
        assert len(segments[0]["steps"]) == 30 and segments[0]["steps"][10]["frames"] == [3, 6]
    _, trace = run(model, random(1, 16, 9, H, W), unrolling_of(model, None), steps=10)
    assert [s["modes"] for s in segments[0]["steps"]] == [s["modes"] for s in trace.to_json()["segments"][0]["steps"]]
    nodes["sampler"]["inputs"] |= {"cfg": 6.0, "shift": 8.0}
    assert "released with cfg 3 and shift 5" in plan_node("sampler", Graph.of(nodes), SignalMaps(tmp_path))["note"]
    wrong = graph("causal_wan_chunk_3_16.safetensors", {"chunk": 5})
    assert family_node("sampler", Graph.of(wrong), SignalMaps(tmp_path)) == {"family": "causal_wan"}
    with pytest.raises(ScheduleError, match="set it to 3"):
        plan_node("sampler", Graph.of(wrong), SignalMaps(tmp_path))
    (folder / "torn.safetensors").write_bytes(b"nothing")
    for other in ("torn.safetensors", "not there.safetensors"):
        assert family_node("sampler", Graph.of(graph(other, {})), SignalMaps(tmp_path)) == {"family": ""}
        made = plan_node("sampler", Graph.of(graph(other, {})), SignalMaps(tmp_path))
        assert len(made["trace"]["segments"][0]["steps"]) == 10, "as before: a window that is forwarded as a whole"
    folder_paths.filename_list_cache.clear()


def test_a_graph_runs_as_planned_and_gives_the_length_asked_for(folder, tmp_path, monkeypatch):
    """SCOPE Sampler on AR Schedule's latent of 25 frames, of which whole chunks are sampled; the plan is the run, and
    settings of another family are named."""
    import folder_paths

    monkeypatch.setattr(events, "send_step", lambda *step: None)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "diffusion_models", ([str(folder)], {".safetensors"}))
    folder_paths.filename_list_cache.clear()
    model = model_of(folder, "causal_wan chunk 3")
    nodes = graph("causal_wan_chunk_3_16.safetensors", {"length": 25, "chunk": 3, "window": 25})
    nodes["sampler"]["inputs"] |= {"preset": "balanced", "steps": 20}
    given = Graph.of(nodes)
    planned = plan_node("sampler", given, SignalMaps(tmp_path))["trace"]
    widgets = {"length": 25, "window": 25, "overlap": 17, "chunk": 3, "ar_step": 0, "causal": False}
    unrolling, frames = ARScheduleNode.unroll(
        {**widgets, "condition_noise": 20.0, "width": 64, "height": 64}, None, None
    )
    positive, negative = ([[text, {}]] for text in contexts())
    asked = Request(model, positive, negative, empty_latent(1, frames, 64, 64), unrolling, 0, 20, 6.0, 8.0, "unipc")
    hidden = SimpleNamespace(unique_id="sampler", dynprompt=SimpleNamespace(get_node=given.node))
    latent, made = render(hidden, asked, PRESETS["balanced"])
    assert latent["samples"].shape == (1, 16, 7, 8, 8) and made.trace.segments[0].header["frames"] == 9
    assert [s["modes"] for s in planned["segments"][0]["steps"]] == [s["modes"] for s in made.trace.segments[0].steps]
    assert made.trace.totals["computed"] < made.trace.totals["iterations"] == 60
    assert any("released with cfg 3 and shift 5" in said for said in made.trace.run["warnings"])
    folder_paths.filename_list_cache.clear()


def test_the_advanced_sampler_on_ar_sigmas_is_the_same(folder):
    noise, model = random(1, 16, 6, H, W), model_of(folder, "causal_wan chunk 3")
    expected, _ = run(model, noise, unrolling_of(model, None))
    prompts = [[[text, {}]] for text in contexts()]
    (sigmas,) = Sigmas.execute(STEPS, 5.0, "Causal Wan").args
    traces = []
    sampler = VideoSampler(None, PRESETS["off"], "unipc", traces.append)

    def advanced(noise):
        empty = torch.zeros_like(noise)
        return comfy.sample.sample_custom(
            model, noise, CFG, sampler, sigmas, *prompts, empty, disable_pbar=True, seed=0
        )

    made = advanced(noise)
    assert (model.model.process_latent_in(made) - expected).abs().max() <= TOLERANCE and len(traces) == 1
    with pytest.raises(ScheduleError, match="chunks of 3; give it an empty latent of 6"):
        advanced(noise[:, :, :5])
