"""The demo model's autoencoder, shaped like the Wan VAE: 16 channels, 16x smaller in space, 4x in time.

The encoder looks at every fourth frame, at half size. The decoder is a small causal network that paints latent frame k
at full size together with the three pixel frames before it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = 16
SPACE = 16
TIME = 4


class ResBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class Upsample(nn.Sequential):
    def __init__(self, width_in: int, width_out: int):
        super().__init__(nn.Upsample(scale_factor=2), nn.Conv2d(width_in, width_out, 3, padding=1))


class Encoder(nn.Module):
    """Pictures at half size, [B, 3, 8h, 8w], to latents [B, 16, h, w]: a linear map of 8x8 blocks and what a small
    network adds to it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Conv2d(3, CHANNELS, 8, stride=8)
        self.network = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, 32, 3, padding=1),
            ResBlock(32),
            nn.Conv2d(32, 64, 4, stride=2, padding=1),
            ResBlock(64),
            nn.Conv2d(64, 128, 4, stride=2, padding=1),
            ResBlock(128),
            ResBlock(128),
            nn.SiLU(),
            nn.Conv2d(128, CHANNELS, 1),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        return self.linear(pictures) + self.network(pictures)


class DemoVAE(nn.Module):
    """Video in [-1, 1], [B, 3, 1 + 4(F-1), 16h, 16w], to and from latents [B, 16, F, h, w] of unit scale."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = nn.Sequential(
            nn.Conv2d(2 * CHANNELS, 160, 3, padding=1),
            ResBlock(160),
            ResBlock(160),
            Upsample(160, 112),
            ResBlock(112),
            Upsample(112, 64),
            ResBlock(64),
            Upsample(64, 40),
            ResBlock(40),
            nn.SiLU(),
            nn.Conv2d(40, TIME * 3 * 4, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def encode(self, video: Tensor) -> Tensor:
        frames = video[:, :, ::TIME]
        images = frames.transpose(1, 2).flatten(0, 1)
        latents = self.encoder(F.avg_pool2d(images, 2))
        return latents.unflatten(0, (frames.shape[0], -1)).transpose(1, 2)

    def decode(self, latents: Tensor) -> Tensor:
        previous = torch.cat([latents[:, :, :1], latents[:, :, :-1]], dim=2)
        pairs = torch.cat([previous, latents], dim=1).transpose(1, 2).flatten(0, 1)
        frames = self.decoder(pairs).unflatten(1, (TIME, 3))
        video = frames.unflatten(0, (latents.shape[0], -1)).flatten(1, 2).transpose(1, 2)
        return video[:, :, TIME - 1 :]
