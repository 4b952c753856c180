"""Picks the data plane: what was asked for, or the best that this machine can do."""

import logging

from gateway.dataplane.driver import Driver
from gateway.dataplane.kernel import KernelPlane
from gateway.dataplane.memory import MemoryPlane
from gateway.dataplane.probe import probe_kernel, probe_tun
from gateway.dataplane.userspace import UserspacePlane
from gateway.ike.plane import Refused

_log = logging.getLogger(__name__)

WANTED = ("auto", "kernel", "userspace", "memory")


def open_driver(wanted: str) -> Driver:
    """The data plane named `wanted`; `auto` is the kernel if ESP works there, else userspace.

    What was chosen and why goes into the log in one line. Raises Refused with what is missing and how to give it.
    """
    if wanted not in WANTED:
        raise Refused(f"there is no data plane {wanted!r}: choose one of {', '.join(WANTED)}")
    if wanted == "memory":
        _log.warning("data plane: memory, as asked for; no packet is protected")
        return MemoryPlane()
    if wanted == "userspace":
        return _open_userspace("as asked for")
    kernel = probe_kernel()
    if kernel is None:
        return _open_kernel("as asked for" if wanted == "kernel" else "ESP works in this kernel")
    if wanted == "kernel":
        raise Refused(f"the kernel cannot carry ESP: {kernel}. Choose the data plane userspace, or auto")
    tun = probe_tun()
    if tun:
        raise Refused(f"no data plane works here. Kernel: {kernel}. Userspace: {tun}")
    return _open_userspace(f"the kernel cannot carry ESP ({kernel})")


def _open_kernel(why: str) -> Driver:
    try:
        plane = KernelPlane()
    except OSError as failure:
        raise Refused(f"the kernel's data plane cannot be opened: {failure.strerror}") from failure
    versions = "" if probe_kernel(6) is None else ", over IPv4 only"
    _log.info("data plane: %s%s; %s", plane.describe(), versions, why)
    if left := plane.shut():
        _log.warning("data plane: %s", left)
    return plane


def _open_userspace(why: str) -> Driver:
    if missing := probe_tun():
        raise Refused(f"the userspace data plane needs a TUN device: {missing}")
    plane = UserspacePlane()
    _log.info("data plane: %s; %s", plane.describe(), why)
    return plane
