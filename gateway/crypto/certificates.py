"""Certificates as peers send them: read once and whole, or refused; and what their names say (RFC 5280, RFC 4945)."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from gateway.crypto import der
from gateway.crypto.signature_keys import InvalidKey
from gateway.crypto.signatures import PublicKey

MAX_OCTETS = 16_384
"""Of one certificate."""
MAX_NAMES = 256
"""Alternative names in one certificate, and e-mail addresses in its subject that stand in for them."""
_TEXT = 200
Extension = TypeVar("Extension", bound=x509.ExtensionType)
Read = TypeVar("Read")
MALFORMED = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises where octets are not what they should be."""


class InvalidCertificate(ValueError):
    """The octets are no certificate that can be judged; the message says why."""


def quietly(read: Callable[[], Read]) -> Read:
    """Without the library's remarks about odd values: a peer could fill a log with them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read()


def printable(text: str) -> str:
    """Text of a stranger's for people: bounded, and nothing in it that acts on a terminal."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:_TEXT])
    return shown + "…" if len(text) > _TEXT else shown


def name_text(name: x509.Name) -> str:
    """A distinguished name as written in a certificate, most general first."""
    return printable(", ".join(rdn.rfc4514_string() for rdn in name.rdns)) or "a nameless subject"


def canonical_name(name: x509.Name) -> tuple[frozenset[tuple[str, str]], ...]:
    """RDN by RDN, as names are compared: case and runs of spaces do not count (RFC 5280 7.1)."""
    return tuple(
        frozenset((a.oid.dotted_string, " ".join(str(a.value).casefold().split())) for a in rdn) for rdn in name.rdns
    )


@dataclass(frozen=True)
class Certificate:
    """One certificate, of which everything that is looked at later could be read."""

    der: bytes
    parsed: x509.Certificate = field(repr=False, compare=False)
    key: PublicKey = field(compare=False)
    subject: x509.Name = field(compare=False)
    issuer: x509.Name = field(compare=False)
    begins: datetime = field(compare=False)
    ends: datetime = field(compare=False)
    extensions: x509.Extensions = field(repr=False, compare=False)

    @classmethod
    def read(cls, octets: bytes) -> "Certificate":
        """Raises InvalidCertificate."""
        return _read(octets)

    def extension(self, kind: type[Extension]) -> Extension | None:
        for extension in self.extensions:
            if isinstance(extension.value, kind):
                return extension.value
        return None

    @cached_property
    def names(self) -> "AlternativeNames":
        return AlternativeNames.of(self.extension(x509.SubjectAlternativeName))

    @property
    def text(self) -> str:
        return name_text(self.subject)

    @property
    def issuer_text(self) -> str:
        return name_text(self.issuer)

    @cached_property
    def subject_der(self) -> bytes:
        return self.subject.public_bytes()

    @cached_property
    def issuer_der(self) -> bytes:
        return self.issuer.public_bytes()

    @cached_property
    def serial(self) -> str:
        """The serial number in hexadecimal."""
        return f"{self.parsed.serial_number:x}"[:40]

    @property
    def self_issued(self) -> bool:
        return self.subject_der == self.issuer_der

    @cached_property
    def subject_key(self) -> bytes | None:
        """The key identifier that it gives itself."""
        found = self.extension(x509.SubjectKeyIdentifier)
        return found.digest if found else None

    @cached_property
    def issuer_key(self) -> bytes | None:
        """The key identifier that it says its issuer has."""
        found = self.extension(x509.AuthorityKeyIdentifier)
        return found.key_identifier if found else None


@lru_cache(maxsize=1024)
def _read(octets: bytes) -> Certificate:
    if len(octets) > MAX_OCTETS:
        raise InvalidCertificate(f"a certificate of {len(octets)} octets; up to {MAX_OCTETS} are read")
    try:
        der.whole(octets, der.SEQUENCE)
        return quietly(lambda: _parse(octets))
    except InvalidKey as error:
        raise InvalidCertificate(f"a certificate whose key is of no use here: {error}") from None
    except MALFORMED as error:
        raise InvalidCertificate(f"octets that are no certificate ({printable(str(error))})") from None


def _parse(octets: bytes) -> Certificate:
    parsed = x509.load_der_x509_certificate(octets)
    key = PublicKey.of(parsed.public_key())
    extensions = parsed.extensions
    certificate = Certificate(
        octets,
        parsed,
        key,
        parsed.subject,
        parsed.issuer,
        parsed.not_valid_before_utc,
        parsed.not_valid_after_utc,
        extensions,
    )
    # Read now what is only computed when it is asked for: nothing of it may fail later.
    for name in (parsed.subject, parsed.issuer):
        canonical_name(name)
        name_text(name)
    if len(certificate.names) > MAX_NAMES:
        raise ValueError(f"{len(certificate.names)} alternative names; up to {MAX_NAMES} are read")
    _ = certificate.subject_der, certificate.issuer_der, certificate.serial
    return certificate


@dataclass(frozen=True, slots=True)
class AlternativeNames:
    """The subject's alternative names, by kind; kinds that are nothing to IKE are only counted."""

    dns: tuple[str, ...] = ()
    mail: tuple[str, ...] = ()
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    directory: tuple[x509.Name, ...] = ()
    other: tuple[str, ...] = ()
    """What the others are."""

    def __len__(self) -> int:
        return sum(map(len, (self.dns, self.mail, self.addresses, self.directory, self.other)))

    @classmethod
    def of(cls, names: Iterable[x509.GeneralName] | None) -> "AlternativeNames":
        dns, mail, addresses, directory, other = [], [], [], [], []
        for name in names or ():
            match name:
                case x509.DNSName():
                    dns.append(name.value)
                case x509.RFC822Name():
                    mail.append(name.value)
                case x509.IPAddress() if isinstance(name.value, IPv4Address | IPv6Address):
                    addresses.append(name.value)
                case x509.DirectoryName():
                    directory.append(name.value)
                case _:
                    other.append(type(name).__name__)
        return cls(tuple(dns), tuple(mail), tuple(addresses), tuple(directory), tuple(other))


def at_time(unix: float) -> datetime:
    """A moment of Unix time, to hold against a certificate's."""
    return datetime.fromtimestamp(unix, UTC)
