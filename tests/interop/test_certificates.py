"""Proof by certificates and public keys with strongSwan, both roles: every kind of key, and every refusal."""

import datetime as dt
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.interop.credentials import ROOT, Proven, ends, load
from tests.interop.planes import roles, userspace_only
from tests.interop.test_refusals import ended_at, failed
from tests.interop.tunnels import Net, Pair
from tests.lab.appliance import until
from tests.lab.charon import CharonError
from tests.pki import CODE, authority, issue, private, revocation_list, root

pytestmark = userspace_only

BELOW = authority("C=CH, O=Lab, CN=Below", ROOT, key=private("p384", 8))
SCHEMES: dict[str, tuple[str, str, str]] = {
    "rsa-v15": ("rsa", "rsa-sha256", "ike:rsa-sha256"),
    "rsa-v15-512": ("rsa", "rsa-sha512", "ike:rsa-sha512"),
    "rsa-pss": ("rsa3072", "rsa-pss-sha256", "ike:rsa/pss-sha256"),
    "rsa-pss-384": ("rsa", "rsa-pss-sha384", "ike:rsa/pss-sha384"),
    "ecdsa-256": ("p256", "ecdsa-sha256", "ike:ecdsa-sha256"),
    "ecdsa-384": ("p384", "ecdsa-sha384", "ike:ecdsa-sha384"),
    "ecdsa-521": ("p521", "ecdsa-sha512", "ike:ecdsa-sha512"),
    "ed25519": ("ed25519", "ed25519", "ike:ed25519"),
    "ed448": ("ed448", "ed448", "ike:ed448"),
}
PROVEN = {
    **{
        name: Proven(
            name=name, **ends(name, kind), ours={"scheme": scheme}, theirs={"auth": auth}, of_us={"auth": auth}
        )
        for name, (kind, scheme, auth) in SCHEMES.items()
    },
    **{
        f"raw-{kind}": Proven(name=f"raw-{kind}", **ends(f"raw-{kind}", kind), raw=True)
        for kind in ("rsa", "p256", "ed25519")
    },
    "intermediate": Proven(name="intermediate", **ends("intermediate", by=BELOW)),
    "distinguished": Proven(
        name="distinguished",
        **ends("distinguished"),
        left_id="C=CH, O=Lab, CN=distinguished left",
        right_id="C=CH, O=Lab, CN=distinguished right",
    ),
}


@roles
@pytest.mark.parametrize("name", PROVEN)
def test_both_ends_prove_themselves(pair: Pair, name: str, initiator: str) -> None:
    proven = PROVEN[name]
    load(pair, proven)
    tunnel = proven.tunnel()
    pair.up(tunnel, initiator=initiator)
    attempt = pair.gateway.attempt(name)
    told = " ".join(step["text"] for step in attempt["steps"])
    if name in SCHEMES:
        label = {"rsa-v15": "RSA PKCS#1 v1.5", "rsa-pss": "RSA-PSS", "ecdsa": "ECDSA"}
        assert any(words in told for start, words in label.items() if name.startswith(start)) or name in told.lower()
    assert len(attempt["chain"]) == (0 if proven.raw else 3 if name == "intermediate" else 2)
    assert pair.pings()
    pair.down(tunnel)


AUTHENTICATION_FAILED = 24
STRANGER = root("C=CH, O=Elsewhere, CN=Root", key=private("p256", 9))


def theirs(name: str, by: Any = ROOT, *names: str, **more: Any) -> Any:
    """strongSwan's certificate in the tunnel `refused`, with one deviation."""
    return issue(f"C=CH, O=Lab, CN={name}", by, *(names or ("dns:refused.right.lab",)), key=private("p256", 2), **more)


def limited(**limits: Any) -> Any:
    return authority("C=CH, O=Lab, CN=Limited", ROOT, key=private("p384", 7), **limits)


REFUSED: dict[str, tuple[Any, str, str, str]] = {
    "unknown authority": (
        theirs("a", STRANGER),
        "certificate-trust",
        "trusted authority",
        "C=CH, O=Elsewhere, CN=Root",
    ),
    "expired": (
        theirs("b", ends=dt.datetime(2026, 11, 20, tzinfo=dt.UTC)),
        "certificate-validity",
        "validity period",
        "expired at 2026-11-20",
    ),
    "wrong purpose": (theirs("c", purposes=[CODE]), "certificate-purpose", "extended key usage", "signing code"),
    "wrong name": (theirs("d", ROOT, "dns:other.lab"), "certificate-identity", "identity", "other.lab"),
    "not permitted": (
        theirs("e", limited(permitted=["dns:elsewhere.lab"])),
        "certificate-name-constraints",
        "name constraints",
        "does not permit refused.right.lab",
    ),
    "excluded in another case": (
        theirs("f", limited(excluded=["dns:REFUSED.right.LAB"])),
        "certificate-name-constraints",
        "name constraints",
        "excludes",
    ),
    "revoked": (theirs("g", serial=4711), "certificate-revocation", "revocation", "Lab Root revoked"),
}


def refused(right: Any, **more: Any) -> Proven:
    return Proven(name="refused", left=ends("refused")["left"], right=right, **more)


def revocations(serial: int) -> dict[str, Any]:
    pem = x509.load_der_x509_crl(revocation_list(ROOT, serial)).public_bytes(Encoding.PEM).decode()
    return {"crls": [pem]}


@roles
@pytest.mark.parametrize("what", REFUSED)
def test_a_certificate_that_does_not_hold_is_refused_by_name(pair: Pair, what: str, initiator: str) -> None:
    certificate, cause, check, words = REFUSED[what]
    proven = refused(certificate)
    load(pair, proven, authority=revocations(4711))
    says = "received AUTHENTICATION_FAILED" if initiator == "theirs" else "AUTH_FAILED"
    attempt = failed(pair, proven.tunnel(), initiator, charon_says=says)
    assert (attempt["cause"], attempt["notify"]) == (cause, AUTHENTICATION_FAILED)
    assert f"by the check of its {check}" in attempt["reason"]
    assert words in attempt["reason"]
    assert [link["fault"] for link in attempt["chain"] if link["fault"]] == [attempt["reason"].split(": ", 1)[1]]
    assert ended_at(attempt) == "prove who we are"
    until(lambda: not pair.charon.list_sas(), "strongSwan has no SA")


def test_a_certificate_that_is_revoked_cuts_the_sa_that_stands(pair: Pair) -> None:
    proven = refused(theirs("h", serial=4712))
    load(pair, proven, authority=revocations(1))
    tunnel = proven.tunnel()
    pair.up(tunnel, initiator="theirs")
    load(pair, proven, authority=revocations(1))
    assert pair.gateway.ike_sas("refused")
    pair.gateway.apply({"authorities": [{"name": "lab", "certificate": ROOT.pem, **revocations(4712)}]})
    until(lambda: not pair.gateway.peer("refused")["ike_sas"], "our end cuts it", 5)
    until(lambda: not pair.theirs(tunnel), "strongSwan is told")


@roles
def test_a_session_ends_with_its_peer_s_certificate(pair: Pair, initiator: str) -> None:
    ends_at = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=15)
    proven = refused(theirs("z", ends=ends_at))
    load(pair, proven)
    tunnel = proven.tunnel()
    pair.up(tunnel, initiator=initiator)
    assert pair.pings()
    until(lambda: not pair.gateway.ike_sas("refused"), "our end cuts it", 30)
    assert dt.datetime.now(dt.UTC) > ends_at
    until(lambda: not pair.theirs(tunnel), "strongSwan is told")
    closed = [line for line in pair.gateway.tail(200).splitlines() if "does not hold any longer" in line]
    assert any("CN=z expired at" in line for line in closed), pair.gateway.tail()


def test_a_renewed_certificate_of_ours_drops_nothing(pair: Pair) -> None:
    proven = Proven(name="renewed", **ends("renewed"))
    load(pair, proven)
    tunnel = proven.tunnel()
    pair.up(tunnel, initiator="ours")
    (before,) = pair.gateway.ike_sas("renewed")
    newer = issue("C=CH, O=Lab, CN=renewed left", ROOT, "dns:renewed.left.lab", key=private("p384", 5))
    entry = {"name": "renewed", "certificate": newer.pem, "private_key": newer.key_pem}
    pair.gateway.apply({"certificates": [entry]})
    assert pair.pings()
    (after,) = pair.gateway.ike_sas("renewed")
    assert before["id"] == after["id"]
    pair.down(tunnel)
    pair.up(tunnel, initiator="ours")
    shown = pair.theirs(tunnel)
    assert shown and pair.pings()
    pair.down(tunnel)


def not_trusted() -> Proven:
    ours = issue("C=CH, O=Elsewhere, CN=left", STRANGER, "dns:refused.left.lab", key=private("p256", 1))
    return Proven(name="refused", left=ours, right=ends("refused")["right"])


def test_a_responder_that_does_not_trust_us_says_so(pair: Pair) -> None:
    load(pair, not_trusted())
    attempt = failed(pair, not_trusted().tunnel(), "ours", charon_says="no trusted")
    assert attempt["cause"] == "peer-refused-us"
    assert "does not trust our certificate" in attempt["reason"]


def test_an_initiator_that_does_not_trust_us_goes(pair: Pair) -> None:
    """We are established when it hears our proof; it then says AUTHENTICATION_FAILED (RFC 7296 2.21.2)."""
    load(pair, not_trusted())
    before = len(pair.charon.log())
    with pytest.raises(CharonError):
        pair.charon.initiate(not_trusted().tunnel().child_name(Net()))
    assert "no trusted" in pair.charon.log()[before:]
    until(lambda: not pair.gateway.peer("refused")["ike_sas"], "our end has no SA")


@roles
@pytest.mark.parametrize("methods", [("certificate", "psk"), ("psk", "certificate")])
def test_each_end_proves_itself_in_its_own_way(pair: Pair, methods: tuple[str, str], initiator: str) -> None:
    ours, theirs_method = methods
    how = {"psk": "psk", "certificate": "pubkey"}
    proven = Proven(
        name="mixed",
        **ends("mixed"),
        ours={"method": ours, **({"certificate": ""} if ours == "psk" else {})},
        of_them={"method": theirs_method},
        theirs={"auth": how[theirs_method]},
        of_us={"auth": how[ours]},
    )
    load(pair, proven)
    pair.up(proven.tunnel(), initiator=initiator)
    assert pair.pings()
    pair.down(proven.tunnel())
