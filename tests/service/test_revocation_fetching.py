"""What other authorities say of revoked certificates: asked for while a peer waits, in deltas, and after a restart."""

import asyncio
import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from sqlalchemy import select, update

from gateway.crypto.certificates import Certificate
from gateway.crypto.containers import der, pem
from gateway.crypto.revocation import State, standing
from gateway.crypto.revoking import ANSWER_LIFE, answer_ocsp
from gateway.ike.authentication.revocation import AskRevocation, Told
from gateway.ike.flow import NoAnswer
from gateway.service import certificate_care, revocation_keeping
from gateway.service.certificate_care import CertificateCare
from gateway.service.fetching import FetchFailed
from gateway.service.revocation_fetching import RevocationFetching
from gateway.service.revocation_keeping import RevocationKeeping
from gateway.service.revocation_sources import sources
from gateway.storage.history_models import FetchedRevocationRow
from tests.service.years import ME, START, URI, Elsewhere, Years, laid, trust


async def ask(years: Years, elsewhere: Elsewhere, leaf: x509.Certificate) -> Told:
    root = der(elsewhere.issuer.certificate)
    return await years.care.answer(AskRevocation(((der(leaf), root),), root))


def responding(years: Years, elsewhere: Elsewhere, leaf: x509.Certificate) -> None:
    years.responder = lambda asked: answer_ocsp(elsewhere.issuer, asked, {leaf.serial_number}, [], years.now)


async def test_a_responder_is_asked_while_a_peer_waits(years: Years, elsewhere: Elsewhere) -> None:
    await trust(years, elsewhere)
    leaf = elsewhere.leaf()
    responding(years, elsewhere, leaf)
    told = await ask(years, elsewhere, leaf)
    assert [ocsp.load_der_ocsp_response(one).certificate_status for one in told.ocsp] == [ocsp.OCSPCertStatus.GOOD]
    assert await ask(years, elsewhere, leaf) == told
    assert len(years.asked) == 1, "it is fresh"
    years.now += ANSWER_LIFE + 1
    assert await ask(years, elsewhere, leaf) != told


async def test_a_list_is_fetched_where_no_responder_answers(years: Years, elsewhere: Elsewhere) -> None:
    await trust(years, elsewhere)
    leaf = elsewhere.leaf()
    told = await ask(years, elsewhere, leaf)
    assert told.ocsp == ()
    assert told.why == (
        "http://ca.example/ocsp has a name that is not found; http://ca.example/crl has a name that is not found"
    )
    years.there["http://ca.example/crl"] = crl = elsewhere.crl(years.now)
    assert (await ask(years, elsewhere, leaf)).why == told.why, "not so soon again"
    years.now += 31
    assert await ask(years, elsewhere, leaf) == Told()
    assert laid(years) == (crl,)


async def test_nobody_is_asked_about_our_own_and_strangers(years: Years, elsewhere: Elsewhere) -> None:
    await years.prepare()
    own = x509.load_pem_x509_certificate(years.config.inventory.authorities["ca"].certificate.encode())
    for anchor in (der(own), der(elsewhere.issuer.certificate)):
        with pytest.raises(NoAnswer):
            await years.care.answer(AskRevocation(((der(elsewhere.leaf()), anchor),), anchor))
    assert years.asked == []


async def test_many_peers_are_asked_about(years: Years, elsewhere: Elsewhere) -> None:
    await trust(years, elsewhere)
    leaves = [elsewhere.leaf() for _ in range(100)]
    asked = sources(years.config.inventory, leaves)
    assert {one.certificate for one in asked} == {None, *leaves}


async def test_who_hangs_is_asked_once_and_what_came_of_it_is_known(
    years: Years, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trust(years, elsewhere)
    leaf, over = elsewhere.leaf(), asyncio.Event()

    async def hang(uri: str, **more: object) -> bytes:
        years.asked.append((uri, False))
        await over.wait()
        raise FetchFailed("did not answer")

    monkeypatch.setattr(years.fetching, "_fetch", hang)
    monkeypatch.setattr(certificate_care, "PATIENCE", 1.05)
    for told in await asyncio.gather(*(ask(years, elsewhere, leaf) for _ in range(5)), return_exceptions=True):
        assert isinstance(told, NoAnswer)
    assert len(years.asked) == 1, "for all who wait"
    over.set()
    await asyncio.sleep(0.01)
    assert (await ask(years, elsewhere, leaf)).why.startswith("http://ca.example/ocsp did not answer")
    assert len(years.asked) == 2, "the list, but the responder not so soon again"


@pytest.mark.parametrize("answers", [True, False])
async def test_a_clock_that_is_set_back_stops_nobody_from_asking(
    years: Years, elsewhere: Elsewhere, answers: bool
) -> None:
    await trust(years, elsewhere)
    leaf = elsewhere.leaf()
    years.now += 365 * 86_400
    if answers:
        responding(years, elsewhere, leaf)
    await ask(years, elsewhere, leaf)
    years.now -= 365 * 86_400
    responding(years, elsewhere, leaf)
    years.proven = [leaf]
    before = len(years.asked)
    await ask(years, elsewhere, leaf)
    assert len(years.asked) > before
    years.asked.clear()
    years.now -= 86_400
    await years.care.look()
    assert years.asked, "nor from looking again"


# --- deltas ---

DELTA = "http://ca.example/delta.crl"


def with_delta(elsewhere: Elsewhere, at: float, number: int, *serials: int, base: int | None = None) -> bytes:
    """A complete list that says where its delta is, or with `base` that."""
    begins = dt.datetime.fromtimestamp(int(at), dt.UTC)
    name = elsewhere.issuer.certificate.subject
    builder = x509.CertificateRevocationListBuilder(name, begins, begins + dt.timedelta(days=1))
    for serial in serials:
        builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, begins).build())
    builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    if base is None:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(DELTA)], None, None, None)
        builder = builder.add_extension(x509.FreshestCRL([point]), critical=False)
    else:
        builder = builder.add_extension(x509.DeltaCRLIndicator(base), critical=True)
    key = elsewhere.issuer.key.unwrapped
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return builder.sign(key, None).public_bytes(Encoding.DER)


async def test_a_delta_is_fetched_with_its_base_and_judged(years: Years, elsewhere: Elsewhere) -> None:
    await trust(years, elsewhere, crl_uris=[URI])
    leaf = elsewhere.leaf()
    about, issuer = (Certificate.read(der(one)) for one in (leaf, elsewhere.issuer.certificate))

    def state() -> State:
        return standing(about, issuer, laid(years), (), dt.datetime.fromtimestamp(years.now, dt.UTC)).state

    years.there[URI] = with_delta(elsewhere, START, 1)
    years.there[DELTA] = with_delta(elsewhere, START, 2, base=1)
    await years.care.look()
    assert (len(laid(years)), state()) == (2, State.GOOD)
    years.now += 3600
    years.there[DELTA] = with_delta(elsewhere, years.now, 3, leaf.serial_number, base=1)
    await years.care.look()
    assert (len(laid(years)), state()) == (2, State.REVOKED)
    del years.there[DELTA]
    years.now += 3600
    years.there[URI] = complete = elsewhere.crl(years.now)
    await years.care.look()
    assert (laid(years), state()) == ((complete,), State.GOOD), "a list without a delta ends it"


# --- after a restart ---


async def restarted(years: Years) -> RevocationFetching:
    """What a new process knows before it has asked anybody."""
    fetching = RevocationFetching(lambda: years.now, years.fetch)
    keeping = RevocationKeeping(years.database, fetching)
    years.asked.clear()
    care = CertificateCare(years.config, years.issuing, fetching, tuple, keeping, lambda: years.now)
    await care.restore()
    assert years.asked == []
    return fetching


async def test_what_was_fetched_is_known_after_a_restart(years: Years, elsewhere: Elsewhere) -> None:
    await trust(years, elsewhere, crl_uris=[URI])
    leaf = elsewhere.leaf()
    years.proven = [leaf]
    years.there[URI] = crl = elsewhere.crl(START)
    responding(years, elsewhere, leaf)
    await years.care.look()
    again = await restarted(years)
    assert (again.lists, again.answers) == (years.fetching.lists, years.fetching.answers)
    assert again.lists["far"] == (crl,)
    assert laid(years) == (crl,)
    await again.look(years.config.inventory)
    assert len(again.answers["far"]) == 1, "it is fresh, and its peer may come back"
    years.now += 2 * ANSWER_LIFE
    again = await restarted(years)
    assert (again.lists["far"], again.answers) == ((crl,), {}), "an answer that is old says nothing"
    await RevocationKeeping(years.database, again).keep()
    with years.database.read() as session:
        assert [row.uri for row in session.scalars(select(FetchedRevocationRow))] == [URI], "nor does it stay"


async def test_what_is_kept_is_judged_again(years: Years, elsewhere: Elsewhere) -> None:
    await trust(years, elsewhere, crl_uris=[URI])
    years.there[URI] = crl = elsewhere.crl(START)
    await years.care.look()

    def write(octets: bytes) -> None:
        with years.database.write() as session:
            session.execute(update(FetchedRevocationRow).values(octets=octets))

    for forged in (crl[:-1] + bytes((crl[-1] ^ 1,)), Elsewhere().crl(START), b""):
        write(forged)
        assert (await restarted(years)).known == {}
    write(crl)
    assert (await restarted(years)).lists == {"far": (crl,)}
    await years.config.put("authorities", "far", {"certificate": pem(Elsewhere("New").issuer.certificate)}, ME)
    assert (await restarted(years)).known == {}


async def test_what_is_gone_is_not_kept(years: Years, elsewhere: Elsewhere) -> None:
    await trust(years, elsewhere, crl_uris=[URI])
    years.there[URI] = elsewhere.crl(START)
    await years.care.look()
    await years.config.patch("authorities", "far", {"crl_uris": []}, ME)
    await years.care.look()
    with years.database.read() as session:
        assert session.scalars(select(FetchedRevocationRow)).all() == []


async def test_there_is_an_end_to_what_is_kept(
    years: Years, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trust(years, elsewhere, crl_uris=[URI, DELTA])
    years.there[URI] = small = elsewhere.crl(START)
    years.there[DELTA] = large = elsewhere.crl(START, *range(1, 50))
    monkeypatch.setattr(revocation_keeping, "MOST_OCTETS", len(small) + len(large) - 1)
    await years.care.look()
    assert (await restarted(years)).lists == {"far": (small,)}
