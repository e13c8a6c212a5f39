"""A small world of captioned clips, rendered on the fly: one or two shapes move over a shaded background, whose pattern
drifts.

Every word of a caption decides something visible, so a generated video can be checked against its prompt.
"""

from dataclasses import dataclass
from functools import cache
from math import cos, pi, sin

import torch
from torch import Tensor
from torch.nn import functional as F

from ..words import BACKGROUNDS, COLOURS, FPS, FRAMES_PER_LATENT, MOTIONS, OF_OBJECTS, PATTERNS, SECOND, SHAPES, WORDS

ALONE = 0.4
"""Share of clips with one object."""
RELIEF = 0.15
"""How much brighter the light parts of a pattern are than the background's colour."""
PERIOD = 0.25
"""Of a pattern, as a fraction of the frame."""
EDGE = 1.2
"""Half the side of the square on which `outlines` tells distances, in half-sizes of the shape."""


@dataclass
class Clips:
    """A batch of clips as scene parameters: what is shown, where it is at any time. The second object is smaller and in
    front."""

    objects: Tensor
    """[B, 2, 3] long: shape, motion and colour of both objects, -1 where there is no second one."""
    background: Tensor
    """[B, 2] long: colour and pattern, -1 where it is plain."""
    radius: Tensor
    """[B, 2] half the size of the shapes, as a fraction of the frame."""
    start: Tensor
    """[B, 2, 2] in [0, 1]: position within the free room, x then y."""
    motion: Tensor
    """[B, 2, 4] in [0, 1]: speeds and phases, which each motion reads in its own way."""
    drift: Tensor
    """[B, 3] in [0, 1]: place and speed of the pattern."""

    @classmethod
    def sample(cls, n: int, generator: torch.Generator) -> "Clips":
        """On the generator's device."""
        device = generator.device

        def integers(end: int, *shape: int) -> Tensor:
            return torch.randint(end, shape, generator=generator, device=device)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=device)

        objects = torch.stack([integers(len(v), n, 2) for v in (SHAPES, MOTIONS, COLOURS)], 2)
        objects[:, 1, 2] = (objects[:, 0, 2] + 1 + integers(len(COLOURS) - 1, n)) % len(COLOURS)
        objects[:, 1].masked_fill_(uniform(n, 1) < ALONE, -1)
        background = torch.stack([integers(len(BACKGROUNDS), n), integers(len(PATTERNS) + 1, n) - 1], 1)
        radius = torch.tensor([0.20, 0.10], device=device) + torch.tensor([0.08, 0.025], device=device) * uniform(n, 2)
        return cls(objects, background, radius, uniform(n, 2, 2), uniform(n, 2, 4), uniform(n, 3))

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, rows: slice | Tensor) -> "Clips":
        return Clips(*(part[rows] for part in vars(self).values()))

    @property
    def two(self) -> Tensor:
        """[B] bool: which have a second object."""
        return self.objects[:, 1, 0] >= 0

    def caption(self, i: int) -> str:
        told = []
        for shape, motion, colour in self.objects[i].tolist()[: 1 + int(self.two[i])]:
            name = f"letter {SHAPES[shape].upper()}" if len(SHAPES[shape]) == 1 else SHAPES[shape]
            told.append(f"a {list(COLOURS)[colour]} {name} {MOTIONS[motion]}")
        colour, pattern = self.background[i].tolist()
        kind = f"{PATTERNS[pattern]} " if pattern >= 0 else ""
        return f" {SECOND} ".join(told) + f" on a {kind}{list(BACKGROUNDS)[colour]} background"

    def tokens(self) -> Tensor:
        """[B, TOKENS] token ids of the captions, in an order of their own."""

        def first(*words: str) -> Tensor:
            return torch.tensor([WORDS.index(word) + 1 for word in words], device=self.objects.device)

        of_object = first(SHAPES[0], MOTIONS[0], next(iter(COLOURS)))
        offsets = torch.stack([of_object, of_object + WORDS.index(f"{SECOND} {OF_OBJECTS[0]}")])
        objects = (self.objects + offsets).masked_fill(self.objects < 0, 0)
        background = self.background + first(next(iter(BACKGROUNDS)), PATTERNS[0])
        return torch.cat([objects.flatten(1), background.masked_fill(self.background < 0, 0)], 1)

    def positions(self, seconds: Tensor) -> Tensor:
        """Centres of the shapes at each time: [B, 2, T, 2] in frame units, for `seconds` [T]."""
        t = seconds
        a, b, c, d = self.motion[..., None].unbind(2)
        x0, y0 = self.start[..., None].unbind(2)

        def reflect(u: Tensor) -> Tensor:
            return 1 - (u.remainder(2) - 1).abs()

        sign = torch.where(d < 0.5, -1.0, 1.0)
        angle = 2 * pi * (c + 0.45 * (0.7 + 0.6 * a) * sign * t)
        free = {
            "bouncing": (reflect(x0 + sign * (0.45 + 0.30 * a) * t), reflect(y0 + (0.30 + 0.40 * b) * t)),
            "hopping": (
                reflect(x0 + sign * (0.15 + 0.20 * a) * t),
                1 - (0.5 + 0.4 * b) * (pi * (c + (0.8 + 0.3 * a) * t)).sin().abs(),
            ),
            "orbiting": (0.5 + (0.32 + 0.16 * b) * angle.cos(), 0.5 + (0.32 + 0.16 * b) * angle.sin()),
            "swaying": (0.5 + 0.45 * angle.sin(), (0.25 + 0.5 * y0).expand_as(angle)),
        }
        paths = torch.stack([torch.stack(free[m], -1) for m in MOTIONS], 2)
        which = self.objects[:, :, 1].clamp(min=0)[:, :, None, None, None]
        path = paths.take_along_dim(which, 2)[:, :, 0]
        radius = self.radius[:, :, None, None]
        return radius + (1 - 2 * radius) * path

    def tones(self, size: int) -> Tensor:
        """The background's colour, the darker of its pattern's two, in each row of a picture: [B, 3, size, 1]."""
        colours = torch.tensor(list(BACKGROUNDS.values()), device=self.background.device)
        shade = 1.25 - 0.5 * axis(size, self.background.device)
        return colours[self.background[:, 0]][:, :, None, None] * shade[:, None]

    def pattern(self, size: int, seconds: Tensor) -> Tensor:
        """How much of RELIEF is added at each place: [B, T, size, size] in [0, 1]."""
        x0, y0, speed = self.drift[:, :, None, None, None].unbind(1)
        moved = (0.10 + 0.10 * speed) * seconds[:, None, None]
        u, v = (
            place - moved * direction
            for place, direction in zip(
                (axis(size, x0.device)[None, :] + x0, axis(size, x0.device)[:, None] + y0),
                torch.tensor([[0.0, 1.0, 0.6], [1.0, 0.0, -0.6]], device=x0.device)[:, self.background[:, 1]][
                    :, :, None, None, None
                ],
            )
        )
        u, v = 2 * pi * u / PERIOD, 2 * pi * v / PERIOD
        waves = torch.stack(
            [v.sin().expand(-1, -1, size, size), (u / 2).sin() * (v / 2).sin() * 2, u.cos() + v.cos() - 0.8], 1
        )
        wave = waves.take_along_dim(self.background[:, 1].clamp(min=0)[:, None, None, None, None], 1)[:, 0]
        sharp = 0.5 + wave * size * PERIOD / (2 * pi)
        return sharp.clamp(0, 1) * (self.background[:, 1] >= 0)[:, None, None, None]

    def render(self, size: int, seconds: Tensor) -> Tensor:
        """Draw the clips: [B, T, 3, size, size] in [0, 1], anti-aliased."""
        device = self.objects.device
        seconds = seconds.to(device)
        place = axis(size, device)
        centres, palette = self.positions(seconds), torch.tensor(list(COLOURS.values()), device=device)
        picture = self.tones(size)[:, None] + RELIEF * self.pattern(size, seconds)[:, :, None]
        for i, there in enumerate((torch.ones_like(self.two), self.two)):
            shape, _, colour = self.objects[:, i].clamp(min=0).unbind(1)
            scale = self.radius[:, i, None, None]
            x, y = ((place - centre[..., None]) / (EDGE * scale) for centre in centres[:, i].unbind(-1))
            grid = torch.stack(
                [x[:, :, None, :].expand(-1, -1, size, -1), y[:, :, :, None].expand(-1, -1, -1, size)], -1
            )
            inside = F.grid_sample(
                outlines(device)[shape][:, None], grid.flatten(1, 2), padding_mode="border", align_corners=True
            )
            inside = inside[:, 0].unflatten(1, (-1, size))
            alpha = (0.5 - inside * scale[..., None] * size).clamp(0, 1) * there[:, None, None, None]
            picture = picture + alpha[:, :, None] * (palette[colour][:, None, :, None, None] - picture)
        return picture


def axis(size: int, device: torch.device) -> Tensor:
    """Places of the pixels' centres [size] as fractions of the frame."""
    return (torch.arange(size, device=device) + 0.5) / size


@cache
def outlines(device: torch.device, size: int = 145) -> Tensor:
    """Distances to the outlines of all shapes on a square of EDGE half-sizes around them: [shapes, size, size]."""
    places = torch.linspace(-EDGE, EDGE, size)
    x, y = places[None, :].expand(size, size), places[:, None].expand(size, size)
    return torch.stack([signed_distance(shape, x, y) for shape in SHAPES]).to(device)


def signed_distance(shape: str, x: Tensor, y: Tensor) -> Tensor:
    """Distance to the outline of a shape of half-size 1 at the origin, negative inside (y points down)."""

    def bar(left: float, top: float, right: float, bottom: float) -> Tensor:
        return torch.maximum(
            (x - (left + right) / 2).abs() - (right - left) / 2, (y - (top + bottom) / 2).abs() - (bottom - top) / 2
        )

    match shape:
        case "circle":
            return x.hypot(y) - 1
        case "ring":
            return (x.hypot(y) - 0.76).abs() - 0.24
        case "square":
            return torch.maximum(x.abs(), y.abs()) - 0.88
        case "triangle":
            return torch.maximum(0.894 * x.abs() - 0.447 * y - 0.447, y - 0.85)
        case "e":
            bars = [bar(-0.7, top, 0.7, top + 0.4) for top in (-0.95, -0.2, 0.55)]
            return torch.stack([bar(-0.7, -0.95, -0.25, 0.95), *bars]).amin(0)
        case "t":
            return torch.minimum(bar(-0.8, -0.95, 0.8, -0.45), bar(-0.26, -0.95, 0.26, 0.95))
        case "x":
            across = torch.minimum((x + y).abs(), (x - y).abs()) * 0.5**0.5 - 0.25
            return torch.maximum(across, torch.maximum(x.abs(), y.abs()) - 0.88)
    # A five-pointed star: fold the plane into half a point, then measure against its one straight edge.
    angle = torch.atan2(x, -y)
    fold = (angle.remainder(2 * pi / 5) - pi / 5).abs()
    r = x.hypot(y)
    along, across = r * (pi / 5 - fold).cos(), r * (pi / 5 - fold).sin()
    tip, notch = (1.0, 0.0), (0.46 * cos(pi / 5), 0.46 * sin(pi / 5))
    edge = (notch[0] - tip[0], notch[1] - tip[1])
    length = (edge[0] ** 2 + edge[1] ** 2) ** 0.5
    return ((along - tip[0]) * -edge[1] + across * edge[0]) / -length


def latent_seconds(frames: int) -> Tensor:
    """Times of the latent frames: latent k stands for pixel frame 4k."""
    return torch.arange(frames) * FRAMES_PER_LATENT / FPS
