"""Who was revoked, by OCSP, with strongSwan at the other end: real responders, asked by us and by strongSwan."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from tests.interop.conftest import start_pair
from tests.interop.credentials import ROOT, Proven, ends, load
from tests.interop.planes import CHARON_PLUGINS, roles, userspace_only
from tests.interop.test_certificates import AUTHENTICATION_FAILED
from tests.interop.test_issued import connection, proofs
from tests.interop.test_refusals import failed
from tests.interop.tunnels import OUTER, Pair, text_of
from tests.lab.appliance import until
from tests.lab.charon import CharonError
from tests.lab.namespaces import Namespace
from tests.lab.strongswan6 import Charon6
from tests.pki import Issued, authority, issue, private, usage

pytestmark = [
    userspace_only,
    pytest.mark.timeout(240),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl"),
]
THERE = OUTER[4][1]
PORTS = {"root": 8888, "below": 8889}


def where(port: int) -> list[tuple[x509.ExtensionType, bool]]:
    uri = x509.UniformResourceIdentifier(f"http://{THERE}:{port}/")
    way = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, uri)
    return [(x509.AuthorityInformationAccess([way]), False)]


BELOW = authority("C=CH, O=Lab, CN=Below", ROOT, key=private("p384", 8), serial=0x1010, more=where(PORTS["root"]))
FALLEN = authority("C=CH, O=Lab, CN=Fallen", ROOT, key=private("p384", 9), serial=0x2020, more=where(PORTS["root"]))
RESPONDER = issue(
    "C=CH, O=Lab, CN=Responder",
    BELOW,
    key=private("p256", 30),
    purposes=[x509.ExtendedKeyUsageOID.OCSP_SIGNING],
    key_usage=usage("digital_signature"),
)
GOOD, REVOKED = 0x1001, 0x2001


def respond(ns: Namespace, folder: Path, name: str, above: Issued, signer: Issued) -> None:
    """OpenSSL's responder, which knows these serial numbers."""
    folder.mkdir()
    (folder / "ca.pem").write_text(above.pem)
    (folder / "signer.pem").write_text(signer.pem)
    (folder / "key.pem").write_text(signer.key_pem)
    known = [f"V\t360101000000Z\t\t{serial:X}\tunknown\t/CN={serial}" for serial in (GOOD, 0x1010)]
    gone = "261120000000Z,keyCompromise"
    known += [f"R\t360101000000Z\t{gone}\t{serial:X}\tunknown\t/CN={serial}" for serial in (REVOKED, 0x2020)]
    (folder / "index.txt").write_text("\n".join(known) + "\n")
    paths = {"-index": "index.txt", "-CA": "ca.pem", "-rsigner": "signer.pem", "-rkey": "key.pem"}
    files = [word for option, file in paths.items() for word in (option, str(folder / file))]
    command = ["openssl", "ocsp", "-port", str(PORTS[name]), "-nmin", "60", "-ignore_err", *files]
    ns.start(*command, output=folder / "log")


@pytest.fixture(scope="module")
def pair(plane: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("pair")
        made = start_pair(stack, folder, plane)
        respond(made.right, folder / "root", "root", ROOT, ROOT)
        respond(made.right, folder / "below", "below", BELOW, RESPONDER)
        until(lambda: all(_listens(made, port) for port in PORTS.values()), "the responders listen")
        yield made


def _listens(pair: Pair, port: int) -> bool:
    return f":{port} " in pair.right.run("ss", "-ltn").stdout


def theirs(by: Issued, serial: int, port: int) -> Issued:
    return issue(
        "C=CH, O=Lab, CN=asked right",
        by,
        "dns:asked.right.lab",
        key=private("p256", 2),
        serial=serial,
        more=where(port),
    )


def asked(right: Issued, policy: str = "strict") -> Proven:
    return Proven(name="asked", left=ends("asked")["left"], right=right, of_them={"revocation": policy})


def loaded(pair: Pair, right: Issued, policy: str = "strict") -> Proven:
    """Both ends begin anew: what was fetched about certificates before is forgotten with their authority."""
    proven = asked(right, policy)
    load(pair, proven, authority={"fetch_private": True})
    return proven


WHO = {"by the root": (ROOT, PORTS["root"]), "by an intermediate": (BELOW, PORTS["below"])}


@roles
@pytest.mark.parametrize("who", WHO)
def test_openssl_s_word_lets_in_and_keeps_out(pair: Pair, who: str, initiator: str) -> None:
    by, port = WHO[who]
    proven = loaded(pair, theirs(by, GOOD, port))
    tunnel = proven.tunnel()
    pair.up(tunnel, initiator=initiator)
    assert pair.pings()
    pair.down(tunnel, initiator=initiator)
    refused(pair, loaded(pair, theirs(by, REVOKED, port)), initiator, f"the OCSP responder of {text(by)} says")


@roles
def test_an_intermediate_that_was_revoked_keeps_out(pair: Pair, initiator: str) -> None:
    proven = loaded(pair, theirs(FALLEN, GOOD, PORTS["below"]), "if-reachable")
    attempt = refused(pair, proven, initiator, "CN=Fallen is revoked")
    assert [bool(link["fault"]) for link in attempt["chain"]] == [False, True, False]


@roles
def test_without_an_answer_strictness_decides(pair: Pair, initiator: str) -> None:
    right = theirs(ROOT, GOOD, 8899)
    proven = loaded(pair, right, "if-reachable")
    pair.up(proven.tunnel(), initiator=initiator)
    pair.down(proven.tunnel(), initiator=initiator)
    refused(pair, loaded(pair, right), initiator, f"http://{THERE}:8899/ cannot be fetched")


def text(one: Issued) -> str:
    return "C=CH, O=Lab, CN=Lab Root" if one is ROOT else "C=CH, O=Lab, CN=Below"


def refused(pair: Pair, proven: Proven, initiator: str, words: str) -> Any:
    says = "received AUTHENTICATION_FAILED" if initiator == "theirs" else "AUTH_FAILED"
    attempt = failed(pair, proven.tunnel(), initiator, charon_says=says)
    assert (attempt["cause"], attempt["notify"]) == ("certificate-revocation", AUTHENTICATION_FAILED)
    assert "by the check of its revocation" in attempt["reason"]
    assert words in attempt["reason"]
    until(lambda: not pair.charon.list_sas(), "strongSwan has no SA")
    return attempt


# --- strongSwan asks about ours ---

HTTP = {"IKEGATE_HTTP_PORT": "8080", "IKEGATE_HTTP_HOST": OUTER[4][0]}


def checked_by_them(pair: Pair, **more: Any) -> None:
    """Our authority issues both ends' certificates, and strongSwan looks strictly at ours."""
    body = {"name": "root", "common_name": "Lab root", "key_type": "ecdsa-p384"}
    pair.gateway.rest("POST", "/authorities/actions/create", body)
    for name, identity in (("left", "left.lab"), ("right", "right.lab")):
        body = {"name": name, "common_name": identity, "names": [identity], "authority": "root", "days": 30}
        pair.gateway.rest("POST", "/certificates/actions/generate", body)
    proofs(pair.gateway)
    own = pair.gateway.rest("POST", "/certificates/right/actions/export-pkcs12", {"password": "one two three four"})
    (pair.charon.swanctl_folder / "pkcs12" / "right.p12").write_bytes(own)
    pem = pair.gateway.rest("GET", "/authorities/root")["certificate"]
    (pair.charon.swanctl_folder / "x509ca" / "root.pem").write_text(pem)
    strictly(pair, **more)


def strictly(pair: Pair, **more: Any) -> None:
    entry = connection()
    entry |= {**more, "remote": {**entry["remote"], "revocation": "strict"}}
    secrets = {"pkcs12-right": {"file": "right.p12", "secret": "one two three four"}}
    pair.charon.load(text_of({"connections": {"right": entry}, "secrets": secrets}))


def test_strongswan_asks_our_responder_about_us(plane: str, tmp_path: Path) -> None:
    """By plain HTTP, at the address in the certificate: it comes up, and no more once our certificate is revoked."""
    with ExitStack() as stack:
        plugins = f"curl {CHARON_PLUGINS[plane]}"
        pair = start_pair(stack, tmp_path, plane, ours=HTTP, plugins=plugins)
        checked_by_them(pair)
        pair.charon.initiate("right-net")
        assert pair.pings()
        assert "ocsp response is valid" in pair.charon.log() or "ocsp check successful" in pair.charon.log()
        pair.charon.terminate("right")
        until(lambda: not pair.gateway.ike_sas("right"), "the first SA is gone")
        pair.charon.kill()
        pair.gateway.rest("POST", "/certificates/left/actions/revoke", {"reason": "superseded"})
        pair.charon.start()
        strictly(pair)
        with pytest.raises(CharonError):
            pair.charon.initiate("right-net")
        assert "certificate was revoked" in pair.charon.log()


@pytest.mark.requires("strongswan6")
@roles
def test_strongswan_6_takes_the_response_that_we_send_along(plane: str, tmp_path: Path, initiator: str) -> None:
    """It has nothing to fetch with, and is strict: the response in IKE_AUTH is all that it has (RFC 4806)."""
    with ExitStack() as stack:
        pair = start_pair(stack, tmp_path, plane, charon=Charon6)
        checked_by_them(pair, ocsp="both")
        if initiator == "theirs":
            pair.charon.initiate("right-net")
        else:
            assert pair.gateway.connect("right")["ok"], pair.charon.tail(60)
        assert pair.pings()
        assert "ocsp response is valid" in pair.charon.log()
        assert "using cached ocsp response" in pair.charon.log()
