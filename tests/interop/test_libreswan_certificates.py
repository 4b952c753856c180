"""Proof by certificates with libreswan 4.10 and 5.2: RSA PKCS#1 v1.5, and authorities between certificate and root.

With authby=rsa-sha1 it leaves RFC 7427 alone, and signs by PKCS#1 v1.5 with SHA-1. With rsasig it takes PKCS#1 v1.5
with SHA-2 too, and answers by it who signs so; when it calls itself it signs by PSS. With rsa-sha2 it knows PSS alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from tests.interop.credentials import ROOT, Proven
from tests.interop.credentials import ends as certificates
from tests.interop.test_libreswan import Ends, load, meeting
from tests.interop.tunnels import Net, Tunnel
from tests.lab.appliance import until
from tests.lab.libreswan import Libreswan
from tests.lab.libreswan5 import Libreswan5
from tests.pki import authority, private

VERSIONS = [
    pytest.param(Libreswan, marks=pytest.mark.requires("libreswan"), id="4.10"),
    pytest.param(Libreswan5, marks=pytest.mark.requires("libreswan5"), id="5.2"),
]
BELOW = authority("C=CH, O=Lab, CN=Below", ROOT, key=private("p384", 8))
LOWEST = authority("C=CH, O=Lab, CN=Lowest", BELOW, key=private("p256", 18))

pytestmark = [pytest.mark.in_kernel, pytest.mark.requires("root", "netns", "esp", "ping")]


@pytest.fixture(scope="module", params=VERSIONS)
def ends(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    with meeting(tmp_path_factory.mktemp("libreswan"), request.param) as found:
        found.pluto.trust("root", ROOT.pem)
        yield found


@contextmanager
def prepared(
    ends: Ends, proven: Proven, authby: str, *, lab: dict[str, Any] | None = None, **more: str
) -> Iterator[Tunnel]:
    """The tunnel on both ends; `lab` is more of the authority that we trust, `more` of libreswan's connection.

    It is gone from both at the end: of two connections between the same ends libreswan may take the wrong one, and the
    last one it calls again and again.
    """
    name, right = proven.name, proven.right
    tunnel = replace(proven.tunnel(), ike="aes256gcm16-prfsha512-ecp256", nets=(Net(esp="aes256gcm16"),))
    above = [one.certificate for one in right.above] if proven.sent_above else None
    password = BestAvailableEncryption(b"lab")
    octets = pkcs12.serialize_key_and_certificates(name.encode(), right.key, right.certificate, above, password)
    ends.pluto.own(name, octets, "lab")
    document = {
        "authorities": [{"name": "lab", "certificate": ROOT.pem, **(lab or {})}],
        "certificates": [proven.certificate()],
    }
    signed = {"authby": authby, "leftcert": name, "leftsendcert": "always", "sendca": "all", "rightca": "%any", **more}
    try:
        load(ends, tunnel, "aes_gcm256-sha2_512;dh19", "aes_gcm256", ours=document, **signed)
        yield tunnel
    finally:
        ends.pluto.whack("--name", name, "--delete", check=False)
        ends.gateway.apply({}, prune=True)
    until(lambda: not ends.gateway.ike_sas(), "no IKE SA at our end")


def comes_up(ends: Ends, tunnel: Tunnel, initiator: str) -> tuple[str, list[str]]:
    """Bring it up from one end, and take it down; what the attempt says, and the chain of libreswan's proof."""
    ends.up(tunnel, initiator)
    assert ends.pings(), ends.pluto.tail()
    attempt = ends.gateway.attempt(tunnel.name)
    ends.down(tunnel, initiator)
    return " ".join(step["text"] for step in attempt["steps"]), [link["subject"] for link in attempt["chain"]]


def test_rsa_with_sha1_and_no_rfc_7427(ends: Ends) -> None:
    """authby=rsa-sha1: both ends sign by method 1, PKCS#1 v1.5 with SHA-1."""
    proven = Proven(name="rsa-sha1", **certificates("rsa-sha1", "rsa3072"), ours={"sha1": True}, of_them={"sha1": True})
    with prepared(ends, proven, "rsa-sha1") as tunnel:
        for initiator in ("ours", "theirs"):
            told, _ = comes_up(ends, tunnel, initiator)
            assert "RSA PKCS#1 v1.5 with SHA-1" in told


@pytest.mark.parametrize("scheme", ["rsa-sha256", "rsa-sha512"])
def test_rsa_v15_with_sha2_from_us(ends: Ends, scheme: str) -> None:
    """authby=rsasig: libreswan answers our PKCS#1 v1.5 by the same, and calls by PSS."""
    proven = Proven(name=f"from-us-{scheme}", **certificates(f"from-us-{scheme}", "rsa3072"), ours={"scheme": scheme})
    with prepared(ends, proven, "rsasig") as tunnel:
        for initiator, way in (("ours", f"PKCS#1 v1.5 with SHA-{scheme[-3:]}"), ("theirs", "RSA-PSS with SHA-")):
            told, _ = comes_up(ends, tunnel, initiator)
            assert way in told


@pytest.mark.parametrize("sent", [True, False], ids=["sent", "known"])
def test_authorities_between(ends: Ends, sent: bool) -> None:
    """Two of them above each certificate: both ends send them, or libreswan none and we have them configured."""
    name = f"between-{sent}".lower()
    proven = Proven(name=name, **certificates(name, by=LOWEST), sent_above=sent)
    lab = {} if sent else {"intermediates": BELOW.pem + LOWEST.pem}
    above = [f"C=CH, O=Lab, CN={one}" for one in ("Lowest", "Below", "Lab Root")]
    with prepared(ends, proven, "ecdsa", lab=lab, sendca="all" if sent else "none") as tunnel:
        for initiator in ("ours", "theirs"):
            _, chain = comes_up(ends, tunnel, initiator)
            assert chain == [f"C=CH, O=Lab, CN={name} right", *above]
