"""Keeps what other authorities say of revoked certificates at hand, before a proof needs it: lists and answers.

A list counts when one of the authority's certificates signed it, and an older list never takes the place of a newer
one. Answers (OCSP) count likewise. What is not at hand when a peer proves itself is asked for while it waits.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from gateway.crypto import containers
from gateway.crypto.certificates import MALFORMED, Certificate, InvalidCertificate
from gateway.crypto.published import delta_points
from gateway.crypto.revocation import State, standing
from gateway.service.fetching import FetchFailed, fetch
from gateway.service.revocation_sources import (
    MOST_ANSWERS,
    MOST_URIS,
    Source,
    answers_about,
    lists_of,
    signers,
    sources,
)
from gateway.storage.objects import Inventory

FRESH = 3600.0  # seconds after which a list is fetched again, if it says nothing else
AGAIN = 300.0  # seconds after which one that did not come is tried again
AGAIN_WAITING = 30.0  # the same, while a peer waits for it
_AT_ONCE = 4
_WAITING_AT_ONCE = 32  # for peers that wait
_MOST_WAITED_FOR = 256  # under way or in the queue for peers that wait
_log = logging.getLogger(__name__)

Fetch = Callable[..., Awaitable[bytes]]
Key = tuple[str, str, str]


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
        failed = self.error or self.fetched_at is None
        over = self.next_update is not None and now >= self.next_update
        return self._is_over(now, AGAIN if failed or over else FRESH)

    def _is_over(self, now: float, pause: float) -> bool:
        """Whether so long has passed since the last try; a try in the future was before the clock was set back."""
        return not 0.0 <= now - self.tried_at < pause

    def is_fresh(self, now: float) -> bool:
        """Whether what it says counts as good, as far as time goes."""
        until = self.next_update if self.next_update is not None else (self.fetched_at or 0.0) + FRESH
        return self.fetched_at is not None and self.fetched_at <= now < until

    def worth_waiting(self, now: float) -> bool:
        """Whether a peer should wait until it is fetched again."""
        return not self.is_fresh(now) and (not self.error or self._is_over(now, AGAIN_WAITING))


class RevocationFetching:
    """Fetches what is due; `known` is what came, by source. `changed` are those whose octets are to be written down."""

    def __init__(self, clock: Callable[[], float], fetcher: Fetch = fetch) -> None:
        self._clock = clock
        self._fetch = fetcher
        self.known: dict[Key, Fetched] = {}
        self.changed: set[Key] = set()
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._waiting = asyncio.Semaphore(_WAITING_AT_ONCE)
        self._waited_for: dict[Key, asyncio.Task[Fetched]] = {}

    def stop(self) -> None:
        """Ask nobody any more for peers that wait."""
        for task in self._waited_for.values():
            task.cancel()

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
        await self._look_at_due(inventory, wanted)
        deltas = {source.key: source for source in self._deltas(wanted)}
        await self._look_at_due(inventory, {key: one for key, one in deltas.items() if key not in wanted})
        self._prune(inventory, wanted.keys() | deltas.keys())

    async def _look_at_due(self, inventory: Inventory, wanted: dict[Key, Source]) -> None:
        now = self._clock()
        due = [source for key, source in wanted.items() if key not in self.known or self.known[key].due(now)]
        await asyncio.gather(*(self._look_at(inventory, source, self._gate) for source in due))

    def _deltas(self, wanted: Iterable[Key]) -> Iterator[Source]:
        """What complete lists say of what is to be laid over them (RFC 5280 5.2.6)."""
        for key in wanted:
            one = self.known.get(key)
            if one is not None and one.octets and one.source.certificate is None:
                for uri in delta_points(x509.load_der_x509_crl(one.octets))[:MOST_URIS]:
                    yield replace(one.source, uri=uri)

    def _prune(self, inventory: Inventory, wanted: Iterable[Key]) -> None:
        """What nobody names goes, but for answers that are still fresh: their peer may come back."""
        keep, now = set(wanted), self._clock()
        spare = [key for key, one in self.known.items() if key not in keep and key[2] and one.is_fresh(now)]
        keep.update([key for key in spare if key[0] in inventory.authorities][-MOST_ANSWERS:])
        self.changed |= {key for key, one in self.known.items() if key not in keep and one.octets}
        self.known = {key: one for key, one in self.known.items() if key in keep}

    async def ask(
        self, inventory: Inventory, authority: str, pairs: Sequence[tuple[x509.Certificate, x509.Certificate]]
    ) -> tuple[tuple[bytes, ...], str]:
        """What is told now of certificates, each with its issuer: OCSP answers, and why nothing else came.

        A list is fetched where no responder answers; it is in `lists` then.
        """
        asked = await asyncio.gather(*(self._ask(inventory, authority, *pair) for pair in pairs))
        errors = [why for _, why in asked if why]
        return tuple(octets for octets, _ in asked if octets), "; ".join(errors)

    async def _ask(
        self, inventory: Inventory, authority: str, one: x509.Certificate, issuer: x509.Certificate
    ) -> tuple[bytes, str]:
        errors: list[str] = []
        for source in (*answers_about(authority, one, issuer), *lists_of(authority, one, issuer)):
            known = self.known.get(source.key)
            if known is None or known.worth_waiting(self._clock()):
                known = await self._waited(inventory, source)
            if not known.error or known.is_fresh(self._clock()):
                return (known.octets if source.certificate else b""), ""
            errors.append(f"{source.uri} {known.error}")
        return b"", "; ".join(errors[:2])

    async def _waited(self, inventory: Inventory, source: Source) -> Fetched:
        """What comes of a source, asked once for all who wait for it.

        It is asked to the end, as how that went is of use to the next when who asked has no patience left.
        """
        task = self._waited_for.get(source.key)
        if task is None:
            if len(self._waited_for) >= _MOST_WAITED_FOR:
                return replace(self._before(source), error="waits for too many others")
            task = asyncio.create_task(self._look_at(inventory, source, self._waiting))
            self._waited_for[source.key] = task
            task.add_done_callback(lambda _: self._waited_for.pop(source.key))
        return await asyncio.shield(task)

    async def _look_at(self, inventory: Inventory, source: Source, gate: asyncio.Semaphore) -> Fetched:
        private = inventory.authorities[source.authority].fetch_private
        async with gate:
            try:
                if source.certificate is None:
                    octets = await self._fetch(source.uri, private=private)
                else:
                    media_type = "application/ocsp-request"
                    octets = await self._fetch(
                        source.uri, private=private, body=_question(source), media_type=media_type
                    )
                before = self._before(source)
                found = await asyncio.to_thread(taken, inventory, octets, before, self._clock())
                found = replace(found, tried_at=self._clock(), fetched_at=self._clock(), error="")
            except (FetchFailed, containers.Unreadable) as failed:
                before = self._before(source)
                found = replace(before, tried_at=self._clock(), error=str(failed))
                if found.error != before.error:
                    _log.warning("what authority %s says at %s: it %s", source.authority, source.uri, failed)
        if found.octets != before.octets:
            self.changed.add(source.key)
        self.known[source.key] = found
        return found

    def _before(self, source: Source) -> Fetched:
        return self.known.get(source.key, Fetched(source))


def taken(inventory: Inventory, octets: bytes, before: Fetched, now: float) -> Fetched:
    """What a source said, in the place of what it said before, where it counts. Raises Unreadable."""
    source = before.source
    if source.certificate is not None:
        return _answer(octets, before, now)
    more = (source.issuer,) if source.issuer is not None else ()
    return _list(octets, before, (*signers(inventory, source.authority), *more))


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
