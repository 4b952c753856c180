"""Tunnels that should stay up: cables pulled, peers rebooted, rumours of their death, and children that nobody uses."""

import itertools
from dataclasses import replace

from gateway.ike.plane import Counters
from gateway.ike.sa import ChildSa
from gateway.policy.peers import Start
from gateway.policy.snapshot import Snapshot
from gateway.wire.numbers import ExchangeType
from tests.simulation.network import Host, Network, peer, psk, two
from tests.simulation.test_tunnel import assert_agree, established

BOTH = {("192.0.2.1", "192.0.2.2"), ("192.0.2.2", "192.0.2.1")}


def asked(network: Network, source: str) -> int:
    """How many INFORMATIONAL requests left this address."""
    sent = [data for _, origin, _, data in network.carried if origin == source]
    return sum(1 for data in sent if data[18] == ExchangeType.INFORMATIONAL and not data[19] & 0x20)


def carry(host: Host, child: ChildSa, *, inward: int = 0, outward: int = 0) -> None:
    """Let this many packets more go through the child's states."""
    for state, packets in ((child.inbound, inward), (child.outbound, outward)):
        before = host.plane.counters()[state.key]
        host.plane.count(state.key, Counters(before.octets + 100 * packets, before.packets + packets))


def test_esp_that_comes_in_is_life_and_esp_that_goes_out_is_not() -> None:
    network = Network(1)
    right = peer("left", me="right.example", them="left.example", remote=None, mine="10.2.0.0/24", theirs="10.1.0.0/24")
    a, _ = two(network, right=replace(right, dpd_delay=0.0))
    network.run(1)
    (child,) = established(a)[0].children.values()
    for _ in range(30):
        network.run(10)
        carry(a, child, inward=1, outward=1)
    assert asked(network, a.address) == 0
    for _ in range(30):
        network.run(10)
        carry(a, child, outward=1)
    assert asked(network, a.address) >= 8


def test_a_peer_that_dies_under_traffic_is_asked_within_one_interval() -> None:
    network = Network(2)
    a, b = two(network)
    network.run(1)
    (child,) = established(a)[0].children.values()
    for _ in range(20):
        network.run(5)
        carry(a, child, inward=1)
    b.alive = False
    network.run(31)
    assert asked(network, a.address) >= 1
    network.run(60)
    assert not established(a)


def test_one_dump_a_second_serves_every_tunnel() -> None:
    network = Network(3)
    a = network.host("hub", "192.0.2.1")
    wanted = []
    for number in range(40):
        b = network.host(f"branch{number}", f"198.51.100.{number + 1}")
        mine, theirs = f"10.2.{number}.0/24", "10.1.0.0/24"
        network.apply(
            b,
            Snapshot.build(
                1,
                [peer("hub", me=f"b{number}.example", them="hub.example", remote=None, mine=mine, theirs=theirs)],
                [psk()],
            ),
        )
        wanted.append(
            peer(f"b{number}", me="hub.example", them=f"b{number}.example", remote=b.address, mine=theirs, theirs=mine)
        )
    network.apply(a, Snapshot.build(1, wanted, [psk()]))
    dumps: list[float] = []
    read = a.plane.counters

    def counted() -> object:
        dumps.append(network.now)
        return read()

    a.plane.counters = counted  # type: ignore[assignment, method-assign]
    network.run(300)
    assert len(established(a)) == 40
    assert len(dumps) > 2
    assert all(later - earlier >= 1 for earlier, later in itertools.pairwise(dumps))


def test_a_rumour_only_makes_us_ask() -> None:
    network = Network(4)
    a, b = two(network)
    network.run(10)
    before = established(a)
    for _ in range(200):
        network.perform(a, a.engine.unreachable("192.0.2.2", network.now))
        network.run(0.1)
    assert established(a) == before
    assert 1 <= asked(network, a.address) <= 8
    network.perform(a, a.engine.unreachable("192.0.2.77", network.now))
    network.run(1)
    assert_agree(a, b)


def test_a_true_rumour_is_found_true_long_before_the_interval_is_over() -> None:
    network = Network(5)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2", dpd_delay=3600.0)
    a, b = two(network, left=left)
    network.run(10)
    b.alive = False
    network.perform(a, a.engine.unreachable("192.0.2.2", network.now))
    network.run(40)
    assert not established(a)
    assert "does not answer" in a.engine.core.attempts.latest(1)[0].reason or "ike-sa.closed" in a.kinds()


def test_a_child_that_nobody_uses_goes_and_its_trap_comes_back() -> None:
    network = Network(6)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2", start=Start.ON_DEMAND)
    left = replace(left, children=(replace(left.children[0], idle_timeout=60.0),))
    a, b = two(network, left=left)
    network.run(1)
    network.perform(a, a.engine.connect("right", None, network.now)[1])
    network.run(1)
    (child,) = established(a)[0].children.values()
    for _ in range(20):
        network.run(30)
        carry(a, child, outward=1)
    assert_agree(a, b)
    _, effects = a.engine.rekey("right", "net", network.now)
    network.perform(a, effects)
    network.run(90)
    assert not established(a)[0].children
    assert not established(b)[0].children
    assert any("idle timeout" in event.text for event in a.events)
    trap = [policy for policy in a.plane.policies() if policy.direction == "out"]
    assert [policy.spi for policy in trap] == [None]


def test_what_is_wanted_always_is_never_idle() -> None:
    network = Network(7)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2")
    left = replace(left, children=(replace(left.children[0], idle_timeout=10.0),))
    a, b = two(network, left=left)
    network.run(600)
    assert_agree(a, b)
    assert "child-sa.closed" not in a.kinds()
