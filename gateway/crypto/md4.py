"""MD4 (RFC 1320), which OpenSSL gives no longer and MS-CHAPv2's hash of a password needs. For nothing else."""

from struct import Struct

_BLOCK, _DIGEST = Struct("<16I"), Struct("<4I")
_MASK = 0xFFFFFFFF


def md4(data: bytes) -> bytes:
    """The 16 octets of MD4 over `data`.

    Four steps at a time as RFC 1320 3.4 has them; bits above the 32nd are cut off where they would come into the sum.
    """
    padded = data + b"\x80" + bytes(-(len(data) + 9) % 64) + (8 * len(data)).to_bytes(8, "little")
    state = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
    for start in range(0, len(padded), 64):
        x = _BLOCK.unpack_from(padded, start)
        a, b, c, d = state
        for i in (0, 4, 8, 12):
            t = (a + (d ^ (b & (c ^ d))) + x[i]) & _MASK
            a = t << 3 | t >> 29
            t = (d + (c ^ (a & (b ^ c))) + x[i + 1]) & _MASK
            d = t << 7 | t >> 25
            t = (c + (b ^ (d & (a ^ b))) + x[i + 2]) & _MASK
            c = t << 11 | t >> 21
            t = (b + (a ^ (c & (d ^ a))) + x[i + 3]) & _MASK
            b = t << 19 | t >> 13
        for i in (0, 1, 2, 3):
            t = (a + ((b & c) | (d & (b | c))) + x[i] + 0x5A827999) & _MASK
            a = t << 3 | t >> 29
            t = (d + ((a & b) | (c & (a | b))) + x[i + 4] + 0x5A827999) & _MASK
            d = t << 5 | t >> 27
            t = (c + ((d & a) | (b & (d | a))) + x[i + 8] + 0x5A827999) & _MASK
            c = t << 9 | t >> 23
            t = (b + ((c & d) | (a & (c | d))) + x[i + 12] + 0x5A827999) & _MASK
            b = t << 13 | t >> 19
        for i in (0, 2, 1, 3):
            t = (a + (b ^ c ^ d) + x[i] + 0x6ED9EBA1) & _MASK
            a = t << 3 | t >> 29
            t = (d + (a ^ b ^ c) + x[i + 8] + 0x6ED9EBA1) & _MASK
            d = t << 9 | t >> 23
            t = (c + (d ^ a ^ b) + x[i + 4] + 0x6ED9EBA1) & _MASK
            c = t << 11 | t >> 21
            t = (b + (c ^ d ^ a) + x[i + 12] + 0x6ED9EBA1) & _MASK
            b = t << 15 | t >> 17
        state = (state[0] + a) & _MASK, (state[1] + b) & _MASK, (state[2] + c) & _MASK, (state[3] + d) & _MASK
    return _DIGEST.pack(*state)
