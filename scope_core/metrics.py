"""Fidelity to a reference video, and floating-point operations.

PSNR, SSIM and LPIPS measure how close a video stays to another one; a video that differs is not always worse.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

LPIPS_BACKBONE = "alexnet-owt-7be5be79.pth"


def psnr(video: Tensor, reference: Tensor) -> Tensor:
    """PSNR in dB of every frame, [B, T], of videos [B, C, T, H, W] in [0, 1]; infinite where they are equal."""
    return -10 * (video - reference).square().mean(dim=(1, 3, 4)).log10()


def mean_psnr(video: Tensor, reference: Tensor) -> Tensor:
    """PSNR in dB over all pixels of each video, [B]."""
    return -10 * (video - reference).square().mean(dim=(1, 2, 3, 4)).log10()


def ssim(video: Tensor, reference: Tensor) -> Tensor:
    """SSIM of every frame, [B, T], with the Gaussian window of Wang et al. 2004. Needs scikit-image."""
    from skimage.metrics import structural_similarity

    pairs = zip(video.transpose(1, 2).flatten(0, 1).numpy(), reference.transpose(1, 2).flatten(0, 1).numpy())
    values = [structural_similarity(a, b, channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
              for a, b in pairs]
    return torch.tensor(np.array(values)).view(video.shape[0], video.shape[2])


def drift(video: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference of every frame, [B, T]: in an autoregressive video errors of early chunks grow into later ones."""
    return (video - reference).abs().mean(dim=(1, 3, 4))


def lpips(backbones: Path) -> tuple[Callable[[Tensor, Tensor], Tensor] | None, str]:
    """LPIPS of every frame as a function of two videos, or None and why it is not available.

    Needs the lpips package and AlexNet's weights in the folder `backbones`; nothing is downloaded.
    """
    try:
        import lpips as package
    except ImportError:
        return None, "LPIPS is not available: pip install lpips"
    if not (backbones / LPIPS_BACKBONE).exists():
        return None, f"LPIPS is not available: put {LPIPS_BACKBONE} (torchvision's AlexNet) into {backbones}"
    net = package.LPIPS(net="alex", pnet_rand=True, verbose=False)
    features = torch.load(backbones / LPIPS_BACKBONE, weights_only=True)
    layers = [parameter for part in net.net.children() for parameter in part.parameters()]
    for parameter, value in zip(layers, (value for key, value in features.items() if key.startswith("features.")), strict=True):
        parameter.data.copy_(value)

    @torch.inference_mode()
    def measure(video: Tensor, reference: Tensor) -> Tensor:
        a, b = (v.transpose(1, 2).flatten(0, 1) for v in (video, reference))
        return net(a, b, normalize=True).view(video.shape[0], video.shape[2])

    return measure, ""


def count_flops(run: Callable[[], object]) -> int:
    """Floating-point operations of a call, by torch's own counter."""
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    return counter.get_total_flops()
