"""Who reaches more after an edit than before it, told in sentences: no edit opens anything without a word.

Where no access profile is for somebody, he reaches all that those children carry which he may have. So whoever takes
a profile, a group or a user away may open what was meant to be closed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.policy.access import Access
from gateway.policy.authentication import WORDS, Method
from gateway.policy.identities import Identity
from gateway.policy.peers import Child, Peer
from gateway.policy.selectors import Selector, subtract
from gateway.policy.snapshot import Snapshot
from gateway.policy.users import User, user_identity

_WHO, _CHILDREN, _NETWORKS = 3, 3, 8  # that a sentence names, of as many as there may be
_RADIUS = "radius"

Reach = Mapping[str, tuple[Selector, ...]]  # by `peer/child`
_Standing = tuple[Access | None, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Case:
    """Somebody as he was and as he is, None when he is no user any more; a guest is whom RADIUS alone knows."""

    called: str
    was: User
    now: User | None
    guest: bool = False

    @property
    def identities(self) -> tuple[Identity, ...]:
        """What he can prove to be. The certificates of the devices of a former user are revoked."""
        if self.now is not None:
            return (user_identity(self.now.name), *self.now.identities)
        of_devices = {one.canonical for device in self.was.devices for one in device.identities}
        return tuple(
            one for one in (user_identity(self.was.name), *self.was.identities) if one.canonical not in of_devices
        )


def widened(old: Snapshot, new: Snapshot) -> tuple[str, ...]:
    """Who may reach by `new` what he could not by `old`, or still may without being a user; each a sentence.

    Told are users whose access profile or groups changed, groups that RADIUS names, children that are for no group
    any more, and former users whom a key, a certificate or RADIUS still lets in. Networks that are written into a child
    say it themselves.
    """
    told: dict[tuple[tuple[str, str], str], list[str]] = {}
    peers, known = _Peers(new), dict[object, Reach]()
    for case in _cases(old, new):
        reach: dict[str, tuple[Selector, ...]] = {}
        ways: list[str] = []
        for peer, way in peers.of(case):
            standings = _standing(old, case.was), _standing(new, case.now or _nobody(case))
            key = peer.name, *map(_key, standings), case.now is None
            if key not in known:
                known[key] = _more(old.peers.get(peer.name), peer, *standings, whole=case.now is None)
            reach |= known[key]
            ways += [way] if known[key] else []
        if reach:
            told.setdefault((_cause(old, new, case, ways), _reach_text(reach)), []).append(case.called)
    sentences = (f"{_listed(who, _WHO)} {cause[len(who) > 1]} {text}." for ((cause, text), who) in told.items())
    return (*_opened(old, new), *sentences)


class _Peers:
    """By which peers somebody comes in, and by what, without looking at each peer for each user."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._exact: dict[object, list[Peer]] = {}
        self._others: list[Peer] = []
        for peer in snapshot.peers.values():
            if not peer.enabled:
                continue
            if peer.remote_id.exact is not None and not _asks(peer, Method.EAP):
                self._exact.setdefault(peer.remote_id.exact.canonical, []).append(peer)
            else:
                self._others.append(peer)

    def of(self, case: _Case) -> Iterator[tuple[Peer, str]]:
        exact = [peer for one in case.identities for peer in self._exact.get(one.canonical, ())]
        for peer in (*dict.fromkeys(peer.name for peer in exact), *(peer.name for peer in self._others)):
            if way := self._way(self._snapshot.peers[peer], case):
                yield self._snapshot.peers[peer], way

    def _way(self, peer: Peer, case: _Case) -> str:
        """By what he may come in; empty when he cannot."""
        if _asks(peer, Method.EAP):
            by_radius = any(_RADIUS in one.eap_methods for one in peer.remote_auth) and self._snapshot.radius
            known = case.now is not None and not case.guest
            return "RADIUS" if by_radius else WORDS[Method.EAP] if known else ""
        fitting = [one for one in case.identities if peer.remote_id.matches(one)]
        method = peer.remote_auth[0].method
        if method == Method.PSK and peer.local_id is not None:
            fitting = [one for one in fitting if self._snapshot.psk_for(peer.local_id, one)]
        if case.now is None and case.was.devices and method == Method.CERTIFICATE:
            fitting = [one for one in fitting if one in case.was.identities]  # his devices came by theirs alone
        return WORDS[method] if fitting and not case.guest else ""


def _asks(peer: Peer, method: Method) -> bool:
    return any(one.method == method for one in peer.remote_auth)


def _nobody(case: _Case) -> User:
    """A former user: no groups and no profile, whatever RADIUS may say of him."""
    return User(case.was.name)


def _cases(old: Snapshot, new: Snapshot) -> Iterator[_Case]:
    for name, was in old.users.items():
        now = new.users.get(name)
        if now is None or _standing(old, was) != _standing(new, now):
            yield _Case(name, was, now)
    for profile in old.access_profiles.values() if new.radius else ():
        for group in profile.groups:
            guest = User("", groups=(group,))
            if _standing(old, guest) != _standing(new, guest):
                yield _Case(f"whoever RADIUS puts into the group {group}", guest, guest, guest=True)


def _standing(snapshot: Snapshot, user: User) -> _Standing:
    return snapshot.access_of(user), user.groups


def _key(standing: _Standing) -> tuple[str, tuple[str, ...]]:
    access, groups = standing
    return access.profile.name if access else "", groups


def _more(before: Peer | None, peer: Peer, was: _Standing, now: _Standing, *, whole: bool) -> Reach:
    """What is reached by each child of which more is reached than before; `whole`: of each of which anything is."""
    found = {}
    for child in peer.children:
        reached = _reached(child, now)
        present = (before and before.child(child.name)) or child
        if (whole and reached) or subtract(reached, _reached(present, was)):
            found[f"{peer.name}/{child.name}"] = tuple(reached)
    return found


def _reached(child: Child, standing: _Standing) -> list[Selector]:
    """Where packets may go by the child: within its networks, and within those of the profile."""
    access, groups = standing
    if child.groups and set(child.groups).isdisjoint(groups):
        return []
    allowed = access.profile.allowed if access else None
    if allowed is None:
        return list(child.local)
    return [both for one in allowed for ours in child.local if (both := one.narrow(ours)) is not None]


def _cause(old: Snapshot, new: Snapshot, case: _Case, ways: Sequence[str]) -> tuple[str, str]:
    """What happened, for one and for several: up to the verb that what is reached follows."""
    if case.now is None:
        by = " or ".join(dict.fromkeys(ways))
        return (
            f"is no user any more, but by {by} whoever proves to be that still comes in, and reaches",
            f"are no users any more, but by {by} whoever proves to be one still comes in, and reaches",
        )
    was, now = old.access_of(case.was), new.access_of(case.now)
    if was is not None and now is None:
        so = f"no access profile any more ({was.profile.name} until now)"
    elif now is not None and (was is None or was.profile.name != now.profile.name):
        so = f"the access profile {now.profile.name} now ({was.profile.name if was else 'none'} until now)"
    elif now is not None and was != now:
        so = f"the access profile {now.profile.name}, which changes"
    else:
        so = "other groups now"
    return f"has {so}, and reaches", f"have {so}, and reach"


def _opened(old: Snapshot, new: Snapshot) -> Iterator[str]:
    """Children that were for some groups, and are for everybody."""
    for name, peer in new.peers.items():
        before = old.peers.get(name)
        if before is None or before is peer or not peer.enabled:
            continue
        for child in peer.children:
            was = before.child(child.name)
            if was is not None and was.groups and not child.groups:
                groups = _listed(was.groups, _WHO)
                yield f"{name}/{child.name} was for {groups} alone, and is for all who come in by {name} now."


def _reach_text(reach: Reach) -> str:
    """As the end of a sentence."""
    parts = [
        f"{_listed([one.text for one in selectors], _NETWORKS)} by {name}"
        for name, selectors in list(reach.items())[:_CHILDREN]
    ]
    more = len(reach) - len(parts)
    return "; ".join(parts) + (f"; and more by {more} others" if more else "")


def _listed(names: Sequence[str], most: int) -> str:
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
