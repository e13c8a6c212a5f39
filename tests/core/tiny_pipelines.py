"""diffusers' pipelines with tiny random weights, whole: tokenizer, text encoder, transformer, VAE."""

import functools

import torch
from diffusers import (
    AutoencoderKLWan,
    HeliosPipeline,
    HeliosScheduler,
    HeliosTransformer3DModel,
    SkyReelsV2Transformer3DModel,
    UniPCMultistepScheduler,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

TEXT_DIM = 32
WORDS = ["<pad>", "<unk>", "a", "red", "ball", "rolls", "blue", "bad"]


def shaken(module):
    """With weights that no initialisation leaves at zero or one."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn_like(p) * 0.02)
    return module.eval().requires_grad_(False)


@functools.cache
def text():
    """Tokenizer and text encoder."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(1)
    config = UMT5Config(vocab_size=len(WORDS), d_model=TEXT_DIM, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return (
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>"),
        UMT5EncoderModel(config).eval(),
    )


@functools.cache
def vae():
    torch.manual_seed(2)
    return shaken(AutoencoderKLWan(base_dim=8, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1))


def skyreels(pipeline, fps=True):
    tokenizer, text_encoder = text()
    shared = {"tokenizer": tokenizer, "text_encoder": text_encoder, "vae": vae()}
    torch.manual_seed(0)
    transformer = SkyReelsV2Transformer3DModel(
        num_attention_heads=2,
        attention_head_dim=24,
        in_channels=16,
        out_channels=16,
        text_dim=TEXT_DIM,
        freq_dim=32,
        ffn_dim=64,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        inject_sample_info=fps,
    )
    scheduler = UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=8.0)
    pipe = pipeline(transformer=shaken(transformer), scheduler=scheduler, **shared)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def helios():
    tokenizer, text_encoder = text()
    shared = {"tokenizer": tokenizer, "text_encoder": text_encoder, "vae": vae()}
    torch.manual_seed(0)
    transformer = HeliosTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=24,
        rope_dim=(8, 8, 8),
        text_dim=TEXT_DIM,
        freq_dim=32,
        ffn_dim=64,
        num_layers=2,
    )
    scheduler = HeliosScheduler(stages=1, stage_range=[0, 1], use_dynamic_shifting=True)
    pipe = HeliosPipeline(transformer=shaken(transformer), scheduler=scheduler, **shared)
    pipe.set_progress_bar_config(disable=True)
    return pipe
