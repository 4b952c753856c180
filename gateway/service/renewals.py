"""Devices whose certificates run out: which they are, and invited again as they were the last time."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from gateway.service.authorities import WARNING, ending, facts_of
from gateway.service.devices import LIFE, is_revoked
from gateway.service.invitations import Invitations, NewInvite
from gateway.service.manage import Configuration
from gateway.storage.devices import DeviceObject
from gateway.storage.objects import Inventory

_TOLD = 5  # devices with a sentence each; the rest are counted


@dataclass(frozen=True, slots=True)
class RunningOut:
    """A device, `user/device`, and when the certificate by which it comes in ends, or ended, Unix seconds.

    `renewed`: it has another one already, but did not come in by that yet.
    """

    name: str
    end: float
    renewed: bool = False

    @property
    def user(self) -> str:
        return self.name.partition("/")[0]

    @property
    def device(self) -> str:
        return self.name.partition("/")[2]


def running_out(inventory: Inventory, now: float) -> list[RunningOut]:
    """Devices of users who may come in whose certificate ends within WARNING seconds, the nearest end first.

    One that ended longer ago than that is nobody's concern any more; nor is one that is revoked.
    """
    found = []
    for name, device in inventory.devices.items():
        end = _end_of(device.previous_certificate or device.certificate)
        if end is None or not now - WARNING < end < now + WARNING or is_revoked(inventory, device):
            continue
        user = inventory.users[device.user]
        if user.enabled and (user.expires_at is None or user.expires_at > now):
            found.append(RunningOut(name, end, bool(device.previous_certificate)))
    return sorted(found, key=lambda one: (one.end, one.name))


@lru_cache(maxsize=100_000)
def _end_of(certificate: str) -> float | None:
    facts = facts_of(certificate)
    return facts[0].not_after if facts else None


def sentences(found: list[RunningOut], invited: Callable[[str], bool], now: float) -> list[str]:
    """What is told of them; `invited` says whether a link for a device is open."""
    told = [
        f"The certificate of the device {one.device} of {one.user} {ending(one.end, now)}: " + _remedy(one, invited)
        for one in found[:_TOLD]
    ]
    more = len(found) - len(told)
    return (
        [*told, f"The certificates of {more} more devices run out soon, or have: invite them again"] if more else told
    )


def _remedy(one: RunningOut, invited: Callable[[str], bool]) -> str:
    if invited(one.name):
        return "its new link is not used yet"
    return "it took another one, and did not come in by that yet" if one.renewed else "invite it again"


async def invite_again(config: Configuration, invitations: Invitations, device: str, author: str) -> NewInvite:
    """A new link on the terms of the last one that was used: the device stays what it is, with what it reaches.

    Where none is remembered, by the only peer for people and for as long as its certificate was good. Raises NotFound,
    Conflict, Invalid.
    """
    found = config.object("devices", device)
    assert isinstance(found, DeviceObject)
    last = next((one for one in invitations.of_device(device) if one.used_at is not None), None)
    if last is None:
        facts = facts_of(found.certificate)
        return await invitations.create(
            device, author, life=facts[0].not_after - facts[0].not_before if facts else LIFE
        )
    peer = last.peer if last.peer in config.snapshot().peers else ""
    return await invitations.create(device, author, peer=peer, on_demand=last.on_demand, life=last.life)
