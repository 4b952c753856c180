"""What a RADIUS secret proves: the RFCs' own numbers, and everything that a forger could try."""

import hashlib
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.crypto.radius import (
    NotAuthentic,
    check_answer,
    check_request,
    msk,
    sign_access_request,
    sign_answer,
    sign_request,
)
from gateway.wire.outcome import Drop
from gateway.wire.radius import Attribute, Code, Packet, Type, parse
from tests.wire.test_radius import REQUEST

SECRET = b"xyzzy5461"
# RFC 2865 7.1: the answer to nemo.
ACCEPT = parse(bytes.fromhex("02000026 86fe220e7624ba2a1005f6bf9b55e0b2 060600000001 0f0600000000 0e06c0a80103"))
ASKED = Packet(Code.ACCESS_REQUEST, 7, bytes(range(16)), (Attribute(Type.USER_NAME, b"nemo"),))
ANSWER = Packet(Code.ACCESS_ACCEPT, 7, bytes(16), (Attribute(Type.CLASS, b"staff"),))


def test_the_answer_of_rfc_2865_is_authentic_but_for_what_it_lacks() -> None:
    request = parse(REQUEST)
    with pytest.raises(NotAuthentic, match="no Message-Authenticator"):
        check_answer(ACCEPT, request, SECRET)
    with pytest.raises(NotAuthentic, match="Response Authenticator"):
        check_answer(replace(ACCEPT, identifier=1), request, SECRET)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_octet_of_an_answer_can_be_another(place: int, change: int) -> None:
    octets = bytearray(sign_answer(ANSWER, ASKED, SECRET).octets())
    octets[place % len(octets)] ^= change
    try:
        forged = parse(bytes(octets))
    except Drop:
        return
    with pytest.raises(NotAuthentic):
        check_answer(forged, ASKED, SECRET)


def test_an_answer_is_for_one_request_and_of_one_secret() -> None:
    signed = sign_answer(ANSWER, ASKED, SECRET)
    check_answer(signed, ASKED, SECRET)
    with pytest.raises(NotAuthentic):
        check_answer(signed, replace(ASKED, authenticator=bytes(16)), SECRET)
    with pytest.raises(NotAuthentic):
        check_answer(signed, ASKED, b"another")


def test_a_right_response_authenticator_alone_does_not_do() -> None:
    """CVE-2024-3596: MD5 collisions give a stranger a valid Response Authenticator, but no Message-Authenticator."""
    asked = replace(ASKED, authenticator=bytes(16))
    forged = _with_response_authenticator(ANSWER, asked)
    with pytest.raises(NotAuthentic, match="no Message-Authenticator"):
        check_answer(forged, asked, SECRET)
    doubled = (Attribute(Type.MESSAGE_AUTHENTICATOR, bytes(16)),) * 2
    with pytest.raises(NotAuthentic, match="several"):
        check_answer(_with_response_authenticator(replace(ANSWER, attributes=doubled), asked), asked, SECRET)
    short = (Attribute(Type.MESSAGE_AUTHENTICATOR, b""),)
    with pytest.raises(NotAuthentic, match="Message-Authenticator is wrong"):
        check_answer(_with_response_authenticator(replace(ANSWER, attributes=short), asked), asked, SECRET)


def test_a_refusal_needs_one_unless_its_server_is_old_but_a_wrong_one_is_wrong() -> None:
    refusal = replace(ANSWER, code=Code.ACCESS_REJECT)
    with pytest.raises(NotAuthentic, match="no Message-Authenticator"):
        check_answer(_with_response_authenticator(refusal, ASKED), ASKED, SECRET)
    check_answer(_with_response_authenticator(refusal, ASKED), ASKED, SECRET, unsigned_rejects=True)
    with pytest.raises(NotAuthentic, match="no Message-Authenticator"):
        check_answer(_with_response_authenticator(ANSWER, ASKED), ASKED, SECRET, unsigned_rejects=True)
    wrong = replace(refusal, attributes=(Attribute(Type.MESSAGE_AUTHENTICATOR, bytes(16)),))
    with pytest.raises(NotAuthentic):
        check_answer(_with_response_authenticator(wrong, ASKED), ASKED, SECRET, unsigned_rejects=True)


def _with_response_authenticator(answer: Packet, asked: Packet) -> Packet:
    """What a forger can have: the MD5 fits, for he found a collision."""
    octets = replace(answer, authenticator=asked.authenticator).octets()
    return replace(answer, authenticator=hashlib.md5(octets + SECRET).digest())


def test_the_message_authenticator_goes_first() -> None:
    for signed in (sign_access_request(ASKED, SECRET), sign_answer(ANSWER, ASKED, SECRET)):
        assert signed.attributes[0].type == Type.MESSAGE_AUTHENTICATOR


@pytest.mark.parametrize("code", [Code.DISCONNECT_REQUEST, Code.COA_REQUEST])
def test_a_request_of_the_server_is_proven_by_its_authenticator(code: Code) -> None:
    signed = sign_request(Packet(code, 1, bytes(16), (Attribute(Type.USER_NAME, b"nemo"),)), SECRET)
    check_request(signed, SECRET)
    for forged in (
        replace(signed, identifier=2),
        replace(signed, code=Code.ACCESS_REQUEST),
        replace(signed, attributes=signed.attributes[1:]),
        replace(signed, attributes=(*signed.attributes, Attribute(Type.USER_NAME, b"other"))),
    ):
        with pytest.raises(NotAuthentic):
            check_request(forged, SECRET)
    with pytest.raises(NotAuthentic):
        check_request(signed, b"another")


def _hidden(key: bytes, salt: bytes, authenticator: bytes) -> bytes:
    """RFC 2548 2.4.2, as a server does it."""
    plain = bytes((len(key),)) + key
    plain += bytes(-len(plain) % 16)
    out, before = b"", authenticator + salt
    for at in range(0, len(plain), 16):
        pad = hashlib.md5(SECRET + before).digest()
        before = bytes(a ^ b for a, b in zip(plain[at : at + 16], pad, strict=True))
        out += before
    return salt + out


def _keys(recv: bytes | None, send: bytes | None) -> Packet:
    found = []
    for kind, value in ((17, recv), (16, send)):
        if value is not None:
            found.append(Attribute(26, (311).to_bytes(4) + bytes((kind, len(value) + 2)) + value))
    return replace(ANSWER, attributes=tuple(found))


@given(st.binary(min_size=1, max_size=64), st.binary(min_size=1, max_size=64), st.binary(min_size=2, max_size=2))
def test_the_msk_is_the_receive_key_and_then_the_send_key(recv: bytes, send: bytes, salt: bytes) -> None:
    hidden = (_hidden(key, salt, ASKED.authenticator) for key in (recv, send))
    assert msk(_keys(*hidden), ASKED, SECRET) == (recv + send).ljust(64, b"\0")


def test_no_keys_are_an_empty_msk_and_one_alone_is_none() -> None:
    assert msk(ANSWER, ASKED, SECRET) == b""
    key = _hidden(b"k" * 32, b"\x80\x01", ASKED.authenticator)
    for keys in (_keys(key, None), _keys(None, key)):
        with pytest.raises(Drop, match="missing"):
            msk(keys, ASKED, SECRET)


@pytest.mark.parametrize("hidden", [b"", b"\x80", b"\x80\x01", b"\x80\x01" + bytes(15), b"\x80\x01" + bytes(17)])
def test_a_key_that_is_no_whole_block_is_dropped(hidden: bytes) -> None:
    with pytest.raises(Drop):
        msk(_keys(hidden, hidden), ASKED, SECRET)


@given(st.binary(min_size=16, max_size=48).map(lambda octets: octets[: len(octets) // 16 * 16]))
def test_any_key_octets_are_a_key_or_dropped(cipher: bytes) -> None:
    with suppress(Drop):
        assert 64 <= len(msk(_keys(b"\x80\x01" + cipher, b"\x80\x02" + cipher), ASKED, SECRET)) < 2 * 64
