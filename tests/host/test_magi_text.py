"""MAGI-1 Prompt: cleaning, features free of padding, order of the special tokens, and a token file that is missing or
something else."""

import comfy.sd
import comfy.supported_models_base
import comfy.text_encoders.genmo
import comfy.text_encoders.lt
import comfy.text_encoders.pixart_t5
import folder_paths
import numpy as np
import pytest
import torch
from scope_pack.nodes.comfy import magi_text
from scope_pack.nodes.comfy.magi_text import MissingTokensError, WrongEncoderError, clean, encode, special_tokens
from scope_pack.nodes.prompt import MagiPrompt

TOKENIZERS = {
    "pixart": comfy.text_encoders.pixart_t5.PixArtTokenizer,
    "mochi": comfy.text_encoders.genmo.MochiT5Tokenizer,
    "ltxv": comfy.text_encoders.lt.LTXVT5Tokenizer,
}
ENCODERS = {
    "pixart": comfy.text_encoders.pixart_t5.pixart_te,
    "mochi": comfy.text_encoders.genmo.mochi_te,
    "ltxv": comfy.text_encoders.lt.ltxv_te,
}
OFF = {
    "high_quality": False,
    "duration": False,
    "first_frames": "any",
    "style": "any",
    "borders": False,
    "avoid_overlays": False,
}


class FakeClip:
    """Core's tokenizer; features are the token ids, repeated."""

    def __init__(self, kind="pixart", width=4096):
        self.tokenizer, self.width = TOKENIZERS[kind](), width

    def tokenize(self, text):
        return self.tokenizer.tokenize_with_weights(text)

    def encode_from_tokens(self, tokens):
        ids = torch.tensor([token for token, _ in tokens["t5xxl"][0]])
        return ids[None, :, None].float().expand(1, -1, self.width)


def ids(clip, text):
    return encode(clip, text)[0, :, 0].int().tolist()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A text_encoders folder of our own, the second of two."""
    monkeypatch.setitem(
        folder_paths.folder_names_and_paths,
        "text_encoders",
        ([str(tmp_path / "other"), str(tmp_path)], {".safetensors"}),
    )
    return tmp_path


@pytest.fixture
def arrays(folder):
    """Rows that tell themselves: other_tokens i, captions 1000, logos 2000. Each holds a third as well, which fp16
    rounds."""
    rows = {"caption_token": [1000], "logo_token": [2000], "other_tokens": range(100)}
    arrays = {name: np.repeat(np.array(values, float)[:, None], 4096, 1) for name, values in rows.items()}
    for array in arrays.values():
        array[:, 1] = 1 / 3
    np.savez(folder / "special_tokens.npz", **arrays)
    return arrays


@pytest.mark.parametrize(
    "caption, cleaned",
    [
        ("A red Panda eats bamboo, close-up; soft light.", "a red panda eats bamboo, close-up; soft light."),
        ("\ufb01re, \uff21\uff22 and a caf&eacute;\n\n  in   Paris", "fire, ab and a caf\u00e9 in paris"),
        ("\u201cHello\u201d \u2013 it\u2019s na\u00efve \u2014 really", '"hello" - it\'s na\u00efve - really'),
        ("<b>Bold</b> move &amp; a <person> waves &lt;3", "bold move a person waves <3"),
        ("see https://www.example.com/a-b for more, by @painter_1", "see for more, by"),
        ("a%20cat+and a dog", "a cat and a dog"),
        ("HTTPS:fooexample.org", ""),
        ("see www:xhttps:yz.org, a lake", "see https:, a lake"),
        ("(a cat:1.3), [a dog], {a bird|a fish} *wow* ~ \\ /", "a cat:1.3 , a dog , a bird a fish wow"),
        ("a cat \u732b on a roof", "a cat on a roof"),
        ("one_two_three four-five-six", "one two three four five six"),
        ("well-known one_two", "well-known one_two"),
        ("#42 and #123456 at 192.168.0.1, order 12345678", "and at , order"),
        ("IMG_0001.jpg of a boat, ab1234, x7y, 3d2", "of a boat, ,"),
        ("worldwide free shipping, free download, click for details, page 12, 1920x1080 png image", ","),
        ("red,green.blue 3.5 m ... end", "red, green. blue 3.5 m end"),
        ("'quoted'", "quoted"),
        ("- a cat -", "a cat"),
        (" \n ", ""),
    ],
)
def test_cleaning(caption, cleaned):
    assert clean(caption) == cleaned


@pytest.mark.parametrize(
    "caption",
    [
        "A drone flies over a misty pine forest at dawn; the camera tilts up, revealing snow-capped mountains.",
        "Close-up: an old man's hands, carving wood. Warm light, 35mm film, shallow depth of field!",
        "Two kids (a boy and a girl) run along the beach, laughing \u2014 \u201cfaster!\u201d they shout.",
    ],
)
def test_cleaning_ends(caption):
    assert clean(clean(caption)) == clean(caption)


def test_every_clip_type_gives_the_tokens_of_the_text():
    assert (
        ids(FakeClip("pixart"), "A cat (on a roof:1.3)!")
        == FakeClip().tokenizer.clip_t5xxl.tokenizer("a cat on a roof:1.3 !")["input_ids"]
    )
    assert ids(FakeClip("pixart"), "") == [1]
    for kind in ("mochi", "ltxv"):
        assert ids(FakeClip(kind), "A cat on a roof.") == ids(FakeClip("pixart"), "A cat on a roof.")


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_long_texts_keep_their_end_token(kind):
    whole = ids(FakeClip(kind), " ".join(["cat"] * 799))
    cut = ids(FakeClip(kind), " ".join(["cat"] * 1000))
    assert len(whole) == 800 and cut == whole and cut[-1] == 1 and cut[-2] != 1


def test_padding_clips_give_the_features_of_the_unpadded_text(monkeypatch):
    """Core's own T5, made small, with random weights."""
    monkeypatch.setattr(magi_text, "WIDTH", 32)
    found = []
    for kind, tokenizer in TOKENIZERS.items():
        target = comfy.supported_models_base.ClipTarget(tokenizer, ENCODERS[kind](dtype_t5=torch.float32))
        small = {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_heads": 4, "num_layers": 2}
        clip = comfy.sd.CLIP(target, model_options={"t5xxl_model_config": small}, disable_dynamic=True)
        torch.manual_seed(0)
        for value in clip.cond_stage_model.parameters():
            value.data.normal_(std=0.3)
        found.append(encode(clip, "A cat on a roof."))
    assert (
        found[0].shape == (1, len(ids(FakeClip(width=32), "A cat on a roof.")), 32) and found[0].dtype == torch.float32
    )
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_other_encoders_are_named():
    clip = FakeClip(width=1024)
    with pytest.raises(WrongEncoderError, match="width 1024.*older T5"):
        encode(clip, "a cat")
    clip.tokenize = lambda text: {"umt5xxl": [[(1, 1.0)]]}
    with pytest.raises(WrongEncoderError, match="encodes with umt5xxl.*type pixart"):
        encode(clip, "a cat")
    clip.tokenize = lambda text: {"l": [[(1, 1.0)]], "t5xxl": [[(1, 1.0)]]}
    with pytest.raises(WrongEncoderError, match="l, t5xxl"):
        encode(clip, "a cat")


def test_tokens_stand_in_the_published_order(arrays):
    """Each is put before those so far: static, dynamic, borders, quality, 3D, 2D; for the branch without text captions,
    logos, transitions, borders."""
    order = special_tokens(["static", "dynamic", "borders", "high_quality", "3d_model", "2d_anime"])
    assert order.shape == (6, 4096) and order[:, 0].tolist() == [16, 15, 1, 4, 3, 2]
    assert special_tokens({"captions", "logos", "transitions", "borders"})[:, 0].tolist() == [4, 0, 2000, 1000]
    assert special_tokens(["duration"])[:, 0].tolist() == [7, 8, 9, 10, 11, 12, 13, 14]
    assert order.dtype == torch.float32 and order[0, 1] == torch.tensor(1 / 3).half().float()


def test_prompt_gives_both_branches(arrays):
    ((cond, positive),) = MagiPrompt.execute(
        FakeClip(), "A cat", **OFF | {"high_quality": True, "duration": True}
    ).args[0]
    assert cond.shape[0] == 1 and cond.shape[2] == 4096
    assert (
        positive["magi_special"][:, 0].tolist() == [1]
        and positive["magi_duration"].shape == (8, 4096)
        and positive["pooled_output"] is None
    )
    full = OFF | {
        "high_quality": True,
        "first_frames": "dynamic",
        "style": "2d_anime",
        "borders": True,
        "avoid_overlays": True,
    }
    ((_, positive),), ((null, negative),) = MagiPrompt.execute(FakeClip(), "A cat", **full).args
    assert positive["magi_special"][:, 0].tolist() == [16, 1, 4, 3] and "magi_duration" not in positive
    assert null.shape == (1, 1, 4096) and not null.any()
    for branch in (positive, negative):
        assert branch["magi_negative"][:, 0].tolist() == [4, 0, 2000, 1000]


def test_without_options_no_file_is_needed(folder):
    ((_, positive),), ((_, negative),) = MagiPrompt.execute(FakeClip(), "A cat", **OFF).args
    assert positive == negative == {"pooled_output": None}
    for option in ({"high_quality": True}, {"duration": True}, {"style": "3d_model"}, {"avoid_overlays": True}):
        with pytest.raises(MissingTokensError, match="is missing.*SandAI-org/MAGI-1.*models/text_encoders.*switch off"):
            MagiPrompt.execute(FakeClip(), "A cat", **OFF | option)


def test_files_that_are_something_else(folder, arrays):
    path = folder / "special_tokens.npz"
    content = path.read_bytes()
    damaged = {
        "a page": b"<!DOCTYPE html><html>",
        "nothing": b"",
        "cut off": content[:100000],
        "flipped": content[:5000] + b"\xff" * 9 + content[5009:],
    }
    for data in damaged.values():
        path.write_bytes(data)
        with pytest.raises(MissingTokensError, match="cannot be read.*SandAI-org"):
            special_tokens(["duration"])
    np.savez(path, **{name: array for name, array in arrays.items() if name != "logo_token"})
    with pytest.raises(MissingTokensError, match="logo_token"):
        special_tokens(["duration"])
    np.savez(path, **arrays | {"other_tokens": arrays["other_tokens"][:9]})
    with pytest.raises(MissingTokensError, match=r"other_tokens \[9, 4096\]"):
        special_tokens(["duration"])


def test_every_socket_is_explained():
    schema = MagiPrompt.define_schema()
    assert all(socket.tooltip for socket in [*schema.inputs, *schema.outputs])
