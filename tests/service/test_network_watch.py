"""What the kernel tells about links, addresses and routes, in a network namespace of its own."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.service.network_watch import NetworkWatch
from tests.lab.namespaces import Namespace, Network

DEVICE = "to-right"
pytestmark = pytest.mark.requires("root", "netns")


@pytest.fixture
def site(network: Network) -> Namespace:
    left, right = network.namespace("left"), network.namespace("right")
    network.link(left, right, "192.0.2.1/24")
    return left


@pytest.fixture
async def told(site: Namespace) -> AsyncIterator[list[tuple[str, ...]]]:
    """What was told, the first one already there."""
    found: list[tuple[str, ...]] = []
    watch = NetworkWatch(found.append)
    with site.entered():
        watch.start()
        await until(found, 1)
        yield found
        await watch.stop()


async def until(found: list[tuple[str, ...]], count: int) -> None:
    async with asyncio.timeout(20):
        while len(found) < count:
            await asyncio.sleep(0.02)


async def test_addresses_are_told_at_the_start_and_after_each_change(
    site: Namespace, told: list[tuple[str, ...]]
) -> None:
    assert told == [("192.0.2.1",)]
    site.address(DEVICE, "2001:db8::1/64")
    await until(told, 2)
    assert told[1] == ("192.0.2.1", "2001:db8::1")
    site.ip("address", "del", "192.0.2.1/24", "dev", DEVICE)
    await until(told, 3)
    assert told[2] == ("2001:db8::1",)


async def test_many_changes_at_once_are_one(site: Namespace, told: list[tuple[str, ...]]) -> None:
    lines = [f"address add 192.0.2.{number}/24 dev {DEVICE}" for number in range(2, 30)]
    site.run("ip", "-batch", "-", stdin="\n".join(lines))
    await until(told, 2)
    await asyncio.sleep(1)
    assert [len(addresses) for addresses in told] == [1, 29]


async def test_routes_and_links_are_changes_but_not_those_of_other_tables(
    site: Namespace, told: list[tuple[str, ...]]
) -> None:
    site.route("198.51.100.0/24", "via", "192.0.2.9", "table", "7296")
    site.ip("link", "set", DEVICE, "alias", "to the world")
    await asyncio.sleep(1)
    assert len(told) == 1
    site.route("default", "via", "192.0.2.9")
    await until(told, 2)
    site.ip("link", "set", DEVICE, "down")
    await until(told, 3)
    assert told[1] == told[2] == ("192.0.2.1",)
