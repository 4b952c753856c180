"""Pings through a tunnel, one echo request at a time (RFC 792)."""

import os
import socket
import time
from struct import Struct

_HEADER = Struct(">BBHHH")
_ECHO_REQUEST, _ECHO_REPLY = 8, 0
_DATA = b"ikegate demo".ljust(56, b".")


class Echo:
    """A raw ICMP socket bound to `source`; make it inside the namespace that it is to ping from."""

    def __init__(self, source: str, target: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._socket.bind((source, 0))
        self._target = target
        self._identifier = os.getpid() & 0xFFFF
        self.sent = 0
        self.answered = 0

    def ping(self, wait: float) -> float | None:
        """The round trip in seconds, None when nobody answers within `wait` seconds."""
        self.sent += 1
        number = self.sent & 0xFFFF
        begun = time.monotonic()
        try:
            self._socket.sendto(_request(self._identifier, number), (self._target, 0))
        except OSError:  # no route yet, or the tunnel's policy holds it back
            return None
        while (left := begun + wait - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                packet, (source, _) = self._socket.recvfrom(2048)
            except OSError:
                return None
            if source == self._target and _answers(packet, self._identifier, number):
                self.answered += 1
                return time.monotonic() - begun
        return None

    def close(self) -> None:
        self._socket.close()


def _request(identifier: int, number: int) -> bytes:
    plain = _HEADER.pack(_ECHO_REQUEST, 0, 0, identifier, number) + _DATA
    checksum = 0xFFFF - int.from_bytes(plain) % 0xFFFF  # RFC 1071: the length is even
    return _HEADER.pack(_ECHO_REQUEST, 0, checksum, identifier, number) + _DATA


def _answers(packet: bytes, identifier: int, number: int) -> bool:
    header = (packet[0] & 15) * 4 if packet else 0
    if len(packet) < header + _HEADER.size:
        return False
    kind, _, _, theirs, sequence = _HEADER.unpack_from(packet, header)
    return (kind, theirs, sequence) == (_ECHO_REPLY, identifier, number)
