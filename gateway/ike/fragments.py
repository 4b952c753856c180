"""IKE messages in fragments: what is agreed, how large they are, and how they come together again (RFC 7383)."""

from dataclasses import dataclass, field

from gateway.ike.path import Path
from gateway.ike.protect import Protection, replace_sealed
from gateway.wire.message import Message
from gateway.wire.outcome import Drop
from gateway.wire.payloads import SKF, Payload

MAX_FRAGMENTS = 64
MAX_OCTETS = 65_535
UNPROVEN_OCTETS = 32_768
"""What a peer that has not proven itself may make us keep of one message."""
PARTIAL_LIFETIME = 30.0
"""Seconds that we wait for the rest of a message."""
PROBES = 2
"""Transmissions of one size before a smaller one is tried (RFC 7383 2.5.2)."""

_OVERHEAD = 96  # what Python needs to remember one fragment, about
_UDP = 8
_MARKER = 4
_STEPS = {4: (1280, 576), 6: (1280,)}  # RFC 7383 2.5.1


def ip_overhead(path: Path) -> int:
    """Octets of a datagram on this path that are not the IKE message."""
    return (40 if path.version == 6 else 20) + _UDP + (_MARKER if path.marked else 0)


def room(path: Path, datagram_octets: int) -> int:
    """The largest IKE message that fits an IP datagram of this size; 0 (no limit) stays 0."""
    return datagram_octets and max(datagram_octets - ip_overhead(path), 128)


def smaller(path: Path, datagram_octets: int) -> int | None:
    """The next size to try when datagrams of this one seem to get lost; None at the end."""
    return next((step for step in _STEPS[path.version] if step < datagram_octets), None)


@dataclass(slots=True)
class Pool:
    """How many octets of unfinished messages are kept, over all SAs; `limit` bounds them."""

    limit: int
    used: int = 0


@dataclass(slots=True)
class Partial:
    """The fragments of one message that came so far, each authenticated before it was kept."""

    pool: Pool
    message_id: int
    exchange: int
    total: int
    pieces: dict[int, bytes] = field(default_factory=dict, repr=False)
    octets: int = 0
    largest: int = 0
    first: int = 0
    head: bytes = field(default=b"", repr=False)
    """Fragment 1's datagram: its repeat stands for a repeat of the message (RFC 7383 2.6.1)."""
    plain: list[Payload] = field(default_factory=list)

    def continues(self, message: Message, fragment: SKF) -> bool:
        """Whether the fragment belongs to this set, and not to a new one. Raises Drop for what belongs to none."""
        if (message.message_id, message.exchange) != (self.message_id, self.exchange):
            return False
        if fragment.total < self.total:
            raise Drop("fragment of an older set")
        if fragment.total == self.total and fragment.fragment_number in self.pieces:
            raise Drop("fragment again")
        return fragment.total == self.total

    def keep(self, message: Message, fragment: SKF, datagram: bytes, plain: bytes, limit: int) -> None:
        """Raises Drop when it would be too much."""
        octets = len(plain) + _OVERHEAD + (len(datagram) if fragment.fragment_number == 1 else 0)
        if sum(map(len, self.pieces.values())) + len(plain) > limit:
            raise Drop("fragments of too large a message")
        if self.pool.used + octets > self.pool.limit:
            raise Drop("no memory left for fragments")
        self.pool.used += octets
        self.octets += octets
        self.pieces[fragment.fragment_number] = plain
        self.largest = max(self.largest, len(datagram))
        if fragment.fragment_number == 1:
            self.first, self.head, self.plain = fragment.first, datagram, message.payloads[:-1]

    @property
    def whole(self) -> bool:
        return len(self.pieces) == self.total

    def discard(self) -> None:
        """Give the memory back to the pool."""
        self.pool.used -= self.octets
        self.octets = 0
        self.pieces.clear()


def collect(
    partial: Partial | None, pool: Pool, protection: Protection, message: Message, datagram: bytes, *, proven: bool
) -> Partial:
    """Take one fragment, `message.payloads[-1]`, to those that came before; a set that is replaced is discarded.

    Raises Drop for what is no good, before anything is kept (RFC 7383 2.6).
    """
    fragment = message.payloads[-1]
    assert isinstance(fragment, SKF)
    if fragment.total > MAX_FRAGMENTS:
        raise Drop("too many fragments")
    known = partial is not None and partial.continues(message, fragment)
    plain = protection.open_fragment(datagram, fragment)
    if partial is None or not known:
        if partial is not None:
            partial.discard()
        partial = Partial(pool, message.message_id, message.exchange, fragment.total)
    partial.keep(message, fragment, datagram, plain, MAX_OCTETS if proven else UNPROVEN_OCTETS)
    return partial


def assemble(partial: Partial, message: Message) -> None:
    """All fragments are here: the message gets the payloads of the whole. Raises Reject when they make no sense."""
    joined = b"".join(partial.pieces[number] for number in range(1, partial.total + 1))
    message.payloads = [*partial.plain, message.payloads[-1]]
    partial.discard()
    replace_sealed(message, partial.first, joined)
