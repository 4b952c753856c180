"""Certificates that do not hold, with libreswan 4.10 and 5.2: we refuse and say why, whoever calls; and it refuses us.

As initiator libreswan tells a responder whom it refuses nothing at all (RFC 7296 2.21.2 would have it say so): we
believe that the IKE SA stands until libreswan calls again, or does not answer us.
"""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.interop.credentials import ROOT, Proven
from tests.interop.credentials import ends as certificates
from tests.interop.test_libreswan import Ends, meeting
from tests.interop.test_libreswan_certificates import VERSIONS, prepared
from tests.lab.appliance import Plain, until
from tests.lab.namespaces import CommandFailedError
from tests.pki import CODE, Issued, authority, issue, private, revocation_list, root

pytestmark = [pytest.mark.in_kernel, pytest.mark.requires("root", "netns", "esp", "ping")]

AUTHENTICATION_FAILED = 24
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
STRANGER = root("C=CH, O=Elsewhere, CN=Root", key=private("p256", 9))
BELOW = authority("C=CH, O=Lab, CN=Below", ROOT, key=private("p384", 8))
LIMITED = authority("C=CH, O=Lab, CN=Limited", ROOT, key=private("p384", 7), permitted=["dns:elsewhere.lab"])
SERIAL = 4711


@pytest.fixture(scope="module", params=VERSIONS)
def ends(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    with meeting(tmp_path_factory.mktemp("libreswan"), request.param) as found:
        found.pluto.trust("root", ROOT.pem)
        yield found


def bad(name: str, side: str, by: Issued = ROOT, *names: str, **more: Any) -> Issued:
    key = private("p256", 1 if side == "left" else 2)
    return issue(f"C=CH, O=Lab, CN={name} {side}", by, *(names or (f"dns:{name}.{side}.lab",)), key=key, **more)


def made(what: str, name: str, side: str) -> Issued:
    """A certificate with one deviation."""
    match what:
        case "stranger":
            return bad(name, side, STRANGER)
        case "purpose":
            return bad(name, side, purposes=[CODE])
        case "name":
            return bad(name, side, ROOT, "dns:other.lab")
        case "limits":
            return bad(name, side, LIMITED)
        case "revoked":
            return bad(name, side, serial=SERIAL)
        case _:
            one = bad(name, side, BELOW)
            return Issued(one.certificate, one.key)  # and what stands above it is not sent


OURS = {
    "stranger": ("certificate-trust", "trusted authority", "C=CH, O=Elsewhere, CN=Root"),
    "purpose": ("certificate-purpose", "extended key usage", "signing code"),
    "name": ("certificate-identity", "identity", "other.lab"),
    "limits": ("certificate-name-constraints", "name constraints", "CN=Limited does not permit"),
    "revoked": ("certificate-revocation", "revocation", "Lab Root revoked"),
    "gap": ("certificate-trust", "trusted authority", "CN=Below, which issued"),
}


def crls() -> Plain:
    day = dt.timedelta(days=1)
    der = revocation_list(ROOT, SERIAL, begins=NOW - day, ends=NOW + day)
    return {"crls": [x509.load_der_x509_crl(der).public_bytes(Encoding.PEM).decode()]}


def refused(ends: Ends, name: str, initiator: str) -> Plain:
    """The attempt that failed, begun from one end; libreswan has no SA after it."""
    if initiator == "ours":
        assert not ends.gateway.connect(name)["ok"]
    else:
        with pytest.raises(CommandFailedError):
            ends.pluto.initiate(name)
    failed: Plain = until(lambda: finished(ends, name, initiator), f"a refusal when {initiator} call")
    assert not ends.gateway.children(name)
    until(lambda: not ends.pluto.states(name), "libreswan has no SA")
    return failed


def finished(ends: Ends, name: str, initiator: str) -> Plain | None:
    for attempt in ends.gateway.ask("attempts", peer=name, limit=5):
        if attempt["outcome"] == "failed" and attempt["initiator"] is (initiator == "ours"):
            return dict(attempt)
    return None


def named(attempt: Plain, cause: str, check: str, words: str) -> None:
    """The attempt says by which check we refused the certificate, and marks it in the chain."""
    assert (attempt["cause"], attempt["notify"]) == (cause, AUTHENTICATION_FAILED)
    assert f"is refused by the check of its {check}: " in attempt["reason"]
    assert words in attempt["reason"]
    assert attempt["reason"].endswith(next(link["fault"] for link in attempt["chain"] if link["fault"]))
    assert attempt["advice"]


@pytest.mark.parametrize("what", OURS)
def test_we_refuse_and_name_the_check(ends: Ends, what: str) -> None:
    cause, check, words = OURS[what]
    name = f"bad-{what}"
    proven = Proven(name=name, left=certificates(name)["left"], right=made(what, name, "right"))
    with prepared(ends, proven, "ecdsa", lab=crls()):
        for initiator in ("ours", "theirs"):
            named(refused(ends, name, initiator), cause, check, words)


def test_we_refuse_a_certificate_that_expired(ends: Ends) -> None:
    """libreswan loads none that has expired already."""
    name = "bad-expired"
    until_then = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=10)
    proven = Proven(name=name, left=certificates(name)["left"], right=bad(name, "right", ends=until_then))
    with prepared(ends, proven, "ecdsa"):
        until(lambda: dt.datetime.now(dt.UTC) > until_then + dt.timedelta(seconds=1), "it has expired", 15)
        for initiator in ("ours", "theirs"):
            named(refused(ends, name, initiator), "certificate-validity", "validity period", "expired at")


THEIRS = {
    "stranger": "SEC_ERROR_UNKNOWN_ISSUER",
    "expired": "SEC_ERROR_EXPIRED_CERTIFICATE",
    "purpose": "SEC_ERROR_INADEQUATE_CERT_TYPE",
    "name": "AUTHENTICATION_FAILED",
    "limits": "CN=Limited,O=Lab,C=CH invalid",
    "gap": "SEC_ERROR_UNKNOWN_ISSUER",
}


def presented(what: str) -> Proven:
    """A tunnel in which our own certificate is the bad one."""
    name = f"ours-{what}"
    left = bad(name, "left", ends=NOW - dt.timedelta(days=1)) if what == "expired" else made(what, name, "left")
    return Proven(name=name, left=left, right=certificates(name)["right"])


@pytest.mark.parametrize("what", THEIRS)
def test_libreswan_refuses_us(ends: Ends, what: str) -> None:
    """It does not say why; we say what it can be, and that its log knows."""
    proven, before = presented(what), len(ends.pluto.log())
    with prepared(ends, proven, "ecdsa"):
        attempt = refused(ends, proven.name, "ours")
        assert attempt["cause"] == "peer-refused-us"
        assert "(AUTHENTICATION_FAILED): it does not trust our certificate" in attempt["reason"]
        assert f"finds {proven.name}.left.lab not in it" in attempt["reason"]
        assert "The peer's own log has the reason" in attempt["advice"]
        assert THEIRS[what] in ends.pluto.log()[before:]
        assert not ends.gateway.ike_sas()


def test_libreswan_calls_and_refuses_us_in_silence(ends: Ends) -> None:
    """What it leaves behind at our end are two IKE SAs at most, however often it calls again."""
    proven, before = presented("stranger"), len(ends.pluto.log())
    with prepared(ends, proven, "ecdsa"):
        for _ in range(3):
            ends.pluto.whack("--name", proven.name, "--initiate", check=False)
        assert "SEC_ERROR_UNKNOWN_ISSUER" in ends.pluto.log()[before:]
        assert not ends.pluto.states(proven.name)
        until(lambda: len(ends.gateway.ike_sas()) <= 2, "two IKE SAs at most")
