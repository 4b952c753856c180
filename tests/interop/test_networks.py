"""Which traffic goes through: IP versions inside and outside, selectors, narrowing, and further children."""

import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.interop.planes import roles
from tests.interop.tunnels import HOSTS, INNER, OUTER, Net, Pair, Tunnel
from tests.lab.appliance import until


@pytest.fixture
def other_role(initiator: str) -> str:
    return "theirs" if initiator == "ours" else "ours"


def selected(pair: Pair, tunnel: Tunnel) -> tuple[list[str], list[str], list[str], list[str]]:
    """What the one child is for: as we and as strongSwan tell it, left first."""
    (ours,) = pair.gateway.children(tunnel.name)
    (theirs,) = pair.their_children(tunnel)
    return ours["local_selectors"], ours["remote_selectors"], theirs["remote-ts"], theirs["local-ts"]


def heard(pair: Pair, port: int, *, listener: str = "right", wait: float = 10.0) -> bool:
    """Whether a TCP connection from one inner host reaches a port of the other, within `wait` seconds."""
    left, right = (pair.left, HOSTS[4][0]), (pair.right, HOSTS[4][1])
    (here, address), (there, target) = (left, right) if listener == "right" else (right, left)
    with there.entered():
        server = socket.create_server((target, port))
    with here.entered():
        client = socket.socket()
    # its end is a reset: a FIN that is lost with the tunnel would be sent again, through the tunnel of the next test
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.closing(server), contextlib.closing(client):
        client.settimeout(wait)
        client.bind((address, 0))
        try:
            client.connect((target, port))
        except OSError:
            return False
        return True


@roles
@pytest.mark.parametrize(("outer", "inner"), [(4, 4), (4, 6), (6, 4), (6, 6)])
def test_each_ip_version_in_each(pair: Pair, outer: int, inner: int, initiator: str, other_role: str) -> None:
    left, right = INNER[inner]
    tunnel = Tunnel(name=f"v{inner}-in-v{outer}", outer=OUTER[outer], nets=(Net(left=(left,), right=(right,)),))
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    assert pair.pings(inner, count=2, size=1200)
    assert selected(pair, tunnel) == ([left], [right], [left], [right])
    pair.down(tunnel, initiator=other_role)
    assert not pair.left.ping(HOSTS[inner][1], source=HOSTS[inner][0], wait=0.2)


@roles
def test_one_child_carries_several_nets_of_both_versions(pair: Pair, initiator: str) -> None:
    nets = ("10.1.0.0/25", "fd01::/64", "10.1.0.128/25"), ("10.2.0.0/24", "fd02::/64")
    tunnel = Tunnel(name="several", nets=(Net(left=nets[0], right=nets[1]),))
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    assert pair.pings(4)
    assert pair.pings(6)
    assert pair.left.ping("10.2.0.200", source="10.1.0.200")
    ours, theirs = selected(pair, tunnel)[:2], selected(pair, tunnel)[2:]
    assert tuple(map(set, ours)) == tuple(map(set, nets))
    assert set().union(*theirs) == set().union(*nets) or initiator == "theirs"
    pair.down(tunnel)


@roles
@pytest.mark.parametrize("wide_end", ["ours", "theirs"])
def test_the_wider_end_is_narrowed(pair: Pair, initiator: str, wide_end: str) -> None:
    ours = {"remote_selectors": ["10.2.0.0/16"], "local_selectors": ["10.0.0.0/8"]} if wide_end == "ours" else {}
    theirs = {"remote_ts": "10.1.0.0/16", "local_ts": "10.0.0.0/8"} if wide_end == "theirs" else {}
    tunnel = Tunnel(name="narrowed", nets=(Net(ours=ours, theirs=theirs),))
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    assert pair.pings()
    assert selected(pair, tunnel) == (["10.1.0.0/24"], ["10.2.0.0/24"], ["10.1.0.0/24"], ["10.2.0.0/24"])
    pair.down(tunnel)


@pytest.fixture
def one_port(pair: Pair, server: str, initiator: str) -> Iterator[Tunnel]:
    """A tunnel of which strongSwan wants no more than TCP to port 7000 of one end's net; we would protect it all."""
    # strongSwan lays no route for a child of one protocol or port; without one nothing would leave it at all.
    pair.right.route(INNER[4][0], "via", OUTER[4][0], "src", HOSTS[4][1])
    nets = [INNER[4][0] + "[tcp]", INNER[4][1] + "[tcp]"]
    end = 1 if server == "right" else 0
    nets[end] = nets[end].replace("tcp", "tcp/7000")
    whole = {"local_selectors": [INNER[4][0]], "remote_selectors": [INNER[4][1]]}
    tunnel = Tunnel(name="port", nets=(Net(left=(nets[0],), right=(nets[1],), ours=whole),))
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    yield tunnel
    pair.down(tunnel)
    pair.right.ip("route", "delete", INNER[4][0], "via", OUTER[4][0])


@roles
@pytest.mark.parametrize("server", ["right", "left"])
def test_a_child_for_one_port_carries_that_port(pair: Pair, one_port: Tunnel, server: str) -> None:
    assert heard(pair, 7000, listener=server)
    (child,) = pair.their_children(one_port)
    assert int(child["packets-in"]) > 0
    assert int(child["packets-out"]) > 0


@roles
@pytest.mark.parametrize("server", ["right", "left"])
def test_nothing_but_the_port_passes(pair: Pair, one_port: Tunnel, server: str) -> None:
    was_heard = heard(pair, 7001, listener=server, wait=0.5)
    pinged = pair.left.ping(HOSTS[4][1], source=HOSTS[4][0], wait=0.2)
    assert (was_heard, pinged, pair.tap.plain()) == (False, False, [])
    (child,) = pair.their_children(one_port)
    assert (child["packets-in"], child["packets-out"]) == ("0", "0")


@roles
@pytest.mark.parametrize("group", ["", "x25519", "ecp384", "modp2048"])
def test_a_further_child_has_keys_of_its_own(pair: Pair, initiator: str, group: str) -> None:
    second = Net(
        name="second", left=(INNER[6][0],), right=(INNER[6][1],), esp="-".join(filter(None, ("aes256gcm16", group)))
    )
    tunnel = Tunnel(name=f"second-{group or 'plain'}", nets=(Net(), second))
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    until(lambda: len(pair.gateway.children(tunnel.name)) == 2, "two children at our end")
    assert pair.pings(4)
    assert pair.pings(6)
    ours = {child["name"]: child["algorithms"] for child in pair.gateway.children(tunnel.name)}
    assert ours == {"net": "aes128gcm16", "second": second.esp}
    theirs = {child["name"]: child for child in pair.their_children(tunnel)}
    assert ("dh-group" in theirs[tunnel.child_name(second)]) is bool(group)
    assert len(pair.theirs(tunnel)) == 1
    pair.gateway.disconnect(tunnel.name, "second")
    until(lambda: len(pair.their_children(tunnel)) == 1, "strongSwan has one child left")
    assert pair.pings(4)
    assert not pair.left.ping(HOSTS[6][1], source=HOSTS[6][0], wait=0.2)
    pair.down(tunnel)
