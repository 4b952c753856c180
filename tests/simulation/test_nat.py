"""Routers that translate addresses: their mappings are followed when they change, and only by who should."""

import pytest

from gateway.dataplane.memory import MemoryPlane
from gateway.ike.path import Path
from gateway.ike.plane import Direction, Encapsulation
from gateway.ike.plane_events import Remapped
from gateway.ike.sa import ChildSa, IkeSa
from gateway.policy.peers import Start
from gateway.policy.snapshot import Snapshot
from gateway.wire.message import parse_header
from gateway.wire.numbers import ExchangeType
from tests.simulation.agreement import assert_agree, established
from tests.simulation.network import Host, Network, peer, psk, right_end, two

ROUTER = "203.0.113.9"


def behind_nat(seed: int = 1, shift: int = 40_000, **more: object) -> tuple[Network, Host, Host]:
    """The left end is behind a router and calls; neither end speaks MOBIKE."""
    network = Network(seed)
    network.nat["192.0.2.1"] = (ROUTER, shift)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2", mobike=False, **more)
    right = right_end(remote=None, mobike=False)
    a, b = two(network, left=left, right=right)
    network.run(1)
    assert_agree(a, b)
    return network, a, b


def one(host: Host) -> tuple[IkeSa, ChildSa]:
    (sa,) = established(host)
    (child,) = sa.children.values()
    return sa, child


def assert_at(host: Host, port: int, address: str = ROUTER) -> None:
    """IKE SA, states and policies of the only tunnel all lead there."""
    sa, child = one(host)
    assert (sa.path.remote, sa.path.port) == (address, port)
    states = {state.key: state for state in host.plane.states()}
    assert states[child.outbound.key].encapsulation == Encapsulation(4500, port)
    assert states[child.outbound.key].destination == address
    assert states[child.inbound.key].encapsulation == Encapsulation(port, 4500)
    assert states[child.inbound.key].source == address
    outward = [policy for policy in host.plane.policies() if policy.direction is Direction.OUT]
    assert [policy.tunnel_destination for policy in outward] == [address]
    assert {route.remote for route in host.plane.routes()} == {address}


def test_mapping_that_esp_shows_is_followed() -> None:
    network, a, b = behind_nat()
    assert_at(b, 44_500)
    _, child = one(b)
    network.nat["192.0.2.1"] = ("203.0.113.10", 41_000)
    network.perform(b, b.engine.kernel(Remapped(child.inbound.key, "203.0.113.10", 45_500), network.now))
    assert_at(b, 45_500, "203.0.113.10")
    network.run(200)
    assert_agree(a, b)
    assert "ike-sa.moved" in b.kinds()


def test_mapping_that_ike_shows_is_followed() -> None:
    network, a, b = behind_nat(dpd_delay=20.0)
    network.nat["192.0.2.1"] = (ROUTER, 41_000)
    network.run(25)
    assert_at(b, 45_500)
    network.run(300)
    assert_agree(a, b)


def test_moves_of_esp_are_counted_out() -> None:
    network, _, b = behind_nat()
    _, child = one(b)
    for port in (45_000, 46_000, 47_000):
        network.perform(b, b.engine.kernel(Remapped(child.inbound.key, ROUTER, port), network.now))
    assert_at(b, 45_000)
    assert b.engine.core.counters["moves-too-many"] == 2
    network.run(2)
    _, child = one(b)
    network.perform(b, b.engine.kernel(Remapped(child.inbound.key, ROUTER, 47_000), network.now))
    assert_at(b, 47_000)


def liveness_of(network: Network, host: Host, address: str) -> bytes:
    """The last INFORMATIONAL request that this host sent."""
    found = [
        data
        for _, source, _, data in network.carried
        if source == address and len(data) > 1 and parse_header(data).exchange == ExchangeType.INFORMATIONAL
    ]
    assert found
    return found[-1]


def test_who_is_behind_the_router_follows_nobody_but_answers() -> None:
    """RFC 7296 2.23: one packet of an attacker's would else cut it off."""
    network, a, b = behind_nat(dpd_delay=0.0)
    sa, child = one(a)
    before = sa.path
    network.perform(a, a.engine.kernel(Remapped(child.inbound.key, "198.51.100.66", 4500), network.now))
    assert sa.path == before
    network.cut.add(("192.0.2.2", "192.0.2.1"))
    network.run(45)
    request = liveness_of(network, b, "192.0.2.2")
    elsewhere = Path("192.0.2.1", "198.51.100.66", 4500, marked=True)
    (answer,) = [effect for effect in a.engine.receive(request, elsewhere, network.now) if hasattr(effect, "path")]
    assert answer.path == elsewhere
    assert sa.path == before
    assert one(a)[1].outbound.destination == "192.0.2.2"


def test_replayed_and_forged_messages_move_nothing() -> None:
    network, a, b = behind_nat(dpd_delay=10.0)
    network.run(35)
    request = liveness_of(network, a, ROUTER)
    sa, _ = one(b)
    before = sa.path
    elsewhere = Path("192.0.2.2", "198.51.100.66", 4500, marked=True)
    b.engine.receive(request, elsewhere, network.now)
    forged = bytearray(request)
    forged[23] = sa.responses.expected  # the next message ID, under an integrity check that does not fit it
    b.engine.receive(bytes(forged), elsewhere, network.now)
    assert sa.path == before


def test_several_peers_behind_one_router() -> None:
    network = Network(9)
    server = network.host("server", "192.0.2.200")
    clients = []
    peers = []
    for number in range(1, 6):
        address = f"192.168.1.{number}"
        network.nat[address] = (ROUTER, 10_000 * number)
        clients.append(network.host(f"client{number}", address))
        peers.append(
            peer(
                f"client{number}",
                me="server.example",
                them=f"client{number}.example",
                remote=None,
                mine="10.0.0.0/16",
                theirs=f"10.1.{number}.0/24",
                start=Start.PASSIVE,
            )
        )
    network.apply(server, Snapshot.build(1, peers, [psk()]))
    for number, client in enumerate(clients, 1):
        mine = peer(
            "server",
            me=f"client{number}.example",
            them="server.example",
            remote="192.0.2.200",
            mine=f"10.1.{number}.0/24",
            theirs="10.0.0.0/16",
        )
        network.apply(client, Snapshot.build(1, [mine], [psk()]))
    network.run(2)
    assert sorted(sa.path.port for sa in established(server)) == [4500 + 10_000 * number for number in range(1, 6)]
    assert not server.engine.core.openings
    outward = {(state.destination, state.encapsulation) for state in server.plane.states() if not state.inbound}
    assert len(outward) == 5
    network.nat["192.168.1.3"] = (ROUTER, 60_000)
    moved = next(sa for sa in established(server) if sa.peer_name == "client3")
    (child,) = moved.children.values()
    network.perform(server, server.engine.kernel(Remapped(child.inbound.key, ROUTER, 64_500), network.now))
    assert sorted(sa.path.port for sa in established(server)) == [14_500, 24_500, 44_500, 54_500, 64_500]
    network.run(120)
    assert len(established(server)) == 5
    assert all(len(established(client)) == 1 for client in clients)


def keepalives(network: Network, source: str) -> int:
    return sum(data == b"\xff" for _, seen, _, data in network.carried if seen == source)


def test_keepalives_come_from_behind_the_router_alone() -> None:
    network, _, _ = behind_nat()
    network.run(100)
    assert keepalives(network, ROUTER) == 5
    assert keepalives(network, "192.0.2.2") == 0


@pytest.mark.parametrize("who", ["left", "right"])
def test_either_end_can_force_encapsulation(who: str) -> None:
    network = Network(4)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2", force_encapsulation=who == "left")
    right = right_end(force_encapsulation=who == "right")
    a, b = two(network, left=left, right=right)
    network.run(100)
    assert_agree(a, b)
    for host in (a, b):
        assert isinstance(host.plane, MemoryPlane)
        assert {state.encapsulation for state in host.plane.states()} == {Encapsulation(4500, 4500)}
    assert keepalives(network, "192.0.2.1") + keepalives(network, "192.0.2.2") <= 5
