"""What a driver offers beyond the engine's view of it: a share in the UDP socket on which ESP arrives."""

from collections.abc import Callable
from socket import socket
from typing import Protocol

from gateway.ike.plane_protocol import DataPlane

IkeReceived = Callable[[bytes, tuple[str, int], str], None]
"""Datagram without the non-ESP marker, (address, port) it came from, our address it came to."""


class Driver(DataPlane, Protocol):
    """A data plane as the service runs it."""

    def adopt(self, sock: socket, ike_received: IkeReceived) -> bool:
        """Take part in a bound UDP socket for port 4500 (RFC 3948), IPv4 or IPv6, wildcard, with IP_PKTINFO set.

        True: the driver reads the socket from now on and hands IKE messages to `ike_received`. False: the caller
        reads it (the kernel takes ESP out before, or there is none).
        """

    def exempt(self, sock: socket) -> None:
        """Let what a bound IKE socket sends and receives pass, whatever policies say; `adopt` does it, too.

        Raises Refused.
        """

    def sweep(self) -> str:
        """Remove what killed processes left, now that what is wanted is ordered; a sentence when there was something.

        Until then what they protected or dropped goes nowhere.
        """

    def look(self) -> bool:
        """Look for what nobody tells that it was taken away, and put it back; for every few seconds.

        Whether the look before found something: `mend` will say what.
        """

    def trouble(self) -> str:
        """Why no packet of any tunnel can pass at present, as a sentence; "" when they can."""
