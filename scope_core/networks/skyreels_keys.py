"""Key layouts of SkyReels-V2 diffusion-forcing checkpoints, and what a file is, told from its keys and shapes.

Source: docs/skyreels.md 1 and 2.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from .wan import WanConfig, WanTransformer

FPS_KEYS = (
    "fps_embedding.weight",
    "fps_projection.0.weight",
    "fps_projection.0.bias",
    "fps_projection.2.weight",
    "fps_projection.2.bias",
)
FPS_TARGET = "time_projection.1.bias"
BLOCK_MATRIX = re.compile(r"blocks\.\d+\.(self_attn|cross_attn|ffn)\.\w+\.weight")
"""Nearly all of a model's weights; the norms among them have one dimension."""
HEAD_WIDTH = 128
DIFFUSION_FORCING = re.compile(r"(?<![a-z0-9])df(?![a-z0-9])|diffusion.?forcing", re.IGNORECASE)
TEXT_TO_VIDEO = re.compile(r"(?<![a-z0-9])t2v(?![a-z0-9])", re.IGNORECASE)
CAUSAL = (
    "if these are weights of a causal Wan, which only the metadata of a file can tell, convert the published file with"
    " `python -m workflows.convert`"
)
PREFIXES = ("model.diffusion_model.", "diffusion_model.", "model.", "transformer.")

DIFFUSERS_NAMES = [
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^condition_embedder\.time_embedder\.linear_1\.", "time_embedding.0."),
        (r"^condition_embedder\.time_embedder\.linear_2\.", "time_embedding.2."),
        (r"^condition_embedder\.time_proj\.", "time_projection.1."),
        (r"^condition_embedder\.text_embedder\.linear_1\.", "text_embedding.0."),
        (r"^condition_embedder\.text_embedder\.linear_2\.", "text_embedding.2."),
        (r"^(blocks\.\d+)\.attn1\.to_out\.0\.", r"\1.self_attn.o."),
        (r"^(blocks\.\d+)\.attn2\.to_out\.0\.", r"\1.cross_attn.o."),
        (r"^(blocks\.\d+)\.attn1\.to_([qkv])\.", r"\1.self_attn.\2."),
        (r"^(blocks\.\d+)\.attn2\.to_([qkv])\.", r"\1.cross_attn.\2."),
        (r"^(blocks\.\d+)\.attn1\.norm_([qk])\.", r"\1.self_attn.norm_\2."),
        (r"^(blocks\.\d+)\.attn2\.norm_([qk])\.", r"\1.cross_attn.norm_\2."),
        (r"^(blocks\.\d+)\.ffn\.net\.0\.proj\.", r"\1.ffn.0."),
        (r"^(blocks\.\d+)\.ffn\.net\.2\.", r"\1.ffn.2."),
        (r"^(blocks\.\d+)\.scale_shift_table$", r"\1.modulation"),
        (r"^(blocks\.\d+)\.norm2\.", r"\1.norm3."),
        (r"^(norm_out\.)?scale_shift_table$", "head.modulation"),
        (r"^proj_out\.", "head.head."),
        (r"^fps_projection\.net\.0\.proj\.", "fps_projection.0."),
        (r"^fps_projection\.net\.2\.", "fps_projection.2."),
    )
]


class NotARVideoModelError(ValueError):
    """The file is not an autoregressive video model this pack can run. The message says what it is instead."""


def official_key(key: str) -> str:
    """Name of a weight in the official layout, from the official, prefixed or diffusers one."""
    for prefix in PREFIXES:
        if key.startswith(prefix):
            key = key.removeprefix(prefix)
            break
    for pattern, name in DIFFUSERS_NAMES:
        key, found = pattern.subn(name, key)
        if found:
            break
    return key


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {official_key(key): value for key, value in state.items()}


def identify(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
    """A name such as 'SkyReels-V2 DF 1.3B' for a checkpoint in the official layout.

    Raises NotARVideoModelError with what the file seems to be. A 14B diffusion-forcing checkpoint has exactly the keys
    of Wan2.1 T2V 14B; only the file name can tell them apart, so no error is raised there (see `suspicion`).
    """
    if "head.modulation" not in shapes or "patch_embedding.weight" not in shapes:
        if any(key.startswith(("encoder.", "decoder.")) for key in shapes):
            raise NotARVideoModelError(
                f"{name} looks like a VAE or text encoder; put it in models/vae or models/text_encoders and load it"
                " with core's nodes"
            )
        if any(key.startswith("videodit_blocks.") for key in shapes):
            raise NotARVideoModelError(
                f"{name} is only a part of MAGI-1; choose the first file of the complete set, or download it again"
            )
        raise NotARVideoModelError(
            f"{name} is neither a SkyReels-V2 diffusion-forcing model, for it lacks the Wan transformer's keys "
            "(patch_embedding, head.modulation), nor MAGI-1 nor Helios; choose a SkyReels-V2-DF, MAGI-1 or Helios-Base"
            " file"
        )
    others = {
        "img_emb.proj.0.weight": "an image-to-video Wan model",
        "vace_patch_embedding.weight": "a Wan VACE model",
        "control_adapter.conv.weight": "a Wan camera-control model",
        "patch_embedding_pose.weight": "a Wan pose model",
    }
    for key, what in others.items():
        if key in shapes:
            raise NotARVideoModelError(
                f"{name} is {what}, which is not trained for diffusion forcing; choose a SkyReels-V2-DF file"
            )
    for key, dimensions in (("head.modulation", "[1, 2, width]"), ("patch_embedding.weight", "[width, 16, 1, 2, 2]")):
        if len(shapes[key]) != dimensions.count(",") + 1:
            raise NotARVideoModelError(
                f"{name} is damaged or of another architecture: {key} has shape {list(shapes[key])}, in SkyReels-V2-DF"
                f" it is {dimensions}; download it again, or choose a SkyReels-V2-DF file"
            )
    if shapes["patch_embedding.weight"][1] != 16:
        raise NotARVideoModelError(
            f"{name} takes {shapes['patch_embedding.weight'][1]} latent channels; SkyReels-V2-DF takes 16; {CAUSAL}"
        )
    dim = shapes["head.modulation"][-1]
    if dim == 1536 and FPS_KEYS[0] not in shapes:
        raise NotARVideoModelError(
            f"{name} is Wan2.1 T2V 1.3B: SkyReels-V2-DF 1.3B has an fps branch ({FPS_KEYS[0]}), this file has none; "
            f"choose a SkyReels-V2-DF file, or {CAUSAL}"
        )
    return {1536: "SkyReels-V2 DF 1.3B", 5120: "SkyReels-V2 DF 14B"}.get(dim, f"diffusion-forcing Wan, width {dim}")


def check_weights(state: Mapping[str, Tensor], name: str, told: Mapping[str, int] = {}) -> dict[str, tuple[int, ...]]:
    """Shapes by key of the model that a checkpoint is. Raises NotARVideoModelError for a checkpoint in the official
    layout, one that `identify` knows, whose weights are not all there, or not of the shapes and types that fit
    together.

    `told` are what the file itself says of its architecture, in ComfyUI's names. Layers in one of the host's quantised
    formats, which have a `comfy_quant` beside them, may have shapes and types of their own.
    """
    dim = state["head.modulation"].shape[-1]
    heads = told.get("num_heads", dim // HEAD_WIDTH)
    if heads < 1 or dim % heads:
        raise NotARVideoModelError(
            f"{name} has width {dim}, which cannot be divided into attention heads of {HEAD_WIDTH}; choose a"
            " SkyReels-V2-DF file"
        )
    expected = shapes_of(state, dim, heads, told.get("text_dim", 4096))
    if missing := sorted(expected.keys() - state.keys()):
        raise NotARVideoModelError(
            f"{name} lacks {len(missing)} weights, such as {missing[0]}; a part of the model is missing: choose the"
            " first file of the complete set, or download it again"
        )
    plain = [key for key in expected if f"{key.rpartition('.')[0]}.comfy_quant" not in state]
    for key in plain:
        if tuple(state[key].shape) != expected[key]:
            raise NotARVideoModelError(
                f"{name} is damaged or of another architecture: {key} has shape {list(state[key].shape)}, which has to"
                f" be {list(expected[key])} in a model of this width; download it again, or choose a SkyReels-V2-DF one"
            )
    if whole := [key for key in plain if not state[key].is_floating_point()]:
        dtype = str(state[whole[0]].dtype).removeprefix("torch.")
        raise NotARVideoModelError(
            f"{name} stores {len(whole)} weights as {dtype}, such as {whole[0]}, without the scales that ComfyUI needs"
            " to read them; choose a file in bf16, fp16 or fp8, or in one of ComfyUI's own quantised formats"
        )
    return expected


def shapes_of(state: Mapping[str, Tensor], dim: int, heads: int, text_dim: int) -> dict[str, tuple[int, ...]]:
    """Shapes by key of a model of this width that is as deep as a checkpoint, with a frame-rate branch if that has
    one."""
    channels = state["patch_embedding.weight"].shape[1]
    depth = 1 + max((int(key.split(".")[1]) for key in state if re.match(r"blocks\.\d+\.", key)), default=0)
    inner = state.get("blocks.0.ffn.0.weight", torch.empty(0))
    ffn = inner.shape[0] if inner.ndim == 2 else dim
    with torch.device("meta"):
        model = WanTransformer(WanConfig(dim, ffn, heads, depth, text_dim, channels, channels))
    branch = ((2, dim), (dim, dim), (dim,), (6 * dim, dim), (6 * dim,)) if FPS_KEYS[0] in state else ()
    return {key: tuple(value.shape) for key, value in model.state_dict().items()} | dict(zip(FPS_KEYS, branch))


def suspicion(model: str, path: str) -> str:
    """A warning where the weights cannot tell whether a model was trained for diffusion forcing and neither the name of
    the file nor those of the two folders around it say so. The nearest name that tells counts."""
    if model != "SkyReels-V2 DF 14B":
        return ""
    *folders, file = Path(path).parts[-3:]
    for name in (file, *reversed(folders)):
        if DIFFUSION_FORCING.search(name):
            return ""
        if TEXT_TO_VIDEO.search(name):
            return (
                f"{file} is a text-to-video model by the name of {name}. Such models have the layout of SkyReels-V2 DF"
                " 14B but are not trained for diffusion forcing: the result will be noise. Take a SkyReels-V2-DF file."
            )
    if any("skyreels" in name.lower() for name in (file, *folders)):
        return ""
    return (
        f"{file} has the layout that SkyReels-V2 DF 14B shares with Wan2.1 T2V 14B and SkyReels-V2 T2V 14B. If it is"
        " one of these, the result will be noise: they are not trained for diffusion forcing."
    )


def fps_offset(state: Mapping[str, Tensor], fps: int) -> Tensor:
    """What the fps branch adds to the bias of the time projection, [6 * dim] fp32: it is constant over time and frames.

    Without it the output is off by 1.9 (docs/skyreels.md 2.2). `state` in the official layout.
    """
    embedding, w0, b0, w2, b2 = (state[key].float() for key in FPS_KEYS)
    return F.linear(F.silu(F.linear(embedding[0 if fps == 16 else 1], w0, b0)), w2, b2)


def fold_fps(state: dict[str, Tensor], fps: int) -> dict[str, Tensor]:
    """The checkpoint with its fps branch, if it has one, folded into the time projection's bias."""
    if FPS_KEYS[0] not in state:
        return state
    folded = {key: value for key, value in state.items() if key not in FPS_KEYS}
    bias = folded[FPS_TARGET]
    folded[FPS_TARGET] = (bias.float() + fps_offset(state, fps)).to(
        torch.float32 if bias.dtype.itemsize == 1 else bias.dtype
    )
    return folded
