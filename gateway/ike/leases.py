"""Who holds which address of which pool: given out, kept for who held it, given to another when there is no other left.

An address is never held by two, whatever pools it is in. While an IKE SA is made in the place of another of the same
identity, both hold the same address; it is free when the last of them is gone.
"""

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from gateway.policy.identities import Identity
from gateway.policy.pools import MOST_LEASES, Lease, Pool, Reservation, address_text

_Key = tuple[str, int]


@dataclass(slots=True)
class Wanted:
    """What one who asks for an address is entitled to.

    `asked` is an address that it would like to have, `place` where it calls from. With `shares` it may hold the address
    of another IKE SA of its own, which is to go; else only where it asks for that very address from the same place.
    `fixed` is the address that a RADIUS server says is its: it gets this one or none.
    """

    identity: Identity
    asked: int | None = None
    place: str = ""
    shares: bool = True
    fixed: int | None = None


@dataclass(slots=True)
class _Book:
    """The leases of one pool and IP version, by address."""

    leases: dict[int, Lease] = field(default_factory=dict)
    owned: dict[object, list[int]] = field(default_factory=dict)
    held: Counter[int] = field(default_factory=Counter)
    """How many IKE SAs hold each address."""
    places: dict[int, str] = field(default_factory=dict)
    unused: OrderedDict[int, None] = field(default_factory=OrderedDict)
    """Leases that nobody holds, the longest unused first."""
    pool: Pool | None = None
    stretch: int = 0
    offset: int = 0
    """How far in the ranges of the pool, as it was then, addresses were given out in order."""


class _Reserved(NamedTuple):
    """A pool's reservations of one IP version."""

    owner: dict[int, Identity]
    addresses: dict[object, list[int]]


def _reserved(pool: Pool, version: int) -> _Reserved:
    return _by_address(pool.reservations, version)


@lru_cache(256)
def _by_address(reservations: tuple[Reservation, ...], version: int) -> _Reserved:
    found = _Reserved({}, {})
    for one in reservations:
        address = ipaddress.ip_address(one.address)
        if address.version == version:
            found.owner[int(address)] = one.identity
            found.addresses.setdefault(one.identity.canonical, []).append(int(address))
    return found


class Leases:
    """All leases by pool; nothing here reads a clock, and the same questions give the same answers."""

    def __init__(self) -> None:
        self._books: dict[_Key, _Book] = {}

    def restore(self, leases: Iterable[Lease]) -> None:
        """What was written down by an engine before this one: nobody holds any of it now; longest unused first."""
        for lease in sorted(leases, key=lambda one: one.released or one.since):
            ended = lease.since if lease.released is None else lease.released
            book = self._books.setdefault((lease.pool, lease.version), _Book())
            self._write(book, int(ipaddress.ip_address(lease.address)), replace(lease, released=ended))

    def all(self) -> list[Lease]:
        """Every lease, held or kept, by pool."""
        return [lease for _, book in sorted(self._books.items()) for lease in book.leases.values()]

    def take(self, pool: Pool, version: int, wanted: Wanted, now: float) -> Lease | None:
        """An address of the pool for this identity, held once more from `now` on; None when there is none left."""
        book = self._books.setdefault((pool.name, version), _Book())
        reserved = _reserved(pool, version)
        address = self._choose(book, pool, version, wanted, reserved)
        if address is None:
            return None
        before = book.leases.get(address)
        same = before is not None and before.identity.same(wanted.identity)
        since = before.since if before is not None and same and before.released is None else now
        lease = Lease(pool.name, address_text(version, address), wanted.identity, since)
        if before is not None and not same:
            self._erase(book, address)
        self._write(book, address, lease)
        book.held[address] += 1
        book.places[address] = wanted.place
        return lease

    def keeps(self, pool: Pool, version: int, identity: Identity) -> bool:
        """Whether the pool has an address for this identity, reserved or left from an earlier time."""
        book = self._books.get((pool.name, version))
        owner = identity.canonical
        return owner in _reserved(pool, version).addresses or (book is not None and owner in book.owned)

    def release(self, lease: Lease, now: float) -> Lease | None:
        """One IKE SA less holds it. The lease as it is kept from `now` on when that was the last, else None."""
        book, address = self._books[lease.pool, lease.version], int(ipaddress.ip_address(lease.address))
        book.held[address] -= 1
        if book.held[address] > 0:
            return None
        del book.held[address]
        book.places.pop(address, None)
        kept = replace(book.leases[address], released=now)
        self._write(book, address, kept)
        return kept

    def forget(self, pool: str, address: str) -> bool:
        """Keep the address for nobody; whether it was kept. What is held stays held."""
        value = ipaddress.ip_address(address)
        book = self._books.get((pool, value.version))
        if book is None or int(value) not in book.unused:
            return False
        self._erase(book, int(value))
        book.pool = None  # it may lie before what was given out last
        return True

    def _choose(self, book: _Book, pool: Pool, version: int, wanted: Wanted, reserved: _Reserved) -> int | None:
        owner = wanted.identity.canonical
        if wanted.fixed is not None:
            return wanted.fixed if self._is_free_for(book, pool, version, wanted, reserved) else None
        fixed = reserved.addresses.get(owner, [])
        own = [
            address
            for address in reversed(book.owned.get(owner, ()))
            if address not in reserved.owner and pool.holds(version, address)
        ]
        for address in (*fixed, *sorted(own, key=lambda one: one != wanted.asked)):
            free = not book.held[address] and self._unheld(pool, version, address)
            if free or self._may_share(book, address, wanted):
                return address
        asked = wanted.asked
        if (
            asked is not None
            and asked not in reserved.owner
            and asked not in book.leases
            and len(book.leases) < MOST_LEASES
            and pool.holds(version, asked)
            and self._unheld(pool, version, asked)
        ):
            return asked
        return self._next(book, pool, version, reserved)

    def _is_free_for(self, book: _Book, pool: Pool, version: int, wanted: Wanted, reserved: _Reserved) -> bool:
        """Whether the address that is fixed for it is the pool's, reserved for nobody else, and held by nobody else."""
        address = wanted.fixed
        assert address is not None
        keeper = reserved.owner.get(address, wanted.identity)
        if not keeper.same(wanted.identity) or not (address in reserved.owner or pool.holds(version, address)):
            return False
        free = not book.held[address] and self._unheld(pool, version, address)
        return free or self._may_share(book, address, wanted)

    def _unheld(self, pool: Pool, version: int, address: int) -> bool:
        """Whether no other pool that has the address, too, has given it out."""
        return not any(
            book.held[address] for (name, other), book in self._books.items() if other == version and name != pool.name
        )

    def _may_share(self, book: _Book, address: int, wanted: Wanted) -> bool:
        if not book.held[address] or not book.leases[address].identity.same(wanted.identity):
            return False
        return wanted.shares or (wanted.asked == address and book.places.get(address) == wanted.place)

    def _next(self, book: _Book, pool: Pool, version: int, reserved: _Reserved) -> int | None:
        """One that never was anybody's, in order; else the one that is out of use the longest."""
        ranges = pool.ranges(version)
        if book.pool != pool:
            book.pool, book.stretch, book.offset = pool, 0, 0
        while book.stretch < len(ranges) and len(book.leases) < MOST_LEASES:
            first, last = ranges[book.stretch]
            address = first + book.offset
            if address > last:
                book.stretch, book.offset = book.stretch + 1, 0
                continue
            free = address not in book.leases and address not in reserved.owner
            if free and self._unheld(pool, version, address):
                return address
            book.offset += 1
        for address in book.unused:
            if address not in reserved.owner and pool.holds(version, address) and self._unheld(pool, version, address):
                return address
        return None

    def _write(self, book: _Book, address: int, lease: Lease) -> None:
        owned = book.owned.setdefault(lease.identity.canonical, [])
        if address in owned:
            owned.remove(address)
        owned.append(address)
        book.leases[address] = lease
        book.unused.pop(address, None)
        if lease.released is not None:
            book.unused[address] = None

    def _erase(self, book: _Book, address: int) -> None:
        lease = book.leases.pop(address)
        book.unused.pop(address, None)
        owned = book.owned[lease.identity.canonical]
        owned.remove(address)
        if not owned:
            del book.owned[lease.identity.canonical]


def still_fits(pools: Sequence[Pool], lease: Lease) -> bool:
    """Whether its holder would be given the address under these pools, too."""
    pool = next((pool for pool in pools if pool.name == lease.pool), None)
    if pool is None:
        return False
    address = int(ipaddress.ip_address(lease.address))
    owner = _reserved(pool, lease.version).owner.get(address)
    return owner.same(lease.identity) if owner is not None else pool.holds(lease.version, address)
