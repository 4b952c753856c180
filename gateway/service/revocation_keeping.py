"""What was fetched of revoked certificates outlives the process: written behind, judged anew when it is read."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from gateway.crypto import containers
from gateway.crypto.certificates import MALFORMED
from gateway.service.revocation_fetching import Fetched, Key, RevocationFetching, taken
from gateway.service.revocation_sources import Source, signers
from gateway.storage.database import Database, StorageFailed
from gateway.storage.history import KeptRevocation, load_revocations, save_revocations
from gateway.storage.objects import Inventory

MOST_OCTETS = 64 * 1024 * 1024
"""All that is kept; the smallest come first, for they are the most."""
_log = logging.getLogger(__name__)


class RevocationKeeping:
    """Keeps what `fetching` knows in the database."""

    def __init__(self, database: Database, fetching: RevocationFetching) -> None:
        self._database = database
        self._fetching = fetching

    async def restore(self, inventory: Inventory, now: float) -> None:
        """Take up what an earlier process fetched, where it counts still."""
        found, useless = await asyncio.to_thread(self._restored, inventory, now)
        self._fetching.known = {**found, **self._fetching.known}
        self._fetching.changed |= useless

    def _restored(self, inventory: Inventory, now: float) -> tuple[dict[Key, Fetched], set[Key]]:
        """What counts still, and what is to be forgotten."""
        with self._database.read() as session:
            rows = load_revocations(session)
        found = {one.source.key: one for row in rows for one in _judged(inventory, row, now)}
        return found, {(row.authority, row.uri, row.fingerprint) for row in rows} - found.keys()

    async def keep(self) -> None:
        """Write behind what changed; what cannot be written now is tried again."""
        changed, self._fetching.changed = self._fetching.changed, set()
        if not changed:
            return
        within = _within(self._fetching.known)
        changed |= {key for key, one in self._fetching.known.items() if one.octets and key not in within}
        try:
            await asyncio.to_thread(
                self._write, [within[key] for key in changed & within.keys()], changed - within.keys()
            )
        except StorageFailed as failed:
            _log.warning("fetched lists of revoked certificates are not written: %s", failed)
            self._fetching.changed |= changed

    def _write(self, changed: list[Fetched], gone: set[Key]) -> None:
        with self._database.write() as session:
            save_revocations(session, map(_row, changed), (KeptRevocation(*key) for key in gone))


def _row(one: Fetched) -> KeptRevocation:
    source = one.source
    certificate, issuer = (containers.der(each) if each else b"" for each in (source.certificate, source.issuer))
    return KeptRevocation(*source.key, one.octets, certificate, issuer, one.fetched_at or 0.0)


def _within(known: dict[Key, Fetched]) -> dict[Key, Fetched]:
    found: dict[Key, Fetched] = {}
    total = 0
    for key, one in sorted(known.items(), key=lambda entry: len(entry[1].octets)):
        total += len(one.octets)
        if one.octets and total <= MOST_OCTETS:
            found[key] = one
    return found


def _judged(inventory: Inventory, row: KeptRevocation, now: float) -> Iterator[Fetched]:
    """The row as if it came now, or nothing: its authority may be another, or what it says too old."""
    if row.authority not in inventory.authorities or ("authorities", row.authority) in inventory.secrets:
        return
    try:
        about, issuer = (
            x509.load_der_x509_certificate(octets) if octets else None for octets in (row.certificate, row.issuer)
        )
        if issuer is not None and not _is_below(issuer, signers(inventory, row.authority)):
            return
        found = taken(inventory, row.octets, Fetched(Source(row.authority, row.uri, about, issuer)), now)
    except (containers.Unreadable, *MALFORMED) as error:
        _log.info("what was kept of %s is of no use any more: it %s", row.uri, error)
        return
    yield replace(found, tried_at=row.fetched_at, fetched_at=row.fetched_at)


def _is_below(issuer: x509.Certificate, own: tuple[x509.Certificate, ...]) -> bool:
    if issuer in own:
        return True
    for above in own:
        try:
            issuer.verify_directly_issued_by(above)
        except (InvalidSignature, *MALFORMED):
            continue
        return True
    return False
