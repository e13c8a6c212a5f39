"""Fidelity to a reference video, and floating-point operations.

PSNR, SSIM and LPIPS measure how close a video stays to another one; a video that differs is not always worse.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

LPIPS_BACKBONE = "alexnet-owt-7be5be79.pth"
LPIPS_SOURCE = f"https://download.pytorch.org/models/{LPIPS_BACKBONE}"
SSIM_WINDOW = 11
"""Pixels across."""
METRICS = {
    "psnr": {"label": "PSNR", "unit": "dB", "better": "higher"},
    "ssim": {"label": "SSIM", "unit": "", "better": "higher"},
    "lpips": {"label": "LPIPS", "unit": "", "better": "lower"},
    "difference": {"label": "Mean difference", "unit": "of 255 levels", "better": "lower"},
    "latent_error": {"label": "Latent error", "unit": "relative", "better": "lower"},
}
"""How to read each figure."""

Lpips = Callable[[Tensor, Tensor], Tensor]


def squared_error(video: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error of every frame, [B, T], of videos [B, C, T, H, W]; one frame at a time, since videos are
    large."""
    return torch.stack(
        [(a - b).square().mean(dim=(1, 2, 3)) for a, b in zip(video.unbind(2), reference.unbind(2))], dim=1
    )


def psnr(video: Tensor, reference: Tensor) -> Tensor:
    """PSNR in dB of every frame, [B, T], of videos [B, C, T, H, W] in [0, 1]; infinite where they are equal."""
    return -10 * squared_error(video, reference).log10()


def mean_psnr(video: Tensor, reference: Tensor) -> Tensor:
    """PSNR in dB over all pixels of each video, [B]."""
    return -10 * squared_error(video, reference).mean(1).log10()


def ssim(video: Tensor, reference: Tensor) -> Tensor:
    """SSIM of every frame, [B, T], with the Gaussian window of Wang et al. 2004. Needs scikit-image. Raises ValueError
    for frames smaller than the window."""
    from skimage.metrics import structural_similarity

    height, width = video.shape[-2:]
    if min(height, width) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM compares windows of {SSIM_WINDOW}x{SSIM_WINDOW} pixels, and these frames have {width}x{height}; give"
            " frames of at least that size"
        )

    def measure(pair: tuple[Tensor, Tensor]) -> float:
        a, b = (frame.numpy() for frame in pair)
        return structural_similarity(
            a, b, channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )

    pairs = zip(video.transpose(1, 2).flatten(0, 1), reference.transpose(1, 2).flatten(0, 1))
    with ThreadPoolExecutor() as pool:
        values = list(pool.map(measure, pairs))
    return torch.tensor(np.array(values)).view(video.shape[0], video.shape[2])


def drift(video: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference of every frame, [B, T]: in an autoregressive video errors of early chunks grow into
    later ones."""
    return torch.stack([(a - b).abs().mean(dim=(1, 2, 3)) for a, b in zip(video.unbind(2), reference.unbind(2))], dim=1)


def lpips(backbones: Path) -> tuple[Lpips | None, str]:
    """LPIPS of every frame as a function of two videos, or None and why it is not available. One frame at a time, whose
    features are several times as large.

    Needs the lpips package and AlexNet's weights in the folder `backbones`; nothing is downloaded.
    """
    try:
        import lpips as package
    except ImportError:
        package = None
    lacking = [] if package else ["install the package with ComfyUI's Python (python -m pip install lpips)"]
    if not (backbones / LPIPS_BACKBONE).exists():
        lacking += [f"save {LPIPS_SOURCE} in the folder {Path(*backbones.parts[-2:])}"]
    if lacking:
        return None, f"LPIPS is not measured, the other figures are. To have it, {' and '.join(lacking)}, then restart."
    net = package.LPIPS(net="alex", pnet_rand=True, verbose=False)
    features = torch.load(backbones / LPIPS_BACKBONE, weights_only=True)
    layers = [parameter for part in net.net.children() for parameter in part.parameters()]
    for parameter, value in zip(
        layers, (value for key, value in features.items() if key.startswith("features.")), strict=True
    ):
        parameter.data.copy_(value)

    @torch.inference_mode()
    def measure(video: Tensor, reference: Tensor) -> Tensor:
        frames = zip(video.unbind(2), reference.unbind(2))
        return torch.stack([net(a, b, normalize=True).flatten() for a, b in frames], dim=1)

    return measure, ""


def fidelity(video: Tensor, reference: Tensor, perceptual: Lpips | None = None) -> dict[str, dict[str, Any]]:
    """Every figure that can be measured between two videos [1, 3, T, H, W] in [0, 1], by name: METRICS' entry with its
    value in each frame (None where the frames are equal and the figure is infinite), the mean and the worst frame.

    The mean of PSNR is that of the whole video, which is not the mean over frames.
    """
    curves = {
        "psnr": psnr(video, reference),
        "ssim": ssim(video, reference),
        "difference": 255 * drift(video, reference),
    }
    if perceptual is not None:
        curves["lpips"] = perceptual(video, reference)
    found = {}
    for name in METRICS.keys() & curves:
        curve = curves[name][0].double()
        worst = int(curve.argmin() if METRICS[name]["better"] == "higher" else curve.argmax())
        mean = mean_psnr(video, reference)[0] if name == "psnr" else curve.mean()
        found[name] = {
            **METRICS[name],
            "per_frame": [finite(v) for v in curve.tolist()],
            "mean": finite(float(mean)),
            "worst": finite(curve[worst].item()),
            "worst_frame": worst,
        }
    return {name: found[name] for name in METRICS if name in found}


def finite(value: float) -> float | None:
    """JSON knows no infinity."""
    return round(value, 5) if np.isfinite(value) else None


def latent_error(latent: Tensor, reference: Tensor) -> float:
    """Relative error |x - x'| / |x'| of latents, without any decoder."""
    return float(torch.linalg.vector_norm(latent.to(reference) - reference) / torch.linalg.vector_norm(reference))


def of_attention(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: Any, **__: Any) -> int:
    """Floating-point operations of both products, for tensors of these shapes."""
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def flop_counter() -> FlopCounterMode:
    """Torch's own counter of floating-point operations, which leaves out attention on a CPU unless it is told."""
    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={on_cpu: of_attention})


def count_flops(run: Callable[[], object]) -> int:
    """Floating-point operations of a call."""
    with flop_counter() as counter:
        run()
    return int(counter.get_total_flops())
