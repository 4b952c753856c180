"""Users, pools, leases and RADIUS servers as the page of remote access shows them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.policy.pools import Lease
from gateway.policy.snapshot import Snapshot
from gateway.service.status import IkeSaStatus
from gateway.storage.objects import Inventory
from gateway.storage.people import RadiusObject, UserObject
from web.console.views.access_profiles import Reach, reach_of

_MOST_LEASES = 200


@dataclass(frozen=True, slots=True)
class UserRow:
    """One user; `sessions` are his IKE SAs that stand, `addresses` what he holds, `reach` is how far he gets."""

    user: UserObject
    css: str
    word: str
    sessions: int
    addresses: tuple[str, ...]
    reach: Reach


@dataclass(frozen=True, slots=True)
class PoolRow:
    """One pool: how many addresses it has of each IP version, how many are in use, and which peers give from it."""

    name: str
    description: str
    networks: tuple[str, ...]
    sizes: tuple[tuple[int, int, int], ...]
    """IP version, in use, all."""
    peers: tuple[str, ...]


def user_rows(
    inventory: Inventory, snapshot: Snapshot, sas: Iterable[IkeSaStatus], leases: Iterable[Lease], now: float
) -> list[UserRow]:
    """By name."""
    standing = Counter(sa.user for sa in sas if sa.user)
    held: dict[str, list[str]] = {}
    for lease in leases:
        owner = snapshot.user_by_identity(lease.identity)
        if owner is not None and lease.released is None:
            held.setdefault(owner.name, []).append(lease.address)
    rows = []
    for name, user in sorted(inventory.users.items()):
        login = user.login or name
        compiled = snapshot.users.get(login)
        barred = compiled.barred(now) if compiled else ""
        css, word = ("up", "Connected") if standing[login] else ("waiting", "Not connected")
        if barred:  # "is disabled", "has expired"
            css, word = "disabled", barred.partition(" ")[2].capitalize()
        reach = reach_of(snapshot, user)
        rows.append(UserRow(user, css, word, standing[login], tuple(held.get(login, ())), reach))
    return rows


def pool_rows(inventory: Inventory, snapshot: Snapshot, leases: Iterable[Lease]) -> list[PoolRow]:
    """By name."""
    used = Counter((lease.pool, lease.version) for lease in leases if lease.released is None)
    return [
        PoolRow(
            name,
            pool.description,
            pool.networks,
            tuple(
                (version, used[name, version], size)
                for version in (4, 6)
                if (size := snapshot.pools[name].size(version))
            ),
            peers_of_pool(inventory, name),
        )
        for name, pool in sorted(inventory.pools.items())
    ]


def peers_of_pool(inventory: Inventory, name: str) -> tuple[str, ...]:
    return tuple(sorted(peer.name for peer in inventory.peers.values() if name in peer.pools))


def radius_servers(inventory: Inventory) -> list[RadiusObject]:
    """In the order in which they are asked."""
    return sorted(inventory.radius.values(), key=lambda server: (server.priority, server.name))


def peers_by_radius(inventory: Inventory) -> tuple[str, ...]:
    """The peers of whom RADIUS decides who may come in."""
    peers = inventory.peers.values()
    return tuple(sorted(peer.name for peer in peers if any("radius" in one.eap_methods for one in peer.remote_auth)))


def lease_rows(leases: Iterable[Lease]) -> list[Lease]:
    """Those in use first, of the rest the latest; not more than a page can show."""
    return sorted(leases, key=lambda lease: (lease.released is not None, -(lease.released or lease.since)))[
        :_MOST_LEASES
    ]
