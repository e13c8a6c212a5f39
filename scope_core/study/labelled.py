"""Two videos as one, side by side or under a moving wipe, with labels in a margin below. Needs Pillow."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil, pi, sin
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SIDE_BY_SIDE, WIPE = LAYOUTS = ("side by side", "wipe")
LEAST_WIDTH = 320
"""Pixels that a picture has at least; smaller ones are enlarged, for the text beside them."""
GAP = 4
PADDING = 8
GROUND, INK, FAINT, WARNING = (20, 20, 20), (255, 255, 255), (170, 170, 170), (255, 190, 80)
REACH = 0.45
"""How far the wipe goes to both sides of the middle, in shares of the picture."""
OTHER_FONTS = ("NotoSansCJK-Regular.ttc", "msyh.ttc", "PingFang.ttc", "DejaVuSans.ttf")
"""For letters that Pillow's own font lacks, where the system has one of them."""


class Caption(NamedTuple):
    label: str
    facts: tuple[str, ...] = ()
    """Such as "seed 7" and "18 of 50 evaluations"; as many to a line as fit."""


@dataclass(frozen=True)
class Labelled:
    """Videos [T, H, W, 3] in [0, 1] of one size."""

    a: Tensor
    b: Tensor
    captions: tuple[Caption, Caption]
    warning: str = ""
    layout: str = SIDE_BY_SIDE

    @property
    def scale(self) -> int:
        return ceil(LEAST_WIDTH / self.a.shape[2])

    @property
    def picture(self) -> tuple[int, int]:
        """Width and height of the pictures without the margin, even, as codecs want them."""
        height, width = (self.scale * size for size in self.a.shape[1:3])
        return (2 * width + GAP if self.layout == SIDE_BY_SIDE else width) // 2 * 2, height // 2 * 2

    @property
    def size(self) -> tuple[int, int]:
        width, height = self.picture
        return width, height + self.margin.shape[0]

    @cached_property
    def margin(self) -> Tensor:
        """[H, W, 3]."""
        from PIL import Image, ImageDraw

        width = self.picture[0]
        size = max(13, width // 70)
        column = width // 2 - 2 * PADDING
        large, small = font_for(f"{self.captions}", size + 3), font_for(f"{self.captions}", size)
        texts = [wrapped(caption.facts, small, column) for caption in self.captions]
        warning = wrapped(self.warning.split(" "), small, width - 2 * PADDING, " ") if self.warning else []
        line = size + 5
        rows = max(map(len, texts)) + len(warning)
        height = (2 * PADDING + line + 3 + rows * line) // 2 * 2
        sheet = Image.new("RGB", (width, height), GROUND)
        draw = ImageDraw.Draw(sheet)
        for index, (caption, lines) in enumerate(zip(self.captions, texts)):
            x = PADDING + index * (width // 2)
            draw.text((x, PADDING), fitting(caption.label, large, column), INK, large)
            write(draw, lines, x, PADDING + line + 3, line, FAINT, small)
        write(draw, warning, PADDING, height - PADDING - len(warning) * line, line, WARNING, small)
        return torch.from_numpy(np.asarray(sheet).copy()).float() / 255

    def frames(self) -> Iterator[Tensor]:
        """[H, W, 3] each."""
        for index, (a, b) in enumerate(zip(self.a, self.b)):
            width, height = self.picture
            left, right = (self.enlarged(frame) for frame in (a, b))
            if self.layout == SIDE_BY_SIDE:
                gap = torch.zeros(left.shape[0], GAP, 3)
                made = torch.cat([left, gap, right], 1)
            else:
                edge = round(width * (0.5 + REACH * sin(2 * pi * index / len(self.a))))
                made = torch.cat([left[:, :edge], right[:, edge:]], 1)
                made[:, max(0, edge - 1) : edge + 1] = 1.0
            yield torch.cat([made[:height, :width], self.margin])

    def enlarged(self, frame: Tensor) -> Tensor:
        times = self.scale
        return frame[..., :3].float().cpu().repeat_interleave(times, 0).repeat_interleave(times, 1)


def font_for(text: str, size: int) -> "Font":
    from PIL import ImageFont

    for name in () if text.isascii() else OTHER_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def fitting(text: str, font: "Font", width: float) -> str:
    """The text, or as much of it as fits before three dots."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text.rstrip()}..."


def wrapped(parts: tuple[str, ...] | list[str], font: "Font", width: float, between: str = ", ") -> list[str]:
    """Parts in lines, as many to each as fit; a part that is too long for one is cut."""
    lines: list[str] = []
    for part in (fitting(part, font, width) for part in parts):
        longer = f"{lines[-1]}{between}{part}" if lines else part
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def write(draw: "ImageDraw.ImageDraw", lines: list[str], x: int, y: int, step: int, ink: tuple, font: "Font") -> None:
    for row, text in enumerate(lines):
        draw.text((x, y + row * step), text, ink, font)
