"""RADIUS packets (RFC 2865, 2866, 2869, 3579, 5176): any octets give a Packet or a Drop, and a Packet gives them back.

Nothing here proves anything: `gateway.crypto.radius` tells whether a packet is the other end's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import NamedTuple

from gateway.wire.outcome import Drop

HEADER_OCTETS = 20
AUTHENTICATOR_OCTETS = 16
MAX_PACKET = 4096
MAX_VALUE = 253
MAX_ATTRIBUTES = 400
MICROSOFT = 311

_HEADER = Struct(">BBH16s")
_VENDOR = Struct(">I")
_UINT32 = Struct(">I")


class Code(IntEnum):
    """What a packet is (RFC 2865 4, RFC 2866 4, RFC 5176 3.1)."""

    ACCESS_REQUEST = 1
    ACCESS_ACCEPT = 2
    ACCESS_REJECT = 3
    ACCOUNTING_REQUEST = 4
    ACCOUNTING_RESPONSE = 5
    ACCESS_CHALLENGE = 11
    DISCONNECT_REQUEST = 40
    DISCONNECT_ACK = 41
    DISCONNECT_NAK = 42
    COA_REQUEST = 43
    COA_ACK = 44
    COA_NAK = 45


class Type(IntEnum):
    """The attributes that we read or write, by IANA's numbers."""

    USER_NAME = 1
    NAS_IP_ADDRESS = 4
    SERVICE_TYPE = 6
    FRAMED_IP_ADDRESS = 8
    FILTER_ID = 11
    FRAMED_MTU = 12
    REPLY_MESSAGE = 18
    STATE = 24
    CLASS = 25
    VENDOR_SPECIFIC = 26
    SESSION_TIMEOUT = 27
    IDLE_TIMEOUT = 28
    CALLED_STATION_ID = 30
    CALLING_STATION_ID = 31
    NAS_IDENTIFIER = 32
    PROXY_STATE = 33
    ACCT_STATUS_TYPE = 40
    ACCT_DELAY_TIME = 41
    ACCT_INPUT_OCTETS = 42
    ACCT_OUTPUT_OCTETS = 43
    ACCT_SESSION_ID = 44
    ACCT_SESSION_TIME = 46
    ACCT_INPUT_PACKETS = 47
    ACCT_OUTPUT_PACKETS = 48
    ACCT_TERMINATE_CAUSE = 49
    ACCT_INPUT_GIGAWORDS = 52
    ACCT_OUTPUT_GIGAWORDS = 53
    EVENT_TIMESTAMP = 55
    NAS_PORT_TYPE = 61
    EAP_MESSAGE = 79
    MESSAGE_AUTHENTICATOR = 80
    ACCT_INTERIM_INTERVAL = 85
    NAS_IPV6_ADDRESS = 95
    ERROR_CAUSE = 101
    FRAMED_IPV6_ADDRESS = 168


class Microsoft(IntEnum):
    """Vendor types of RFC 2548."""

    MPPE_SEND_KEY = 16
    MPPE_RECV_KEY = 17


class Attribute(NamedTuple):
    """One attribute; its value may be a secret, so it is never shown."""

    type: int
    value: bytes

    def __repr__(self) -> str:
        return f"Attribute({self.type}, {len(self.value)} octets)"


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet with its attributes in the order of the wire, which matters for several of one type."""

    code: int
    identifier: int
    authenticator: bytes
    attributes: tuple[Attribute, ...] = ()

    def all(self, kind: int) -> Iterator[bytes]:
        """The values of this type, in their order."""
        return (value for found, value in self.attributes if found == kind)

    def maybe(self, kind: int) -> bytes | None:
        """The value of this type; the first of several, as RFC 2865 5 lets none of them go before another."""
        return next(self.all(kind), None)

    def number(self, kind: int) -> int | None:
        """A value of four octets; None where it is missing or has another length."""
        value = self.maybe(kind)
        return int.from_bytes(value) if value is not None and len(value) == _UINT32.size else None

    def text(self, kind: int) -> str:
        """All values of this type as one line that can be shown: whoever wrote it is not trusted."""
        joined = b"".join(self.all(kind)).decode("utf-8", "replace")
        return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in joined)

    def ipv4(self, kind: int) -> IPv4Address | None:
        """An address; None for what is none, and for the two by which a server leaves the choice (RFC 2865 5.8)."""
        value = self.number(kind)
        return None if value is None or value >= 0xFFFFFFFE or value == 0 else IPv4Address(value)

    def ipv6(self, kind: int) -> IPv6Address | None:
        value = self.maybe(kind)
        return IPv6Address(value) if value is not None and len(value) == 16 and any(value) else None

    @property
    def eap(self) -> bytes:
        """The EAP packet, put together again (RFC 3579 3.1)."""
        return b"".join(self.all(Type.EAP_MESSAGE))

    def vendor(self, vendor: int, kind: int) -> bytes | None:
        """The value of a vendor's attribute in the recommended form (RFC 2865 5.26), where there is exactly one."""
        found = [value for one in self.all(Type.VENDOR_SPECIFIC) for value in _vendor_values(one, vendor, kind)]
        return found[0] if len(found) == 1 else None

    def octets(self) -> bytes:
        """Raises ValueError for more than a packet may have."""
        body = b"".join(bytes((kind, len(value) + 2)) + value for kind, value in self.attributes)
        if HEADER_OCTETS + len(body) > MAX_PACKET:
            raise ValueError(f"a RADIUS packet of {HEADER_OCTETS + len(body)} octets; {MAX_PACKET} are allowed")
        return _HEADER.pack(self.code, self.identifier, HEADER_OCTETS + len(body), self.authenticator) + body


def _vendor_values(attribute: bytes, vendor: int, kind: int) -> Iterator[bytes]:
    """A malformed rest is left out: to us it says nothing."""
    if len(attribute) < _VENDOR.size or _VENDOR.unpack_from(attribute)[0] != vendor:
        return
    at = _VENDOR.size
    while at + 2 <= len(attribute):
        found, length = attribute[at], attribute[at + 1]
        if length < 2 or at + length > len(attribute):
            return
        if found == kind:
            yield attribute[at + 2 : at + length]
        at += length


def parse(datagram: bytes) -> Packet:
    """Raises Drop. What follows the length that the header tells is padding (RFC 2865 3)."""
    if len(datagram) < HEADER_OCTETS:
        raise Drop(f"{len(datagram)} octets are no RADIUS packet")
    code, identifier, length, authenticator = _HEADER.unpack_from(datagram)
    if not HEADER_OCTETS <= length <= min(len(datagram), MAX_PACKET):
        raise Drop(f"a RADIUS packet of {len(datagram)} octets says that it has {length}")
    attributes: list[Attribute] = []
    at = HEADER_OCTETS
    while at < length:
        if len(attributes) == MAX_ATTRIBUTES:
            raise Drop(f"a RADIUS packet has more than {MAX_ATTRIBUTES} attributes")
        size = datagram[at + 1] if at + 1 < length else 0
        if size < 2 or at + size > length:
            raise Drop(f"a RADIUS attribute of {size} octets at octet {at} of {length}")
        attributes.append(Attribute(datagram[at], datagram[at + 2 : at + size]))
        at += size
    return Packet(code, identifier, authenticator, tuple(attributes))


def fits(attributes: Sequence[Attribute]) -> bool:
    """Whether a packet holds these, and a Message-Authenticator."""
    octets = sum(2 + len(value) for _, value in attributes) + 2 + AUTHENTICATOR_OCTETS
    return HEADER_OCTETS + octets <= MAX_PACKET


def number(kind: int, value: int) -> Attribute:
    """An attribute of four octets; more than they hold becomes the most that they do."""
    return Attribute(kind, _UINT32.pack(min(max(value, 0), 0xFFFFFFFF)))


def text(kind: int, value: str | bytes) -> Attribute:
    """Raises ValueError for what does not fit or is empty, which no attribute may be (RFC 2865 5)."""
    octets = value.encode() if isinstance(value, str) else value
    if not 0 < len(octets) <= MAX_VALUE:
        raise ValueError(f"a RADIUS attribute of {len(octets)} octets; 1 to {MAX_VALUE} are allowed")
    return Attribute(kind, octets)


def eap_message(packet: bytes) -> Sequence[Attribute]:
    """An EAP packet in as many attributes as it needs, one behind the other (RFC 3579 3.1)."""
    return [Attribute(Type.EAP_MESSAGE, packet[at : at + MAX_VALUE]) for at in range(0, len(packet), MAX_VALUE)]
