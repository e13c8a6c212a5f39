"""docs/architecture.md, law 2: the unaccelerated rollout equals diffusers' SkyReels-V2 diffusion-forcing pipelines
(fp32, tiny random weights)."""

import numpy as np
import pytest
import torch
from diffusers import SkyReelsV2DiffusionForcingPipeline, SkyReelsV2Transformer3DModel, UniPCMultistepScheduler

from scope_core import PRESETS, SKYREELS, sample
from scope_core.families.skyreels import DiffusionForcing, Term
from scope_core.schedule import step_matrix

TOLERANCE = 2e-5
STEPS = 8
H, W = 4, 6


class DiffusersTerm(Term):
    """The pipeline's transformer as a term of our loop. Guidance is 6, as in the pipeline calls below."""

    def __init__(self, transformer, positive, negative, fps=None):
        self.transformer, self.contexts, self.fps = transformer, (positive, negative), fps
        self.layers = len(transformer.blocks)

    @torch.no_grad()
    def velocity(self, x, timestep, attended, around):
        t = torch.as_tensor(timestep).long().expand(x.shape[0], -1)
        cond, uncond = (
            self.transformer(
                hidden_states=x,
                timestep=t,
                encoder_hidden_states=c,
                enable_diffusion_forcing=True,
                fps=self.fps,
                return_dict=False,
            )[0]
            for c in self.contexts
        )
        return uncond + 6.0 * (cond - uncond)

    def field(self, segment, schedule, seed, apart, start):
        """Conditioning noise comes from torch's own generator, which the pipeline draws from."""
        return DiffusionForcing(self, segment, schedule, torch.default_generator)


def build(fps: bool) -> SkyReelsV2DiffusionForcingPipeline:
    torch.manual_seed(0)
    transformer = SkyReelsV2Transformer3DModel(
        num_attention_heads=2,
        attention_head_dim=128,
        in_channels=16,
        out_channels=16,
        text_dim=32,
        freq_dim=256,
        ffn_dim=512,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        inject_sample_info=fps,
    )
    with torch.no_grad():
        for p in transformer.parameters():
            p.add_(torch.randn_like(p) * 0.02)
    scheduler = UniPCMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=8.0, solver_order=2
    )
    pipe = SkyReelsV2DiffusionForcingPipeline(
        tokenizer=None, text_encoder=None, transformer=transformer.eval(), vae=None, scheduler=scheduler
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def contexts():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, 12, 32, generator=generator), torch.randn(1, 12, 32, generator=generator)


def reference(pipe, frames, window, ar_step, block, overlap, addnoise, causal_block):
    positive, negative = contexts()
    torch.manual_seed(7)
    return pipe(
        None,
        height=H * 8,
        width=W * 8,
        num_frames=4 * frames - 3,
        base_num_frames=4 * window - 3,
        num_inference_steps=STEPS,
        guidance_scale=6.0,
        generator=torch.Generator().manual_seed(3),
        prompt_embeds=positive,
        negative_prompt_embeds=negative,
        output_type="latent",
        return_dict=False,
        overlap_history=4 * overlap - 3 if overlap else None,
        addnoise_condition=addnoise,
        ar_step=ar_step,
        causal_block_size=causal_block,
        fps=24,
    )[0]


def ours(pipe, schedule, fps):
    """A run with the noise the pipeline draws: one draw per segment, prefix columns included."""
    term = DiffusersTerm(pipe.transformer, *contexts(), fps=[1] if fps else None)
    generator = torch.Generator().manual_seed(3)
    draws = [torch.randn(1, 16, s.frames, H, W, generator=generator) for s in schedule.segments]
    noise = torch.cat([d[:, :, s.prefix :] for d, s in zip(draws, schedule.segments)], dim=2)
    torch.manual_seed(7)
    return sample(term, noise, schedule, PRESETS["off"], solver="unipc")


@pytest.mark.parametrize("fps", [False, True], ids=["no fps branch", "fps branch"])
@pytest.mark.parametrize(
    "frames, window, ar_step, block, overlap, addnoise",
    [
        (8, 8, 0, 1, 0, 0),
        (8, 8, 3, 1, 0, 0),
        (8, 8, 2, 4, 0, 0),
        (17, 8, 0, 1, 3, 0),
        (16, 8, 0, 1, 4, 20),
        (16, 8, 2, 4, 4, 20),
    ],
    ids=["synchronous", "asynchronous", "asynchronous blocks", "long", "long, conditioning noise", "long asynchronous"],
)
def test_full_attention(frames, window, ar_step, block, overlap, addnoise, fps):
    pipe = build(fps)
    # the pipeline couples block size and mask; without the mask it runs the block schedule under full attention
    pipe.transformer._set_ar_attention = lambda size: None
    expected = reference(pipe, frames, window, ar_step, block, overlap, addnoise, causal_block=block)
    schedule = SKYREELS.schedule(
        frames, STEPS, window, overlap, block, ar_step, condition_noise=addnoise, table="diffusers"
    )
    result, trace, _ = ours(pipe, schedule, fps)
    assert (result - expected).abs().max() <= TOLERANCE
    assert len(trace.segments) == len(schedule.segments)


@pytest.mark.parametrize(
    "frames, window, ar_step, overlap, addnoise",
    [(8, 8, 2, 0, 0), (8, 8, 4, 0, 0), (20, 8, 2, 4, 20)],
    ids=["lag 2", "lag 4", "long"],
)
def test_block_causal_attention(frames, window, ar_step, overlap, addnoise):
    pipe = build(fps=True)
    expected = reference(pipe, frames, window, ar_step, 4, overlap, addnoise, causal_block=4)
    schedule = SKYREELS.schedule(
        frames, STEPS, window, overlap, 4, ar_step, condition_noise=addnoise, table="diffusers", causal=True
    )
    result, _, _ = ours(pipe, schedule, fps=True)
    assert (result - expected).abs().max() <= TOLERANCE


def test_step_matrix_over_many_settings():
    pipe = SkyReelsV2DiffusionForcingPipeline.generate_timestep_matrix
    for steps in (2, 5, 8, 30, 50):
        for blocks in (1, 2, 5, 13):
            for ar_step in {0, 1, 2, steps // 2, steps - 1, steps}:
                for block in (1, 3):
                    for prefix in {0, blocks // 2}:
                        template, frames, known = torch.arange(steps, 0, -1), blocks * block, prefix * block
                        _, index, update, interval = pipe(None, frames, template, frames, ar_step, known, block)
                        schedule = SKYREELS.schedule(frames, steps, frames, 0, block, ar_step, prefix=known)
                        (segment,) = schedule.segments
                        assert np.array_equal(segment.matrix, index.numpy())
                        assert np.array_equal(segment.update, update.numpy())
                        assert set(interval) == {(0, blocks * block)}
                        assert len(segment.matrix) == steps + (blocks - prefix - 1) * ar_step


def test_step_matrix_is_a_staircase():
    rows = [[1, 0, 0], [2, 0, 0], [3, 1, 0], [4, 2, 0], [4, 3, 1], [4, 4, 2], [4, 4, 3]]
    assert step_matrix(3, 3, 2).tolist() == rows
