"""A TUN device: IP packets read from the kernel and written to it, TCP segments many at a time."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from struct import Struct

from gateway.ike.plane import Refused

MTU = 1400  # leaves room for ESP, UDP and an IPv6 header in a path of 1500 octets
QUEUE_PACKETS = 1000
"""Of what the kernel routed here and nobody has read: 9 ms at 1.2 Gbit/s, twice what a loop's callback may take."""
VNET = Struct("=BBHHHH")  # struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
VNET_OCTETS = VNET.size
PLAIN = bytes(VNET_OCTETS)
"""The virtio header of one packet with all its checksums in place."""
NEEDS_CSUM, GSO_TCPV4, GSO_TCPV6 = 1, 1, 4  # VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_*

_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFMTU, _SIOCSIFTXQLEN = 0x8913, 0x8914, 0x8922, 0x8943
_IFF_UP = 1
_IFREQ_NAME = 16
_IFREQ_FLAGS, _IFREQ_INT = Struct("=16sh22x"), Struct("=16si20x")
_CLONE_DEVICE = Path("/dev/net/tun")


class Tun:
    """A TUN device of our own, up, with no address; it is gone when closed."""

    def __init__(self, name: str = "ikegate%d", mtu: int = MTU) -> None:
        """`%d` in the name stands for the first free number. Raises Refused with what is missing."""
        try:
            self.fd = os.open(_CLONE_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise Refused(f"no TUN device: {_CLONE_DEVICE}: {error.strerror}") from error
        try:
            flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
            made = fcntl.ioctl(self.fd, _TUNSETIFF, _IFREQ_FLAGS.pack(name.encode(), flags))
            # No offload: whatever is read is one packet, not larger than the MTU, with its checksum.
            fcntl.ioctl(self.fd, _TUNSETOFFLOAD, 0)
            self.name = made[:_IFREQ_NAME].rstrip(b"\0").decode()
            self.mtu = mtu
            self.index = self._bring_up()
        except OSError as error:
            os.close(self.fd)
            raise Refused(f"no TUN device {name}: {error.strerror}") from error

    def _bring_up(self) -> int:
        # Otherwise the kernel gives the device a link-local address and sends router solicitations into it.
        with contextlib.suppress(OSError):  # read-only in most containers: then they are dropped as unwanted
            Path(f"/proc/sys/net/ipv6/conf/{self.name}/addr_gen_mode").write_text("1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
            name = self.name.encode()
            fcntl.ioctl(control, _SIOCSIFMTU, _IFREQ_INT.pack(name, self.mtu))
            fcntl.ioctl(control, _SIOCSIFTXQLEN, _IFREQ_INT.pack(name, QUEUE_PACKETS))
        self._change_flags(_IFF_UP)
        return socket.if_nametoindex(self.name)

    def _change_flags(self, added: int) -> int:
        """The device's flags, after these were added. Raises OSError when it is gone."""
        name = self.name.encode()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
            flags: int = _IFREQ_FLAGS.unpack(fcntl.ioctl(control, _SIOCGIFFLAGS, _IFREQ_FLAGS.pack(name, 0)))[1]
            if flags | added != flags:
                fcntl.ioctl(control, _SIOCSIFFLAGS, _IFREQ_FLAGS.pack(name, flags | added))
        return flags | added

    def running(self) -> bool | None:
        """Whether the device is up; None when it is gone."""
        try:
            return bool(self._change_flags(0) & _IFF_UP)
        except OSError:
            return None

    def bring_up(self) -> None:
        """Somebody may have taken it down, and its routes with that. Nothing happens when it is gone."""
        with contextlib.suppress(OSError):
            self._change_flags(_IFF_UP)

    def write(self, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        """A virtio header and the pieces of its packet. Raises OSError when the kernel does not take it."""
        os.writev(self.fd, buffers)

    def close(self) -> None:
        """Give the device back; its routes go with it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def exists(name: str) -> bool:
    """Whether there is a device of this name: one of ours is there as long as the process that made it."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True
