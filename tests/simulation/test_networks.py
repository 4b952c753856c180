"""Many small bad networks, each from its seed; `make soak SEEDS=0:1000000` explores any number on all processors."""

import os

import pytest

from tests.simulation.exploration import failing

NETWORKS = int(os.environ.get("NETWORKS", "2000"))
CHUNK = 100


@pytest.mark.parametrize("first", range(0, NETWORKS, CHUNK))
def test_every_network_ends_well(first: int) -> None:
    problems = failing(range(first, min(first + CHUNK, NETWORKS)))
    assert not problems, "\n".join(problems[:3])
