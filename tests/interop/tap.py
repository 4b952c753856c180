"""A tap on a cable: whose packets leave a gateway in the clear."""

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from tests.lab.namespaces import Namespace

ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD
PACKET_OUTGOING = 4
# What two gateways send each other, and what a kernel sends to learn of its neighbours.
EXPECTED = tuple(map(ip_network, ("192.0.2.0/24", "2001:db8::/32", "fe80::/10", "ff00::/8", "224.0.0.0/4")))

Ends = tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]


class Tap:
    """Sees what leaves by one device of a namespace from its making on."""

    def __init__(self, ns: Namespace, device: str) -> None:
        with ns.entered():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        with ns.entered():
            self.socket.bind((device, ETH_P_ALL))

    def close(self) -> None:
        self.socket.close()

    def plain(self) -> list[Ends]:
        """Sources and destinations of the packets since the last call that were for others than the two gateways.

        Incoming packets do not count: a kernel shows here what it has decrypted.
        """
        found: list[Ends] = []
        while True:
            try:
                octets, (_, protocol, kind, *_) = self.socket.recvfrom(64)
            except OSError as failure:
                if failure.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
                    return found
                if failure.errno == errno.ENETDOWN:  # told once; the device may be up again
                    continue
                raise
            if kind != PACKET_OUTGOING:
                continue
            if protocol == ETH_P_IP:
                ends = ip_address(octets[12:16]), ip_address(octets[16:20])
            elif protocol == ETH_P_IPV6:
                ends = ip_address(octets[8:24]), ip_address(octets[24:40])
            else:
                continue
            if not any(ends[1] in net for net in EXPECTED):
                found.append(ends)
