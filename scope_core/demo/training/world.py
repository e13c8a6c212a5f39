"""A small world of captioned clips: one shape moving over a shaded background, rendered on the fly.

Every word of a caption decides something visible, so a generated video can be checked against its prompt.
"""

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from ..words import BACKGROUNDS, COLOURS, FPS, FRAMES_PER_LATENT, MOTIONS, SHAPES, TOKENS


@dataclass
class Clips:
    """A batch of clips as scene parameters: what is shown, where it is at any time.

    `words` holds an index into each of the four vocabularies, `motion` four numbers that each motion reads in its own
    way.
    """

    words: Tensor
    """[B, 4] long: shape, motion, colour, background."""
    radius: Tensor
    """[B] half the size of the shape, as a fraction of the frame."""
    start: Tensor
    """[B, 2] in [0, 1]: position within the free room, x then y."""
    motion: Tensor
    """[B, 4] in [0, 1]: speeds and phases."""

    @classmethod
    def sample(cls, n: int, generator: torch.Generator) -> "Clips":
        words = torch.stack(
            [torch.randint(len(v), (n,), generator=generator) for v in (SHAPES, MOTIONS, COLOURS, BACKGROUNDS)], 1
        )
        uniform = torch.rand(n, 7, generator=generator)
        return cls(words, 0.20 + 0.08 * uniform[:, 0], uniform[:, 1:3], uniform[:, 3:])

    def caption(self, i: int) -> str:
        shape, motion, colour, background = self.words[i].tolist()
        return (
            f"a {list(COLOURS)[colour]} {SHAPES[shape]} {MOTIONS[motion]} on a {list(BACKGROUNDS)[background]}"
            " background"
        )

    def tokens(self) -> Tensor:
        """[B, TOKENS] token ids of the captions."""
        sizes = [len(SHAPES), len(MOTIONS), len(COLOURS), len(BACKGROUNDS)]
        offsets = torch.tensor([1, *torch.tensor(sizes).cumsum(0)[:-1].add(1).tolist()])
        return torch.nn.functional.pad(self.words + offsets, (0, TOKENS - 4))

    def positions(self, seconds: Tensor) -> Tensor:
        """Centre of the shape at each time: [B, T, 2] in frame units, for `seconds` [T]."""
        t = seconds[None, :]
        a, b, c, d = (self.motion[:, i, None] for i in range(4))
        room = (1 - 2 * self.radius)[:, None]

        def reflect(u: Tensor) -> Tensor:
            return 1 - (u.remainder(2) - 1).abs()

        sign = torch.where(d < 0.5, -1.0, 1.0)
        x0, y0 = self.start[:, 0, None], self.start[:, 1, None]
        angle = 2 * pi * (c + 0.45 * (0.7 + 0.6 * a) * sign * t)
        free = {
            "bouncing": (reflect(x0 + sign * (0.45 + 0.30 * a) * t), reflect(y0 + (0.30 + 0.40 * b) * t)),
            "hopping": (
                reflect(x0 + sign * (0.15 + 0.20 * a) * t),
                1 - (0.5 + 0.4 * b) * (pi * (c + (0.8 + 0.3 * a) * t)).sin().abs(),
            ),
            "orbiting": (0.5 + (0.32 + 0.16 * b) * angle.cos(), 0.5 + (0.32 + 0.16 * b) * angle.sin()),
            "swaying": (0.5 + 0.45 * angle.sin(), (0.25 + 0.5 * y0).expand_as(t * a)),
        }
        paths = torch.stack([torch.stack(free[m], -1) for m in MOTIONS], 1)
        path = paths[torch.arange(len(paths)), self.words[:, 1]]
        return self.radius[:, None, None] + room[..., None] * path

    def render(self, size: int, seconds: Tensor) -> Tensor:
        """Draw the clips: [B, T, 3, size, size] in [0, 1], anti-aliased."""
        axis = (torch.arange(size) + 0.5) / size
        centre = self.positions(seconds)
        radius = self.radius[:, None, None, None]
        x = (axis[None, None, None, :] - centre[..., 0, None, None]) / radius
        y = (axis[None, None, :, None] - centre[..., 1, None, None]) / radius
        inside = torch.empty(*centre.shape[:2], size, size)
        for shape, name in enumerate(SHAPES):
            rows = (self.words[:, 0] == shape).nonzero()[:, 0]
            if len(rows):
                inside[rows] = signed_distance(name, x[rows], y[rows])
        alpha = (0.5 - inside * radius * size).clamp(0, 1)[:, :, None]
        colour = torch.tensor(list(COLOURS.values()))[self.words[:, 2]][:, None, :, None, None]
        background = torch.tensor(list(BACKGROUNDS.values()))[self.words[:, 3]][:, None, :, None, None]
        background = background * (1.25 - 0.5 * axis[:, None])
        return background + alpha * (colour - background)


def signed_distance(shape: str, x: Tensor, y: Tensor) -> Tensor:
    """Distance to the outline of a shape of half-size 1 at the origin, negative inside (y points down)."""
    if shape == "circle":
        return x.hypot(y) - 1
    if shape == "ring":
        return (x.hypot(y) - 0.76).abs() - 0.24
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.88
    if shape == "triangle":
        return torch.maximum(0.894 * x.abs() - 0.447 * y - 0.447, y - 0.85)
    # A five-pointed star: fold the plane into half a point, then measure against its one straight edge.
    angle = torch.atan2(x, -y)
    fold = (angle.remainder(2 * pi / 5) - pi / 5).abs()
    r = x.hypot(y)
    along, across = r * (pi / 5 - fold).cos(), r * (pi / 5 - fold).sin()
    tip, notch = (1.0, 0.0), (0.46 * torch.tensor(pi / 5).cos().item(), 0.46 * torch.tensor(pi / 5).sin().item())
    edge = (notch[0] - tip[0], notch[1] - tip[1])
    length = (edge[0] ** 2 + edge[1] ** 2) ** 0.5
    return ((along - tip[0]) * -edge[1] + across * edge[0]) / -length


def latent_seconds(frames: int) -> Tensor:
    """Times of the latent frames: latent k stands for pixel frame 4k."""
    return torch.arange(frames) * FRAMES_PER_LATENT / FPS
