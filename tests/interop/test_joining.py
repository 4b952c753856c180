"""A device that joins with the file it was given: strongSwan, with a user's password, comes in as the file says."""

import json
from typing import Any

import pytest

from tests.interop.planes import userspace_only
from tests.interop.tunnels import OUTER, Pair, text_of
from tests.lab.appliance import Plain, until
from tests.pki import issue, root

pytestmark = userspace_only

ROOT = root("O=Lab, CN=Joining Root")
GATE = issue("O=Lab, CN=gate.lab", ROOT, "dns:gate.lab")
PASSWORD = "open sesame"
LOGIN = "anna@people.lab"


@pytest.fixture(scope="module", autouse=True)
def served(pair: Pair) -> None:
    child = {"name": "net", "local_selectors": ["10.1.0.0/24", "fd01::/64"], "remote_selectors": [], "start": "passive"}
    peer = {
        "name": "people",
        "local_id": "gate.lab",
        "local_auth": [{"method": "certificate", "certificate": "gate"}],
        "remote_auth": [{"method": "eap", "eap_methods": ["mschapv2"]}],
        "pools": ["people"],
        "children": [child],
    }
    document = {
        "peers": [peer],
        "pools": [{"name": "people", "networks": ["10.99.0.0/24", "fd00:99::/64"]}],
        "users": [{"name": "anna", "login": LOGIN, "password": PASSWORD, "addresses": ["10.99.0.9"]}],
        "authorities": [{"name": "root", "certificate": ROOT.pem}],
        "certificates": [{"name": "gate", "certificate": GATE.pem, "private_key": GATE.key_pem}],
    }
    pair.gateway.apply(document)


def given(pair: Pair, device: str) -> str:
    """The file as it is downloaded; the lab has no DNS."""
    octets = pair.gateway.rest("GET", f"/users/anna/profiles/{device}")
    text = octets.decode() if isinstance(octets, bytes) else json.dumps(octets)
    assert PASSWORD not in text
    return text


def comes_in(pair: Pair, connection: str) -> None:
    pair.charon.initiate("net")
    (theirs,) = pair.charon.list_sas()
    assert (theirs["state"], theirs["name"]) == ("ESTABLISHED", connection)
    assert "10.99.0.9" in theirs["local-vips"]
    (ours,) = until(lambda: pair.gateway.ike_sas("people"), "it stands at our end")
    assert (ours["user"], min(ours["leased"])) == (LOGIN, "10.99.0.9")
    assert pair.right.ping("10.1.0.1", source="10.99.0.9")


def test_swanctl_comes_in_with_its_file_and_is_cut_off_when_the_user_is_disabled(pair: Pair) -> None:
    text = given(pair, "swanctl")
    commented = [line.removeprefix("#: ") for line in text.splitlines() if line.startswith("#: ")]
    (pair.charon.swanctl_folder / "x509ca" / "ikegate-people.pem").write_text("\n".join(commented) + "\n")
    text = text.replace("remote_addrs = gate.lab", f"remote_addrs = {OUTER[4][0]}").replace(
        '"PASSWORD"', f'"{PASSWORD}"'
    )
    pair.charon.load(text)
    comes_in(pair, "people")
    pair.gateway.rest("PATCH", "/users/anna", {"enabled": False})
    try:
        until(lambda: not pair.charon.list_sas() and not pair.gateway.ike_sas("people"), "he is cut off", seconds=5.0)
        with pytest.raises(Exception, match="net"):
            pair.charon.initiate("net")
        assert "EAP_MSCHAPV2 method failed" in pair.charon.tail(40)
    finally:
        pair.gateway.rest("PATCH", "/users/anna", {"enabled": True})
    comes_in(pair, "people")
    pair.charon.terminate("people")


def read_android(pair: Pair, said: dict[str, Any], local: Plain, addresses: str) -> Plain:
    """The connection that the fields of a file for Android make, with this proof of its own."""
    pem = "\n".join(("-----BEGIN CERTIFICATE-----", said["remote"]["cert"], "-----END CERTIFICATE-----", ""))
    (pair.charon.swanctl_folder / "x509ca" / "android.pem").write_text(pem)
    child = {"remote_ts": ",".join(said["split-tunneling"]["subnets"]), "esp_proposals": said["esp-proposal"]}
    return {
        "version": "2",
        "remote_addrs": OUTER[4][0],
        "vips": addresses,
        "proposals": said["ike-proposal"],
        "local": local,
        "remote": {"auth": "pubkey", "id": said["remote"]["id"], "cacerts": "android.pem"},
        "children": {"net": child},
    }


def test_what_the_file_for_android_says_lets_strongswan_in(pair: Pair) -> None:
    """As its client reads it: each field of the file becomes one of a connection."""
    said: dict[str, Any] = json.loads(given(pair, "android"))
    assert said["type"] == "ikev2-eap"
    user = said["local"]["eap_id"]
    connection = read_android(pair, said, {"auth": "eap", "id": user, "eap_id": user}, "0.0.0.0,::")
    secrets = {"eap-anna": {"id": user, "secret": PASSWORD}}
    pair.charon.load(text_of({"connections": {"android": connection}, "secrets": secrets}))
    comes_in(pair, "android")
    pair.charon.terminate("android")
