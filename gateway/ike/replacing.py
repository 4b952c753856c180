"""Rekeys that somebody asks for: what is to be replaced, and what becomes of it."""

from dataclasses import dataclass
from enum import Enum, auto

from gateway.ike import lifetimes
from gateway.ike.attempts import Attempt
from gateway.ike.core import Core
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle


class Replaced(Enum):
    """What has become of an SA that is to be replaced."""

    NOT_YET = auto()
    YES = auto()
    REFUSED = auto()
    """The peer does not want another, and said why; the SA stands as before."""
    GONE = auto()
    """It ended, and nothing is in its place."""


@dataclass(frozen=True, slots=True)
class Replacing:
    """An IKE SA, or a CHILD_SA that it had, for which another is wanted; attempts up to `since` are not about that."""

    sa: IkeSa
    child: ChildSa | None
    since: int

    def outcome(self, core: Core) -> Replaced:
        """The peer's own rekey is as good as ours. A peer that is busy (TEMPORARY_FAILURE) is asked again."""
        living = self.sa.living
        if (self.child.successor if self.child else self.sa.replaced_by) is not None:
            return Replaced.YES
        if living.our_spi not in core.sas:
            return Replaced.GONE
        if self.child is not None and self.child.gone:  # the peer did not have it any more: it is made anew
            newer = any(one.name == self.child.name and one.id > self.child.id for one in living.children.values())
            return Replaced.YES if newer else Replaced.NOT_YET
        attempt = self.attempt(core)
        return Replaced.REFUSED if attempt is not None and attempt.refused else Replaced.NOT_YET

    def attempt(self, core: Core) -> Attempt | None:
        """Our newest attempt since, on this IKE SA and those in its place; others may be about other SAs of it."""
        ours = {self.sa.id, self.sa.living.id}
        for attempt in core.attempts.since(self.since):
            if attempt.initiator and attempt.ike_sa in ours:
                return attempt
        return None


def replace(core: Core, peer: str, child: str | None, ike_sa: int | None) -> list[Replacing]:
    """Rekey the peer's IKE SAs (`child` None), or every CHILD_SA of that name; what is rekeyed already is among them.

    `ike_sa`: of this one alone.
    """
    found = []
    for sa in core.of_peer(peer):
        if sa.state != Lifecycle.ESTABLISHED or ike_sa not in (None, sa.id):
            continue
        since = sa.attempt.id - 1 if sa.attempt else core.attempts.count
        if child is None:
            lifetimes.rekey_ike(core, sa)
            found.append(Replacing(sa, None, since))
        for one in [one for one in sa.children.values() if one.name == child]:
            if lifetimes.rekey_child(core, sa, one) or one.rekeying:
                found.append(Replacing(sa, one, since))
    return found
