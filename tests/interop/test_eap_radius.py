"""strongSwan comes in by EAP that FreeRADIUS decides about: IKE_AUTH passes it through, whatever the method is."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from tests.ike.eap_lab import SERVER, issue
from tests.interop.eap_ends import (
    NOW,
    PASSWORD,
    ROOT,
    TLS_CARD,
    USER,
    assert_works,
    give_files,
    key,
    load,
    pem,
    they_call,
)
from tests.interop.planes import userspace_only
from tests.interop.test_refusals import failed
from tests.interop.tunnels import Pair, Settings, Tunnel
from tests.lab.freeradius import FreeRadius

pytestmark = [userspace_only, pytest.mark.requires("freeradius")]

USERS = f"""
{USER} Cleartext-Password := "{PASSWORD}"
  Class = "staff"
anna@lab Auth-Type := EAP
"""


@pytest.fixture(scope="module", autouse=True)
def radius(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreeRadius]:
    """FreeRADIUS beside our gateway; the gateway's own users are of no matter."""
    give_files(pair, tmp_path_factory.mktemp("certificates"))
    folder: Path = tmp_path_factory.mktemp("radius")
    server = issue("aaa", ROOT, san=(x509.DNSName("aaa.lab"),), usage=SERVER, now=NOW)
    (folder / "server.pem").write_text(pem(server))
    (folder / "server.key").write_text(key(server))
    (folder / "root.pem").write_text(pem(ROOT))
    with FreeRadius(folder, USERS, ns=pair.left) as running:
        yield running


def load_asking(pair: Pair, tunnel: Tunnel, radius: FreeRadius, password: str = PASSWORD) -> None:
    """Of the users we know none."""
    server = {"name": "one", "address": "127.0.0.1", "port": radius.port, "secret": radius.secret.decode()}
    load(pair, tunnel, password, users=(), radius=[server])


def passed_through(name: str, local: Settings) -> Tunnel:
    return they_call(name, {"local": local}, {"remote_auth": [{"method": "eap", "eap_methods": ["radius"]}]})


@pytest.mark.parametrize("method", ["mschapv2", "md5", "ttls"])
def test_a_password_that_only_the_server_knows(pair: Pair, radius: FreeRadius, method: str) -> None:
    local = {"auth": f"eap-{method}", "eap_id": USER, "id": "laptop.lab", "aaa_id": "aaa.lab"}
    tunnel = passed_through(f"radius-{method}", local)
    load_asking(pair, tunnel, radius)
    assert_works(pair, tunnel, "theirs")
    assert pair.gateway.attempt()["remote_id"] == USER
    assert "Access-Accept" in radius.log()


def test_a_certificate_that_the_server_judges(pair: Pair, radius: FreeRadius) -> None:
    tunnel = passed_through("radius-tls", {**TLS_CARD, "aaa_id": "aaa.lab"})
    load_asking(pair, tunnel, radius)
    assert_works(pair, tunnel, "theirs")
    assert pair.gateway.attempt()["remote_id"] == "anna@lab"


def test_a_password_that_the_server_refuses(pair: Pair, radius: FreeRadius) -> None:
    local = {"auth": "eap-md5", "eap_id": USER, "id": "laptop.lab"}
    tunnel = passed_through("radius-wrong", local)
    load_asking(pair, tunnel, radius, "no")
    attempt = failed(pair, tunnel, "theirs", charon_says="EAP_FAILURE")
    assert attempt["cause"] == "eap-radius" and "refused" in attempt["reason"]
