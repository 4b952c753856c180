"""What lists of revoked certificates and OCSP responses say, and which of them count."""

import datetime as dt
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from gateway.crypto import der, revocation
from gateway.crypto.certificates import Certificate, at_time
from gateway.crypto.revocation import MAX_OCSP_OCTETS, Standing, State, standing
from tests.pki import NOW, Issued, authority, issue, private, revocation_list, root, usage

ROOT = root()
OTHER = root("O=Elsewhere, CN=Root", key=private("p256", 9))
LEAF = issue("CN=moon", ROOT, key=private("p256", 1), serial=1001)
MOMENT = at_time(NOW)
OLD = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
PAST = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
URI = x509.UniformResourceIdentifier("http://elsewhere.example/")
LATER = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)


def found(*crls: bytes, ocsp_responses: tuple[bytes, ...] = (), leaf: Issued = LEAF, issuer: Issued = ROOT) -> Standing:
    one, above = Certificate.read(leaf.der), Certificate.read(issuer.der)
    return standing(one, above, crls, ocsp_responses, MOMENT)


def scope(**more: Any) -> x509.IssuingDistributionPoint:
    nothing: dict[str, Any] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**{**nothing, **more})


def test_a_fresh_list_says_good_or_revoked() -> None:
    assert found(revocation_list(ROOT, 5, 6)).state is State.GOOD
    revoked = found(revocation_list(ROOT, 5, 1001))
    assert (revoked.state, "revoked CN=moon at 2026-11-20" in revoked.why) == (State.REVOKED, True)
    assert found().state is State.UNKNOWN


def test_an_old_list_says_nothing_good_but_still_what_was_revoked() -> None:
    assert found(revocation_list(ROOT, 5, begins=OLD, ends=PAST)).state is State.UNKNOWN
    assert found(revocation_list(ROOT, 1001, begins=OLD, ends=PAST)).state is State.REVOKED
    assert found(revocation_list(ROOT, 1001, begins=OLD, ends=PAST), revocation_list(ROOT)).state is State.REVOKED


def test_a_list_that_does_not_say_until_when_is_good_for_a_day() -> None:
    for begins, state in ((OLD, State.UNKNOWN), (MOMENT - dt.timedelta(hours=20), State.GOOD)):
        signed = der.whole(revocation_list(ROOT, 5, begins=begins), der.SEQUENCE)
        _, content, end = der.element(signed)
        fields = list(der.inside(content))
        del fields[4]  # nextUpdate (RFC 5280 5.1)
        undated = der.pack(der.SEQUENCE, *(der.pack(tag, value) for tag, value in fields))
        signature = ROOT.key.sign(undated, ec.ECDSA(hashes.SHA256()))
        algorithm = der.pack(*der.element(signed, end)[:2])
        crl = der.pack(der.SEQUENCE, undated, algorithm, der.pack(der.BIT_STRING, b"\0", signature))
        assert (found(crl).state, found(crl).until) == (state, begins + dt.timedelta(days=1))


@pytest.mark.parametrize(
    "crl",
    [
        lambda: revocation_list(OTHER, 1001),
        lambda: revocation_list(ROOT, 1001, signer=private("p256", 66)),
        lambda: revocation_list(ROOT, 1001, begins=LATER, ends=LATER + dt.timedelta(days=9)),
        lambda: revocation_list(ROOT, 1001, more=[(scope(only_contains_ca_certs=True), True)]),
        lambda: revocation_list(ROOT, 1001, more=[(scope(indirect_crl=True), True)]),
        lambda: revocation_list(ROOT, 1001, more=[(scope(only_contains_attribute_certs=True), True)]),
        lambda: revocation_list(
            ROOT, 1001, more=[(scope(full_name=[x509.UniformResourceIdentifier("http://a/")]), True)]
        ),
        lambda: revocation_list(
            ROOT, 1001, more=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\5\0"), True)]
        ),
        lambda: b"",
        lambda: b"\x30\x03\x02\x01\x01",
        lambda: revocation_list(ROOT, 1001)[:-1],
    ],
    ids=[
        "other",
        "forged",
        "future",
        "for CAs",
        "indirect",
        "attributes",
        "elsewhere",
        "critical",
        "empty",
        "junk",
        "cut",
    ],
)
def test_a_list_that_is_not_for_this_certificate_says_nothing(crl: Any) -> None:
    assert found(crl()).state is State.UNKNOWN


def test_an_authority_that_may_not_sign_lists_signs_none() -> None:
    mute = root("CN=Mute", key_usage=usage("key_cert_sign"))
    leaf = issue("CN=moon", mute, serial=7)
    assert found(revocation_list(mute, 7), leaf=leaf, issuer=mute).state is State.UNKNOWN


def test_a_distribution_point_that_the_certificate_names() -> None:
    here = x509.UniformResourceIdentifier("http://lists.example/")
    points = x509.CRLDistributionPoints([x509.DistributionPoint([here], None, None, None)])
    leaf = issue("CN=moon", ROOT, serial=8, more=[(points, False)])
    crl = revocation_list(ROOT, 8, more=[(scope(full_name=[here]), True)])
    assert found(crl, leaf=leaf).state is State.REVOKED


def test_deltas_add_and_remove() -> None:
    base = revocation_list(ROOT, 1001, number=5)
    gone = revocation_list(ROOT, 1001, number=6, base=5, reason=x509.ReasonFlags.remove_from_crl)
    assert found(base, gone).state is State.GOOD
    clean = revocation_list(ROOT, number=5)
    added = revocation_list(ROOT, 1001, number=7, base=4)
    assert found(clean, added).state is State.REVOKED
    assert found(clean, revocation_list(ROOT, 1001, number=7, base=6)).state is State.GOOD  # not upon this one
    assert found(added).state is State.UNKNOWN  # a delta alone is no list


# --- OCSP ---


def response(
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    *,
    leaf: Issued = LEAF,
    issuer: Issued = ROOT,
    by: Issued | None = None,
    begins: dt.datetime = dt.datetime(2026, 11, 25, tzinfo=dt.UTC),
    ends: dt.datetime | None = LATER,
    digest: hashes.HashAlgorithm = hashes.SHA1(),  # noqa: B008
    more: Any = None,
) -> bytes:
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        leaf.certificate, issuer.certificate, digest, status, begins, ends, PAST if revoked else None, None
    )
    signer = by or issuer
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    if by is not None:
        builder = builder.certificates([by.certificate])
    if more:
        builder = builder.add_extension(more, critical=True)
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def said(octets: bytes, *crls: bytes) -> State:
    return found(*crls, ocsp_responses=(octets,)).state


def later() -> ocsp.OCSPResponse:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)


RESPONDER = issue("CN=responder", ROOT, purposes=[x509.ExtendedKeyUsageOID.OCSP_SIGNING])


def test_a_response_of_the_issuer_s_own_or_of_its_responder() -> None:
    for by in (None, RESPONDER):
        for digest in (hashes.SHA1(), hashes.SHA256()):
            assert said(response(by=by, digest=digest)) is State.GOOD
            assert said(response(ocsp.OCSPCertStatus.REVOKED, by=by, digest=digest)) is State.REVOKED
        assert said(response(ocsp.OCSPCertStatus.UNKNOWN, by=by)) is State.UNKNOWN


def test_who_says_revoked_is_believed_before_who_says_good() -> None:
    assert said(response(), revocation_list(ROOT, 1001)) is State.REVOKED
    assert said(response(ocsp.OCSPCertStatus.REVOKED), revocation_list(ROOT)) is State.REVOKED


@pytest.mark.parametrize(
    "octets",
    [
        lambda: response(ends=PAST, begins=OLD),
        lambda: response(ends=None, begins=OLD),
        lambda: response(begins=LATER, ends=LATER + dt.timedelta(days=1)),
        lambda: response(by=issue("CN=not a responder", ROOT)),
        lambda: response(by=issue("CN=r", OTHER, purposes=[x509.ExtendedKeyUsageOID.OCSP_SIGNING])),
        lambda: response(by=issue("CN=r", ROOT, purposes=[x509.ExtendedKeyUsageOID.OCSP_SIGNING], ends=PAST)),
        lambda: response(by=root(key=private("p256", 66))),
        lambda: response(leaf=issue("CN=sun", ROOT)),
        lambda: response(issuer=OTHER, leaf=issue("CN=moon", OTHER, serial=1001)),
        lambda: response(more=x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\5\0")),
        lambda: later().public_bytes(Encoding.DER),
        lambda: b"",
        lambda: b"\x30\x03\x0a\x01\x00",
        lambda: response()[:-1],
        lambda: bytes(MAX_OCSP_OCTETS + 1),
    ],
    ids="old undated future nobody stranger expired forged sun other critical later empty junk cut long".split(),
)
def test_a_response_that_does_not_count_says_nothing(octets: Any) -> None:
    assert said(octets()) is State.UNKNOWN


def test_every_octet_of_a_response_changed_says_nothing_else() -> None:
    octets = response(by=RESPONDER)
    for at in range(len(octets)):
        changed = octets[:at] + bytes((octets[at] ^ 0x11,)) + octets[at + 1 :]
        assert said(changed) in (State.UNKNOWN, State.GOOD)
    crl = revocation_list(ROOT, 77)
    for at in range(len(crl)):
        assert found(crl[:at] + bytes((crl[at] ^ 0x11,)) + crl[at + 1 :]).state in (State.UNKNOWN, State.GOOD)


def test_intermediates_speak_for_their_own() -> None:
    below = authority("CN=Below", ROOT, serial=50)
    leaf = issue("CN=moon", below, serial=51)
    assert found(revocation_list(ROOT, 51), leaf=leaf, issuer=below).state is State.UNKNOWN
    assert found(revocation_list(below, 51), leaf=leaf, issuer=below).state is State.REVOKED


def test_what_stays_parsed_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = [revocation_list(ROOT, number) for number in range(1, 30)]
    kept = revocation._Lists(3 * len(lists[0]), lambda octets: revocation._Read(revocation._list(octets)))
    issuer = Certificate.read(ROOT.der)
    for octets in lists:
        assert kept.made_by(octets, issuer) is not None
        assert kept.made_by(octets, Certificate.read(OTHER.der)) is None
        assert kept.octets <= 3 * len(lists[0])
    monkeypatch.setattr(revocation, "MAX_CRL_OCTETS", len(lists[0]) - 1)
    assert kept.made_by(lists[0], issuer) is None


def test_what_strangers_send_beside_a_certificate_is_not_kept_without_end() -> None:
    for number in range(300):
        said(number.to_bytes(2) + bytes(MAX_OCSP_OCTETS - 2))
    assert 0 < revocation._answers.octets <= revocation.KEPT_ANSWER_OCTETS
