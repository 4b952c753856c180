"""The Encrypted payload of one IKE SA: sealing what we send, opening what the peer sent (RFC 7296 3.14, RFC 5282)."""

from collections.abc import Callable

from gateway.crypto.ciphers import Cipher, Forged, sealer
from gateway.crypto.keys import IkeKeys
from gateway.crypto.suites import Encryption, Integrity
from gateway.wire.message import Message, build_payloads, build_sk_header, parse_payloads
from gateway.wire.numbers import NotifyType
from gateway.wire.outcome import Drop, Reject
from gateway.wire.payloads import SK, Payload, Unknown

Random = Callable[[int], bytes]


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
        first, plain = build_payloads(inner)
        encr = self._encr
        padding = -(len(plain) + 1) % encr.block_octets
        plain += bytes(padding) + bytes((padding,))
        cipher = self._cipher(self._ours)
        body_octets = encr.iv_octets + len(plain) + cipher.icv_octets
        header = build_sk_header(message, first, body_octets)
        iv = self._next_iv()
        return header + iv + cipher.seal(iv, header, plain)

    def _cipher(self, keys: tuple[bytes, bytes]) -> Cipher:
        return sealer(self._encr, keys[0], self._integ, keys[1])

    def _next_iv(self) -> bytes:
        if self._encr.iv_random:
            return self._random(self._encr.iv_octets)
        self._iv += 1  # never the same twice under one key (RFC 5282 3.1)
        return self._iv.to_bytes(self._encr.iv_octets)

    def open(self, datagram: bytes, message: Message) -> None:
        """Put the decrypted payloads in place of the Encrypted payload.

        Raises Drop when the octets are not the peer's, Reject when they are but make no sense.
        """
        sealed = message.payloads[-1] if message.payloads else None
        if not isinstance(sealed, SK):
            raise Drop("no Encrypted payload where one is due")
        body = sealed.body
        iv_octets = self._encr.iv_octets
        cipher = self._cipher(self._theirs)
        if len(body) < iv_octets + cipher.icv_octets + 1:
            raise Drop("Encrypted payload too short")
        header = datagram[: len(datagram) - len(body)]
        try:
            plain = cipher.open(body[:iv_octets], header, body[iv_octets:])
        except Forged:
            raise Drop("integrity check failed") from None
        padding = plain[-1] + 1
        if padding > len(plain):
            raise Reject(NotifyType.INVALID_SYNTAX, "the padding is longer than the Encrypted payload")
        try:
            inner = parse_payloads(sealed.first, plain[: len(plain) - padding])
        except Drop as drop:
            raise Reject(NotifyType.INVALID_SYNTAX, f"decrypted, but malformed: {drop.why}") from None
        message.payloads[-1:] = inner
        refuse_unknown_critical(message)


def refuse_unknown_critical(message: Message) -> None:
    """RFC 7296 2.5: a payload that we do not know and that is marked critical fails the message, and is named."""
    for payload in message.payloads:
        if isinstance(payload, Unknown) and payload.critical:
            why = f"payload type {payload.type} is critical and unknown to us"
            raise Reject(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, why, bytes((payload.type,)))
