"""Devices whose certificates run out, through the API and the console."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from gateway.crypto.authority import DAY
from gateway.service import invitations
from gateway.service.authorities import facts_of
from gateway.service.renewals import running_out, sentences
from tests.web.api_lab import Api, problem
from tests.web.console_person import Person, setup, visiting
from tests.web.console_samples import GENEVA
from tests.web.joining_lab import CERTIFICATE, ME, people, welcome

V1 = "/api/v1"
PHONE = f"{V1}/users/anna/devices/phone"


@pytest.fixture
async def admin(api: Api) -> AsyncIterator[httpx2.AsyncClient]:
    await welcome(api.gateway, people("people", CERTIFICATE), people("others", CERTIFICATE))
    async with api.client(await api.token()) as client:
        yield client


async def taken(api: Api, link: str, platform: str = "swanctl") -> str:
    """The serial number of the certificate that a link gave."""
    async with api.client(accept="text/html") as guest:
        file = await guest.post(link, data={"platform": platform})
    assert file.status_code == 200, file.text
    return facts_of(api.gateway.config.inventory.devices["anna/phone"].certificate)[0].serial


async def set_up(api: Api, admin: httpx2.AsyncClient, days: float) -> str:
    body = {"peer": "others", "days": days, "on_demand": True}
    return await taken(api, (await admin.post(f"{PHONE}/invites", json=body)).json()["link"])


def told(api: Api, now: float | None = None) -> list[str]:
    gate, now = api.gateway, now or time.time()
    return sentences(running_out(gate.config.inventory, now), gate.invitations.is_open, now)


async def test_a_certificate_that_runs_out_is_told_with_its_device_and_user(
    api: Api, admin: httpx2.AsyncClient
) -> None:
    await set_up(api, admin, 90)
    assert told(api) == []
    now = time.time()
    name = "The certificate of the device phone of anna"
    assert told(api, now + 59.9 * DAY) == []
    assert told(api, now + 70.5 * DAY) == [f"{name} runs out in 19 days: invite it again"]
    assert told(api, now + 89 * DAY) == [f"{name} runs out within two days: invite it again"]
    assert told(api, now + 91 * DAY) == [f"{name} has run out: invite it again"]
    assert told(api, now + 121 * DAY) == []
    later = now + 70.5 * DAY
    for change in ({"enabled": False}, {"expires_at": later - DAY}):
        await admin.patch(f"{V1}/users/anna", json=change)
        assert told(api, later) == []
        await admin.patch(f"{V1}/users/anna", json={"enabled": True, "expires_at": None})
    await admin.post(f"{PHONE}/actions/revoke")
    assert told(api, later) == []


async def test_the_status_warns_until_the_device_has_another(api: Api, admin: httpx2.AsyncClient) -> None:
    await set_up(api, admin, 10)
    warning = "The certificate of the device phone of anna runs out in 9 days: invite it again"
    assert warning in (await admin.get(f"{V1}/status")).json()["problems"]
    link = (await admin.post(f"{PHONE}/actions/invite-again")).json()["link"]
    assert told(api) == [warning.replace("invite it again", "its new link is not used yet")]
    await admin.patch(f"{V1}/peers/others", json={"description": "still there"})
    assert (await admin.get(PHONE)).json()["revoked"] is False
    await taken(api, link)
    assert len(told(api)) == 1, "on the same terms: ten days again"


async def test_invited_again_it_is_the_same_device_on_the_terms_of_its_last_link(
    api: Api, admin: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(api, admin, 45)
    later = time.time() + 40 * DAY + invitations._KEPT
    monkeypatch.setattr(api.gateway.invitations, "_clock", lambda: later)
    await admin.put(f"{V1}/users/anna/devices/desk", json={})
    await admin.post(f"{V1}/users/anna/devices/desk/invites", json={"peer": "people"})
    assert len(api.gateway.invitations.of_device("anna/phone")) == 1, "it says how to invite the device again"
    made = await admin.post(f"{PHONE}/actions/invite-again")
    assert made.status_code == 201
    again = made.json()
    assert (again["device"], again["peer"], again["days"], again["on_demand"]) == ("anna/phone", "others", 45, True)
    await taken(api, again["link"])


async def test_invited_again_where_nothing_is_remembered(api: Api, admin: httpx2.AsyncClient) -> None:
    unsure = problem(await admin.post(f"{PHONE}/actions/invite-again"), 422, "invalid")
    assert unsure["errors"][0]["pointer"] == "/peer"
    await set_up(api, admin, 45)
    await admin.delete(f"{V1}/peers/others")
    made = (await admin.post(f"{PHONE}/actions/invite-again")).json()
    assert (made["peer"], made["days"]) == ("people", 45)
    problem(await admin.post(f"{V1}/users/anna/devices/none/actions/invite-again"), 404, "not-found")


def revoked(api: Api) -> list[tuple[str, str]]:
    return [(one.serial, one.reason) for one in api.gateway.config.inventory.authorities["ca"].revoked]


async def is_in(api: Api, *, superseded: bool = False) -> None:
    """What happens every five seconds, while the phone is in by its certificate, or by the one before."""
    api.gateway.devices.look([replace(GENEVA, device="anna/phone", superseded=superseded)])
    await api.gateway.devices.retire()


async def test_the_certificate_before_is_revoked_when_the_next_one_was_used(
    api: Api, admin: httpx2.AsyncClient
) -> None:
    first = await set_up(api, admin, 10)
    await is_in(api)
    second = await taken(api, (await admin.post(f"{PHONE}/actions/invite-again")).json()["link"])
    devices = api.gateway.config.snapshot().users["anna@example.com"].devices
    assert [(one.name, one.superseded) for one in devices] == [("anna/phone", False), ("anna/phone", True)]
    await is_in(api, superseded=True)
    assert not revoked(api) and (await admin.get(f"{PHONE}/status")).json()["first_seen_at"] is None
    assert "did not come in by that yet" in told(api)[0]
    await admin.put(PHONE, json={"description": "written anew"})
    assert not revoked(api), "it keeps both"
    await is_in(api)
    assert revoked(api) == [(first, "superseded")]
    assert api.gateway.config.inventory.devices["anna/phone"].previous_certificate == ""
    before = api.gateway.config.revision
    await is_in(api)
    assert api.gateway.config.revision == before
    third = await taken(api, (await admin.post(f"{PHONE}/actions/invite-again")).json()["link"])
    assert len({first, second, third}) == 3
    await admin.delete(PHONE)
    gone = "cessation-of-operation"
    assert set(revoked(api)) == {(first, "superseded"), (second, gone), (third, gone)}


async def test_a_certificate_that_was_never_used_is_not_kept_beside_the_next(
    api: Api, admin: httpx2.AsyncClient
) -> None:
    first = await set_up(api, admin, 90)
    await is_in(api)
    second = await set_up(api, admin, 90)
    third = await set_up(api, admin, 90)
    assert revoked(api) == [(second, "superseded")]
    assert len({first, second, third}) == 3
    device = api.gateway.config.inventory.devices["anna/phone"]
    assert [facts_of(one)[0].serial for _, one in device.certificates] == [third, first]


async def test_a_lost_device_is_revoked_with_both_and_keeps_neither(api: Api, admin: httpx2.AsyncClient) -> None:
    first = await set_up(api, admin, 90)
    await is_in(api)
    second = await set_up(api, admin, 90)
    assert (await admin.post(f"{PHONE}/actions/revoke", json={"reason": "key-compromise"})).status_code == 200
    assert set(revoked(api)) == {(first, "key-compromise"), (second, "key-compromise")}
    await set_up(api, admin, 90)
    assert api.gateway.config.inventory.devices["anna/phone"].previous_certificate == ""


async def test_many_devices_are_counted(api: Api, admin: httpx2.AsyncClient) -> None:
    await set_up(api, admin, 10)
    device = api.gateway.config.inventory.devices["anna/phone"]
    fields = {"certificate": device.certificate, "authority": "ca"}
    devices = [{"name": f"anna/phone{number}", **fields} for number in range(9)]
    await api.gateway.config.apply({"apiVersion": "ikegate/v1", "devices": devices}, ME)
    found = told(api)
    assert len(found) == 6
    assert found[-1] == "The certificates of 5 more devices run out soon, or have: invite them again"


async def test_the_console_lists_what_runs_out_and_invites_again_by_one_button(tmp_path: Path) -> None:
    async with visiting(tmp_path) as person:
        await setup(person)
        await welcome(person.gateway)
        assert "run out" not in (await person.look("/access")).source
        await _set_up(person, 10)
        listed = await person.look("/access")
        assert "Certificates of devices that run out" in listed.source
        (form,) = [one for one in listed.all("form") if one.attributes.get("action", "").endswith("/invite-again")]
        again = await person.send(form.attributes["action"], {}, 200)
        assert "It is shown this once" in again.text and "/join/" in again.text
        assert "Invite again" in (await person.look("/access/users/anna/devices/phone")).source


async def _set_up(person: Person, days: float) -> None:
    made = await person.gateway.invitations.create("anna/phone", "tests", life=days * DAY)
    await person.gateway.invitations.take(made.token, "swanctl", "192.0.2.1")
