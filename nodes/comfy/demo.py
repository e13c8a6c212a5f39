"""The demo models as the host's MODEL, CLIP and VAE. The transformers take the same path as real checkpoints."""

import json
from math import ceil

import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from ...scope_core.demo import WEIGHTS, shipped
from ...scope_core.demo.words import TOKENS, WORDS, split, token_ids
from ...scope_core.families import MAGI, SKYREELS
from ...scope_core.networks import magi as magi_network
from ...scope_core.networks.demo_vae import SPACE, TIME, DemoVAE
from . import magi
from .families import MODEL_NAME
from .loading import load_ar_model

TRANSFORMERS = {name: WEIGHTS / file for name, file in shipped.TRANSFORMERS.items()}
TEXT, VAE = WEIGHTS / shipped.TEXT, WEIGHTS / shipped.VAE


class DemoLatents(comfy.latent_formats.LatentFormat):
    """16 channels of unit scale, 16x smaller in space and 4x in time; previewed by a linear map from the file."""

    latent_channels = 16
    latent_dimensions = 3
    spacial_downscale_ratio = SPACE
    temporal_downscale_ratio = TIME

    def __init__(self):
        with safe_open(VAE, framework="pt") as file:
            preview = json.loads(file.metadata()["preview"])
        self.latent_rgb_factors, self.latent_rgb_factors_bias = preview["factors"], preview["bias"]


def as_demo(patcher, load, name: str):
    patcher.model.latent_format = DemoLatents()
    patcher.set_attachments(MODEL_NAME, name)
    patcher.cached_patcher_init = (load, ())
    return patcher


def load_demo_model(disable_dynamic: bool = False):
    patcher = load_ar_model(
        [str(TRANSFORMERS[SKYREELS.name])],
        fps=24,
        model_options={"dtype": torch.float32},
        disable_dynamic=disable_dynamic,
    )
    return as_demo(patcher, load_demo_model, "SCOPE demo")


def load_demo_magi(disable_dynamic: bool = False):
    state = load_file(TRANSFORMERS[MAGI.name])
    config = magi_network.config_of({key: value.shape for key, value in state.items()})
    assert config is not None, "the shipped file is whole"
    patcher = magi.make_patcher(config, state, distilled=True, dtype=torch.float32, disable_dynamic=disable_dynamic)
    return as_demo(patcher, load_demo_magi, "SCOPE demo, MAGI-1 layout")


LOADERS = {SKYREELS: load_demo_model, MAGI: load_demo_magi}


class DemoTokenizer:
    """Words of the demo's world; weights such as (red:1.2) are understood, other words are ignored."""

    def __init__(self, embedding_directory=None, tokenizer_data={}):
        pass

    def tokenize_with_weights(
        self, text: str, return_word_ids: bool = False, **kwargs
    ) -> dict[str, list[list[tuple[int, float]]]]:
        weighted = [
            (word, weight)
            for part, weight in comfy.sd1_clip.token_weights(comfy.sd1_clip.escape_important(text), 1.0)
            for word in split(comfy.sd1_clip.unescape_important(part))
        ]
        ids = token_ids(word for word, _ in weighted)
        tokens = [(token, weight) for token, (_, weight) in zip(ids, weighted) if token]
        return {"scope_demo": [(tokens + [(0, 1.0)] * TOKENS)[:TOKENS]]}

    def state_dict(self) -> dict:
        return {}


class DemoText(torch.nn.Module):
    """Word embeddings [B, 8, 64] and which of them are words [B, 8]; no transformer."""

    def __init__(self, device=None, dtype=None, model_options={}):
        super().__init__()
        self.words = torch.nn.Embedding(len(WORDS) + 1, 64, device=device, dtype=torch.float32)
        self.dtypes = {torch.float32}
        self.requires_grad_(False)

    def reset_clip_options(self) -> None:
        pass

    def set_clip_options(self, options: dict) -> None:
        pass

    def encode_token_weights(self, tokens: dict) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        ids, weights = zip(*tokens["scope_demo"][0])
        device = self.words.weight.device
        features = self.words(torch.tensor(ids, device=device)) * torch.tensor(weights, device=device)[:, None]
        features = features.to(comfy.model_management.intermediate_device())[None]
        known = torch.tensor(ids, device=features.device)[None] > 0
        return features, torch.zeros_like(features[:, 0]), {"attention_mask": known}

    def load_sd(self, state: dict):
        return self.words.load_state_dict({key: value.float() for key, value in state.items()})


def load_demo_clip() -> comfy.sd.CLIP:
    target = comfy.supported_models_base.ClipTarget(DemoTokenizer, DemoText)
    with safe_open(TEXT, framework="pt") as file:
        if tuple(json.loads(file.metadata()["words"])) != WORDS:
            raise ValueError(
                f"{TEXT.name} was trained on other words than scope_core.demo.words lists; run `python -m"
                " scope_core.demo.training.train` again"
            )
    return comfy.sd.CLIP(target, state_dict=[load_file(TEXT)], disable_dynamic=True)


class DemoVideoVAE(comfy.sd.VAE):
    """Works in core's VAE Encode, VAE Decode and their tiled forms."""

    def __init__(self):
        self.first_stage_model = DemoVAE().eval()
        self.first_stage_model.load_state_dict(load_file(VAE))
        self.device = comfy.model_management.vae_device()
        self.output_device = comfy.model_management.intermediate_device()
        self.vae_dtype = torch.float32
        self.working_dtypes = [torch.float32]
        self.first_stage_model.to(self.vae_dtype)
        self.patcher = comfy.model_patcher.ModelPatcher(
            self.first_stage_model, load_device=self.device, offload_device=comfy.model_management.vae_offload_device()
        )
        self.latent_dim, self.latent_channels, self.output_channels = 3, 16, 3
        self.upscale_ratio = (lambda frames: max(0, frames * TIME - TIME + 1), SPACE, SPACE)
        self.downscale_ratio = (lambda frames: max(0, ceil((frames - 1) / TIME) + 1), SPACE, SPACE)
        self.upscale_index_formula = self.downscale_index_formula = (TIME, SPACE, SPACE)
        self.memory_used_encode = lambda shape, dtype: 64 * shape[2] * shape[3] * shape[4]
        self.memory_used_decode = lambda shape, dtype: 2000 * shape[2] * shape[3] * shape[4] * SPACE * SPACE
        self.process_input = lambda image: image * 2 - 1
        self.process_output = lambda image: image.add_(1).div_(2).clamp_(0, 1)
        self.disable_offload = self.not_video = self.handles_tiling = False
        self.crop_input = True
        self.pad_channel_value = self.extra_1d_channel = self.format_encoded = self.size = None
        self.audio_sample_rate = 44100
