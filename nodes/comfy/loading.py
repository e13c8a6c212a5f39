"""Load AR video models as standard MODELs: any key layout, single files and shards. The fps branch is folded in."""

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path

import comfy.ops
import comfy.quant_ops
import comfy.sd
import comfy.utils
import folder_paths
import torch
from comfy.ldm.wan.model import WanModel
from safetensors import SafetensorError, safe_open

from ...scope_core.families.causal_wan import few_steps
from ...scope_core.networks import magi as magi_network
from ...scope_core.networks.helios import is_helios, refuse_few_steps
from ...scope_core.networks.skyreels_keys import (
    BLOCK_MATRIX,
    FPS_KEYS,
    FPS_TARGET,
    NotARVideoModelError,
    check_weights,
    fold_fps,
    fps_offset,
    identify,
    official_key,
    suspicion,
    to_official,
)
from . import causal_wan, helios, magi
from .families import MODEL_NAME
from .skyreels import prepare

SHARD = re.compile(r"^(.*-)(\d{5})-of-(\d{5})(\.safetensors)$")
DTYPES = {
    "default": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}


KINDS = ("auto", "base", "distilled")


class ModelFileError(ValueError):
    """A model file that cannot be read. The message names the file and the way out."""


def model_names() -> list[str]:
    """Files of models/diffusion_models, a sharded model once, under the name of its first shard."""
    names = folder_paths.get_filename_list("diffusion_models")
    return [name for name in names if not (shard := SHARD.match(name)) or int(shard[2]) <= 1]


def model_paths(name: str) -> list[str]:
    """Full paths of a model's file or shards. Raises ModelFileError for pickles and missing shards."""
    path = folder_paths.get_full_path_or_raise("diffusion_models", name)
    if not path.endswith((".safetensors", ".sft")):
        raise ModelFileError(
            f"{name} is not a safetensors file, and a {Path(path).suffix} file may run code when it is opened; download"
            " the .safetensors version of the model, convert causal Wan, which has none, with `python -m"
            " workflows.convert`, or load GGUF with its own loader and connect its MODEL to `model`"
        )
    shard = SHARD.match(path)
    if shard is None or not 1 <= int(shard[2]) <= int(shard[3]):
        return [path]
    total = int(shard[3])
    shards = [f"{shard[1]}{i:05d}-of-{shard[3]}{shard[4]}" for i in range(1, total + 1)]
    missing = [Path(s).name for s in shards if not Path(s).exists()]
    if missing:
        raise ModelFileError(
            f"{name} is one of {total} files, but {len(missing)} of them are missing beside it:"
            f" {', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''}; download them into the same folder"
        )
    return shards


def paths_of(name: str) -> list[str]:
    """The same for a file that may not be there, or not be one that is read: then none."""
    try:
        return model_paths(name)
    except (ModelFileError, FileNotFoundError):
        return []


def read_header(paths: list[str]) -> dict[str, tuple[int, ...]]:
    """Shapes by official key, without reading weights. Raises ModelFileError for damaged files."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                shapes |= {official_key(key): tuple(file.get_slice(key).get_shape()) for key in file.keys()}
        except (SafetensorError, OSError) as error:
            raise ModelFileError(
                f"{Path(path).name} cannot be read ({error}): it is damaged or its download was cut off at"
                f" {Path(path).stat().st_size:,} bytes; download it again"
            ) from error
    return shapes


def read_state(paths: list[str]) -> tuple[dict[str, torch.Tensor], dict[str, str] | None]:
    """Weights by official key, and the metadata of the last file."""
    state: dict[str, torch.Tensor] = {}
    metadata = None
    for path in paths:
        part, metadata = comfy.utils.load_torch_file(path, return_metadata=True)
        state |= part
    return to_official(state), metadata


def check_shapes(shapes: Mapping[str, tuple[int, ...]], network: torch.nn.Module, name: str, model: str) -> None:
    """Raises ModelFileError for a file whose weights are not all those of `network`, or not of their shapes."""
    expected = {key: tuple(weight.shape) for key, weight in network.state_dict().items()}
    if missing := sorted(expected.keys() - shapes.keys()):
        raise ModelFileError(
            f"{name} lacks {len(missing)} weights of {model}, such as {missing[0]}; a part of the model is missing:"
            " choose the first file of the complete set, or download it again"
        )
    for key, shape in expected.items():
        if shapes[key] != shape:
            raise ModelFileError(
                f"{name} is damaged or of another architecture: {key} has shape {list(shapes[key])}, which has to be"
                f" {list(shape)} in {model} of this width; download it again"
            )


def load_ar_model(paths: list[str], fps: int, model_options: dict, kind: str = "auto", disable_dynamic: bool = False):
    """A prepared ModelPatcher of the files at `paths`. `kind` (see KINDS) matters to MAGI-1 alone. Raises
    NotARVideoModelError, ModelFileError."""
    name = Path(paths[0]).name
    shapes = read_header(paths)
    if config := magi_network.config_of(shapes):
        with torch.device("meta"):
            check_shapes(shapes, magi_network.MagiTransformer(config), name, "MAGI-1")
        return load_magi(paths, config, model_options, kind, disable_dynamic)
    if is_helios(shapes):
        return load_helios(paths, shapes, model_options, kind, disable_dynamic)
    return load_wan(paths, shapes, fps, model_options, kind, disable_dynamic)


def load_wan(
    paths: list[str],
    shapes: Mapping[str, tuple[int, ...]],
    fps: int,
    model_options: dict,
    kind: str,
    disable_dynamic: bool = False,
):
    """ModelPatcher of a SkyReels-V2-DF or causal Wan file. Raises NotARVideoModelError, ModelFileError."""
    name = Path(paths[0]).name
    trained = causal_wan.trained_of(paths)
    distilled = few_steps(paths[0])
    try:
        model_name = causal_wan.identify(shapes, name, trained) if trained else identify(shapes, name)
    except NotARVideoModelError as error:
        raise NotARVideoModelError(distilled or str(error)) from error
    if kind != "auto":
        raise ModelFileError(f"kind is {kind!r}, but {name} is {model_name}, which has no such kinds; set it to auto")
    state, metadata = read_state(paths)
    told = told_of(metadata, name)
    check_weights(with_quantised_layers(state, metadata), name, told)
    if trained:
        told.pop("causal_ar", None)  # core's own causal network is for distilled models and takes no guidance
        metadata = {**(metadata or {}), "config": json.dumps({"transformer": told})}
    state = fold_fps(state, fps)
    stored = dict(state)
    patcher = comfy.sd.load_diffusion_model_state_dict(state, model_options, metadata, disable_dynamic)
    if patcher is None:
        raise ModelFileError(
            f"{name} has the keys of {model_name} but shapes that ComfyUI does not know; is it a finetune with another"
            " architecture?"
        )
    keep_precision(patcher.model.diffusion_model, stored)
    if warning := distilled if trained else suspicion(model_name, paths[0]):
        logging.warning("SCOPE: %s", warning)
    if trained:
        causal_wan.prepare_causal(patcher, model_name, trained)
    else:
        prepare(patcher, model_name)
    patcher.cached_patcher_init = (load_ar_model, (paths, fps, model_options, kind))
    return patcher


def told_of(metadata: Mapping[str, str] | None, name: str) -> dict[str, int]:
    """What a file says of its architecture, which counts for the host. Raises ModelFileError."""
    try:
        return json.loads((metadata or {}).get("config", "{}")).get("transformer", {})
    except (ValueError, AttributeError) as error:
        raise ModelFileError(
            f"{name} has a `config` in its metadata that cannot be read; download the file again"
        ) from error


def with_quantised_layers(
    state: dict[str, torch.Tensor], metadata: Mapping[str, str] | None
) -> dict[str, torch.Tensor]:
    """A checkpoint with the marks that the host sets itself where a file lists its quantised layers in the metadata."""
    return comfy.utils.convert_old_quants(dict(state), "", dict(metadata or {}))[0]


def keep_precision(network: WanModel, stored: dict[str, torch.Tensor]) -> None:
    """Of a model that the host has put into fp8 as a whole, only the matrices of its blocks stay there: everything else
    is small, and rounding it doubles the error. A file that is in fp8 already stays as it is."""
    fp8: torch.dtype = network.dtype
    if fp8.itemsize > 1:
        return
    is_mixed = comfy.utils.weight_dtype(stored) == fp8
    for key, parameter in dict(network.named_parameters()).items():
        if isinstance(parameter, comfy.quant_ops.QuantizedTensor) or key not in stored:
            continue
        if is_mixed or not (BLOCK_MATRIX.fullmatch(key) and parameter.ndim == 2):
            path, _, name = key.rpartition(".")
            module, kept = network.get_submodule(path), stored[key]
            setattr(module, f"{name}_comfy_model_dtype", kept.dtype)
            if parameter.dtype != kept.dtype:
                kept = kept.to(parameter.device, copy=True)
                setattr(module, name, torch.nn.Parameter(kept, requires_grad=False))


def load_magi(
    paths: list[str], config: magi_network.MagiConfig, model_options: dict, kind: str, disable_dynamic: bool = False
):
    """ModelPatcher of a MAGI-1 file. Raises ModelFileError."""
    name = Path(paths[0]).name
    distilled = is_distilled(paths[0], config, kind)
    if config.quantised and "dtype" in model_options:
        raise ModelFileError(
            f"weight_dtype cannot change {name}: its layers are stored in fp8 with scales of their own; set it to"
            " default"
        )
    patcher = magi.make_patcher(config, read_state(paths)[0], distilled, model_options.get("dtype"), disable_dynamic)
    sizes = {magi_network.MAGI_4_5B.hidden: "4.5B", magi_network.MAGI_24B.hidden: "24B"}
    version = "MAGI-1.1" if re.search(r"magi[-_ ]?1[._]1(?!\d)", named(paths[0])) else "MAGI-1"
    patcher.set_attachments(
        MODEL_NAME,
        f"{version} {sizes.get(config.hidden, f'of width {config.hidden}')} {'distilled' if distilled else 'base'}"
        f"{', fp8' if config.quantised else ''}",
    )
    patcher.cached_patcher_init = (load_magi, (paths, config, model_options, kind))
    return patcher


def load_helios(
    paths: list[str],
    shapes: Mapping[str, tuple[int, ...]],
    model_options: dict,
    kind: str,
    disable_dynamic: bool = False,
):
    """ModelPatcher of a Helios file. Raises NotARVideoModelError, ModelFileError."""
    name = Path(paths[0]).name
    if kind != "auto":
        raise ModelFileError(f"kind is {kind!r}, but {name} is Helios, which has no such kinds; set it to auto")
    refuse_few_steps(named(paths[0]))
    try:
        config = helios.config_of(shapes)
    except (KeyError, IndexError) as error:
        raise ModelFileError(
            f"{name} is only a part of Helios; choose the first file of the complete set, or download it again"
        ) from error
    with torch.device("meta"):
        network = helios.HeliosTransformer(operations=comfy.ops.disable_weight_init, **config)
    check_shapes(shapes, network, name, "Helios")
    state = with_quantised_layers(*read_state(paths))
    patcher = helios.make_patcher(config, state, model_options.get("dtype"), disable_dynamic)
    keep_precision(patcher.model.diffusion_model, state)
    size = "14B" if config["dim"] == 5120 else f"of width {config['dim']}"
    patcher.set_attachments(MODEL_NAME, f"Helios-Base {size}")
    patcher.cached_patcher_init = (load_ar_model, (paths, 24, model_options, kind))
    return patcher


def named(path: str) -> str:
    """The names of a file and of the folders that a release puts it in."""
    return " ".join(Path(path).parts[-4:]).lower()


def is_distilled(path: str, config: magi_network.MagiConfig, kind: str) -> bool:
    """Base and distilled files have the same keys; `kind` tells, or the names of the file and the folders that the
    release puts it in. Raises ModelFileError where these contradict each other."""
    clues = {
        "distilled": "distill" in named(path) or config.quantised,
        "base": bool(re.search(r"(?<![a-z])base(?![a-z])", named(path))),
    }
    other = {"base": "distilled", "distilled": "base"}
    if kind != "auto" and clues[other[kind]] and not clues[kind]:
        why = "it is an fp8 file, and those are distilled" if config.quantised else "its name says otherwise"
        raise ModelFileError(
            f"kind is {kind!r}, but {Path(path).name} is a {other[kind]} model: {why}; set kind to auto, or to"
            f" {other[kind]}"
        )
    if kind == "auto" and not any(clues.values()):
        logging.warning(
            "SCOPE: nothing in the name of %s says whether it is a base or a distilled MAGI-1; it is taken as base. Set"
            " kind if that is wrong.",
            path,
        )
    return kind == "distilled" or (kind == "auto" and clues["distilled"])


def complete_model(patcher, paths: list[str] | None, fps: int):
    """Prepare a MODEL that another loader made: its fps branch, which other loaders drop, comes from `paths` or from
    the file that the loader remembers."""
    patcher = patcher.clone()
    model = patcher.model.diffusion_model
    shapes = {
        key.removeprefix("diffusion_model."): tuple(value.shape)
        for key, value in patcher.model_state_dict("diffusion_model.").items()
    }
    trained = causal_wan.trained_of(paths) if paths else None
    if trained is not None:
        model_name = causal_wan.identify(shapes, "the connected model", trained)
        causal_wan.prepare_causal(patcher, model_name, trained)
        return patcher
    made_by = patcher.cached_patcher_init
    remembered = made_by[1][0] if made_by and made_by[1] else None
    if paths is None and isinstance(remembered, str) and remembered.endswith((".safetensors", ".sft")):
        paths = [remembered]
    source = read_header(paths) if paths else {}
    model_name = identify({**shapes, **{key: source[key] for key in FPS_KEYS if key in source}}, "the connected model")
    if paths and FPS_KEYS[0] in source:
        offset = fps_offset(read_tensors(paths, FPS_KEYS), fps)
        if offset.shape[0] != 6 * model.dim:
            raise ModelFileError(
                f"{Path(paths[0]).name} belongs to a model of width {offset.shape[0] // 6}, the connected model has"
                f" width {model.dim}; choose the file it was made from"
            )
        patcher.add_patches({f"diffusion_model.{FPS_TARGET}": ("diff", (offset,))})
    prepare(patcher, model_name)
    return patcher


def read_tensors(paths: list[str], keys: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Some tensors of a checkpoint, by official key."""
    found: dict[str, torch.Tensor] = {}
    for path in paths:
        with safe_open(path, framework="pt") as file:
            found |= {official_key(key): file.get_tensor(key) for key in file.keys() if official_key(key) in keys}
    return found
