"""Floods of a gateway process on loopback: every honest peer gets its tunnel, and memory stays as it is.

The ten minutes' version, which judges memory much more strictly, is `make floods`.
"""

import asyncio
from collections.abc import Iterator

import pytest

from benchmarks.floods import KINDS, Target, flood, target

RATE, SECONDS = 4000, 1.0
GROWTH = 4 * 2**20
"""The books about sources, calls and attempts begin to fill up here; `make floods` fills them before it looks."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Target]:
    with target() as one:
        yield one


@pytest.mark.parametrize("kind", KINDS)
def test_honest_peers_get_in_through_a_flood(gateway: Target, kind: str) -> None:
    outcome = asyncio.run(flood(gateway, kind, RATE, SECONDS))
    assert outcome.failed == []
    assert len(outcome.took) > 3
    assert outcome.sent > 1000
    assert outcome.memory[1] - outcome.memory[0] < GROWTH
    assert outcome.sas < 200
    assert sum(outcome.counters.values()) > 100, "the flood did not arrive"


def test_after_the_floods_all_is_as_before(gateway: Target) -> None:
    outcome = asyncio.run(flood(gateway, None, 0, SECONDS))
    assert outcome.failed == []
    assert outcome.memory[1] - outcome.memory[0] < GROWTH / 4
