"""Finds out by trying what this machine can carry ESP with."""

import errno
import fcntl
import os
import struct

from gateway.crypto.suites import Encryption, by_keyword
from gateway.dataplane.kernel_batch import refusal
from gateway.dataplane.netlink import NETLINK_XFRM, Netlink
from gateway.dataplane.xfrm import XFRM_INF, XFRM_POLICY_OUT
from gateway.dataplane.xfrm_messages import (
    Tag,
    allocation,
    place_of,
    state_removal,
    state_request,
)
from gateway.dataplane.xfrm_policies import Spot, policy_removal, policy_request
from gateway.dataplane.xfrm_selectors import kernel_selectors
from gateway.dataplane.xfrm_structs import XfrmId, XfrmUsersaInfo
from gateway.ike.plane import Direction, EspState, Policy
from gateway.policy.selectors import Selector

# Addresses that nobody uses: RFC 5737, RFC 6666.
_ENDS = {4: ("192.0.2.1", "192.0.2.2"), 6: ("100::1", "100::2")}
_CLONE_DEVICE = "/dev/net/tun"
_TUNSETIFF = 0x400454CA  # uapi/linux/if_tun.h
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000


def probe_kernel(version: int = 4) -> str | None:
    """Why the kernel does not do ESP between addresses of that IP version, None when it does.

    A state (tunnel mode, AES-128-GCM, the cipher that everybody has) and a policy are installed and removed again.
    """
    source, destination = _ENDS[version]
    try:
        netlink = Netlink(NETLINK_XFRM)
    except OSError as failure:
        return f"no NETLINK_XFRM in this kernel: {failure.strerror}; it needs CONFIG_XFRM_USER"
    try:
        spi = XfrmId.unpack_from(netlink.ask(allocation(source, destination)), XfrmUsersaInfo.OFFSETS["id"]).spi
        return _try(netlink, source, destination, spi)
    except OSError as failure:
        return refusal("allocating an SPI", failure).why
    finally:
        netlink.close()


def _try(netlink: Netlink, source: str, destination: str, spi: int) -> str | None:
    """Turn the allocated SPI into a state, add a policy that leads to it, and remove both."""
    encr = by_keyword("aes128gcm16")
    if not isinstance(encr, Encryption):
        raise TypeError("aes128gcm16 names no cipher")
    state = EspState(spi, source, destination, True, spi, encr, os.urandom(encr.key_material_octets))
    ends = Selector.of_address(source), Selector.of_address(destination)
    policy = Policy(Direction.OUT, *ends, source, destination, spi)
    tag = Tag(XFRM_INF, XFRM_INF)
    (selector,) = kernel_selectors(*ends)
    removal = policy_removal(Spot(XFRM_POLICY_OUT, selector.packed))
    added, *_ = netlink.send([state_request(state, tag, allocated=True)])
    trapped, *_ = netlink.send([policy_request(policy, selector, tag, replace=False)])
    removed = netlink.send([state_removal(place_of(destination, spi)), *([] if trapped else [removal])])
    if added:
        return refusal("adding an ESP state", added).why
    if trapped and trapped.errno != errno.EEXIST:  # somebody has a policy for these very addresses; theirs it stays
        return refusal("adding a policy", trapped).why
    return next((refusal("removing a state or policy", outcome).why for outcome in removed if outcome), None)


def probe_tun() -> str | None:
    """Why no TUN device can be made, None when one can; it is made and removed again."""
    try:
        descriptor = os.open(_CLONE_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return f"no {_CLONE_DEVICE}: load the module tun, or give the container `--device {_CLONE_DEVICE}`"
    except OSError as failure:
        return f"{_CLONE_DEVICE} cannot be opened: {failure.strerror}"
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("=16sH22x", b"ikeprobe%d", _IFF_TUN | _IFF_NO_PI))
    except PermissionError:
        return "a TUN device may not be made: the process needs the capability CAP_NET_ADMIN"
    except OSError as failure:
        return f"a TUN device cannot be made: {failure.strerror}"
    finally:
        os.close(descriptor)
    return None
