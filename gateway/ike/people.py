"""Who may not come in is refused, and cut off where he is in."""

from collections.abc import Set as AbstractSet

from gateway.ike.access import follow, profile_of, user_of, weak
from gateway.ike.attempts import Step
from gateway.ike.core import Core
from gateway.ike.exchanges.informational import delete_sa
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.policy.peers import Unique
from gateway.policy.snapshot import Snapshot
from gateway.policy.users import User, user_identity
from gateway.wire.numbers import NotifyType

_GRACE = 10.0
"""Seconds for which one who comes again from where he is may keep both IKE SAs (RFC 7296 2.8.3)."""


def admit(core: Core, sa: IkeSa) -> None:
    """The peer is proven: may it come in at this time, and beside its other sessions? Raises Close."""
    user = user_of(core, sa)
    if user is None and sa.eap_identity:
        raise core.give_up(sa, "barred", Step.IDENTITY, NotifyType.AUTHENTICATION_FAILED, _gone(sa))
    if user is None:
        return
    if why := user.barred(core.extensions.tickets.unix(core.now)):
        text = f"{sa.remote_id} is the user {user.name}, who {why}"
        raise core.give_up(sa, "barred", Step.IDENTITY, NotifyType.AUTHENTICATION_FAILED, text)
    if why := weak(core, sa):
        raise core.give_up(sa, "weak-algorithms", Step.IDENTITY, NotifyType.AUTHENTICATION_FAILED, why)
    profile = profile_of(core, sa)
    most = user.sessions or (profile.sessions if profile else 0)
    others = _others(core, sa, user) if most else []
    if len(others) < most or not most:
        return
    going = [other for other in others if core.timers.when(("supplanted", other)) is not None]
    again = next((other for other in others if other.path.remote == sa.path.remote and other not in going), None)
    if again is not None:
        core.timers.set(("supplanted", again), core.now + _GRACE)
    elif len(others) - len(going) >= most:
        text = f"the user {user.name} has {len(others)} sessions, and may have {most}"
        raise core.give_up(sa, "too-many-sessions", Step.IDENTITY, NotifyType.AUTHENTICATION_FAILED, text)


def _gone(sa: IkeSa) -> str:
    return f"{sa.eap_identity} is no user any more"


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


def cut(core: Core, before: Snapshot | None = None, other_secrets: AbstractSet[str] = frozenset()) -> None:
    """Whoever may be in no longer goes at once; look again when the next user expires.

    `before` is the configuration that this one took the place of, where one did: then who is to have something else
    goes as well, and comes again. `other_secrets` are users who prove themselves by another password from now on.
    """
    ending = follow(core, before) if before is not None else {}
    unix = core.extensions.tickets.unix(core.now)
    for sa in list(core.sas.values()):
        user = user_of(core, sa)
        if user is None:
            why = _gone(sa) if sa.eap_identity and not sa.initiator else ""
        elif sa.eap_identity and user.name in other_secrets:
            why = f"the user {user.name} has another password"
        else:
            barred = user.barred(unix)
            why = f"the user {user.name} {barred}" if barred else ""
        if why := why or ending.get(sa, ""):
            delete_sa(core, sa, why)
    ends = (user.expires for user in core.snapshot.users.values() if user.expires is not None and user.expires > unix)
    if (following := min(ends, default=None)) is not None:
        core.timers.set(("people",), core.now + following - unix)
    else:
        core.timers.cancel(("people",))


def cut_without_rules(core: Core, addresses: AbstractSet[str], why: str) -> None:
    """Whoever holds one of these addresses under strict rules goes at once: they do not lie there any more."""
    bare = {at for at in addresses if (rules := core.ownership.rules.get(at)) is not None and rules.strict}
    for sa in list(core.sas.values()):
        if any(lease.address in bare for lease in sa.leases):
            delete_sa(core, sa, f"its rules cannot be laid: {why}")
