"""Certificates whose state is asked for while their holder waits, sent along, or over in the middle of a session."""

import datetime as dt
from dataclasses import dataclass, replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.ocsp import OCSPCertStatus
from cryptography.x509.oid import AuthorityInformationAccessOID

from gateway.ike.authentication.revocation import PATIENCE, AskRevocation, Told
from gateway.ike.flow import NoAnswer
from gateway.policy.authentication import Revocation
from gateway.policy.peers import Start
from gateway.wire.numbers import NotifyType
from tests.crypto.test_revocation import response as ocsp_response
from tests.pki import NOW, Issued, authority, issue, private
from tests.simulation.network import Outside, Weather
from tests.simulation.proofs import ROOT, Pair

AT = dt.datetime.fromtimestamp(NOW, dt.UTC)
HOUR = dt.timedelta(hours=1)


def where(*, responder: bool = True) -> list[tuple[x509.ExtensionType, bool]]:
    """What a certificate says of where its state is told."""
    address = x509.UniformResourceIdentifier("http://ca.example/state")
    if responder:
        way = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, address)
        return [(x509.AuthorityInformationAccess([way]), False)]
    return [(x509.CRLDistributionPoints([x509.DistributionPoint([address], None, None, None)]), False)]


def holder(side: str, by: Issued = ROOT, **more: Any) -> Issued:
    number = 1 if side == "left" else 2
    more.setdefault("more", where())
    return issue(f"O=Lab, CN={side}", by, f"dns:{side}.example", key=private("p256", number), **more)


def response(about: Issued, by: Issued = ROOT, *, revoked: bool = False, until: dt.datetime = AT + HOUR) -> bytes:
    status = OCSPCertStatus.REVOKED if revoked else OCSPCertStatus.GOOD
    return ocsp_response(status, leaf=about, issuer=by, begins=AT - HOUR, ends=until, digest=hashes.SHA256())


@dataclass
class Web(Outside):
    """Who is asked: what it says, after so many seconds."""

    says: object
    delay: float = 0.5
    withdrawn: int = 0

    def __post_init__(self) -> None:
        self.asked: list[AskRevocation] = []

    def answer(self, question: object) -> tuple[float, object]:
        assert isinstance(question, AskRevocation)
        self.asked.append(question)
        return self.delay, self.says


ENDS = ["responder", "initiator"]


def asking(end: str, web: Web, policy: Revocation, *, by: Issued = ROOT, more: Any = None) -> Pair:
    """The end of this role asks about the other one's certificate."""
    told = where() if more is None else more
    ours, theirs = holder("left", by, more=told), holder("right", by, more=told)
    pair = Pair(ours, theirs)
    if end == "responder":
        pair.right = replace(pair.right, remote_auth=(replace(pair.right.remote_auth[0], revocation=policy),))
        pair.left = replace(pair.left, remote_auth=(replace(pair.left.remote_auth[0], revocation=Revocation.OFF),))
        pair.b.outside = web
    else:
        pair.left = replace(pair.left, remote_auth=(replace(pair.left.remote_auth[0], revocation=policy),))
        pair.right = replace(pair.right, remote_auth=(replace(pair.right.remote_auth[0], revocation=Revocation.OFF),))
        pair.a.outside = web
    return pair


def judge(pair: Pair, end: str) -> Any:
    return pair.attempt(pair.b if end == "responder" else pair.a)


@pytest.mark.parametrize("end", ENDS)
def test_a_strict_end_asks_while_the_other_waits(end: str) -> None:
    web = Web(Told())
    pair = asking(end, web, Revocation.STRICT)
    about = pair.ours if end == "responder" else pair.theirs
    web.says = Told((response(about),))
    pair.run(5)
    assert pair.stands
    assert [one.pairs for one in web.asked] == [((about.der, ROOT.der),)]
    host, name = (pair.b, "left") if end == "responder" else (pair.a, "right")
    pair.apply(host, pair.right if end == "responder" else pair.left, about_own(pair, end), (*pair.trusted, NEW))
    pair.network.run(1)
    assert host.engine.core.established(name) is not None, "what came is kept with the SA"


NEW = issue("O=New, CN=Root", None, ca=True, key=private("p256", 12)).authority("new")


def about_own(pair: Pair, end: str) -> Any:
    return (pair.theirs if end == "responder" else pair.ours).credential()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("policy", [Revocation.STRICT, Revocation.IF_REACHABLE])
def test_one_that_is_revoked_stays_out(end: str, policy: Revocation) -> None:
    web = Web(Told())
    pair = asking(end, web, policy)
    web.says = Told((response(pair.ours if end == "responder" else pair.theirs, revoked=True),))
    pair.run(5)
    assert not pair.stands
    attempt = judge(pair, end)
    assert (attempt.cause, attempt.notify) == ("certificate-revocation", NotifyType.AUTHENTICATION_FAILED)
    assert "by the check of its revocation: the OCSP responder of O=Lab, CN=Root says" in attempt.reason
    assert [bool(link.fault) for link in attempt.chain] == [True, False]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    ("says", "told"),
    [
        (NoAnswer("nobody may be asked"), "nobody may be asked"),
        (Told(why="http://ca.example/state did not answer"), "http://ca.example/state did not answer"),
    ],
)
def test_without_an_answer_strictness_decides(end: str, says: object, told: str) -> None:
    assert asking(end, Web(says), Revocation.IF_REACHABLE).run(5).stands
    pair = asking(end, Web(says), Revocation.STRICT).run(5)
    assert not pair.stands
    assert told in judge(pair, end).reason


@pytest.mark.parametrize("end", ENDS)
def test_patience_has_an_end(end: str) -> None:
    web = Web(Told(), delay=1000)
    pair = asking(end, web, Revocation.IF_REACHABLE).run(PATIENCE - 1)
    assert not pair.stands
    pair.network.run(5)
    assert pair.stands
    assert web.withdrawn == 1


@pytest.mark.parametrize("end", ENDS)
def test_nobody_asks_for_one_that_does_not_hold_its_key(end: str) -> None:
    web = Web(Told())
    pair = asking(end, web, Revocation.STRICT)
    impostor = replace(pair.ours if end == "responder" else pair.theirs, key=private("p256", 40))
    if end == "responder":
        pair.ours = impostor
    else:
        pair.theirs = impostor
    pair.run(5)
    assert not pair.stands
    assert (web.asked, judge(pair, end).cause) == ([], "wrong-signature")


def test_only_certificates_that_say_where_are_asked_about() -> None:
    web = Web(Told())
    assert asking("responder", web, Revocation.IF_REACHABLE, more=[]).run(2).stands
    assert web.asked == []
    assert asking("responder", web, Revocation.IF_REACHABLE, more=where(responder=False)).run(2).stands
    assert len(web.asked) == 1


def test_each_link_of_a_chain_is_asked_about() -> None:
    below = authority("O=Lab, CN=Below", ROOT, more=where())
    web = Web(Told())
    pair = asking("responder", web, Revocation.STRICT, by=below)
    web.says = Told((response(pair.ours, below), response(below)))
    assert pair.run(5).stands
    assert web.asked[0].pairs == ((pair.ours.der, below.der), (below.der, ROOT.der))
    web = Web(Told())
    pair = asking("responder", web, Revocation.IF_REACHABLE, by=below)
    web.says = Told((response(pair.ours, below), response(below, revoked=True)))
    assert not pair.run(5).stands


# --- RFC 4806 ---


@pytest.mark.parametrize("end", ENDS)
def test_a_response_goes_along_with_our_certificate(end: str) -> None:
    web = Web(NoAnswer("nobody may be asked"))
    pair = asking(end, web, Revocation.STRICT)
    about = pair.ours if end == "responder" else pair.theirs
    credential = about.credential(ocsp=response(about))
    own = {"responder": (pair.theirs.credential(), credential), "initiator": (credential, pair.ours.credential())}[end]
    pair.apply(pair.b, pair.right, own[0])
    pair.apply(pair.a, pair.left, own[1])
    pair.network.run(3)
    assert pair.stands
    assert web.asked == []
    sa = (pair.b if end == "responder" else pair.a).engine.ike_sas()[0]
    assert sa.evidence is not None
    assert sa.evidence.ocsp == (credential.ocsp,)


def test_who_does_not_ask_gets_none() -> None:
    pair = asking("responder", Web(Told()), Revocation.OFF)
    pair.apply(pair.b, pair.right, pair.theirs.credential())
    pair.apply(pair.a, pair.left, pair.ours.credential(ocsp=response(pair.ours)))
    pair.network.run(3)
    assert pair.stands
    (sa,) = pair.b.engine.ike_sas()
    assert sa.evidence is not None
    assert sa.evidence.ocsp == ()


@pytest.mark.parametrize("what", ["revoked", "stale", "of another"])
def test_a_response_that_came_along_is_judged(what: str) -> None:
    pair = asking("responder", Web(NoAnswer("nobody may be asked")), Revocation.STRICT)
    sent = {
        "revoked": lambda: response(pair.ours, revoked=True),
        "stale": lambda: response(pair.ours, until=AT - HOUR / 2),
        "of another": lambda: response(pair.theirs),
    }[what]()
    pair.apply(pair.b, pair.right, pair.theirs.credential())
    pair.apply(pair.a, pair.left, pair.ours.credential(ocsp=sent))
    pair.network.run(3)
    assert not pair.stands
    assert judge(pair, "responder").cause == "certificate-revocation"


# --- certificates that end while a session stands ---

DAY = 86_400.0


def short(side: str, seconds: float) -> Issued:
    return holder(side, more=[], ends=dt.datetime.fromtimestamp(NOW + seconds, dt.UTC))


def quiet(pair: Pair) -> Pair:
    """No rekey of the IKE SA but where a test wants one."""
    pair.left, pair.right = (replace(one, rekey_time=0.0, dpd_delay=0.0) for one in (pair.left, pair.right))
    return pair


@pytest.mark.parametrize("rekeyed", [False, True])
@pytest.mark.parametrize("who", ["left", "right"])
def test_a_session_ends_with_its_peer_s_certificate(who: str, rekeyed: bool) -> None:
    ends = short("left", 3600) if who == "left" else None, short("right", 3600) if who == "right" else None
    pair = quiet(Pair(*ends)).run()
    judging, name = (pair.b, "left") if who == "left" else (pair.a, "right")
    if rekeyed:
        _, effects = pair.a.engine.rekey("right", None, pair.network.now)
        pair.network.perform(pair.a, effects)
    pair.network.run(3590)
    assert pair.stands
    pair.network.run(20)
    assert judging.engine.core.established(name) is None
    told = [event.text for event in judging.events if "does not hold any longer" in event.text]
    assert [text.partition(" ")[0] for text in told] == ["CHILD_SA", "IKE"]
    assert all(f"O=Lab, CN={who} expired at 2026-11-25 01:00 UTC" in text for text in told)
    pair.network.run(60)
    assert judging.engine.core.attempts.latest(1)[0].cause == "certificate-validity"


@pytest.mark.parametrize("who", ["left", "right"])
def test_one_that_came_back_by_a_ticket_ends_with_it_too(who: str) -> None:
    ends = short("left", 1800) if who == "left" else None, short("right", 1800) if who == "right" else None
    pair = Pair(*ends).run()
    pair.come_back()
    pair.network.run(1400)
    judging, name = (pair.b, "left") if who == "left" else (pair.a, "right")
    assert judging.engine.core.established(name) is None
    assert judging.engine.core.attempts.latest(1)[0].cause == "certificate-validity"


@pytest.mark.parametrize("revoked", [False, True])
def test_an_answer_that_takes_nothing_away_leaves_what_came_back_by_a_ticket(revoked: bool) -> None:
    pair = Pair().run()
    told = replace(ROOT.authority(), ocsp=(response(pair.ours),))
    for ticket in (True, False):  # one that is held, and one by which it came back
        pair.network.weather = Weather(loss=1.0)
        pair.network.run(200)
        pair.network.weather = Weather()
        if ticket:
            pair.apply(pair.b, pair.right, pair.theirs.credential(), (told,))
        pair.network.run(300)
        assert pair.stands
    assert pair.b.engine.core.counters["resumed"] == 2
    other = holder("other")
    told = replace(told, ocsp=(*told.ocsp, response(other, revoked=revoked)))
    pair.apply(pair.b, pair.right, pair.theirs.credential(), (told,))
    pair.network.run(1)
    assert (pair.b.engine.core.established("left") is None) is revoked, "who came back has no certificate to look at"


def test_an_intermediate_that_ends_first_counts() -> None:
    below = authority("O=Lab, CN=Below", ROOT, ends=dt.datetime.fromtimestamp(NOW + 600, dt.UTC))
    pair = quiet(Pair(holder("left", below, more=[]))).run()
    assert pair.stands
    pair.network.run(620)
    assert any("O=Lab, CN=Below expired" in event.text for event in pair.b.events)


@pytest.mark.parametrize("who", ["left", "right"])
def test_one_that_was_renewed_in_time_keeps_its_session_up(who: str) -> None:
    """The caller authenticates again before the end, by itself or because the other end says when that is."""
    ends = short("left", DAY) if who == "left" else None, short("right", DAY) if who == "right" else None
    pair = quiet(Pair(*ends))
    pair.run()
    host, config, side = (pair.a, pair.left, "left") if who == "left" else (pair.b, pair.right, "right")
    pair.network.run(DAY / 2)
    pair.apply(host, config, short(side, 30 * DAY).credential())
    pair.network.run(DAY / 2 - 30)
    seen = [pair.stands]
    for _ in range(60):
        pair.network.run(1)
        seen.append(pair.stands)
    assert all(seen)
    assert not any("does not hold any longer" in event.text for host in (pair.a, pair.b) for event in host.events)
    pair.network.run(10 * DAY)
    assert pair.stands


def test_nobody_is_pestered_about_a_certificate_that_ends() -> None:
    pair = quiet(Pair(short("left", DAY))).run()
    pair.network.run(DAY - 10)
    made = [event for event in pair.b.events if event.kind == "ike-sa.established"]
    assert pair.stands
    assert 2 <= len(made) <= 7


def test_a_called_end_that_cannot_be_called_back_is_cut() -> None:
    """Its certificate was not renewed, and the caller does not authenticate again."""
    pair = quiet(Pair(None, short("right", 900)))
    pair.left = replace(pair.left, children=(replace(pair.left.children[0], start=Start.PASSIVE),))
    pair.run(0)
    _, effects = pair.a.engine.connect("right", None, pair.network.now)
    pair.network.perform(pair.a, effects)
    pair.network.run(3)
    assert pair.stands
    pair.network.run(1000)
    assert pair.a.engine.ike_sas() == []
    assert pair.b.engine.ike_sas() == []


def test_sha1_that_is_switched_off_ends_what_stands_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ike.exchanges.init._SIGNATURE_HASHES", b"")
    ours = issue("O=Lab, CN=left", ROOT, "dns:left.example", key=private("rsa", 1))
    pair = Pair(ours, remote={"sha1": True})
    pair.left = replace(pair.left, local_auth=(replace(pair.left.local_auth[0], sha1=True),))
    pair.run()
    assert pair.stands
    off = replace(pair.right, remote_auth=(replace(pair.right.remote_auth[0], sha1=False),))
    pair.apply(pair.b, off, pair.theirs.credential())
    pair.network.run(2)
    assert pair.b.engine.core.established("left") is None
    assert any("signed with SHA-1" in event.text for event in pair.b.events)


def test_sha1_that_is_switched_off_leaves_others_alone() -> None:
    pair = Pair(remote={"sha1": True}).run()
    before = pair.b.engine.core.established("left")
    off = replace(pair.right, remote_auth=(replace(pair.right.remote_auth[0], sha1=False),))
    pair.apply(pair.b, off, pair.theirs.credential())
    pair.network.run(5)
    assert pair.b.engine.core.established("left") is before is not None


# --- trust that changes while somebody waits ---


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("trusted", [True, False])
def test_who_is_trusted_no_longer_when_the_answer_comes_stays_out(end: str, trusted: bool) -> None:
    pair = asking(end, Web(Told(), delay=2), Revocation.IF_REACHABLE).run(1)
    host, config = (pair.b, pair.right) if end == "responder" else (pair.a, pair.left)
    assert [bool(sa.asked) for sa in host.engine.ike_sas()] == [True]
    pair.apply(host, config, about_own(pair, end), (*pair.trusted, NEW) if trusted else (NEW,))
    pair.network.run(3)
    assert pair.stands is trusted
    if not trusted:
        attempt = judge(pair, end)
        assert (attempt.cause, attempt.notify) == ("trust-changed", NotifyType.AUTHENTICATION_FAILED)
        assert attempt.reason.endswith("is its own issuer, and no authority that is trusted for this peer"), (
            attempt.reason
        )
