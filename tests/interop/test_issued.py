"""From the REST API to the wire: our authority issues both ends' certificates, strongSwan proves itself by its own.

What is revoked is cut off within five seconds; what is renewed drops nothing.
"""

import os
import sys
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.crypto import authority as ca
from gateway.crypto import containers
from gateway.crypto.authority import Wanted
from gateway.crypto.revoking import Revoked, revocation_list
from gateway.crypto.signatures import PrivateKey
from tests.interop.planes import roles, userspace_only
from tests.interop.tunnels import OUTER, Pair, text_of
from tests.lab.appliance import Appliance, until

LEFT, RIGHT = "left.lab", "right.lab"
PASSWORD = "a password for one file"
CUT = 5.0  # seconds
KEY_TYPES = ("ecdsa-p384", "rsa-3072", "ed25519")

pytestmark = [userspace_only, pytest.mark.timeout(240)]


def make_authorities(gateway: Appliance, key_type: str) -> None:
    """A root and an authority below it, which issues."""
    for name, issuer in (("root", ""), ("sub", "root")):
        body = {"name": name, "common_name": f"Lab {name}", "key_type": key_type, "issuer": issuer}
        gateway.rest("POST", "/authorities/actions/create", body)


def issue(gateway: Appliance, name: str, identity: str, key_type: str) -> dict[str, Any]:
    body = {"name": name, "common_name": identity, "names": [identity], "authority": "sub", "key_type": key_type}
    made: dict[str, Any] = gateway.rest("POST", "/certificates/actions/generate", {**body, "days": 30})["object"]
    return made


def proofs(gateway: Appliance, revocation: str = "strict", authority: str = "root") -> None:
    """Our peer: both sides by certificates of our authority."""
    child = {"name": "net", "local_selectors": ["10.1.0.0/24"], "remote_selectors": ["10.2.0.0/24"], "start": "passive"}
    body = {
        "local_id": LEFT,
        "remote_id": RIGHT,
        "remote_addresses": [OUTER[4][1]],
        "local_auth": [{"method": "certificate", "certificate": "left"}],
        "remote_auth": [{"method": "certificate", "authorities": [authority], "revocation": revocation}],
        "children": [child],
    }
    gateway.rest("PUT", "/peers/right", body)


def hand_over(pair: Pair, key_type: str) -> None:
    """strongSwan gets its certificate with its key as a PKCS#12 file, as an administrator would carry it.

    Out of such a file strongSwan 5.9.8 takes no Ed25519 key, so it gets that one as PEM.
    """
    path = "/certificates/right/actions/export-pkcs12"
    octets = pair.gateway.rest("POST", path, {"password": PASSWORD})
    if key_type == "ed25519":
        bundle = containers.read_pkcs12(octets, PASSWORD.encode())
        (pair.charon.swanctl_folder / "pkcs8" / "right.pem").write_text(containers.key_pem(bundle.key))
        (pair.charon.swanctl_folder / "x509" / "right.pem").write_text(containers.pem(bundle.chain[0]))
        (pair.charon.swanctl_folder / "x509ca" / "sub.pem").write_text(containers.pem(bundle.chain[1]))
    else:
        (pair.charon.swanctl_folder / "pkcs12" / "right.p12").write_bytes(octets)
    root = pair.charon.folder / "root.pem"
    root.write_text(pair.gateway.rest("GET", "/authorities/root")["certificate"])
    pair.charon.certificate(root, authority=True)
    secrets = {"pkcs12-right": {"file": "right.p12", "secret": PASSWORD}} if key_type != "ed25519" else {}
    pair.charon.load(text_of({"connections": {"right": connection()}, "secrets": secrets}))


def up(pair: Pair, initiator: str) -> None:
    if initiator == "ours":
        done = pair.gateway.connect("right")
        assert done["ok"], f"{done['text']}\n{pair.gateway.tail()}\n{pair.charon.tail(60)}"
    else:
        pair.charon.initiate("right-net")
    until(lambda: pair.gateway.children("right"), f"the tunnel is up\n{pair.charon.tail(60)}")


def prepared(pair: Pair, key_type: str = "ecdsa-p384") -> None:
    make_authorities(pair.gateway, key_type)
    issue(pair.gateway, "left", LEFT, key_type)
    issue(pair.gateway, "right", RIGHT, key_type)
    proofs(pair.gateway)
    hand_over(pair, key_type)


@pytest.mark.parametrize("key_type", KEY_TYPES)
@roles
def test_both_ends_prove_themselves_by_what_we_issued(fresh_pair: Any, key_type: str, initiator: str) -> None:
    pair = fresh_pair()
    prepared(pair, key_type)
    up(pair, initiator)
    assert pair.pings()


@roles
def test_a_revoked_certificate_is_cut_off_at_once_and_stays_out(fresh_pair: Any, initiator: str) -> None:
    pair = fresh_pair()
    prepared(pair)
    up(pair, initiator)
    assert pair.pings()
    pair.gateway.rest("POST", "/certificates/right/actions/revoke", {"reason": "key-compromise"})
    until(lambda: not pair.gateway.ike_sas("right"), "the SA is cut off at our end", seconds=CUT)
    until(lambda: not pair.charon.list_sas(), "strongSwan was told", seconds=CUT)
    assert not pair.gateway.connect("right", wait=10)["ok"]
    failed = pair.gateway.attempt("right")
    assert "revoked" in failed["reason"].lower(), failed["reason"]


def test_renewing_our_certificate_drops_nothing_and_is_used_next(fresh_pair: Any) -> None:
    pair = fresh_pair()
    prepared(pair)
    up(pair, "theirs")
    before = [(sa["id"], [child["id"] for child in sa["children"]]) for sa in pair.gateway.ike_sas("right")]
    serial = pair.gateway.rest("GET", "/certificates/left")["chain"][0]["serial"]
    for body in ({}, {"key_type": "ecdsa-p256"}):
        pair.gateway.rest("POST", "/certificates/left/actions/renew", body)
    renewed = pair.gateway.rest("GET", "/certificates/left")["chain"][0]["serial"]
    assert renewed != serial
    assert pair.pings(count=3)
    after = [(sa["id"], [child["id"] for child in sa["children"]]) for sa in pair.gateway.ike_sas("right")]
    assert after == before, "nothing was dropped"
    pair.charon.terminate("right")
    until(lambda: not pair.gateway.ike_sas("right"), "the first SA is gone")
    up(pair, "theirs")
    assert pair.pings()


def test_what_another_authority_revokes_is_fetched_and_cut_off(fresh_pair: Any) -> None:
    """Its list is at strongSwan's end and read by HTTP; its address comes with the certificate that was proven."""
    pair = fresh_pair()
    make_authorities(pair.gateway, "ecdsa-p384")
    issue(pair.gateway, "left", LEFT, "ecdsa-p384")
    there = PrivateKey(ec.generate_private_key(ec.SECP384R1()))
    now = time.time()
    root = ca.create_root(there, Wanted("Elsewhere"), now, os.urandom)
    issuer = ca.Issuer(root, there, f"http://{OUTER[4][1]}:8080")
    key = PrivateKey(ec.generate_private_key(ec.SECP384R1()))
    leaf = ca.issue(issuer, key.public, Wanted(RIGHT, (RIGHT,)), now, os.urandom)
    served = pair.charon.folder / "served"
    served.mkdir()
    (served / "crl").write_bytes(revocation_list(issuer, [], now, 3600))
    server = [sys.executable, "-m", "http.server", "8080", "--bind", OUTER[4][1], "--directory", str(served)]
    pair.right.start(*server, output=pair.charon.folder / "served.log")
    until(lambda: ":8080 " in pair.right.run("ss", "-ltn").stdout, "the list is served", seconds=30)
    anchor = {"certificate": containers.pem(root), "fetch_private": True}
    pair.gateway.rest("PUT", "/authorities/elsewhere", anchor)
    proofs(pair.gateway, "if-reachable", authority="elsewhere")
    (pair.charon.swanctl_folder / "private" / "right.pem").write_text(containers.key_pem(key))
    (pair.charon.swanctl_folder / "x509" / "right.pem").write_text(containers.pem(leaf))
    ours = pair.charon.folder / "root.pem"
    ours.write_text(pair.gateway.rest("GET", "/authorities/root")["certificate"])
    pair.charon.certificate(ours, authority=True)
    pair.charon.load(text_of({"connections": {"right": connection("right.pem")}}))
    up(pair, "theirs")
    (source,) = [one for one in fetched(pair.gateway) if not one["about"]]
    assert (source["uri"], source["error"]) == (f"http://{OUTER[4][1]}:8080/crl", "")
    assert pair.pings()
    (served / "crl").write_bytes(revocation_list(issuer, [Revoked(leaf.serial_number, now)], time.time(), 3600))
    fetched(pair.gateway)
    until(lambda: not pair.gateway.ike_sas("right"), "the SA is cut off at our end", seconds=CUT)
    assert not pair.gateway.connect("right")["ok"]
    assert "revoked" in pair.gateway.attempt("right")["reason"]


def fetched(gateway: Appliance) -> list[dict[str, Any]]:
    """What came of fetching now."""
    items: list[dict[str, Any]] = gateway.rest("POST", "/authorities/elsewhere/actions/fetch")["items"]
    return items


def connection(certificate: str = "") -> dict[str, Any]:
    """strongSwan's end; without a file's name it takes the certificate that fits its identity."""
    local = {"auth": "pubkey", "id": RIGHT, **({"certs": certificate} if certificate else {})}
    return {
        "version": "2",
        "local_addrs": OUTER[4][1],
        "remote_addrs": OUTER[4][0],
        "rekey_time": "0",
        "local": local,
        "remote": {"auth": "pubkey", "id": LEFT},
        "children": {"right-net": {"local_ts": "10.2.0.0/24", "remote_ts": "10.1.0.0/24", "rekey_time": "0"}},
    }


def test_another_ends_certificate_for_a_request_of_its_own(fresh_pair: Any) -> None:
    """strongSwan's key never leaves its end: OpenSSL asks for it there, our authority signs."""
    pair = fresh_pair()
    make_authorities(pair.gateway, "ecdsa-p384")
    issue(pair.gateway, "left", LEFT, "ecdsa-p384")
    key = pair.charon.folder / "right.key.pem"
    key.write_bytes(pair.right.run("openssl", "ecparam", "-genkey", "-noout", "-name", "secp384r1").stdout.encode())
    asked = pair.right.run("openssl", "req", "-new", "-key", str(key), "-subj", "/CN=whoever I like").stdout
    body = {"name": "right", "common_name": RIGHT, "names": [RIGHT], "authority": "sub", "request": asked}
    made = pair.gateway.rest("POST", "/certificates/actions/sign", body)["object"]
    assert [one["subject"] for one in made["chain"]] == [f"CN={RIGHT}", "CN=Lab sub"]
    proofs(pair.gateway)
    certificate = pair.charon.folder / "right.pem"
    own, rest = made["certificate"].split("-----END CERTIFICATE-----", 1)
    certificate.write_text(own + "-----END CERTIFICATE-----\n")
    between = pair.charon.folder / "sub.pem"
    between.write_text(rest.strip() + "\n")
    root = pair.charon.folder / "root.pem"
    root.write_text(pair.gateway.rest("GET", "/authorities/root")["certificate"])
    pair.charon.certificate(root, authority=True)
    pair.charon.certificate(between, authority=True)
    pair.charon.certificate(certificate, key)
    pair.charon.load(text_of({"connections": {"right": connection("right.pem")}}))
    up(pair, "theirs")
    assert pair.pings()
