"""Addresses change under a standing tunnel."""

import random

import pytest

from gateway.ike.effects import Send
from gateway.ike.plane import Encapsulation
from gateway.policy.peers import Retransmission, Start
from gateway.policy.snapshot import Snapshot
from gateway.wire.message import parse_header
from gateway.wire.numbers import ExchangeType
from tests.simulation.agreement import assert_agree, established
from tests.simulation.moving import ends, outer
from tests.simulation.network import Host, Network, Weather, peer, psk, right_end, two


def test_initiator_without_mobike_calls_again_at_once_from_its_new_address() -> None:
    network = Network(1)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2", mobike=False)
    right = right_end(remote=None, start=Start.ALWAYS)
    a, b = two(network, left=left, right=right)
    network.run(1)
    assert_agree(a, b)
    (before,) = established(a)
    network.move(a, "198.51.100.7")
    network.run(1)
    (after,) = established(a)
    assert after is not before
    assert after.path.local == "198.51.100.7"
    assert "our address 192.0.2.1 is gone" in before.reason
    assert_agree(a, b)


def informationals(network: Network) -> list[tuple[str, str]]:
    return [
        (source, to)
        for _, source, to, data in network.carried
        if len(data) > 1 and parse_header(data).exchange == ExchangeType.INFORMATIONAL
    ]


def test_who_called_moves_with_its_children() -> None:
    """--> UPDATE_SA_ADDRESSES   <--   and then the responder checks the way back:   <-- COOKIE2   -->"""
    network, a, b = ends()
    (before,), (child,) = established(a), established(a)[0].children.values()
    network.carried.clear()
    network.move(a, "198.51.100.7")
    network.run(1)
    assert established(a) == [before]
    assert list(before.children.values()) == [child]
    assert outer(a) == {("198.51.100.7", "192.0.2.2", None)}
    assert outer(b) == {("192.0.2.2", "198.51.100.7", None)}
    here, there = "198.51.100.7", "192.0.2.2"
    assert informationals(network) == [(here, there), (there, here), (there, here), (here, there)]
    network.run(200)
    assert_agree(a, b)
    assert established(a) == [before]


def test_children_go_only_where_the_peer_receives() -> None:
    """A peer that claims the address of somebody else cannot have our traffic sent there (RFC 4555 3.7)."""
    network, a, b = ends()
    network.cut.add(("192.0.2.2", "198.51.100.7"))
    network.move(a, "198.51.100.7")
    network.run(2)
    (theirs,) = established(b)
    assert theirs.path.remote == "198.51.100.7"
    (child,) = theirs.children.values()
    assert child.outbound.destination == "192.0.2.1"
    network.cut.clear()
    network.run(15)
    assert outer(b) == {("192.0.2.2", "198.51.100.7", None)}
    assert_agree(a, b)


def test_moves_one_after_the_other_end_at_the_last() -> None:
    network, a, b = ends()
    for number in range(5, 12):
        network.move(a, f"198.51.100.{number}")
        network.run(0.013 * number)
    network.run(30)
    assert outer(a) == {("198.51.100.11", "192.0.2.2", None)}
    assert outer(b) == {("192.0.2.2", "198.51.100.11", None)}
    assert_agree(a, b)


@pytest.mark.parametrize("seed", range(25))
def test_moves_over_a_bad_network(seed: int) -> None:
    network, a, b = ends()
    network.random.seed(seed)
    network.weather = Weather(loss=0.25, duplicate=0.2, delay=0.05, jitter=0.5)
    for number in range(3):
        network.move(a, f"198.51.100.{number + 5}")
        network.run(network.random.random() * 12)
        if number == 1:
            network.perform(a, a.engine.rekey("right", None, network.now)[1])
    network.weather = Weather()
    network.run(150)
    assert_agree(a, b)
    assert outer(a) == {("198.51.100.7", "192.0.2.2", None)}
    assert outer(b) == {("192.0.2.2", "198.51.100.7", None)}


def test_who_was_called_moves_and_says_so() -> None:
    network, a, b = ends()
    (before,) = established(a)
    network.move(b, "203.0.113.2")
    network.run(1)
    assert established(a) == [before]
    assert outer(a) == {("192.0.2.1", "203.0.113.2", None)}
    assert outer(b) == {("203.0.113.2", "192.0.2.1", None)}
    network.run(100)
    assert_agree(a, b)


def test_who_called_leads_also_after_the_other_rekeyed() -> None:
    network, a, b = ends()
    network.perform(b, b.engine.rekey("left", None, network.now)[1])
    network.run(1)
    (sa,) = established(a)
    assert not sa.initiator
    network.move(a, "198.51.100.7")
    network.run(1)
    assert established(a) == [sa]
    assert outer(b) == {("192.0.2.2", "198.51.100.7", None)}


def test_a_router_on_the_new_path_puts_esp_into_udp_and_takes_it_out_again() -> None:
    network, a, b = ends()
    network.nat["192.168.1.5"] = ("203.0.113.9", 1000)
    network.move(a, "192.168.1.5")
    network.run(1)
    assert outer(a) == {("192.168.1.5", "192.0.2.2", Encapsulation(4500, 4500))}
    assert outer(b) == {("192.0.2.2", "203.0.113.9", Encapsulation(4500, 5500))}
    network.run(50)
    assert sum(data == b"\xff" for *_, data in network.carried) == 2
    network.move(a, "198.51.100.7")
    network.run(1)
    assert outer(a) == {("198.51.100.7", "192.0.2.2", None)}
    assert outer(b) == {("192.0.2.2", "198.51.100.7", None)}
    network.run(50)
    assert sum(data == b"\xff" for *_, data in network.carried) == 2
    assert_agree(a, b)


def test_new_mapping_of_our_router_is_found_by_liveness() -> None:
    network, a, b = ends()
    network.nat["192.168.1.5"] = ("203.0.113.9", 1000)
    network.move(a, "192.168.1.5")
    network.run(40)
    network.nat["192.168.1.5"] = ("203.0.113.9", 2000)
    network.run(61)
    assert outer(b) == {("192.0.2.2", "203.0.113.9", Encapsulation(4500, 6500))}
    assert_agree(a, b)


def test_address_that_the_configuration_does_not_allow_is_not_accepted() -> None:
    network, a, b = ends(remote_addresses=("192.0.2.0/24",))
    (before,) = established(a)
    network.move(a, "198.51.100.7")
    network.run(0.5)
    assert "UNACCEPTABLE_ADDRESSES" in before.reason
    assert b.engine.core.counters["mobike-unacceptable"] == 1
    assert outer(b) == {("192.0.2.2", "192.0.2.1", None)}


def test_dead_path_is_left_for_another_address_of_the_peer() -> None:
    """The responder has a second address that it told of; the first one dies without a word."""
    network = Network(6)
    right = right_end(remote=None, dpd_delay=0.0)  # fmt: skip
    b = network.host("right", "192.0.2.2")
    network.hosts["192.0.2.3"] = b
    network.perform(b, b.engine.network_changed(("192.0.2.2", "192.0.2.3", "127.0.0.1", "fe80::1"), network.now))
    network.apply(b, Snapshot.build(1, [right], [psk()]))
    a = network.host("left", "192.0.2.1")
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2", dpd_delay=5.0)
    network.apply(a, Snapshot.build(1, [left], [psk()]))
    network.run(1)
    (before,) = established(a)
    assert before.mobility is not None
    assert before.mobility.theirs == ("192.0.2.3",)
    network.cut |= {("192.0.2.1", "192.0.2.2"), ("192.0.2.2", "192.0.2.1")}
    network.run(20)
    assert established(a) == [before]
    assert outer(a) == {("192.0.2.1", "192.0.2.3", None)}
    assert outer(b) == {("192.0.2.3", "192.0.2.1", None)}


def test_datagrams_of_the_peer_are_marked() -> None:
    network = Network(7)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2", dscp=46)
    a, _ = two(network, left=left)
    sent = []
    perform = network.perform
    network.perform = lambda host, effects: (sent.extend((host, one) for one in effects), perform(host, effects))[1]  # type: ignore[method-assign]
    network.run(40)
    ours = {one.dscp for host, one in sent if host is a and isinstance(one, Send)}
    theirs = {one.dscp for host, one in sent if host is not a and isinstance(one, Send)}
    assert (ours, theirs) == ({46}, {0})


def wander(network: Network, a: Host, b: Host, chance: random.Random, *, far: bool) -> None:
    """One thing that happens: an end moves (the far one, or the near one also behind routers), or either rekeys."""
    match chance.choice("far near".split() if far else "near near map".split()) if chance.random() < 0.7 else "rekey":
        case "far" if not far or a.address == "192.0.2.1":
            network.move(b, f"203.0.113.{chance.randrange(50, 90)}")
        case "near" if not far:
            place = chance.choice([f"198.51.100.{chance.randrange(5, 200)}", "192.168.1.5", "192.168.1.6"])
            if place != a.address:
                network.move(a, place)
        case "map" if a.address in network.nat:
            network.nat[a.address] = ("203.0.113.9", chance.randrange(5000, 20_000))
        case "rekey":
            host, other = chance.choice([(a, "right"), (b, "left")])
            network.perform(host, host.engine.rekey(other, None, network.now)[1])


LONGER = (109, 205, 319, 335, 1894, 3417, 5327, 10505, 12745, 14609, 14678, 15126, 27028, 47418)
BY_ITSELF = Retransmission()
"""The patience that a peer has by itself; that of `peer` ends before a liveness check does."""


@pytest.mark.parametrize(
    ("seed", "more"),
    [
        *((seed, {}) for seed in range(60)),
        *((seed, {"retransmission": BY_ITSELF}) for seed in LONGER),
    ],
)
def test_wandering_ends_find_each_other(seed: int, more: dict[str, Retransmission]) -> None:
    """One end wanders, through routers too, while both rekey, over a bad network: the tunnel that was made stays.

    Some find each other only by patience: who is not behind the routers hears of a new mapping when the other end
    checks whether it is alive.
    """
    network, a, b = ends(**more)
    chance = random.Random(seed)
    network.random.seed(seed)
    network.weather = Weather(loss=chance.random() * 0.25, duplicate=0.2, delay=0.05, jitter=chance.random())
    network.nat |= {"192.168.1.5": ("203.0.113.9", 1000), "192.168.1.6": ("203.0.113.9", 3000)}
    (child,) = established(a)[0].children.values()
    for _ in range(chance.randrange(1, 6)):
        wander(network, a, b, chance, far=seed % 2 == 0)
        network.run(chance.random() * 8)
    network.weather = Weather()
    network.run(420)
    assert_agree(a, b)
    assert list(established(a)[0].children.values()) == [child]
    router = network.nat.get(a.address)
    seen, ports = (router[0], Encapsulation(4500, 4500)) if router else (a.address, None)
    assert outer(a) == {(a.address, b.address, ports)}
    assert outer(b) == {(b.address, seen, Encapsulation(4500, 4500 + router[1]) if router else None)}


def test_mapping_that_changes_before_the_peer_has_our_answer_to_its_rekey_is_found_by_the_old_sa() -> None:
    """The answer is lost, and so is each repeat of the request, as it goes to the mapping that was:

    <-- SA, Ni   --> SA, Nr (lost)   <-- SA, Ni (to nobody)   --> N(NAT_DETECTION_*)   <--   --> N(UPDATE_SA_ADDRESSES)
    """
    network, a, b = ends(retransmission=Retransmission())
    network.nat["192.168.1.5"] = ("203.0.113.9", 1000)
    network.move(a, "192.168.1.5")
    network.run(5)
    (child,) = established(a)[0].children.values()
    network.cut.add(("192.168.1.5", "192.0.2.2"))
    network.perform(b, b.engine.rekey("left", None, network.now)[1])
    network.run(0.5)
    network.cut.clear()
    network.nat["192.168.1.5"] = ("203.0.113.9", 2000)
    network.run(60)
    assert_agree(a, b)
    assert list(established(a)[0].children.values()) == [child]
    assert outer(b) == {("192.0.2.2", "203.0.113.9", Encapsulation(4500, 6500))}


def test_who_moves_while_both_rekey_tells_by_the_sa_that_the_peer_knows() -> None:
    """The peer's nonces win, and it has not our answer yet: it hears where we are by the SA that both replace.

    --> SA, Ni   <-- SA, Ni   we move   --> SA, Nr (lost)   <-- SA, Nr   --> N(UPDATE_SA_ADDRESSES) by the old SA
    """
    for seed in range(8):
        network, a, b = ends(retransmission=Retransmission())
        (child,) = established(a)[0].children.values()
        for host, salt in ((a, seed), (b, seed + 100)):
            host.engine.core.random = random.Random(salt).randbytes
        network.cut = {("192.0.2.1", "192.0.2.2"), ("192.0.2.2", "192.0.2.1")}
        for host, other in ((a, "right"), (b, "left")):
            network.perform(host, host.engine.rekey(other, None, network.now)[1])
        network.cut.discard(("192.0.2.2", "192.0.2.1"))
        network.run(2.5)
        network.nat["192.168.1.5"] = ("203.0.113.9", 1000)
        network.move(a, "192.168.1.5")
        network.run(40)
        assert_agree(a, b)
        assert list(established(a)[0].children.values()) == [child]


def test_peer_that_moves_on_is_waited_for_as_long_as_it_tells() -> None:
    """Our patience is short; where it went first it is no more, and what it says from there on is lost for a while."""
    network, a, b = ends(retransmission=Retransmission())
    (child,) = established(a)[0].children.values()
    network.move(b, "203.0.113.2")
    network.run(0.015)
    network.cut.add(("203.0.113.3", "192.0.2.1"))
    network.move(b, "203.0.113.3")
    network.run(22)
    network.cut.clear()
    network.run(40)
    assert_agree(a, b)
    assert list(established(a)[0].children.values()) == [child]
    assert outer(a) == {("192.0.2.1", "203.0.113.3", None)}


def test_new_sa_of_a_rekey_is_not_used_before_the_peer_has_it() -> None:
    """It would say that it knows no such SA, and prove it with its token (RFC 6290)."""
    network, a, b = ends()
    network.cut.add(("192.0.2.2", "192.0.2.1"))
    network.perform(a, a.engine.rekey("right", None, network.now)[1])
    network.run(0.5)
    (new,) = established(b)
    network.cut.clear()
    network.perform(b, b.engine.rekey("left", "net", network.now)[1])
    network.run(0.005)
    assert not [data for _, source, _, data in network.carried if data[:8] == new.spi_i and source == "192.0.2.2"]
    network.run(40)
    assert_agree(a, b)
    assert established(b) == [new]
