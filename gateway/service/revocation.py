"""What is known of revoked certificates, laid into the policy: the lists of our own authorities and fetched ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.crypto.certificates import Certificate, InvalidCertificate, at_time
from gateway.crypto.containers import der, read_crl
from gateway.crypto.revocation import State, standing
from gateway.crypto.revoking import ANSWER_LIFE, ocsp_response, revocation_list
from gateway.policy.authentication import Authority, Credential
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
        self._answers: dict[str, _Made] = {}
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
        """The snapshot with all lists in it, and with responses about our own certificates.

        An authority has the lists of the authorities below it too.
        """
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
        credentials = MappingProxyType(self._with_answers(inventory, snapshot, now))
        return replace(snapshot, authorities=MappingProxyType(laid), credentials=credentials)

    def _with_answers(self, inventory: Inventory, snapshot: Snapshot, now: float) -> dict[str, Credential]:
        """Our certificates, each with a fresh OCSP response that says it is good, where there is one."""
        found = dict(snapshot.credentials)
        for name, one in snapshot.credentials.items():
            if one.chain:
                found[name] = replace(one, ocsp=self._answer_about(inventory, name, one, now))
        self._answers = {name: made for name, made in self._answers.items() if name in found}
        return found

    def _answer_about(self, inventory: Inventory, name: str, own: Credential, now: float) -> bytes:
        authority = inventory.certificates[name].authority
        if ("authorities", authority) not in inventory.secrets:
            return self._fetched_about(inventory, own, now)
        of = own.chain[0], inventory.authorities[authority].certificate, inventory.authorities[authority].revoked
        known = self._answers.get(name)
        if known is None or known.of != of or not 0 <= now - known.at < ANSWER_LIFE / 2:
            certificate = x509.load_der_x509_certificate(own.chain[0])
            revoked = revoked_of(inventory.authorities[authority])
            octets = ocsp_response(issuer_of(inventory, authority), certificate, revoked, now)
            known = self._answers[name] = _Made(of, now, octets)
        return known.octets

    def _fetched_about(self, inventory: Inventory, own: Credential, now: float) -> bytes:
        """What another authority said of our certificate."""
        try:
            leaf = Certificate.read(own.chain[0])
            chains = (authority_chain(inventory, authority) for authority in self.answers)
            above = [
                Certificate.read(one) for one in (*own.chain[1:], *(der(one) for chain in chains for one in chain))
            ]
        except InvalidCertificate:
            return b""
        issuers = [one for one in above if one.subject_der == leaf.issuer_der]
        for octets in (octets for answers in self.answers.values() for octets in answers):
            for issuer in issuers:
                if standing(leaf, issuer, (), [octets], at_time(now)).state is State.GOOD:
                    return octets
        return b""

    def _of(self, inventory: Inventory, name: str, now: float) -> tuple[bytes, ...]:
        own = (self.own(inventory, name, now),) if ("authorities", name) in inventory.secrets else ()
        by_hand = (read_crl(text.encode()).public_bytes(Encoding.DER) for text in inventory.authorities[name].crls)
        return (*own, *by_hand, *self.fetched.get(name, ()))
