"""MAGI-1 as the host's MODEL: the published code's outputs through a guider, loading, LoRA, memory, and bad input."""

import json
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import comfy.lora
import comfy.model_management
import comfy.sample
import comfy.samplers
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scope_pack.nodes.comfy import calibration, magi
from scope_pack.nodes.comfy.families import MODEL_NAME
from scope_pack.nodes.comfy.loading import ModelFileError, load_ar_model
from scope_pack.nodes.comfy.magi import ChunkWindow, unroll_chunks
from scope_pack.nodes.comfy.sampling import (
    UnsuitableError,
    VideoSampler,
    begin_trace,
    sample_video,
    start_noise,
    unrolling_of,
)
from scope_pack.nodes.comfy.skyreels import Windows
from scope_pack.nodes.magi import MagiScheduleNode
from scope_pack.nodes.sampling import ScopeSampler
from scope_pack.scope_core import MAGI
from scope_pack.scope_core.families.magi import TEXT_SCALE, Reach
from scope_pack.scope_core.loop.sample import Run
from scope_pack.scope_core.methods import Gate, Scope, TeaCache
from scope_pack.scope_core.networks.magi import (
    MAGI_4_5B,
    MAGI_24B,
    PACKED,
    ChunkCache,
    MagiConfig,
    MagiTransformer,
    PackedLayersError,
    forward_bytes,
    kv_bytes,
)
from scope_pack.scope_core.networks.skyreels_keys import NotARVideoModelError
from scope_pack.scope_core.schedule import ScheduleError
from scope_pack.scope_core.settings import PRESETS, Settings
from torch.utils._python_dispatch import TorchDispatchMode

FIXTURES = Path(__file__).parents[1] / "fixtures" / "magi1"
SCOPE = Settings(Scope(tau_c=0.02, tau_p=5.0, decay_mode="none", predictor="taylor1", signal="sigma"), Gate(2, 2, 0))

TOLERANCE = 3e-4
"""What differs between machines, see tests/core/test_magi_loop.py; where they agree it is 1e-5."""


class Fixture:
    """Weights, inputs and output of the published code, as the nodes would see them."""

    def __init__(self, name, folder):
        with safe_open(FIXTURES / f"{name}.safetensors", "pt") as file:
            meta = file.metadata()
        tensors = load_file(FIXTURES / f"{name}.safetensors")
        self.state = {key[2:]: value for key, value in tensors.items() if key.startswith("w.")}
        self.guided, self.steps = meta["cfg_number"] == "3", int(meta["num_steps"])
        self.path = folder / f"{name}_{'base' if self.guided else 'distill'}.safetensors"
        save_file(self.state, self.path)
        self.noise, self.start, self.expected = (tensors.get(key) for key in ("in.noise", "in.prefix", "out.latent"))
        self.positive = [[tensors["in.caption"][None], {"attention_mask": tensors["in.mask"][None]}]]
        self.negative = [[torch.zeros_like(tensors["in.caption"][None, :1]), {}]]
        self.unrolling = ChunkWindow(
            int(meta["window"]), Reach(tuple(json.loads(meta["kvrange"])), int(meta["clean_kv"])), start=self.start
        )

    def model(self, **options):
        return load_ar_model([str(self.path)], 24, {"dtype": torch.float32}, **options)

    def run(self, model, settings=PRESETS["off"], unrolling=None, on_step=lambda *step: None):
        unrolling = unrolling or self.unrolling
        schedule = unrolling.schedule(self.noise.shape[2], self.steps)
        run = Run(schedule, settings, "euler", 0, begin_trace(model, schedule, settings, "euler"))
        (made,) = sample_video(model, self.positive, self.negative, TEXT_SCALE, self.noise, run, unrolling, on_step)
        return made, run.trace


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("magi")


@pytest.fixture(scope="module", params=["t2v_distill", "i2v_distill", "t2v_base"])
def fixture(request, folder):
    return Fixture(request.param, folder)


@pytest.fixture(scope="module")
def distilled(folder):
    return Fixture("t2v_distill", folder)


@pytest.mark.parametrize("negative", [False, True], ids=["tokens", "tokens and negative tokens"])
@pytest.mark.parametrize("name", ["t2v_base", "t2v_distill"])
def test_special_tokens_as_in_the_published_code(folder, name, negative):
    """The same prompt with tokens for quality and duration; negative ones stand before every null caption, also before
    that of a clean chunk in the branch with text or of a distilled model."""
    fixture, data = Fixture(name, folder), load_file(FIXTURES.parent / "magi1_release/prompt_tokens.safetensors")
    fixture.noise, fixture.expected = data[f"in.noise.{name}"], data[f"out.{name}.{'neg' if negative else 'tokens'}"]
    fixture.positive[0][1] |= {"magi_special": data["in.special"], "magi_duration": data["in.duration"]}
    if negative:
        for ((_, extra),) in (fixture.positive, fixture.negative):
            extra["magi_negative"] = data["in.negative"]
    made, _ = fixture.run(fixture.model())
    assert (made - fixture.expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("dynamic", [True, False])
def test_off_equals_the_published_code(fixture, dynamic):
    model = fixture.model(disable_dynamic=not dynamic)
    made, trace = fixture.run(model)
    assert (made - fixture.expected).abs().max() < TOLERANCE
    totals = trace.totals
    assert totals["computed"] == totals["iterations"] and totals["forwards"] > totals["computed"]
    assert model.model.distilled != fixture.guided and ("base" in trace.run["model"]) == fixture.guided


def test_the_advanced_sampler_on_the_host_s_simple_schedule_is_the_same(fixture):
    """The model's own table makes BasicScheduler's `simple` the released noise levels."""
    model = fixture.model()
    prompts, empty = (fixture.positive, fixture.negative), torch.zeros_like(fixture.noise)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", fixture.steps)
    traces = []
    sampler = VideoSampler(fixture.unrolling, PRESETS["off"], "euler", traces.append)
    made = comfy.sample.sample_custom(
        model, fixture.noise, TEXT_SCALE, sampler, sigmas, *prompts, empty, disable_pbar=True, seed=0
    )
    assert (made - fixture.expected).abs().max() < TOLERANCE and len(traces) == 1


def test_chunks_are_skipped_and_a_second_run_is_the_same(fixture):
    model = fixture.model()
    full = fixture.run(model)[1].totals
    made, trace = fixture.run(model, SCOPE)
    again, _ = fixture.run(model, SCOPE)
    _jointly, together = fixture.run(model, replace(SCOPE, joint=True))
    assert torch.equal(made, again) and trace.totals["forwards"] < 0.75 * full["forwards"]
    assert (
        trace.totals["computed"] < full["computed"] == trace.totals["iterations"]
        and together.totals["computed"] < full["computed"]
    )


def test_reuse_inside_the_network(fixture):
    """TeaCache over all chunks of an iteration; what the host counts is what the loop counts."""
    full = fixture.run(fixture.model())[1].totals
    made, trace = fixture.run(fixture.model(), Settings(TeaCache(0.5, signal="embedding"), Gate(3, 1, 0)))
    assert torch.isfinite(made).all() and (made - fixture.expected).abs().max() > 1e-4
    assert trace.totals["computed"] < full["computed"] and trace.totals["forwards"] < 0.9 * full["forwards"]


def test_keys_and_values_beyond_the_budget_change_nothing(fixture):
    made, _ = fixture.run(fixture.model(), unrolling=replace(fixture.unrolling, kv_bytes=0))
    assert torch.equal(made, fixture.run(fixture.model())[0])


@pytest.mark.parametrize("window", [1, 2, 3, 4, 8])
def test_windows_and_lengths(distilled, window):
    fixture = Fixture("t2v_distill", distilled.path.parent)
    fixture.steps = 24
    unrolling = replace(fixture.unrolling, window=window)
    noise = start_noise(fixture.model(), {"samples": torch.zeros(1, 16, 8, *fixture.noise.shape[3:])}, 1, unrolling)
    assert noise.shape[2] == 12
    fixture.noise = noise
    made, trace = fixture.run(fixture.model(), unrolling=unrolling)
    assert torch.isfinite(made).all() and len(trace.segments[0].header["units"]) == 2


def test_a_batch_starts_from_the_same_frames(folder):
    """Known frames that do not fill a chunk are put back in every video of a batch."""
    fixture = Fixture("i2v_distill", folder)
    fixture.noise = fixture.noise.repeat(2, 1, 1, 1, 1)
    made, _ = fixture.run(fixture.model())
    assert all((video - fixture.expected).abs().max() < TOLERANCE for video in made.split(1))


@pytest.mark.parametrize("settings", [PRESETS["off"], PRESETS["balanced"]], ids=["off", "balanced"])
@pytest.mark.parametrize("name", ["t2v_distill", "t2v_base"])
def test_a_batch_of_two_prompts_is_each_of_them_alone(folder, name, settings):
    """They are of different length."""
    fixture = Fixture(name, folder)
    ((caption, extra),), noise = fixture.positive, fixture.noise
    mask = extra["attention_mask"].clone()
    mask[:, 2:] = 0

    def made(captions, masks, noise):
        fixture.positive, fixture.noise = [[captions, {"attention_mask": masks}]], noise
        return fixture.run(fixture.model(), settings)[0]

    alone = made(caption, extra["attention_mask"], noise), made(-caption, mask, -noise)
    both = made(torch.cat([caption, -caption]), torch.cat([extra["attention_mask"], mask]), torch.cat([noise, -noise]))
    assert (both - torch.cat(alone)).abs().max() < TOLERANCE and (both[0] + both[1]).abs().max() > 0.1


def test_a_lora_changes_the_video(distilled):
    model = distilled.model()
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    name = "videodit_blocks.layers.0.mlp.linear_fc1"
    out, width = distilled.state[f"{name}.weight"].shape
    lora = {
        f"diffusion_model.{name}.lora_A.weight": torch.randn(2, width),
        f"diffusion_model.{name}.lora_B.weight": torch.randn(out, 2),
    }
    patches = comfy.lora.load_lora(lora, keys)
    changed = model.clone()
    assert changed.add_patches(patches, 0.5)
    assert (distilled.run(changed)[0] - distilled.expected).abs().max() > 1e-2
    assert (distilled.run(model)[0] - distilled.expected).abs().max() < TOLERANCE, "the LoRA stayed"
    term = SimpleNamespace(features=lambda name, sigma: torch.ones(len(sigma), 3), family=MAGI)
    again, stronger = model.clone(), model.clone()
    again.add_patches(comfy.lora.load_lora(lora, keys), 0.5)
    stronger.add_patches(patches, 0.6)
    names = [calibration.identity(term, each) for each in (model, changed, again, stronger)]
    assert names[1] == names[2] and len(set(names)) == 3, "a calibration holds for a model with its LoRAs"


@pytest.mark.parametrize("choice", [torch.bfloat16, torch.float8_e4m3fn])
def test_storage_types(distilled, choice):
    model = load_ar_model([str(distilled.path)], 24, {"dtype": choice})
    weights = model.model.diffusion_model.state_dict()
    assert weights["videodit_blocks.layers.0.mlp.linear_fc1.weight"].dtype == choice
    assert (
        weights["x_embedder.weight"].dtype
        == weights["videodit_blocks.layers.0.self_attn_post_norm.weight"].dtype
        == torch.float32
    )
    made, _ = distilled.run(model)
    assert 0 < (made - distilled.expected).abs().max() < 3


@pytest.mark.parametrize("dynamic", [True, False])
def test_a_projection_in_fp32_is_not_rounded(distilled, folder, dynamic):
    """linear_proj is computed in fp32 and may be stored so beside bf16; a weight_dtype rounds it like the others."""
    projection = "videodit_blocks.layers.0.self_attention.linear_proj.weight"
    state = {key: value if "linear_proj" in key else value.bfloat16() for key, value in distilled.state.items()}
    path = folder / "mixed_distill.safetensors"
    save_file(state, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comfy.model_management, "unet_dtype", lambda weight_dtype, **_: weight_dtype)
        patch.setattr(comfy.model_management, "unet_manual_cast", lambda *_: None)
        kept = load_ar_model([str(path)], 24, {}, disable_dynamic=not dynamic)
    weights = kept.model.diffusion_model.state_dict()
    assert torch.equal(weights[projection], state[projection])
    assert weights[projection.replace("linear_proj", "linear_kv_xattn")].dtype == torch.bfloat16
    assert (distilled.run(kept)[0] - distilled.expected).abs().max() < 3
    rounded = load_ar_model([str(path)], 24, {"dtype": torch.bfloat16}).model.diffusion_model.state_dict()
    assert rounded[projection].dtype == torch.bfloat16


@pytest.fixture(scope="module")
def fp8(folder):
    """A plain network, and a file of it in the published fp8 layout: first and last block are not quantised."""
    config = MagiConfig(layers=3, hidden=128, ffn=192, heads=16, cond=32, head_dim=8, caption_dim=24, caption_length=56)
    torch.manual_seed(0)
    network = MagiTransformer(config).requires_grad_(False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    state, activation = network.state_dict(), 0.02
    block = "videodit_blocks.layers.1."
    plain = [f"{block}self_attention.linear_qkv.{part}" for part in ("q", "qx", "k", "v")] + [f"{block}mlp.linear_fc1"]
    for name in [*plain, f"{block}self_attention.linear_proj", f"{block}mlp.linear_fc2"]:
        weight = state.pop(f"{name}.weight")
        inputs = weight.shape[1]
        smooth = torch.ones(inputs) if name in plain else torch.linspace(0.5, 2, inputs)
        scale = (weight * smooth).abs().max() / 448
        state |= {
            f"{name}.weight": (weight * smooth / scale).to(torch.float8_e4m3fn)[None],
            f"{name}.weight_scale": scale[None],
            f"{name}.input_scale": torch.full((inputs if name in plain else 1,), activation),
        }
        if name not in plain:
            state[f"{name}.smooth_scale"] = activation * smooth[None]
    path = folder / "4.5B_distill_quant.safetensors"
    save_file(state, path)
    return network, path


def test_fp8_files_compute_what_their_numbers_stand_for(fp8):
    network, path = fp8
    model = load_ar_model([str(path)], 24, {})
    layer = model.model.diffusion_model.blocks[1].mlp.linear_fc2
    weight = network.blocks[1].mlp.linear_fc2.weight
    assert model.model.distilled and layer.weight.dtype == torch.float8_e4m3fn and layer.comfy_cast_weights is not None
    assert (layer.convert_weight(layer.weight)[0].cpu() - weight).abs().max() < 0.07 * weight.abs().max()
    x = torch.randn(5, weight.shape[1])
    made = layer(x.to(layer.weight.device, torch.bfloat16)).float().cpu()
    assert torch.nn.functional.cosine_similarity(made, x @ weight.T).min() > 0.995
    with pytest.raises(ModelFileError, match="weight_dtype cannot change"):
        load_ar_model([str(path)], 24, {"dtype": torch.bfloat16})
    with pytest.raises(ModelFileError, match="it is an fp8 file"):
        load_ar_model([str(path)], 24, {}, "base")


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_lora_on_an_fp8_file_is_in_real_units(fp8, dynamic):
    network, path = fp8
    model = load_ar_model([str(path)], 24, {}, disable_dynamic=not dynamic)
    key = "diffusion_model.videodit_blocks.layers.1.mlp.linear_fc2.weight"
    weight = network.blocks[1].mlp.linear_fc2.weight
    change = 0.05 * torch.randn_like(weight)
    model.add_patches({key: ("diff", (change[None],))})
    comfy.model_management.load_models_gpu([model])
    layer, x = model.model.diffusion_model.blocks[1].mlp.linear_fc2, torch.randn(5, weight.shape[1])
    made = layer(x.to(model.load_device, torch.bfloat16)).float().cpu()
    assert torch.nn.functional.cosine_similarity(made, x @ (weight + change).T).min() > 0.99
    comfy.model_management.unload_all_models()


def test_names_tell_base_and_distilled_and_contradictions_are_answered(distilled, folder):
    neutral = folder / "neutral.safetensors"
    save_file(distilled.state, neutral)
    assert (
        not load_ar_model([str(neutral)], 24, {}).model.distilled
        and load_ar_model([str(neutral)], 24, {}, "distilled").model.distilled
    )
    with pytest.raises(
        ModelFileError, match="'base', but .* is a distilled model: its name says otherwise; set kind to auto"
    ):
        load_ar_model([str(distilled.path)], 24, {}, "base")
    partial = {key: value for key, value in distilled.state.items() if "layers.1.mlp." not in key}
    save_file(partial, folder / "cut.safetensors")
    with pytest.raises(ModelFileError, match="lacks 4 weights of MAGI-1, such as videodit_blocks.layers.1.mlp"):
        load_ar_model([str(folder / "cut.safetensors")], 24, {})
    key = "videodit_blocks.layers.1.mlp.linear_fc2.weight"
    save_file({**distilled.state, key: torch.zeros(3)}, folder / "cut.safetensors")
    with pytest.raises(ModelFileError, match=r"linear_fc2.weight has shape \[3\], which has to be \[128, "):
        load_ar_model([str(folder / "cut.safetensors")], 24, {})
    save_file({**distilled.state, "x_embedder.weight": torch.zeros(())}, folder / "cut.safetensors")
    with pytest.raises(NotARVideoModelError, match="only a part of MAGI-1"):
        load_ar_model([str(folder / "cut.safetensors")], 24, {})
    save_file({PACKED: torch.zeros(2, 6, 4)}, folder / "packed.safetensors")
    with pytest.raises(PackedLayersError, match=r"packs q, qx, k and v of all layers .*\[2, 6, 4\].*issue 123"):
        load_ar_model([str(folder / "packed.safetensors")], 24, {})


@pytest.mark.parametrize(
    "place, name",
    [
        ("magi1.1/24B_distill", "MAGI-1.1 of width 128 distilled"),
        ("MAGI-1.1/4.5B_base/inference_weight", "MAGI-1.1 of width 128 base"),
        ("magi_1_1_base", "MAGI-1.1 of width 128 base"),
        ("magi/4.5B_base", "MAGI-1 of width 128 base"),
        ("magi1.10_base", "MAGI-1 of width 128 base"),
    ],
)
def test_the_version_is_told_from_the_folder(distilled, tmp_path, place, name):
    (tmp_path / place).mkdir(parents=True)
    path = tmp_path / place / "model.safetensors"
    save_file(distilled.state, path)
    assert load_ar_model([str(path)], 24, {}).get_attachment(MODEL_NAME) == name


@pytest.mark.parametrize("node, name", [(ScopeSampler, "steps"), (MagiScheduleNode, "window")])
def test_steps_of_every_size_are_on_the_widget_and_on_the_help_page(node, name):
    schema = node.define_schema()
    tooltip = next(widget.tooltip for widget in schema.inputs if widget.id == name)
    page = (Path(__file__).parents[2] / f"web/docs/{schema.node_id}.md").read_text()
    line = next(line for line in page.splitlines() if line.startswith(f"- **`{name}`**"))
    for size in ("4.5B", "24B base", "24B distilled"):
        told = f"{MAGI.defaults_of(f'MAGI-1 {size}').steps} for {size}"
        assert told in tooltip and told in line


def test_bad_input_is_answered(distilled, folder):
    model = distilled.model()
    with pytest.raises(UnsuitableError, match="comes from AR Schedule, but this model is unrolled by MAGI-1 Schedule"):
        unrolling_of(model, Windows())
    with pytest.raises(ScheduleError, match="multiples of 16 pixels"):
        ChunkWindow().check_size(torch.zeros(1, 16, 6, 33, 32))
    with pytest.raises(ScheduleError, match="25 latent frames.*one of 30"):
        ChunkWindow().check_size(torch.zeros(1, 16, 25, 32, 32))
    with pytest.raises(ScheduleError, match="30 latent frames and the video 24"):
        unroll_chunks(96, 4, (5, 4, 3, 2), "8,16,16", 8, torch.zeros(1, 16, 30, 8, 8))
    with pytest.raises(magi.NotByChunksError, match="SCOPE Sampler"):
        comfy.sample.sample(
            model,
            distilled.noise,
            2,
            1.0,
            "euler",
            "simple",
            distilled.positive,
            distilled.negative,
            torch.zeros_like(distilled.noise),
        )
    wrong = Fixture("t2v_distill", folder)
    wrong.positive = [[torch.zeros(1, 4, 7), {}]]
    with pytest.raises(magi.NotByChunksError, match="7 features.*T5-v1.1-XXL"):
        wrong.run(model)
    twice = Fixture("t2v_distill", folder)
    twice.positive = twice.positive * 2
    with pytest.raises(magi.NotByChunksError, match="2 parts"):
        twice.run(model)


def test_chunks_finished_before_an_error_are_kept(distilled, tmp_path):
    def fail(segment, step, x0, record):
        if step.active[0].index == 2:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        distilled.run(distilled.model(), on_step=fail)
    (written,) = tmp_path.rglob("*.latent")
    finished = load_file(written)["latent_tensor"]
    assert finished.shape[2] == 12 and (finished - distilled.expected[:, :, :12]).abs().max() < TOLERANCE


def test_memory_estimates_are_those_of_a_window(distilled):
    model = distilled.model().model
    config, sizes = model.diffusion_model.config, []
    noise = torch.zeros(1, 16, 60, 60, 60)
    for window in (1, 4):
        conditioning = magi.with_sizes(distilled.positive, noise, model, ChunkWindow(window, kv_bytes=1e12))
        shapes = {key: [value] for key, value in model.extra_conds_shapes(**conditioning[0][1]).items()}
        sizes.append(model.memory_required([2, 16, 60, 60, 60], shapes))
    assert (
        sizes[0] < sizes[1] < model.memory_required([1, 16, 60, 60, 60]) + kv_bytes(config, 9 * 6 * 900, torch.float32)
    )


@pytest.mark.parametrize("look_back", ["all", "to the last few"])
@pytest.mark.parametrize("name", ["t2v_distill", "t2v_base"])
def test_keys_and_values_of_all_branches_are_counted_before_a_run(folder, monkeypatch, name, look_back):
    fixture, held = Fixture(name, folder), []
    model, reach = fixture.model(), Reach(()) if look_back == "all" else Reach()
    unrolling = replace(fixture.unrolling, window=2, reach=reach)
    fixture.noise = torch.randn(1, 16, 60, 4, 6, generator=torch.Generator().manual_seed(0))
    put = ChunkCache.put

    def watched(cache, layer, chunk, key, value):
        put(cache, layer, chunk, key, value)
        held.append(cache.budget.held(key.device))

    monkeypatch.setattr(ChunkCache, "put", watched)
    fixture.run(model, SCOPE, unrolling)
    ((_, told),) = magi.with_sizes(fixture.positive, fixture.noise, model.model, unrolling)
    assert told["magi_sizes"]["magi_cache"] == [max(held)]


class Peak(TorchDispatchMode):
    """Most bytes of storages that are alive at once and were made inside."""

    def __init__(self, network):
        super().__init__()
        self.alive, self.peak, self.now = (
            {weight.untyped_storage().data_ptr(): 0 for weight in network.parameters()},
            0,
            0,
        )

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor) and (pointer := tensor.untyped_storage().data_ptr()) not in self.alive:
                self.alive[pointer] = size = tensor.untyped_storage().nbytes()
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(tensor.untyped_storage(), self.free, pointer, size)
        return result

    def free(self, pointer, size):
        self.now -= size
        self.alive.pop(pointer, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gated", [False, True])
def test_the_estimate_covers_what_a_forward_holds(gated, dtype):
    config = MagiConfig(
        layers=2, hidden=384, ffn=1536, heads=24, cond=96, head_dim=16, caption_dim=24, caption_length=56, gated=gated
    )
    network = MagiTransformer(config, dtype).requires_grad_(False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    x = torch.randn(1, 16, 12, 32, 32)
    context = torch.zeros(1, 2, 8, 24)
    with Peak(network) as peak:
        network(
            x,
            torch.zeros(1, 2),
            [0, 1],
            [(0, 1), (0, 2)],
            context,
            torch.ones(1, 2, 8, dtype=torch.bool),
            ChunkCache(),
            [0, 1],
        )
    estimate = forward_bytes(config, 12 * 256, 12 * 256, dtype) + kv_bytes(config, 12 * 256, dtype)
    assert peak.peak <= estimate <= 2 * peak.peak, (peak.peak / 1e6, estimate / 1e6)


@pytest.mark.parametrize("config", [MAGI_4_5B, MAGI_24B], ids=["4.5B", "24B"])
@pytest.mark.parametrize("height, width", [(480, 480), (720, 720), (720, 1280)])
def test_estimates_of_the_real_models_are_plausible(config, height, width):
    """A chunk of 720x720 holds 1.7 GB of keys and values in the 4.5B model (docs/magi1.md 1.1 has 22.1 MB a layer at
    480x480)."""
    tokens = 6 * (height // 16) * (width // 16)
    if config is MAGI_4_5B and height == width == 480:
        assert kv_bytes(config, tokens, torch.bfloat16) / config.layers == pytest.approx(22.1e6, rel=0.01)
    assert 0.05e9 < forward_bytes(config, tokens, 5 * tokens, torch.bfloat16) < 20e9
