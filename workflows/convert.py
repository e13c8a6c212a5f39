"""Published weights of causal Wan, a pickle, as a safetensors file that Load AR Video Model knows: `python -m
workflows.convert FILE.pt`.

Nothing in the weights tells that they are causal, or in which chunks; the file says so in its metadata. Only tensors
are read from the pickle (`weights_only`), so that no code in it runs.
"""

import argparse
import pickle
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from scope_core import disk
from scope_core.families.causal_wan import Trained, few_steps
from scope_core.networks.skyreels_keys import NotARVideoModelError, check_weights, official_key
from scope_core.schedule import ScheduleError

BRANCHES = ("generator", "generator_ema")
WRAPPERS = re.compile(r"_(fsdp_wrapped_module|checkpoint_wrapped_module|orig_mod)\.")
"""Parts of keys that training leaves behind."""
LONGLIVE = Trained(8, 32, 8)
"""What the base of LongLive-2.0 was trained with, on the 48 channels of Wan 2.2 5B."""


class ConversionError(ValueError):
    """A file that cannot be converted. The message says what it is and the way out."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m workflows.convert", description=__doc__)
    parser.add_argument("file", type=Path, help="such as chunkwise/ar_diffusion.pt of zhuhz22/Causal-Forcing")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: beside it, with a name that tells the chunks"
    )
    parser.add_argument("--chunk", type=int, metavar="N", help="latent frames of a chunk, where the names do not tell")
    parser.add_argument("--window", type=int, metavar="N", help="latent frames that a chunk was trained to attend to")
    parser.add_argument("--sink", type=int, metavar="N", help="first latent frames that stay in view")
    parser.add_argument("--ema", action="store_true", help=f"take {BRANCHES[1]} where the file has both")
    options = parser.parse_args()
    try:
        print(convert(options.file, options.out, options.chunk, options.window, options.sink, options.ema))
    except (ConversionError, NotARVideoModelError, ScheduleError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def convert(
    source: Path,
    target: Path | None = None,
    chunk: int | None = None,
    window: int | None = None,
    sink: int | None = None,
    ema: bool = False,
) -> Path:
    """Where the safetensors file is. Raises ConversionError, NotARVideoModelError, ScheduleError."""
    names = "/".join(source.parts[-3:])
    if distilled := few_steps(str(source)):
        raise ConversionError(distilled)
    state = unwrapped(weights(source, ema))
    check_weights_are_all(state, source.name)
    trained = training(names, state, chunk, window, sink)
    if target is None:
        target = source.with_name(f"{source.stem}_chunk{trained.chunk}.safetensors")
    told = f"causal_wan chunk {trained.chunk} window {trained.window} sink {trained.sink}"
    try:
        with disk.beside(target) as fresh:
            save_file(state, fresh, {"format": "pt", "scope": told})
    except (OSError, SafetensorError) as error:
        raise ConversionError(
            f"{target} cannot be written ({error}). Free space there, or choose another place with --out"
        ) from error
    return target


def weights(source: Path, ema: bool) -> Mapping[str, Tensor]:
    """Of the branch of a checkpoint that is asked for, or the only one."""
    try:
        held: Any = torch.load(source, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ConversionError(
            f"{source.name} cannot be read as a checkpoint that holds tensors alone ({str(error).splitlines()[0]})."
            " Download it again"
        ) from error
    if isinstance(held, Mapping) and (known := [name for name in BRANCHES if name in held]):
        held = held[known[-1] if ema else known[0]]
    if not isinstance(held, Mapping) or not all(isinstance(value, Tensor) for value in held.values()):
        raise ConversionError(f"{source.name} holds neither weights nor {' or '.join(BRANCHES)}; is it another file?")
    return held


def unwrapped(held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by Wan's own key."""
    return {official_key(WRAPPERS.sub("", key)): value.contiguous() for key, value in held.items()}


def check_weights_are_all(state: dict[str, Tensor], name: str) -> None:
    if missing := [key for key in ("patch_embedding.weight", "head.modulation") if key not in state]:
        raise ConversionError(f"{name} lacks {missing[0]}, which every Wan has; it is another model")
    if more := sorted(state.keys() - check_weights(state, name).keys()):
        raise ConversionError(
            f"{name} has {len(more)} weights that a Wan text-to-video model has not, such as {more[0]}; it is another"
            " model"
        )


def training(
    names: str, state: Mapping[str, Tensor], chunk: int | None, window: int | None, sink: int | None
) -> Trained:
    """What a model was trained with, by its channels and by the names of file and folders."""
    usual = Trained()
    if state["patch_embedding.weight"].shape[1] == 48:
        usual = LONGLIVE
    elif "framewise" in names.lower():
        usual = Trained(1)
    elif chunk is None and "chunkwise" not in names.lower():
        raise ConversionError(
            f"nothing in {names} says in which chunks the model makes a video. Keep the published folder's name"
            " (chunkwise or framewise), or give --chunk: 3 for chunkwise, 1 for framewise"
        )
    asked = zip((chunk, window, sink), (usual.chunk, usual.window, usual.sink))
    return Trained(*(known if given is None else given for given, known in asked))


if __name__ == "__main__":
    sys.exit(main())
