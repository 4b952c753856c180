"""Packet paths to try things on."""

import socket
from collections.abc import Iterator

import pytest

from tests.dataplane.userspace_paths import Ends, joined


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["outer-v4", "outer-v6"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    try:
        with joined(request.param) as made:
            yield made
    except OSError as error:
        if error.errno == 99:  # EADDRNOTAVAIL
            pytest.skip("no IPv6 on the loopback device")
        raise


@pytest.fixture
def plain() -> Iterator[Ends]:
    with joined(socket.AF_INET) as made:
        yield made
