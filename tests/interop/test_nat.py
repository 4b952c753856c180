"""With a NAT router between the gateways: in front of us, or in front of strongSwan."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.interop.planes import CHARON_PLUGINS
from tests.interop.tap import Tap
from tests.interop.tunnels import Pair, Tunnel
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
    (child,), (sa,) = pair.gateway.children(tunnel.name), pair.gateway.ike_sas(tunnel.name)
    if who == "ours":
        assert pair.gateway.rekey(tunnel.name, "net")["ok"]
        assert pair.gateway.rekey(tunnel.name)["ok"]
    else:
        pair.charon.rekey(child=tunnel.child_name(tunnel.nets[0]))
        until(
            lambda: [one["id"] for one in pair.gateway.children(tunnel.name)] not in ([], [child["id"]]), "a new child"
        )
        pair.charon.rekey(ike=tunnel.name)
    until(lambda: [one["id"] for one in pair.gateway.ike_sas(tunnel.name)] not in ([], [sa["id"]]), "a new IKE SA")
    assert pair.pings()
    pair.down(tunnel, initiator=who)
