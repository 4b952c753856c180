"""Netfilter by netlink: tables of nftables that the kernel removes with us, and packets that a rule hands over."""

import contextlib
import errno
import itertools
import logging
import socket
from collections.abc import Iterator, Sequence
from struct import Struct

from gateway.dataplane.netlink import (
    NETLINK_CAP_ACK,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    SOL_NETLINK,
    NetlinkError,
    attribute,
    attributes,
    messages,
    nlmsghdr,
)

_log = logging.getLogger(__name__)

NETLINK_NETFILTER = 12
_ANSWER_SECONDS = 10.0
_DATAGRAM = 1 << 16
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; Python has no name for it
_ROOM = 2048
"""Octets of a socket's buffer that one packet takes until it is read."""
_SENT_VERDICTS = 512
_NESTED = 0x8000

# uapi/linux/netfilter/nfnetlink.h
_QUEUE, _TABLES = 3 << 8, 10 << 8
_BATCH_BEGIN, _BATCH_END = 16, 17
_nfgenmsg = Struct("!BBH")  # nfgen_family, version, res_id
_INET = 1  # NFPROTO_INET

# uapi/linux/netfilter/nf_tables.h
_NEWTABLE, _NEWCHAIN, _NEWRULE, _NEWSET, _NEWSETELEM, _DELSETELEM = 0, 3, 6, 9, 12, 14
_NEWGEN, _GETGEN, _GEN_ID = 15, 16, 1
_TABLE_OWNER = 2  # the table goes when the socket that made it is closed
_LOCAL_IN = 1
_L4PROTO, _TRANSPORT_HEADER, _REGISTER = 16, 2, 1
_NLM_F_APPEND = 0x800
_INTEGER = 4  # what the command nft shows the keys as

# uapi/linux/netfilter/nfnetlink_queue.h
_PACKET, _VERDICT, _CONFIG = 0, 1, 2
_PACKET_HDR, _PAYLOAD, _VERDICT_HDR = 1, 10, 2
_CFG_CMD, _CFG_PARAMS, _CFG_QUEUE_MAXLEN = 1, 2, 3
_CMD_BIND, _COPY_PACKET = 1, 2
_DROP, _ACCEPT = 0, 1
_word, _params, _verdict = Struct("!I"), Struct("!IB"), Struct("!II")

Message = tuple[int, int, bytes]
"""The kind of an nftables message, its flags besides REQUEST, and its attributes."""


def _nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(parts))


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, _word.pack(value))


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def _expression(name: str, *parts: bytes) -> bytes:
    return _nested(1, _text(1, name), _nested(2, *parts))


def input_table(table: str, priority: int, octets: int, most: int) -> list[Message]:
    """A table with one chain `early` that sees what comes in for us, and an empty set `expected`.

    The set has at most `most` keys of `octets` each.
    """
    hook = _nested(4, _number(1, _LOCAL_IN), _number(2, priority & 0xFFFF_FFFF))
    named = _text(1, table)
    shape = _number(3, 0) + _number(4, _INTEGER) + _number(5, octets) + _nested(9, _number(1, most))
    return [
        (_NEWTABLE, NLM_F_CREATE, named + _number(2, _TABLE_OWNER)),
        (_NEWCHAIN, NLM_F_CREATE, named + _text(3, "early") + hook + _text(7, "filter")),
        (_NEWSET, NLM_F_CREATE, named + _text(2, "expected") + shape + _number(10, 1)),
    ]


def queueing_rule(table: str, protocol: int, offset: int, octets: int, queue: int) -> Message:
    """What has a key of the set at `offset` of its transport header waits in `queue`; goes on where nobody listens."""
    is_protocol = _nested(3, attribute(1, bytes((protocol,))))
    expressions = _nested(
        4,
        _expression("meta", _number(1, _REGISTER), _number(2, _L4PROTO)),
        _expression("cmp", _number(1, _REGISTER), _number(2, 0), is_protocol),
        _expression(
            "payload", _number(1, _REGISTER), _number(2, _TRANSPORT_HEADER), _number(3, offset), _number(4, octets)
        ),
        _expression("lookup", _text(1, "expected"), _number(2, _REGISTER), _number(4, 1)),
        _expression(
            "queue", attribute(1, queue.to_bytes(2)), attribute(2, (1).to_bytes(2)), attribute(3, (1).to_bytes(2))
        ),
    )
    return _NEWRULE, NLM_F_CREATE | _NLM_F_APPEND, _text(1, table) + _text(2, "early") + expressions


def element(table: str, key: bytes, *, there: bool) -> Message:
    """Put a key into the set, or take it out."""
    one = _nested(3, _nested(1, _nested(1, attribute(1, key))))
    kind, flags = (_NEWSETELEM, NLM_F_CREATE) if there else (_DELSETELEM, 0)
    return kind, flags, _text(1, table) + _text(2, "expected") + one


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    try:
        made.bind((0, 0))
        made.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        made.settimeout(_ANSWER_SECONDS)
    except OSError:
        made.close()
        raise
    return made


def _message(kind: int, flags: int, sequence: int, family: int, resource: int, body: bytes) -> bytes:
    head = nlmsghdr.pack(20 + len(body), kind, flags | NLM_F_REQUEST, sequence, 0)
    return head + _nfgenmsg.pack(family, 0, resource) + body


def _await_answer(sock: socket.socket, sequence: int) -> None:
    """Raises NetlinkError with what the kernel says to the request, TimeoutError when it says nothing."""
    while True:
        data = sock.recv(_DATAGRAM)
        for kind, _, answered, start, end in messages(data):
            if kind == NLMSG_ERROR and answered == sequence and end - start >= 4:
                if error := int.from_bytes(data[start : start + 4], "little", signed=True):
                    raise NetlinkError(-error)
                return


class Tables:
    """nftables in the network namespace in which the object is made. Raises OSError without netfilter.

    What is made here goes with `close`, or with the process, however it ends.
    """

    def __init__(self) -> None:
        self._socket = _socket()
        self._sequences = itertools.count(1)

    def commit(self, changes: Sequence[Message]) -> None:
        """All or none. Raises OSError with the kernel's reason."""
        sequence = next(self._sequences)
        parts = [_message(_BATCH_BEGIN, 0, sequence, 0, _TABLES >> 8, b"")]
        for number, (kind, flags, body) in enumerate(changes, 1):
            asked = NLM_F_ACK if number == len(changes) else 0
            parts.append(_message(_TABLES | kind, flags | asked, sequence, _INET, 0, body))
        parts.append(_message(_BATCH_END, 0, sequence, 0, _TABLES >> 8, b""))
        self._socket.send(b"".join(parts))
        _await_answer(self._socket, sequence)

    def close(self) -> None:
        self._socket.close()


class Generation:
    """Tells by its number whether nftables were changed, in the network namespace in which the object is made."""

    def __init__(self) -> None:
        self._seen = b""
        try:
            self._socket: socket.socket | None = _socket()
        except OSError:  # no netfilter: nothing lies there that could change
            self._socket = None

    def changed(self) -> bool:
        """Whether anybody, ourselves included, changed anything since this was asked last; also the first time."""
        if self._socket is None:
            return False
        before = self._seen
        try:
            self._socket.send(_message(_TABLES | _GETGEN, 0, 0, 0, 0, b""))
            data = self._socket.recv(_DATAGRAM)
        except OSError as failure:
            _log.info("whether nftables were changed is not told: %s", failure)
            return False
        for kind, _, _, start, end in messages(data):
            if kind == _TABLES | _NEWGEN:
                self._seen = dict(attributes(data, start + _nfgenmsg.size, end)).get(_GEN_ID, b"")
        return self._seen != before

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class PacketQueue:
    """Packets that a rule put into a queue (NFQUEUE): each stays in the kernel until it goes on or is dropped.

    At most `most` wait, read or not, further ones are dropped. Raises OSError without netfilter, or where the queue is
    another's.
    """

    def __init__(self, number: int, *, most: int, shown: int) -> None:
        self._number = number
        self._socket = _socket()
        with contextlib.suppress(PermissionError):  # CAP_NET_ADMIN of our own user namespace is not enough
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, most * _ROOM)
        shape = attribute(_CFG_PARAMS, _params.pack(shown, _COPY_PACKET)) + _number(_CFG_QUEUE_MAXLEN, most)
        try:
            for sequence, body in enumerate((attribute(_CFG_CMD, bytes((_CMD_BIND, 0, 0, 0))), shape), 1):
                self._socket.send(_message(_QUEUE | _CONFIG, NLM_F_ACK, sequence, 0, number, body))
                _await_answer(self._socket, sequence)
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> Iterator[tuple[int, bytes]]:
        """What came since: each packet's number here, and its first octets, from its IP header on."""
        while True:
            try:
                data = self._socket.recv(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as failure:
                if failure.errno != errno.ENOBUFS:  # packets that we were too slow for are dropped
                    raise
                continue
            for kind, _, _, start, end in messages(data):
                if kind == _QUEUE | _PACKET:
                    found = dict(attributes(data, start + _nfgenmsg.size, end))
                    yield _word.unpack_from(found[_PACKET_HDR])[0], found.get(_PAYLOAD, b"")

    def decide(self, numbers: Sequence[int], *, accept: bool) -> None:
        """Let packets go on, in this order, or drop them."""
        verdict = _ACCEPT if accept else _DROP
        for first in range(0, len(numbers), _SENT_VERDICTS):
            bodies = [
                attribute(_VERDICT_HDR, _verdict.pack(verdict, number))
                for number in numbers[first : first + _SENT_VERDICTS]
            ]
            self._socket.send(b"".join(_message(_QUEUE | _VERDICT, 0, 0, 0, self._number, body) for body in bodies))

    def close(self) -> None:
        """What still waits is dropped."""
        self._socket.close()
