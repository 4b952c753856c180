"""What the secret shared with a RADIUS server proves, and hides (RFC 2865 3, 2866 3, 2869 5.14, 2548 2.4, 5176 3).

MD5 is RADIUS's own. Alone it proves no Access answer any more: who stands between can forge a Response Authenticator
(CVE-2024-3596), so HMAC-MD5 over the whole packet, the Message-Authenticator, is demanded of each that may
let somebody in.
"""

import hashlib
import hmac
from dataclasses import replace

from gateway.wire.outcome import Drop
from gateway.wire.radius import AUTHENTICATOR_OCTETS, MICROSOFT, Attribute, Code, Microsoft, Packet, Type

_UNSIGNED = bytes(AUTHENTICATOR_OCTETS)
_SALT_OCTETS = 2
_MSK_OCTETS = 64


class NotAuthentic(Drop):
    """The packet does not fit the shared secret: it is forged, or the secret is not the same at both ends."""


def _md5(packet: Packet, authenticator: bytes, secret: bytes) -> bytes:
    octets = replace(packet, authenticator=authenticator).octets()
    return hashlib.md5(octets + secret, usedforsecurity=False).digest()


def _message_authenticator(packet: Packet, authenticator: bytes, secret: bytes) -> bytes:
    """HMAC-MD5 over the packet with this authenticator, its own value being zero."""
    attributes = tuple(
        Attribute(one.type, _UNSIGNED) if one.type == Type.MESSAGE_AUTHENTICATOR else one for one in packet.attributes
    )
    octets = replace(packet, authenticator=authenticator, attributes=attributes).octets()
    return hmac.digest(secret, octets, "md5")


def _with_message_authenticator(packet: Packet, authenticator: bytes, secret: bytes) -> Packet:
    """It goes first: then nothing can be put before it (CVE-2024-3596)."""
    unsigned = (Attribute(Type.MESSAGE_AUTHENTICATOR, _UNSIGNED), *packet.attributes)
    value = _message_authenticator(replace(packet, attributes=unsigned), authenticator, secret)
    return replace(packet, attributes=(Attribute(Type.MESSAGE_AUTHENTICATOR, value), *packet.attributes))


def sign_access_request(packet: Packet, secret: bytes) -> Packet:
    """An Access-Request, whose authenticator is 16 octets of chance."""
    return _with_message_authenticator(packet, packet.authenticator, secret)


def sign_request(packet: Packet, secret: bytes) -> Packet:
    """Any other request: its authenticator proves it (RFC 2866 3, RFC 5176 2.3)."""
    signed = packet
    if packet.code != Code.ACCOUNTING_REQUEST:
        signed = _with_message_authenticator(packet, _UNSIGNED, secret)
    return replace(signed, authenticator=_md5(signed, _UNSIGNED, secret))


def sign_answer(packet: Packet, request: Packet, secret: bytes) -> Packet:
    signed = _with_message_authenticator(packet, request.authenticator, secret)
    return replace(signed, authenticator=_md5(signed, request.authenticator, secret))


def check_answer(answer: Packet, request: Packet, secret: bytes, *, unsigned_rejects: bool = False) -> None:
    """Raises NotAuthentic. An answer to an Access-Request needs a Message-Authenticator, with EAP in it or without.

    With `unsigned_rejects` a refusal does not, as servers of before 2024 send none when they refuse without EAP: it
    lets nobody in, but whoever stands between could keep people out by it.
    """
    if not hmac.compare_digest(_md5(answer, request.authenticator, secret), answer.authenticator):
        raise NotAuthentic("its Response Authenticator is wrong: the shared secrets differ, or it is forged")
    demanded = request.code == Code.ACCESS_REQUEST and not (unsigned_rejects and answer.code == Code.ACCESS_REJECT)
    _check_message_authenticator(answer, request.authenticator, secret, demanded=demanded)


def check_request(request: Packet, secret: bytes) -> None:
    """A Disconnect-Request or CoA-Request that came to us. Raises NotAuthentic."""
    if not hmac.compare_digest(_md5(request, _UNSIGNED, secret), request.authenticator):
        raise NotAuthentic("its Request Authenticator is wrong: the shared secrets differ, or it is forged")
    _check_message_authenticator(request, _UNSIGNED, secret, demanded=False)


def _check_message_authenticator(packet: Packet, authenticator: bytes, secret: bytes, *, demanded: bool) -> None:
    found = list(packet.all(Type.MESSAGE_AUTHENTICATOR))
    if not found and not demanded:
        return
    if not found:
        raise NotAuthentic("it has no Message-Authenticator, without which anybody on the way can forge it")
    if len(found) > 1:
        raise NotAuthentic("it has several Message-Authenticators")
    if not hmac.compare_digest(_message_authenticator(packet, authenticator, secret), found[0]):
        raise NotAuthentic("its Message-Authenticator is wrong: the shared secrets differ, or it is forged")


def msk(answer: Packet, request: Packet, secret: bytes) -> bytes:
    """The key that EAP made: MS-MPPE-Recv-Key, then -Send-Key (RFC 2548 2.4.2); empty when the answer has none.

    It has 64 octets at least (RFC 3748 7.10): shorter keys, as EAP-MSCHAPv2 makes them, are followed by zeros. Raises
    Drop for keys that cannot be made out.
    """
    parts = [answer.vendor(MICROSOFT, kind) for kind in (Microsoft.MPPE_RECV_KEY, Microsoft.MPPE_SEND_KEY)]
    if parts == [None, None]:
        return b""
    if None in parts:
        raise Drop("one of the two MS-MPPE keys is missing")
    keys = b"".join(_reveal(part, request.authenticator, secret) for part in parts if part is not None)
    return keys.ljust(_MSK_OCTETS, b"\0")


def _reveal(hidden: bytes, authenticator: bytes, secret: bytes) -> bytes:
    """RFC 2548 2.4.2: salt, then the key's length, the key and padding, each block under MD5 of what came before."""
    salt, cipher = hidden[:_SALT_OCTETS], hidden[_SALT_OCTETS:]
    if not cipher or len(cipher) % 16:
        raise Drop("an MS-MPPE key is not made of whole blocks")
    plain, before = b"", authenticator + salt
    for at in range(0, len(cipher), 16):
        pad = hashlib.md5(secret + before, usedforsecurity=False).digest()
        before = cipher[at : at + 16]
        plain += bytes(a ^ b for a, b in zip(before, pad, strict=True))
    if plain[0] >= len(plain):
        raise Drop("an MS-MPPE key is longer than what it is in")
    return plain[1 : 1 + plain[0]]
