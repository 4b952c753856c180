"""Devices of users and their invitations through the API."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from gateway.crypto.authority import Wanted
from gateway.service.authorities import facts_of
from gateway.service.issuing import Order
from gateway.service.manage import Terms
from tests.web.api_lab import Api, problem, served
from tests.web.joining_lab import welcome

V1 = "/api/v1"
PHONE = f"{V1}/users/anna/devices/phone"


@pytest.fixture
async def api(api: Api) -> Api:
    await welcome(api.gateway)
    return api


async def joined(api: Api, client: httpx2.AsyncClient, platform: str = "swanctl") -> str:
    """The phone is set up; its certificate's serial number."""
    link = (await client.post(f"{PHONE}/invites", json={})).json()["link"]
    async with api.client(accept="text/html") as guest:
        file = await guest.post(link, data={"platform": platform})
    assert file.status_code == 200, file.text
    return facts_of(api.gateway.config.inventory.devices["anna/phone"].certificate)[0].serial


def revoked(api: Api) -> list[str]:
    return [one.serial for one in api.gateway.config.inventory.authorities["ca"].revoked]


async def test_a_device_is_made_read_changed_and_deleted(client: httpx2.AsyncClient) -> None:
    made = await client.put(f"{V1}/users/anna/devices/desk", json={"description": "the old one"})
    assert made.status_code == 201, made.text
    assert made.json()["object"]["name"] == "anna/desk"
    listed = (await client.get(f"{V1}/users/anna/devices")).json()["items"]
    assert [one["name"] for one in listed] == ["anna/desk", "anna/phone"]
    changed = await client.patch(f"{V1}/users/anna/devices/desk", json={"description": "the new one"})
    assert changed.json()["object"]["description"] == "the new one"
    assert (await client.get(f"{V1}/users/anna/devices/desk")).headers["etag"]
    assert (await client.delete(f"{V1}/users/anna/devices/desk")).status_code == 200
    problem(await client.get(f"{V1}/users/anna/devices/desk"), 404, "not-found")
    nobody = problem(await client.put(f"{V1}/users/nobody/devices/desk", json={}), 422, "invalid")
    assert nobody["errors"][0]["detail"] == "there is no user 'nobody'"
    problem(await client.get(f"{V1}/users/nobody/devices"), 404, "not-found")


async def test_an_invitation_shows_its_link_once_and_how_far_it_came(api: Api, client: httpx2.AsyncClient) -> None:
    body = {"good_for": 3600.0, "days": 30, "on_demand": True}
    made = (await client.post(f"{PHONE}/invites", json=body)).json()
    link, number = made.pop("link"), made["id"]
    assert (made["state"], made["peer"], made["days"], made["on_demand"]) == ("open", "people", 30.0, True)
    assert made["expires_at"] - made["created_at"] == 3600.0
    listed = await client.get(f"{V1}/invites", params={"device": "anna/phone"})
    assert listed.json()["items"] == [made]
    assert link.rpartition("/")[2] not in listed.text
    async with api.client(accept="text/html") as guest:
        await guest.get(link)
        looked = (await client.get(f"{V1}/invites/{number}")).json()
        assert (looked["state"], looked["opened_at"] is not None, looked["used_at"]) == ("open", True, None)
        await guest.post(link, data={"platform": "apple"})
    used = (await client.get(f"{V1}/invites/{number}")).json()
    assert (used["state"], used["platform"], used["used_from"], used["first_seen_at"]) == (
        "used",
        "apple",
        "127.0.0.1",
        None,
    )
    facts = facts_of(api.gateway.config.inventory.devices["anna/phone"].certificate)[0]
    assert 29.9 * 86_400 < facts.not_after - facts.not_before < 30.1 * 86_400
    assert facts.subject == "CN=phone,O=anna"
    assert (await client.delete(f"{V1}/invites/{number}")).status_code == 204
    assert (await client.get(f"{V1}/invites/{number}")).json()["state"] == "used"
    problem(await client.get(f"{V1}/invites/nothing"), 404, "not-found")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"good_for": 1.0}, "/good_for"),
        ({"good_for": 1e9}, "/good_for"),
        ({"days": 0}, "/days"),
        ({"peer": "nowhere"}, "/peer"),
        ({"token": "x"}, "/token"),
    ],
)
async def test_invitations_that_are_not_made(client: httpx2.AsyncClient, body: dict[str, Any], pointer: str) -> None:
    wrong = problem(await client.post(f"{PHONE}/invites", json=body), 422, "invalid")
    assert [error["pointer"] for error in wrong["errors"]] == [pointer]


async def test_invitations_are_not_made_or_revoked_on_trial(api: Api, client: httpx2.AsyncClient) -> None:
    trial = {"dry_run": True}
    wrong = problem(await client.post(f"{PHONE}/invites", json={}, params=trial), 422, "invalid")
    assert [error["pointer"] for error in wrong["errors"]] == ["/query/dry_run"]
    assert not api.gateway.invitations.all()
    number = (await client.post(f"{PHONE}/invites", json={}, params={"dry_run": False})).json()["id"]
    problem(await client.delete(f"{V1}/invites/{number}", params=trial), 422, "invalid")
    assert (await client.get(f"{V1}/invites/{number}")).json()["state"] == "open"


async def test_a_certificate_that_no_device_has_any_more_is_revoked(api: Api, client: httpx2.AsyncClient) -> None:
    serial = await joined(api, client)
    kept = await client.put(PHONE, json={"description": "written anew"})
    assert kept.json()["object"]["chain"][0]["serial"] == serial and not revoked(api)
    told = await client.post(f"{PHONE}/actions/revoke", json={"reason": "key-compromise"})
    assert told.json()["object"]["revoked"] is True
    assert revoked(api) == [serial]
    second = await joined(api, client)
    assert (await client.get(PHONE)).json()["revoked"] is False
    assert (await client.delete(f"{V1}/users/anna")).status_code == 200
    assert not api.gateway.config.inventory.devices
    assert set(revoked(api)) == {serial, second}
    status = await client.get(f"{V1}/authorities/ca/crl")
    listed = x509.load_der_x509_crl(status.content)
    assert {f"{one.serial_number:x}" for one in listed} == {serial, second}


async def test_a_device_names_the_authority_that_can_revoke_it(api: Api, client: httpx2.AsyncClient) -> None:
    await api.gateway.issuing.create_authority(Order("other", Wanted("Lab CA")), Terms("tests"))
    serial = await joined(api, client)
    wrong = problem(await client.patch(PHONE, json={"authority": "other"}), 422, "invalid")
    assert [(one["pointer"], one["code"]) for one in wrong["errors"]] == [("/authority", "other-authority")]
    assert (await client.post(f"{PHONE}/actions/revoke")).status_code == 200
    assert revoked(api) == [serial]


async def test_a_certificate_that_another_device_has_stays_good(api: Api, client: httpx2.AsyncClient) -> None:
    serial = await joined(api, client)
    document = api.gateway.config.export()
    document["devices"][0]["name"] = "anna/mobile"
    await api.gateway.config.apply(document, Terms("tests"), prune=True)
    assert list(api.gateway.config.inventory.devices) == ["anna/mobile"]
    assert not revoked(api)
    assert (await client.delete(f"{V1}/users/anna/devices/mobile")).status_code == 200
    assert revoked(api) == [serial]


async def test_going_back_to_before_there_was_an_authority_keeps_that_of_the_devices(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        config = api.gateway.config
        await config.put("users", "anna", {"login": "anna@example.com"}, Terms("tests"))
        before = config.revision
        await welcome(api.gateway)
        async with api.client(await api.token()) as client:
            serial = await joined(api, client)
            went = await client.post(f"{V1}/revisions/{before}/actions/restore")
            assert went.status_code == 200, went.text
            assert not config.inventory.peers and list(config.inventory.authorities) == ["ca"]
            assert facts_of(config.inventory.devices["anna/phone"].certificate)[0].serial == serial
            assert (await client.post(f"{PHONE}/actions/revoke")).status_code == 200
            assert revoked(api) == [serial]
            assert (await client.get(f"{V1}/authorities/ca/crl")).status_code == 200, "its key is here still"


async def test_going_back_to_a_revision_takes_no_device_from_anybody(api: Api, client: httpx2.AsyncClient) -> None:
    before = api.gateway.config.revision
    serial = await joined(api, client)
    await api.gateway.config.restore(before, Terms("tests"))
    assert facts_of(api.gateway.config.inventory.devices["anna/phone"].certificate)[0].serial == serial
    assert not revoked(api)
    after = api.gateway.config.revision
    assert (await client.delete(PHONE)).status_code == 200
    await api.gateway.config.restore(after, Terms("tests"))
    assert not api.gateway.config.inventory.devices
    assert revoked(api) == [serial]


async def test_the_authority_answers_for_devices(api: Api, client: httpx2.AsyncClient) -> None:
    await joined(api, client)
    assert "users/anna/devices/phone" in (await client.get(f"{V1}/authorities/ca")).json()["used_by"]
    pem = api.gateway.config.inventory.devices["anna/phone"].certificate.encode()
    own = x509.load_pem_x509_certificate(pem)
    issuer = x509.load_pem_x509_certificate(api.gateway.config.inventory.authorities["ca"].certificate.encode())
    asked = ocsp.OCSPRequestBuilder().add_certificate(own, issuer, hashes.SHA256()).build()
    octets = asked.public_bytes(Encoding.DER)
    answer = ocsp.load_der_ocsp_response(api.gateway.issuing.answer_ocsp("ca", octets))
    assert answer.certificate_status == ocsp.OCSPCertStatus.GOOD


async def test_a_document_with_devices_comes_back(api: Api, client: httpx2.AsyncClient) -> None:
    serial = await joined(api, client)
    document = api.gateway.config.export()
    (device,) = document["devices"]
    assert device["name"] == "anna/phone" and device["certificate"].startswith("-----BEGIN CERTIFICATE")
    written = await api.gateway.config.apply(document, Terms("tests"), prune=True)
    assert not written.changed
    document["devices"] = [{"name": "anna/phone"}]
    await api.gateway.config.apply(document, Terms("tests"))
    assert facts_of(api.gateway.config.inventory.devices["anna/phone"].certificate)[0].serial == serial


async def test_how_a_device_is_now(client: httpx2.AsyncClient) -> None:
    now = (await client.get(f"{PHONE}/status")).json()
    assert now == {"device": "anna/phone", "ike_sas": [], "first_seen_at": None, "last_seen_at": None}
