"""One IKE SA between two identities: what a second one does to the first (RFC 7296 2.4, 2.8)."""

from gateway.ike.core import Core
from gateway.ike.exchanges.informational import delete_sa
from gateway.ike.lifecycle import close
from gateway.ike.sa import IkeSa
from gateway.policy.peers import Unique

_GRACE = 10.0
"""Seconds for which a peer that calls again from where it is may keep both IKE SAs (RFC 7296 2.8.3)."""


def initial_contact(core: Core, sa: IkeSa) -> None:
    """The peer knows no other SA with us: those that we remember are dead, no delete is due (RFC 7296 2.4).

    Where one identity may be on several hosts, one of them cannot speak for the others.
    """
    if sa.peer is not None and sa.peer.unique == Unique.NEVER:
        return
    for other in core.same_identities(sa):
        if not _crossed(core, sa, other):
            close(core, other, "the peer started afresh (INITIAL_CONTACT)", "replaced")


def _crossed(core: Core, sa: IkeSa, other: IkeSa) -> bool:
    """Both ends called each other at the same moment."""
    overlap = other.established is not None and other.established >= sa.created - 1.0
    return other.initiator is not sa.initiator and overlap


def supplant(core: Core, loser: IkeSa) -> None:
    delete_sa(core, loser.living, "another IKE SA with this peer took its place")


def resolve_duplicates(core: Core, sa: IkeSa) -> None:
    """REPLACE keeps the newest, KEEP the oldest; of two crossed calls both ends keep the one with the lower SPIi."""
    assert sa.peer is not None
    if sa.peer.unique == Unique.NEVER:
        return
    for other in core.same_identities(sa):
        if sa.reauth is not None and sa.reauth.before is other:
            continue  # we made the new one in its place, and leave it when the children stand
        if _crossed(core, sa, other):
            loser = max(sa, other, key=lambda one: one.spi_i)
        else:
            loser = other if sa.peer.unique == Unique.REPLACE else sa
        waits = core.timers.when(("supplanted", other)) is not None
        if loser is other and not sa.initiator and other.path.remote == sa.path.remote and not waits:
            # perhaps the peer authenticates again: it needs the old one until it has made all children anew; only the
            # last one, for who calls without end would else have as many as it likes
            core.timers.set(("supplanted", other), core.now + _GRACE)
            continue
        supplant(core, loser)
        if loser is sa:
            return
