"""EAP-TLS with strongSwan: what is wrong with a certificate keeps its holder out, and is told; both roles."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from tests.ike.eap_lab import CLIENT, SERVER, Issued, issue
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
from tests.interop.planes import userspace_only
from tests.interop.test_refusals import failed
from tests.interop.tunnels import Pair
from tests.lab.appliance import Plain

pytestmark = userspace_only

STRANGER = issue("Another root", ca=True, now=NOW)


def card(name: str, by: Issued = ROOT, usage: x509.ObjectIdentifier = CLIENT, days: int = 365) -> Issued:
    return issue(name, by, san=(x509.RFC822Name(f"{name}@lab"),), usage=usage, days=days, now=NOW)


CARDS = {"stranger": card("stranger", STRANGER), "late": card("late", days=-1), "server": card("server", usage=SERVER)}
CARDS["revoked"] = card("revoked")
OURS = {"our-stranger": card("our-stranger", STRANGER), "our-late": card("our-late", days=-1)}
"""strongSwan has none of these: it trusts all certificates that it has."""
OWN = [{"method": "certificate", "certificate": "left"}]
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
    auth: list[Plain] = [{"method": "eap", "eap_methods": ["tls"]}]
    theirs = {"local": local, "remote": {"auth": "pubkey", "id": "left.lab"}}
    tunnel = they_call(name, theirs, {"remote_auth": auth, "local_auth": OWN})
    load(pair, tunnel, **ours())
    attempt = failed(pair, tunnel, "theirs", charon_says=charon_says)
    assert (attempt["cause"], attempt["eap_identity"]) == ("eap-tls", f"{name}@lab")
    assert why in attempt["reason"]


def test_a_card_that_holds_comes_in(pair: Pair) -> None:
    """As the others, but for the one thing."""
    local = {**TLS_CARD, "aaa_id": "left.lab"}
    auth: list[Plain] = [{"method": "eap", "eap_methods": ["tls"]}]
    theirs = {"local": local, "remote": {"auth": "pubkey", "id": "left.lab"}}
    tunnel = they_call("card", theirs, {"remote_auth": auth, "local_auth": OWN})
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
