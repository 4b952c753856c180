"""What is known of revoked certificates, laid into the policy: the lists of our own authorities and fetched ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from cryptography.hazmat.primitives.serialization import Encoding

from gateway.crypto.containers import der, read_crl
from gateway.crypto.revoking import revocation_list
from gateway.policy.authentication import Authority
from gateway.policy.snapshot import Snapshot
from gateway.service.authorities import authority_chain, issuer_of, revoked_of
from gateway.storage.objects import Inventory

LIST_LIFE = 7 * 86_400.0  # seconds that a list of ours is good for
LIST_AGE = 86_400.0  # seconds after which it is made anew, changed or not


@dataclass(frozen=True, slots=True)
class _Made:
    of: object
    at: float
    octets: bytes


class RevocationLists:
    """The lists of all authorities. Ours are made when something is revoked, and again before they are too old."""

    def __init__(self) -> None:
        self._own: dict[str, _Made] = {}
        self.fetched: Mapping[str, tuple[bytes, ...]] = {}
        self.answers: Mapping[str, tuple[bytes, ...]] = {}

    def own(self, inventory: Inventory, name: str, now: float) -> bytes:
        """The list of an authority of ours, in DER. Raises NotFound, Invalid."""
        document = inventory.authorities.get(name)
        of = document and (document.certificate, document.revoked)
        known = self._own.get(name)
        if known is None or known.of != of or not 0 <= now - known.at < LIST_AGE:
            issuer = issuer_of(inventory, name)
            octets = revocation_list(issuer, revoked_of(inventory.authorities[name]), now, LIST_LIFE)
            known = self._own[name] = _Made(of, now, octets)
        return known.octets

    def lay(self, inventory: Inventory, snapshot: Snapshot, now: float) -> Snapshot:
        """The snapshot with all lists in it; an authority has those of the authorities below it too."""
        lists = {name: self._of(inventory, name, now) for name in snapshot.authorities}
        below: dict[str, set[str]] = {name: {name} for name in lists}
        by_certificate = {one.certificate: name for name, one in snapshot.authorities.items()}
        for name in lists:
            for above in authority_chain(inventory, name)[1:]:
                owner = by_certificate.get(der(above))
                if owner is not None:
                    below[owner].add(name)
        laid: dict[str, Authority] = {}
        for name, one in snapshot.authorities.items():
            crls = tuple(dict.fromkeys(crl for part in sorted(below[name]) for crl in lists[part]))
            laid[name] = replace(one, crls=crls, ocsp=self.answers.get(name, ()))
        return replace(snapshot, authorities=MappingProxyType(laid))

    def _of(self, inventory: Inventory, name: str, now: float) -> tuple[bytes, ...]:
        own = (self.own(inventory, name, now),) if ("authorities", name) in inventory.secrets else ()
        by_hand = (read_crl(text.encode()).public_bytes(Encoding.DER) for text in inventory.authorities[name].crls)
        return (*own, *by_hand, *self.fetched.get(name, ()))
