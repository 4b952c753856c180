"""The answer that was the last word of an IKE SA got lost: who waits for it asks again, and is told again."""

from dataclasses import replace

from gateway.ike.effects import Send
from gateway.ike.last_answers import _LIFETIME, _MOST
from gateway.ike.path import Path
from gateway.ike.sa import Lifecycle
from gateway.wire.numbers import ExchangeType
from tests.simulation.ladders import INFO, Ladder
from tests.simulation.network import Host, Network, two

AUTH = ExchangeType.IKE_AUTH


def tell(ladder: Ladder, host: Host, data: bytes) -> list[object]:
    """What the host does with a datagram that comes from the other end."""
    other = ladder.a if host is ladder.b else ladder.b
    return list(host.engine.receive(data, Path(host.address, other.address, 500), ladder.network.now))


def test_a_delete_whose_answer_is_lost_is_answered_again() -> None:
    ladder = Ladder()
    ladder.disconnect(ladder.a)
    # A --> D(IKE)
    ladder.request(ladder.a, INFO)
    assert ladder.b.sas == []
    # A <-X- {}
    ladder.lose(ladder.b, INFO, response=True)
    assert ladder.old.state is Lifecycle.DELETING
    ladder.network.run(3)
    # A --> D(IKE) again, the same octets
    letter = ladder.network.take(ladder.a, INFO)
    assert letter.data == ladder.old.requests.pending.datagrams[0]  # type: ignore[union-attr]
    ladder.network.deliver(letter)
    # A <-- {}
    ladder.response(ladder.b, INFO)
    assert ladder.a.sas == []


def test_a_refusal_that_is_lost_is_said_again() -> None:
    network = Network(3)
    network.holding = True
    a, b = two(network, left_key=b"another secret than the other end has")
    for exchange in (ExchangeType.IKE_SA_INIT, AUTH):
        network.run(0.1)
        network.deliver(network.take(a, exchange))
        if exchange is not AUTH:
            network.deliver(network.take(b, exchange, response=True))
    assert b.sas == [], "who does not prove itself is not kept"
    network.take(b, AUTH, response=True)
    network.run(3)
    network.deliver(network.take(a, AUTH))
    network.deliver(network.take(b, AUTH, response=True))
    attempt = a.engine.core.attempts.last("right")
    assert attempt is not None and attempt.cause == "peer-refused-us"


def test_only_the_same_octets_are_answered_and_not_for_ever() -> None:
    ladder = Ladder()
    ladder.disconnect(ladder.a)
    letter = ladder.network.take(ladder.a, INFO)
    ladder.network.deliver(letter)
    assert tell(ladder, ladder.b, letter.data), "the same"
    sent = [*tell(ladder, ladder.b, letter.data[:-1] + b"\0"), *tell(ladder, ladder.a, letter.data)]
    assert not any(letter.data == getattr(effect, "data", b"") for effect in sent)
    assert ladder.b.engine.core.counters["repeated"] == 1, "another message, and our own, are none of it"
    ladder.network.run(_LIFETIME + 1)
    tell(ladder, ladder.b, letter.data)
    assert ladder.b.engine.core.counters["repeated"] == 1
    assert not ladder.b.engine.core.extensions.last_answers._kept


def test_no_more_are_kept_than_there_is_room_for() -> None:
    ladder = Ladder()
    kept = ladder.b.engine.core.extensions.last_answers
    for number in range(_MOST + 5):
        ladder.other_old.spi_r = number.to_bytes(8)
        kept.keep(ladder.other_old, ladder.network.now)
    assert len(kept._kept) == _MOST
    assert (4).to_bytes(8) not in kept._kept and (5).to_bytes(8) in kept._kept


def test_it_goes_again_with_the_dscp_that_it_had() -> None:
    ladder = Ladder()
    for sa in ladder.b.engine.ike_sas():
        assert sa.peer is not None
        sa.peer = replace(sa.peer, dscp=46)
    ladder.disconnect(ladder.a)
    ladder.request(ladder.a, INFO)
    ladder.lose(ladder.b, INFO, response=True)
    ladder.network.run(3)
    letter = ladder.network.take(ladder.a, INFO)
    (again,) = [one for one in tell(ladder, ladder.b, letter.data) if isinstance(one, Send)]
    assert again.dscp == 46
