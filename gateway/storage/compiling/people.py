"""Users and pools, from documents to policy."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.policy.identities import Identity
from gateway.policy.pools import Pool, Reservation
from gateway.policy.radius import RadiusServer
from gateway.policy.selectors import Selector
from gateway.policy.users import Device, User, user_identity
from gateway.storage.compiling.devices import compile_devices
from gateway.storage.fields import network_of
from gateway.storage.findings import Findings, Pointers
from gateway.storage.findings import address as read_address
from gateway.storage.findings import domain as read_domain
from gateway.storage.objects import Inventory
from gateway.storage.peers import PeerObject
from gateway.storage.people import PoolObject, UserObject


@dataclass(frozen=True, slots=True)
class People:
    """Who may come in, and from where their addresses come."""

    users: tuple[User, ...] = ()
    pools: tuple[Pool, ...] = ()
    radius: tuple[RadiusServer, ...] = ()


def _ipv4_host(text: str) -> str:
    if ":" in text:
        raise ValueError(f"{text!r}: NetBIOS knows IPv4 alone")
    return read_address(text)


def _stretch(text: str) -> str:
    """A network or range without protocol or port. Raises ValueError."""
    if "[" in text:
        raise ValueError(f"{text!r}: a pool has addresses alone, no protocols or ports")
    return Selector.parse(text).text


def compile_people(inventory: Inventory, pointer: Pointers, found: Findings) -> People:
    pools = {name: _pool(one, pointer("pools", name), found) for name, one in sorted(inventory.pools.items())}
    devices = compile_devices(inventory, pointer, found)
    users = [
        _user(one, inventory.secrets_of("users", name), devices.get(name, ()), pointer("users", name), found)
        for name, one in sorted(inventory.users.items())
    ]
    _check_names(inventory, users, pointer, found)
    owned = _fixed(inventory, users, pools, pointer, found)
    given = tuple(_with(pool, owned.get(name, ())) for name, pool in pools.items())
    return People(tuple(users), given, _servers(inventory, pointer, found))


def _servers(inventory: Inventory, pointer: Pointers, found: Findings) -> tuple[RadiusServer, ...]:
    """In the order in which they are asked."""
    servers = []
    for one in sorted(inventory.radius.values(), key=lambda server: (server.priority, server.name)):
        at, secret = pointer("radius", one.name), inventory.secrets.get(("radius", one.name))
        address = found.parse(f"{at}/address", "invalid-address", read_address, one.address)
        if secret is None:
            found.add(f"{at}/secret", "missing", "a RADIUS server needs the secret that it shares with us")
        elif address is not None:
            servers.append(
                RadiusServer(
                    one.name,
                    address,
                    secret,
                    one.port,
                    one.accounting_port,
                    one.timeout,
                    one.tries,
                    accounting=one.accounting,
                    interim=one.interim_interval,
                    dynamic=one.dynamic,
                    unsigned_rejects=one.unsigned_rejects,
                )
            )
    return tuple(servers)


def _pool(document: PoolObject, at: str, found: Findings) -> Pool:
    networks = found.parse_all(f"{at}/networks", "invalid-network", _stretch, document.networks)
    excluded = found.parse_all(f"{at}/excluded", "invalid-network", _stretch, document.excluded)
    pool = Pool(
        document.name,
        networks,
        excluded,
        found.parse_all(f"{at}/dns", "invalid-address", read_address, document.dns),
        found.parse_all(f"{at}/nbns", "invalid-address", _ipv4_host, document.nbns),
        found.parse_all(f"{at}/domains", "invalid-domain", read_domain, document.domains),
        found.parse_all(f"{at}/subnets", "invalid-network", network_of, document.subnets),
        _reservations(document, networks, at, found),
        document.description,
    )
    if document.domains and not document.dns:
        found.add(f"{at}/domains", "no-dns", "domains are those that the pool's DNS servers resolve: name one in dns")
    if networks and not pool.size(4) + pool.size(6):
        found.add(f"{at}/networks", "empty", "nothing is left to give out: widen the networks, or exclude less")
    return pool


def _reservations(document: PoolObject, networks: tuple[str, ...], at: str, found: Findings) -> tuple[Reservation, ...]:
    whole = [Selector.parse(text) for text in networks]
    taken: set[str] = set()
    kept = []
    for index, one in enumerate(document.reservations):
        where = f"{at}/reservations/{index}"
        identity = found.parse(f"{where}/identity", "invalid-identity", Identity.parse, one.identity)
        address = found.parse(f"{where}/address", "invalid-address", read_address, one.address)
        if identity is None or address is None:
            continue
        if address in taken:
            found.add(f"{where}/address", "duplicate", f"{address} is reserved for another already")
        if not any(network.contains(Selector.of_address(address)) for network in whole):
            found.add(f"{where}/address", "outside", f"{address} is in none of the pool's networks")
        taken.add(address)
        kept.append(Reservation(identity, address))
    return tuple(kept)


def _user(
    document: UserObject, secrets: Mapping[str, bytes], devices: tuple[Device, ...], at: str, found: Findings
) -> User:
    own = found.parse_all(f"{at}/identities", "invalid-identity", Identity.parse, document.identities)
    return User(
        name=document.login or document.name,
        password=secrets.get("password", b""),
        totp_secret=secrets.get("totp_secret", b""),
        enabled=document.enabled,
        expires=document.expires_at,
        groups=document.groups,
        addresses=found.parse_all(f"{at}/addresses", "invalid-address", read_address, document.addresses),
        identities=(*own, *(identity for device in devices for identity in device.identities)),
        sessions=document.sessions,
        access_profile=document.access_profile,
        devices=devices,
    )


def _check_names(inventory: Inventory, users: list[User], pointer: Pointers, found: Findings) -> None:
    """Nobody is two."""
    owner: dict[object, str] = {}
    for name, user in zip(sorted(inventory.users), users, strict=True):
        places = [("login", user_identity(user.name)), *(("identities", one) for one in user.identities)]
        for field, identity in places:
            other = owner.setdefault(identity.canonical, name)
            if other != name:
                found.add(f"{pointer('users', name)}/{field}", "duplicate", f"{identity} is user {other!r} already")


def _fixed(
    inventory: Inventory, users: list[User], pools: dict[str, Pool], pointer: Pointers, found: Findings
) -> dict[str, tuple[Reservation, ...]]:
    """The users' own addresses, by the pool that holds them."""
    kept: dict[str, tuple[Reservation, ...]] = {}
    owner = {one.address: str(one.identity) for pool in pools.values() for one in pool.reservations}
    for name, user in zip(sorted(inventory.users), users, strict=True):
        for index, address in enumerate(user.addresses):
            where = f"{pointer('users', name)}/addresses/{index}"
            wanted = Selector.of_address(address)
            holding = (pool for pool in pools.values() if any(one.contains(wanted) for one in pool.selectors))
            pool = next(holding, None)
            if pool is None:
                found.add(where, "outside", f"{address} is in no pool")
            elif owner.setdefault(address, name) != name:
                found.add(where, "duplicate", f"{address} is reserved for {owner[address]} already")
            else:
                kept[pool.name] = (*kept.get(pool.name, ()), Reservation(user_identity(user.name), address))
    return kept


def _with(pool: Pool, owned: tuple[Reservation, ...]) -> Pool:
    """The pool with what is reserved for users beside its own reservations."""
    fields = pool.networks, pool.excluded, pool.dns, pool.nbns, pool.domains, pool.subnets
    return Pool(pool.name, *fields, (*pool.reservations, *owned), pool.description)


def check_pools(inventory: Inventory, pointer: Pointers, found: Findings) -> None:
    """Whether the pools that peers name are there."""
    for peer in inventory.peers.values():
        for index, name in enumerate(peer.pools):
            if name not in inventory.pools:
                where = f"{pointer('peers', peer.name)}/pools/{index}"
                found.add(where, "unknown-reference", f"there is no pool {name!r}")


def check_addressing(document: PeerObject, at: str, found: Findings) -> None:
    """Children for leased addresses, and who leases them."""
    for index, child in enumerate(document.children):
        where = f"{at}/children/{index}"
        if not child.remote_selectors and not document.pools:
            detail = "write the networks on the other side, or give the peer a pool: then it is for the leased address"
            found.add(f"{where}/remote_selectors", "too_short", detail)
        if not child.local_selectors and not document.virtual_ip:
            detail = "write the networks on our side, or set virtual_ip: then it is for the address that the peer gives"
            found.add(f"{where}/local_selectors", "too_short", detail)
        if child.remote_selectors and child.local_selectors:
            continue
        if child.mode == "transport":
            found.add(f"{where}/mode", "leased-address", "a child for a leased address is in tunnel mode")
        if not child.remote_selectors and child.start != "passive":
            detail = "who is given an address calls us: choose passive"
            found.add(f"{where}/start", "leased-address", detail)
        if not child.local_selectors and (child.start == "on-demand" or child.single_pair):
            where += "/start" if child.start == "on-demand" else "/single_pair"
            found.add(where, "leased-address", "our address is known once the peer gives it: choose start always")
