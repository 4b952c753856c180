"""Access profiles as pages show them, and which of them a user has."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.policy.snapshot import Snapshot
from gateway.storage.objects import Inventory
from gateway.storage.people import UserObject
from web.console.words import profile_reason


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a user gets, and why; `profile` is empty where the peer's children alone say it."""

    profile: str
    why: str


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One profile with the users who have it now, by name."""

    name: str
    description: str
    tunnel: str
    networks: tuple[str, ...]
    masquerade: bool
    users: tuple[str, ...]


def reach_of(snapshot: Snapshot, user: UserObject) -> Reach:
    compiled = snapshot.users.get(user.login or user.name)
    access = snapshot.access_of(compiled) if compiled else None
    if access is None:
        return Reach("", "no profile is for him: he reaches all that the peer's children let in")
    return Reach(access.profile.name, profile_reason(access.group))


def users_by_profile(inventory: Inventory, snapshot: Snapshot) -> dict[str, list[str]]:
    """Who has each profile now, by name; a profile that nobody has is missing."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, user in sorted(inventory.users.items()):
        found[reach_of(snapshot, user).profile].append(name)
    return dict(found)


def profile_rows(inventory: Inventory, snapshot: Snapshot) -> list[ProfileRow]:
    """By name."""
    users = users_by_profile(inventory, snapshot)
    return [
        ProfileRow(
            name,
            profile.description,
            profile.tunnel,
            profile.networks,
            profile.masquerade,
            tuple(users.get(name, ())),
        )
        for name, profile in sorted(inventory.access_profiles.items())
    ]


def choices(inventory: Inventory, chosen: str) -> Sequence[tuple[str, str]]:
    """What the form of a user offers; `chosen` too, should it have gone meanwhile."""
    names = sorted(inventory.access_profiles.keys() | ({chosen} if chosen else set()))
    return [("", "That of his groups, if any"), *((name, name) for name in names)]
