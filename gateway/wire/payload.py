"""What every payload is: a body behind the generic payload header (RFC 7296 3.2)."""

from dataclasses import dataclass, field
from typing import ClassVar, Self


@dataclass(slots=True)
class Payload:
    """Common to all payloads: `critical` is the C bit; reserved bits are kept, and mean nothing.

    `read` takes one payload's body out of a datagram, whose bounds the caller has checked. It raises Drop, and nothing
    else, when the octets make no such payload. `octets` is its inverse, exact to the bit.
    """

    payload_type: ClassVar[int]

    critical: bool = field(default=False, kw_only=True)
    header_reserved: int = field(default=0, kw_only=True, repr=False, compare=False)

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Self:
        """Parse data[start:end]."""
        raise NotImplementedError  # not abstract: isinstance is three times slower for a class that is

    def octets(self) -> bytes:
        """The octets after the generic payload header. Raises ValueError when a value does not fit its field."""
        raise NotImplementedError


def number_in_field(value: int, octets: int, what: str) -> int:
    """`value`, if it fits; a length that does not is the sender's own mistake. Raises ValueError."""
    if value >> 8 * octets:
        raise ValueError(f"{what} of {value} does not fit {octets} octets")
    return value
