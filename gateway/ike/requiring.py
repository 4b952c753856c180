"""The day comes on which post-quantum keys are required: what stands with classical ones is made anew, or ends."""

from gateway.ike import auth_lifetime, quantum, reauth
from gateway.ike.core import Core
from gateway.ike.driver import start
from gateway.ike.exchanges.informational import delete_sa
from gateway.ike.sa import IkeSa, Lifecycle, Task
from gateway.ike.standing import Shortfall, Standing
from gateway.policy.quantum import Demand

GRACE = 60.0
"""Seconds in which a classical IKE SA can be made anew before it ends."""


def enforce(core: Core) -> None:
    """Act on what stands against the demand, and look again when the next peer's day comes."""
    unix, peers = core.extensions.tickets.unix(core.now), core.snapshot.peers.values()
    demands = [peer.post_quantum for peer in peers if peer.post_quantum is not None]
    demands.append(core.snapshot.settings.post_quantum)
    if any(demand.at(unix) is Demand.REQUIRE for demand in demands):
        for sa in list(core.sas.values()):
            if _is_against(core, sa):
                _renew(core, sa)
    days = [day for demand in demands if (day := demand.date(unix)) is not None]
    if days:
        core.timers.set(("post-quantum",), core.now + min(days) - unix)
    else:
        core.timers.cancel(("post-quantum",))


def is_ahead(core: Core) -> bool:
    """Whether the day of some peer is still to come."""
    return core.timers.when(("post-quantum",)) is not None


def _is_against(core: Core, sa: IkeSa) -> bool:
    return (
        sa.state is Lifecycle.ESTABLISHED
        and sa.peer is not None
        and quantum.standing(sa) is Standing.CLASSICAL
        and quantum.demanded(core, sa.peer) is Demand.REQUIRE
    )


def _renew(core: Core, sa: IkeSa) -> None:
    """Who can call authenticates again; of a caller that is asked, by a short AUTH_LIFETIME (RFC 4478)."""
    if core.timers.when(("post-quantum", sa)) is not None:
        return
    core.timers.set(("post-quantum", sa), core.now + GRACE)
    if not reauth.begin(core, sa) and not auth_lifetime.called(sa):
        start(core, sa, Task("asking the peer to authenticate again", lambda _: auth_lifetime.ask_soon(GRACE)))


def try_again(core: Core, name: str) -> None:
    """The time is over for which the peer is called without ML-KEM: a call with it takes the SA's place, or fails."""
    fallen = core.extensions.fell_back.get(name)
    for sa in core.of_peer(name):
        if sa.state is Lifecycle.ESTABLISHED and sa.shortfall is Shortfall.LOST:
            ends = core.timers.when(("reauth", sa))
            reauth.begin(core, sa)
            core.timers.cancel(("reauth", sa))  # a call in vain changes nothing of how long it holds
            if ends is not None:
                core.timers.set(("reauth", sa), ends)
            core.timers.set(("ml-kem", name), core.now + (fallen.wait if fallen else quantum.FALL_BACK))


def due(core: Core, sa: IkeSa) -> None:
    """The time is over in which the SA could be made anew."""
    if _is_against(core, sa) and sa.peer is not None:
        delete_sa(core, sa, f"its keys are classical, and ML-KEM or a PPK is required for {sa.peer.name}")
