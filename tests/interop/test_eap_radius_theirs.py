"""We are the client of a strongSwan that asks FreeRADIUS: its eap-radius passes our EAP through."""

from collections.abc import Iterator

import pytest

from tests.interop.eap_ends import PASSWORD, USER, assert_works, give_files, load, we_call
from tests.interop.planes import userspace_only
from tests.interop.radius_ends import radius_in
from tests.interop.test_refusals import failed
from tests.interop.tunnels import Pair, Settings, Tunnel
from tests.lab.freeradius import FreeRadius

pytestmark = [userspace_only, pytest.mark.requires("freeradius")]

_ASKS = """
plugins {{
  eap-radius {{
    servers {{
      one {{
        address = 127.0.0.1
        auth_port = {port}
        secret = "{secret}"
      }}
    }}
  }}
}}
"""


@pytest.fixture(scope="module", autouse=True)
def radius(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreeRadius]:
    """FreeRADIUS beside strongSwan, with a certificate for a name of its own."""
    give_files(pair, tmp_path_factory.mktemp("certificates"))
    for running in radius_in(pair.right, tmp_path_factory.mktemp("radius")):
        asks = _ASKS.format(port=running.port, secret=running.secret.decode())
        pair.charon.configure(asks)
        yield running


def called(name: str, **ours: object) -> Tunnel:
    """`ours` says by what we prove ourselves; strongSwan has no user of ours."""
    theirs: Settings = {"remote": {"auth": "eap-radius", "eap_id": "%any", "id": "laptop.lab"}}
    password = {} if "certificate" in ours else {"eap_password": PASSWORD}
    return we_call(name, theirs, {"local_auth": [{"method": "eap", "eap_identity": USER, **ours}], **password})


@pytest.mark.parametrize("method", ["mschapv2", "md5"])
def test_a_password(pair: Pair, radius: FreeRadius, method: str) -> None:
    tunnel = called(f"asks-{method}", eap_methods=[method])
    load(pair, tunnel, "not the one that FreeRADIUS knows")
    before = len(radius.log())
    assert_works(pair, tunnel, "ours")
    assert "Sent Access-Accept" in radius.log()[before:]


def test_a_certificate(pair: Pair, radius: FreeRadius) -> None:
    tunnel = called("asks-tls", eap_identity="anna@lab", certificate="card", eap_methods=["tls"], eap_server="aaa.lab")
    load(pair, tunnel)
    before = len(radius.log())
    assert_works(pair, tunnel, "ours")
    assert "Sent Access-Accept" in radius.log()[before:]


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("mschapv2", "EAP failed: the server ended EAP-MSCHAPv2 with EAP Failure"),
        ("md5", "EAP failed: the server refused us at the end of EAP-MD5"),
    ],
)
def test_a_wrong_password(pair: Pair, radius: FreeRadius, method: str, reason: str) -> None:
    tunnel = called(f"asks-wrong-{method}", eap_methods=[method])
    tunnel = we_call(tunnel.name, tunnel.theirs, {**tunnel.ours, "eap_password": "no"})
    load(pair, tunnel)
    before = len(radius.log())
    attempt = failed(pair, tunnel, "ours", charon_says="RADIUS authentication of 'anna' failed")
    assert attempt["cause"] == "eap-refused" and attempt["reason"] == reason
    assert "Sent Access-Reject" in radius.log()[before:]


def test_a_server_by_another_name(pair: Pair, radius: FreeRadius) -> None:
    """Who does not say otherwise means the gateway itself."""
    tunnel = called("asks-other", eap_identity="anna@lab", certificate="card", eap_methods=["tls"])
    load(pair, tunnel)
    attempt = failed(pair, tunnel, "ours", charon_says="AUTH_FAILED")
    assert (attempt["cause"], attempt["notify"]) == ("eap-tls", 24)
    assert "CN=aaa: it is for the domain names aaa.lab, and not for right.lab" in attempt["reason"]
