"""What EAP-TLS needs of a TLS implementation: records in, records out, and the keys at the end.

TLS draws its own chance and knows its own time, so that it stands outside: the service gives the engine a maker of
these, as it gives a data plane.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class TlsFailed(Exception):
    """The handshake is over, and has failed; `why` is a sentence. Records that tell the other end wait in `take`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class TlsMachine(Protocol):
    """One end of one connection, in memory."""

    def feed(self, records: bytes) -> None:
        """Records from the other end, none to begin as client; goes on with the handshake. Raises TlsFailed."""

    def take(self) -> bytes:
        """Records for the other end, all that wait."""

    @property
    def done(self) -> bool:
        """Whether the handshake is complete: both ends have shown their certificates and keys."""

    @property
    def commits(self) -> bool:
        """Whether the server has to say at the end that all is well, as it does from TLS 1.3 on (RFC 9190 2.5)."""

    @property
    def committed(self) -> bool:
        """Whether the server has said so."""

    def commit(self) -> None:
        """Say so as server: one octet 0 as application data. Does nothing in TLS 1.2."""

    def msk(self) -> bytes:
        """64 octets (RFC 5216 2.3, RFC 9190 2.3)."""

    def chain(self) -> tuple[bytes, ...]:
        """The other end's certificates in DER as it sent them, its own first."""


@dataclass(frozen=True, slots=True)
class TlsTerms:
    """What a connection is made of; certificates in DER.

    `server` tells which end we are, `key` is a private key of the library's, `chain` its certificates, its own first.
    The other end's certificate must lead to one of `anchors`, over what it sends and `intermediates`; `unix` is now.
    """

    server: bool
    key: object = field(repr=False)
    chain: tuple[bytes, ...]
    anchors: tuple[bytes, ...]
    intermediates: tuple[bytes, ...] = ()
    unix: float = 0.0


TlsMaker = Callable[[TlsTerms], TlsMachine]
"""Raises TlsFailed when the key, a certificate or an authority is of no use to it."""
