"""Certificates over the years: renewed in time, warned of, with lists that stay fresh."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from gateway.crypto.authority import DAY, Profile, Wanted
from gateway.policy.snapshot import Changes, Snapshot, changes
from gateway.service.authorities import facts_of, warnings
from gateway.service.certificate_care import CertificateCare
from gateway.service.issuing import Issuing, Order
from gateway.service.journal import Journal
from gateway.service.manage import Configuration, Terms
from gateway.storage.database import Database
from gateway.storage.keyring import open_secrets

ME = Terms("me")
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
        self.care = CertificateCare(self.config, self.issuing)

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


@pytest.fixture
def years(tmp_path: Path) -> Iterator[Years]:
    made = Years(tmp_path)
    yield made
    made.database.close()


async def test_a_gateways_certificate_is_renewed_after_two_thirds_of_its_life(years: Years) -> None:
    await years.prepare()
    before = years.serial("moon"), years.serial("phone")
    years.now = START + 59 * DAY
    await years.care.look()
    assert (years.serial("moon"), years.serial("phone")) == before
    years.now = START + 61 * DAY
    await years.care.look()
    assert years.serial("moon") != before[0]
    assert years.serial("phone") == before[1], "its key is with somebody else, who must fetch another one"
    facts = facts_of(years.config.inventory.certificates["moon"].certificate)[0]
    assert facts.names == ("moon.example",)
    assert facts.not_after == years.now + 90 * DAY
    revision = years.config.revisions(limit=1)[0]
    assert (revision.author, revision.comment) == ("ikegate", "Two thirds of the life of moon are over")
    await years.config.patch("certificates", "moon", {"renew": False}, ME)
    years.now += 80 * DAY
    kept = years.serial("moon")
    await years.care.look()
    assert years.serial("moon") == kept


async def test_a_renewal_touches_no_tunnel(years: Years) -> None:
    await years.prepare()
    child = {"name": "net", "local_selectors": ["10.1.0.0/24"], "remote_selectors": ["10.2.0.0/24"]}
    peer = {
        "remote_id": "sun.example",
        "children": [child],
        "local_auth": [{"method": "certificate", "certificate": "moon"}],
        "remote_auth": [{"method": "certificate", "authorities": ["ca"]}],
    }
    await years.config.put("peers", "sun", peer, ME)
    before = years.pushed[-1]
    written = await years.issuing.renew("moon", ME)
    assert written.changed
    assert (written.impact.renegotiate, written.impact.removed, written.impact.children) == ((), (), {})
    assert years.pushed[-1].credentials["moon"].chain != before.credentials["moon"].chain


async def test_lists_are_made_anew_before_they_are_too_old(years: Years) -> None:
    await years.prepare()
    first = years.config.snapshot().authorities["ca"].crls
    years.now += 3600
    assert await years.config.lay_lists() == Changes()
    assert years.config.snapshot().authorities["ca"].crls == first
    years.now += DAY
    await years.care.look()
    second = years.config.snapshot().authorities["ca"].crls
    assert second != first
    numbers = [
        x509.load_der_x509_crl(crl).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        for crl in (*first, *second)
    ]
    assert numbers[0] < numbers[1]


async def test_fetched_lists_are_laid_beside_ours(years: Years) -> None:
    await years.prepare()
    assert len(years.config.snapshot().authorities["ca"].crls) == 1
    fetched = {"ca": (b"a fetched list",)}
    await years.config.lay_lists(fetched)
    assert years.config.snapshot().authorities["ca"].crls[1:] == (b"a fetched list",)
    await years.config.patch("certificates", "moon", {"description": "x"}, ME)
    assert years.config.snapshot().authorities["ca"].crls[1:] == (b"a fetched list",), "a change keeps them"


async def test_what_runs_out_is_told_in_time(years: Years) -> None:
    await years.prepare()
    assert warnings(years.config.inventory, START) == []
    soon = warnings(years.config.inventory, START + 70 * DAY)
    assert soon == [
        "The certificate moon runs out in 20 days: renew it",
        "The certificate phone runs out in 20 days: renew it",
    ]
    await years.issuing.revoke("phone", "superseded", ME)
    late = warnings(years.config.inventory, START + 3649.5 * DAY)
    assert [text.partition(":")[0] for text in late] == [
        "The certificate moon has run out",
        "The authority ca runs out within two days",
    ]


async def test_it_runs_until_it_is_stopped(years: Years) -> None:
    await years.prepare()
    years.now += 61 * DAY
    before = years.serial("moon")
    years.care.start()
    for _ in range(200):
        await asyncio.sleep(0.02)
        if years.serial("moon") != before:
            break
    assert years.serial("moon") != before
    await years.care.stop()
