"""Long videos against the release: its loop over segments, written anew here around diffusers' transformer and
schedulers, with a tiny Wan VAE of the host. And what SCOPE Decode Segments makes of other latents."""

import importlib.util
import logging
from copy import deepcopy
from pathlib import Path
from unittest.mock import patch

import comfy.model_management
import comfy.sd
import numpy as np
import pytest
import torch
from comfy.latent_formats import Wan21
from comfy.ldm.wan.vae import WanVAE
from diffusers import SkyReelsV2DiffusionForcingPipeline, SkyReelsV2Transformer3DModel, UniPCMultistepScheduler
from safetensors.torch import save_file
from scope_pack.nodes.comfy import segments
from scope_pack.nodes.comfy.loading import load_ar_model
from scope_pack.nodes.comfy.sampling import begin_trace, sample_video
from scope_pack.nodes.comfy.segments import GivenVideoError
from scope_pack.nodes.comfy.skyreels import Windows
from scope_pack.nodes.decode import DecodeSegments
from scope_pack.scope_core.loop.sample import Run
from scope_pack.scope_core.settings import PRESETS

import nodes

spec = importlib.util.spec_from_file_location("fake_cuda", Path(__file__).parents[1] / "fake_cuda.py")
fake_cuda = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fake_cuda)

TOLERANCE = 2e-5
STEPS, SHIFT, CFG, CONDITION_NOISE = 4, 8.0, 6.0, 20
H, W = 2, 4
SEGMENT_SEED = 7919
"""Between the seeds of our conditioning noise; the release takes whatever torch draws next."""
WAN = Wan21()


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(1)
    network = WanVAE(dim=8, z_dim=16, temperal_downsample=[False, True, True])
    for name, p in network.named_parameters():
        p.data = torch.ones_like(p) if name.endswith("gamma") else torch.randn_like(p) / p[0].numel() ** 0.5
    head = network.decoder.head[-1]
    head.weight.data /= 4
    head.bias.data *= 0
    return comfy.sd.VAE(sd={key: value.detach() for key, value in network.state_dict().items()}, dtype=torch.float32)


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(0)
    made = SkyReelsV2Transformer3DModel(
        num_attention_heads=2,
        attention_head_dim=128,
        text_dim=4096,
        freq_dim=256,
        ffn_dim=256,
        num_layers=2,
        inject_sample_info=False,
    )
    for p in made.parameters():
        p.data += torch.randn_like(p) * 0.02
    return made.eval()


@pytest.fixture(scope="module")
def model(transformer, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "SkyReels-V2-DF-tiny.safetensors"
    save_file(transformer.state_dict(), path)
    return load_ar_model([str(path)], 24, {"dtype": torch.float32})


def contexts():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, 12, 4096, generator=generator), torch.randn(1, 12, 4096, generator=generator)


def pixels(frames, seed=5):
    """A moving picture [T, H, W, 3] in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    still = torch.rand(8 * H, 8 * W, 3, generator=generator)
    return torch.stack([still.roll((t, 2 * t), (0, 1)) for t in range(frames)])


def noises(schedule):
    """One draw a segment, known columns included, as the release draws."""
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(1, 16, s.prefix + s.free, H, W, generator=generator) for s in schedule.segments]


def official_scheduler():
    """UniPC with the release's noise levels and its whole timesteps."""
    made = UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", solver_order=2)
    made.set_timesteps(STEPS)
    s = np.linspace(0.999, 0, STEPS + 1)[:-1]
    sigma = SHIFT * s / (1 + (SHIFT - 1) * s)
    made.sigmas = torch.tensor([*sigma, 0.0], dtype=torch.float32)
    made.timesteps = torch.tensor((1000 * sigma).astype(int))
    return made


class Release:
    """The release's loops, for text, an image, an end frame and an extended video. Latents are normalised, pixels [1,
    3, T, H, W] lie in [-1, 1]. It computes where the host does: on another device the sums are rounded otherwise."""

    def __init__(self, transformer, vae):
        self.device = comfy.model_management.get_torch_device()
        self.transformer, self.vae = transformer.to(self.device), deepcopy(vae.first_stage_model).to(self.device)

    def encode(self, video):
        return WAN.process_in(self.vae.encode(video.to(self.device)))

    def decode(self, latents):
        return self.vae.decode(WAN.process_out(latents))

    def video(self, schedule, image=None, end=None, extended=None):
        """Pixels of the whole video, and the latents of each segment."""
        overlap = 4 * schedule.overlap - 3
        output, prefix, made = None if extended is None else extended.to(self.device), None, []
        end = None if end is None else self.encode(end)
        for index, noise in enumerate(noises(schedule)):
            if output is not None:
                prefix = self.encode(output[:, :, -overlap:])
            elif image is not None:
                prefix = self.encode(image)
            tail = end if index == len(schedule.segments) - 1 else None
            latents = self.segment(schedule, index, noise, prefix, tail)
            made.append(latents.cpu())
            clip = self.decode(latents)
            output = clip.clamp(-1, 1) if output is None else torch.cat([output, clip[:, :, overlap:].clamp(-1, 1)], 2)
        return output.cpu(), made

    def segment(self, schedule, index, noise, prefix, end):
        latents, known, tail = noise.to(self.device, copy=True), 0, 0
        if prefix is not None:
            known = prefix.shape[2]
            latents[:, :, :known] = prefix
        if end is not None:
            tail = end.shape[2]
            latents = torch.cat([latents, end], 2)
        frames = latents.shape[2]
        schedulers = [official_scheduler() for _ in range(frames)]
        times = schedulers[0].timesteps
        texts = [context.to(self.device) for context in contexts()]
        matrix, _, update, _ = SkyReelsV2DiffusionForcingPipeline.generate_timestep_matrix(
            None, frames, times, frames, schedule.ar_step, known, schedule.block
        )
        if tail:
            matrix[:, -tail:], update[:, -tail:] = 0, False
        draws = torch.Generator().manual_seed(SEGMENT_SEED * (index + 1))
        for t, moves in zip(matrix, update):
            shown, time = latents.clone(), t[None].to(self.device, copy=True)
            if known:
                level = 0.001 * CONDITION_NOISE
                fresh = torch.randn(shown[:, :, :known].shape, generator=draws).to(self.device)
                shown[:, :, :known] = shown[:, :, :known] * (1 - level) + fresh * level
                time[:, :known] = CONDITION_NOISE
            cond, uncond = (
                self.transformer(shown, time, context, enable_diffusion_forcing=True, return_dict=False)[0]
                for context in texts
            )
            velocity = uncond + CFG * (cond - uncond)
            for frame in range(frames):
                if moves[frame]:
                    latents[:, :, frame] = schedulers[frame].step(
                        velocity[:, :, frame], t[frame], latents[:, :, frame], return_dict=False
                    )[0]
        return latents[:, :, : frames - tail]


def as_video(images):
    return (images * 2 - 1).movedim(-1, 0)[None]


def sampled(model, frames, unrolling):
    """LATENT of SCOPE Sampler, from the noise that the release would draw."""
    schedule = unrolling.schedule(frames, STEPS, SHIFT)
    noise = torch.cat([n if i == 0 else n[:, :, s.prefix :] for i, (n, s) in draws(schedule)], dim=2)
    run = Run(schedule, PRESETS["off"], "unipc", 0, begin_trace(model, schedule, PRESETS["off"], "unipc"))
    positive, negative = ([[context, {}]] for context in contexts())
    made = sample_video(
        model, positive, negative, CFG, noise, run, unrolling, lambda *step: None, bridge=unrolling.bridge()
    )
    return segments.as_latent(made, schedule, frames), schedule


def draws(schedule):
    return enumerate(zip(noises(schedule), schedule.segments))


CASES = {
    "synchronous": (14, (6, 2), {}),
    "asynchronous": (14, (6, 2, 2, 2), {}),
    "block-causal": (14, (6, 2, 2, 2, True), {}),
    "short last segment": (13, (6, 2), {}),
    "overlap of more than half": (10, (6, 4), {}),
    "image": (14, (6, 2), {"image": 1}),
    "image, asynchronous": (14, (6, 2, 1, 2), {"image": 1}),
    "end frame": (14, (6, 2), {"end": 1}),
    "end frame, asynchronous": (14, (6, 2, 1, 2), {"image": 1, "end": 1}),
    "extension": (14, (6, 2), {"extended": 21}),
    "extension, asynchronous": (14, (6, 2, 2, 2), {"extended": 21}),
    "one window, end frame": (6, (6, 2), {"image": 1, "end": 1}),
}


@pytest.mark.parametrize("frames, window, known", CASES.values(), ids=CASES)
def test_long_video_is_the_release_s(model, transformer, vae, frames, window, known):
    """Latents of every segment, and the pixels of SCOPE Decode Segments."""
    known = {name: pixels(count, seed) for seed, (name, count) in enumerate(known.items(), 5)}
    overlap = 4 * window[1] - 3
    first = known["extended"][-overlap:] if "extended" in known else known.get("image")
    start, end = (None if images is None else vae.encode(images) for images in (first, known.get("end")))
    unrolling = Windows(*window, start=start, end=end, vae=vae)
    latent, schedule = sampled(model, frames, unrolling)
    transformer._set_ar_attention(schedule.block if schedule.causal else 1)
    video, made = Release(transformer, vae).video(schedule, **{name: as_video(x) for name, x in known.items()})
    parts = latent["scope_segments"].latents
    assert len(parts) == len(made) and (len(parts) == 3 or frames == 6)
    for ours, theirs in zip(parts, made):
        assert (WAN.process_in(ours) - theirs).abs().max() <= TOLERANCE
    images = DecodeSegments.execute(latent, vae, known.get("extended")).args[0]
    assert (as_video(images) - video).abs().max() / 2 <= TOLERANCE
    if "extended" in known:
        assert torch.equal(images[:21], known["extended"])


@pytest.fixture(scope="module")
def long(model, vae):
    with torch.inference_mode():
        return sampled(model, 14, Windows(6, 2, vae=vae))[0]


def test_vae_decode_still_decodes_the_joined_latents(long, vae):
    """It differs from the first seam on, and is what a latent without segments gets."""
    whole = nodes.VAEDecode().decode(vae, long)[0]
    apart = DecodeSegments.execute(long, vae).args[0]
    assert whole.shape == apart.shape == (53, 8 * H, 8 * W, 3)
    assert (whole[:21] - apart[:21]).abs().max() <= TOLERANCE
    assert (whole[21:] - apart[21:]).abs().max() > 1e-3
    assert torch.equal(DecodeSegments.execute({"samples": long["samples"]}, vae).args[0], whole)


def test_a_latent_changed_by_another_node_is_decoded_as_it_is(long, vae, caplog):
    flipped = {**long, "samples": long["samples"].flip(3)}
    with caplog.at_level(logging.WARNING):
        images = DecodeSegments.execute(flipped, vae).args[0]
    assert torch.equal(images, nodes.VAEDecode().decode(vae, flipped)[0])
    assert "the latent was changed after it was sampled" in caplog.text


def test_a_latent_that_another_node_has_moved_or_cast_keeps_its_segments(long, vae):
    """To a device on which nothing else is, and to the dtype in which core's tools hand latents on."""
    apart = DecodeSegments.execute(long, vae).args[0]
    assert torch.equal(DecodeSegments.execute({**long, "samples": long["samples"].double()}, vae).args[0], apart)
    with fake_cuda.fake_cuda():
        moved = {**long, "samples": long["samples"].to("cuda")}
        with patch.object(segments.torch, "equal", lambda a, b: a.device == b.device):
            assert segments.segments_of(moved) is long["scope_segments"]


def test_a_latent_from_load_latent_is_decoded_as_a_whole_and_says_so(long, vae, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("folder_paths.get_output_directory", lambda: str(tmp_path))
    monkeypatch.setattr("folder_paths.get_annotated_filepath", lambda name: str(tmp_path / name))
    saved = nodes.SaveLatent().save(long, "video")
    with caplog.at_level(logging.INFO):
        passed = DecodeSegments.execute(saved["result"][0], vae).args[0]
    assert torch.equal(passed, DecodeSegments.execute(long, vae).args[0]) and "no segments" not in caplog.text
    (loaded,) = nodes.LoadLatent().load(saved["ui"]["latents"][0]["filename"])
    with caplog.at_level(logging.INFO):
        images = DecodeSegments.execute(loaded, vae).args[0]
    assert torch.equal(images, nodes.VAEDecode().decode(vae, loaded)[0])
    assert "no segments, so it is decoded as a whole" in caplog.text and "connect the LATENT of SCOPE" in caplog.text
    with pytest.raises(GivenVideoError, match="straight from SCOPE Sampler, not from Load Latent"):
        DecodeSegments.execute(loaded, vae, pixels(5))


def test_batch_is_its_videos_one_by_one(long, vae):
    parts, schedule = long["scope_segments"]
    both = segments.as_latent([torch.cat([part, -part]) for part in parts], schedule, 14)
    single = [segments.as_latent([sign * part for part in parts], schedule, 14) for sign in (1, -1)]
    images = torch.cat([DecodeSegments.execute(latent, vae).args[0] for latent in single])
    torch.testing.assert_close(DecodeSegments.execute(both, vae).args[0], images)


def test_a_video_in_one_window_needs_no_segments(model, vae):
    latent, _ = sampled(model, 6, Windows(6, 2, vae=vae))
    assert set(latent) == {"samples"}


def test_a_given_video_that_does_not_fit_is_answered(model, long, vae):
    with pytest.raises(GivenVideoError, match="`start` of AR Schedule connected; disconnect `video`"):
        DecodeSegments.execute(long, vae, pixels(5))
    with pytest.raises(GivenVideoError, match="straight from SCOPE Sampler"):
        DecodeSegments.execute({"samples": long["samples"]}, vae, pixels(5))
    continued, _ = sampled(model, 6, Windows(6, 2, start=vae.encode(pixels(5)), vae=vae))
    with pytest.raises(GivenVideoError, match="`video` has 4 frames, but 5 were encoded"):
        DecodeSegments.execute(continued, vae, pixels(4))
    with pytest.raises(GivenVideoError, match=f"`video` is {8 * W}x8 and the video made is {8 * W}x{8 * H}"):
        DecodeSegments.execute(continued, vae, pixels(9)[:, :8])
