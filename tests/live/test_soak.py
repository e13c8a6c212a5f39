"""`python -m tests.soak` in short."""

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest

from tests.soak import parts


@pytest.fixture
def standing(server, output, user, monkeypatch):
    """The parts use the server of the tests where they would start one like it."""
    start = parts.serving

    @contextmanager
    def serving(host, place, user, *arguments):
        with nullcontext(server) if place == output and not arguments else start(host, place, user, *arguments) as one:
            yield one

    monkeypatch.setattr(parts, "folders", lambda: nullcontext((output, user)))
    monkeypatch.setattr(parts, "serving", serving)


COUNTS = {"cancels": 6, "clients": 3, "servers": 2, "disks": 1, "torn": 4, "clocks": 4}


@pytest.mark.usefixtures("standing")
@pytest.mark.parametrize("name, count", COUNTS.items())
def test_of_a_server_and_its_folders(name, count, host):
    assert parts.PARTS[name][0](host, count)["count"] >= count


def test_of_memory(host):
    """Memory that is taken once looks like a slope over so few runs; a leak is there on the next server too."""
    try:
        figures = parts.usual(host, 20)
    except AssertionError:
        figures = parts.usual(host, 20)
    assert figures["count"] == 20


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
