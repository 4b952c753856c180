"""Which policy lies in a place of the data plane while no CHILD_SA has one there."""

from collections.abc import Iterable

from gateway.ike.plane import Policy, PolicyKey, Route


class Vacancies:
    """What each peer wants to lie there; of several for one place the latest one does."""

    def __init__(self) -> None:
        self._claims: dict[PolicyKey, tuple[Policy, ...]] = {}
        self._of_peer: dict[str, tuple[Policy, ...]] = {}
        self.routes: dict[str, frozenset[Route]] = {}
        """Those that each peer wants whether a CHILD_SA stands or not: into its XFRM interfaces, and to its traps."""

    def beneath(self, key: PolicyKey) -> Policy | None:
        """What lies in this place when nothing else does."""
        claims = self._claims.get(key)
        return claims[-1] if claims else None

    def replace(self, name: str, wanted: Iterable[Policy]) -> dict[PolicyKey, Policy | None]:
        """What the peer wants from now on. The answer: the places that are touched, and what lay there before."""
        new, had = tuple(wanted), self._of_peer.pop(name, ())
        if new:
            self._of_peer[name] = new
        if new == had:
            return {}
        before = {policy.key: self.beneath(policy.key) for policy in (*had, *new)}
        for policy in had:
            self._give_up(policy)
        for policy in new:
            self._claims[policy.key] = (*self._claims.get(policy.key, ()), policy)
        return before

    def _give_up(self, policy: Policy) -> None:
        claims = list(self._claims.pop(policy.key))
        claims.remove(policy)
        if claims:
            self._claims[policy.key] = tuple(claims)
