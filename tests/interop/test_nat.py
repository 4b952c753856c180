"""With a NAT router between the gateways: in front of us, or in front of strongSwan."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest

from tests.interop.planes import CHARON_PLUGINS, kernel_only
from tests.interop.tap import Tap
from tests.interop.traffic import connects
from tests.interop.tunnels import Net, Pair, Tunnel
from tests.lab.appliance import Appliance, until
from tests.lab.charon import Charon
from tests.lab.namespaces import Namespace, Network

pytestmark = pytest.mark.requires("nft", "nft-nat")

PORTS = "40000-40099"


@dataclass
class Site:
    """A pair of which one end is behind the router; `hidden` says which: "ours" or "theirs"."""

    pair: Pair
    router: Namespace
    hidden: str


@pytest.fixture(scope="module", params=["ours", "theirs"])
def site(request: pytest.FixtureRequest, plane: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    hidden: str = request.param
    folder = tmp_path_factory.mktemp("nat")
    (folder / "charon").mkdir()
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        inside, router, outside = (network.namespace(name) for name in ("inside", "router", "outside"))
        network.link(inside, router, "10.9.0.2/24", "10.9.0.1/24")
        network.link(router, outside, "192.0.2.1/24", "192.0.2.2/24")
        inside.route("default", "via", "10.9.0.1")
        router.masquerade("to-outside", ports=PORTS)
        left, right = (inside, outside) if hidden == "ours" else (outside, inside)
        left.address("lo", "10.1.0.1/24", "fd01::1/64")
        right.address("lo", "10.2.0.1/24", "fd02::1/64")
        charon = Charon(right, folder / "charon", CHARON_PLUGINS[plane])
        gateway = Appliance(left, folder / "gateway", plane)
        tap = Tap(left, "to-router")
        stack.callback(tap.close)
        stack.enter_context(charon)
        stack.enter_context(gateway)
        yield Site(Pair(left, right, gateway, charon, tap), router, hidden)


def tunnel_through(site: Site, name: str) -> Tunnel:
    """The end outside knows no address of the other, and waits for its call."""
    if site.hidden == "ours":
        theirs = {"local_addrs": "192.0.2.2", "remote_addrs": "%any"}
        return Tunnel(name=name, outer=("10.9.0.2", "192.0.2.2"), theirs=theirs)
    return Tunnel(name=name, outer=("192.0.2.2", "10.9.0.2"), ours={"remote_addresses": []})


def test_esp_goes_in_udp_through_the_router(site: Site) -> None:
    tunnel = tunnel_through(site, "nat")
    pair = site.pair
    pair.load(tunnel)
    pair.up(tunnel, initiator=site.hidden)
    assert pair.pings(count=2, size=1200)
    (sa,) = pair.gateway.ike_sas(tunnel.name)
    (theirs,) = pair.theirs(tunnel)
    assert ("us" if site.hidden == "ours" else "the peer") in sa["nat"]
    assert theirs["nat-remote" if site.hidden == "ours" else "nat-local"] == "yes"
    (child,) = pair.gateway.children(tunnel.name)
    assert child["encapsulation"]
    mapped = theirs["remote-port"] if site.hidden == "ours" else sa["remote"].rpartition(":")[2]
    assert 40000 <= int(mapped) <= 40099
    outside = theirs["remote-host"] if site.hidden == "ours" else sa["remote"].rpartition(":")[0]
    assert outside == "192.0.2.1"
    pair.down(tunnel, initiator=site.hidden)


@pytest.mark.parametrize("who", ["ours", "theirs"])
def test_each_end_rekeys_and_deletes_through_the_router(site: Site, who: str) -> None:
    tunnel = tunnel_through(site, f"nat-rekey-{who}")
    pair = site.pair
    pair.load(tunnel)
    pair.up(tunnel, initiator=site.hidden)
    pair.renew(tunnel, initiator=who, net=tunnel.nets[0])
    pair.renew(tunnel, initiator=who)
    assert pair.pings()
    pair.down(tunnel, initiator=who)


@kernel_only
@pytest.mark.parametrize("who", ["ours", "theirs"])
def test_transport_mode_through_the_router(site: Site, who: str) -> None:
    """RFC 7296 2.23.1: each end has the addresses that it sees itself; checksums are mended on the way (RFC 3948)."""
    base = tunnel_through(site, f"nat-transport-{who}")
    left, right = (f"{address}/32" for address in base.outer)
    seen = left, right if site.hidden == "ours" else "0.0.0.0/0"  # of a peer that is hidden we see the router's
    theirs = {"mode": "transport", "local_ts": "dynamic", "remote_ts": "dynamic"}
    net = Net(left=seen[:1], right=seen[1:], ours={"mode": "transport"}, theirs=theirs)
    tunnel = replace(base, nets=(net,))
    pair = site.pair
    pair.load(tunnel)
    pair.up(tunnel, initiator=site.hidden)
    _check_transport(site, tunnel)
    pair.renew(tunnel, initiator=who, net=net)
    _check_transport(site, tunnel)
    pair.down(tunnel, initiator=who)


def _check_transport(site: Site, tunnel: Tunnel) -> None:
    """The end inside knows the one outside by its own address, and is known to it by the router's."""
    pair = site.pair
    inside, outside = (pair.left, pair.right) if site.hidden == "ours" else (pair.right, pair.left)
    (child,), (theirs,) = pair.gateway.children(tunnel.name), pair.their_children(tunnel)
    assert (child["mode"], theirs["mode"], child["encapsulation"]) == ("transport", "TRANSPORT", True)
    here, there = ("10.9.0.2", "192.0.2.2") if site.hidden == "ours" else ("192.0.2.2", "192.0.2.1")
    assert (child["local_selectors"], child["remote_selectors"]) == ([f"{here}/32"], [f"{there}/32"])
    assert inside.ping("192.0.2.2", count=2)
    assert outside.ping("192.0.2.1", count=2)
    assert connects(inside, outside, "192.0.2.2", 7300)
    assert int(pair.their_children(tunnel)[0]["packets-in"]) > int(theirs["packets-in"]) + 4


def remap(site: Site, ports: str) -> None:
    """The router forgets its mappings, and gives others from now on, as after a reboot."""
    site.router.masquerade("to-outside", ports=ports)
    site.router.forget_connections()


@pytest.mark.parametrize("mobike", [True, False])
def test_new_mapping_is_followed(site: Site, mobike: bool) -> None:
    """What is authentic shows the new mapping and is believed; the tunnel stands.

    Our end takes the first packet of ESP for it, charon's ESP in userspace waits for IKE: our look whether it lives.
    """
    tunnel = tunnel_through(site, f"nat-remap-{'mobike' if mobike else 'plain'}")
    tunnel = replace(
        tunnel,
        ours={**tunnel.ours, "mobike": mobike, "dpd_delay": 3},
        theirs={**tunnel.theirs, "mobike": "yes" if mobike else "no"},
    )
    pair = site.pair
    pair.load(tunnel)
    pair.up(tunnel, initiator=site.hidden)
    (sa,) = pair.gateway.ike_sas(tunnel.name)
    inside, target, source = (
        (pair.left, "10.2.0.1", "10.1.0.1") if site.hidden == "ours" else (pair.right, "10.1.0.1", "10.2.0.1")
    )
    for ports in ("41000-41099", "42000-42099"):
        remap(site, ports)
        until(lambda: inside.ping(target, source=source), f"packets go by ports {ports}", seconds=20)
        assert pair.pings(count=2)
        low, _, high = ports.partition("-")
        if site.hidden == "theirs":
            (child,) = pair.gateway.children(tunnel.name)
            states = [one for one in pair.gateway.ask("states") if not one["inbound"]]
            (state,) = [one for one in states if one["spi"] == int(child["spi_out"], 16)]
            assert int(low) <= state["encapsulation"][1] <= int(high)
        assert [one["id"] for one in pair.gateway.ike_sas(tunnel.name)] == [sa["id"]]
        pair.renew(tunnel, initiator="ours", net=tunnel.nets[0])  # IKE goes by the new mapping too
    remap(site, PORTS)
    until(lambda: inside.ping(target, source=source), "packets go by the old ports", seconds=20)
    pair.down(tunnel, initiator=site.hidden)
