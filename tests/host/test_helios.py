"""Helios as the host's MODEL: diffusers' pipeline through our loader, guider and sampler, and what a user meets."""

from types import SimpleNamespace

import comfy.lora
import comfy.model_management
import comfy.ops
import comfy.sample
import comfy.samplers
import comfy_extras.nodes_post_processing  # noqa: F401 (nodes_latent cannot be imported before it)
import pytest
import torch
from comfy_extras.nodes_latent import LatentCutToBatch
from diffusers import AutoencoderKLWan, HeliosPipeline, HeliosScheduler, HeliosTransformer3DModel
from safetensors.torch import save_file
from scope_pack.nodes import sampling
from scope_pack.nodes.comfy import segments
from scope_pack.nodes.comfy.accelerate import Asked, accelerate
from scope_pack.nodes.comfy.families import MODEL_NAME
from scope_pack.nodes.comfy.graph import Graph
from scope_pack.nodes.comfy.helios import Chunks, HeliosTransformer, NotByChunksError, config_of
from scope_pack.nodes.comfy.latents import UnsuitableError
from scope_pack.nodes.comfy.loading import ModelFileError, load_ar_model
from scope_pack.nodes.comfy.sampling import VideoSampler, begin_trace, sample_video, start_noise, unrolling_of
from scope_pack.nodes.comfy.skyreels import Windows
from scope_pack.nodes.helios import HeliosScheduleNode
from scope_pack.nodes.planning import plan_node
from scope_pack.nodes.schedule import Sigmas
from scope_pack.scope_core import HELIOS
from scope_pack.scope_core.families.helios import CHUNK, draw_noise, shift_of
from scope_pack.scope_core.loop.sample import Run
from scope_pack.scope_core.methods import Gate, Scope, TeaCache
from scope_pack.scope_core.networks.skyreels_keys import official_key
from scope_pack.scope_core.schedule import ScheduleError
from scope_pack.scope_core.settings import PRESETS, Settings
from scope_pack.scope_core.signals.maps import SignalMaps

from nodes import VAEDecode

LATENTS, PIXELS = 2e-5, 1e-4
"""Largest differences to the pipeline."""
STEPS, H, W, CFG, SEED, TEXT = 3, 4, 6, 5.0, 3, 64


@pytest.fixture(scope="module")
def pipe():
    """Where the host computes too: on another device the sums are rounded otherwise."""
    torch.manual_seed(0)
    transformer = HeliosTransformer3DModel(
        num_attention_heads=2, attention_head_dim=128, text_dim=TEXT, ffn_dim=512, num_layers=2
    )
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    vae = AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    scheduler = HeliosScheduler(stages=1, stage_range=[0, 1], use_dynamic_shifting=True)
    pipe = HeliosPipeline(None, None, vae.eval(), scheduler, transformer.eval())
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(comfy.model_management.get_torch_device())


@pytest.fixture(scope="module")
def path(pipe, tmp_path_factory):
    path = tmp_path_factory.mktemp("helios") / "helios_base.safetensors"
    save_file(pipe.transformer.state_dict(), path)
    return path


@pytest.fixture
def model(path):
    return load_ar_model([str(path)], 24, {"dtype": torch.float32})


def contexts():
    return torch.randn(2, 1, 7, TEXT, generator=torch.Generator().manual_seed(1)).unbind()


class VAE:
    """The pipeline's autoencoder as the host calls one, between latents as they are and pictures."""

    def __init__(self, pipe):
        self.vae = pipe.vae

    def decode(self, latents):
        return (self.vae.decode(latents.to(self.vae.device)).sample.movedim(1, -1) / 2 + 0.5).clamp(0, 1).cpu()


def given(frames):
    """Normalised latents that a video starts from."""
    return torch.randn(1, 16, 1 + frames, H, W, generator=torch.Generator().manual_seed(2)) if frames else None


def reference(pipe, chunks, start, monkeypatch):
    """Normalised latents of the chunks that the pipeline makes, and its video [T, H, W, C]."""
    positive, negative = (context.to(pipe.device) for context in contexts())
    start = None if start is None else start.to(pipe.device)
    known, made = {}, []
    if start is not None and start.shape[2] == 2:
        known = {"image_latents": start[:, :, :1], "fake_image_latents": start[:, :, 1:]}
    elif start is not None:
        monkeypatch.setattr(pipe, "prepare_video_latents", lambda *_, **__: (start[:, :, :1], start[:, :, 1:]))
        known = {"video": torch.zeros(1, 1, 3, H * 8, W * 8)}

    def collect(_pipe, step, _t, tensors):
        made.extend([tensors["latents"]] if step == STEPS - 1 else [])
        return {}

    def draw(size, device, generator, rand=torch.rand):
        """Where the generator is, as the pipeline draws its normal numbers."""
        return rand(size, generator=generator).to(device)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "rand", draw)
        (video,) = pipe(
            height=H * 8,
            width=W * 8,
            num_frames=HELIOS.pixel_frames(chunks * CHUNK),
            num_inference_steps=STEPS,
            guidance_scale=CFG,
            generator=torch.Generator().manual_seed(SEED),
            prompt_embeds=positive,
            negative_prompt_embeds=negative,
            output_type="pt",
            callback_on_step_end=collect,
            **known,
        ).frames
    return torch.cat(made, 2).cpu(), video.movedim(1, -1).cpu()


def ours(model, chunks, start=None, settings=PRESETS["off"], steps=STEPS):
    """LATENT of a video, and the trace."""
    positive, negative = contexts()
    unrolling = Chunks(start=None if start is None else model.model.process_latent_out(start))
    empty = {"samples": torch.zeros(1, 16, chunks * CHUNK, H, W)}
    noise = start_noise(model, empty, SEED, unrolling)
    schedule = unrolling.sized(noise).schedule(noise.shape[2], steps, 0.0)
    run = Run(schedule, settings, "unipc", SEED, begin_trace(model, schedule, settings, "unipc"))
    made = sample_video(model, [[positive, {}]], [[negative, {}]], CFG, noise, run, unrolling, lambda *step: None)
    return segments.as_latent(made, schedule, chunks * CHUNK), run.trace


@pytest.mark.parametrize(
    "chunks, frames",
    [(2, 0), (3, 0), (2, 1), (3, 1), (2, CHUNK), (3, 3 * CHUNK)],
    ids=["text", "text, 3 chunks", "image", "image, 3 chunks", "video", "long video, 3 chunks"],
)
def test_off_equals_the_pipeline(pipe, model, chunks, frames, monkeypatch):
    start = given(frames)
    latents, video = reference(pipe, chunks, start, monkeypatch)
    made, trace = ours(model, chunks, start)
    assert (model.model.process_latent_in(made["samples"]) - latents).abs().max() < LATENTS
    decoded = segments.decode(VAE(pipe), made)
    assert len(decoded) == HELIOS.pixel_frames(chunks * CHUNK) and len(decoded) - len(video) < 4
    assert (decoded[: len(video)] - video).abs().max() < PIXELS
    assert trace.totals["computed"] == trace.totals["iterations"] == chunks * STEPS
    assert trace.forwards == 2 * chunks * STEPS


def test_a_second_run_is_the_same_and_a_fast_one_skips(model):
    full, all_of_them = ours(model, 2, steps=12)
    fast, trace = ours(model, 2, settings=PRESETS["fast"], steps=12)
    again, _ = ours(model, 2, settings=PRESETS["fast"], steps=12)
    assert torch.equal(fast["samples"], again["samples"]) and not torch.equal(fast["samples"], full["samples"])
    assert trace.totals["computed"] < all_of_them.totals["computed"] == 24
    assert trace.forwards == 2 * trace.totals["computed"] and len(trace.segments) == 2


@pytest.mark.parametrize("settings", [PRESETS["off"], PRESETS["fast"]], ids=["off", "fast"])
def test_a_batch_of_two_prompts_is_each_of_them_alone(model, settings):
    unrolling, generator = Chunks(), torch.Generator().manual_seed(4)
    prompts, empty = torch.randn(2, 2, 7, TEXT, generator=generator), {"samples": torch.zeros(2, 16, 2 * CHUNK, H, W)}
    noise = start_noise(model, empty, SEED, unrolling)
    schedule = unrolling.sized(noise).schedule(noise.shape[2], 8, 0.0)

    def made(part):
        positive, negative = ([[prompt[part], {}]] for prompt in prompts)
        run = Run(schedule, settings, "unipc", SEED, begin_trace(model, schedule, settings, "unipc"))
        return sample_video(model, positive, negative, CFG, noise[part], run, unrolling, lambda *step: None)

    both, *single = map(made, (slice(0, 2), slice(0, 1), slice(1, 2)))
    assert len(both) == 2 and (both[1][0] - both[1][1]).abs().max() > 0.1
    for together, *alone in zip(both, *single):
        assert (together - torch.cat(alone)).abs().max() < LATENTS


def test_reuse_inside_the_network(model):
    made, trace = ours(model, 2, settings=Settings(TeaCache(10.0), Gate(3, 1, 0)), steps=8)
    assert torch.isfinite(made["samples"]).all() and trace.totals["computed"] < 16 and trace.forwards < 32


@pytest.mark.parametrize("signal", HELIOS.signals)
def test_every_signal_sees_the_model(model, signal):
    settings = Settings(Scope(tau_c=0.3, tau_p=5.0, predictor="taylor1", signal=signal), Gate(2, 1, 0))
    made, trace = ours(model, 1, settings=settings, steps=8)
    assert torch.isfinite(made["samples"]).all() and trace.totals["computed"] < 8


def test_latents_without_segments_are_decoded_in_nines_by_nodes_of_the_host(pipe, model):
    """As the help pages say: Cut Latent to Batch, then VAE Decode."""
    made, _ = ours(model, 2)
    (cut,) = LatentCutToBatch.execute({"samples": made["samples"]}, "t", CHUNK).args
    decoded = VAEDecode().decode(VAE(pipe), cut)[0]
    assert (decoded - segments.decode(VAE(pipe), made)).abs().max() < PIXELS
    whole = VAEDecode().decode(VAE(pipe), {"samples": made["samples"]})[0]
    assert len(whole) != len(decoded)


def test_a_part_of_a_chunk_is_cut_off_after_it_was_decoded(pipe, model):
    made, _ = ours(model, 2)
    cut = {**made, "samples": made["samples"][:, :, :11]}
    whole, part = (segments.decode(VAE(pipe), latent) for latent in (made, cut))
    assert len(part) == HELIOS.pixel_frames(11) == 38 and torch.equal(part, whole[:38])


def test_what_the_network_looks_back_on_matters(model):
    image = given(1)
    assert (ours(model, 2, image)[0]["samples"] - ours(model, 2)[0]["samples"]).abs().max() > 1e-2
    batch = Chunks(start=image).noise(torch.zeros(2, 16, CHUNK, H, W), SEED, None)
    assert batch.shape == (2, 16, CHUNK, H, W) and not torch.equal(*batch)


def test_a_lora_changes_the_video(model):
    plain, _ = ours(model, 1)
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    lora = {
        "diffusion_model.blocks.0.self_attn.q.lora_A.weight": torch.randn(2, 256),
        "diffusion_model.blocks.0.self_attn.q.lora_B.weight": torch.randn(256, 2),
    }
    changed = model.clone()
    assert changed.add_patches(comfy.lora.load_lora(lora, keys), 0.5)
    assert (ours(changed, 1)[0]["samples"] - plain["samples"]).abs().max() > 1e-3
    assert torch.equal(ours(model, 1)[0]["samples"], plain["samples"])


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_storage_types(path, model, dtype, dynamic):
    stored = load_ar_model([str(path)], 24, {"dtype": dtype}, disable_dynamic=not dynamic)
    weights = stored.model.diffusion_model.state_dict()
    assert weights["blocks.0.ffn.0.weight"].dtype == dtype and weights["patch_long.weight"].dtype == torch.float32
    made, exact = (ours(patcher, 1)[0]["samples"] for patcher in (stored, model))
    assert 0 < (made - exact).abs().max() < 1


def own_key(key):
    """The layout of ComfyUI's pull request for Helios."""
    for there, here in (
        ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
        ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
        ("condition_embedder.time_proj", "time_projection.1"),
        ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
        ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
        ("ffn.net.0.proj", "ffn.0"),
        ("ffn.net.2", "ffn.2"),
    ):
        key = key.replace(there, here)
    return key


@pytest.mark.parametrize("layout", [str, own_key, lambda key: f"model.diffusion_model.{own_key(key)}"])
def test_every_layout_and_shards_give_the_same_weights(pipe, model, tmp_path, layout):
    state = {layout(key): value for key, value in pipe.transformer.state_dict().items()}
    keys = sorted(state)
    paths = [tmp_path / f"diffusion_pytorch_model-{i + 1:05d}-of-00003.safetensors" for i in range(3)]
    for i, path in enumerate(paths):
        save_file({key: state[key] for key in keys[i::3]}, path)
    loaded = load_ar_model([str(path) for path in paths], 24, {"dtype": torch.float32})
    expected = model.model.diffusion_model.state_dict()
    found = loaded.model.diffusion_model.state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)
    assert loaded.get_attachment(MODEL_NAME) == "Helios-Base of width 256"
    assert loaded.cached_patcher_init[0](*loaded.cached_patcher_init[1]).model is not loaded.model


def test_the_published_model_is_whole():
    with torch.device("meta"):
        published = HeliosTransformer3DModel().state_dict()
        shapes = {official_key(key): tuple(value.shape) for key, value in published.items()}
        network = HeliosTransformer(operations=comfy.ops.disable_weight_init, **config_of(shapes))
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes == expected and len(expected) == 1101
    assert sum(parameter.numel() for parameter in network.parameters()) == 14_312_427_584


@pytest.mark.parametrize(
    "name, words",
    [
        ("Helios-Distilled/transformer", "nothing to skip"),
        ("helios_mid_bf16", "fraction of the size"),
        ("helios_base", "kind is 'distilled'"),
    ],
)
def test_models_of_few_steps_are_answered(path, tmp_path, name, words):
    other = (tmp_path / f"{name}.safetensors").absolute()
    other.parent.mkdir(parents=True, exist_ok=True)
    other.symlink_to(path)
    with pytest.raises(ValueError, match=words):
        load_ar_model([str(other)], 24, {}, "distilled" if words.startswith("kind") else "auto")


def test_a_part_of_the_model_is_answered(pipe, tmp_path):
    state = pipe.transformer.state_dict()
    for name, kept, words in (
        ("one", ["patch_long.weight", "patch_long.bias"], "only a part of Helios"),
        ("norm", [key for key in state if "norm_out" not in key], "lacks 1 weights of Helios, such as head.modulation"),
    ):
        save_file({key: state[key].contiguous() for key in kept}, tmp_path / f"{name}.safetensors")
        with pytest.raises(ModelFileError, match=words):
            load_ar_model([str(tmp_path / f"{name}.safetensors")], 24, {})


def test_other_samplers_and_schedules_are_answered(model):
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds([[contexts()[0], {}]], [[contexts()[1], {}]])
    noise = torch.zeros(1, 16, CHUNK, H, W)
    sampler = comfy.samplers.sampler_object("euler")
    with pytest.raises(NotByChunksError, match="SCOPE Sampler"):
        guider.sample(noise, noise, sampler, torch.tensor([1.0, 0.0]), disable_pbar=True)
    with pytest.raises(UnsuitableError, match="AR Schedule.*Helios Schedule"):
        unrolling_of(model, Windows())
    with pytest.raises(ScheduleError, match=r"10 latent frames.*one of 18"):
        Chunks().check_size(torch.zeros(1, 16, 10, H, W))
    with pytest.raises(ScheduleError, match="multiples of 16"):
        Chunks().check_size(torch.zeros(1, 16, CHUNK, 5, W))


def test_scope_accelerate_says_at_once_that_it_is_not_for_it(model):
    with pytest.raises(UnsuitableError, match="Helios goes through its network chunk by chunk.*use SCOPE Sampler"):
        accelerate(model, Asked(PRESETS["balanced"]))


def test_the_advanced_sampler_on_the_released_levels_is_the_same(model):
    expected, _ = ours(model, 2)
    prompts = [[[text, {}]] for text in contexts()]
    noise = draw_noise((1, 16, 2 * CHUNK, H, W), SEED)
    tokens = CHUNK * H * W // 4
    (sigmas,) = Sigmas.execute(STEPS, shift_of(tokens), "Helios").args
    traces = []
    sampler = VideoSampler(None, PRESETS["off"], "unipc", traces.append)
    empty = torch.zeros_like(noise)
    made = comfy.sample.sample_custom(model, noise, CFG, sampler, sigmas, *prompts, empty, disable_pbar=True, seed=SEED)
    assert (made - expected["samples"]).abs().max() < LATENTS and len(traces) == 1


def test_the_sampler_node_follows_the_size(model, monkeypatch):
    """With a shift of 0, from a latent that no schedule node made, and cut to its length."""
    monkeypatch.setattr(sampling.events, "send_step", lambda *what: None)
    node = SimpleNamespace(
        unique_id="1", dynprompt=SimpleNamespace(get_node=lambda name: {"class_type": "", "inputs": {}})
    )
    positive, negative = contexts()
    latent = {"samples": torch.zeros(1, 16, 11, H, W)}
    asked = sampling.Request(model, [[positive, {}]], [[negative, {}]], latent, None, SEED, STEPS, CFG, 0.0, "unipc")
    made, run = sampling.render(node, asked, PRESETS["off"])
    expected, _ = ours(model, 2)
    assert torch.equal(made["samples"], expected["samples"][:, :, :11])
    assert not run.trace.run["warnings"]
    assert run.schedule.shift == shift_of(CHUNK * H * W // 4)


class Encoder:
    """Counts what it is asked to encode; a latent frame says how many frames the call had, and which it was."""

    def __init__(self):
        self.asked = []

    def encode(self, images):
        self.asked.append(images[:, 0, 0, 0].tolist())
        frames = torch.arange((len(images) - 1) // 4 + 1.0) + 100 * len(images)
        return frames.view(1, 1, -1, 1, 1).expand(1, 16, -1, H, W)


def schedule(**inputs):
    """What Helios Schedule gives: unrolling, latent and frames."""
    widgets = {"width": W * 8, "height": H * 8, "length": 66, "batch_size": 1, "time_shift": "exponential"}
    return HeliosScheduleNode.execute(**widgets | inputs).args


def pictures(count):
    return torch.arange(float(count)).view(-1, 1, 1, 1).expand(-1, H * 8, W * 8, 3)


def test_an_image_counts_as_a_still_chunk_and_a_video_is_cut_from_its_end():
    vae = Encoder()
    start = schedule(images=pictures(1), vae=vae)[0].start
    assert vae.asked == [[0.0], [0.0] * 33] and start[0, 0, :, 0, 0].tolist() == [100.0, 3308.0]
    vae = Encoder()
    start = schedule(images=pictures(70), vae=vae)[0].start
    assert start.shape == (1, 16, 19, H, W)
    assert [frames[:: len(frames) - 1 or 1] for frames in vae.asked] == [[0.0], [4.0, 36.0], [37.0, 69.0]]


def test_the_schedule_node_rounds_up_to_chunks():
    plan, latent, frames = schedule(length=100)
    assert (frames, latent["samples"].shape) == (132, (1, 16, 36, H, W)) and "100 frames became 132" in plan.note
    assert plan.tokens == CHUNK * H * W // 4 and schedule()[0].note == ""
    for inputs, words in (
        ({"images": pictures(1)}, "connect the Wan 2.1 VAE"),
        ({"images": pictures(12), "vae": Encoder()}, "12 frames; give one, .* at least 33"),
        ({"images": pictures(1), "vae": Encoder(), "width": 64}, "48 x 32 and the video 64 x 32"),
    ):
        with pytest.raises(ScheduleError, match=words):
            schedule(**inputs)


def test_a_plan_is_that_of_the_run(tmp_path):
    """With the shift of the video's size, of a sampler and of the schedule that it reads."""
    links = {"schedule": ["schedule", 0], "latent": ["schedule", 1]}
    graph = Graph.of(
        {
            "schedule": {"class_type": "SCOPE_HeliosSchedule", "inputs": {"length": 66}},
            "sampler": {
                "class_type": "SCOPE_Sampler",
                "inputs": {**links, "steps": 50, "cfg": 5.0, "shift": 0.0, "preset": "fast"},
            },
        }
    )
    for node in ("sampler", "schedule"):
        trace = plan_node(node, graph, SignalMaps(tmp_path))["trace"]
        assert trace["totals"]["iterations"] == 100 > trace["totals"]["computed"]
        assert abs(trace["run"]["schedule"]["shift"] - 6.815) < 1e-3 and len(trace["segments"]) == 2
