"""Coming back with a ticket after the other end was lost (RFC 5723)."""

from dataclasses import replace

import pytest

from gateway.ike.effects import Send
from gateway.ike.path import Path
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build, parse
from gateway.wire.numbers import ExchangeType, NotifyType
from tests.simulation.network import SECRET, Host, Network, Weather, peer, psk, right_end, two

RESUME, INIT, AUTH = ExchangeType.IKE_SESSION_RESUME, ExchangeType.IKE_SA_INIT, ExchangeType.IKE_AUTH
RIGHT = right_end()


def established(host: Host) -> list[IkeSa]:
    return [sa for sa in host.engine.ike_sas() if sa.state == Lifecycle.ESTABLISHED]


def up(seed: int = 1, **more: object) -> tuple[Network, Host, Host]:
    network = Network(seed)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2", **more)
    a, b = two(network, left=left, right=RIGHT)
    network.run(2)
    assert established(a) and established(b)
    return network, a, b


def openings(network: Network, since: int = 0) -> list[int]:
    """The exchanges that opened IKE SAs, as requests."""
    sent = [parse(data) for _, _, _, data in network.carried[since:] if len(data) > 1]
    return [message.exchange for message in sent if message.exchange in (INIT, RESUME) and not message.response]


def cable(network: Network, *, seconds: float) -> int:
    """Pull it, and plug it in again; how many datagrams were carried before."""
    carried = len(network.carried)
    network.weather = Weather(loss=1.0)
    network.run(seconds)
    network.weather = Weather()
    return carried


def assert_agree(a: Host, b: Host) -> None:
    (one,), (other,) = established(a), established(b)
    assert one.keys == other.keys
    assert len(one.children) == len(other.children) == 1
    assert len(list(a.plane.states())) == len(list(b.plane.states())) == 2


def lost_and_found(network: Network, a: Host, b: Host) -> bool:
    """An outage until an end has given up the SA; whether the tunnel came back by its ticket."""
    before = b.engine.core.counters["resumed"]
    network.weather = Weather(loss=1.0)
    for _ in range(400):
        network.run(1)
        if not established(a) and not established(b) and any(data[18] == RESUME for _, _, _, data in flying(network)):
            break
    network.weather = Weather()
    network.run(60)
    assert_agree(a, b)
    return b.engine.core.counters["resumed"] > before


def flying(network: Network) -> list[tuple[float, str, str, bytes]]:
    """What was sent in the last seconds."""
    return [one for one in network.carried[-6:] if one[0] > network.now - 1.5 and len(one[3]) > 18]


def test_after_an_outage_the_tunnel_comes_back_by_its_ticket() -> None:
    network, a, b = up()
    keys = established(a)[0].keys
    assert lost_and_found(network, a, b)
    assert openings(network)[-1] == RESUME
    assert established(a)[0].keys != keys
    attempt = a.engine.core.attempts.latest(1)[0]
    assert attempt.outcome == "established"
    assert "resumed" in attempt.steps[1].text
    assert lost_and_found(network, a, b)  # and again: by the ticket of the resumed SA


@pytest.mark.parametrize("seed", range(25))
def test_it_comes_back_over_a_bad_network(seed: int) -> None:
    network, a, b = up(seed)
    cable(network, seconds=100)
    network.weather = Weather(loss=0.3, duplicate=0.2, delay=0.05, jitter=0.8)
    network.run(300)
    network.weather = Weather()
    network.run(300)
    assert_agree(a, b)


def test_a_responder_that_rebooted_takes_the_ticket_it_gave_before() -> None:
    network, a, b = up()
    network.reboot(b, Snapshot.build(1, [RIGHT], [psk()]))
    carried = len(network.carried)
    network.run(60)
    assert_agree(a, b)
    assert openings(network, carried) == [RESUME]
    assert len(network.carried) - carried < 12


def test_a_responder_with_another_secret_says_no_and_all_begins_anew() -> None:
    network, a, b = up()
    network.reboot(b, Snapshot.build(1, [RIGHT], [psk()]), same_secret=False)
    carried = len(network.carried)
    network.run(120)
    assert_agree(a, b)
    assert openings(network, carried) == [RESUME, INIT]
    attempt = a.engine.core.attempts.latest(1)[0]
    assert "does not take our ticket" in attempt.steps[0].text


def test_a_responder_that_knows_no_tickets_is_called_as_ever() -> None:
    """It drops the unknown exchange: after two transmissions we begin anew, with another SPI."""
    network, a, b = up()
    cable(network, seconds=100)
    real = b.engine.receive

    def deaf(datagram: bytes, path: Path, now: float) -> list[object]:
        return [] if len(datagram) > 18 and datagram[18] == RESUME else real(datagram, path, now)

    b.engine.receive = deaf  # type: ignore[method-assign,assignment]
    network.run(60)
    assert_agree(a, b)


def test_the_cable_is_out_for_long_and_the_ticket_still_good() -> None:
    network, a, b = up()
    cable(network, seconds=3000)
    network.run(400)
    assert_agree(a, b)
    assert b.engine.core.counters["resumed"] == 1


def test_a_ticket_that_expired_is_not_shown() -> None:
    network, a, b = up()
    carried = cable(network, seconds=15_000)
    shown = [when for when, _, _, data in network.carried[carried:] if len(data) > 18 and data[18] == RESUME]
    assert max(shown) < network.now - 500
    network.run(400)
    assert_agree(a, b)
    assert b.engine.core.counters["resumed"] == 0


def test_who_was_taken_down_comes_back_with_his_full_proof() -> None:
    """Deleted on purpose: the ticket goes with the SA, on both ends."""
    network, a, b = up()
    ticket = a.engine.core.extensions.tickets.kept["right"]
    network.perform(b, b.engine.terminate(established(b)[0].id, network.now))
    network.run(0.5)
    assert not a.engine.core.extensions.tickets.kept
    a.engine.core.extensions.tickets.kept["right"] = ticket  # it cheats
    carried = len(network.carried)
    network.perform(a, a.engine.connect("right", None, network.now)[1])
    network.run(5)
    assert openings(network, carried) == [RESUME, INIT]
    assert b.engine.core.counters["resumed"] == 0
    assert_agree(a, b)


def test_a_ticket_is_taken_once() -> None:
    network, a, b = up()
    ticket = a.engine.core.extensions.tickets.kept["right"]
    assert lost_and_found(network, a, b)
    again = a.engine.core.extensions.tickets.kept["right"]
    again.ticket, again.sk_d = ticket.ticket, ticket.sk_d  # it shows the first one again
    assert not lost_and_found(network, a, b)
    assert b.engine.core.counters["tickets-refused"] >= 1


@pytest.mark.parametrize("rekeyed_by", ["left", "right"])
def test_after_a_rekey_there_is_a_new_ticket(rekeyed_by: str) -> None:
    network, a, b = up()
    before = a.engine.core.extensions.tickets.kept["right"].ticket
    host, other = (a, "right") if rekeyed_by == "left" else (b, "left")
    network.perform(host, host.engine.rekey(other, None, network.now)[1])
    network.run(5)
    assert a.engine.core.extensions.tickets.kept["right"].ticket != before
    assert not b.engine.core.extensions.tickets.kept  # who did not call needs none
    network.run(60)
    assert lost_and_found(network, a, b)


@pytest.mark.parametrize("change", ["key", "proposals", "disabled", "off"])
def test_a_change_of_the_configuration_makes_tickets_worthless(change: str) -> None:
    network, _, b = up()
    carried = cable(network, seconds=60)
    config, key = RIGHT, SECRET
    if change == "key":
        key = b"another secret"
    elif change == "proposals":
        config = replace(RIGHT, proposals=RIGHT.proposals[:1], force_encapsulation=True)
    elif change == "disabled":
        config = replace(RIGHT, enabled=False)
    else:
        config = replace(RIGHT, resumption=False)
    network.apply(b, Snapshot.build(2, [config], [psk(key)]))
    network.run(120)
    assert b.engine.core.counters["resumed"] == 0
    assert RESUME in openings(network, carried)
    assert bool(established(b)) is (change in ("proposals", "off"))


def test_who_does_not_want_tickets_asks_for_none() -> None:
    network, a, b = up(resumption=False)
    assert b.engine.core.counters["tickets-given"] == 0
    assert not a.engine.core.extensions.tickets.kept
    cable(network, seconds=120)
    network.run(60)
    assert_agree(a, b)
    assert RESUME not in openings(network)


def test_under_pressure_a_ticket_needs_a_cookie() -> None:
    network, a, b = up()
    network.reboot(b, Snapshot.build(2, [RIGHT], [psk()], EngineSettings(cookie_threshold=0)))
    carried = len(network.carried)
    network.run(60)
    assert_agree(a, b)
    assert openings(network, carried) == [RESUME, RESUME]
    assert b.engine.core.counters["cookies-sent"] == 1


def test_a_stolen_ticket_opens_nothing() -> None:
    """Shown with a nonce of the thief's: there are no keys to go on with (RFC 5723 9.1)."""
    network, a, b = up()
    ticket = a.engine.core.extensions.tickets.kept["right"].ticket
    thief = Path(b.address, "192.0.2.1", 4444)
    shown = [wire.Nonce(b"x" * 32), wire.Notify(0, b"", NotifyType.TICKET_OPAQUE, ticket)]
    request = build(Message(b"thief me", bytes(8), RESUME, True, False, 0, shown))
    (answer,) = [one.data for one in b.engine.receive(request, thief, network.now) if isinstance(one, Send)]
    assert parse(answer).one(wire.Nonce)
    assert len(answer) <= len(request)
    (half,) = [sa for sa in b.engine.ike_sas() if sa.state == Lifecycle.CONNECTING]
    forged = build(Message(half.spi_i, half.spi_r, AUTH, True, False, 1, [wire.SK(35, b"\0" * 80)]))
    assert [one for one in b.engine.receive(forged, thief, network.now) if isinstance(one, Send)] == []
    network.run(60)
    assert not b.engine.core.extensions.resuming
    assert lost_and_found(network, a, b)  # it is still good for whom it was given to
    elsewhere = Path(b.address, "203.0.113.66")
    (answer,) = [one.data for one in b.engine.receive(request, elsewhere, network.now) if isinstance(one, Send)]
    assert parse(answer).notify(NotifyType.TICKET_NACK)  # this peer calls from no such address


@pytest.mark.parametrize("ticket", [b"", b"x", b"x" * 32, bytes(200), b"\xff" * 5000])
def test_nonsense_for_a_ticket_is_refused(ticket: bytes) -> None:
    network, _, b = up()
    payloads: list[wire.Payload] = [wire.Nonce(b"n" * 32), wire.Notify(0, b"", NotifyType.TICKET_OPAQUE, ticket)]
    for chosen in (payloads, payloads[:1]):
        request = build(Message(b"nonsense", bytes(8), RESUME, True, False, 0, chosen))
        (answer,) = [
            one.data
            for one in b.engine.receive(request, Path(b.address, "203.0.113.66"), network.now)
            if isinstance(one, Send)
        ]
        assert parse(answer).notify(NotifyType.TICKET_NACK)
        assert parse(answer).spi_r == bytes(8)
        assert len(answer) <= len(request)
    assert len(b.engine.ike_sas()) == 1


def test_a_ticket_of_another_peer_does_not_change_who_one_is() -> None:
    """The identity is the ticket's: with its keys but another name nobody comes in."""
    network, a, b = up()
    kept = a.engine.core.extensions.tickets.kept["right"]
    kept.ours = replace(kept.ours, data=b"boss.example")
    network.reboot(b, Snapshot.build(2, [RIGHT], [psk()]))
    network.run(60)
    refused = [one for one in b.engine.core.attempts.latest(9) if one.cause == "ticket"]
    assert len(refused) == 2  # in both forms of proof
    assert "another identity" in refused[0].reason
    assert_agree(a, b)  # with the full proof
    assert b.engine.core.counters["resumed"] == 0


def test_the_peer_of_a_ticket_is_checked_again_when_it_proves_itself() -> None:
    network, a, b = up()
    network.reboot(b, Snapshot.build(2, [RIGHT], [psk()]))
    for _ in range(10_000):
        network.run(0.005)
        if b.engine.core.extensions.resuming:
            break
    network.apply(b, Snapshot.build(3, [RIGHT], [psk(b"another secret")]))
    network.run(2)
    (refused,) = [one for one in b.engine.core.attempts.latest(9) if one.cause == "ticket"]
    assert "changed" in refused.reason
    assert not established(b)
    assert not established(a)
