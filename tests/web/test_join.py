"""The page behind an invitation's link, as somebody without an account uses it."""

import asyncio
import base64
import json
import logging
import re
import tarfile
import time
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from gateway.crypto import containers
from gateway.crypto.authority import Wanted
from gateway.crypto.signature_keys import spki
from gateway.service import invitations
from gateway.service.authorities import facts_of
from gateway.service.invitations import Invitations, NoInvitation
from gateway.service.issuing import Order
from tests.web.api_lab import Api, served
from tests.web.console_markup import Page
from tests.web.joining_lab import BOTH, CERTIFICATE, LOGIN, ME, PASSWORD, SECRET, invited, people, reread, welcome
from web.console.joining import platform_of

V1 = "/api/v1"
BROWSER = {"accept": "text/html", "sec-fetch-site": "same-origin"}
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15"


@pytest.fixture
async def api(api: Api) -> Api:
    await welcome(api.gateway)
    return api


@pytest.fixture
async def guest(api: Api) -> AsyncIterator[httpx2.AsyncClient]:
    async with api.client(**BROWSER) as found:
        yield found


def well_made(answer: httpx2.Response, status: int) -> Page:
    assert answer.status_code == status, answer.text
    page = Page(answer.text)
    assert page.faults == []
    assert not page.all("script")
    return page


async def test_looking_changes_nothing_and_the_button_gives_the_file_once(api: Api, guest: httpx2.AsyncClient) -> None:
    path = await invited(api)
    for _ in range(3):  # a mail scanner, a preview, the person
        page = well_made(await guest.get(path, headers={"user-agent": PHONE}), 200)
    chosen = [one.attributes["value"] for one in page.all("input") if "checked" in one.attributes]
    assert chosen == ["apple"]
    assert not api.gateway.config.inventory.devices["anna/phone"].certificate
    file = await guest.post(path, data={"platform": "swanctl"})
    assert file.status_code == 200, file.text
    assert file.headers["content-type"] == "application/gzip"
    assert file.headers["content-disposition"] == 'attachment; filename="anna-phone.tar.gz"'
    assert file.headers["cache-control"] == "no-store"
    device = api.gateway.config.inventory.devices["anna/phone"]
    assert (device.platform, device.authority) == ("swanctl", "ca")
    assert facts_of(device.certificate)[0].names == ("anna+phone@example.com",)
    async with api.client(**BROWSER) as other:
        again = await other.post(path, data={"platform": "swanctl"})
        assert "used already" in well_made(again, 410).source
        assert "used already" in well_made(await other.get(path), 410).source
    assert api.gateway.config.inventory.devices["anna/phone"] == device


async def test_the_key_is_in_the_file_and_nowhere_else(
    api: Api, guest: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = await invited(api)
    file = await guest.post(path, data={"platform": "swanctl"})
    with tarfile.open(fileobj=BytesIO(file.content)) as archive:
        parts = {one.name: archive.extractfile(one).read() for one in archive.getmembers()}  # type: ignore[union-attr]
        assert {one.mode for one in archive.getmembers()} == {0o600}
    (key,) = [text for name, text in parts.items() if "/private/" in name]
    (own,) = [text for name, text in parts.items() if "/x509/" in name]
    assert containers.read_private_key(key).public.spki == _spki(own)
    device = api.gateway.config.inventory.devices["anna/phone"]
    assert containers.read_certificates(own) == containers.read_certificates(device.certificate.encode())[:1]
    assert ("devices", "anna/phone") not in api.gateway.config.inventory.secrets
    await asyncio.to_thread(api.gateway.config.revision_document, api.gateway.config.revision)
    secret = b"".join(key.split(b"\n")[1:-2])
    token = path.removeprefix("/join/")
    kept = b"".join(one.read_bytes() for one in api.data.iterdir() if one.is_file())
    ours = [one.getMessage() for one in caplog.records if not one.name.startswith("http")]  # not our client's own
    told = json.dumps([*ours, *(one.text for one in api.gateway.journal.latest())])
    for hidden in (secret, containers.key_octets(containers.read_private_key(key)), token.encode()):
        assert hidden not in kept
    assert secret.decode() not in told and token not in told


def _spki(pem: bytes) -> bytes:
    return spki(containers.read_certificates(pem)[0].public_key())


async def test_two_at_once_get_one_file(api: Api) -> None:
    path = await invited(api)
    async with api.client(**BROWSER) as one, api.client(**BROWSER) as other:
        answers = await asyncio.gather(
            *(client.post(path, data={"platform": "swanctl"}) for client in (one, other, one, other))
        )
    assert sorted(answer.status_code for answer in answers) == [200, 410, 410, 410]


async def test_the_token_goes_to_no_other_site_and_the_page_needs_no_script(
    api: Api, guest: httpx2.AsyncClient
) -> None:
    path = await invited(api)
    for answer in (await guest.get(path), await guest.get("/join/nothing"), await guest.post(path, data={})):
        assert answer.headers["referrer-policy"] == "strict-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-robots-tag"] == "noindex, nofollow"
    cross = await guest.post(path, data={"platform": "swanctl"}, headers={"sec-fetch-site": "cross-site"})
    assert cross.status_code == 403
    assert (await guest.get(path)).status_code == 200


async def test_a_page_that_breaks_does_not_write_the_link_into_the_log(
    api: Api, guest: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await invited(api)

    def broken(*_: object) -> None:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(Invitations, "find", broken)
    assert (await guest.get(path)).status_code == 500
    assert "/join/…" in caplog.text and path not in caplog.text


@pytest.mark.parametrize("way", ["expired", "revoked", "replaced", "device removed", "user removed", "user disabled"])
async def test_a_link_that_is_over_gives_nothing(
    api: Api, guest: httpx2.AsyncClient, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await invited(api, good_for=60.0)
    async with api.client(await api.token()) as admin:
        if way == "expired":
            later = time.time() + 61
            monkeypatch.setattr(api.gateway.invitations, "_clock", lambda: later)
        elif way == "revoked":
            (one,) = (await admin.get(f"{V1}/invites")).json()["items"]
            assert (await admin.delete(f"{V1}/invites/{one['id']}")).status_code == 204
        elif way == "replaced":
            await invited(api)
        elif way == "device removed":
            assert (await admin.delete(f"{V1}/users/anna/devices/phone")).status_code == 200
        elif way == "user removed":
            assert (await admin.delete(f"{V1}/users/anna")).status_code == 200
        else:
            assert (await admin.patch(f"{V1}/users/anna", json={"enabled": False})).status_code == 200
    status = 422 if way == "user disabled" else 410
    told = well_made(await guest.post(path, data={"platform": "swanctl"}), status).source
    assert {"expired": "that is over", "user disabled": "is disabled"}.get(way, "taken back") in told
    assert all(not one.certificate for one in api.gateway.config.inventory.devices.values())


@pytest.mark.parametrize("whose", ["phone", ""])
async def test_a_link_is_for_no_later_device_of_the_same_name(api: Api, guest: httpx2.AsyncClient, whose: str) -> None:
    path = await invited(api)
    place = f"{V1}/users/anna/devices/phone" if whose else f"{V1}/users/anna"
    async with api.client(await api.token()) as admin:
        assert (await admin.delete(place)).status_code == 200
        assert (await admin.put(f"{V1}/users/anna", json={"login": LOGIN})).status_code in (200, 201)
        assert (await admin.put(f"{V1}/users/anna/devices/phone", json={})).status_code == 201
        (one,) = (await admin.get(f"{V1}/invites")).json()["items"]
        assert one["state"] == "revoked" and one["revoked_at"]
    for links in (api.gateway.invitations, reread(api)):
        with pytest.raises(NoInvitation, match="taken back"):
            links.find(path.removeprefix("/join/"), "192.0.2.1")
    well_made(await guest.post(path, data={"platform": "swanctl"}), 410)
    assert not api.gateway.config.inventory.devices["anna/phone"].certificate


@pytest.mark.parametrize("way", ["action", "authority"])
async def test_no_older_link_sets_a_revoked_device_up_again(api: Api, guest: httpx2.AsyncClient, way: str) -> None:
    await guest.post(await invited(api), data={"platform": "swanctl"})
    path = await invited(api)
    async with api.client(await api.token()) as admin:
        if way == "action":
            told = await admin.post(f"{V1}/users/anna/devices/phone/actions/revoke")
        else:
            serial = facts_of(api.gateway.config.inventory.devices["anna/phone"].certificate)[0].serial
            revoked = [{"serial": serial, "at": 1.0, "reason": "key-compromise"}]
            told = await admin.patch(f"{V1}/authorities/ca", json={"revoked": revoked})
        assert told.status_code == 200, told.text
    async with api.client(**BROWSER) as thief:
        well_made(await thief.post(path, data={"platform": "swanctl"}), 410)
    with pytest.raises(NoInvitation, match="taken back"):
        reread(api).find(path.removeprefix("/join/"), "192.0.2.1")
    assert (await guest.post(await invited(api), data={"platform": "swanctl"})).status_code == 200


@pytest.mark.parametrize("whose", ["device", "gateway"])
async def test_what_no_device_can_check_is_refused_when_it_is_invited(api: Api, whose: str) -> None:
    await api.gateway.issuing.create_authority(Order("pq", Wanted("PQ"), key_type="ml-dsa-65"), ME)
    await api.gateway.issuing.generate(Order("pqgate", Wanted("pqgate", ("gw.example",))), "pq", ME)
    change = {"local_auth": [{"method": "certificate", "certificate": "pqgate"}]}
    if whose == "device":
        change = {"remote_auth": [{"method": "certificate", "authorities": ["pq"]}]}
    async with api.client(await api.token()) as admin:
        assert (await admin.patch(f"{V1}/peers/people", json=change)).status_code == 200
        refused = await admin.post(f"{V1}/users/anna/devices/phone/invites", json={})
    assert refused.status_code == 422 and "ML-DSA, which no device can check yet" in refused.text
    assert whose in refused.text


async def test_who_guesses_is_slowed_and_who_was_invited_is_not(api: Api, guest: httpx2.AsyncClient) -> None:
    path = await invited(api)
    answers = {(await guest.get(f"/join/{'A' * length}")).text for length in (1, 42, 43, 43, 200)}
    assert len({re.sub("<[^>]*>", "", text) for text in answers}) == 1  # each unknown token is answered alike
    tries = 5
    while (answer := await guest.get(f"/join/{tries:043}")).status_code == 410:
        tries += 1
        assert tries < 40
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1
    assert tries >= 10
    assert (await guest.get(path)).status_code == 200
    assert (await guest.post(path, data={"platform": "swanctl"})).status_code == 200


async def test_a_file_that_cannot_be_made_leaves_the_link_good(api: Api, guest: httpx2.AsyncClient) -> None:
    modern = {"name": "modern", "protocol": "ike", "suites": ["aes256gcm16-prfsha384-x25519"]}
    async with api.client(await api.token()) as admin:
        assert (await admin.put(f"{V1}/proposals/modern", json=modern)).status_code == 201
        change = {"ike_proposals": ["modern"], "remote_id": "*@example.com"}
        assert (await admin.patch(f"{V1}/peers/people", json=change)).status_code == 200
    path = await invited(api)
    assert "Windows" in well_made(await guest.post(path, data={"platform": "windows"}), 422).source
    assert "Choose" in well_made(await guest.post(path, data={"platform": "toaster"}), 422).source
    assert not api.gateway.config.inventory.devices["anna/phone"].certificate
    assert (await guest.post(path, data={"platform": "apple"})).status_code == 200


async def test_a_new_link_revokes_what_the_last_one_gave(api: Api, guest: httpx2.AsyncClient) -> None:
    await guest.post(await invited(api), data={"platform": "swanctl"})
    first = facts_of(api.gateway.config.inventory.devices["anna/phone"].certificate)[0].serial
    assert not api.gateway.config.inventory.authorities["ca"].revoked
    await guest.post(await invited(api), data={"platform": "apple"})
    second = facts_of(api.gateway.config.inventory.devices["anna/phone"].certificate)[0].serial
    assert [(one.serial, one.reason) for one in api.gateway.config.inventory.authorities["ca"].revoked] == [
        (first, "superseded")
    ]
    assert second != first


async def test_the_taker_alone_sees_how_it_goes_on(api: Api, guest: httpx2.AsyncClient) -> None:
    path = await invited(api)
    file = await guest.post(path, data={"platform": "android"})
    attributes = {part.strip().lower() for part in file.headers["set-cookie"].split(";")[1:]}
    assert attributes == {"secure", "httponly", "samesite=lax", "path=/", "max-age=3600"}
    page = well_made(await guest.get(path), 200)
    assert "Waiting for the device" in page.source and 'http-equiv="refresh"' in page.source
    (password,) = re.findall(r"password of the certificate: <code>([^<]*)</code>", page.source)
    sealed = base64.b64decode(file.json()["local"]["p12"])
    key, own, _ = pkcs12.load_key_and_certificates(sealed, password.encode())
    assert key is not None and own is not None
    async with api.client(**BROWSER) as other:
        assert password not in well_made(await other.get(path), 410).source


async def test_with_a_peer_that_asks_for_a_password_no_key_is_made(api: Api, guest: httpx2.AsyncClient) -> None:
    async with api.client(await api.token()) as admin:
        assert (await admin.put(f"{V1}/peers/people", json=people("people", PASSWORD))).status_code == 200
        assert (await admin.put(f"{V1}/users/bob/devices/phone", json={})).status_code == 201
        lacking = await admin.post(f"{V1}/users/bob/devices/phone/invites", json={})
        assert lacking.status_code == 422 and "has none" in lacking.text
    file = await guest.post(await invited(api), data={"platform": "swanctl"})
    assert file.headers["content-disposition"].endswith('.conf"')
    assert "PASSWORD" in file.text and SECRET not in file.text and LOGIN in file.text
    device = api.gateway.config.inventory.devices["anna/phone"]
    assert (device.platform, device.certificate) == ("swanctl", "")


async def test_what_is_asked_by_eap_must_be_what_a_file_can_say(api: Api) -> None:
    async with api.client(await api.token()) as admin:
        for methods, status in ((["tls"], 422), (["md5"], 422), (["tls", "mschapv2"], 201), (["radius"], 201)):
            change = {"remote_auth": [{"method": "eap", "eap_methods": methods}]}
            assert (await admin.patch(f"{V1}/peers/people", json=change)).status_code == 200
            made = await admin.post(f"{V1}/users/anna/devices/phone/invites", json={})
            assert made.status_code == status, (methods, made.text)


async def test_where_no_peer_is_for_people_nobody_is_invited(api: Api) -> None:
    async with api.client(await api.token()) as admin:
        assert (await admin.delete(f"{V1}/peers/people")).status_code == 200
        refused = await admin.post(f"{V1}/users/anna/devices/phone/invites", json={})
        told = "people can come in by no peer yet: it needs a pool, and asks for a certificate or EAP first"
        assert (refused.status_code, refused.json()["errors"][0]["detail"]) == (422, told)


async def test_a_peer_must_be_one_that_the_device_can_come_in_by(api: Api) -> None:
    async with api.client(await api.token()) as admin:
        for change, told in (
            ({"remote_auth": [{**CERTIFICATE[0], "revocation": "off"}]}, "never asks whether"),
            ({"remote_auth": CERTIFICATE, "remote_id": "*@elsewhere.example"}, "would be anna+phone@example.com"),
            ({"remote_auth": [*PASSWORD, *CERTIFICATE]}, "asks for more than a password"),
        ):
            assert (await admin.patch(f"{V1}/peers/people", json=change)).status_code == 200
            refused = await admin.post(f"{V1}/users/anna/devices/phone/invites", json={})
            assert refused.status_code == 422 and told in refused.text, refused.text
        change = {"remote_auth": BOTH, "remote_id": "%any"}
        assert (await admin.patch(f"{V1}/peers/people", json=change)).status_code == 200
        assert (await admin.post(f"{V1}/users/anna/devices/phone/invites", json={})).status_code == 201
        assert (await admin.put(f"{V1}/peers/more", json=people("more", CERTIFICATE))).status_code == 201
        ambiguous = await admin.post(f"{V1}/users/anna/devices/phone/invites", json={})
        assert ambiguous.json()["errors"][0]["detail"] == "name the peer: people can come in by more, people"
        assert (await admin.post(f"{V1}/users/anna/devices/phone/invites", json={"peer": "more"})).status_code == 201


async def test_invitations_outlive_a_restart_and_tokens_do_not_lie_in_the_database(tmp_path: Path) -> None:
    async with served(tmp_path) as first:
        await welcome(first.gateway)
        path = await invited(first)
    assert path.removeprefix("/join/").encode() not in (tmp_path / "config.db").read_bytes()
    async with served(tmp_path) as second, second.client(**BROWSER) as guest:
        assert (await guest.get(path)).status_code == 200
        assert (await guest.post(path, data={"platform": "swanctl"})).status_code == 200
    async with served(tmp_path) as third, third.client(**BROWSER) as guest:
        assert (await guest.post(path, data={"platform": "swanctl"})).status_code == 410


async def test_old_invitations_are_forgotten(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await invited(api)
    later = time.time() + invitations.GOOD_FOR + invitations._KEPT + 1
    monkeypatch.setattr(api.gateway.invitations, "_clock", lambda: later)
    await invited(api)
    assert len(api.gateway.invitations.all()) == 1


@pytest.mark.parametrize(
    ("agent", "platform"),
    [
        (PHONE, "apple"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)", "apple"),
        ("Mozilla/5.0 (Linux; Android 16; Pixel 9)", "android"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64)", "windows"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "networkmanager"),
        ("curl/8", ""),
    ],
)
def test_the_browser_tells_the_platform(agent: str, platform: str) -> None:
    assert platform_of(agent) == platform
