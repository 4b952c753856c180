"""Virtual addresses of ours on a device of this machine: what a gateway that we call has lent us (RFC 7296 2.19)."""

import errno
import ipaddress
import logging
import socket
from struct import Struct

from gateway.dataplane.netlink import (
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Netlink,
    Request,
    attribute,
    attributes,
)
from gateway.ike.plane import Refused

_log = logging.getLogger(__name__)

# uapi/linux/rtnetlink.h, if_addr.h
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD = 0x02  # nobody else can have it: usable at once
_RT_SCOPE_UNIVERSE = 0
_ifaddrmsg = Struct("=4BI")  # family, prefixlen, flags, scope, index
_ABSENT = (errno.EADDRNOTAVAIL, errno.ENODEV)


class Addresses:
    """The addresses that are wanted, each as often as it was ordered; one that was there before us stays."""

    def __init__(self, device: int) -> None:
        """`device` is an interface's index. Raises Refused without netlink."""
        self._device = device
        self._wanted: dict[str, int] = {}
        self._found: set[str] = set()
        try:
            self._netlink = Netlink(NETLINK_ROUTE)
        except OSError as error:
            raise Refused(f"no netlink for addresses: {error.strerror}") from error

    def add(self, address: str) -> None:
        """Raises Refused with the kernel's reason."""
        if address not in self._wanted:
            try:
                self._ask((_RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, self._message(address)))
            except OSError as error:
                if error.errno != errno.EEXIST:
                    raise Refused(f"the address {address} cannot be set: {error.strerror}") from error
                self._found.add(address)
        self._wanted[address] = self._wanted.get(address, 0) + 1

    def remove(self, address: str) -> bool:
        """Whether it was wanted."""
        if address not in self._wanted:
            return False
        self._wanted[address] -= 1
        if not self._wanted[address]:
            del self._wanted[address]
            if address in self._found:
                self._found.discard(address)
            else:
                self._delete(address)
        return True

    def put_back(self) -> int:
        """Set those again that somebody removed; how many."""
        if not self._wanted:
            return 0
        try:
            there = self._there()
            missing = [address for address in self._wanted if ipaddress.ip_address(address).packed not in there]
            requests = [(_RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, self._message(address)) for address in missing]
            outcomes = self._netlink.send(requests)
        except OSError as error:
            _log.warning("whether addresses are gone cannot be told: %s", error)
            return 0
        back = 0
        for address, outcome in zip(missing, outcomes, strict=True):
            if outcome is None:
                back += 1
                self._found.discard(address)
            elif outcome.errno != errno.EEXIST:
                _log.warning("the address %s is gone and cannot be set again: %s", address, outcome)
        return back

    def _there(self) -> set[bytes]:
        """What the device has now, in one dump: to ask for each address alone takes a second for ten thousand."""
        found = set()
        for body in self._netlink.dump((_RTM_GETADDR, 0, _ifaddrmsg.pack(socket.AF_UNSPEC, 0, 0, 0, 0))):
            if _ifaddrmsg.unpack_from(body)[4] == self._device:
                told = dict(attributes(body, _ifaddrmsg.size, len(body)))
                found.add(told.get(_IFA_LOCAL, told.get(_IFA_ADDRESS, b"")))
        return found

    def close(self) -> None:
        """Take back all of them."""
        for address in list(self._wanted):
            self._wanted[address] = 1
            self.remove(address)
        self._netlink.close()

    def _delete(self, address: str) -> None:
        try:
            self._ask((_RTM_DELADDR, 0, self._message(address)))
        except OSError as error:
            if error.errno not in _ABSENT:
                _log.warning("the address %s stays behind: %s", address, error)

    def _message(self, address: str) -> bytes:
        packed = ipaddress.ip_address(address).packed
        family, length = (socket.AF_INET, 32) if len(packed) == 4 else (socket.AF_INET6, 128)
        head = _ifaddrmsg.pack(family, length, _IFA_F_NODAD, _RT_SCOPE_UNIVERSE, self._device)
        return head + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)

    def _ask(self, request: Request) -> None:
        for failure in self._netlink.send([request]):
            if failure is not None:
                raise failure
