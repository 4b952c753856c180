"""The two message windows of an IKE SA, each of size one: our requests, and the peer's (RFC 7296 2.1, 2.3)."""

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.ike.flow import Script
from gateway.ike.fragments import Partial
from gateway.ike.path import Path
from gateway.wire.message import Message
from gateway.wire.outcome import Close
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
    refusal: Close | None = None
    """An error that anybody may have sent: the reason of the end unless a better answer comes until `until`."""
    until: float = 0.0
    payloads: list[Payload] = field(default_factory=list, repr=False)
    synchronises: bool = False
    """It is outside the sequence of message IDs, on which it is to agree anew (RFC 6311)."""


@dataclass(slots=True, eq=False)
class Window:
    """One direction: of what comes in it, a message may be unfinished."""

    partial: Partial | None = None
    """Its fragments that came so far."""

    def discard(self) -> None:
        """Forget what came of an unfinished message."""
        if self.partial is not None:
            self.partial.discard()
            self.partial = None


@dataclass(slots=True, eq=False)
class Requests(Window):
    """Our side: the next message ID and the one request that waits for its response."""

    next_id: int = 0
    pending: Pending | None = None
    waiting: Script[None] | None = None
    """A script that waits for something other than the peer."""
    silent: bytes = b""
    """Our SPI of the SA that this one replaced because the peer asked for it, as long as the peer may not have our
    response: it would not know this one, and tell us that it is lost (RFC 6290)."""

    @property
    def busy(self) -> bool:
        return self.pending is not None or self.waiting is not None or self.silent != b""

    @property
    def unused(self) -> int:
        """One more than the highest message ID that we used."""
        return self.next_id + (self.pending is not None and not self.pending.synchronises)


@dataclass(slots=True)
class Held:
    """A request that is being answered: what its answer is made for, and the way that it came."""

    request: Message
    datagram: bytes = field(repr=False)
    path: Path


@dataclass(slots=True, eq=False)
class Responses(Window):
    """The peer's side: the message ID it may use next, and our last response for its repeats."""

    expected: int = 0
    last_request: int = 0
    last_response: tuple[bytes, ...] = field(default=(), repr=False)
    repeats: int = 0
    """How often the last request came again."""
    script: Script[list[Payload]] | None = None
    """Answers an exchange of several requests, and waits for the next."""
    held: Held | None = None
    """The request that waits: for an answer from outside, and its script with it, or for the end of a rekey of ours."""
    crossing: Callable[[], object] | None = None
    """Answers the held request, which crossed a rekey of ours."""
    waited: bool = False
    """It has waited long enough."""
    synchronised: int = -1
    """The message ID with which the peer meant to go on after its last failover (RFC 6311)."""

    @property
    def highest(self) -> int:
        """The highest message ID that the peer has used or named as its own."""
        return max(self.expected - 1, self.synchronised)

    def renumber(self, expected: int) -> None:
        """The peer goes on with this message ID; what was under way of another one is forgotten."""
        if expected != self.expected:
            self.last_response = ()
        self.expected = self.synchronised = expected
        self.discard()

    def is_repeat(self, message_id: int, datagram: bytes) -> bool:
        """Whether these are the very octets that we answered last (of a fragmented request, its first fragment)."""
        return bool(self.last_response) and message_id == self.expected - 1 and hash(datagram) == self.last_request

    def answered(self, message_id: int, datagram: bytes, response: tuple[bytes, ...]) -> None:
        self.expected = message_id + 1
        self.last_request = hash(datagram)
        self.last_response = response
        self.repeats = 0
        self.waited = False
