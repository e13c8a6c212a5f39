"""Files that are damaged at random, opened by a real server: models, autoencoders, MAGI-1's tokens, reports."""

import io
import json
import struct
from functools import cache
from random import Random

import numpy as np
import pytest
import torch
from cases import draw, explore
from prompts import complete, node
from safetensors.torch import save
from serving import ask

from scope_core import PRESETS, SKYREELS, plan
from scope_core.networks.magi import MagiConfig, MagiTransformer
from scope_core.networks.magi_vae import MagiVAE, MagiVaeConfig
from scope_core.networks.wan import WanConfig, WanTransformer
from scope_core.signals import change_table

KINDS = {
    "skyreels": ("models", "diffusion_models/fuzz.safetensors"),
    "magi": ("models", "diffusion_models/fuzz.safetensors"),
    "vae": ("models", "vae/fuzz.safetensors"),
    "tokens": ("models", "text_encoders/special_tokens.npz"),
    "report": ("output", "scope/fuzz.json"),
}
"""Folder and name of every kind of file."""
LOADER = {"weight_dtype": "default", "fps": "24"}
OPENED_BY = {
    "skyreels": node("SCOPE_LoadModel", model_name="fuzz.safetensors", **LOADER),
    "magi": node("SCOPE_LoadModel", model_name="fuzz.safetensors", **LOADER),
    "vae": node("SCOPE_LoadMagiVAE", vae_name="fuzz.safetensors"),
    "tokens": node("SCOPE_MagiPrompt", clip=["demo", 1], text="a cat"),
    "report": node("SCOPE_Timeline", report_name="fuzz"),
}
DAMAGES = {
    "cut": (0, 1, 7, 8, 100, 0.5, 0.99),
    "flipped": range(20),
    "filled": (0, 255),
    "longer": (1, 1000),
    "replaced": (
        b"",
        b"null",
        b"[]",
        b"{}",
        b"3",
        b'"x"',
        b"\xff" * 64,
        b"version https://git-lfs.github.com/spec/v1\n",
    ),
    "header": ("shape", "dtype", "offsets", "key", "no shape", "length", "list"),
    "weights": ("lost", "scalar", "vector", "transposed", "integers", "renamed", "empty", "nan"),
    "json": ("lost", "number", "text", "list", "null", "renamed"),
}
"""What is done to a file; numbers between 0 and 1 are shares of its length."""


@cache
def weights_of(kind: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    if kind == "skyreels":
        network = WanTransformer(WanConfig(128, 64, 1, 1))
    elif kind == "magi":
        network = MagiTransformer(
            MagiConfig(2, 64, 96, heads=16, cond=16, head_dim=8, caption_dim=8, caption_length=12)
        )
    else:
        network = MagiVAE(MagiVaeConfig(dim=256, depth=1, ffn=64, grid=4))
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


@cache
def whole(kind: str) -> bytes:
    if kind == "tokens":
        file = io.BytesIO()
        rows = {"caption_token": 1, "logo_token": 1, "other_tokens": 100}
        np.savez_compressed(file, **{name: np.ones((n, 4096), np.float16) for name, n in rows.items()})
        return file.getvalue()
    if kind == "report":
        schedule = SKYREELS.schedule(4, steps=6)
        return json.dumps(
            plan(schedule, PRESETS["fast"], change_table("sigma", schedule.sigmas, None)).to_json()
        ).encode()
    return save(weights_of(kind))


def damaged(case: dict) -> bytes:
    """The file of a case."""
    kind, random = case.get("kind", "report"), Random(case.get("where", 0))
    made = whole(kind)
    if "weights" in case and kind in ("skyreels", "magi", "vae"):
        made = save(changed_weights(dict(weights_of(kind)), case["weights"], random))
    if "header" in case and kind in ("skyreels", "magi", "vae"):
        made = with_header(made, case["header"], random)
    if "json" in case and kind == "report":
        made = json.dumps(changed_json(json.loads(made), case["json"], random)).encode()
    made = case.get("replaced", made)
    if "flipped" in case and made:
        at = random.randrange(min(len(made), 2000))
        made = made[:at] + bytes([made[at] ^ (1 << random.randrange(8))]) + made[at + 1 :]
    if "filled" in case:
        at = random.randrange(len(made) + 1)
        made = made[:at] + bytes([case["filled"]]) * min(200, len(made) - at) + made[at + 200 :]
    if "cut" in case:
        made = made[: int(case["cut"] * len(made)) if 0 < case["cut"] < 1 else case["cut"]]
    return made + b"\0" * case.get("longer", 0)


def changed_weights(weights: dict, how: str, random: Random) -> dict:
    key = random.choice(sorted(weights))
    value = weights.pop(key)
    if how == "lost":
        return weights
    if how == "renamed":
        return weights | {f"x.{key}": value}
    if how == "integers":
        return {name: each.to(torch.int8) for name, each in weights.items()}
    shaped = {
        "scalar": value.flatten()[0],
        "vector": value.flatten(),
        "empty": value.flatten()[:0],
        "nan": value * torch.nan,
    }
    shaped["transposed"] = value.transpose(0, -1) if value.ndim else value
    return weights | {key: shaped[how].clone().contiguous()}


def with_header(file: bytes, how: str, random: Random) -> bytes:
    """A safetensors file whose header says something else."""
    size = struct.unpack("<Q", file[:8])[0]
    header = json.loads(file[8 : 8 + size])
    key = random.choice(sorted(header.keys() - {"__metadata__"}))
    if how == "shape":
        header[key]["shape"] = [3, *header[key]["shape"]]
    elif how == "dtype":
        header[key]["dtype"] = random.choice(("F64", "I8", "NONSENSE", 3))
    elif how == "offsets":
        header[key]["data_offsets"] = [10**12, 10**12 + 4]
    elif how == "key":
        header[key * 100] = header.pop(key)
    elif how == "no shape":
        del header[key]["shape"]
    made = json.dumps([header] if how == "list" else header).encode()
    length = 2**63 if how == "length" else len(made)
    return struct.pack("<Q", length) + made + file[8 + size :]


def changed_json(value, how: str, random: Random):
    """Something within it lost or of another type."""
    if isinstance(value, (dict, list)) and value and random.random() < 0.85:
        key = random.choice(list(value)) if isinstance(value, dict) else random.randrange(len(value))
        inner = value[key]
        if random.random() < 0.5 and isinstance(inner, (dict, list)) and inner:
            value[key] = changed_json(inner, how, random)
            return value
        if how == "lost" or (how == "renamed" and isinstance(value, list)):
            del value[key]
        elif how == "renamed":
            value[f"{key}x"] = value.pop(key)
        else:
            value[key] = {"number": 7, "text": "x", "list": [], "null": None}[how]
        return value
    return {"number": 7, "text": "x", "list": []}.get(how)


@pytest.fixture(scope="module")
def info(server):
    return server.object_info()


@pytest.fixture(scope="module")
def opened(server, folders, info):
    """Writes a file and lets its node open it; what the node showed."""

    def run(case: dict) -> dict:
        kind = case.get("kind", "report")
        folder, name = KINDS[kind]
        path = folders[folder] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(damaged(case))
        shown = node("PreviewAny", source=["opened", 0])
        graph = {
            "demo": node("SCOPE_LoadDemo"),
            "opened": OPENED_BY[kind],
            **({} if kind == "report" else {"shown": shown}),
        }
        odd = {"fuzz.safetensors": path.name, "special_tokens": kind, "report": "scope", "file": "model", **case}
        graph = {name: {**made, "inputs": dict(made["inputs"])} for name, made in graph.items()}
        return ask(server, complete(graph, info), odd)

    return run


def file_case_of(seed: int) -> dict:
    random = Random(seed)
    kind = random.choice(list(KINDS))
    fitting = {name for name in DAMAGES if name not in ("header", "weights", "json")}
    fitting |= {"json"} if kind == "report" else set() if kind == "tokens" else {"header", "weights"}
    return {"kind": kind, "where": seed, **draw(random, {name: DAMAGES[name] for name in sorted(fitting)}, 2)}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "tokens"])
def test_a_whole_file_is_opened(opened, kind):
    assert opened({"kind": kind})


@pytest.mark.cases(150, 1500)
def test_every_damaged_file_is_opened_or_answered(opened, seed):
    explore(opened, file_case_of(seed), seed)
