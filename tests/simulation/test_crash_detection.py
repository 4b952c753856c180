"""Half-dead peers: tokens of quick crash detection (RFC 6290), and what is said in the open about an SA."""

from dataclasses import replace

import pytest

from gateway.ike.path import Path
from gateway.ike.plane_events import UnknownSpi
from gateway.ike.sa import OPENING, IkeSa
from gateway.policy.peers import Peer
from gateway.policy.snapshot import Snapshot
from gateway.wire.message import Message, build, parse
from gateway.wire.numbers import ExchangeType, NotifyType, Protocol
from gateway.wire.payloads import SK, Notify, Payload
from tests.simulation.agreement import assert_agree, established
from tests.simulation.network import Host, Network, peer, psk, right_end, two
from tests.simulation.test_staying_up import asked

LEFT = peer("right", me="left.example", them="right.example", remote="192.0.2.2")
RIGHT: Peer = right_end(remote=None)


def plain(network: Network) -> list[Message]:
    """The messages that went in the open, other than those that open an IKE SA."""
    messages = [parse(data) for _, _, _, data in network.carried if len(data) > 1]
    return [
        message
        for message in messages
        if message.exchange not in OPENING and not any(isinstance(one, SK) for one in message.payloads)
    ]


def say(network: Network, host: Host, sa: IkeSa, *payloads: Payload, source: str = "203.0.113.66") -> None:
    """Somebody tells the host something in the open about an SA of its own."""
    exchange = ExchangeType.INFORMATIONAL
    message = Message(sa.spi_i, sa.spi_r, exchange, not sa.initiator, True, sa.requests.next_id, list(payloads))
    network.perform(host, host.engine.receive(build(message), Path(host.address, source), network.now))


def token(data: bytes) -> Notify:
    return Notify(Protocol.IKE, b"", NotifyType.QUICK_CRASH_DETECTION, data)


def up(seed: int, left: Peer = LEFT) -> tuple[Network, Host, Host]:
    network = Network(seed)
    a, b = two(network, left=left, right=RIGHT)
    network.run(1)
    assert_agree(a, b)
    return network, a, b


def test_each_end_holds_the_others_token() -> None:
    _, a, b = up(1)
    (ours,), (theirs,) = established(a), established(b)
    assert len(ours.token) == len(theirs.token) == 16
    assert ours.token != theirs.token
    assert ours.token.hex() not in repr(ours)


@pytest.mark.parametrize("rekeyed_by", ["", "left", "right"])
def test_a_peer_that_rebooted_proves_it_and_is_called_at_once(rekeyed_by: str) -> None:
    network, a, b = up(2)
    if rekeyed_by:
        host, other = (a, "right") if rekeyed_by == "left" else (b, "left")
        network.perform(host, host.engine.rekey(other, None, network.now)[1])
        network.run(5)
        assert_agree(a, b)
    old = established(a)[0]
    network.reboot(b, Snapshot.build(1, [RIGHT], [psk()]))
    network.run(31)
    assert_agree(a, b)
    assert established(a)[0] is not old
    assert "crash detection token" in old.reason
    (told,) = plain(network)
    assert told.notify(NotifyType.QUICK_CRASH_DETECTION)


def test_a_peer_that_rebooted_and_lost_its_secret_too_is_believed_only_when_silent() -> None:
    network, a, b = up(3)
    old = established(a)[0]
    network.reboot(b, Snapshot.build(1, [RIGHT], [psk()]), same_secret=False)
    network.run(31)
    assert established(a) == [old]
    network.run(60)
    assert_agree(a, b)
    assert "does not answer" in old.reason


def test_nobody_gets_the_token_of_an_sa_that_lives() -> None:
    """RFC 6290 9.2: an eavesdropper knows both SPIs; no message that he can make brings him the token."""
    network, a, b = up(4)
    (ours,) = established(a)
    sealed = next(data for _, source, _, data in network.carried if source == a.address and data[18] == 35)
    before = len(network.carried)
    strange = bytes(range(8))
    for spi_i in (ours.spi_i, ours.spi_r, strange, bytes(8)):
        for spi_r in (ours.spi_i, ours.spi_r, strange, bytes(8)):
            for exchange in range(34, 44):
                for flags in (0x00, 0x08, 0x20, 0x28):
                    data = spi_i + spi_r + sealed[16:18] + bytes((exchange, flags)) + sealed[20:]
                    for host in (a, b):
                        path = Path(host.address, "203.0.113.66")
                        network.perform(host, host.engine.receive(data, path, network.now))
    sent = [data for _, _, _, data in network.carried[before:]]
    living = {sa.token for host in (a, b) for sa in established(host)}
    assert sent, "two unknown SPIs are answered"
    assert not any(data in octets for octets in sent for data in living)
    network.run(5)
    assert_agree(a, b)


def test_the_answer_is_never_longer_than_the_request_and_limited() -> None:
    network, a, _ = up(5)
    before = len(network.carried)
    for octets in range(28, 120):
        body = octets - 32
        payload = SK(0, bytes(body)) if body >= 0 else None
        message = Message(b"A" * 8, b"B" * 8, ExchangeType.INFORMATIONAL, True, False, 7, [payload] if payload else [])
        sent = len(network.carried)
        data = build(message)
        network.perform(a, a.engine.receive(data, Path(a.address, "203.0.113.66"), network.now))
        assert all(len(answer) <= len(data) for _, _, _, answer in network.carried[sent:])
    assert 30 < len(network.carried) - before < 92
    for _ in range(3000):
        network.perform(a, a.engine.receive(data, Path(a.address, "203.0.113.66"), network.now))
    assert len(network.carried) - before <= 1000


def test_a_wrong_token_ends_nothing() -> None:
    network, a, b = up(6)
    (sa,) = established(a)
    network.run(5)
    for guess in (b"", bytes(16), sa.token[:-1], sa.token + b"\0", established(b)[0].token):
        say(network, a, sa, Notify(0, b"", NotifyType.INVALID_IKE_SPI, b""), token(guess))
    say(network, a, sa, *[token(bytes((number,)) * 16) for number in range(4)], token(sa.token))
    assert established(a) == [sa], "the fifth token is not looked at"
    network.run(5)
    assert_agree(a, b)
    assert asked(network, a.address) == 1, "all of them are one hint"
    say(network, a, sa, token(bytes(16)), token(sa.token))
    assert sa not in established(a), "the second of two tokens counts, from whatever address"


@pytest.mark.parametrize("kind", [NotifyType.INVALID_IKE_SPI, NotifyType.INVALID_SPI, NotifyType.AUTHENTICATION_FAILED])
def test_what_is_said_in_the_open_ends_nothing(kind: int) -> None:
    network, a, b = up(7)
    (sa,) = established(a)
    for _ in range(100):
        say(network, a, sa, Notify(0, b"", kind, b""))
        network.run(0.2)
    assert established(a) == [sa]
    assert asked(network, a.address) <= 8
    assert_agree(a, b)


def test_esp_that_nobody_knows_makes_the_peer_ask_and_find_out() -> None:
    """The rebooted end sends nothing itself: the first ESP packet that it gets brings the tunnel back."""
    network, a, b = up(8, replace(LEFT, dpd_delay=3600.0))
    network.run(10)
    old = established(a)[0]
    (child,) = old.children.values()
    network.reboot(b, Snapshot.build(1, [RIGHT], [psk()]))
    network.perform(b, b.engine.kernel(UnknownSpi(child.spi_out, a.address), network.now))
    network.run(1)
    assert_agree(a, b)
    assert established(a)[0] is not old
    told = next(message for message in plain(network) if message.notify(NotifyType.INVALID_SPI))
    assert told.notifies(NotifyType.INVALID_SPI)[0].data == child.spi_out.to_bytes(4)


def test_esp_that_nobody_knows_from_a_peer_is_told_inside_the_sa() -> None:
    network, a, b = up(9)
    network.run(10)
    (child,) = established(a)[0].children.values()
    network.perform(b, b.engine.kernel(UnknownSpi(child.spi_out, a.address), network.now))
    network.run(1)
    assert_agree(a, b)
    assert not plain(network)
    assert "child-sa.unknown-to-peer" in a.kinds()
    network.perform(b, b.engine.kernel(UnknownSpi(12345, a.address), network.now))
    network.run(1)
    assert a.kinds().count("child-sa.unknown-to-peer") == 1
