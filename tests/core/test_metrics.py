"""Metrics against values worked out by hand, and LPIPS with weights from a folder."""

import math
import sys
import types

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from scope_core.study.metrics import (
    LPIPS_BACKBONE,
    LPIPS_SOURCE,
    count_flops,
    drift,
    fidelity,
    latent_error,
    lpips,
    mean_psnr,
    psnr,
    ssim,
)
from tests.fake_cuda import CUDA, fake_cuda


def test_psnr_and_drift_of_a_constant_offset():
    a = torch.full((2, 3, 4, 16, 16), 0.5)
    b = a.clone()
    b[1, :, 2:] += 0.1
    assert torch.isinf(psnr(a, b)[0]).all() and torch.isinf(psnr(a, b)[1, :2]).all()
    assert torch.allclose(psnr(a, b)[1, 2:], torch.full((2,), 20.0), atol=1e-3)
    assert math.isclose(mean_psnr(a, b)[1].item(), 20 + 10 * math.log10(2), abs_tol=1e-3)
    assert torch.allclose(drift(a, b)[1], torch.tensor([0.0, 0.0, 0.1, 0.1]), atol=1e-6)


def test_ssim_is_one_for_equal_videos_and_falls_with_noise():
    generator = torch.Generator().manual_seed(0)
    video = torch.rand(1, 3, 2, 24, 24, generator=generator)
    noisy = (video + 0.2 * torch.randn(video.shape, generator=generator)).clamp(0, 1)
    assert torch.allclose(ssim(video, video).double(), torch.ones(1, 2).double())
    assert (ssim(video, noisy) < 0.95).all()


def test_ssim_of_frames_smaller_than_its_window_is_refused():
    assert fidelity(torch.ones(1, 3, 1, 11, 11), torch.ones(1, 3, 1, 11, 11))["ssim"]["mean"] == 1
    for height, width in ((1, 1), (10, 64), (64, 10)):
        with pytest.raises(ValueError, match=f"windows of 11x11 pixels, and these frames have {width}x{height}"):
            fidelity(torch.ones(1, 3, 1, height, width), torch.ones(1, 3, 1, height, width))


def test_flops_of_a_matrix_product():
    assert count_flops(lambda: torch.ones(4, 8) @ torch.ones(8, 16)) == 2 * 4 * 8 * 16


def test_flops_of_attention_are_counted_on_a_cpu_too():
    """With and without a mask, and where several queries share keys and values."""
    q, k, v = torch.ones(2, 6, 10, 8), torch.ones(2, 6, 20, 8), torch.ones(2, 6, 20, 8)
    mask = torch.ones(10, 20, dtype=torch.bool)
    for attend in (
        lambda: scaled_dot_product_attention(q, k, v),
        lambda: scaled_dot_product_attention(q, k, v, mask),
        lambda: scaled_dot_product_attention(q, k[:, :3], v[:, :3], enable_gqa=True),
    ):
        assert count_flops(attend) == 2 * 2 * 6 * 10 * 20 * (8 + 8)


@pytest.mark.parametrize("package", [None, types.ModuleType("lpips")])
def test_lpips_says_everything_that_is_missing_at_once(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, "lpips", package)
    measure, why = lpips(tmp_path)
    assert measure is None and f"{LPIPS_SOURCE} in the folder" in why and tmp_path.name in why
    assert ("pip install lpips" in why) == (package is None)


def test_lpips_looks_at_one_frame_at_a_time(tmp_path, monkeypatch):
    """With a stand-in of the package, whose layers get the weights of the folder."""
    seen = []

    class Distance(torch.nn.Module):
        def __init__(self, **_):
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 1, bias=False))

        def forward(self, a, b, normalize):
            seen.append(len(a))
            return self.net(a - b).mean((1, 2, 3), keepdim=True)

    package = types.ModuleType("lpips")
    package.LPIPS = Distance
    monkeypatch.setitem(sys.modules, "lpips", package)
    torch.save(
        {"features.0.weight": torch.full((1, 3, 1, 1), 2.0), "classifier": torch.ones(1)}, tmp_path / LPIPS_BACKBONE
    )
    measure, _ = lpips(tmp_path)
    video, reference = torch.zeros(2, 3, 5, 8, 8), torch.zeros(2, 3, 5, 8, 8)
    video[1, :, 4] = 0.5
    assert measure(video, reference).tolist() == [[0.0] * 5, [0.0] * 4 + [3.0]] and seen == [2] * 5


def test_fidelity_names_the_worst_frame_and_knows_equal_ones():
    reference = torch.rand(1, 3, 4, 16, 16)
    video = reference.clone()
    video[:, :, 2] = (video[:, :, 2] + 0.1).clamp(0, 1)
    found = fidelity(video, reference)
    assert set(found) == {"psnr", "ssim", "difference"} and all(entry["worst_frame"] == 2 for entry in found.values())
    assert found["psnr"]["per_frame"][0] is None
    assert found["psnr"]["worst"] == pytest.approx(float(psnr(video, reference)[0, 2]), rel=1e-3)
    assert found["psnr"]["mean"] == pytest.approx(found["psnr"]["worst"] + 10 * math.log10(4), rel=1e-3)
    assert fidelity(reference, reference)["psnr"]["mean"] is None
    assert fidelity(reference, reference)["ssim"]["mean"] == 1
    assert fidelity(video, reference, lambda a, b: torch.full((1, 4), 0.25))["lpips"]["mean"] == 0.25


def test_latent_error_is_relative():
    reference = torch.randn(1, 4, 3, 8, 8)
    assert latent_error(1.1 * reference, reference) == pytest.approx(0.1, rel=1e-4)
    assert latent_error(reference, reference) == 0


def test_latents_on_two_devices_are_compared():
    latent = torch.ones(1, 16, 2, 4, 4)
    assert latent_error(latent, 2 * latent) == 0.5
    with fake_cuda():
        for pair in ((latent.to(CUDA), latent), (latent, latent.to(CUDA))):
            assert isinstance(latent_error(*pair), float)
