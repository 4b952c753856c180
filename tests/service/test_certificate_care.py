"""Certificates over the years: renewed in time, warned of, with lists that stay fresh."""

import asyncio

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509 import ocsp

from gateway.crypto.authority import DAY
from gateway.crypto.containers import pem
from gateway.crypto.revoking import Revoked, answer_ocsp
from gateway.crypto.signatures import PrivateKey
from gateway.policy.changes import Changes
from gateway.service import certificate_care
from gateway.service.authorities import facts_of, warnings
from gateway.service.revocation_sources import sources
from tests.service.years import ME, START, URI, Elsewhere, Years, laid, trust


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


async def test_a_look_that_breaks_is_not_the_last(years: Years, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    async def look() -> None:
        looks.append(len(looks))
        raise RuntimeError("broken")

    monkeypatch.setattr(years.care, "look", look)
    monkeypatch.setattr(certificate_care, "EVERY", 0.0)
    years.care.start()
    while len(looks) < 2:
        await asyncio.sleep(0)
    await years.care.stop()


async def test_lists_of_others_are_fetched_laid_and_fetched_again(years: Years, elsewhere: Elsewhere) -> None:
    await trust(years, elsewhere, crl_uris=[URI], fetch_private=True)
    years.there[URI] = first = elsewhere.crl(START)
    await years.care.look()
    assert (laid(years), years.asked) == ((first,), [(URI, True)])
    years.now += 60
    await years.care.look()
    assert len(years.asked) == 1, "it is fresh"
    years.now += 3600
    years.there[URI] = second = elsewhere.crl(years.now, 4711)
    await years.care.look()
    assert laid(years) == (second,)
    (known,) = years.fetching.of("far")
    assert (known.fetched_at, known.next_update, known.error) == (years.now, years.now + 7 * DAY, "")


async def test_an_administrator_need_not_wait(years: Years, elsewhere: Elsewhere) -> None:
    await trust(years, elsewhere, crl_uris=[URI])
    years.there[URI] = elsewhere.crl(START)
    await years.care.look()
    years.now += 1
    years.there[URI] = second = elsewhere.crl(years.now, 4711)
    await years.care.fetch("far")
    assert laid(years) == (second,)


async def test_what_fails_keeps_the_list_that_was_there(years: Years, elsewhere: Elsewhere) -> None:
    await trust(years, elsewhere, crl_uris=[URI])
    years.there[URI] = good = elsewhere.crl(START, 1)
    await years.care.look()
    forger = PrivateKey(ed25519.Ed25519PrivateKey.generate())
    for answer, told in (
        ("answers with status 500", "answers with status 500"),
        (b"nonsense", "no list of revoked"),
        (good.replace(b"Elsewhere", b"Else\xff\xfe\xffre"), "a list that cannot be read"),
        (elsewhere.crl(START + 7200, by=forger), "not signed by this authority"),
        (Elsewhere().crl(START + 7200), "not signed by this authority"),
        (elsewhere.crl(START - 9000), "older than the one"),
    ):
        years.now += 3601
        years.there[URI] = answer
        await years.care.look()
        assert laid(years) == (good,)
        assert told in years.fetching.of("far")[0].error
    asked = len(years.asked)
    years.now += 299
    await years.care.look()
    assert len(years.asked) == asked, "a failure is tried again after five minutes"
    years.now += 1
    await years.care.look()
    assert len(years.asked) == asked + 1


async def test_only_addresses_that_somebody_vouches_for_are_asked(years: Years, elsewhere: Elsewhere) -> None:
    await years.prepare()
    await trust(years, elsewhere)
    leaf = elsewhere.leaf()
    stranger = Elsewhere("Nowhere").leaf()

    def asked(*proven: x509.Certificate) -> list[tuple[str, str, str]]:
        return [(one.authority, one.uri, one.about) for one in sources(years.config.inventory, proven)]

    assert asked() == []
    assert asked(stranger) == []
    about_sun = ("far", "http://ca.example/ocsp", "CN=sun")
    assert asked(stranger, leaf) == [("far", "http://ca.example/crl", ""), about_sun]
    await years.config.put("certificates", "sun", {"certificate": pem(leaf)}, ME)
    assert asked() == [("far", "http://ca.example/crl", "")]


async def test_a_proven_certificate_is_asked_about(years: Years, elsewhere: Elsewhere) -> None:
    await trust(years, elsewhere)
    leaf = elsewhere.leaf()
    years.proven = [leaf, elsewhere.issuer.certificate]
    revoked: list[Revoked] = []

    def respond(question: bytes) -> bytes:
        return answer_ocsp(elsewhere.issuer, question, {leaf.serial_number}, revoked, years.now)

    years.responder = respond
    await years.care.look()
    (good,) = years.config.snapshot().authorities["far"].ocsp
    assert ocsp.load_der_ocsp_response(good).certificate_status == ocsp.OCSPCertStatus.GOOD
    revoked.append(Revoked(leaf.serial_number, years.now))
    years.now += 3601
    await years.care.look()
    (bad,) = years.config.snapshot().authorities["far"].ocsp
    assert ocsp.load_der_ocsp_response(bad).certificate_status == ocsp.OCSPCertStatus.REVOKED
    other = Elsewhere()
    for responder, told in (
        (lambda question: b"nonsense", "does not say how it stands"),
        (lambda question: answer_ocsp(other.issuer, question, (), [], years.now), "does not say how it stands"),
        (lambda question: good, "was fresh until"),
    ):
        years.responder = responder
        years.now += 3601
        await years.care.look()
        assert years.config.snapshot().authorities["far"].ocsp == (bad,)
        assert told in next(one.error for one in years.fetching.of("far") if one.source.about)


async def test_an_authority_that_is_gone_leaves_nothing(years: Years, elsewhere: Elsewhere) -> None:
    await trust(years, elsewhere, crl_uris=[URI])
    years.there[URI] = elsewhere.crl(START)
    await years.care.look()
    await years.config.delete("authorities", "far", ME)
    await years.care.look()
    assert years.fetching.known == {}
