"""Netlink sockets: messages by hand, many requests in one send, and the kernel's own words for a failure."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence
from struct import Struct

NETLINK_ROUTE, NETLINK_XFRM = 0, 6

# uapi/linux/netlink.h
NLM_F_REQUEST, NLM_F_ACK = 0x01, 0x04
NLM_F_DUMP = 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLMSGERR_ATTR_MSG = 1
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 1, 10, 11

_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33  # asm-generic/socket.h; Python has no names for them
_SOL_SOCKET_BUFFER = 1 << 22
_DATAGRAM = 1 << 16  # the kernel fills dumps with as much as the reader takes, up to 32 kB
_ANSWER_SECONDS = 10  # requests are answered before sendmsg returns; a wait this long means the answer was lost

# One send stays well under the default socket buffer: every answer in it costs the kernel more than a kilobyte.
_SENT_MESSAGES, _SENT_OCTETS = 64, 48_000

nlmsghdr = Struct("=IHHII")  # nlmsg_len, nlmsg_type, nlmsg_flags, nlmsg_seq, nlmsg_pid
nlattr = Struct("=HH")  # nla_len, nla_type
_nlmsgerr = Struct("=i")  # error; the request's header follows
_timeval = Struct("@ll")

Request = tuple[int, int, bytes]
"""nlmsg_type, nlmsg_flags besides REQUEST and ACK, and the body."""


class NetlinkError(OSError):
    """The kernel refused a request; `strerror` is its own sentence where it gave one, else the errno's."""

    def __init__(self, number: int, sentence: str = "") -> None:
        super().__init__(number, sentence or os.strerror(number))

    def __str__(self) -> str:
        return f"{self.strerror} ({errno.errorcode.get(self.errno or 0, self.errno)})"


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute with its header, padded to four octets (NLA_ALIGN)."""
    return nlattr.pack(len(data) + 4, kind) + data + bytes(-len(data) & 3)


def attributes(data: bytes, offset: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Each attribute's type, without its flag bits, and payload."""
    while offset + 4 <= end:
        length, kind = nlattr.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Each message's nlmsg_type, nlmsg_flags, nlmsg_seq, and where its body begins and ends."""
    offset, size = 0, len(data)
    while offset + 16 <= size:
        length, kind, flags, sequence, _ = nlmsghdr.unpack_from(data, offset)
        if length < 16 or offset + length > size:
            return
        yield kind, flags, sequence, offset + 16, offset + length
        offset += (length + 3) & ~3


def _outcome(data: bytes, flags: int, start: int, end: int) -> NetlinkError | None:
    """What an NLMSG_ERROR or NLMSG_DONE says (struct nlmsgerr and its attributes)."""
    if end - start < _nlmsgerr.size:  # a NLMSG_DONE without a status
        return None
    (error,) = _nlmsgerr.unpack_from(data, start)
    if not error:
        return None
    sentence = ""
    if flags & NLM_F_ACK_TLVS:
        # With NETLINK_CAP_ACK only the request's header is repeated before the attributes.
        echoed = 16 if flags & NLM_F_CAPPED else nlmsghdr.unpack_from(data, start + 4)[0]
        for kind, value in attributes(data, start + 4 + ((echoed + 3) & ~3), end):
            if kind == NLMSGERR_ATTR_MSG:
                sentence = value.rstrip(b"\0").decode("utf-8", "replace")
    return NetlinkError(-error, sentence)


class Netlink:
    """A socket to one netlink family, of the network namespace in which it is opened. Raises OSError without one."""

    def __init__(self, family: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._sequence = 0
        try:
            self._socket.bind((0, 0))
            for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
                self._socket.setsockopt(SOL_NETLINK, option, 1)
            for option in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE):
                with contextlib.suppress(PermissionError):  # needs CAP_NET_ADMIN; the default serves, only slower
                    self._socket.setsockopt(socket.SOL_SOCKET, option, _SOL_SOCKET_BUFFER)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval.pack(_ANSWER_SECONDS, 0))
        except OSError:
            self._socket.close()
            raise

    @property
    def port(self) -> int:
        """By which the kernel tells others who asked for something (nlmsg_pid)."""
        port: int = self._socket.getsockname()[0]
        return port

    def close(self) -> None:
        self._socket.close()

    def send(self, requests: Sequence[Request]) -> list[NetlinkError | None]:
        """Send all requests, in as few system calls as go; each one's outcome, None for done.

        The kernel carries out every request, also those after one that failed. Raises OSError when answers are lost.
        """
        outcomes: list[NetlinkError | None] = []
        chunk: list[Request] = []
        octets = 0
        for request in requests:
            if chunk and (len(chunk) >= _SENT_MESSAGES or octets + len(request[2]) > _SENT_OCTETS):
                outcomes += self._send(chunk)
                chunk, octets = [], 0
            chunk.append(request)
            octets += len(request[2]) + 16
        return outcomes + self._send(chunk) if chunk else outcomes

    def _send(self, requests: Sequence[Request]) -> list[NetlinkError | None]:
        first = self._next(len(requests))
        parts: list[bytes] = []
        for sequence, (kind, flags, body) in enumerate(requests, first):
            parts += (nlmsghdr.pack(16 + len(body), kind, flags | NLM_F_REQUEST | NLM_F_ACK, sequence, 0), body)
            if len(body) & 3:
                parts.append(bytes(-len(body) & 3))
        self._socket.send(b"".join(parts))
        outcomes: dict[int, NetlinkError | None] = {}
        while len(outcomes) < len(requests):
            data = self._receive()
            for kind, flags, sequence, start, end in messages(data):
                if kind == NLMSG_ERROR and 0 <= sequence - first < len(requests):
                    outcomes[sequence] = _outcome(data, flags, start, end)
        return [outcomes[sequence] for sequence in range(first, first + len(requests))]

    def ask(self, request: Request) -> bytes:
        """The body of the one message that answers a request, b"" when only an ACK does. Raises NetlinkError."""
        return next(iter(self._collect(request, NLM_F_ACK)), b"")

    def dump(self, request: Request) -> list[bytes]:
        """The body of every message of a dump. Raises NetlinkError."""
        return self._collect(request, NLM_F_DUMP)

    def _collect(self, request: Request, mode: int) -> list[bytes]:
        kind, flags, body = request
        sequence = self._next(1)
        self._socket.send(nlmsghdr.pack(16 + len(body), kind, flags | NLM_F_REQUEST | mode, sequence, 0) + body)
        answers: list[bytes] = []
        while True:
            data = self._receive()
            for kind, flags, answered, start, end in messages(data):
                if answered != sequence:
                    continue  # a leftover of a request whose answers were lost
                if kind not in (NLMSG_ERROR, NLMSG_DONE):
                    answers.append(data[start:end])
                elif failure := _outcome(data, flags, start, end):
                    raise failure
                else:
                    return answers

    def _next(self, count: int) -> int:
        """The first of `count` new sequence numbers."""
        first = self._sequence + 1
        self._sequence += count
        if self._sequence > 0xFFFF_0000:
            first, self._sequence = 1, count
        return first

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_DATAGRAM)
        except BlockingIOError:
            raise TimeoutError(errno.ETIMEDOUT, "the kernel does not answer") from None
