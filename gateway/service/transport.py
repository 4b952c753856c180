"""UDP for IKE: ports 500 and 4500, IPv4 and IPv6, knowing which of our addresses a datagram came to."""

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable
from functools import lru_cache

from gateway.dataplane.driver import Driver
from gateway.ike.path import Path
from gateway.ike.plane import Refused
from gateway.service.listening import Listening

_MARKER = bytes(4)
_IP_PKTINFO = 8  # linux/in.h; the socket module names it only from Python 3.14 on
_PKTINFO4 = struct.Struct("=i4s4s")  # struct in_pktinfo: ifindex, spec_dst, addr
_PKTINFO6 = struct.Struct("=16si")  # struct in6_pktinfo: addr, ifindex
_BATCH = 64
_OCTETS = 65536
_BUFFER = 4 * 1024 * 1024
_OWN_ADDRESSES = 1024
"""How many are remembered in another form: a whole network may be routed to us, and its senders choose."""

Received = Callable[[bytes, Path], None]
Unreachable = Callable[[str], None]
_IP_RECVERR, _IPV6_RECVERR = 11, 25  # linux/in.h, in6.h
_EXTENDED_ERROR = struct.Struct("=IBBBxII")  # struct sock_extended_err: errno, origin, type, code, info, data
_ICMP_ORIGINS = (2, 3)  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6
_UNREACHABLE = frozenset(
    (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENONET, errno.ENOPROTOOPT)
)


class PortTaken(Exception):
    """A socket could not be bound; the message says which and what to do."""


class Transport:
    """Four sockets and the way between them and the engine."""

    def __init__(
        self,
        ike_port: int,
        nat_port: int,
        received: Received,
        unreachable: Unreachable = lambda remote: None,
        host: str | None = None,
        listening: Listening | None = None,
    ) -> None:
        self.ike_port, self.nat_port = ike_port, nat_port
        self._unreachable = unreachable
        self.lost = 0
        self.sockets: list[socket.socket] = []
        self._received = received
        self._by_kind: dict[tuple[int, bool], socket.socket] = {}
        self._buffer = bytearray(_OCTETS)
        self._host = host
        self.listening = listening or Listening()
        self.elsewhere = 0
        """Datagrams to addresses at which IKE is not served."""
        self._plane: Driver | None = None
        self._probing: dict[int, socket.socket] = {}
        """Sockets that nobody reads, by family: they hold the port from which the way to a peer is asked for."""

    def open(self, plane: Driver) -> None:
        """Bind and begin to read on the running loop. Raises PortTaken; then nothing stays open."""
        loop = asyncio.get_running_loop()
        try:
            for family in (socket.AF_INET, socket.AF_INET6):
                for port, marked in ((self.ike_port, False), (self.nat_port, True)):
                    self._open(loop, plane, family, port, marked=marked)
        except PortTaken:
            self.close()
            raise
        self._plane = plane
        for family in {sock.family for sock in self.sockets}:
            self._probing[family] = _shared(family)
            self._probing[family].bind(("", 0))
            plane.exempt(self._probing[family])

    def probe(self, family: int, source: str) -> socket.socket:
        """A socket that may be asked for the way to a peer, from `source` if any, as if it were one of IKE's.

        Policies and the routes into tunnels do not hold for it, as they do not for IKE. Raises OSError.
        """
        sock, held = _shared(family), self._probing.get(family)
        try:
            if source or held:
                sock.bind((source, held.getsockname()[1] if held else 0))
            if held and self._plane:
                self._plane.exempt(sock)
        except (OSError, Refused) as error:
            sock.close()
            raise OSError(errno.EADDRNOTAVAIL, str(error)) from None
        return sock

    def _open(self, loop: asyncio.AbstractEventLoop, plane: Driver, family: int, port: int, *, marked: bool) -> None:
        try:
            sock = _bound(family, port, self._host)
        except OSError as error:
            if family == socket.AF_INET6 and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                return
            raise PortTaken(_advice(port, error)) from None
        self.sockets.append(sock)
        self._by_kind[family, marked] = sock
        if marked and plane.adopt(sock, self._adopted):
            return
        if not marked:
            plane.exempt(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        loop.add_reader(sock, self._drain, sock, family, marked)

    def _adopted(self, datagram: bytes, source: tuple[str, int], local: str) -> None:
        """An IKE message that the data plane read from the shared socket."""
        self._serve(datagram, Path(local, source[0], source[1], marked=True))

    def _serve(self, datagram: bytes, path: Path) -> None:
        if self.listening.serves(path.local):
            self._received(datagram, path)
        else:
            self.elsewhere += 1

    def _drain(self, sock: socket.socket, family: int, marked: bool) -> None:
        buffer, received = self._buffer, self._serve
        for turn in range(_BATCH):
            try:
                octets, ancillary, _, source = sock.recvmsg_into([buffer], 64)
            except BlockingIOError:
                if not turn:
                    self._read_errors(sock)  # a send met the error first, but left it in the queue
                return
            except OSError:
                self._read_errors(sock)  # an ICMP error of an earlier datagram; the next read goes on
                continue
            start = 0
            if marked:
                if octets < 5 or buffer[:4] != _MARKER:
                    continue  # a keepalive, or ESP that no data plane here wants
                start = 4
            local = self._local(family, ancillary)
            received(bytes(memoryview(buffer)[start:octets]), Path(local, source[0], source[1], marked))

    def _read_errors(self, sock: socket.socket) -> None:
        """ICMP errors (ip(7), IP_RECVERR): each comes with where our datagram went that did not arrive."""
        for _ in range(_BATCH):
            try:
                _, ancillary, _, destination = sock.recvmsg(0, 256, socket.MSG_ERRQUEUE)
            except OSError:
                return
            self.lost += 1
            for level, kind, data in ancillary:
                if (level, kind) not in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)):
                    continue
                number, origin, *_ = _EXTENDED_ERROR.unpack_from(data)
                if origin in _ICMP_ORIGINS and number in _UNREACHABLE:
                    self._unreachable(destination[0])

    def _local(self, family: int, ancillary: list[tuple[int, int, bytes]]) -> str:
        for _, _, data in ancillary:
            return _text(family, data[8:12] if family == socket.AF_INET else data[:16])
        return "::" if family == socket.AF_INET6 else socket.inet_ntoa(bytes(4))

    def send(self, data: bytes, path: Path, dscp: int = 0) -> str:
        """Send from the path's own address; what cannot be sent is counted, IKE repeats it. Why it cannot, or ""."""
        family, ancillary = _source(path.local)
        if not path.local and ":" in path.remote:
            family = socket.AF_INET6
        if dscp:
            ancillary = [*ancillary, _marked(family, dscp)]
        sock = self._by_kind.get((family, path.marked))
        if sock is None:
            self.lost += 1
            return "there is no socket for its IP version"
        parts = (_MARKER, data) if path.marked and len(data) > 1 else (data,)
        why = ""
        for _ in range(2):
            try:
                sock.sendmsg(parts, ancillary, 0, (path.remote, path.port))
            except OSError as error:
                # perhaps not this datagram's: with IP_RECVERR an earlier one's ICMP error is first
                why = error.strerror or str(error)
                continue
            return ""
        self.lost += 1
        return why

    def close(self) -> None:
        for sock in self.sockets:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        for sock in self._probing.values():
            sock.close()
        self.sockets.clear()
        self._by_kind.clear()
        self._probing.clear()


def _bound(family: int, port: int, host: str | None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            sock.bind(("::1" if host else "::", port))
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            sock.bind((host or "", port))
    except OSError:
        sock.close()
        raise
    return sock


def _advice(port: int, error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"UDP port {port} needs a privilege: run as root, or give CAP_NET_BIND_SERVICE (and CAP_NET_ADMIN)"
    if error.errno == errno.EADDRINUSE:
        return f"UDP port {port} is taken by another process: stop it (`ss -ulpn sport = :{port}` names it)"
    return f"UDP port {port} cannot be bound: {error.strerror}"


@lru_cache(_OWN_ADDRESSES)
def _text(family: int, packed: bytes) -> str:
    return socket.inet_ntop(family, packed)


@lru_cache(_OWN_ADDRESSES)
def _source(local: str) -> tuple[int, list[tuple[int, int, bytes]]]:
    """The ancillary data that makes a datagram leave from this address; none where it is empty."""
    if not local:
        return socket.AF_INET, []
    if ":" in local:
        info = _PKTINFO6.pack(socket.inet_pton(socket.AF_INET6, local), 0)
        return socket.AF_INET6, [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)]
    return socket.AF_INET, [(socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO4.pack(0, socket.inet_aton(local), bytes(4)))]


def _marked(family: int, dscp: int) -> tuple[int, int, bytes]:
    """The ancillary data that puts this DSCP into one datagram's IP header (RFC 2474)."""
    value = struct.pack("=i", dscp << 2)
    if family == socket.AF_INET6:
        return socket.IPPROTO_IPV6, socket.IPV6_TCLASS, value
    return socket.IPPROTO_IP, socket.IP_TOS, value


def _shared(family: int) -> socket.socket:
    """An unbound UDP socket that others may share its port with."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


Prober = Callable[[int, str], socket.socket]


async def locate(host: str, port: int, sources: tuple[str, ...], probing: Prober, turn: int = 0) -> tuple[str, str]:
    """(our address, its address) on the way to a host, from one of `sources` if any. Raises OSError with a sentence.

    `probing` makes the sockets to ask with: `Transport.probe`. `turn` says which of the host's addresses to take first.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except socket.gaierror as error:
        raise OSError(f"{host} does not resolve: {error.strerror}") from None
    last, first = f"{host} has no address", turn % max(len(found), 1)
    for family, _, _, _, address in (*found[first:], *found[:first]):
        wanted = [source for source in sources if (":" in source) is (family == socket.AF_INET6)]
        if sources and not wanted:
            continue
        try:
            with probing(family, wanted[0] if wanted else "") as probe:
                probe.connect(address)
                return probe.getsockname()[0], str(address[0])
        except OSError as error:
            last = f"no way to {address[0]}: {error.strerror}"
    raise OSError(last)
