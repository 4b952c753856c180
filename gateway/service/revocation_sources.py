"""Where it is told what was revoked: addresses of the administrator's, and of certificates that somebody vouches for.

Never one that an unproven peer names: a certificate counts that is stored, or by which a peer has proven itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gateway.crypto import containers
from gateway.crypto.certificates import MALFORMED
from gateway.crypto.published import delta_points, distribution_points, responders
from gateway.service.authorities import authority_chain
from gateway.storage.objects import Inventory

MOST_URIS = 64  # of one authority's lists
MOST_ANSWERS = 4096  # about certificates of one authority


@dataclass(frozen=True, slots=True)
class Source:
    """Where something is said of an authority's certificates: a list, or an answer about one `certificate`.

    `issuer` is who issued that, or may have signed the list beside the authority itself.
    """

    authority: str
    uri: str
    certificate: x509.Certificate | None = None
    issuer: x509.Certificate | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it another source, with the certificate's SHA-256; a list is about no single certificate."""
        print_of = self.certificate.fingerprint(hashes.SHA256()).hex() if self.certificate else ""
        return self.authority, self.uri, print_of

    @property
    def about(self) -> str:
        return self.certificate.subject.rfc4514_string() if self.certificate else ""


def sources(inventory: Inventory, proven: Sequence[x509.Certificate] = ()) -> list[Source]:
    """What is asked of each authority: the administrator's addresses; of others' authorities what certificates say too.

    Only a certificate by which a peer has proven itself, or by which we do, is asked about by OCSP.
    """
    read = containers.read_certificates
    chains = {name: read(one.certificate.encode()) for name, one in inventory.certificates.items() if one.certificate}
    stored = [one for chain in chains.values() for one in chain]
    found: list[Source] = []
    ours = [chain[0] for name, chain in chains.items() if ("certificates", name) in inventory.secrets]
    asked_about = frozenset((*proven, *ours))
    for name, authority in inventory.authorities.items():
        mine = [Source(name, uri) for uri in authority.crl_uris if uri]
        if ("authorities", name) not in inventory.secrets:
            own = signers(inventory, name)
            issuers = {one.subject.public_bytes(): one for one in (*proven, *own) if _issues(one)}
            below = [one for one in (*own, *stored, *proven) if one.issuer.public_bytes() in issuers]
            known = {one.subject.public_bytes() for one in own}
            for one in (one for one in below if _leads_to(one, issuers, known)):
                issuer = issuers[one.issuer.public_bytes()]
                mine += lists_of(name, one, issuer)
                mine += answers_about(name, one, issuer) if one in asked_about else ()
        unique = list({source.key: source for source in mine}.values())
        found += [one for one in unique if one.certificate is None][:MOST_URIS]
        found += [one for one in unique if one.certificate is not None][:MOST_ANSWERS]
    return found


def lists_of(authority: str, one: x509.Certificate, issuer: x509.Certificate) -> list[Source]:
    """The lists in which a certificate would be named, deltas last."""
    return [Source(authority, uri, None, issuer) for uri in (*distribution_points(one), *delta_points(one))]


def answers_about(authority: str, one: x509.Certificate, issuer: x509.Certificate) -> list[Source]:
    """The responders that know a certificate."""
    return [Source(authority, uri, one, issuer) for uri in responders(one)]


def _issues(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, *MALFORMED):
        return False


def _leads_to(certificate: x509.Certificate, issuers: Mapping[bytes, x509.Certificate], known: set[bytes]) -> bool:
    """Whether its issuers, one above the other, end at an authority that is stored."""
    for _ in range(containers.MAX_CERTIFICATES):
        name = certificate.issuer.public_bytes()
        if name in known:
            return True
        if name not in issuers or issuers[name] == certificate:
            return False
        certificate = issuers[name]
    return False


def signers(inventory: Inventory, name: str) -> tuple[x509.Certificate, ...]:
    """The certificates that may have signed a list of this authority: its own, those above and those below it."""
    below = inventory.authorities[name].intermediates
    more = containers.read_certificates(below.encode()) if below else ()
    return (*authority_chain(inventory, name), *more)


def anchored_at(inventory: Inventory, anchor: bytes) -> str | None:
    """The authority of others that has this certificate (DER); None where there is none, or it is ours."""
    for name in inventory.authorities:
        is_ours = ("authorities", name) in inventory.secrets
        if not is_ours and containers.der(authority_chain(inventory, name)[0]) == anchor:
            return name
    return None
