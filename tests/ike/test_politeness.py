"""What comes from other versions, other ages and other implementations: RFC 7296 1.5, 2.5, 2.21, 3.10.1."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.dataplane.memory import MemoryPlane
from gateway.ike.attempts import Outcome
from gateway.ike.path import Path
from gateway.ike.protect import Protection
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build, parse
from gateway.wire.numbers import ExchangeType, NotifyType
from tests.ike.strangers import HERE, answering, ask, init_payloads, init_request, sent
from tests.simulation.network import Host, Network, two

MAIN_MODE, AGGRESSIVE, INFORMATIONAL_V1 = 2, 4, 5


def version_1(exchange: int = MAIN_MODE, spi_r: bytes = bytes(8), flags: int = 0) -> bytes:
    """An IKEv1 message; what follows its header means nothing to us."""
    return (
        build(Message(b"ikev1 me", spi_r, exchange, False, False, 0, [], 0x10, flags))[:24] + b"\0\0\0\x60" + bytes(68)
    )


def test_ikev1_is_answered_once_in_a_while_and_counted() -> None:
    engine = answering()
    (answer,) = ask(engine, version_1())
    assert (answer.spi_i, answer.spi_r) == (b"ikev1 me", bytes(8))
    assert answer.version == 0x20
    assert (answer.exchange, answer.message_id) == (ExchangeType.INFORMATIONAL, 0)
    assert answer.response
    assert not answer.initiator
    assert [type(payload) for payload in answer.payloads] == [wire.Notify]
    notify = answer.notify(NotifyType.INVALID_MAJOR_VERSION)
    assert notify is not None
    assert notify.data == b""
    for turn in range(9):
        assert ask(engine, version_1(AGGRESSIVE), now=float(turn)) == []
    assert ask(engine, version_1(), now=10.0)
    assert engine.core.counters["ikev1"] == 11
    assert engine.core.counters["versions-told"] == 2
    assert not engine.ike_sas()


def test_ikev1_errors_and_answers_are_not_answered() -> None:
    engine = answering()
    assert ask(engine, version_1(INFORMATIONAL_V1)) == []
    assert ask(engine, version_1(spi_r=b"response")) == []
    assert ask(engine, version_1()[:28]) == []  # its length is a lie
    assert engine.core.counters["ikev1"] == 3


def test_a_flood_of_ikev1_from_everywhere_gets_few_answers() -> None:
    engine = answering()
    answers = sum(bool(ask(engine, version_1(), f"198.51.{n >> 8}.{n & 255}", now=n / 1000)) for n in range(2000))
    assert answers <= 32 + 8 * 2 + 1


def test_a_higher_major_version_is_told_ours() -> None:
    engine = answering()
    request = init_request(version=0x30)
    (answer,) = ask(engine, request)
    assert answer.version == 0x20
    assert answer.notify(NotifyType.INVALID_MAJOR_VERSION)
    assert (answer.exchange, answer.initiator, answer.response) == (ExchangeType.IKE_SA_INIT, False, True)
    assert ask(engine, replace(request, response=True), "198.51.100.2") == []
    assert not engine.ike_sas()


def test_two_gateways_do_not_answer_each_others_answers() -> None:
    engine = answering()
    (first,) = sent(engine.receive(version_1(), Path(HERE, "198.51.100.1"), 0.0))
    assert sent(engine.receive(first, Path(HERE, "198.51.100.2"), 0.0)) == []


@pytest.mark.parametrize("version", [0x21, 0x2F])
def test_a_higher_minor_version_is_answered_with_ours(version: int) -> None:
    (answer,) = ask(answering(), init_request(version=version, other_flags=0x10))
    assert answer.version == 0x20
    assert answer.one(wire.KE)
    assert answer.other_flags == 0


def test_reserved_bits_are_ignored() -> None:
    payloads = init_payloads()
    for payload in payloads:
        payload.header_reserved = 0x7F
        payload.critical = True  # of a type that we know: without meaning
    ke = payloads[1]
    assert isinstance(ke, wire.KE)
    ke.reserved = 0xFFFF
    (answer,) = ask(answering(), init_request(payloads=payloads, other_flags=0xC7))
    assert answer.spi_r != bytes(8)
    for payload in answer.payloads:
        assert not payload.critical
        assert payload.header_reserved == 0
    assert answer.other_flags == 0


def test_unknown_payloads_are_skipped_and_unknown_critical_ones_named() -> None:
    engine = answering()
    unknown = wire.Unknown(200, b"from the future")
    (answer,) = ask(engine, init_request(b"skipping", [unknown, *init_payloads()]))
    assert answer.spi_r != bytes(8)
    critical = wire.Unknown(201, b"from the future", critical=True)
    (answer,) = ask(engine, init_request(b"critical", [critical, *init_payloads()]))
    notify = answer.notify(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD)
    assert notify is not None
    assert notify.data == b"\xc9"
    assert answer.spi_r == bytes(8)
    assert len(engine.ike_sas()) == 1


def test_unknown_notifies_in_a_first_request_are_ignored() -> None:
    """Status and error types alike: what we do not know in a request means nothing (RFC 7296 3.10.1)."""
    strange = [wire.Notify(0, b"", kind, b"?") for kind in (16399, 40960, 65535, 13, 8191, 16383)]
    (answer,) = ask(answering(), init_request(payloads=[*strange, *init_payloads()]))
    assert answer.spi_r != bytes(8)


def test_signed_octets_keep_what_was_reserved() -> None:
    """The initiator's first message is proven as it came, with bits that mean nothing to us."""
    network = Network(1)
    tampered = spoil(network, "left", ExchangeType.IKE_SA_INIT, lambda data: data[:29] + b"\x7f" + data[30:])
    _, b = two(network)
    network.run(60)
    assert tampered
    assert b.engine.core.attempts.latest(9)[-1].cause == "wrong-key"  # not the octets that the initiator signed


def spoil(network: Network, name: str, exchange: int, change: Callable[[bytes], bytes]) -> list[bytes]:
    """Change the host's first datagram of an exchange on its way."""
    changed: list[bytes] = []
    real = network._send

    def send(source: Host, effect: object) -> None:
        data = effect.data  # type: ignore[attr-defined]
        if source.name == name and data[18] == exchange and not changed:
            changed.append(change(data))
            effect = replace(effect, data=changed[0])  # type: ignore[type-var]
        real(source, effect)  # type: ignore[arg-type]

    network._send = send  # type: ignore[method-assign]
    return changed


def protected(sa: IkeSa, host: Host, exchange: int, message_id: int, payloads: list[wire.Payload]) -> bytes:
    """A request of the peer's, sealed with the SA's own keys."""
    assert sa.chosen and sa.keys
    theirs = Protection(
        sa.chosen.encr, sa.chosen.integ, sa.keys, initiator=not sa.initiator, random=host.engine.core.random
    )
    return theirs.seal(Message(sa.spi_i, sa.spi_r, exchange, not sa.initiator, False, message_id, []), payloads)


def opened(sa: IkeSa, host: Host, datagram: bytes) -> Message:
    assert sa.chosen and sa.keys
    theirs = Protection(
        sa.chosen.encr, sa.chosen.integ, sa.keys, initiator=not sa.initiator, random=host.engine.core.random
    )
    message = parse(datagram)
    theirs.open(datagram, message)
    return message


def test_a_protected_critical_payload_is_named_and_the_sa_lives() -> None:
    network = Network(1)
    _, b = two(network)
    network.run(1)
    (sa,) = b.engine.ike_sas()
    for message_id, exchange in ((2, ExchangeType.INFORMATIONAL), (3, ExchangeType.CREATE_CHILD_SA)):
        request = protected(sa, b, exchange, message_id, [wire.Unknown(202, b"", critical=True)])
        (answer,) = sent(b.engine.receive(request, sa.path, network.now))
        notify = opened(sa, b, answer).notify(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD)
        assert notify is not None
        assert notify.data == b"\xca"
    assert sa.state == Lifecycle.ESTABLISHED
    assert sa.children


def test_a_critical_payload_in_ike_auth_ends_it_at_once() -> None:
    engine = answering()
    assert ask(engine, init_request())[0].spi_r
    (sa,) = engine.ike_sas()
    host = Host("alone", HERE, engine, MemoryPlane(engine.core.random))
    request = protected(sa, host, ExchangeType.IKE_AUTH, 1, [wire.Unknown(202, b"", critical=True)])
    (answer,) = sent(engine.receive(request, sa.path, 1.0))
    assert opened(sa, host, answer).notify(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD)
    assert not engine.ike_sas()
    attempt = engine.core.attempts.latest(1)[0]
    assert (attempt.outcome, attempt.cause) == (Outcome.FAILED, "syntax")
    assert "202" in attempt.reason


@pytest.mark.parametrize("kind", [16399, 40960, 65535, 13, 8191])
def test_unknown_notifies_in_protected_requests_are_ignored(kind: int) -> None:
    network = Network(1)
    _, b = two(network)
    network.run(1)
    (sa,) = b.engine.ike_sas()
    request = protected(sa, b, ExchangeType.INFORMATIONAL, 2, [wire.Notify(0, b"", kind, b"?")])
    (answer,) = sent(b.engine.receive(request, sa.path, network.now))
    assert opened(sa, b, answer).payloads == []
    assert sa.state == Lifecycle.ESTABLISHED


def test_a_message_id_out_of_the_window_gets_no_answer() -> None:
    """INVALID_MESSAGE_ID is never an answer (RFC 7296 2.3)."""
    network = Network(1)
    _, b = two(network)
    network.run(1)
    (sa,) = b.engine.ike_sas()
    for message_id in (0, 3, 4, 0xFFFFFFFF):
        request = protected(sa, b, ExchangeType.INFORMATIONAL, message_id, [])
        assert sent(b.engine.receive(request, sa.path, network.now)) == []
    assert sent(b.engine.receive(protected(sa, b, ExchangeType.INFORMATIONAL, 2, []), sa.path, network.now))


def test_an_unprotected_error_does_not_touch_an_sa() -> None:
    network = Network(1)
    _, b = two(network)
    network.run(1)
    (sa,) = b.engine.ike_sas()
    for response in (False, True):
        for exchange in (ExchangeType.INFORMATIONAL, ExchangeType.IKE_AUTH, ExchangeType.CREATE_CHILD_SA):
            notify = wire.Notify(0, b"", NotifyType.INVALID_MAJOR_VERSION, b"")
            forged = Message(sa.spi_i, sa.spi_r, exchange, True, response, 2, [notify])
            assert sent(b.engine.receive(build(forged), sa.path, network.now)) == []
    assert sa.state == Lifecycle.ESTABLISHED
