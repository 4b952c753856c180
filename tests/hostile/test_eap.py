"""EAP by those who lie about lengths, codes, identifiers and ends, at both ends; known holes are named."""

import contextlib
import random

import pytest

from gateway.ike.authentication.eap.gate import Proven
from gateway.ike.authentication.eap.talk import MAX_ROUNDS, Failed, ServerTalk
from gateway.ike.authentication.eap.tls import MAX_FLIGHT_OCTETS
from gateway.wire import eap
from gateway.wire.numbers import EapCode, EapType
from gateway.wire.outcome import Drop
from gateway.wire.payloads import EAP
from tests.ike.eap_lab import Ended, Server, Twist, account, carry, cause, meet, why
from tests.ike.test_eap_methods import MD5, MSCHAP, TLS, tls_account, tls_server

READERS = [
    eap.read_nak,
    eap.Md5Value.read,
    eap.MsChap.read,
    eap.MsChapChallenge.read,
    eap.MsChapResponse.read,
    eap.TlsFragment.read,
]


def on(method: int, change: Twist, skip: int = 0) -> Twist:
    """Change one packet of this method, after `skip` others of it."""
    seen = 0

    def twist(packet: EAP) -> EAP:
        nonlocal seen
        if packet.method != method:
            return packet
        seen += 1
        return change(packet) if seen == skip + 1 else packet

    return twist


def data(octets: bytes) -> Twist:
    return lambda packet: EAP(packet.code, packet.identifier, octets)


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_takes_any_octets(reader):
    chance = random.Random(1)
    for length in range(80):
        for _ in range(60):
            octets = bytearray(chance.randbytes(length))
            if octets and chance.random() < 0.5:  # lengths that could be right are the dangerous ones
                octets[0] = chance.choice((1, 2, 3, 4, 7, 16, 49, 0x80, 0xC0, 0xE0, 0xFF))
            if length > 3 and chance.random() < 0.5:
                octets[2:4] = chance.choice((0, 1, 3, 4, length, length + 1, 0xFFFF)).to_bytes(2)
            with contextlib.suppress(Drop):
                reader(bytes(octets))


@pytest.mark.parametrize(
    "short",
    [b"", b"\x04", b"\x04\x07", b"\x04\x07\x00", b"\x04\x07\x00\x04", b"\x04\x07\x00\x00E=691", b"\x04\x07\xff\xff"],
)
def test_a_failure_request_shorter_than_its_header_underflows_nothing(short):
    """CVE-2025-62291: strongSwan's EAP-MSCHAPv2 client subtracted its header from a shorter length."""
    ended = meet(Server(), account(), to_peer=on(MSCHAP, data(b"\x1a" + short), 1))
    assert isinstance(ended.peer, Failed)


@pytest.mark.parametrize("value", [b"\xff" + bytes(16), b"\x11" + bytes(16), b"\x00" + bytes(16), b""])
def test_an_md5_value_longer_than_its_packet_is_refused(value):
    """CVE-2020-8597: pppd trusted the value's size, and copied the name that was not there."""
    ended = meet(Server(methods=("md5",)), account(methods=(MD5,)), to_server=on(MD5, data(bytes((MD5,)) + value)))
    assert cause(ended.server) == "eap-protocol"
    ended = meet(Server(methods=("md5",)), account(methods=(MD5,)), to_peer=on(MD5, data(bytes((MD5,)) + value)))
    assert cause(ended.peer) == "eap-protocol"


def instead(code: int, method: int, skip: int = 0) -> Twist:
    return on(method, lambda packet: EAP(code, packet.identifier), skip)


@pytest.mark.parametrize(
    ("server", "who", "method", "most"),
    [
        (Server, account, MSCHAP, 2),
        (lambda: Server(methods=("md5",)), lambda: account(methods=(MD5,)), MD5, 1),
        (tls_server, tls_account, TLS, 3),
    ],
    ids=["mschapv2", "md5", "tls"],
)
def test_success_before_the_method_is_at_its_end_is_no_success(server, who, method, most):
    """CVE-2021-45079: a client believed an early EAP Success, of a server that had proven nothing."""
    for skip in range(most):
        ended = meet(server(), who(), to_peer=instead(EapCode.SUCCESS, method, skip))
        assert cause(ended.peer) == "eap-protocol", skip
    early = meet(server(), who(), to_peer=lambda packet: EAP(EapCode.SUCCESS, packet.identifier))
    assert why(early.peer) == "the server sent EAP Success before anybody had proven anything"


@pytest.mark.parametrize("code", [1, 3, 4, 5, 6, 9, 0])
def test_a_peer_only_answers(code):
    ended = meet(Server(), account(), to_server=on(MSCHAP, lambda packet: EAP(code, packet.identifier, packet.data)))
    assert cause(ended.server) == "eap-protocol"


def test_an_answer_with_another_identifier_is_none():
    ended = meet(Server(), account(), to_server=on(MSCHAP, lambda one: EAP(one.code, one.identifier ^ 1, one.data)))
    assert "identifier" in why(ended.server)


@pytest.mark.parametrize("kind", [MD5, TLS, EapType.IDENTITY, EapType.EXPANDED])
def test_the_method_does_not_change_on_the_way(kind):
    change = lambda packet: EAP(packet.code, packet.identifier, bytes((kind,)) + packet.method_data)  # noqa: E731
    ended = meet(Server(), account(), to_server=on(MSCHAP, change))
    assert "the peer answered EAP-MSCHAPv2 with" in why(ended.server)
    ended = meet(Server(), account(methods=(MSCHAP, MD5, TLS)), to_peer=on(MSCHAP, change, 1))
    assert "the server changed from EAP-MSCHAPv2 to" in why(ended.peer)


def test_a_nak_comes_at_the_beginning_or_never():
    ended = meet(Server(methods=("mschapv2", "md5")), account(), to_server=on(MSCHAP, data(b"\x03\x04"), 1))
    assert why(ended.server) == "the peer refused EAP-MSCHAPv2 after it had begun it"


def test_naks_without_end_meet_an_end():
    ended = meet(Server(methods=("mschapv2", "md5", "mschapv2")), account(methods=(99,)))
    assert cause(ended.server) == "eap-method"


def test_notifications_without_end_meet_an_end():
    """A server that never comes to the point costs a client a bounded number of answers."""
    note = lambda packet: EAP(EapCode.REQUEST, packet.identifier, b"\x02please wait")  # noqa: E731
    asked = 0

    def twist(packet: EAP) -> EAP:
        nonlocal asked
        asked += 1
        return note(packet)

    async def endless(server: Server) -> Proven:
        talk = ServerTalk(carry, 1)
        while True:
            talk._rounds = 0
            await talk.ask(EapType.NOTIFICATION, b"please wait")

    class Endless(Server):
        conversation = endless

    ended = meet(Endless(), account(), to_peer=twist)
    assert "did not come to an end" in why(ended.peer) and asked == MAX_ROUNDS + 1


def fragment(octets: bytes = b"", total: int | None = None, *, more: bool = False, start: bool = False) -> Twist:
    return data(bytes((TLS,)) + eap.TlsFragment(octets, total, more, start).octets())


@pytest.mark.parametrize(
    "lie",
    [
        fragment(b"x" * 900, 0xFFFFFFFF, more=True),
        fragment(b"x" * 900, MAX_FLIGHT_OCTETS + 1, more=True),
        fragment(b"", more=True),
        fragment(b"x", 2),
        fragment(b"x", start=True),
        data(b"\x0d\x80\0\0\0"),
        data(b"\x0d\x80\0\0\0\1xx"),
        data(b"\x0d"),
    ],
)
def test_tls_fragments_that_lie_about_the_whole_are_refused(lie):
    """CVE-2012-4445: hostapd took a fragment beyond the announced length."""
    assert cause(meet(tls_server(), tls_account(), to_server=on(TLS, lie)).server) == "eap-protocol"
    assert cause(meet(tls_server(), tls_account(), to_peer=on(TLS, lie, 1)).peer) == "eap-protocol"


def test_tls_fragments_beyond_the_announced_whole_are_refused():
    def twist(packet: EAP) -> EAP:
        return fragment(b"x" * 600, 1000, more=True)(packet) if packet.method == TLS else packet

    assert "more than was announced" in why(meet(tls_server(), tls_account(), to_server=twist).server)


def test_small_tls_fragments_without_end_meet_an_end():
    def twist(packet: EAP) -> EAP:
        return fragment(b"x", more=True)(packet) if packet.method == TLS else packet

    assert "did not come to an end" in why(meet(tls_server(), tls_account(), to_server=twist).server)


def test_tls_octets_that_are_no_records_fail_the_handshake():
    chance = random.Random(3)
    for skip in range(3):
        for _ in range(20):
            ended = meet(tls_server(), tls_account(), to_server=on(TLS, fragment(chance.randbytes(200)), skip))
            assert isinstance(ended.server, Failed)


@pytest.mark.parametrize(
    "identity", [b"", b"x" * 254, b"\xff\xfe", b"anna\0", b"an\nna", "a\u202enna".encode(), b"\x1b[2Janna"]
)
def test_identities_that_are_no_names_go_nowhere(identity):
    ended = meet(Server(), account(identity))
    assert cause(ended.server) == "eap-protocol"
    assert why(ended.server).isprintable()


def test_what_the_server_says_of_our_failure_is_made_harmless():
    text = b"E=691 R=0 C=00 V=3 M=\x1b[2J<script>\n"
    packet = eap.MsChap(eap.MsChapOp.FAILURE, 8, text).octets()
    ended = meet(Server(), account(), to_peer=on(MSCHAP, data(b"\x1a" + packet), 1))
    assert why(ended.peer).isprintable() and "\x1b" not in why(ended.peer)


def test_a_change_of_the_password_is_refused_plainly():
    packet = eap.MsChap(eap.MsChapOp.CHANGE_PASSWORD, 8, bytes(582)).octets()
    ended = meet(Server(), account(), to_server=on(MSCHAP, data(b"\x1a" + packet)))
    assert "change its password" in why(ended.server)


@pytest.mark.parametrize("kind", ["mschapv2", "md5", "tls"])
@pytest.mark.parametrize("seed", range(40))
def test_changed_packets_prove_nothing_that_they_should_not(kind, seed):
    """Whatever is changed, both ends come to an end in words; and a server lets in only who had the password."""
    chance = random.Random(f"{kind} {seed}")
    ends = {
        "mschapv2": lambda: (Server(), account()),
        "md5": lambda: (Server(methods=("md5",)), account(methods=(MD5,))),
        "tls": lambda: (tls_server(), tls_account()),
    }

    def mutate(packet: EAP) -> EAP:
        if chance.random() < 0.6 or not packet.data:
            return packet
        octets, at = bytearray(packet.data), chance.randrange(len(packet.data))
        match chance.randrange(5):
            case 0:
                octets[at] ^= 1 << chance.randrange(8)
            case 1:
                del octets[at:]
            case 2:
                octets[at:at] = chance.randbytes(chance.randrange(40))
            case 3:
                octets[at : at + 2] = chance.choice((b"\0\0", b"\xff\xff", b"\0\1"))
            case _:
                octets = bytearray(chance.randbytes(chance.randrange(60)))
        return EAP(chance.choice((packet.code,) * 9 + (chance.randrange(8),)), packet.identifier, bytes(octets))

    for _ in range(10):
        server, who = ends[kind]()
        ended: Ended = meet(server, who, mutate, mutate)
        for end in (ended.server, ended.peer):
            assert end is None or (isinstance(end, Failed) and end.why.isprintable()) or isinstance(end, Proven)
        if isinstance(ended.server, Proven) and isinstance(ended.peer, Proven):
            assert ended.server.msk == ended.peer.msk
