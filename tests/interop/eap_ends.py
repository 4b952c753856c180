"""A user and his certificates at both ends, and tunnels in which one end proves itself as this user by EAP."""

import time
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.ike.eap_lab import CLIENT, SERVER, Issued, issue
from tests.interop.tunnels import Pair, Settings, Tunnel, text_of

USER, PASSWORD = "anna", "open sesame"
NOW = time.time()
ROOT = issue("Lab root", ca=True, now=NOW)
LEFT = issue("gateway", ROOT, san=(x509.DNSName("left.lab"),), usage=SERVER, now=NOW)
RIGHT = issue("their gateway", ROOT, san=(x509.DNSName("right.lab"),), usage=SERVER, now=NOW)
CARD = issue("card", ROOT, san=(x509.RFC822Name("anna@lab"),), usage=CLIENT, now=NOW)


TLS_CARD = {"auth": "eap-tls", "certs": "card.pem", "id": "laptop.lab", "eap_id": "anna@lab"}


def pem(issued: Issued) -> str:
    return issued.certificate.public_bytes(Encoding.PEM).decode()


def key(issued: Issued) -> str:
    return issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def give_files(pair: Pair, folder: Path) -> None:
    """strongSwan gets the root, a gateway's certificate and a user's."""
    for name, issued in (("right", RIGHT), ("card", CARD)):
        (folder / f"{name}.pem").write_text(pem(issued))
        (folder / f"{name}.key").write_text(key(issued))
        pair.charon.certificate(folder / f"{name}.pem", folder / f"{name}.key")
    (folder / "root.pem").write_text(pem(ROOT))
    pair.charon.certificate(folder / "root.pem", authority=True)


def load(
    pair: Pair, tunnel: Tunnel, password: str = PASSWORD, *, users: tuple[str, ...] = (USER,), **more: Any
) -> None:
    """Both ends: strongSwan has this password; we have certificates, and these users with the right one."""
    secrets = {f"ike-{tunnel.name}": tunnel.their_psk(), "eap-anna": {"id": USER, "secret": password}}
    pair.charon.load(text_of({"connections": {tunnel.name: tunnel.connection()}, "secrets": secrets}))
    document = {
        "proposals": tunnel.proposals(),
        "peers": [tunnel.peer()],
        "psks": [tunnel.psk()],
        "users": [{"name": user, "password": PASSWORD} for user in users],
        "authorities": [{"name": "root", "certificate": pem(ROOT)}],
        "certificates": [
            {"name": "left", "certificate": pem(LEFT), "private_key": key(LEFT)},
            {"name": "card", "certificate": pem(CARD), "private_key": key(CARD)},
        ],
        **more,
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
