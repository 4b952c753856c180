"""EAP with strongSwan in both roles: each method that both have, two rounds, EAP alone, and what is refused."""

import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.ike.eap_lab import CLIENT, SERVER, Issued, issue
from tests.interop.planes import userspace_only
from tests.interop.test_refusals import failed
from tests.interop.tunnels import Pair, Settings, Tunnel, text_of
from tests.lab.appliance import Plain

pytestmark = userspace_only

USER, PASSWORD = "anna", "open sesame"
NOW = time.time()
ROOT = issue("Lab root", ca=True, now=NOW)
LEFT = issue("gateway", ROOT, san=(x509.DNSName("left.lab"),), usage=SERVER, now=NOW)
RIGHT = issue("their gateway", ROOT, san=(x509.DNSName("right.lab"),), usage=SERVER, now=NOW)
CARD = issue("card", ROOT, san=(x509.RFC822Name("anna@lab"),), usage=CLIENT, now=NOW)


def pem(issued: Issued) -> str:
    return issued.certificate.public_bytes(Encoding.PEM).decode()


def key(issued: Issued) -> str:
    return issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture(scope="module", autouse=True)
def files(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> None:
    """strongSwan has the root, a gateway's certificate and a user's; we know the user."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    for name, issued in (("right", RIGHT), ("card", CARD)):
        (folder / f"{name}.pem").write_text(pem(issued))
        (folder / f"{name}.key").write_text(key(issued))
        pair.charon.certificate(folder / f"{name}.pem", folder / f"{name}.key")
    (folder / "root.pem").write_text(pem(ROOT))
    pair.charon.certificate(folder / "root.pem", authority=True)
    pair.gateway.ask("people", users={USER: PASSWORD})


def load(pair: Pair, tunnel: Tunnel, password: str = PASSWORD) -> None:
    """Both ends' configuration, with a password where we are the client, and certificates at our end."""
    secrets = {f"ike-{tunnel.name}": tunnel.their_psk(), "eap-anna": {"id": USER, "secret": password}}
    pair.charon.load(text_of({"connections": {tunnel.name: tunnel.connection()}, "secrets": secrets}))
    document = {
        "proposals": tunnel.proposals(),
        "peers": [tunnel.peer()],
        "psks": [tunnel.psk()],
        "authorities": [{"name": "root", "certificate": pem(ROOT)}],
        "certificates": [
            {"name": "left", "certificate": pem(LEFT), "private_key": key(LEFT)},
            {"name": "card", "certificate": pem(CARD), "private_key": key(CARD)},
        ],
    }
    pair.gateway.apply(document, prune=True)


def they_call(name: str, theirs: Settings, ours: Settings) -> Tunnel:
    """strongSwan is the client: `theirs` are its rounds, `ours` what we ask for."""
    connection = {"remote": {"auth": "psk", "id": "left.lab"}, **theirs}
    peer = {"remote_id": "%any", "local_id": "left.lab", **ours}
    return Tunnel(name=name, left_id="left.lab", right_id="laptop.lab", ours=peer, theirs=connection)


def we_call(name: str, theirs: Settings, ours: Settings) -> Tunnel:
    """We are the client."""
    connection = {"local": {"auth": "psk", "id": "right.lab"}, **theirs}
    return Tunnel(name=name, left_id="laptop.lab", right_id="right.lab", ours=ours, theirs=connection)


def assert_works(pair: Pair, tunnel: Tunnel, initiator: str) -> None:
    pair.up(tunnel, initiator=initiator)
    assert pair.pings()
    attempt = pair.gateway.attempt()
    assert attempt["outcome"] == "established" and attempt["eap_identity"]
    pair.down(tunnel, initiator=initiator)


EAP = [{"method": "eap"}]


def remote(*methods: str) -> list[Plain]:
    return [{"method": "eap", "eap_methods": list(methods)}]


@pytest.mark.parametrize("method", ["mschapv2", "md5"])
def test_strongswan_proves_a_user_by_password(pair: Pair, method: str) -> None:
    theirs = {"local": {"auth": f"eap-{method}", "eap_id": USER, "id": "laptop.lab"}}
    tunnel = they_call(method, theirs, {"remote_auth": remote(method)})
    load(pair, tunnel)
    assert_works(pair, tunnel, "theirs")
    assert pair.gateway.attempt()["remote_id"] == USER


@pytest.mark.parametrize("method", ["mschapv2", "md5"])
def test_we_prove_a_user_by_password(pair: Pair, method: str) -> None:
    theirs = {"remote": {"auth": f"eap-{method}", "eap_id": "%any", "id": "laptop.lab"}}
    auth = [{"method": "eap", "eap_identity": USER, "eap_methods": [method]}]
    tunnel = we_call(method, theirs, {"local_auth": auth, "eap_password": PASSWORD})
    load(pair, tunnel)
    assert_works(pair, tunnel, "ours")


def test_strongswan_is_offered_another_method_until_both_have_one(pair: Pair) -> None:
    theirs = {"local": {"auth": "eap-md5", "eap_id": USER, "id": "laptop.lab"}}
    tunnel = they_call(
        "nak", theirs, {"remote_auth": remote("tls", "mschapv2", "md5"), "local_auth": [{"method": "psk"}]}
    )
    load(pair, tunnel)
    assert_works(pair, tunnel, "theirs")


@pytest.mark.parametrize("initiator", ["ours", "theirs"])
def test_a_wrong_password(pair: Pair, initiator: str) -> None:
    if initiator == "theirs":
        theirs = {"local": {"auth": "eap-mschapv2", "eap_id": USER, "id": "laptop.lab"}}
        tunnel = they_call("wrong", theirs, {"remote_auth": EAP})
        load(pair, tunnel, password="no")
        attempt = failed(pair, tunnel, initiator, charon_says="EAP_MSCHAPV2 method failed")
        assert attempt["cause"] == "eap-password" and "anna gave a wrong password" in attempt["reason"]
        return
    theirs = {"remote": {"auth": "eap-mschapv2", "eap_id": "%any", "id": "laptop.lab"}}
    auth = [{"method": "eap", "eap_identity": USER}]
    tunnel = we_call("wrong", theirs, {"local_auth": auth, "eap_password": "no"})
    load(pair, tunnel)
    attempt = failed(pair, tunnel, initiator, charon_says="verification failed")
    assert attempt["cause"] == "eap-refused" and "wrong user name or password" in attempt["reason"]


def test_strongswan_proves_itself_twice(pair: Pair) -> None:
    """RFC 4739: a key, then a password."""
    theirs = {
        "local": {"auth": "psk", "id": "laptop.lab"},
        "local-2": {"auth": "eap-mschapv2", "eap_id": USER, "id": "laptop.lab"},
    }
    tunnel = they_call("twice", theirs, {"remote_auth": [{"method": "psk"}, {"method": "eap"}]})
    load(pair, tunnel)
    assert_works(pair, tunnel, "theirs")


def test_we_prove_ourselves_twice(pair: Pair) -> None:
    theirs = {
        "remote": {"auth": "psk", "id": "laptop.lab"},
        "remote-2": {"auth": "eap-mschapv2", "eap_id": "%any", "id": "laptop.lab"},
    }
    auth = [{"method": "psk"}, {"method": "eap", "eap_identity": USER}]
    tunnel = we_call("twice", theirs, {"local_auth": auth, "eap_password": PASSWORD})
    load(pair, tunnel)
    assert_works(pair, tunnel, "ours")


# --- EAP-TLS ---

TLS_CARD = {"auth": "eap-tls", "certs": "card.pem", "id": "laptop.lab", "eap_id": "anna@lab"}


def test_strongswan_and_we_prove_each_other_by_eap_alone(pair: Pair) -> None:
    theirs = {"local": {**TLS_CARD, "aaa_id": "left.lab"}, "remote": {"auth": "eap-tls", "id": "left.lab"}}
    ours = {"local_auth": [{"method": "eap", "certificate": "left"}], "remote_auth": remote("tls")}
    tunnel = they_call("alone", theirs, ours)
    load(pair, tunnel)
    assert_works(pair, tunnel, "theirs")


def test_we_prove_ourselves_by_certificate(pair: Pair) -> None:
    theirs = {
        "local": {"auth": "psk", "id": "right.lab", "certs": "right.pem"},
        "remote": {"auth": "eap-tls", "eap_id": "%any", "id": "laptop.lab"},
    }
    auth = [{"method": "eap", "eap_identity": "anna@lab", "certificate": "card", "eap_methods": ["tls"]}]
    tunnel = we_call("ourcard", theirs, {"local_auth": auth})
    load(pair, tunnel)
    assert_works(pair, tunnel, "ours")


def test_we_take_strongswan_by_eap_alone(pair: Pair) -> None:
    theirs = {
        "local": {"auth": "eap-tls", "id": "right.lab", "certs": "right.pem"},
        "remote": {"auth": "eap-tls", "eap_id": "%any", "id": "laptop.lab"},
    }
    auth = [{"method": "eap", "eap_identity": "anna@lab", "certificate": "card"}]
    tunnel = we_call("ouralone", theirs, {"local_auth": auth, "remote_auth": EAP})
    load(pair, tunnel)
    assert_works(pair, tunnel, "ours")
