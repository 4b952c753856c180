"""Which user is behind an IKE SA; who may not come in is refused, and cut off where he is in."""

from collections.abc import Set as AbstractSet

from gateway.ike.attempts import Step
from gateway.ike.core import Core
from gateway.ike.exchanges.informational import delete_sa
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.policy.peers import Child, Unique
from gateway.policy.users import User, user_identity
from gateway.wire.numbers import NotifyType

_GRACE = 10.0
"""Seconds for which one who comes again from where he is may keep both IKE SAs (RFC 7296 2.8.3)."""


def user_of(core: Core, sa: IkeSa) -> User | None:
    """The user whose identity the peer proved; or a guest, whom a certificate or a RADIUS server lets in."""
    known = core.snapshot.user_by_identity(sa.remote_id) if sa.remote_id else None
    return known or sa.guest


def may_have(core: Core, sa: IkeSa, child: Child) -> bool:
    """Whether the child is for who is behind the IKE SA: for everybody, or for a group that the user is in."""
    if not child.groups:
        return True
    user = user_of(core, sa)
    return user is not None and not set(child.groups).isdisjoint(user.groups)


def admit(core: Core, sa: IkeSa) -> None:
    """The peer is proven: may it come in at this time, and beside its other sessions? Raises Close."""
    user = user_of(core, sa)
    if user is None:
        return
    if why := user.barred(core.extensions.tickets.unix(core.now)):
        text = f"{sa.remote_id} is the user {user.name}, who {why}"
        raise core.give_up(sa, "barred", Step.IDENTITY, NotifyType.AUTHENTICATION_FAILED, text)
    others = _others(core, sa, user) if user.sessions else []
    if not user.sessions or len(others) < user.sessions:
        return
    going = [other for other in others if core.timers.when(("supplanted", other)) is not None]
    again = next((other for other in others if other.path.remote == sa.path.remote and other not in going), None)
    if again is not None:
        core.timers.set(("supplanted", again), core.now + _GRACE)
    elif len(others) - len(going) >= user.sessions:
        text = f"the user {user.name} has {len(others)} sessions, and may have {user.sessions}"
        raise core.give_up(sa, "too-many-sessions", Step.IDENTITY, NotifyType.AUTHENTICATION_FAILED, text)


def _others(core: Core, sa: IkeSa, user: User) -> list[IkeSa]:
    """His other IKE SAs that stay when this one comes, oldest first."""
    replaced = core.same_identities(sa) if sa.peer and sa.peer.unique == Unique.REPLACE else []
    identities = (user_identity(user.name), *user.identities)
    found = {other.id: other for identity in identities for other in core.with_identity(identity)}
    return [
        other
        for _, other in sorted(found.items())
        if other is not sa
        and other.state == Lifecycle.ESTABLISHED
        and other not in replaced
        and user_of(core, other) is user
    ]


def cut(core: Core, other_secrets: AbstractSet[str] = frozenset()) -> None:
    """Whoever may be in no longer goes at once; look again when the next user expires.

    `other_secrets` are users who prove themselves by another password from now on.
    """
    unix = core.extensions.tickets.unix(core.now)
    for sa in list(core.sas.values()):
        user = user_of(core, sa)
        if user is None:
            why = f"{sa.eap_identity} is no user any more" if sa.eap_identity and not sa.initiator else ""
        elif sa.eap_identity and user.name in other_secrets:
            why = f"the user {user.name} has another password"
        else:
            barred = user.barred(unix)
            why = f"the user {user.name} {barred}" if barred else ""
        lost = [made.name for made in sa.children.values() if not sa.initiator and not may_have(core, sa, made.config)]
        if lost and not why:  # he comes again, with what he may have now
            why = f"{lost[0]} is not for {sa.remote_id} any more"
        if why:
            delete_sa(core, sa, why)
    ends = (user.expires for user in core.snapshot.users.values() if user.expires is not None and user.expires > unix)
    if (following := min(ends, default=None)) is not None:
        core.timers.set(("people",), core.now + following - unix)
    else:
        core.timers.cancel(("people",))
