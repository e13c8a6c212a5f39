"""The library, a server and its files under random input. `--long` runs ten times as many cases, `--case 5000` one."""

import sys
from pathlib import Path

PACK = Path(__file__).parents[2]
sys.path[:0] = [str(PACK), str(Path(__file__).parent)]


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="the large number of cases of each subject")
    parser.addoption("--case", type=int, help="this one alone; its number is its seed")


def pytest_configure(config):
    config.addinivalue_line("markers", "cases(few, many): how many cases are tried, and how many with --long")


def pytest_generate_tests(metafunc):
    marker = metafunc.definition.get_closest_marker("cases")
    if marker is not None:
        few, many = marker.args
        alone, long = (metafunc.config.getoption(name) for name in ("--case", "--long"))
        metafunc.parametrize("seed", range(many if long else few) if alone is None else [alone])
