"""Payloads by themselves, from the octets of their bodies."""

import pytest

from gateway.wire.message import build_payloads, parse_payloads
from gateway.wire.outcome import Drop
from gateway.wire.payloads import Payload


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


def alone(kind: int, body: bytes, *, bits: int = 0) -> Payload:
    """The payload that these octets make behind a generic header; they must be what it makes again."""
    framed = bytes((0, bits)) + (4 + len(body)).to_bytes(2) + body
    (payload,) = parse_payloads(kind, framed)
    assert build_payloads([payload]) == (kind, framed)
    return payload


def refused(kind: int, body: bytes) -> str:
    """Why these octets make no such payload."""
    with pytest.raises(Drop) as raised:
        parse_payloads(kind, bytes(2) + (4 + len(body)).to_bytes(2) + body)
    return raised.value.why
