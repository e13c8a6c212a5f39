"""A tiny random Wan model as files of it are published: text to video, image to video (with `c_concat`), or the 5B of
Wan 2.2, whose masked frames are told that they are clean."""

import json

import torch
from torch import Tensor

METADATA = {"config": json.dumps({"transformer": {"text_dim": 64}})}
"""What its file says of it."""


def weights(kind: str = "t2v") -> dict[str, Tensor]:
    shapes = {
        "patch_embedding.weight": (256, {"t2v": 16, "i2v": 36, "5b": 48}[kind], 1, 2, 2),
        "patch_embedding.bias": (256,),
        "text_embedding.0.weight": (256, 64),
        "text_embedding.0.bias": (256,),
        "text_embedding.2.weight": (256, 256),
        "text_embedding.2.bias": (256,),
        "time_embedding.0.weight": (256, 256),
        "time_embedding.0.bias": (256,),
        "time_embedding.2.weight": (256, 256),
        "time_embedding.2.bias": (256,),
        "time_projection.1.weight": (6 * 256, 256),
        "time_projection.1.bias": (6 * 256,),
        "head.modulation": (1, 2, 256),
        "head.head.weight": (4 * (48 if kind == "5b" else 16), 256),
        "head.head.bias": (4 * (48 if kind == "5b" else 16),),
    }
    for i in range(2):
        shapes |= {f"blocks.{i}.modulation": (1, 6, 256)}
        shapes |= {f"blocks.{i}.norm3.{what}": (256,) for what in ("weight", "bias")}
        shapes |= {f"blocks.{i}.ffn.0.weight": (512, 256), f"blocks.{i}.ffn.0.bias": (512,)}
        shapes |= {f"blocks.{i}.ffn.2.weight": (256, 512), f"blocks.{i}.ffn.2.bias": (256,)}
        for attention in ("self_attn", "cross_attn"):
            for part in "qkvo":
                shapes |= {f"blocks.{i}.{attention}.{part}.weight": (256, 256)}
                shapes |= {f"blocks.{i}.{attention}.{part}.bias": (256,)}
            shapes |= {f"blocks.{i}.{attention}.norm_{part}.weight": (256,) for part in "qk"}
        if kind == "i2v":
            shapes |= {f"blocks.{i}.cross_attn.{part}_img.weight": (256, 256) for part in "kv"}
            shapes |= {f"blocks.{i}.cross_attn.{part}_img.bias": (256,) for part in "kv"}
            shapes |= {f"blocks.{i}.cross_attn.norm_k_img.weight": (256,)}
    if kind == "i2v":
        for layer, shape in (0, (1280,)), (1, (1280, 1280)), (3, (256, 1280)), (4, (256,)):
            shapes |= {f"img_emb.proj.{layer}.weight": shape, f"img_emb.proj.{layer}.bias": shape[:1]}
    generator = torch.Generator().manual_seed(1)
    return {key: torch.randn(shape, generator=generator) * 0.06 for key, shape in shapes.items()}
