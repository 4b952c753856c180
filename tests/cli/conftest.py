"""Gateways that the command is tried on."""

from collections.abc import Iterator

import pytest

from tests.cli.served import Served, document


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Served]]:
    """moon and sun, configured for a tunnel between them that nobody has begun."""
    with Served(tmp_path_factory.mktemp("moon")) as moon, Served(tmp_path_factory.mktemp("sun")) as sun:
        for here, there, names in ((moon, sun, ("moon", "sun")), (sun, moon, ("sun", "moon"))):
            assert here.apply(document(*names, there.nat_port)).exit_code == 0
        yield moon, sun


@pytest.fixture
def moon(pair: tuple[Served, Served]) -> Iterator[Served]:
    """moon, with its tunnel down at the beginning and at the end."""
    pair[0].ask("down", "sun")
    yield pair[0]
    pair[0].ask("down", "sun")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    """A gateway without peers, and the document that it began with."""
    with Served(tmp_path_factory.mktemp("lone")) as gateway:
        yield gateway, gateway.ask("export").stdout


@pytest.fixture
def lone(alone: tuple[Served, str]) -> Served:
    """A gateway on which nothing is configured."""
    gateway, seed = alone
    assert gateway.ask("apply", "-f", "-", "--prune", stdin=seed).exit_code == 0
    return gateway
