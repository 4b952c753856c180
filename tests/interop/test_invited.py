"""A device that was invited: its file comes from the link over HTTPS, and strongSwan joins with it and nothing else."""

import base64
import json
import re
import ssl
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.interop.planes import userspace_only
from tests.interop.test_joining import read_android
from tests.interop.tunnels import OUTER, Pair, text_of
from tests.lab.appliance import ApplianceError, until
from tests.lab.charon import CharonError

pytestmark = userspace_only

PORT = 8443
LOGIN, IDENTITY = "anna@people.lab", "anna+{}@people.lab"
PASSWORD = "open sesame"
CERTIFICATE = {"method": "certificate", "authorities": ["people"]}
TWO_ROUNDS = [CERTIFICATE, {"method": "eap", "eap_methods": ["mschapv2"]}]


@pytest.fixture(scope="module", autouse=True)
def certificate(pair: Pair) -> Path:
    """The console is served; this is the file of its certificate."""
    gateway = pair.gateway
    gateway.rest("POST", "/authorities/actions/create", {"name": "people", "common_name": "People of the lab"})
    gate = {"name": "gate", "common_name": "gate", "names": ["gate.lab"], "authority": "people"}
    gateway.rest("POST", "/certificates/actions/generate", gate)
    child = {"name": "net", "local_selectors": ["10.1.0.0/24"], "remote_selectors": [], "start": "passive"}
    peer = {
        "name": "people",
        "local_id": "gate.lab",
        "remote_id": "*@people.lab",
        "local_auth": [{"method": "certificate", "certificate": "gate"}],
        "remote_auth": [CERTIFICATE],
        "pools": ["people"],
        "children": [child],
    }
    document = {
        "peers": [peer],
        "pools": [{"name": "people", "networks": ["10.99.0.0/24"]}],
        "users": [{"name": "anna", "login": LOGIN, "password": PASSWORD}],
        "devices": [{"name": "anna/laptop"}, {"name": "anna/phone"}, {"name": "anna/desk"}],
    }
    gateway.apply(document)
    return Path(gateway.ask("serve", port=PORT))


class Browser:
    """What the person opens the link with, at the other end of the cable; it keeps cookies and checks certificates."""

    def __init__(self, pair: Pair, certificate: Path) -> None:
        self._inside = pair.right.entered
        verified = ssl.create_default_context(cafile=certificate)
        headers = {"accept": "text/html"}
        self.client = httpx2.Client(base_url=f"https://{OUTER[4][0]}:{PORT}", verify=verified, headers=headers)

    def look(self, path: str) -> str:
        with self._inside():
            answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def take(self, path: str, platform: str) -> tuple[int, bytes]:
        with self._inside():
            answer = self.client.post(path, data={"platform": platform})
        return answer.status_code, answer.content


@pytest.fixture
def browser(pair: Pair, certificate: Path) -> Iterator[Browser]:
    found = Browser(pair, certificate)
    yield found
    found.client.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is to be as before after the test, whatever came of it."""
    with ExitStack() as made:
        yield made


def invited(pair: Pair, device: str) -> str:
    """The path of a new link."""
    link: str = pair.gateway.rest("POST", f"/users/anna/devices/{device}/invites", {})["link"]
    return "/join/" + link.rpartition("/")[2]


def unpack(pair: Pair, octets: bytes) -> str:
    """The files in their places; of swanctl.conf its text, with an address, as the lab has no DNS."""
    text = ""
    with tarfile.open(fileobj=BytesIO(octets)) as archive:
        for member in archive.getmembers():
            found = archive.extractfile(member)
            assert found is not None and member.name.startswith("etc/swanctl/")
            content, place = found.read(), member.name.removeprefix("etc/swanctl/")
            if place.startswith("conf.d/"):
                text = content.decode().replace("remote_addrs = gate.lab", f"remote_addrs = {OUTER[4][0]}")
            else:
                (pair.charon.swanctl_folder / place).write_bytes(content)
    return text


def comes_in(pair: Pair, device: str) -> dict[str, Any]:
    pair.charon.initiate("net")
    until(lambda: len(pair.gateway.ike_sas("people")) == 1, "it stands at our end, and once")
    (ours,) = pair.gateway.ike_sas("people")
    assert (ours["user"], ours["device"]) == (LOGIN, f"anna/{device}")
    assert pair.right.ping("10.1.0.1", source=ours["leased"][0])
    found: dict[str, Any] = ours
    return found


def is_cut_off(pair: Pair) -> None:
    """Within five seconds, and it does not come in again."""
    until(lambda: not pair.charon.list_sas() and not pair.gateway.ike_sas("people"), "it is cut off", seconds=5.0)
    with pytest.raises(CharonError, match="net"):
        pair.charon.initiate("net")
    assert not pair.gateway.ike_sas("people")


def test_swanctl_joins_with_the_file_behind_its_link_and_is_refused_once_revoked(pair: Pair, browser: Browser) -> None:
    path = invited(pair, "laptop")
    assert "Get the file" in browser.look(path)
    status, file = browser.take(path, "swanctl")
    assert status == 200
    assert browser.take(path, "swanctl")[0] == 410
    assert "Waiting for the device" in browser.look(path)
    pair.charon.load(unpack(pair, file))
    comes_in(pair, "laptop")
    (theirs,) = pair.charon.list_sas()
    assert (theirs["state"], theirs["local-id"]) == ("ESTABLISHED", IDENTITY.format("laptop"))
    page = browser.look(path)
    assert "<strong>Connected</strong>" in page and "10.99.0." in page
    until(
        lambda: pair.gateway.rest("GET", "/users/anna/devices/laptop/status")["first_seen_at"],
        "it is noted that the device was seen",
    )
    (told,) = pair.gateway.rest("GET", "/invites?device=anna/laptop")["items"]
    assert told["state"] == "used" and told["first_seen_at"] >= told["used_at"]
    pair.gateway.rest("POST", "/users/anna/devices/laptop/actions/revoke", {})
    is_cut_off(pair)
    assert "revoked" in pair.gateway.attempt("people")["reason"]
    status, file = browser.take(invited(pair, "laptop"), "swanctl")
    assert pair.gateway.rest("GET", "/users/anna/devices/laptop/status")["first_seen_at"] is None
    pair.charon.load(unpack(pair, file))
    comes_in(pair, "laptop")
    pair.charon.terminate("people")


def test_the_file_for_android_lets_strongswan_in_until_the_device_is_removed(pair: Pair, browser: Browser) -> None:
    """As its client reads it: the PKCS#12 file is opened by strongSwan, under the password that the page shows."""
    path = invited(pair, "phone")
    status, file = browser.take(path, "android")
    assert status == 200
    said = json.loads(file)
    assert said["type"] == "ikev2-cert"
    (password,) = re.findall(r"password of the certificate: <code>([^<]*)</code>", browser.look(path))
    (pair.charon.swanctl_folder / "pkcs12" / "phone.p12").write_bytes(base64.b64decode(said["local"]["p12"]))
    connection = read_android(pair, said, {"auth": "pubkey", "id": said["local"]["id"]}, "0.0.0.0")
    secrets = {"pkcs12-phone": {"file": "phone.p12", "secret": password}}
    pair.charon.load(text_of({"connections": {"android": connection}, "secrets": secrets}))
    comes_in(pair, "phone")
    pair.gateway.rest("DELETE", "/users/anna/devices/phone")
    is_cut_off(pair)


def serial_and_revoked(pair: Pair) -> tuple[str, list[str]]:
    """The serial number of the tablet's certificate, and those that its authority revoked."""
    device = pair.gateway.rest("GET", "/users/anna/devices/tablet")
    revoked = pair.gateway.rest("GET", "/authorities/people")["revoked"]
    return device["chain"][0]["serial"], [one["serial"] for one in revoked]


def test_the_certificate_before_is_good_until_the_device_comes_in_by_the_next(pair: Pair, browser: Browser) -> None:
    pair.gateway.rest("PUT", "/users/anna/devices/tablet", {})
    old_file = browser.take(invited(pair, "tablet"), "swanctl")[1]
    old, before = serial_and_revoked(pair)
    pair.charon.load(unpack(pair, old_file))
    comes_in(pair, "tablet")
    status = "/users/anna/devices/tablet/status"
    until(lambda: pair.gateway.rest("GET", status)["first_seen_at"], "the device was seen")
    again = pair.gateway.rest("POST", "/users/anna/devices/tablet/actions/invite-again", {})
    new_file = browser.take("/join/" + again["link"].rpartition("/")[2], "swanctl")[1]
    assert pair.gateway.ike_sas("people")[0]["superseded"] is True, "no session drops"
    new, revoked = serial_and_revoked(pair)
    assert new != old and revoked == before
    pair.charon.terminate("people")
    comes_in(pair, "tablet")
    assert pair.gateway.rest("GET", status)["first_seen_at"] is None, "not by the new one"
    pair.charon.terminate("people")
    pair.charon.load(unpack(pair, new_file))
    comes_in(pair, "tablet")
    until(lambda: old in serial_and_revoked(pair)[1], "the one before is revoked", seconds=20.0)
    (ours,) = pair.gateway.ike_sas("people")
    assert ours["superseded"] is False and pair.gateway.rest("GET", status)["first_seen_at"]
    pair.charon.terminate("people")
    pair.charon.load(unpack(pair, old_file))
    with pytest.raises(CharonError, match="net"):
        pair.charon.initiate("net")
    assert "revoked" in pair.gateway.attempt("people")["reason"]
    pair.gateway.rest("DELETE", "/users/anna/devices/tablet")
    assert new in [one["serial"] for one in pair.gateway.rest("GET", "/authorities/people")["revoked"]]


def test_a_certificate_and_a_password_are_two_rounds(pair: Pair, browser: Browser, stack: ExitStack) -> None:
    stack.callback(pair.gateway.rest, "PATCH", "/peers/people", {"remote_auth": [CERTIFICATE]})
    pair.gateway.rest("PATCH", "/peers/people", {"remote_auth": TWO_ROUNDS})
    status, file = browser.take(invited(pair, "desk"), "swanctl")
    assert status == 200
    text = unpack(pair, file)
    assert PASSWORD not in text
    pair.charon.load(text.replace('"PASSWORD"', f'"{PASSWORD}"'))
    comes_in(pair, "desk")
    stack.callback(pair.gateway.rest, "PATCH", "/users/anna", {"enabled": True})
    pair.gateway.rest("PATCH", "/users/anna", {"enabled": False})
    is_cut_off(pair)
    with pytest.raises(ApplianceError, match="is disabled"):
        pair.gateway.rest("POST", "/users/anna/devices/desk/invites", {})
