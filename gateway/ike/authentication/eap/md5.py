"""EAP-MD5 (RFC 3748 5.4): a password, one way, and no key. Off unless it is asked for by name."""

import hashlib
import hmac

from gateway.ike.authentication.eap.gate import Account, Gate, Proven
from gateway.ike.authentication.eap.talk import Failed, PeerTalk, ServerTalk, read
from gateway.wire.eap import Md5Value
from gateway.wire.numbers import EapType
from gateway.wire.payloads import EAP

_KIND = EapType.MD5_CHALLENGE
_CHALLENGE_OCTETS = 16


def _answer(identifier: int, password: bytes, challenge: bytes) -> bytes:
    """RFC 1994 4.1."""
    return hashlib.md5(bytes((identifier,)) + password + challenge, usedforsecurity=False).digest()


async def serve(talk: ServerTalk, gate: Gate, claimed: str) -> Proven:
    """Ask for the password's proof.

    <-- Request/MD5-Challenge(value)
    --> Response/MD5-Challenge(MD5(identifier | password | value))
    """
    challenge, identifier = gate.random(_CHALLENGE_OCTETS), talk.identifier
    got = read(Md5Value.read, await talk.ask(_KIND, Md5Value(challenge, gate.name).octets()))
    booked, user = gate.attempt(claimed), gate.find(claimed)
    if (why := gate.judge(claimed, user)) or user is None:
        raise Failed("eap-user", why)
    if gate.typed(user, lambda one: hmac.compare_digest(_answer(identifier, one, challenge), got.value)) is not None:
        gate.right(booked)
        return Proven(user.name, _KIND, b"", user)
    raise Failed("eap-password", f"the user {user.name} gave a wrong password")


async def prove(talk: PeerTalk, account: Account, asked: EAP) -> bytes:
    """Answer the challenge; no key comes of it."""
    challenge = read(Md5Value.read, asked.method_data)
    value = _answer(asked.identifier, account.password, challenge.value)
    await talk.finish(asked, _KIND, Md5Value(value, account.identity).octets())
    return b""
