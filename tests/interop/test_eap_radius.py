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
from tests.interop.tunnels import Pair, Settings, Tunnel, text_of
from tests.lab.appliance import until
from tests.lab.freeradius import FreeRadius, radclient

pytestmark = [userspace_only, pytest.mark.requires("freeradius")]

USERS = f"""
{USER} Cleartext-Password := "{PASSWORD}"
  Class = "staff"
hasty Cleartext-Password := "{PASSWORD}"
  Session-Timeout = 4
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


def load_asking(pair: Pair, tunnel: Tunnel, radius: FreeRadius, password: str = PASSWORD, **more: object) -> None:
    """Of the users we know none."""
    ports = {"port": radius.port, "accounting_port": radius.accounting_port}
    server = {"name": "one", "address": "127.0.0.1", "secret": radius.secret.decode(), **ports, **more}
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


# --- accounting, and a server that ends a session ---


def accounted(radius: FreeRadius, user: str, status: str, count: int = 1) -> dict[str, str]:
    """The last of so many records of this kind about the user, once it is there."""

    def found() -> list[dict[str, str]]:
        return [
            one for one in radius.accounted() if (one.get("User-Name"), one.get("Acct-Status-Type")) == (user, status)
        ]

    until(lambda: len(found()) >= count, f"{count} accounting records {status} of {user}")
    assert len(found()) == count
    return found()[-1]


def test_a_session_is_accounted_for_over_a_rekey_and_cut_by_the_server(pair: Pair, radius: FreeRadius) -> None:
    before = [one for one in radius.accounted() if one["User-Name"] == USER and one["Acct-Status-Type"] == "Start"]
    count = len(before) + 1
    tunnel = passed_through("radius-cut", {"auth": "eap-mschapv2", "eap_id": USER, "id": "laptop.lab"})
    load_asking(pair, tunnel, radius, dynamic=True)
    pair.up(tunnel, initiator="theirs")
    start = accounted(radius, USER, "Start", count)
    assert start["NAS-Identifier"] == "left.lab" and start["Calling-Station-Id"].endswith(":4500")
    assert bytes.fromhex(start["Class"].removeprefix("0x")) == b"staff"
    assert pair.pings(count=3)
    (old,) = pair.gateway.ike_sas(tunnel.name)
    assert pair.gateway.rekey(tunnel.name)["ok"], pair.gateway.tail()
    assert [sa["id"] for sa in pair.gateway.ike_sas(tunnel.name)] != [old["id"]]
    assert pair.pings()

    def disconnect(*attributes: str, secret: str = radius.secret.decode()) -> str:
        return radclient("127.0.0.1:3799", "disconnect", secret, *attributes, ns=pair.left)

    session = f'Acct-Session-Id = "{start["Acct-Session-Id"]}"'
    assert "No reply" in disconnect(session, secret="another")
    assert "Session-Context-Not-Found" in disconnect('Acct-Session-Id = "none"')
    assert "Session-Context-Not-Found" in disconnect(session, 'User-Name = "other"')
    assert pair.pings(), "who was not meant is in"
    assert "Received Disconnect-ACK" in disconnect(session, f'User-Name = "{USER}"')
    pair.gone(tunnel)
    stop = accounted(radius, USER, "Stop", count)
    assert stop["Acct-Session-Id"] == start["Acct-Session-Id"]
    assert stop["Acct-Terminate-Cause"] == "Admin-Reset"
    assert int(stop["Acct-Input-Octets"]) >= 8 * 84 and int(stop["Acct-Output-Octets"]) >= 8 * 84
    assert "Session-Context-Not-Found" in disconnect(session)


def test_who_goes_by_himself_has_said_so(pair: Pair, radius: FreeRadius) -> None:
    count = len([one for one in radius.accounted() if (one["User-Name"], one["Acct-Status-Type"]) == (USER, "Stop")])
    tunnel = passed_through("radius-leaves", {"auth": "eap-mschapv2", "eap_id": USER, "id": "laptop.lab"})
    load_asking(pair, tunnel, radius)
    assert_works(pair, tunnel, "theirs")
    assert accounted(radius, USER, "Stop", count + 1)["Acct-Terminate-Cause"] == "User-Request"
    closed = radclient("127.0.0.1:3799", "disconnect", radius.secret.decode(), f'User-Name = "{USER}"', ns=pair.left)
    assert "No reply" in closed, "this server may end nothing: nobody listens"


def test_a_session_ends_after_the_seconds_that_the_server_gave(pair: Pair, radius: FreeRadius) -> None:
    tunnel = passed_through("radius-hasty", {"auth": "eap-md5", "eap_id": "hasty", "id": "laptop.lab"})
    load_asking(pair, tunnel, radius)
    secret = {"eap-hasty": {"id": "hasty", "secret": PASSWORD}, f"ike-{tunnel.name}": tunnel.their_psk()}
    pair.charon.load(text_of({"connections": {tunnel.name: tunnel.connection()}, "secrets": secret}))
    pair.up(tunnel, initiator="theirs")
    pair.gone(tunnel)
    assert accounted(radius, "hasty", "Stop")["Acct-Terminate-Cause"] == "Session-Timeout"
