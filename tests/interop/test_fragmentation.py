"""IKE messages larger than the path carries: RFC 7383 fragments to and from strongSwan."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.interop.planes import roles, userspace_only
from tests.interop.tunnels import INNER, Net, Pair, Tunnel

pytestmark = [userspace_only, pytest.mark.requires("nft")]

# charon wants an address of its own in each
MANY = (f"{INNER[4][1]}[icmp]", *(f"{INNER[4][1]}[tcp/{port}]" for port in range(1000, 1090)))


@contextmanager
def narrow(pair: Pair, octets: int = 600) -> Iterator[None]:
    """The path loses larger IP datagrams of IKE and ESP in UDP, and says nothing."""
    rules = f"""
        table inet narrow {{
            chain in {{
                type filter hook prerouting priority raw
                udp dport {{ 500, 4500 }} meta length > {octets} drop
                udp sport {{ 500, 4500 }} meta length > {octets} drop
                ip frag-off & 0x1fff != 0 drop
            }}
        }}"""
    for end in (pair.left, pair.right):
        end.run("nft", "-f", "-", stdin=rules)
    try:
        yield
    finally:
        for end in (pair.left, pair.right):
            end.run("nft", "delete", "table", "inet", "narrow")


def large(name: str) -> Tunnel:
    """IKE_AUTH and every CREATE_CHILD_SA of it have about 1700 octets."""
    return Tunnel(name=name, nets=(Net(right=MANY),))


@roles
def test_tunnel_comes_up_and_rekeys_over_a_narrow_path(fresh_pair: Callable[..., Pair], initiator: str) -> None:
    pair = fresh_pair("fragment_size = 576")
    tunnel = large("narrow")
    pair.load(tunnel)
    with narrow(pair):
        pair.up(tunnel, initiator=initiator)
        assert pair.pings()
        assert len(pair.gateway.children(tunnel.name)[0]["remote_selectors"]) == len(MANY)
        assert "splitting IKE message" in pair.charon.log()
        assert "received fragment" in pair.charon.log()
        pair.renew(tunnel, initiator="ours", net=tunnel.nets[0])
        assert pair.pings()
        pair.down(tunnel, initiator=initiator)


@roles
def test_without_consent_nothing_is_cut(fresh_pair: Callable[..., Pair], initiator: str) -> None:
    pair = fresh_pair()
    tunnel = large("whole")
    tunnel = Tunnel(name="whole", nets=tunnel.nets, theirs={"fragmentation": "no"})
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    assert pair.pings()
    assert "received fragment" not in pair.charon.log()
    pair.down(tunnel, initiator=initiator)
