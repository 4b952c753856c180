"""Paths that lose what is large: the attempt says so, and what came of it, on both ends."""

from dataclasses import replace

import pytest

from gateway.ike import quantum
from gateway.ike.attempts import Attempt
from gateway.ike.standing import Standing
from gateway.policy.peers import Retransmission
from gateway.policy.quantum import Demand, PostQuantum
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.wire.message import parse, parse_header
from gateway.wire.numbers import ExchangeType
from gateway.wire.payloads import SKF
from tests.simulation.network import Host, Network
from tests.simulation.test_post_quantum import HYBRID, pair, up

CLASSICAL = "aes256gcm16-prfsha256-x25519"


def fragment(data: bytes) -> tuple[int, int] | None:
    """Which of how many this datagram is."""
    last = parse(data).payloads[-1:]
    return (last[0].fragment_number, last[0].total) if last and isinstance(last[0], SKF) else None


def every_second(data: bytes) -> bool:
    found = fragment(data)
    return found is not None and found[0] % 2 == 0


def first(host: Host) -> Attempt:
    return host.engine.core.attempts.latest(99)[-1]


def test_large_messages_that_never_arrive_are_told_from_silence() -> None:
    network = Network(1)
    network.loses = lambda data: parse_header(data).exchange == ExchangeType.IKE_INTERMEDIATE
    left, right = pair(network, (HYBRID,), (HYBRID,))
    network.run(120)
    attempt = first(left)
    assert attempt.cause == "messages-lost"
    assert attempt.reason.startswith("the peer answered IKE_SA_INIT, but there is no answer to IKE_INTERMEDIATE after")
    assert "our IKE_INTERMEDIATE request, in 3 fragments of up to 576 octets, seems to get lost" in attempt.reason
    assert "fragment_octets" in attempt.advice and "firewalls" in attempt.advice
    assert first(right).cause == "timeout", "nothing of it came"
    silent = Network(2)
    silent.loses = lambda data: True
    left, _ = pair(silent, (HYBRID,), (HYBRID,))
    silent.run(120)
    assert first(left).cause == "timeout" and "IKE_SA_INIT" in first(left).reason


def test_every_second_fragment_lost_is_told_by_number_on_the_responder() -> None:
    network = Network(3)
    network.loses = every_second
    left, right = pair(network, (HYBRID,), (HYBRID,))
    network.run(120)
    assert first(left).cause == first(right).cause == "messages-lost"
    told = first(right).reason
    assert "of its IKE_INTERMEDIATE request fragment" in told
    assert told.endswith(("fragment 1 of 2 came, 2 never did", "fragments 1 and 3 of 3 came, 2 never did"))


def test_a_response_of_which_a_part_came_is_told_by_number() -> None:
    network = Network(4)
    network.mtu = 700
    network.loses = lambda data: parse_header(data).response and every_second(data)
    left, right = pair(network, (HYBRID,), (HYBRID,))
    network.run(120)
    assert first(left).cause == "messages-lost"
    assert "of its IKE_INTERMEDIATE response fragments 1 and 3 of 3 came, 2 never did" in first(left).reason
    assert first(right).cause == "messages-lost"
    assert "times again for our last response, in 3 fragments of up to 576 octets" in first(right).reason


def test_what_is_small_and_not_answered_is_no_loss_of_fragments() -> None:
    network = Network(5)
    network.loses = lambda data: parse_header(data).exchange == ExchangeType.IKE_AUTH
    left, right = pair(network, (CLASSICAL,), (CLASSICAL,))
    network.run(120)
    assert (first(left).cause, first(right).cause) == ("timeout-auth", "timeout")


@pytest.mark.parametrize("demand", [Demand.OFF, Demand.PREFER, Demand.REQUIRE])
def test_after_a_loss_the_peer_is_called_without_unless_it_is_required(demand: Demand) -> None:
    network = Network(6)
    network.loses = lambda data: parse_header(data).exchange == ExchangeType.IKE_INTERMEDIATE
    ways = (HYBRID, CLASSICAL)
    left, right = pair(network, ways, ways, post_quantum=PostQuantum(demand))
    network.run(300)
    if demand is Demand.REQUIRE:
        assert up(left) is up(right) is None
        assert {attempt.cause for attempt in left.engine.core.attempts.latest(9) if attempt.ended} == {"messages-lost"}
        return
    assert up(left) == up(right) == CLASSICAL
    (sa,) = left.engine.ike_sas()
    why = "the messages with ML-KEM got lost on the path, and we fell back; who drops them on purpose brings that about"
    assert quantum.why_classical(sa) == f"{why}, unless ML-KEM or a PPK is required"
    assert left.kinds().count("post-quantum.fallback") == 1
    network.perform(left, left.engine.rekey("right", None, network.now)[1])
    network.run(10)
    (sa,) = left.engine.ike_sas()
    assert up(left) == CLASSICAL, "a rekey does not lose itself on the same path"
    assert "got lost on the path" in quantum.why_classical(sa)


def loses_ml_kem(data: bytes) -> bool:
    return parse_header(data).exchange == ExchangeType.IKE_INTERMEDIATE


@pytest.mark.parametrize("action", ["", "a new call"])
def test_who_fell_back_has_ml_kem_again_soon_after_the_path_carries_it(action: str) -> None:
    """By itself, beside what stands; or by the next call."""
    network = Network(7)
    network.loses = loses_ml_kem
    ways = (HYBRID, CLASSICAL)
    left, right = pair(network, ways, ways, dpd_delay=0.0)
    network.run(200)
    assert up(left) == CLASSICAL
    network.loses = lambda data: False
    if action:
        network.reboot(right, right.engine.core.snapshot)
    network.run(quantum.FALL_BACK)
    if action:
        for act in (left.engine.disconnect, left.engine.connect):
            network.perform(left, act("right", None, network.now)[1])
            network.run(5)
    assert up(left) == up(right) == HYBRID
    assert quantum.standing(left.engine.ike_sas()[0]) is Standing.HYBRID
    assert not left.engine.core.extensions.fell_back


def test_both_ends_are_told_that_keys_are_weaker_than_they_were() -> None:
    """Who drops what is large has what he wants of two that prefer ML-KEM, but not in silence."""
    network = Network(8)
    ways = (HYBRID, CLASSICAL)
    left, right = pair(network, ways, ways, post_quantum=PostQuantum(Demand.PREFER))
    network.run(5)
    assert up(left) == HYBRID
    assert not {"post-quantum.missed", "post-quantum.fallback"} & {*left.kinds(), *right.kinds()}
    network.loses = loses_ml_kem
    network.perform(left, left.engine.disconnect("right", None, network.now)[1])
    network.run(5)
    network.perform(left, left.engine.connect("right", None, network.now)[1])
    network.run(200)
    assert up(left) == up(right) == CLASSICAL
    for host in (left, right):
        told = next(event for event in host.events if event.kind == "post-quantum.missed")
        assert told.data["weaker"] is True
        assert told.text.endswith(
            "they were not before (hybrid): where classical keys must not be, require ML-KEM or a PPK of it"
        )
    assert left.kinds().count("post-quantum.fallback") == 1


def test_a_path_that_goes_on_losing_costs_a_call_an_hour_and_leaves_the_tunnel_alone() -> None:
    network = Network(7)
    network.loses = loses_ml_kem
    ways = (HYBRID, CLASSICAL)
    left, right = pair(network, ways, ways, reauth_time=24 * 3600.0)
    network.run(300)
    told = [event for event in left.events if event.kind == "post-quantum.fallback"]
    lost = "large messages seem to get lost, or somebody on the path drops them"
    cure = "where classical keys must not be, require ML-KEM or a PPK of it"
    assert [event.text for event in told] == [f"right is called without ML-KEM for 5 minutes: {lost}; {cure}"]
    left.events.clear()
    right.events.clear()
    network.run(7 * 3600.0)
    waits = [event.data["seconds"] for event in left.events if event.kind == "post-quantum.fallback"]
    assert waits == [600.0, 1200.0, 2400.0, *[3600.0] * 6]
    assert up(left) == up(right) == CLASSICAL
    assert not {"child-sa.closed", "ike-sa.closed"} & {*left.kinds(), *right.kinds()}
    retry = quantum.retry_at(left.engine.core, left.engine.core.snapshot.peers["right"])
    assert retry is not None
    assert 0 < retry - network.now <= quantum.FALL_BACK_MOST


def test_who_falls_silent_while_it_goes_without_is_called_without_at_once() -> None:
    """A path that really loses what is large costs nobody who reconnects another call in vain."""
    network = Network(7)
    network.loses = loses_ml_kem
    ways = (HYBRID, CLASSICAL)
    left, right = pair(network, ways, ways)
    network.run(2 * 3600.0)
    assert up(left) == CLASSICAL
    network.reboot(right, right.engine.core.snapshot)
    network.run(45)
    assert up(left) == CLASSICAL


def test_what_came_after_all_is_not_told_as_lost() -> None:
    """Fragments of an IKE_INTERMEDIATE response are missing for long, then come; later IKE_AUTH gets no answer."""
    network = Network(8)
    waits = Retransmission(tries=6, base=12.0, factor=1.0, jitter=0.0)
    left, right = pair(network, (HYBRID,), (HYBRID,), retransmission=waits)
    known = right.engine.core.snapshot
    patient = EngineSettings(half_open_timeout=300.0)
    network.apply(right, Snapshot.build(2, known.peers.values(), known.psks, patient))
    began = network.now

    def loses(data: bytes) -> bool:
        head = parse_header(data)
        late = head.response and network.now < began + 56.0 and every_second(data)
        return head.exchange == ExchangeType.IKE_AUTH or late

    network.mtu, network.loses = 700, loses
    network.run(55)
    assert "never did" in left.engine.ike_sas()[0].incomplete
    network.run(200)
    assert first(left).cause == "timeout-auth", first(left).reason
    assert "IKE_INTERMEDIATE" not in first(left).reason


@pytest.mark.parametrize("resumption", [False, True])
def test_whoever_sets_smaller_fragments_is_called_with_ml_kem_again(resumption: bool) -> None:
    """Also where there is a ticket of the IKE SA that fell back."""
    network = Network(9)
    network.loses = lambda data: parse_header(data).exchange == ExchangeType.IKE_INTERMEDIATE
    ways = (HYBRID, CLASSICAL)
    left, right = pair(network, ways, ways, resumption=resumption)
    network.run(300)
    assert up(left) == CLASSICAL
    network.loses = lambda data: False
    known = left.engine.core.snapshot
    (config,) = known.peers.values()
    network.apply(left, Snapshot.build(2, [replace(config, fragment_octets=600)], known.psks))
    assert up(left) == CLASSICAL, "what stands is left alone"
    network.reboot(right, right.engine.core.snapshot)
    network.run(200)
    assert up(left) == up(right) == HYBRID
