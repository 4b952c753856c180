"""A configuration over the years, and an authority that is not ours: what tests of certificates begin with."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from gateway.crypto import authority as ca
from gateway.crypto.authority import DAY, Profile, Wanted
from gateway.crypto.containers import pem
from gateway.crypto.revoking import Revoked, revocation_list
from gateway.crypto.signatures import PrivateKey
from gateway.policy.changes import Changes, changes
from gateway.policy.snapshot import Snapshot
from gateway.service.authorities import facts_of
from gateway.service.certificate_care import CertificateCare
from gateway.service.fetching import FetchFailed
from gateway.service.issuing import Issuing, Order
from gateway.service.journal import Journal
from gateway.service.manage import Configuration, Terms
from gateway.service.revocation_fetching import RevocationFetching
from gateway.service.revocation_keeping import RevocationKeeping
from gateway.storage.database import Database
from gateway.storage.keyring import open_secrets

ME = Terms("me")
RESPONDER = "http://ca.example/ocsp"
START = 1_800_000_000.0


class Years:
    """A configuration whose clock the test sets; `pushed` are the snapshots that the engine got."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.pushed: list[Snapshot] = []
        self.database = Database(folder / "config.db")
        box = open_secrets(self.database, folder, START, environment={})
        self.config = Configuration(self.database, box, self._push, Journal(), lambda: self.now)
        self.issuing = Issuing(self.config, lambda: self.now)
        self.fetching = RevocationFetching(lambda: self.now, self.fetch)
        keeping = RevocationKeeping(self.database, self.fetching)
        self.care = CertificateCare(self.config, self.issuing, self.fetching, lambda: self.proven, keeping, self._clock)
        self.there: dict[str, bytes | str] = {}
        self.asked: list[tuple[str, bool]] = []
        self.responder: Callable[[bytes], bytes] | None = None
        self.proven: list[x509.Certificate] = []

    def _clock(self) -> float:
        return self.now

    async def fetch(self, uri: str, *, private: bool = False, body: bytes = b"", media_type: str = "") -> bytes:
        """The web of this test: octets, or why there are none."""
        self.asked.append((uri, private))
        found = self.there.get(uri, "has a name that is not found")
        if uri == RESPONDER and self.responder is not None:
            assert media_type == "application/ocsp-request"
            return self.responder(body)
        if isinstance(found, str):
            raise FetchFailed(found)
        return found

    def _push(self, snapshot: Snapshot) -> Changes:
        before = self.pushed[-1] if self.pushed else Snapshot()
        self.pushed.append(snapshot)
        return changes(before, snapshot)

    async def prepare(self) -> None:
        await self.issuing.create_authority(Order("ca", Wanted("Lab", life=3650 * DAY)), ME)
        for name, profile in (("moon", Profile.GATEWAY), ("phone", Profile.CLIENT)):
            wanted = Wanted(name, (f"{name}.example",), profile=profile, life=90 * DAY)
            await self.issuing.generate(Order(name, wanted, "ed25519"), "ca", ME)

    def serial(self, name: str) -> str:
        return facts_of(self.config.inventory.certificates[name].certificate)[0].serial


URI = "http://ca.example/elsewhere.crl"


class Elsewhere:
    """An authority that is not ours, with what it issues."""

    def __init__(self, name: str = "Elsewhere") -> None:
        key = PrivateKey(ed25519.Ed25519PrivateKey.generate())
        made = ca.create_root(key, Wanted(name, life=3650 * DAY), START, os.urandom)
        self.issuer = ca.Issuer(made, key, "http://ca.example")

    def crl(self, at: float, *serials: int, by: PrivateKey | None = None) -> bytes:
        issuer = replace(self.issuer, key=by) if by else self.issuer
        return revocation_list(issuer, [Revoked(one, START) for one in serials], at, 7 * DAY)

    def leaf(self) -> x509.Certificate:
        key = PrivateKey(ed25519.Ed25519PrivateKey.generate())
        return ca.issue(self.issuer, key.public, Wanted("sun", ("sun.example",)), START, os.urandom)


async def trust(years: Years, elsewhere: Elsewhere, **more: object) -> None:
    await years.config.put("authorities", "far", {"certificate": pem(elsewhere.issuer.certificate), **more}, ME)


def laid(years: Years) -> tuple[bytes, ...]:
    return years.config.snapshot().authorities["far"].crls
