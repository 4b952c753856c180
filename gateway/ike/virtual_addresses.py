"""The addresses of our pools that a peer holds by its IKE SA: held, let go, put into its children (RFC 7296 2.19)."""

from dataclasses import replace

from gateway.ike.core import Core
from gateway.ike.effects import Leased
from gateway.ike.leases import Wanted
from gateway.ike.plane import AddAddress, LiftRules, RemoveAddress
from gateway.ike.sa import IkeSa
from gateway.policy.name_service import NameService
from gateway.policy.peers import Child
from gateway.policy.pools import Lease, Pool
from gateway.policy.selectors import Selector


def hold(core: Core, sa: IkeSa, pools: list[Pool], version: int, wanted: Wanted) -> Lease | None:
    """Let the peer have an address from the first of the pools that has one for it; None where none has.

    A pool that keeps one for it comes before the others.
    """
    leases, unix = core.extensions.leases, core.extensions.tickets.unix(core.now)
    for pool in sorted(pools, key=lambda pool: not leases.keeps(pool, version, wanted.identity)):
        lease = leases.take(pool, version, wanted, unix)
        if lease is None:
            continue
        sa.leases += (lease,)
        core.out.append(Leased(lease))
        core.event(
            "lease.given",
            f"{lease.address} of pool {lease.pool} given to {lease.identity}",
            sa.peer_name,
            ike_sa=sa.id,
            pool=lease.pool,
            address=lease.address,
        )
        return lease
    return None


def let_go(core: Core, sa: IkeSa) -> None:
    """The IKE SA ends: what no other of the same identity holds is kept for it, but held no longer."""
    leases, unix = core.extensions.leases, core.extensions.tickets.unix(core.now)
    ended, sa.leases = sa.leases, ()
    for lease in ended:
        kept = leases.release(lease, unix)
        if kept is None:
            continue
        if core.ownership.rules.pop(lease.address, None):
            core.plane.apply([LiftRules(lease.address)])
        core.out.append(Leased(kept))
        core.event(
            "lease.released",
            f"{lease.address} of pool {lease.pool} is no longer held by {lease.identity}",
            sa.peer_name,
            ike_sa=sa.id,
            pool=lease.pool,
            address=lease.address,
        )


def borrow(core: Core, sa: IkeSa, addresses: tuple[str, ...], names: NameService) -> None:
    """The peer lends us these: the data plane has them as long as one of its IKE SAs is there. Raises Refused.

    What goes with them about names is told, and nothing is done with it.
    """
    core.plane.apply([AddAddress(address) for address in addresses])
    sa.virtual, sa.name_service = addresses, names
    core.extensions.lent[sa.peer_name or ""] = addresses
    core.event(
        "address.lent",
        f"{sa.peer_name} gave us {', '.join(addresses)}{names.text and f'; {names.text}'}",
        sa.peer_name,
        ike_sa=sa.id,
        addresses=list(addresses),
        dns=list(names.dns),
        domains=list(names.domains),
    )


def give_back(core: Core, sa: IkeSa) -> None:
    """What the peer lent us by this IKE SA is ours no longer."""
    lent, sa.virtual = sa.virtual, ()
    if lent:
        core.plane.apply([RemoveAddress(address) for address in lent])


def personal(sa: IkeSa, config: Child) -> Child:
    """The child as it is on this IKE SA: in the place of a side without selectors are the addresses held by it."""
    if not config.remote:
        config = replace(config, remote=tuple(lease.selector for lease in sa.leases))
    if not config.local:
        config = replace(config, local=tuple(map(Selector.of_address, sa.virtual)))
    return config
