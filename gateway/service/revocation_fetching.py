"""Keeps the lists of revoked certificates of other authorities at hand, long before a proof needs them.

Addresses come from the administrator and from certificates that he stored or that a stored authority vouches for, never
from what an unproven peer sends. A list counts when one of the authority's certificates signed it, and an older list
never takes the place of a newer one.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.crypto import containers
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
class Fetched:
    """What is known of one address: times are Unix seconds; `error` is why the last try failed, empty when it did not.

    `octets` are the newest list that ever came, in DER.
    """

    uri: str
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
    """Fetches what is due; `known` is what came, by authority and address."""

    def __init__(self, clock: Callable[[], float], fetcher: Fetch = fetch) -> None:
        self._clock = clock
        self._fetch = fetcher
        self.known: dict[tuple[str, str], Fetched] = {}

    def of(self, authority: str) -> list[Fetched]:
        """What is known of an authority's addresses."""
        return [found for (name, _), found in sorted(self.known.items()) if name == authority]

    @property
    def lists(self) -> dict[str, tuple[bytes, ...]]:
        """All lists that came, by authority."""
        names = {name for name, _ in self.known}
        return {name: tuple(dict.fromkeys(one.octets for one in self.of(name) if one.octets)) for name in names}

    async def look(self, inventory: Inventory, proven: Iterable[x509.Certificate] = ()) -> bool:
        """Fetch what is due, for certificates stored and `proven` ones of peers; whether a list is another now."""
        wanted = sources(inventory, proven)
        gone = self.known.keys() - {(name, uri) for name, uris in wanted.items() for uri in uris}
        before = self.lists
        for key in gone:
            del self.known[key]
        now = self._clock()
        due = [
            (name, uri)
            for name, uris in wanted.items()
            for uri in uris
            if self.known.get((name, uri), Fetched(uri, tried_at=now - FRESH - AGAIN)).due(now)
        ]
        gate = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._look_at(inventory, name, uri, gate) for name, uri in due))
        return self.lists != before

    async def _look_at(self, inventory: Inventory, name: str, uri: str, gate: asyncio.Semaphore) -> None:
        before = self.known.get((name, uri), Fetched(uri))
        private = inventory.authorities[name].fetch_private
        async with gate:
            try:
                octets = await self._fetch(uri, private=private)
                crl = await asyncio.to_thread(_read, octets, signers(inventory, name))
                found = _newer(before, crl, self._clock())
            except (FetchFailed, containers.Unreadable) as failed:
                found = replace(before, tried_at=self._clock(), error=str(failed))
                if found.error != before.error:
                    _log.warning("the list of authority %s at %s %s", name, uri, failed)
        self.known[name, uri] = found


def sources(inventory: Inventory, proven: Iterable[x509.Certificate] = ()) -> Mapping[str, tuple[str, ...]]:
    """Where the lists of each authority are: what the administrator wrote; of others' what certificates say too."""
    found: dict[str, tuple[str, ...]] = {}
    stored = [
        one
        for document in inventory.certificates.values()
        for one in (containers.read_certificates(document.certificate.encode()) if document.certificate else ())
    ]
    for name, authority in inventory.authorities.items():
        uris = list(authority.crl_uris)
        if ("authorities", name) not in inventory.secrets:
            names = {one.subject.public_bytes() for one in signers(inventory, name)}
            below = [one for one in (*signers(inventory, name), *stored, *proven) if one.issuer.public_bytes() in names]
            uris += [uri for one in below for uri in distribution_points(one)]
        found[name] = tuple(dict.fromkeys(uri for uri in uris if uri))[:MOST_URIS]
    return found


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


def _read(octets: bytes, signed_by: tuple[x509.Certificate, ...]) -> x509.CertificateRevocationList:
    """A list that one of these signed. Raises Unreadable."""
    crl = containers.read_crl(octets)
    for one in signed_by:
        if one.subject == crl.issuer and _is_signed(crl, one):
            return crl
    raise containers.Unreadable(f"is not signed by this authority, but says {crl.issuer.rfc4514_string()!r}")


def _is_signed(crl: x509.CertificateRevocationList, by: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(by.public_key())  # type: ignore[arg-type]  # another kind is a TypeError
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _newer(before: Fetched, crl: x509.CertificateRevocationList, now: float) -> Fetched:
    """The list in the place of the one before. Raises Unreadable when it is an older one."""
    try:
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        number = 0
    this_update = _unix(crl.last_update_utc)
    if (number, this_update) < (before.number, before.this_update):
        raise containers.Unreadable("is older than the one that came before")
    return Fetched(
        uri=before.uri,
        tried_at=now,
        fetched_at=now,
        number=number,
        this_update=this_update,
        next_update=_unix(crl.next_update_utc) if crl.next_update_utc else None,
        octets=crl.public_bytes(Encoding.DER),
    )


def _unix(moment: dt.datetime) -> float:
    return moment.timestamp()
