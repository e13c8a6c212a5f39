"""Published pickles of causal Wan as safetensors files: keys, metadata, and what is refused."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from scope_core.families.causal_wan import Trained, trained
from scope_core.networks.skyreels_keys import NotARVideoModelError
from scope_core.networks.wan import WanConfig, WanTransformer
from workflows.convert import ConversionError, convert, main


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return dict(WanTransformer(WanConfig(128, 64, 1, 1)).state_dict())


def pickled(folder, name, held):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    torch.save(held, path)
    return path


def told(path):
    with safe_open(path, "pt") as file:
        return trained(file.metadata()["scope"])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"generator": {f"model.{key}": value for key, value in state.items()}},
        lambda state: {"generator": {f"model._fsdp_wrapped_module.{key}": value for key, value in state.items()}},
        lambda state: {f"model.{key.replace('0.', '0._fsdp_wrapped_module.')}": value for key, value in state.items()},
    ],
    ids=["generator", "fsdp", "bare, every block wrapped"],
)
def test_every_weight_arrives_under_its_own_key(state, tmp_path, wrap):
    made = convert(pickled(tmp_path, "chunkwise/ar_diffusion.pt", wrap(state)))
    assert made.name == "ar_diffusion_chunk3.safetensors" and told(made) == Trained(3)
    loaded = load_file(made)
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[key], value) for key, value in state.items())
    assert len(list(made.parent.iterdir())) == 2


def test_a_file_that_does_not_fit_on_the_disk_leaves_nothing_behind(state, tmp_path):
    """As the system has it for files of a process that grow too large."""
    resource = pytest.importorskip("resource")
    source = pickled(tmp_path, "chunkwise/ar_diffusion.pt", state)
    target = tmp_path / "models" / "causal_wan.safetensors"
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (source.stat().st_size // 2, usual[1]))
    try:
        with pytest.raises(ConversionError, match="causal_wan.safetensors cannot be written.*--out"):
            convert(source, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert not list(target.parent.iterdir())


def test_the_average_of_training_is_taken_where_asked(state, tmp_path):
    other = {key: value + 1 for key, value in state.items()}
    both = pickled(tmp_path, "framewise/ar_diffusion.pt", {"generator": state, "generator_ema": other})
    key = "head.modulation"
    assert torch.equal(load_file(convert(both))[key], state[key])
    assert torch.equal(load_file(convert(both, ema=True))[key], other[key])
    assert told(convert(both)) == Trained(1)


def test_chunks_are_told_by_names_channels_or_the_user(state, tmp_path):
    torch.manual_seed(0)
    wide = WanTransformer(WanConfig(128, 64, 1, 1, in_dim=48, out_dim=48)).state_dict()
    assert told(convert(pickled(tmp_path, "stage1/model.pt", {"generator": dict(wide)}))) == Trained(8, 32, 8)
    plain = pickled(tmp_path, "a/model.pt", {"generator": state})
    with pytest.raises(ConversionError, match="give --chunk"):
        convert(plain)
    assert told(convert(plain, chunk=4, window=24, sink=4)) == Trained(4, 24, 4)


@pytest.mark.parametrize(
    "name, held, error, words",
    [
        ("a/causal_forcing.pt", {}, ConversionError, "nothing to skip"),
        ("framewise/longvideo.pt", {}, ConversionError, "nothing to skip"),
        ("chunkwise/a.pt", {"critic": {"x": torch.ones(1)}}, ConversionError, "neither weights nor generator"),
        ("chunkwise/a.pt", {"model.x": torch.ones(1)}, ConversionError, "lacks patch_embedding.weight"),
        ("chunkwise/a.pt", {"img_emb.x": torch.ones(1)}, ConversionError, "such as img_emb.x"),
        ("chunkwise/a.pt", {"blocks.0.ffn.0.bias": None}, NotARVideoModelError, "such as blocks.0.ffn.0.bias"),
    ],
)
def test_other_files_are_answered(state, tmp_path, name, held, error, words):
    if "img_emb.x" in held or None in held.values():
        held = {key: value for key, value in {**state, **held}.items() if value is not None}
    with pytest.raises(error, match=words):
        convert(pickled(tmp_path, name, held))


def test_no_code_of_a_pickle_runs_and_the_command_says_why(tmp_path, monkeypatch, capsys):
    class Bad:
        def __reduce__(self):
            return print, ("code of the file runs",)

    path = pickled(tmp_path, "chunkwise/bad.pt", {"generator": Bad()})
    monkeypatch.setattr("sys.argv", ["convert", str(path)])
    assert main() == 1
    said = capsys.readouterr()
    assert "cannot be read" in said.err and "code of the file runs" not in said.out
