"""The Encrypted payload of one IKE SA: sealing what we send, opening what the peer sent (RFC 7296 3.14, RFC 5282)."""

from collections.abc import Callable
from dataclasses import replace

from gateway.crypto.ciphers import Cipher, Forged, sealer
from gateway.crypto.keys import IkeKeys
from gateway.crypto.suites import Encryption, Integrity
from gateway.wire.message import (
    HEADER_OCTETS,
    Message,
    build_payloads,
    build_sk_header,
    build_skf_header,
    parse,
    parse_payloads,
)
from gateway.wire.numbers import NotifyType
from gateway.wire.outcome import Drop, Reject
from gateway.wire.payloads import SK, SKF, Payload, Unknown

Random = Callable[[int], bytes]
_SKF_OCTETS = 8  # generic header, fragment number, total fragments


class Unopened(Drop):
    """The octets are not the peer's: another key sealed them, or they were changed on the way."""


class Protection:
    """Both directions' keys of one IKE SA, and the counter that makes our IVs.

    Keyed ciphers are made for each message and not kept: an SA is silent for most of its life, and two of them take
    more memory than all else that it needs.
    """

    __slots__ = ("_encr", "_integ", "_iv", "_ours", "_random", "_theirs")

    def __init__(
        self, encr: Encryption, integ: Integrity | None, keys: IkeKeys, *, initiator: bool, random: Random
    ) -> None:
        ours, theirs = (keys.ei, keys.ai), (keys.er, keys.ar)
        self._ours, self._theirs = (ours, theirs) if initiator else (theirs, ours)
        self._encr, self._integ = encr, integ
        self._random = random
        self._iv = 0

    def seal(self, message: Message, inner: list[Payload]) -> bytes:
        """The datagram: the message's header and plain payloads, then `inner` in an Encrypted payload."""
        return self._seal(message, *build_payloads(inner), 0)[0]

    def seal_within(self, message: Message, inner: list[Payload], limit: int) -> tuple[bytes, ...]:
        """The same, or fragments of up to `limit` octets where it has more and `limit` is not 0 (RFC 7383 2.5)."""
        return self._seal(message, *build_payloads(inner), limit)

    def _seal(self, message: Message, first: int, plain: bytes, limit: int) -> tuple[bytes, ...]:
        cipher, encr = self._cipher(self._ours), self._encr
        fixed = encr.iv_octets + cipher.icv_octets
        header = build_sk_header(message, first, fixed + _padded(len(plain), encr))
        if not limit or len(header) + fixed + _padded(len(plain), encr) <= limit:
            return (self._encrypt(cipher, header, plain),)
        room = limit - HEADER_OCTETS - _SKF_OCTETS - fixed - sum(4 + len(one.octets()) for one in message.payloads)
        room = max(room - room % encr.block_octets - 1, 1)
        total = -(-len(plain) // room)
        datagrams = []
        for number in range(1, total + 1):
            part = plain[(number - 1) * room : number * room]
            header = build_skf_header(message, first, number, total, fixed + _padded(len(part), encr))
            datagrams.append(self._encrypt(cipher, header, part))
            if message.payloads:  # RFC 7383 2.5.3: what is in the open stands in the first one alone
                message = replace(message, payloads=[])
        return tuple(datagrams)

    def _encrypt(self, cipher: Cipher, header: bytes, plain: bytes) -> bytes:
        padding = _padded(len(plain), self._encr) - len(plain) - 1
        iv = self._next_iv()
        return header + iv + cipher.seal(iv, header, plain + bytes(padding) + bytes((padding,)))

    def fragmented(self, datagrams: tuple[bytes, ...], limit: int) -> tuple[bytes, ...]:
        """What we sealed before, sealed again in fragments of up to `limit` octets; the same if they are no more.

        RFC 7383 2.5.2: a new set of fragments is told from the last by its larger total.
        """
        parts: list[bytes] = []
        first, message, outside = 0, None, []
        for datagram in datagrams:
            message = parse(datagram)
            sealed = message.payloads.pop()
            outside += message.payloads
            assert isinstance(sealed, SK | SKF)
            first = first or sealed.first
            parts.append(self._decrypt(datagram, sealed.body, self._ours))
        assert message is not None
        message.payloads = outside
        again = self._seal(message, first, b"".join(parts), limit)
        return again if len(again) > len(datagrams) else datagrams

    def _cipher(self, keys: tuple[bytes, bytes]) -> Cipher:
        return sealer(self._encr, keys[0], self._integ, keys[1])

    def _next_iv(self) -> bytes:
        if self._encr.iv_random:
            return self._random(self._encr.iv_octets)
        self._iv += 1  # never the same twice under one key (RFC 5282 3.1)
        return self._iv.to_bytes(self._encr.iv_octets)

    def leap(self) -> None:
        """What was sealed under this key is not known for certain: go on with IVs that surely were not used."""
        self._iv += 1 << 32

    def open(self, datagram: bytes, message: Message) -> None:
        """Put the decrypted payloads in place of the Encrypted payload.

        Raises Drop when the octets are not the peer's, Reject when they are but make no sense.
        """
        sealed = message.payloads[-1] if message.payloads else None
        if not isinstance(sealed, SK):
            raise Drop("no Encrypted payload where one is due")
        plain = self._decrypt(datagram, sealed.body, self._theirs)
        replace_sealed(message, sealed.first, plain)

    def open_fragment(self, datagram: bytes, fragment: SKF) -> bytes:
        """The octets inside one fragment. Raises Drop and Reject as `open` does."""
        return self._decrypt(datagram, fragment.body, self._theirs)

    def _decrypt(self, datagram: bytes, body: bytes, keys: tuple[bytes, bytes]) -> bytes:
        iv_octets = self._encr.iv_octets
        cipher = self._cipher(keys)
        if len(body) < iv_octets + cipher.icv_octets + 1:
            raise Drop("Encrypted payload too short")
        header = datagram[: len(datagram) - len(body)]
        try:
            plain = cipher.open(body[:iv_octets], header, body[iv_octets:])
        except Forged:
            raise Unopened("integrity check failed") from None
        padding = plain[-1] + 1
        if padding > len(plain):
            raise Reject(NotifyType.INVALID_SYNTAX, "the padding is longer than the Encrypted payload")
        return plain[: len(plain) - padding]


def _padded(octets: int, encr: Encryption) -> int:
    """With the shortest padding and its length octet (RFC 7296 3.14)."""
    return octets + 1 + -(octets + 1) % encr.block_octets


def replace_sealed(message: Message, first: int, plain: bytes) -> None:
    """Put the payloads in `plain` in place of the message's last payload, which held them. Raises Reject."""
    try:
        inner = parse_payloads(first, plain)
    except Drop as drop:
        raise Reject(NotifyType.INVALID_SYNTAX, f"decrypted, but malformed: {drop.why}") from None
    message.payloads[-1:] = inner
    refuse_unknown_critical(message)


def refuse_unknown_critical(message: Message) -> None:
    """RFC 7296 2.5: a payload that we do not know and that is marked critical fails the message, and is named."""
    for payload in message.payloads:
        if payload.critical and isinstance(payload, Unknown):
            why = f"payload type {payload.type} is critical and unknown to us"
            raise Reject(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, why, bytes((payload.type,)))
