"""Chains of certificates, honest and hostile: each deviation is refused by the check that it breaks, and named."""

import datetime as dt
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gateway.crypto.certificates import MAX_OCTETS, Certificate, InvalidCertificate
from gateway.crypto.chains import MAX_SENT, Chain, Check, Trust, Untrusted, verify
from tests.pki import CLIENT, CODE, IKE, NOW, SERVER, Issued, authority, issue, private, root, usage

ROOT = root()
BELOW = authority("O=Lab, CN=Below", ROOT)
LEAF = issue("O=Lab, CN=moon", BELOW, "dns:moon.example")


def trust(*anchors: Issued, below: tuple[Issued, ...] = (), now: float = NOW) -> Trust:
    read = [Certificate.read(one.der) for one in anchors or (ROOT,)]
    return Trust(tuple(read), tuple(Certificate.read(one.der) for one in below), now=now)


def verified(
    leaf: Issued, *sent: Issued, anchors: tuple[Issued, ...] = (), initiator: bool = True, **more: Any
) -> Chain:
    return verify([leaf.der, *(one.der for one in sent)], trust(*anchors, **more), initiator=initiator)


def refused(leaf: Issued, *sent: Issued, **more: Any) -> Untrusted:
    with pytest.raises(Untrusted) as caught:
        verified(leaf, *sent, **more)
    assert caught.value.why.isprintable()
    return caught.value


def test_a_chain_by_way_of_what_was_sent_or_is_known() -> None:
    for chain in (verified(LEAF, BELOW), verified(LEAF, below=(BELOW,)), verified(LEAF, LEAF, ROOT, BELOW)):
        assert [one.text for one in chain.certificates] == [
            "O=Lab, CN=moon",
            "O=Lab, CN=Below",
            "O=Lab, CN=Root",
        ]
        assert chain.leaf.der == LEAF.der
        assert chain.anchor.der == ROOT.der
        assert not any(link.fault for link in chain.links)
    assert verified(issue("CN=direct", ROOT)).anchor.der == ROOT.der


def test_an_intermediate_may_be_the_anchor() -> None:
    assert len(verified(LEAF, anchors=(BELOW,)).certificates) == 2


def test_a_certificate_may_be_trusted_itself() -> None:
    alone = issue("CN=alone")
    assert verified(alone, anchors=(alone,)).anchor.der == alone.der
    assert refused(alone).check is Check.TRUST


def test_of_several_authorities_of_one_name_the_right_one_is_found() -> None:
    other = root(key=private("p256", 99))
    for identifiers in (True, False):
        leaf = issue("CN=moon", other, identifiers=identifiers)
        assert verified(leaf, anchors=(ROOT, other)).anchor.der == other.der


@pytest.mark.parametrize("kind", ["rsa", "p256", "p384", "p521", "ed25519", "ed448"])
def test_every_kind_of_key_signs_certificates(kind: str) -> None:
    top = root("CN=Top", key=private(kind, 1))
    assert verified(issue("CN=end", top, key=private(kind, 2)), anchors=(top,)).leaf.key.kind


@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda one: one.name)
def test_rsa_pss_signs_certificates(digest: hashes.HashAlgorithm) -> None:
    top = root("CN=Top", key=private("rsa", 1))
    pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
    assert verified(issue("CN=end", top, digest=digest, padding=pss), anchors=(top,)).leaf


DEVIATIONS: dict[str, tuple[Check, str, Any]] = {
    "expired": (Check.VALIDITY, "expired at 2026-11-24", {"ends": dt.datetime(2026, 11, 24, tzinfo=dt.UTC)}),
    "not yet": (Check.VALIDITY, "not valid before", {"begins": dt.datetime(2026, 11, 26, tzinfo=dt.UTC)}),
    "wrong purpose": (Check.PURPOSE, "signing code", {"purposes": [CODE]}),
    "no signing": (Check.KEY_USAGE, "not for signatures", {"key_usage": usage("key_encipherment")}),
    "small key": (Check.KEY, "1024 bits", {"key": private("rsa1024")}),
    "small exponent": (Check.KEY, "exponent 3", {"key": rsa.generate_private_key(3, 2048)}),
    "critical": (
        Check.CRITICAL,
        "1.2.3.4",
        {"more": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)]},
    ),
    "policy constraints": (Check.CRITICAL, "2.5.29.36", {"more": [(x509.PolicyConstraints(0, None), True)]}),
    "forged": (Check.SIGNATURE, "not by the key of", {"signer": private("p256", 666)}),
}


@pytest.mark.parametrize("what", DEVIATIONS)
def test_what_is_wrong_with_the_peer_s_own_certificate_is_named(what: str) -> None:
    check, words, deviation = DEVIATIONS[what]
    found = refused(issue("CN=moon", BELOW, **deviation), BELOW)
    assert found.check is check
    assert words in found.why
    assert "CN=moon" in found.why
    assert [bool(link.fault) for link in found.links] == [True, False, False]


HIGHER = {name: DEVIATIONS[name] for name in ("expired", "not yet", "small key", "critical", "forged")} | {
    "no authority": (Check.AUTHORITY, "is no authority", {"ca": False}),
    "nothing said": (Check.AUTHORITY, "is no authority", {"ca": None}),
    "no certificates": (Check.KEY_USAGE, "not for signing certificates", {"key_usage": usage("digital_signature")}),
}


@pytest.mark.parametrize("what", HIGHER)
def test_what_is_wrong_with_an_intermediate_is_named(what: str) -> None:
    check, words, deviation = HIGHER[what]
    between = authority("CN=Between", ROOT, **deviation)
    found = refused(issue("CN=moon", between, key=private("p256", 5)), between)
    assert (found.check, words in found.why) == (check, True)
    assert "CN=Between" in found.why
    assert [bool(link.fault) for link in found.links] == [False, True, False]


def test_an_anchor_that_expired_is_no_anchor() -> None:
    old = root("CN=Old", ends=dt.datetime(2026, 11, 1, tzinfo=dt.UTC))
    assert refused(issue("CN=moon", old), anchors=(old,)).check is Check.VALIDITY


def test_a_user_cannot_issue() -> None:
    """The oldest hole: any certificate of the authority's used as if it were one (CVE-2002-0862)."""
    user = issue("CN=user", ROOT, ca=False)
    assert refused(issue("CN=gateway", user), user).check is Check.AUTHORITY


@pytest.mark.parametrize(("length", "holds"), [(None, True), (2, True), (1, True), (0, False)])
def test_the_path_length(length: int | None, holds: bool) -> None:
    top = root("CN=Top", path_length=length)
    one = authority("CN=One", top)
    leaf = issue("CN=end", one)
    if holds:
        assert verified(leaf, one, anchors=(top,))
    else:
        found = refused(leaf, one, anchors=(top,))
        assert (found.check, "allows 0 authorities" in found.why) == (Check.PATH_LENGTH, True)


def test_a_self_issued_intermediate_does_not_count_for_the_path_length() -> None:
    top = root("CN=Top", path_length=1)
    again = authority("CN=Top", top, key=private("p256", 77))
    below = authority("CN=Below", again)
    assert len(verified(issue("CN=end", below), below, again, anchors=(top,)).certificates) == 4


@pytest.mark.parametrize(
    ("purposes", "as_initiator", "as_responder"),
    [
        ((), True, True),
        ((IKE,), True, True),
        ((x509.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), True, True),
        ((SERVER,), True, True),
        ((SERVER, CLIENT), True, True),
        ((CLIENT,), True, False),
        ((CODE,), False, False),
        ((CODE, IKE), True, True),
    ],
)
def test_a_client_s_certificate_does_not_make_a_gateway(
    purposes: tuple[x509.ObjectIdentifier, ...], as_initiator: bool, as_responder: bool
) -> None:
    leaf = issue("CN=moon", ROOT, purposes=purposes)
    for initiator, holds in ((True, as_initiator), (False, as_responder)):
        if holds:
            assert verified(leaf, initiator=initiator)
        else:
            assert refused(leaf, initiator=initiator).check is Check.PURPOSE


@pytest.mark.parametrize(
    "bits", [("digital_signature",), ("content_commitment",), ("digital_signature", "key_agreement")]
)
def test_key_usages_that_sign(bits: tuple[str, ...]) -> None:
    assert verified(issue("CN=moon", ROOT, key_usage=usage(*bits)))


def test_sha1_signs_nothing() -> None:
    top = root("CN=Top", key=private("rsa", 1))
    made = issue("CN=moon", top, digest=hashes.SHA256())
    octets = made.der.replace(
        bytes.fromhex("300d06092a864886f70d01010b0500"), bytes.fromhex("300d06092a864886f70d0101050500")
    )
    with pytest.raises(Untrusted) as caught:
        verify([octets], trust(top), initiator=True)
    assert (caught.value.check, "sha1" in caught.value.why) == (Check.ALGORITHM, True)


def test_an_unknown_authority_is_named() -> None:
    other = root("O=Elsewhere, CN=Root", key=private("p256", 9))
    assert "O=Elsewhere, CN=Root, which issued" in refused(issue("CN=moon", other)).why
    assert "its own issuer" in refused(issue("CN=moon", other), other).why
    same_name = root(key=private("p256", 9))
    assert refused(issue("CN=moon", same_name)).check is Check.TRUST
    assert refused(issue("CN=moon", same_name, identifiers=False)).check is Check.SIGNATURE


def test_no_trust_is_no_trust() -> None:
    with pytest.raises(Untrusted) as caught:
        verify([LEAF.der, BELOW.der, ROOT.der], Trust((), now=NOW), initiator=True)
    assert caught.value.check is Check.TRUST


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x30",
        b"\x30\x80\0\0",
        b"\x30\x84\xff\xff\xff\xff",
        b"\0" * 40,
        LEAF.der[:-1],
        LEAF.der + b"\0",
        bytes(MAX_OCTETS + 1),
    ],
    ids=["nothing", "short", "indefinite", "huge", "zeros", "less", "more", "long"],
)
def test_what_is_no_certificate_is_refused_as_such(octets: bytes) -> None:
    with pytest.raises(InvalidCertificate):
        Certificate.read(octets)
    with pytest.raises(Untrusted) as caught:
        verify([octets, BELOW.der], trust(), initiator=True)
    assert caught.value.check is Check.FORM
    assert verified(LEAF, BELOW).leaf
    assert verify([LEAF.der, octets, BELOW.der], trust(), initiator=True)


def test_every_octet_changed_or_cut_is_refused() -> None:
    """No other exception than Untrusted leaves."""
    for at in range(len(LEAF.der)):
        others = {LEAF.der[at] ^ 0x20, LEAF.der[at] ^ 0x81, 0xFF} - {LEAF.der[at]}
        for changed in (LEAF.der[:at], *(LEAF.der[:at] + bytes((one,)) + LEAF.der[at + 1 :] for one in others)):
            with pytest.raises(Untrusted):
                verify([changed, BELOW.der], trust(), initiator=True)


def test_too_many_certificates_are_not_looked_at() -> None:
    with pytest.raises(Untrusted) as caught:
        verify([LEAF.der] * (MAX_SENT + 1), trust(), initiator=True)
    assert "16" in caught.value.why
    with pytest.raises(Untrusted):
        verify([], trust(), initiator=True)


def test_chains_woven_together_cost_no_more_than_a_bound() -> None:
    """Authorities that all issued each other: paths are as many as their orders."""
    names = [f"CN=Weave {number}" for number in range(15)]
    keys = [private("p256", 300 + number) for number in range(15)]
    heads = [root(one, key=key) for one, key in zip(names, keys, strict=True)]
    woven = [authority(names[n], heads[m], key=keys[n]) for n in range(15) for m in range(15) if n != m]
    leaf = issue("CN=moon", heads[0])
    for sent in (woven[:15], woven[-15:]):
        assert refused(leaf, *sent).check is Check.TRUST
    looped = [authority("CN=Same", heads[0], key=private("p256", 400), issuer="CN=Same") for _ in range(2)]
    assert refused(issue("CN=moon", looped[0]), *looped).check is Check.TRUST
