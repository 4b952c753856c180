"""The Encrypted payload: what was sealed opens, what was changed is dropped, what makes no sense is refused."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.crypto import suites
from gateway.crypto.ciphers import sealer
from gateway.crypto.keys import IkeKeys
from gateway.ike.protect import Protection
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build_sk_header, parse
from gateway.wire.numbers import ExchangeType, NotifyType
from gateway.wire.outcome import Drop, Reject

ROWS = [(row, None) for row in suites.ENCRYPTIONS if row.aead]
ROWS += [(row, integ) for row in suites.ENCRYPTIONS if not row.aead for integ in suites.INTEGRITIES]  # type: ignore[misc]


def ends(encr: suites.Encryption, integ: suites.Integrity | None) -> tuple[Protection, Protection]:
    source = random.Random(7)
    octets = encr.key_octets + encr.salt_octets
    mac = integ.key_octets if integ else 0
    keys = IkeKeys(
        source.randbytes(32),
        source.randbytes(mac),
        source.randbytes(mac),
        source.randbytes(octets),
        source.randbytes(octets),
        source.randbytes(32),
        source.randbytes(32),
    )
    ours = Protection(encr, integ, keys, initiator=True, random=source.randbytes)
    return ours, Protection(encr, integ, keys, initiator=False, random=source.randbytes)


def message() -> Message:
    return Message(b"i" * 8, b"r" * 8, ExchangeType.INFORMATIONAL, True, False, 7, [])


@pytest.mark.parametrize(("encr", "integ"), ROWS, ids=lambda row: row.keyword if row else "-")
def test_what_one_end_seals_the_other_opens(encr: suites.Encryption, integ: suites.Integrity | None) -> None:
    ours, theirs = ends(encr, integ)
    for octets in range(40):
        inner = [wire.Nonce(b"n" * (octets + 1)), wire.Notify(0, b"", NotifyType.INITIAL_CONTACT, b"")]
        datagram = ours.seal(message(), list(inner))
        parsed = parse(datagram)
        theirs.open(datagram, parsed)
        assert parsed.payloads == inner
        assert ours.seal(message(), list(inner)) != datagram, "an IV was used twice"


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_octet_is_dropped(position: int, flip: int) -> None:
    encr = suites.by_keyword("aes256gcm16")
    assert isinstance(encr, suites.Encryption)
    ours, theirs = ends(encr, None)
    datagram = bytearray(ours.seal(message(), [wire.Nonce(b"n" * 32)]))
    datagram[position % len(datagram)] ^= flip
    with pytest.raises(Drop):
        theirs.open(bytes(datagram), parse(bytes(datagram)))


def test_ones_own_message_sent_back_is_dropped() -> None:
    encr = suites.by_keyword("aes256gcm16")
    assert isinstance(encr, suites.Encryption)
    ours, _ = ends(encr, None)
    datagram = ours.seal(message(), [])
    with pytest.raises(Drop, match="integrity"):
        ours.open(datagram, parse(datagram))


def sealed_raw(plain: bytes, first: int) -> tuple[Protection, bytes]:
    """Authentic, whatever the plaintext."""
    encr = suites.by_keyword("aes256gcm16")
    assert isinstance(encr, suites.Encryption)
    ours, theirs = ends(encr, None)
    header = build_sk_header(message(), first, 8 + len(plain) + 16)
    return theirs, header + b"12345678" + sealer(encr, ours._ours[0]).seal(b"12345678", header, plain)


@pytest.mark.parametrize("plain", [b"\xff", b"\x01", b"abc\x04", b"\x00" * 5 + b"\x00", b""])
def test_authentic_nonsense_is_refused_not_raised(plain: bytes) -> None:
    theirs, datagram = sealed_raw(plain, 40)
    with pytest.raises((Reject, Drop)):
        theirs.open(datagram, parse(datagram))


def test_an_unknown_critical_payload_is_named() -> None:
    theirs, datagram = sealed_raw(bytes((0, 0x80, 0, 4, 0)), 200)
    with pytest.raises(Reject) as refused:
        theirs.open(datagram, parse(datagram))
    assert refused.value.notify == NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD
    assert refused.value.data == bytes((200,))


def test_an_unknown_payload_that_is_not_critical_is_skipped() -> None:
    theirs, datagram = sealed_raw(bytes((0, 0, 0, 4, 0)), 200)
    parsed = parse(datagram)
    theirs.open(datagram, parsed)
    assert [type(payload) for payload in parsed.payloads] == [wire.Unknown]
