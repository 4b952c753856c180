"""What a test needs of the machine, each need with a sentence that says why it is not met."""

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.lab import eap_peap, freeradius, libreswan5, openiked, strongswan6
from tests.lab.charon import DAEMON
from tests.lab.kernel import kernel_available
from tests.lab.libreswan import unpacked
from tests.lab.namespaces import CommandFailedError, Network

PACKAGES = {
    "charon": "charon-systemd strongswan-swanctl libcharon-extra-plugins libstrongswan-standard-plugins",
    "chromium": "chromium",
    "ip": "iproute2",
    "iperf3": "iperf3",
    "nft": "nftables",
    "openssl": "openssl",
    "ping": "iputils-ping",
    "pki": "strongswan-pki",
    "swanctl": "strongswan-swanctl",
    "tc": "iproute2",
    "tcpdump": "tcpdump",
    "tshark": "tshark",
}


def _root() -> str:
    return "needs root" if os.geteuid() else ""


def _tun() -> str:
    try:
        with open("/dev/net/tun", "rb"):
            return ""
    except OSError as failure:
        return f"no TUN device: {failure}"


def _netns() -> str:
    if _root() or shutil.which("ip") is None:
        return _root() or "no command ip (Debian package iproute2)"
    try:
        with Network() as network:
            network.link(network.namespace("a"), network.namespace("b"))
    except (CommandFailedError, OSError) as failure:
        return f"no network namespaces with veth: {failure}"
    return ""


def _charon() -> str:
    if not Path(DAEMON).exists():
        return f"no strongSwan (Debian packages {PACKAGES['charon']})"
    return missing("swanctl")


def _trial(*words: str) -> Callable[[], str]:
    """A need met when `words` succeed in a fresh namespace."""

    def trial() -> str:
        if _netns():
            return _netns()
        with Network() as network:
            done = network.namespace("trial").run(*words, check=False)
        return f"this kernel refuses `{' '.join(words)}`: {done.stderr.strip()}" if done.returncode else ""

    return trial


def _esp() -> str:
    key = "0x000102030405060708090a0b0c0d0e0f10111213"
    state = "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 256 mode tunnel".split()
    return _trial(*state, "aead", "rfc4106(gcm(aes))", key, "128")()


CHECKS: dict[str, Callable[[], str]] = {
    "root": _root,
    "tun": _tun,
    "netns": _netns,
    "charon": _charon,
    "libreswan": unpacked,
    "eap-peap": eap_peap.built,
    "freeradius": freeradius.unpacked,
    "openiked": openiked.unpacked,
    "libreswan5": libreswan5.unpacked,
    "strongswan6": strongswan6.unpacked,
    "guest": kernel_available,
    "esp": _esp,
    "xfrm-interface": _trial("ip", "link", "add", "xfrm7", "type", "xfrm", "if_id", "7"),
    "nft-nat": _trial("nft", "table ip t { chain c { type nat hook postrouting priority srcnat; masquerade; }; }"),
    "nft-queue": _trial("nft", "table inet t { chain c { type filter hook input priority 0; queue num 1 bypass; }; }"),
    "netem": _trial("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"),
}


@functools.cache
def missing(need: str) -> str:
    """Why a need is not met here, or "" when it is.

    A need is a name in `CHECKS` (root, tun, netns, charon, eap-peap, libreswan, libreswan5, strongswan6, freeradius,
    openiked, guest, esp, xfrm-interface, nft-nat, nft-queue, netem) or a command's.
    """
    if need in CHECKS:
        return CHECKS[need]()
    if shutil.which(need, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
        return f"no command {need} (Debian package {PACKAGES.get(need, need)})"
    return ""


def first_missing(*needs: str) -> str:
    """The first reason among several needs, or ""."""
    return next(filter(None, map(missing, needs)), "")
