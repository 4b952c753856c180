"""Whose a state or policy is: a tag in its lifetime, and a name that exists as long as the process that holds it."""

import logging
import secrets
import socket
from pathlib import Path

from gateway.dataplane.kernel_batch import ABSENT
from gateway.dataplane.netlink import Netlink, Request
from gateway.dataplane.xfrm_messages import Place, Tag, state_removal, states_dump
from gateway.dataplane.xfrm_policies import ReadPolicy, Spot, policies_dump, policy_removal, read_policy
from gateway.dataplane.xfrm_structs import XfrmId, XfrmLifetimeCfg, XfrmUsersaInfo

_log = logging.getLogger(__name__)

# Byte limits of 18 exabytes never expire. The soft one says "ikegat" in its low octets, the hard one which process.
_SOFT = 0xFFFF << 48 | int.from_bytes(b"ikegat")
_HARD = 0xFFFF_FFFF << 32
# A state that has byte limits of its own bears the mark in an age (of use, soft) of 147 billion years.
_AGE = 0x4000_0000_0000_0000 | int.from_bytes(b"ike") << 32
_NAME = "ikegate-xfrm-"


class Owner:
    """One process's mark on what it puts into the kernel.

    Its abstract UNIX socket lives in the same network namespace as the states, and vanishes with the process, however
    that ends. So what bears the mark of a name that is gone was left behind by a killed process and is surely ours.
    """

    def __init__(self) -> None:
        self.instance = secrets.randbits(31)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.bind(f"\0{_NAME}{self.instance:08x}")
        self._probe = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    @property
    def tag(self) -> Tag:
        return Tag(_SOFT, _HARD | self.instance, _AGE | self.instance)

    def close(self) -> None:
        self._socket.close()
        self._probe.close()

    def orphaned(self, lifetime: bytes) -> bool:
        """Whether a lifetime (struct xfrm_lifetime_cfg) bears the mark of a process of ours that is gone."""
        instance = _instance(lifetime)
        return instance is not None and self.gone(instance)

    def gone(self, instance: int) -> bool:
        """Whether the process of ours with this number has ended."""
        return instance != self.instance and not self._alive(instance)

    def _alive(self, instance: int) -> bool:
        try:
            self._probe.connect(f"\0{_NAME}{instance:08x}")
        except ConnectionRefusedError:
            return False
        return True

    def alone(self) -> bool:
        """Whether no other process of ours lives in this network namespace."""
        names = Path("/proc/thread-self/net/unix").read_text(errors="replace").split()
        return not any(name.startswith(f"@{_NAME}") and name != f"@{_NAME}{self.instance:08x}" for name in names)


def _instance(lifetime: bytes) -> int | None:
    limits = XfrmLifetimeCfg.unpack_from(lifetime)
    if limits.soft_use_expires_seconds >> 32 == _AGE >> 32:
        return limits.soft_use_expires_seconds & 0xFFFF_FFFF
    if limits.soft_byte_limit != _SOFT or limits.hard_byte_limit >> 32 != _HARD >> 32:
        return None
    return limits.hard_byte_limit & 0xFFFF_FFFF


def shut(netlink: Netlink, owner: Owner) -> tuple[int, dict[Spot, Request]]:
    """What killed processes of ours protected is dropped from now on, and their states go; how many. Raises OSError.

    With what drops, or does what it did where that was not to protect: policies that lie there until `sweep`.
    """
    policies = _orphans(netlink, owner)
    places = _orphaned_states(netlink, owner)
    _send(netlink, [*(policy.shut for policy in policies if policy.template), *map(state_removal, places)])
    return len(places), {policy.spot: policy.shut for policy in policies}


def sweep(netlink: Netlink, owner: Owner) -> tuple[int, int]:
    """Remove the states and policies that killed processes of ours left behind; how many. Raises OSError."""
    policies, places = _orphans(netlink, owner), _orphaned_states(netlink, owner)
    _send(netlink, [*(policy_removal(policy.spot) for policy in policies), *map(state_removal, places)])
    return len(places), len(policies)


def _orphans(netlink: Netlink, owner: Owner) -> list[ReadPolicy]:
    return [policy for policy in map(read_policy, netlink.dump(policies_dump())) if owner.orphaned(policy.lifetime)]


def _orphaned_states(netlink: Netlink, owner: Owner) -> list[Place]:
    places: list[Place] = []
    for body in netlink.dump(states_dump()):
        info = XfrmUsersaInfo.unpack_from(body)
        if owner.orphaned(info.lft):
            ident = XfrmId.unpack_from(info.id)
            places.append(Place(info.family, ident.daddr, ident.spi))
    return places


def _send(netlink: Netlink, requests: list[Request]) -> None:
    for outcome in netlink.send(requests):
        if outcome and outcome.errno not in ABSENT:
            _log.warning("something that a killed process left cannot be removed: %s", outcome)
