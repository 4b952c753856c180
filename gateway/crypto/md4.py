"""MD4 (RFC 1320), which OpenSSL gives no longer and MS-CHAPv2's hash of a password needs. For nothing else."""

from struct import Struct

_BLOCK = Struct("<16I")
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_MASK = 0xFFFFFFFF
_ROUNDS = (
    (0x00000000, tuple(range(16)), (3, 7, 11, 19)),
    (0x5A827999, (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), (3, 5, 9, 13)),
    (0x6ED9EBA1, (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), (3, 9, 11, 15)),
)
"""Of each round: its constant, the order of the words, the shifts (RFC 1320 3.4)."""


def _mix(round_number: int, x: int, y: int, z: int) -> int:
    """F, G and H."""
    if round_number == 0:
        return (x & y) | (~x & z)
    if round_number == 1:
        return (x & y) | (x & z) | (y & z)
    return x ^ y ^ z


def md4(data: bytes) -> bytes:
    """The 16 octets of MD4 over `data`."""
    padded = data + b"\x80" + bytes(-(len(data) + 9) % 64) + (8 * len(data)).to_bytes(8, "little")
    state = _START
    for start in range(0, len(padded), 64):
        words = _BLOCK.unpack_from(padded, start)
        a, b, c, d = state
        for number, (constant, order, shifts) in enumerate(_ROUNDS):
            for step, index in enumerate(order):
                total = (a + _mix(number, b, c, d) + words[index] + constant) & _MASK
                shift = shifts[step % 4]
                a, b, c, d = d, ((total << shift) | (total >> (32 - shift))) & _MASK, b, c
        state = tuple((old + new) & _MASK for old, new in zip(state, (a, b, c, d), strict=True))  # type: ignore[assignment]
    return b"".join(word.to_bytes(4, "little") for word in state)
