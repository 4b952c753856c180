"""The Configuration payload in IKE_AUTH: virtual addresses and what goes with them (RFC 7296 2.19, 3.15; RFC 8598)."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import replace

from gateway.ike.access import children_for, pools_of, profile_of, user_of
from gateway.ike.attempts import Step
from gateway.ike.children import ANY
from gateway.ike.core import Core
from gateway.ike.leases import Wanted
from gateway.ike.sa import IkeSa
from gateway.ike.virtual_addresses import borrow, hold
from gateway.policy.name_service import NO_NAMES, NameService, domain_of
from gateway.policy.peers import Child, Peer, Unique
from gateway.policy.pools import Lease, Pool
from gateway.policy.selectors import Selector
from gateway.policy.users import user_identity
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import CfgAttribute, CfgType, NotifyType
from gateway.wire.outcome import Reject

_ADDRESS = {4: CfgAttribute.INTERNAL_IP4_ADDRESS, 6: CfgAttribute.INTERNAL_IP6_ADDRESS}
_DNS = {4: CfgAttribute.INTERNAL_IP4_DNS, 6: CfgAttribute.INTERNAL_IP6_DNS}
_SUBNET = {4: CfgAttribute.INTERNAL_IP4_SUBNET, 6: CfgAttribute.INTERNAL_IP6_SUBNET}
_MOST_SUBNETS = 64
"""Networks told to a peer: the traffic selectors say the same, and one message has to hold them."""
_HOST_PREFIX = 128
_MOST_SERVERS = 8
_MOST_DOMAINS = 64
"""DNS servers and domains that are kept of those that a peer tells us."""


def answer(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload]:
    """Give a peer the addresses that it asks for, out of its pools. Raises Reject.

    --> ... CP(CFG_REQUEST), SAi2, TSi, TSr}
    <-- ... CP(CFG_REPLY), SAr2, TSi, TSr}
    """
    assert sa.peer is not None
    peer = sa.peer
    asked = request.maybe(wire.CP)
    if not peer.pools:  # RFC 7296 3.15.4: who gives nothing may ignore the question
        return []
    wishes = _wishes(asked) if asked and asked.cfg_type == CfgType.CFG_REQUEST else {}
    if asked is None or not wishes:
        if all(child.remote for child in peer.children):
            return []
        what = "asks for no address" if asked is None else "asks for settings, but for no address"
        why = f"{sa.remote_id} {what}, and {peer.name} lets in only who takes one (FAILED_CP_REQUIRED)"
        raise core.refuse(sa, "no-address-asked", Step.NETWORKS, NotifyType.FAILED_CP_REQUIRED, why)
    pools = pools_of(core, sa)
    given = [lease for version, wish in wishes.items() if (lease := _give(core, sa, peer, pools, version, wish))]
    if not given:
        raise core.refuse(
            sa, "no-address", Step.NETWORKS, NotifyType.INTERNAL_ADDRESS_FAILURE, _why_none(peer, pools, wishes)
        )
    return [wire.CP(CfgType.CFG_REPLY, _reply(core, sa, _used(core, sa, pools, given), given, asked))]


def ask(core: Core, sa: IkeSa) -> list[wire.Payload]:
    """Our CP(CFG_REQUEST), where we want an address of the peer: the same as last time, if there was one."""
    if sa.peer is None or not sa.peer.virtual_ip:
        return []
    last = {ipaddress.ip_address(one).version: one for one in core.extensions.lent.get(sa.peer.name, ())}
    found = []
    for version, kind in _ADDRESS.items():
        packed = ipaddress.ip_address(last[version]).packed if version in last else b""
        found.append(wire.Attribute(kind, packed + bytes((_HOST_PREFIX,)) if packed and version == 6 else packed))
    others = (*_DNS.values(), CfgAttribute.INTERNAL_DNS_DOMAIN)
    return [wire.CP(CfgType.CFG_REQUEST, found + [wire.Attribute(kind, b"") for kind in others])]


def take(core: Core, sa: IkeSa, response: Message) -> None:
    """The addresses that the peer lends us if we asked for some, one for each IP version. Raises Reject, Refused."""
    reply = response.maybe(wire.CP)
    if sa.peer is None or not sa.peer.virtual_ip or reply is None or reply.cfg_type != CfgType.CFG_REPLY:
        return
    addresses: dict[int, str] = {}
    for version, kind in _ADDRESS.items():
        octets = 4 if version == 4 else 16
        for attribute in reply.attributes:
            if attribute.type == kind and version not in addresses and len(attribute.value) >= octets:
                addresses[version] = _usable(attribute.value[:octets])
    if addresses:
        borrow(core, sa, tuple(addresses.values()), _name_service(reply))


def _name_service(reply: wire.CP) -> NameService:
    """What the peer tells of DNS (RFC 8598 3.2, 5); what no server or domain can be is passed over."""
    servers: dict[str, None] = {}
    domains: dict[str, None] = {}
    for attribute in reply.attributes:
        if attribute.type in _DNS.values():
            octets = 4 if attribute.type == _DNS[4] else 16
            if len(attribute.value) == octets and _is_host(address := ipaddress.ip_address(attribute.value)):
                servers[str(address)] = None
        elif attribute.type == CfgAttribute.INTERNAL_DNS_DOMAIN and (
            name := domain_of(attribute.value.decode("latin-1"))
        ):
            domains[name] = None
    if not servers:  # domains mean nothing without somebody to ask
        return NO_NAMES
    return NameService(tuple(servers)[:_MOST_SERVERS], tuple(domains)[:_MOST_DOMAINS])


def _is_host(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    special = address.is_loopback, address.is_multicast, address.is_unspecified, address.is_link_local
    return not any(special) and not address.is_reserved


def _usable(packed: bytes) -> str:
    """An address that a host can have. Raises Reject: who trusts the peer with his traffic lends it no loopback."""
    address = ipaddress.ip_address(packed)
    if not _is_host(address):
        raise Reject(NotifyType.INVALID_SYNTAX, f"the peer gives us {address}, which no host can have for its own")
    return str(address)


def _wishes(asked: wire.CP) -> dict[int, int | None]:
    """For which IP versions an address is wanted, and which one, if the peer says; one for each version is given.

    Raises Reject.
    """
    found: dict[int, int | None] = {}
    for version, kind in _ADDRESS.items():
        octets = 4 if version == 4 else 16
        for attribute in asked.attributes:
            if attribute.type != kind or version in found:
                continue
            # RFC 7296 3.15.1: IPv6's has a prefix length behind it, or not in requests of older making
            if len(attribute.value) not in (0, octets, octets + (version == 6)):
                why = f"an internal IPv{version} address of {len(attribute.value)} octets"
                raise Reject(NotifyType.INVALID_SYNTAX, why)
            found[version] = int.from_bytes(attribute.value[:octets]) or None
    return found


def _give(core: Core, sa: IkeSa, peer: Peer, pools: list[Pool], version: int, asked: int | None) -> Lease | None:
    assert sa.remote_id is not None
    user = user_of(core, sa)  # one person's addresses are the same by whatever he proves himself
    identity = user_identity(user.name) if user else sa.remote_id
    told = sa.guest.addresses if sa.guest else ()
    fixed = next((address for address in map(ipaddress.ip_address, told) if address.version == version), None)
    number = None if fixed is None else int(fixed)
    wanted = Wanted(identity, asked, sa.path.remote, peer.unique != Unique.NEVER, number)
    lease = hold(core, sa, pools, version, wanted)
    if lease is None and fixed is not None:  # another would not be what the server decided about
        has = any(pool.holds(version, int(fixed)) for pool in pools)
        fault = "is another's now" if has else f"no pool of {peer.name} has"
        why = f"the RADIUS server says {fixed} for {sa.eap_identity}, which {fault} (INTERNAL_ADDRESS_FAILURE)"
        raise core.refuse(sa, "no-address", Step.NETWORKS, NotifyType.INTERNAL_ADDRESS_FAILURE, why)
    return lease


def _why_none(peer: Peer, pools: Sequence[Pool], versions: Iterable[int]) -> str:
    """The sentence for the attempt: a pool that is full, or none of this kind."""
    sizes = [
        f"{pool.name} (IPv{version}: {size})" for pool in pools for version in versions if (size := pool.size(version))
    ]
    wanted = " or ".join(f"IPv{version}" for version in versions)
    if not sizes:
        return f"no pool of {peer.name} has {wanted} addresses: {', '.join(peer.pools)} (INTERNAL_ADDRESS_FAILURE)"
    return f"all addresses are held by others: {', '.join(sizes)} is full (INTERNAL_ADDRESS_FAILURE)"


def _used(core: Core, sa: IkeSa, pools: Sequence[Pool], given: Sequence[Lease]) -> list[Pool]:
    """The pools of these leases, telling what the user's profile tells in their place."""
    names, profile = {lease.pool for lease in given}, profile_of(core, sa)
    used = [pool for pool in pools if pool.name in names]
    if profile is not None:
        used = [replace(pool, subnets=()) for pool in used]  # the children say how far he gets
    if profile is not None and profile.dns:
        used = [replace(pool, dns=profile.dns, domains=profile.domains) for pool in used]
    return used


def _reply(core: Core, sa: IkeSa, used: Sequence[Pool], given: Sequence[Lease], asked: wire.CP) -> list[wire.Attribute]:
    """The addresses, and of what else there is all that was asked for (RFC 7296 3.15.1, RFC 8598 3.2)."""
    kinds = {attribute.type for attribute in asked.attributes}
    found = [_address(lease) for lease in given]
    servers = _attributes(_DNS, dict.fromkeys(address for pool in used for address in pool.dns), kinds)
    found += servers
    if CfgAttribute.INTERNAL_IP4_NBNS in kinds:
        names_servers = dict.fromkeys(address for pool in used for address in pool.nbns)
        found += [_packed(CfgAttribute.INTERNAL_IP4_NBNS, address) for address in names_servers]
    if servers and CfgAttribute.INTERNAL_DNS_DOMAIN in kinds:
        domains = dict.fromkeys(domain for pool in used for domain in pool.domains)
        found += [wire.Attribute(CfgAttribute.INTERNAL_DNS_DOMAIN, domain.encode()) for domain in domains]
    for selector_text in _subnets(children_for(core, sa), used):
        network = ipaddress.ip_network(selector_text)
        if (kind := _SUBNET[network.version]) in kinds:
            mask = network.netmask.packed if network.version == 4 else bytes((network.prefixlen,))
            found.append(wire.Attribute(kind, network.network_address.packed + mask))
    return found


def _address(lease: Lease) -> wire.Attribute:
    """Of IPv6 the single address: its prefix is nobody's link."""
    packed = ipaddress.ip_address(lease.address).packed
    return wire.Attribute(_ADDRESS[lease.version], packed if lease.version == 4 else packed + bytes((_HOST_PREFIX,)))


def _packed(kind: int, address: str) -> wire.Attribute:
    return wire.Attribute(kind, ipaddress.ip_address(address).packed)


def _attributes(by_version: dict[int, CfgAttribute], addresses: Iterable[str], kinds: set[int]) -> list[wire.Attribute]:
    found = [_packed(by_version[ipaddress.ip_address(address).version], address) for address in addresses]
    return [attribute for attribute in found if attribute.type in kinds]


def _subnets(children: Sequence[Child], pools: Sequence[Pool]) -> list[str]:
    """What is reached through us; nothing where that is everything, as it needs no telling."""
    told = dict.fromkeys(subnet for pool in pools for subnet in pool.subnets)
    if told:
        return list(told)[:_MOST_SUBNETS]
    local = [selector for child in children for selector in child.local]
    if ANY & set(local):
        return []
    ranges = dict.fromkeys(Selector(one.version, one.start, one.end) for one in local)
    return [network for one in ranges for network in one.networks()][:_MOST_SUBNETS]
