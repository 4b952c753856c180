"""EAP-TLS with strongSwan: what is wrong with a certificate keeps its holder out, and is told; both roles."""

import datetime as dt
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from tests.ike.eap_lab import CLIENT, SERVER, Issued, issue
from tests.interop.conftest import start_pair
from tests.interop.eap_ends import (
    LEFT,
    NOW,
    ROOT,
    TLS_CARD,
    assert_works,
    give_files,
    key,
    load,
    pem,
    they_call,
    we_call,
)
from tests.interop.planes import roles, userspace_only
from tests.interop.test_refusals import failed
from tests.interop.tunnels import Pair
from tests.lab.appliance import Plain
from tests.lab.strongswan6 import Charon6

pytestmark = userspace_only

STRANGER = issue("Another root", ca=True, now=NOW)


def card(name: str, by: Issued = ROOT, usage: x509.ObjectIdentifier = CLIENT, days: int = 365) -> Issued:
    return issue(name, by, san=(x509.RFC822Name(f"{name}@lab"),), usage=usage, days=days, now=NOW)


CARDS = {"stranger": card("stranger", STRANGER), "late": card("late", days=-1), "server": card("server", usage=SERVER)}
CARDS["revoked"] = card("revoked")
OURS = {"our-stranger": card("our-stranger", STRANGER), "our-late": card("our-late", days=-1)}
"""strongSwan has none of these: it trusts all certificates that it has."""
OWN: list[Plain] = [{"method": "certificate", "certificate": "left"}]
EAP: list[Plain] = [{"method": "eap", "eap_methods": ["tls"]}]
REFUSED = {
    "stranger": ("no trusted authority has issued it", "received fatal TLS alert 'unknown ca'"),
    "late": ("it has expired", "received fatal TLS alert 'certificate expired'"),
    "server": ("not for this purpose (extended key usage)", "received fatal TLS alert 'unsupported certificate'"),
    "revoked": ("by the check of its revocation: CN=Lab root revoked CN=revoked", "received EAP_FAILURE"),
}
"""What we tell, and what strongSwan hears, of each."""


def revoking(*gone: Issued) -> str:
    """ROOT's list with these."""
    now = dt.datetime.fromtimestamp(NOW, dt.UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(ROOT.certificate.subject)
    builder = builder.last_update(now - dt.timedelta(days=1)).next_update(now + dt.timedelta(days=30))
    for one in gone:
        entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(now - dt.timedelta(hours=1)).build())
    return builder.sign(ROOT.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@pytest.fixture(scope="module", autouse=True)
def files(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder: Path = tmp_path_factory.mktemp("certificates")
    give_files(pair, folder)
    for name, one in CARDS.items():
        (folder / f"{name}.pem").write_text(pem(one))
        (folder / f"{name}.key").write_text(key(one))
        pair.charon.certificate(folder / f"{name}.pem", folder / f"{name}.key")


def ours() -> dict[str, Any]:
    cards = [{"name": name, "certificate": pem(one), "private_key": key(one)} for name, one in OURS.items()]
    return {
        "authorities": [{"name": "root", "certificate": pem(ROOT), "crls": [revoking(CARDS["revoked"])]}],
        "certificates": [{"name": "left", "certificate": pem(LEFT), "private_key": key(LEFT)}, *cards],
    }


@pytest.mark.parametrize("name", CARDS)
def test_a_card_that_does_not_hold_is_refused(pair: Pair, name: str) -> None:
    """The gateway proves itself by a certificate in IKE, and by it once more in TLS."""
    why, charon_says = REFUSED[name]
    local = {**TLS_CARD, "certs": f"{name}.pem", "eap_id": f"{name}@lab", "aaa_id": "left.lab"}
    theirs = {"local": local, "remote": {"auth": "pubkey", "id": "left.lab"}}
    tunnel = they_call(name, theirs, {"remote_auth": EAP, "local_auth": OWN})
    load(pair, tunnel, **ours())
    attempt = failed(pair, tunnel, "theirs", charon_says=charon_says)
    assert (attempt["cause"], attempt["eap_identity"]) == ("eap-tls", f"{name}@lab")
    assert why in attempt["reason"]


def test_a_card_that_holds_comes_in(pair: Pair) -> None:
    """As the others, but for the one thing."""
    local = {**TLS_CARD, "aaa_id": "left.lab"}
    theirs = {"local": local, "remote": {"auth": "pubkey", "id": "left.lab"}}
    tunnel = they_call("card", theirs, {"remote_auth": EAP, "local_auth": OWN})
    load(pair, tunnel, **ours())
    assert_works(pair, tunnel, "theirs")


@pytest.mark.parametrize("name", OURS)
def test_our_card_is_refused(pair: Pair, name: str) -> None:
    theirs = {
        "local": {"auth": "psk", "id": "right.lab", "certs": "right.pem"},
        "remote": {"auth": "eap-tls", "eap_id": "%any", "id": "laptop.lab"},
    }
    auth = [{"method": "eap", "eap_identity": f"{name}@lab", "certificate": name, "eap_methods": ["tls"]}]
    tunnel = we_call(name, theirs, {"local_auth": auth})
    load(pair, tunnel, **ours())
    attempt = failed(pair, tunnel, "ours", charon_says=f"no trusted certificate found for '{name}@lab'")
    assert (attempt["cause"], attempt["notify"]) == ("eap-tls", 24)
    assert attempt["reason"] == "EAP failed: TLS failed: tls alert certificate unknown"


@pytest.fixture(scope="module")
def six(plane: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A strongSwan 6 at the other end."""
    with ExitStack() as stack:
        pair = start_pair(stack, tmp_path_factory.mktemp("six"), plane, charon=Charon6)
        give_files(pair, tmp_path_factory.mktemp("certificates"))
        yield pair


@pytest.mark.requires("strongswan6")
@pytest.mark.parametrize("version", ["1.2", "1.3"])
@roles
def test_versions_of_tls(six: Pair, version: str, initiator: str) -> None:
    """By strongSwan 6: version 5.9.8 takes TLS 1.3 only where it is told to, and then dies of it as a client."""
    six.charon.configure(f"tls {{\n  version_min = {version}\n  version_max = {version}\n}}")
    if initiator == "theirs":
        theirs = {"local": {**TLS_CARD, "aaa_id": "left.lab"}, "remote": {"auth": "pubkey", "id": "left.lab"}}
        tunnel = they_call("version", theirs, {"remote_auth": EAP, "local_auth": OWN})
    else:
        theirs = {
            "local": {"auth": "psk", "id": "right.lab", "certs": "right.pem"},
            "remote": {"auth": "eap-tls", "eap_id": "%any", "id": "laptop.lab"},
        }
        auth = [{"method": "eap", "eap_identity": "anna@lab", "certificate": "card", "eap_methods": ["tls"]}]
        tunnel = we_call("version", theirs, {"local_auth": auth})
    load(six, tunnel)
    before = len(six.charon.log())
    assert_works(six, tunnel, initiator)
    assert f"negotiated TLS {version} using suite" in six.charon.log()[before:]
