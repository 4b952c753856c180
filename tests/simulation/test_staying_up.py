"""Tunnels that should stay up: cables pulled, peers rebooted, rumours of their death, and children that nobody uses."""

import itertools
from dataclasses import replace

import pytest

from gateway.ike.effects import Effect, Locate
from gateway.ike.plane import Action, AddState, Counters
from gateway.ike.sa import ChildSa
from gateway.ike.supervise import call
from gateway.policy.peers import Retransmission, Start, Unique
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.wire.numbers import ExchangeType
from tests.simulation.agreement import assert_agree, established
from tests.simulation.network import Host, Network, peer, psk, right_end, two

LEFT = peer("right", me="left.example", them="right.example", remote="192.0.2.2")
RIGHT = right_end(remote=None)
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
    right = right_end(remote=None, start=Start.ALWAYS)
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


def test_the_cable_is_pulled_for_ten_minutes() -> None:
    network = Network(8)
    a, b = two(network)
    network.run(5)
    network.cut = set(BOTH)
    network.run(600)
    assert not established(a)
    assert not established(b)
    assert all(policy.action is Action.DROP for host in (a, b) for policy in host.plane.policies())
    network.cut = set()
    network.run(EngineSettings().retry_limit * 1.2 + 1)
    assert_agree(a, b)
    closed = next(event for event in a.events if event.kind == "ike-sa.closed")
    assert "does not answer" in closed.text


def test_a_cable_put_back_is_seen_by_the_network_and_used_at_once() -> None:
    network = Network(9)
    a, b = two(network)
    network.run(5)
    network.cut = set(BOTH)
    network.run(600)
    network.cut = set()
    network.perform(a, a.engine.network_changed((a.address,), network.now))
    network.run(2)
    assert_agree(a, b)


@pytest.mark.parametrize("standing", [False, True])
def test_a_request_under_way_does_not_wait_for_its_next_turn_either(standing: bool) -> None:
    network = Network(17)
    network.cut = set() if standing else set(BOTH)
    slow = replace(LEFT, retransmission=Retransmission(tries=3, base=10.0, factor=10.0))
    a, b = two(network, left=slow, right=replace(RIGHT, dpd_delay=0.0))
    network.run(1)
    network.cut = set(BOTH)
    network.run(60 if standing else 15)
    assert a.engine.core.counters["retransmitted"] == 1
    before = established(a)
    network.cut = set()
    network.perform(a, a.engine.network_changed((a.address,), network.now))
    network.run(1)
    assert_agree(a, b)
    assert established(a) == before or not standing
    assert all(sa.requests.pending is None for sa in established(a))


def test_a_network_that_changes_all_the_time_makes_no_storm_of_calls() -> None:
    network = Network(10)
    network.cut = set(BOTH)
    a, _ = two(network, left=replace(LEFT, retransmission=Retransmission(tries=1, base=0.5)))
    network.run(5)
    before = len(network.carried)
    for _ in range(600):
        network.perform(a, a.engine.network_changed((a.address,), network.now))
        network.run(0.1)
    assert len(network.carried) - before <= 20


def test_several_addresses_are_tried_in_turn_and_the_wait_grows_by_rounds() -> None:
    network = Network(11)
    places = ("198.51.100.1", "198.51.100.2", "192.0.2.2")
    quick = Retransmission(tries=1, base=1.0)
    a, b = two(network, left=replace(LEFT, remote_addresses=places, retransmission=quick))
    network.cut = set(BOTH)
    network.run(60)
    called = [to for _, source, to, _ in network.carried if source == a.address]
    assert called[:9] == [*places] * 3
    network.cut = set()
    network.run(60)
    assert_agree(a, b)
    network.reboot(b, Snapshot.build(1, [], []), same_secret=False)
    network.carried.clear()
    network.run(120)
    called = [to for _, source, to, data in network.carried if source == a.address and data[18] == 34]
    assert called[:3] == [*places], "after a loss the first one comes first again"


def test_a_name_with_several_addresses_is_tried_at_each() -> None:
    network = Network(12)
    asked: list[int] = []
    a = network.host("left", "192.0.2.1")
    perform = network.perform

    def watched(host: Host, effects: list[Effect]) -> None:
        asked.extend(effect.turn for effect in effects if isinstance(effect, Locate))
        perform(host, effects)

    network.perform = watched  # type: ignore[method-assign]
    network.names["vpn.example"] = ""
    network.apply(a, Snapshot.build(1, [replace(LEFT, remote_addresses=("vpn.example", "192.0.2.2"))], [psk()]))
    network.run(700)
    assert asked[:6] == [0, 0, 1, 1, 2, 2]


def test_a_peer_whose_dns_address_changes_is_found_again_while_it_is_silent() -> None:
    network = Network(13)
    network.names["vpn.example"] = "192.0.2.2"
    left = replace(LEFT, remote_addresses=("vpn.example",), mobike=False)
    a, b = two(network, left=left, right=replace(RIGHT, mobike=False))
    network.run(5)
    assert_agree(a, b)
    old = established(a)[0]
    network.move(b, "203.0.113.77")
    network.names["vpn.example"] = "203.0.113.77"
    network.run(LEFT.dpd_delay + 8)
    assert_agree(a, b)
    assert established(a)[0].path.remote == "203.0.113.77"
    assert "its name now leads to 203.0.113.77" in old.reason


def test_a_peer_that_answers_is_left_alone_whatever_its_name_says() -> None:
    network = Network(14)
    network.names["vpn.example"] = "192.0.2.2"
    a, b = two(network, left=replace(LEFT, remote_addresses=("vpn.example",)))
    network.run(5)
    before = established(a)
    network.names["vpn.example"] = "203.0.113.77"
    network.run(600)
    assert established(a) == before
    assert_agree(a, b)


def test_an_idle_timeout_given_to_a_child_that_stands_counts_at_once() -> None:
    network = Network(15)
    left = replace(LEFT, children=(replace(LEFT.children[0], start=Start.PASSIVE),))
    a, b = two(network, left=left)
    network.perform(a, a.engine.connect("right", None, network.now)[1])
    network.run(5)
    before = established(a)
    idle = replace(left, children=(replace(left.children[0], idle_timeout=20.0),))
    network.apply(a, Snapshot.build(2, [idle], [psk()]))
    network.run(5)
    assert_agree(a, b)
    network.run(30)
    assert established(a) == before
    assert not before[0].children
    assert not established(b)[0].children


def test_a_peer_that_keeps_its_first_ike_sa_makes_no_child_on_the_second() -> None:
    network = Network(16)
    left = replace(LEFT, unique=Unique.NEVER, resumption=False)
    a, b = two(network, left=left, right=replace(RIGHT, unique=Unique.KEEP, resumption=False))
    network.run(5)
    (before,) = established(b)
    a.engine.core.now = network.now
    call(a.engine.core, left, left.children)
    network.perform(a, a.engine.tick(network.now))
    network.run(60)
    assert established(b) == [before]
    assert len([order for order in b.plane.orders if isinstance(order, AddState)]) == 2
    assert_agree(a, b)
