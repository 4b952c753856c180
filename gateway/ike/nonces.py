"""Nonces: their length, and what the peer's must be."""

from gateway.wire.numbers import NotifyType
from gateway.wire.outcome import Reject

NONCE_OCTETS = 32


def check_nonce(nonce: bytes) -> bytes:
    """RFC 7296 2.10: 16 to 256 octets. Raises Reject."""
    if not 16 <= len(nonce) <= 256:
        raise Reject(NotifyType.INVALID_SYNTAX, f"a nonce of {len(nonce)} octets; 16 to 256 are allowed")
    return nonce
