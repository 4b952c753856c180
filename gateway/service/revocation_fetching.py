"""Keeps what other authorities say of revoked certificates at hand, long before a proof needs it: lists and answers.

Addresses come from the administrator and from certificates that he stored or that a stored authority vouches for, never
from what an unproven peer sends. A list counts when one of the authority's certificates signed it, and an older list
never takes the place of a newer one. Answers (OCSP) about certificates by which peers proved themselves count likewise.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID

from gateway.crypto import containers
from gateway.crypto.certificates import MALFORMED, Certificate, InvalidCertificate
from gateway.crypto.revocation import State, standing
from gateway.service.authorities import authority_chain
from gateway.service.fetching import FetchFailed, fetch
from gateway.storage.objects import Inventory

FRESH = 3600.0  # seconds after which a list is fetched again, if it says nothing else
AGAIN = 300.0  # seconds after which one that did not come is tried again
MOST_URIS = 64  # of one authority
_AT_ONCE = 4
_log = logging.getLogger(__name__)

Fetch = Callable[..., Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Source:
    """Where something is said of an authority's certificates: a list, or an answer about one `certificate`."""

    authority: str
    uri: str
    certificate: x509.Certificate | None = None
    issuer: x509.Certificate | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What makes it another source; a list is about no single certificate."""
        return self.authority, self.uri, self.certificate.serial_number if self.certificate else 0

    @property
    def about(self) -> str:
        return self.certificate.subject.rfc4514_string() if self.certificate else ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What is known of one source: times are Unix seconds; `error` is why the last try failed, empty when it did not.

    `octets` are the newest list or answer that ever came, in DER.
    """

    source: Source
    tried_at: float = 0.0
    fetched_at: float | None = None
    number: int = 0
    this_update: float = 0.0
    next_update: float | None = None
    octets: bytes = b""
    error: str = ""

    def due(self, now: float) -> bool:
        """Whether it is time to fetch it again."""
        if self.error or self.fetched_at is None:
            return now - self.tried_at >= AGAIN
        over = self.next_update is not None and now >= self.next_update
        return now - self.tried_at >= (AGAIN if over else FRESH)


class RevocationFetching:
    """Fetches what is due; `known` is what came, by source."""

    def __init__(self, clock: Callable[[], float], fetcher: Fetch = fetch) -> None:
        self._clock = clock
        self._fetch = fetcher
        self.known: dict[tuple[str, str, int], Fetched] = {}

    def of(self, authority: str) -> list[Fetched]:
        """What is known of an authority's sources."""
        return [found for key, found in sorted(self.known.items()) if key[0] == authority]

    @property
    def lists(self) -> dict[str, tuple[bytes, ...]]:
        """All lists that came, by authority."""
        return self._octets(answers=False)

    @property
    def answers(self) -> dict[str, tuple[bytes, ...]]:
        """All OCSP answers that came, by authority."""
        return self._octets(answers=True)

    def _octets(self, *, answers: bool) -> dict[str, tuple[bytes, ...]]:
        found: dict[str, dict[bytes, None]] = {}
        for (name, _, about), one in sorted(self.known.items()):
            if one.octets and bool(about) is answers:
                found.setdefault(name, {})[one.octets] = None
        return {name: tuple(octets) for name, octets in found.items()}

    def forget_freshness(self, authority: str) -> None:
        """Everything of this authority is due; what came stays until something newer comes."""
        for key, one in self.known.items():
            if key[0] == authority:
                self.known[key] = replace(one, tried_at=0.0)

    async def look(self, inventory: Inventory, proven: Iterable[x509.Certificate] = ()) -> None:
        """Fetch what is due, for certificates stored and `proven` ones of peers."""
        wanted = {source.key: source for source in sources(inventory, list(proven))}
        self.known = {key: one for key, one in self.known.items() if key in wanted}
        now = self._clock()
        due = [source for key, source in wanted.items() if key not in self.known or self.known[key].due(now)]
        gate = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._look_at(inventory, source, gate) for source in due))

    async def _look_at(self, inventory: Inventory, source: Source, gate: asyncio.Semaphore) -> None:
        before = self.known.get(source.key, Fetched(source))
        private = inventory.authorities[source.authority].fetch_private
        async with gate:
            try:
                if source.certificate is None:
                    octets = await self._fetch(source.uri, private=private)
                    found = await asyncio.to_thread(_list, octets, before, signers(inventory, source.authority))
                else:
                    media_type = "application/ocsp-request"
                    octets = await self._fetch(
                        source.uri, private=private, body=_question(source), media_type=media_type
                    )
                    found = await asyncio.to_thread(_answer, octets, before, self._clock())
                found = replace(found, tried_at=self._clock(), fetched_at=self._clock(), error="")
            except (FetchFailed, containers.Unreadable) as failed:
                found = replace(before, tried_at=self._clock(), error=str(failed))
                if found.error != before.error:
                    _log.warning("what authority %s says at %s: it %s", source.authority, source.uri, failed)
        self.known[source.key] = found


def sources(inventory: Inventory, proven: Sequence[x509.Certificate] = ()) -> list[Source]:
    """What is asked of each authority: the administrator's addresses; of others' authorities what certificates say too.

    Only a certificate by which a peer has proven itself is asked about by OCSP.
    """
    stored = [
        one
        for document in inventory.certificates.values()
        for one in (containers.read_certificates(document.certificate.encode()) if document.certificate else ())
    ]
    found: list[Source] = []
    asked_about = frozenset(proven)
    for name, authority in inventory.authorities.items():
        mine = [Source(name, uri) for uri in authority.crl_uris if uri]
        if ("authorities", name) not in inventory.secrets:
            own = signers(inventory, name)
            issuers = {one.subject.public_bytes(): one for one in (*proven, *own) if _issues(one)}
            below = [one for one in (*own, *stored, *proven) if one.issuer.public_bytes() in issuers]
            known = {one.subject.public_bytes() for one in own}
            below = [one for one in below if _leads_to(one, issuers, known)]
            mine += [Source(name, uri) for one in below for uri in distribution_points(one)]
            mine += [
                Source(name, uri, one, issuers[one.issuer.public_bytes()])
                for one in below
                if one in asked_about
                for uri in responders(one)
            ]
        found += list({source.key: source for source in mine}.values())[:MOST_URIS]
    return found


def _issues(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
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


def distribution_points(certificate: x509.Certificate) -> list[str]:
    """Where a certificate says that its issuer's list is, by HTTP (RFC 5280 4.2.1.13)."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return []
    names = [name for point in points for name in point.full_name or ()]
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    return [uri for uri in uris if uri.lower().startswith("http://")]


def responders(certificate: x509.Certificate) -> list[str]:
    """Where a certificate says that its issuer answers by OCSP over HTTP (RFC 5280 4.2.2.1)."""
    try:
        ways = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return []
    names = [way.access_location for way in ways if way.access_method == AuthorityInformationAccessOID.OCSP]
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    return [uri for uri in uris if uri.lower().startswith("http://")]


def _list(octets: bytes, before: Fetched, signed_by: tuple[x509.Certificate, ...]) -> Fetched:
    """A list that one of these signed, in the place of the one before. Raises Unreadable."""
    crl = containers.read_crl(octets)
    try:
        _ = crl.issuer, crl.last_update_utc, crl.next_update_utc  # parsed only when they are asked for
    except MALFORMED:
        raise containers.Unreadable("is a list that cannot be read") from None
    if not any(one.subject == crl.issuer and _is_signed(crl, one) for one in signed_by):
        raise containers.Unreadable(f"is not signed by this authority, but says {crl.issuer.rfc4514_string()!r}")
    try:
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        number = 0
    this_update = crl.last_update_utc.timestamp()
    if (number, this_update) < (before.number, before.this_update):
        raise containers.Unreadable("is older than the one that came before")
    until = crl.next_update_utc.timestamp() if crl.next_update_utc else None
    der = crl.public_bytes(Encoding.DER)
    return replace(before, number=number, this_update=this_update, next_update=until, octets=der)


def _is_signed(crl: x509.CertificateRevocationList, by: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(by.public_key())  # type: ignore[arg-type]  # another kind is a TypeError
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _question(source: Source) -> bytes:
    """An OCSP request about a source's certificate; SHA-1 is a name here, and what every responder knows."""
    assert source.certificate is not None and source.issuer is not None
    builder = ocsp.OCSPRequestBuilder().add_certificate(source.certificate, source.issuer, hashes.SHA1())  # noqa: S303
    return builder.build().public_bytes(Encoding.DER)


def _answer(octets: bytes, before: Fetched, now: float) -> Fetched:
    """An answer that counts (RFC 6960), in the place of the one before. Raises Unreadable."""
    source = before.source
    assert source.certificate is not None and source.issuer is not None
    try:
        about, issuer = (Certificate.read(containers.der(one)) for one in (source.certificate, source.issuer))
    except InvalidCertificate as error:
        raise containers.Unreadable(f"is about a certificate that cannot be judged: {error}") from None
    found = standing(about, issuer, (), [octets], dt.datetime.fromtimestamp(now, dt.UTC))
    if found.state is State.UNKNOWN:
        raise containers.Unreadable(f"does not say how it stands: {found.why}")
    this_update = min(one.this_update_utc.timestamp() for one in ocsp.load_der_ocsp_response(octets).responses)
    if this_update < before.this_update:
        raise containers.Unreadable("is older than the one that came before")
    until = found.until.timestamp() if found.until else None
    return replace(before, this_update=this_update, next_update=until, octets=octets)
