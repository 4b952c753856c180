"""What another program takes away around the tunnels: interfaces, addresses, tables of nftables. It comes back."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.dataplane.kernel_blocklist import Blocklist
from gateway.ike.plane import AddAddress, AddInterface, AddRoute, Interface, RemoveAddress, Route
from gateway.ike.plane_protocol import Mended
from gateway.policy.selectors import Selector
from tests.kernel.conftest import Child, Site
from tests.kernel.test_interfaces import links
from tests.kernel.test_mss import announced
from tests.kernel.test_restart import DOCUMENT
from tests.lab.appliance import Appliance, until
from tests.lab.in_kernel import in_kernel
from tests.lab.namespaces import Namespace, Network, two_sites

pytestmark = [in_kernel, pytest.mark.requires("root", "netns", "esp", "ping")]

EVERYTHING = ("0.0.0.0/0", "0.0.0.0/0")


@pytest.mark.requires("xfrm-interface")
def test_an_interface_that_is_deleted_or_taken_down_is_back_with_its_routes(sites: tuple[Site, Site]) -> None:
    also: dict[str, Any] = {"interface_id": 7}
    child = Child(sites, selectors=EVERYTHING, reqid=7, state_also=also, policy_also=also)
    child.allocate()
    for end, site in enumerate(sites):
        nets = Selector.parse("10.1.0.0/24"), Selector.parse("10.2.0.0/24")
        route = Route(nets[1 - end], (nets[end],), sites[1 - end].outer(4), "ipsec7")
        site.plane.apply([AddInterface(Interface("ipsec7", 7)), *child.orders(end)[:-1], AddRoute(route)])
    assert child.pings()
    left = sites[0]
    assert left.plane.mend() == Mended()
    for words in (("delete", "ipsec7"), ("set", "ipsec7", "down")):
        left.ns.ip("link", *words)
        assert not left.ns.ping("10.2.0.1", source="10.1.0.1", wait=0.3)
        assert left.plane.mend() == Mended(routes=1, interfaces=1)
        assert child.pings()
        assert left.plane.mend() == Mended()
    assert "alias ikegate" in links(left)["ipsec7"]
    left.plane.close()
    assert links(left) == {}


def test_a_virtual_address_that_is_deleted_is_set_again(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    addresses = ("10.66.0.1", "fd66::1")
    left.plane.apply([AddAddress(address) for address in addresses])
    assert left.plane.mend() == Mended()
    left.ns.ip("address", "delete", "10.66.0.1/32", "dev", "lo")
    left.ns.ip("address", "delete", "fd66::1/128", "dev", "lo")
    assert left.plane.mend() == Mended(addresses=2)
    shown = left.ns.ip("address", "show", "dev", "lo")
    assert all(address in shown for address in addresses)
    left.plane.apply([RemoveAddress(address) for address in addresses])
    shown = left.ns.ip("address", "show", "dev", "lo")
    assert not any(address in shown for address in addresses)
    assert left.plane.mend() == Mended()


def look(site: Site) -> bool:
    """What the next look tells of this one."""
    site.plane.look()
    site.plane._mss.settle()
    return site.plane.look()


@pytest.mark.parametrize(
    "words", ["flush ruleset", "delete table inet ikegate_mss_7296", "flush table inet ikegate_mss_7296"]
)
def test_the_clamp_of_segments_is_laid_again(sites: tuple[Site, Site], words: str) -> None:
    Child(sites, state_also={"mss": 1000}).install()
    left, right = sites
    for site in sites:
        site.plane._mss.settle()
        assert not look(site)
    for site in sites:
        site.ns.run("nft", *words.split())
    assert max(announced(sites)) > 1000
    assert look(left)
    assert left.plane.mend() == Mended(tables=1)
    assert look(right)
    assert max(announced(sites)) <= 1000
    assert not look(left)
    assert left.plane.mend() == Mended()


def test_blocked_sources_are_blocked_again(sites: tuple[Site, Site]) -> None:
    ns = sites[0].ns
    with ns.entered():
        blocks = Blocklist()
    with closing(blocks):
        assert blocks.block(["203.0.113.0/24"]) == ""
        assert not blocks.put_back()
        ns.run("nft", "flush", "ruleset")
        assert blocks.put_back()
        assert "203.0.113.0/24" in ns.run("nft", "list", "ruleset").stdout
        assert not blocks.put_back()
    assert ns.run("nft", "list", "ruleset").stdout == ""


@pytest.fixture
def left() -> Iterator[Namespace]:
    with Network() as network:
        yield two_sites(network)[0]


@pytest.mark.requires("xfrm-interface")
def test_the_running_gateway_mends_by_itself_and_says_so(left: Namespace, tmp_path: Path) -> None:
    with Appliance(left, tmp_path, "kernel") as gateway:
        gateway.apply({**DOCUMENT, "blocks": [{"network": "203.0.113.0/24"}]})
        until(lambda: "10.4.0.0/24 dev ipsec7" in left.ip("route", "show", "table", "7296"), "it is laid")
        until(lambda: "203.0.113.0/24" in left.run("nft", "list", "ruleset").stdout, "they are blocked")

        def said() -> list[str]:
            return [event["text"] for event in gateway.ask("events") if event["kind"] == "data-plane.mended"]

        assert said() == []
        left.ip("link", "delete", "ipsec7")
        until(lambda: "10.4.0.0/24 dev ipsec7" in left.ip("route", "show", "table", "7296"), "it is back", 15)
        assert said() == ["1 route, 1 XFRM interface had been taken away, and are back"]
        left.run("nft", "flush", "ruleset")
        until(lambda: "203.0.113.0/24" in left.run("nft", "list", "ruleset").stdout, "they are blocked again", 15)
        until(lambda: len(said()) == 2, "and the journal says so", 15)
        assert said()[1] == "the rules against blocked sources had been taken away, and are back"
