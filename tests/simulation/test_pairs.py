"""One pair of selectors in each CHILD_SA, and what a waiting packet asks for first (RFC 7296 2.9)."""

from dataclasses import replace

import pytest

from gateway.ike.answering import script as honest
from gateway.ike.attempts import Outcome
from gateway.ike.core import Core
from gateway.ike.plane import Action, Counters
from gateway.ike.plane_events import Acquire, Expire
from gateway.ike.sa import IkeSa
from gateway.policy.peers import Peer, Start
from gateway.policy.selectors import Selector
from gateway.service.observe import Observer
from gateway.service.status import TunnelState
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, NotifyType
from gateway.wire.outcome import Reject
from tests.simulation.kinds import (
    LEFT,
    RIGHT,
    child,
    configure,
    failed,
    left_peer,
    nets,
    right_peer,
    standing,
    texts,
    up,
)
from tests.simulation.network import Host, Network, Weather, two

OURS, THEIRS = "10.1.0.0/24 10.1.1.0/24", "10.2.0.0/24 10.2.1.0/24"
FOUR = {(ours, theirs) for ours in OURS.split() for theirs in THEIRS.split()}


def pairs(host: Host) -> list[tuple[str, str]]:
    """Ours and theirs of every CHILD_SA; each has one pair."""
    found = []
    for made in standing(host):
        assert len(made.local) == len(made.remote) == 1
        found.append((made.local[0].text, made.remote[0].text))
    return found


def mirrored(host: Host) -> set[tuple[str, str]]:
    return {(theirs, ours) for ours, theirs in pairs(host)}


def assert_four(a: Host, b: Host) -> None:
    """One live CHILD_SA for each pair, on both ends the same, and nothing else in the data planes."""
    assert sorted(pairs(a)) == sorted(FOUR)
    assert mirrored(b) == FOUR
    assert len(pairs(b)) == 4
    for host in (a, b):
        lying = {state.spi for state in host.plane.states()}
        assert lying == {spi for made in standing(host) for spi in (made.spi_in, made.spi_out)}


@pytest.mark.parametrize("theirs_too", [True, False])
def test_each_pair_has_a_child_sa_of_its_own(theirs_too: bool) -> None:
    network = Network(1)
    left = left_peer(child(OURS, THEIRS, single_pair=True))
    a, b = up(network, left, right_peer(child(THEIRS, OURS, single_pair=theirs_too)), 5)
    assert_four(a, b)
    assert {made.name for made in standing(a)} == {"net"}
    network.run(600)
    assert_four(a, b)


@pytest.mark.parametrize("side", ["left", "right"])
def test_rekeys_keep_each_pair_apart(side: str) -> None:
    network = Network(2)
    left, right = left_peer(child(OURS, THEIRS, single_pair=True)), right_peer(child(THEIRS, OURS))
    a, b = up(network, left, right, 5)
    before = {made.spi_in for made in standing(a)}
    host, other = (a, "right") if side == "left" else (b, "left")
    begun, effects = host.engine.rekey(other, "net", network.now)
    assert len(begun) == 4
    network.perform(host, effects)
    network.run(60)
    assert_four(a, b)
    assert not before & {made.spi_in for made in standing(a)}


def test_one_pair_that_ends_comes_back_alone() -> None:
    network = Network(3)
    a, b = up(network, left_peer(child(OURS, THEIRS, single_pair=True)), right_peer(child(THEIRS, OURS)), 5)
    gone, *kept = standing(a)
    (mirror,) = [made for made in standing(b) if made.spi_in == gone.spi_out]
    network.perform(b, b.engine.kernel(Expire(mirror.inbound.key, hard=True), network.now))
    network.run(60)
    assert_four(a, b)
    assert {made.spi_in for made in kept} < {made.spi_in for made in standing(a)}


@pytest.mark.parametrize("seed", range(12))
def test_both_ends_at_once_end_with_one_for_each_pair(seed: int) -> None:
    network = Network(seed, Weather(loss=0.1, duplicate=0.1, delay=0.05, jitter=0.3))
    ours, theirs = child(OURS, THEIRS, single_pair=True), child(THEIRS, OURS, single_pair=True)
    a, b = two(network, left=left_peer(ours), right=replace(right_peer(theirs), children=(theirs,)))
    network.run(200)
    network.weather = Weather()
    network.run(200)
    assert_four(a, b)
    for host, other in ((a, "right"), (b, "left")):
        network.perform(host, host.engine.rekey(other, "net", network.now)[1])
    network.run(120)
    assert_four(a, b)


def test_a_responder_of_single_pairs_says_that_there_are_more() -> None:
    network = Network(4)
    a, b = up(network, left_peer(child(OURS, THEIRS)), right_peer(child(THEIRS, OURS, single_pair=True)), 5)
    assert_four(a, b)
    assert {attempt.outcome for attempt in a.engine.core.attempts.latest(9)} == {Outcome.ESTABLISHED}


def one_pair(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload]:
    """What a responder says that takes a single pair of selectors in each CHILD_SA, and refuses to narrow."""
    sides = [payload for payload in request.payloads if isinstance(payload, wire.TSi | wire.TSr)]
    if all(len(side.selectors) == 1 for side in sides):
        return honest(core, sa, request)
    refusal = NotifyType.SINGLE_PAIR_REQUIRED
    if request.exchange != ExchangeType.IKE_AUTH:
        raise Reject(refusal, "one pair at a time")
    request.payloads = [one for one in request.payloads if not isinstance(one, wire.SA | wire.TSi | wire.TSr)]
    return [*honest(core, sa, request), wire.Notify(0, b"", refusal, b"")]


def strict(network: Network, left: Peer, right: Peer) -> tuple[Host, Host]:
    a, b = network.host("left", LEFT), network.host("right", RIGHT)
    b.engine.core.answers = one_pair
    configure(network, b, right)
    configure(network, a, left)
    network.run(1)
    return a, b


@pytest.mark.parametrize("childless", [True, False])
def test_single_pair_required_is_told_apart_and_obeyed(childless: bool) -> None:
    network = Network(5)
    left = left_peer(child(OURS, THEIRS), childless=childless)
    a, b = strict(network, left, right_peer(child(THEIRS, OURS)))
    (told,) = [attempt for attempt in a.engine.core.attempts.latest(9) if attempt.outcome == Outcome.FAILED]
    assert (told.cause, told.notify) == ("single-pair", NotifyType.SINGLE_PAIR_REQUIRED)
    assert "SINGLE_PAIR_REQUIRED" in told.reason
    assert "single_pair" in told.advice
    assert_four(a, b)
    network.run(7200)
    assert_four(a, b)
    refused = [attempt for attempt in a.engine.core.attempts.latest(999) if attempt.cause == "single-pair"]
    assert len(refused) == 1
    # A changed child is tried whole again.
    configure(network, a, left_peer(child(OURS, "10.2.0.0/24", "net"), childless=childless))
    network.run(5)
    assert len([one for one in a.engine.core.attempts.latest(999) if one.cause == "single-pair"]) == 2
    assert sorted(pairs(a)) == [(ours, "10.2.0.0/24") for ours in OURS.split()]


def test_a_peer_does_not_make_us_split_a_child_into_too_many() -> None:
    network = Network(6)
    many = " ".join(f"10.1.{number}.0/24" for number in range(20))
    left = left_peer(child(many, many.replace("10.1", "10.2")), childless=True)
    a, _ = strict(network, left, right_peer(child("10.2.0.0/16", "10.1.0.0/16")))
    network.run(60)
    assert not standing(a)
    assert failed(a).cause == "single-pair"


# --- what status tells ---


def observed(network: Network, host: Host) -> Observer:
    observer = Observer(host.engine, host.plane, lambda: network.now, lambda: 0.0)
    observer.counting.refresh(force=True)
    return observer


def test_networks_that_the_peer_leaves_out_are_told() -> None:
    network = Network(20)
    left = left_peer(child("10.1.0.0/16", "10.2.0.0/24 fd02::/64 10.3.0.0/24"))
    a, b = up(network, left, right_peer(child("10.2.0.0/24", "10.1.0.0/17")))
    (ours,), (theirs,) = observed(network, a).status((), ()).child_sas, observed(network, b).status((), ()).child_sas
    assert ours.mode == "tunnel"
    assert (ours.local_selectors, ours.unmet_local) == (("10.1.0.0/17",), ("10.1.128.0/17",))
    assert (ours.remote_selectors, ours.unmet_remote) == (("10.2.0.0/24",), ("fd02::/64", "10.3.0.0/24"))
    assert (theirs.unmet_local, theirs.unmet_remote) == ((), ())


def test_a_child_of_pairs_is_one_child_and_up_when_all_are() -> None:
    network = Network(21)
    left = left_peer(child(OURS, THEIRS, single_pair=True))
    a, b = up(network, left, right_peer(child(THEIRS, "10.1.0.0/24")), 5)
    observer = observed(network, a)
    told = observer.peer(left)
    assert [(one.name, one.state) for one in told.children] == [("net", TunnelState.DEGRADED)]
    assert told.state == TunnelState.DEGRADED
    assert told.children[0].reason.startswith("2 of 4 pairs of networks are up; 10.1.1.0/24 = 10.2.")
    assert all(one.unmet_local == one.unmet_remote == () for one in observer.status((), ()).child_sas)
    for number, made in enumerate(standing(a), 1):
        a.plane.count(made.inbound.key, Counters(octets=100 * number))
    observer.counting.refresh(force=True)
    assert [one.octets_in for one in observer.status((), ()).child_sas] == [100, 200]
    assert observer.peer(left).octets_in == 300
    configure(network, b, right_peer(child(THEIRS, OURS)))
    network.run(600)
    assert_four(a, b)
    assert observer.peer(left).state == TunnelState.UP


# --- a packet waits ---


def trapped(network: Network, host: Host, source: str, destination: str) -> None:
    """A packet that no CHILD_SA carries meets a trap."""
    traps = [policy for policy in host.plane.policies() if policy.spi is None and policy.action is Action.PROTECT]
    (trap,) = {
        trap.reqid
        for trap in traps
        if trap.source.contains(Selector.parse(source)) and trap.destination.contains(Selector.parse(destination))
    }
    packet = Selector.parse(source), Selector.parse(destination)
    network.perform(host, host.engine.kernel(Acquire(trap, packet), network.now))
    network.run(1)


def test_a_waiting_packet_comes_first_and_the_responder_keeps_it() -> None:
    network = Network(10)
    left = left_peer(child("10.1.0.0/16", "10.0.0.0/8", start=Start.ON_DEMAND))
    far, near = child("10.9.0.0/16", "10.1.0.0/16", "far"), child("10.2.0.0/24", "10.1.0.0/16", "near")
    a, b = up(network, left, right_peer(far, near))
    trapped(network, a, "10.1.0.7[tcp/40000]", "10.2.0.9[tcp/443]")
    assert [made.name for made in standing(b)] == ["near"]
    assert (texts(standing(a)[0].local), texts(standing(a)[0].remote)) == (["10.1.0.0/16"], ["10.2.0.0/24"])


def test_the_packet_alone_is_not_asked_for_again() -> None:
    network = Network(11)
    a, b = up(network, left_peer(child(OURS, THEIRS, start=Start.ON_DEMAND)), right_peer(child(THEIRS, OURS)))
    trapped(network, a, "10.1.0.7[udp/53]", "10.2.1.9[udp/53]")
    network.perform(a, a.engine.rekey("right", "net", network.now)[1])
    network.run(60)
    for host, mine, other in ((a, OURS, THEIRS), (b, THEIRS, OURS)):
        (made,) = standing(host)
        assert (texts(made.local), texts(made.remote)) == (mine.split(), other.split())


def test_of_single_pairs_the_packets_own_is_made() -> None:
    network = Network(12)
    left = left_peer(child(OURS, THEIRS, start=Start.ON_DEMAND, single_pair=True))
    a, b = up(network, left, right_peer(child(THEIRS, OURS)))
    trapped(network, a, "10.1.1.7[tcp/40000]", "10.2.0.9[tcp/443]")
    assert pairs(a) == [("10.1.1.0/24", "10.2.0.0/24")]
    trapped(network, a, "10.1.0.7[tcp/40000]", "10.2.0.9[tcp/443]")
    assert pairs(a) == [("10.1.1.0/24", "10.2.0.0/24"), ("10.1.0.0/24", "10.2.0.0/24")]
    assert mirrored(b) == set(pairs(a))


def test_a_single_pair_of_ours_is_the_one_with_the_packet() -> None:
    network = Network(13)
    left = left_peer(child(OURS, THEIRS, start=Start.ON_DEMAND))
    a, b = up(network, left, right_peer(child(THEIRS, OURS, single_pair=True)))
    trapped(network, a, "10.1.1.7[tcp/40000]", "10.2.1.9[tcp/443]")
    assert standing(b)[0].local == nets("10.2.1.0/24")
    assert standing(b)[0].remote == nets("10.1.1.0/24")
