"""TCP's maximum segment size through a tunnel, in a kernel whose nftables see IPsec (CONFIG_NFT_XFRM, family inet)."""

import socket

import pytest

from gateway.dataplane.nft import Nft
from gateway.ike.plane import RemoveState
from tests.kernel.conftest import Child, Site
from tests.lab.in_kernel import in_kernel

pytestmark = [in_kernel, pytest.mark.requires("root", "netns", "esp", "ping")]

TCP_MAXSEG = 2


@pytest.fixture
def sites(sites: tuple[Site, Site]) -> tuple[Site, Site]:
    with sites[0].ns.entered():
        nft = Nft()
    why = nft.replace("probe", "chain x { type filter hook postrouting priority 0; ipsec out reqid 1 accept; }")
    nft.remove("probe")
    nft.close()
    if why:
        pytest.skip(f"nftables do not see IPsec here: {why}")
    return sites


def announced(sites: tuple[Site, Site]) -> tuple[int, int]:
    """The segment sizes with which the left and the right end of a connection through the tunnel send."""
    with sites[1].ns.entered():
        server = socket.create_server(("10.2.0.1", 7000))
    with sites[0].ns.entered():
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with server, client:
        client.bind(("10.1.0.1", 0))
        client.settimeout(5)
        client.connect(("10.2.0.1", 7000))
        connection, _ = server.accept()
        with connection:
            left, right = (sock.getsockopt(socket.IPPROTO_TCP, TCP_MAXSEG) for sock in (client, connection))
            return left, right


def test_syns_are_clamped_both_ways_as_long_as_the_state_is_there(sites: tuple[Site, Site]) -> None:
    plain = Child(sites).install()
    before = announced(sites)
    assert min(before) > 1300
    left = sites[0]
    left.plane.apply([RemoveState(plain.state(0, inbound=inbound).key, inbound) for inbound in (True, False)])
    clamped = Child(sites, state_also={"mss": 1000}, spis=plain.spis)
    left.plane.apply(clamped.orders(0)[:2])
    left.plane._mss.settle()
    # What each sends is at most what the other announced; one end alone clamps both directions. TCP's options take 12.
    assert max(announced(sites)) <= 1000
    assert "ikegate_mss_7296" in left.ns.run("nft", "list", "ruleset").stdout
    left.plane.apply([RemoveState(clamped.state(0, inbound=inbound).key, inbound) for inbound in (True, False)])
    left.plane._mss.settle()
    assert left.ns.run("nft", "list", "ruleset").stdout == ""


def test_close_takes_the_rules_along(sites: tuple[Site, Site]) -> None:
    Child(sites, state_also={"mss": 1200}).install()
    for site in sites:
        site.plane.close()
        assert site.ns.run("nft", "list", "ruleset").stdout == ""
