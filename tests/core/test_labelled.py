"""Two videos as one, with labels that fit."""

from itertools import pairwise

import pytest
import torch

from scope_core.study.labelled import GROUND, LAYOUTS, PADDING, Caption, Labelled, fitting, font_for, wrapped

A, B = torch.zeros(4, 33, 57, 3), torch.ones(4, 33, 57, 3)
LONG = Caption("a name that is far longer than half of the picture is wide, whatever its size", ("seed 7", "x" * 99))
SHORT = Caption("B", ("seed 7", "fast", "18 of 50 evaluations", "12.3 s"))


def labelled(**change):
    return Labelled(**{"a": A, "b": B, "captions": (LONG, SHORT), **change})


def inked(margin):
    """Where a margin is not its ground, [H, W]."""
    return (margin - torch.tensor(GROUND) / 255).abs().sum(2) > 0.02


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_pictures_are_shown_and_texts_stay_in_their_halves(layout):
    made = labelled(layout=layout)
    frames = torch.stack([*made.frames()])
    width, height = made.size
    assert frames.shape == (4, height, width, 3) and width % 2 == height % 2 == 0
    picture = frames[:, : made.picture[1]]
    assert (picture[:, :, : width // 30] == 0).all() and (picture[:, :, -width // 40 :] == 1).all()
    ink = inked(made.margin)
    for half in (ink[:, : width // 2], ink[:, width // 2 :]):
        assert half.any() and not half[:, :PADDING].any() and not half[:, -PADDING:].any()
    assert not ink[:3].any() and not ink[-3:].any()


def test_the_wipe_moves_over_the_picture_and_comes_back():
    made = labelled(a=A.repeat(5, 1, 1, 1), b=B.repeat(5, 1, 1, 1), layout="wipe")
    _, height = made.picture
    shares = [1 - frame[:height].mean().item() for frame in made.frames()]
    assert shares[0] == pytest.approx(0.5, abs=0.01)
    assert min(shares) < 0.08 and max(shares) > 0.92 and max(abs(a - b) for a, b in pairwise(shares)) < 0.16


def test_a_warning_has_lines_of_its_own():
    plain, warned = labelled(), labelled(warning="The two runs differ in seed and prompt. " * 3)
    assert warned.margin.shape[0] > plain.margin.shape[0]
    assert inked(warned.margin)[-30:, warned.size[0] // 2 :].any()


def test_texts_are_cut_or_wrapped_to_their_room():
    font = font_for("", 14)
    assert fitting("short", font, 200) == "short"
    cut = fitting("y" * 99, font, 200)
    assert cut.endswith("y...") and font.getlength(cut) <= 200 < font.getlength(cut.replace("...", "yy..."))
    lines = wrapped(SHORT.facts, font, 160)
    assert ", ".join(lines) == ", ".join(SHORT.facts) and all(font.getlength(line) <= 160 for line in lines)
    assert len(wrapped(SHORT.facts, font, 1000)) == 1
