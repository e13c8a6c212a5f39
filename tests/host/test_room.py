"""A device of the host that is full: smaller tiles, and keys and values within what is free."""

import logging

import comfy.model_management
import pytest
import torch
from scope_pack.nodes.comfy import room
from scope_pack.nodes.comfy.skyreels import PixelBridge

GB = 1e9


class TightVae:
    """A VAE with room for tiles of so many pixels."""

    def __init__(self, most):
        self.most, self.tried = most, []

    def spacial_compression_decode(self):
        return 8

    def way(self, pixels, overlap, made):
        self.tried.append((pixels, overlap))
        if pixels > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return made

    def decode(self, latents):
        return self.way(544, 0, torch.ones(1, 17, 16, 16, 3))

    def decode_tiled(self, latents, tile_x, tile_y, overlap):
        assert tile_x == tile_y
        return self.way(8 * tile_x, 8 * overlap, torch.ones(1, 17, 16, 16, 3))

    def encode(self, images):
        return self.way(544, 0, torch.zeros(1, 16, 5, 2, 2))

    def encode_tiled(self, images, tile_x, tile_y, overlap):
        assert tile_x == tile_y
        return self.way(tile_x, overlap, torch.zeros(1, 16, 5, 2, 2))


@pytest.mark.parametrize(
    "most, tried", [(600, [(544, 0)]), (300, [(544, 0), (128, 32)]), (64, [(544, 0), (128, 32), (64, 16)])]
)
def test_a_vae_goes_on_in_smaller_tiles_and_says_so_once(most, tried, caplog):
    for work in (room.decode, room.encode):
        vae, told = TightVae(most), []
        work(vae, torch.zeros(1, 16, 5, 2, 2), told.append)
        assert vae.tried == tried and told == [room.SMALLER] * (len(tried) > 1)
    with caplog.at_level(logging.WARNING):
        room.decode(TightVae(most), torch.zeros(1, 16, 5, 2, 2))
    assert [record.message for record in caplog.records] == [f"SCOPE: {room.SMALLER}"] * (len(tried) > 1)


def test_what_does_not_fit_at_all_is_the_host_s_error_and_others_are_not_touched():
    with pytest.raises(torch.OutOfMemoryError):
        room.decode(TightVae(32), torch.zeros(1, 16, 5, 2, 2))
    vae = TightVae(600)
    vae.decode = lambda latents: 1 / 0
    with pytest.raises(ZeroDivisionError):
        room.decode(vae, torch.zeros(1, 16, 5, 2, 2))


def test_the_bridge_between_segments_tells_its_run():
    told = []
    bridge = PixelBridge(TightVae(128), 5, told.append)
    assert bridge(torch.zeros(1, 16, 5, 2, 2)).shape == (1, 16, 5, 2, 2)
    assert set(told) == {room.SMALLER}


class Model:
    """A MODEL that has been loaded, on a device with so much free memory."""

    load_device = torch.device("cpu")

    def __init__(self, free):
        self.free = free

    def get_free_memory(self, device):
        return self.free


@pytest.mark.parametrize(
    "reserved, free, expected",
    [
        (0.0, 23.0, 0.6 * 24.0),
        (8.0, 23.0, 0.6 * (24.0 - 8.0)),
        (0.0, 9.0, 9.0 - 0.8589934592),
        (4.0, 9.0, 9.0 - 4.0 - 0.8589934592),
        (0.0, 0.5, 0.0),
    ],
    ids=["a share", "--reserve-vram 8", "what is free", "free and reserved", "nothing"],
)
def test_keys_and_values_take_what_the_host_leaves(monkeypatch, reserved, free, expected):
    monkeypatch.setattr(comfy.model_management, "get_total_memory", lambda device: 24 * GB)
    monkeypatch.setattr(comfy.model_management, "EXTRA_RESERVED_VRAM", reserved * GB)
    assert room.for_keys_and_values(Model(free * GB)) == pytest.approx(expected * GB)
