"""strongSwan comes in by EAP that FreeRADIUS decides about: IKE_AUTH passes it through, whatever the method is."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from tests.ike.eap_lab import CLIENT, issue
from tests.interop.eap_ends import NOW, TLS_CARD, USER, assert_works, give_files, key, pem, they_call
from tests.interop.planes import userspace_only
from tests.interop.radius_ends import load_asking, load_user, passed_through, radius_in, user_by
from tests.interop.test_refusals import failed
from tests.interop.tunnels import Net, Pair
from tests.lab.appliance import until
from tests.lab.freeradius import FreeRadius, radclient

pytestmark = [userspace_only, pytest.mark.requires("freeradius")]

CARD = {**TLS_CARD, "aaa_id": "aaa.lab"}


@pytest.fixture(scope="module", autouse=True)
def radius(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreeRadius]:
    """FreeRADIUS beside our gateway; the gateway's own users are of no matter."""
    give_files(pair, tmp_path_factory.mktemp("certificates"))
    yield from radius_in(pair.left, tmp_path_factory.mktemp("radius"))


@pytest.mark.parametrize("method", ["mschapv2", "md5", "ttls"])
def test_a_password_that_only_the_server_knows(pair: Pair, radius: FreeRadius, method: str) -> None:
    tunnel = passed_through(f"radius-{method}", user_by(method))
    load_asking(pair, tunnel, radius)
    before = len(radius.log())
    assert_works(pair, tunnel, "theirs")
    assert pair.gateway.attempt()["remote_id"] == USER
    assert "Sent Access-Accept" in radius.log()[before:]


def test_a_certificate_that_the_server_judges(pair: Pair, radius: FreeRadius) -> None:
    tunnel = passed_through("radius-tls", CARD)
    load_asking(pair, tunnel, radius)
    assert_works(pair, tunnel, "theirs")
    assert pair.gateway.attempt()["remote_id"] == "anna@lab"


@pytest.mark.parametrize("method", ["mschapv2", "md5", "ttls"])
def test_a_password_that_the_server_refuses(pair: Pair, radius: FreeRadius, method: str) -> None:
    tunnel = passed_through(f"radius-wrong-{method}", user_by(method))
    load_asking(pair, tunnel, radius, "no")
    attempt = failed(pair, tunnel, "theirs", charon_says="received EAP_FAILURE")
    assert (attempt["cause"], attempt["eap_identity"]) == ("eap-radius", USER)
    assert attempt["reason"] == "EAP with anna failed: the RADIUS server one refused"


def test_a_certificate_that_the_server_refuses(pair: Pair, radius: FreeRadius, tmp_path: Path) -> None:
    """It is of an authority that is not the server's."""
    root = issue("Another root", ca=True, now=NOW)
    card = issue("card", root, san=(x509.RFC822Name("foreign@lab"),), usage=CLIENT, now=NOW)
    (tmp_path / "foreign.pem").write_text(pem(card))
    (tmp_path / "foreign.key").write_text(key(card))
    pair.charon.certificate(tmp_path / "foreign.pem", tmp_path / "foreign.key")
    tunnel = passed_through("radius-foreign", {**CARD, "eap_id": "foreign@lab"})
    load_asking(pair, tunnel, radius)
    before = len(radius.log())
    attempt = failed(pair, tunnel, "theirs", charon_says="received EAP_FAILURE")
    assert attempt["reason"] == "EAP with foreign@lab failed: the RADIUS server one refused"
    assert "unable to get local issuer certificate" in radius.log()[before:]


# --- accounting, and a server that ends a session ---


def accounted(radius: FreeRadius, user: str, status: str) -> dict[str, str]:
    """The one record of this kind about a user of whom there is one session, once it is there."""

    def found() -> list[dict[str, str]]:
        return [
            one for one in radius.accounted() if (one.get("User-Name"), one.get("Acct-Status-Type")) == (user, status)
        ]

    (record,) = until(found, f"an accounting record {status} of {user}")
    return record


def test_a_session_is_accounted_for_over_a_rekey_and_cut_by_the_server(pair: Pair, radius: FreeRadius) -> None:
    tunnel = passed_through("radius-cut", {"auth": "eap-mschapv2", "eap_id": "cut", "id": "laptop.lab"})
    load_user(pair, tunnel, radius, "cut", dynamic=True)
    pair.up(tunnel, initiator="theirs")
    start = accounted(radius, "cut", "Start")
    assert start["NAS-Identifier"] == "left.lab" and start["Calling-Station-Id"].endswith(":4500")
    assert bytes.fromhex(start["Class"].removeprefix("0x")) == b"staff"
    assert pair.pings(count=3)
    pair.renew(tunnel, initiator="ours")
    assert pair.pings()

    def disconnect(*attributes: str, secret: str = radius.secret.decode()) -> str:
        return radclient("127.0.0.1:3799", "disconnect", secret, *attributes, ns=pair.left)

    session = f'Acct-Session-Id = "{start["Acct-Session-Id"]}"'
    assert "No reply" in disconnect(session, secret="another")
    assert "Session-Context-Not-Found" in disconnect('Acct-Session-Id = "none"')
    assert "Session-Context-Not-Found" in disconnect(session, 'User-Name = "other"')
    assert pair.pings(), "who was not meant is in"
    assert "Received Disconnect-ACK" in disconnect(session, 'User-Name = "cut"')
    pair.gone(tunnel)
    stop = accounted(radius, "cut", "Stop")
    assert stop["Acct-Session-Id"] == start["Acct-Session-Id"]
    assert stop["Acct-Terminate-Cause"] == "Admin-Reset"
    assert int(stop["Acct-Input-Octets"]) >= 8 * 84 and int(stop["Acct-Output-Octets"]) >= 8 * 84
    assert "Session-Context-Not-Found" in disconnect(session)
    accounted(radius, "cut", "Start")


def test_who_goes_by_himself_has_said_so(pair: Pair, radius: FreeRadius) -> None:
    tunnel = passed_through("radius-leaves", {"auth": "eap-mschapv2", "eap_id": "leaving", "id": "laptop.lab"})
    load_user(pair, tunnel, radius, "leaving")
    assert_works(pair, tunnel, "theirs")
    assert accounted(radius, "leaving", "Stop")["Acct-Terminate-Cause"] == "User-Request"
    closed = radclient("127.0.0.1:3799", "disconnect", radius.secret.decode(), 'User-Name = "leaving"', ns=pair.left)
    assert "No reply" in closed, "this server may end nothing: nobody listens"


def test_a_session_ends_after_the_seconds_that_the_server_gave(pair: Pair, radius: FreeRadius) -> None:
    tunnel = passed_through("radius-hasty", {"auth": "eap-md5", "eap_id": "hasty", "id": "laptop.lab"})
    load_user(pair, tunnel, radius, "hasty")
    pair.up(tunnel, initiator="theirs")
    pair.gone(tunnel)
    assert accounted(radius, "hasty", "Stop")["Acct-Terminate-Cause"] == "Session-Timeout"


# --- what the server decides about, beside the password ---


def test_a_certificate_first_then_a_password_that_only_the_server_knows(pair: Pair, radius: FreeRadius) -> None:
    """RFC 4739: we judge the first round ourselves."""
    theirs = {
        "local": {"auth": "pubkey", "certs": "card.pem", "id": "anna@lab", "round": "1"},
        "local-2": {**user_by("mschapv2"), "id": "anna@lab", "round": "2"},
        "send_cert": "always",
    }
    rounds = [{"method": "certificate"}, {"method": "eap", "eap_methods": ["radius"]}]
    tunnel = replace(they_call("radius-second", theirs, {"remote_auth": rounds}), right_id="anna@lab")
    load_asking(pair, tunnel, radius)
    assert_works(pair, tunnel, "theirs")
    attempt = pair.gateway.attempt()
    assert attempt["chain"] and attempt["eap_identity"] == USER


def test_the_group_that_the_server_names_decides_about_a_network(pair: Pair, radius: FreeRadius) -> None:
    """Class is `staff` of one user; the other has none."""
    tunnel = passed_through("radius-staff", user_by("mschapv2"))
    tunnel = replace(tunnel, nets=(Net(ours={"groups": ["staff"]}),))
    load_asking(pair, tunnel, radius)
    assert_works(pair, tunnel, "theirs")
    tunnel = replace(tunnel, theirs={**tunnel.theirs, "local": {**user_by("mschapv2"), "eap_id": "guest"}})
    load_user(pair, tunnel, radius, "guest")
    attempt = failed(pair, tunnel, "theirs", charon_says="TS_UNACCEPT")
    assert (attempt["cause"], attempt["notify"]) == ("no-group", 38)
    assert attempt["reason"].startswith("guest is in none of the groups that radius-staff has a child for: staff")
