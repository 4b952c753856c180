"""The UDP sockets that carry ESP: options, and the control messages that come and go with datagrams."""

import contextlib
import ipaddress
import socket
from collections.abc import Sequence
from struct import Struct

SOL_UDP = 17
UDP_SEGMENT, UDP_GRO = 103, 104  # uapi/linux/udp.h
IP_PKTINFO = 8
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_BUFFER_OCTETS = 4 << 20
MOST_SEGMENTS = 64  # UDP_MAX_SEGMENTS of the oldest kernels that have it
MOST_OCTETS = 65_000  # of one send; the kernel's limit is 65,507 over IPv4
CONTROL_OCTETS = 256

Control = list[tuple[int, int, bytes]]

_INT, _U16 = Struct("=i"), Struct("=H")
_IN_PKTINFO, _IN6_PKTINFO = Struct("=i4s4s"), Struct("=16si")


def prepare(sock: socket.socket) -> None:
    """Let a socket for ESP receive many datagrams in one call, with their traffic class, into a large buffer."""
    sock.setblocking(False)
    with contextlib.suppress(OSError):  # before Linux 5.0 each datagram comes by itself
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    for option in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE):
        with contextlib.suppress(PermissionError):  # the default buffer then loses more of a burst
            sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_OCTETS)


def control_to_send(source: str, traffic_class: int) -> Control:
    """Control messages that make a datagram leave from `source` with this DSCP and ECN."""
    address = ipaddress.ip_address(source.partition("%")[0])
    if address.version == 4:
        control = [(socket.IPPROTO_IP, IP_PKTINFO, _IN_PKTINFO.pack(0, address.packed, bytes(4)))]
        if traffic_class:
            control.append((socket.IPPROTO_IP, socket.IP_TOS, _INT.pack(traffic_class)))
        return control
    control = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _IN6_PKTINFO.pack(address.packed, 0))]
    if traffic_class:
        control.append((socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _INT.pack(traffic_class)))
    return control


def segmented(control: Control, octets: int) -> Control:
    """The same, and the kernel cuts what is sent into datagrams of `octets`."""
    return [*control, (SOL_UDP, UDP_SEGMENT, _U16.pack(octets))]


def received(control: Sequence[tuple[int, int, bytes]], octets: int) -> tuple[int, int]:
    """How long each datagram in what was received is (the last may be shorter), and their traffic class."""
    segment, traffic_class = octets, 0
    for level, kind, data in control:
        if level == SOL_UDP and kind == UDP_GRO:
            segment = _INT.unpack_from(data)[0] or octets
        elif (level, kind) in ((socket.IPPROTO_IP, socket.IP_TOS), (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)):
            traffic_class = data[0] if len(data) == 1 else _INT.unpack_from(data)[0]
    return segment, traffic_class


def local_address(control: Sequence[tuple[int, int, bytes]]) -> str:
    """Our address to which a datagram came, "" when the socket was made without IP_PKTINFO."""
    for level, kind, data in control:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            return socket.inet_ntop(socket.AF_INET, data[8:12])
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            return socket.inet_ntop(socket.AF_INET6, data[:16])
    return ""
