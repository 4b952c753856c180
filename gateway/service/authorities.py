"""Stored authorities and certificates as what they are: parsed, and with their keys where these are here."""

from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from gateway.crypto import containers
from gateway.crypto.authority import Issuer, name_texts
from gateway.crypto.revoking import Revoked
from gateway.crypto.signature_keys import InvalidKey
from gateway.crypto.signatures import PublicKey
from gateway.service.planning import NotFound
from gateway.storage.identity import AuthorityObject, CertificateObject
from gateway.storage.objects import FieldError, Invalid, Inventory

DAY = 86_400.0
WARNING = 30 * DAY
_LOCKED = "The authority's private key is not here: it is trusted, but cannot sign."


@dataclass(frozen=True, slots=True)
class Facts:
    """What a certificate says; times are Unix seconds, `serial` and `fingerprint` (SHA-256) hexadecimal."""

    subject: str
    issuer: str
    serial: str
    not_before: float
    not_after: float
    key: str
    names: tuple[str, ...]
    fingerprint: str
    is_authority: bool

    @property
    def is_root(self) -> bool:
        return self.subject == self.issuer


@lru_cache(maxsize=4096)
def facts_of(text: str) -> tuple[Facts, ...]:
    """What the certificates of a stored PEM text say, in their order."""
    return tuple(_facts(one) for one in containers.read_certificates(text.encode())) if text else ()


def _facts(one: x509.Certificate) -> Facts:
    try:
        is_authority = one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        is_authority = False
    return Facts(
        subject=one.subject.rfc4514_string(),
        issuer=one.issuer.rfc4514_string(),
        serial=f"{one.serial_number:x}",
        not_before=one.not_valid_before_utc.timestamp(),
        not_after=one.not_valid_after_utc.timestamp(),
        key=_key_text(one),
        names=name_texts(one),
        fingerprint=one.fingerprint(hashes.SHA256()).hex(),
        is_authority=is_authority,
    )


def _key_text(one: x509.Certificate) -> str:
    try:
        return PublicKey.of(one.public_key()).text
    except (InvalidKey, UnsupportedAlgorithm, ValueError):
        return "a key that signs nothing in IKE"


def is_revoked(inventory: Inventory, certificate: CertificateObject) -> bool:
    """Whether an authority of ours took its word back."""
    facts = facts_of(certificate.certificate)
    authority = inventory.authorities.get(certificate.authority)
    return bool(facts and authority and any(one.serial == facts[0].serial for one in authority.revoked))


def is_withdrawn(inventory: Inventory, authority: AuthorityObject) -> bool:
    """Whether an authority of ours above this one took its word back."""
    facts = facts_of(authority.certificate)[0]
    above = [
        one
        for name, one in inventory.authorities.items()
        if name != authority.name and facts_of(one.certificate)[0].subject == facts.issuer
    ]
    return any(gone.serial == facts.serial for one in above for gone in one.revoked)


def warnings(inventory: Inventory, now: float) -> list[str]:
    """What runs out within WARNING seconds or has run out, in sentences, the nearest end first."""
    found: list[tuple[float, str]] = []
    for kind, word in (("authorities", "authority"), ("certificates", "certificate")):
        for name, one in inventory.objects(kind).items():
            text = one.certificate if isinstance(one, AuthorityObject | CertificateObject) else ""
            facts = facts_of(text)
            if not facts or (isinstance(one, CertificateObject) and is_revoked(inventory, one)):
                continue
            end = facts[0].not_after
            if end - now < WARNING:
                found.append((end, f"The {word} {name} {ending(end, now)}: {_remedy(inventory, one)}"))
    return [text for _, text in sorted(found)]


def ending(end: float, now: float) -> str:
    """How soon something ends, for a sentence about it; Unix seconds."""
    days = int((end - now) // DAY)
    if end <= now:
        return "has run out"
    return f"runs out in {days} days" if days > 1 else "runs out within two days"


def _remedy(inventory: Inventory, one: object) -> str:
    if isinstance(one, CertificateObject) and ("authorities", one.authority) in inventory.secrets:
        return "renew it"
    if isinstance(one, CertificateObject):
        return "ask its authority for another one"
    return "make or ask for another one, and give peers theirs in time"


def issuer_of(inventory: Inventory, name: str) -> Issuer:
    """An authority of ours as one that signs. Raises NotFound, and Invalid where its private key is not here."""
    found = inventory.authorities.get(name)
    if found is None:
        raise NotFound("authority", name)
    key = inventory.secrets.get(("authorities", name))
    if key is None:
        raise Invalid([FieldError("/authority", "no-private-key", _LOCKED)])
    own = authority_chain(inventory, name)[0]
    return Issuer(own, containers.read_private_key(key), found.publish_uri)


def authority_chain(inventory: Inventory, name: str) -> tuple[x509.Certificate, ...]:
    """An authority's certificate and those above it."""
    return containers.read_certificates(inventory.authorities[name].certificate.encode())


def revoked_of(authority: AuthorityObject) -> list[Revoked]:
    """What it revoked, as its lists and answers are made of."""
    return [Revoked(int(one.serial, 16), one.at, one.reason) for one in authority.revoked]


def certificate_of(inventory: Inventory, name: str) -> tuple[CertificateObject, tuple[x509.Certificate, ...]]:
    """A stored certificate, and what it holds. Raises NotFound."""
    document = inventory.certificates.get(name)
    if document is None:
        raise NotFound("certificate", name)
    return document, containers.read_certificates(document.certificate.encode()) if document.certificate else ()


def issued_by_us(inventory: Inventory, name: str) -> tuple[CertificateObject, tuple[x509.Certificate, ...]]:
    """One that an authority of ours issued. Raises NotFound, Invalid."""
    document, chain = certificate_of(inventory, name)
    if not document.authority or not chain:
        raise Invalid([FieldError("", "not-ours", "Another authority issued it: only that one can do this.")])
    return document, chain


def sent_with(inventory: Inventory, authority: str) -> tuple[x509.Certificate, ...]:
    """What peers need besides a certificate: all above it but the root."""
    return tuple(one for one in authority_chain(inventory, authority) if one.issuer != one.subject)
