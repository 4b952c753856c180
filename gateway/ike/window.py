"""The two message windows of an IKE SA, each of size one: our requests, and the peer's (RFC 7296 2.1, 2.3)."""

from dataclasses import dataclass, field

from gateway.ike.flow import Script
from gateway.ike.fragments import Partial
from gateway.wire.payloads import Payload


@dataclass(slots=True)
class Pending:
    """Our request under way: the same octets go out each time (RFC 7296 2.1)."""

    message_id: int
    exchange: int
    datagrams: tuple[bytes, ...] = field(repr=False)
    """One, or the fragments of one message."""
    label: str
    script: Script[None]
    about_child: bool = False
    """Whether it makes, rekeys or deletes a CHILD_SA, or goes on with that (as to an IKE SA, its `renewal` tells)."""
    sent: int = 1
    tries: int = 0
    """Transmissions before the end of patience; 0 for as many as the peer's configuration says."""


@dataclass(slots=True)
class Requests:
    """Our side: the next message ID and the one request that waits for its response."""

    next_id: int = 0
    pending: Pending | None = None
    waiting: Script[None] | None = None
    """A script that waits for something other than the peer."""
    partial: Partial | None = None
    """What came of the response so far."""
    silent: bool = False
    """The SA came of a rekey that the peer asked for, and it may not have our response yet: it would not know the SA,
    and tell us that it is lost (RFC 6290)."""

    @property
    def busy(self) -> bool:
        return self.pending is not None or self.waiting is not None or self.silent


@dataclass(slots=True)
class Responses:
    """The peer's side: the message ID it may use next, and our last response for its repeats."""

    expected: int = 0
    last_request: int = 0
    last_response: tuple[bytes, ...] = field(default=(), repr=False)
    repeats: int = 0
    """How often the last request came again."""
    partial: Partial | None = None
    """What came of the next request so far."""
    script: Script[list[Payload]] | None = None
    """Answers an exchange of several requests, and waits for the next."""

    def is_repeat(self, message_id: int, datagram: bytes) -> bool:
        """Whether these are the very octets that we answered last (of a fragmented request, its first fragment)."""
        return bool(self.last_response) and message_id == self.expected - 1 and hash(datagram) == self.last_request

    def answered(self, message_id: int, datagram: bytes, response: tuple[bytes, ...]) -> None:
        self.expected = message_id + 1
        self.last_request = hash(datagram)
        self.last_response = response
        self.repeats = 0
