"""`python -m tests.soak` in short."""

from contextlib import contextmanager

import numpy as np
import pytest

from tests.soak import parts


@pytest.mark.parametrize("name, count", [("usual", 40), ("cancels", 6), ("clients", 3)])
def test_of_one_server(name, count, host, server, monkeypatch):
    @contextmanager
    def place(host):
        yield server

    monkeypatch.setattr(parts, "place", place)
    assert parts.PARTS[name][0](host, count)["count"] >= count


@pytest.mark.parametrize("name, count", [("servers", 2), ("disks", 1), ("torn", 4), ("clocks", 4)])
def test_of_servers_and_disks(name, count, host):
    assert parts.PARTS[name][0](host, count)["count"] >= count


def test_a_slope_has_its_interval():
    chance = np.random.default_rng(0)
    noise = chance.normal(size=(200, 300))
    found = [parts.slope(1000 + 0.02 * np.arange(300) + each) for each in noise]
    assert np.mean([abs(steep - 0.02) <= within for steep, within in found]) == pytest.approx(0.95, abs=0.05)
    flat = {"slope": 0.03, "interval": 0.02, "files_slope": 0.0, "files_interval": 0.0}
    assert parts.require_flat(flat) is flat
    for more in ({"interval": 0.005}, {"files_slope": 0.01}):
        with pytest.raises(AssertionError, match="grow"):
            parts.require_flat(flat | more)
