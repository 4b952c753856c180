"""Just enough DER (X.690) for what the library does not hand out: tags, lengths, names of things; total, bounded."""

from collections.abc import Iterator

INTEGER, BIT_STRING, OCTET_STRING, NULL, OBJECT_IDENTIFIER, SEQUENCE, SET = 0x02, 0x03, 0x04, 0x05, 0x06, 0x30, 0x31
_LONGEST_OID = 64


class InvalidDer(ValueError):
    """The octets are no DER, or none of the kind that was asked for."""


def element(data: bytes, offset: int = 0) -> tuple[int, bytes, int]:
    """The tag and content of the element at `offset`, and where the next begins. Raises InvalidDer."""
    if offset + 2 > len(data):
        raise InvalidDer("an element is cut short")
    tag, length, offset = data[offset], data[offset + 1], offset + 2
    if tag & 0x1F == 0x1F:
        raise InvalidDer("a tag of several octets")
    if length & 0x80:
        octets = length & 0x7F
        if not 0 < octets <= 3 or offset + octets > len(data):
            raise InvalidDer("an impossible length")
        length = int.from_bytes(data[offset : offset + octets])
        if length < 0x80 or length < 1 << 8 * (octets - 1):
            raise InvalidDer("a length that is longer than it need be")
        offset += octets
    if offset + length > len(data):
        raise InvalidDer("an element runs past its end")
    return tag, data[offset : offset + length], offset + length


def whole(data: bytes, tag: int) -> bytes:
    """The content of the one element that `data` is. Raises InvalidDer."""
    found, content, end = element(data)
    if found != tag or end != len(data):
        raise InvalidDer("another element than was expected, or more than one")
    return content


def inside(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements of a constructed one. Raises InvalidDer."""
    offset = 0
    while offset < len(content):
        tag, value, offset = element(content, offset)
        yield tag, value


def dotted(content: bytes) -> str:
    """An object identifier in numbers and dots. Raises InvalidDer."""
    if not content or len(content) > _LONGEST_OID or content[-1] & 0x80:
        raise InvalidDer("no object identifier")
    arcs, value = [], 0
    for octet in content:
        if not value and octet == 0x80:
            raise InvalidDer("no object identifier")
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def number(content: bytes) -> int:
    """A non-negative INTEGER. Raises InvalidDer."""
    if not content or content[0] & 0x80 or (len(content) > 1 and not content[0] and not content[1] & 0x80):
        raise InvalidDer("no non-negative number")
    return int.from_bytes(content)


def pack(tag: int, *contents: bytes) -> bytes:
    """An element that holds these."""
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | octets)) + length.to_bytes(octets) + content
