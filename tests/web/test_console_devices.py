"""A user's devices and their links in the console, as a person uses it without script."""

import re

import pytest
import segno

from tests.web.console_markup import Page
from tests.web.console_person import BASE, Person
from tests.web.joining_lab import CERTIFICATE, ME, PASSWORD, people, welcome
from tests.web.test_console_rules import said
from web.qr import qr_code

PHONE = "/access/users/anna/devices/phone"
LINK = {"peer": "people", "hours": "24", "days": "398"}


@pytest.fixture
async def person(person: Person) -> Person:
    await welcome(person.gateway)
    return person


def shown_link(page: Page) -> str:
    (link,) = [one.text for one in page.all("pre") if one.attributes.get("id") == "invitation-link"]
    return link


async def test_a_device_is_added_invited_revoked_and_removed(person: Person) -> None:
    config = person.gateway.config
    added = await person.send("/access/users/anna/devices", {"device": "desk"})
    assert added.headers["location"] == "/access/users/anna/devices/desk"
    assert (
        (await person.send("/access/users/anna/devices", {"device": "Desk!"})).headers["location"].endswith("#devices")
    )
    listed = await person.look("/access/users/anna")
    assert "desk" in listed.source and "phone" in listed.source and "Not set up" in listed.source
    made = Page((await person.send(PHONE + "/invites", LINK, 200)).text)
    link = shown_link(made)
    assert re.fullmatch(BASE + r"/join/[A-Za-z0-9_-]{43}", link)
    (path,) = [one.attributes["d"] for one in made.all("path") if one.attributes.get("fill") == "#000"]
    assert path == qr_code(link).path
    again = await person.look(PHONE)
    assert link.rpartition("/")[2] not in again.source and "Not opened yet" in again.source
    await person.look(link.removeprefix(BASE))
    assert "Opened" in (await person.look(PHONE)).source
    file = await person.client.post(link, data={"platform": "apple"})
    assert file.status_code == 200
    set_up = await person.look(PHONE)
    assert "File taken" in set_up.source and "anna+phone@example.com" in set_up.source
    wrong = Page((await person.send(PHONE + "/revoke", {"confirm": "fone"}, 422)).text)
    assert said(wrong)["confirm"] == "Type phone exactly to revoke it."
    await person.send(PHONE + "/revoke", {"confirm": "phone"})
    assert "Revoked" in (await person.look(PHONE)).source
    assert len(config.inventory.authorities["ca"].revoked) == 1
    await person.send(PHONE + "/delete", {})
    assert "anna/phone" not in config.inventory.devices
    await person.look(PHONE, 404)


async def test_a_link_is_revoked(person: Person) -> None:
    link = shown_link(Page((await person.send(PHONE + "/invites", LINK, 200)).text))
    (one,) = person.gateway.invitations.all()
    open_still = (await person.look(PHONE)).source
    assert f"{one.id}/revoke" in open_still and "Revoked" not in open_still
    await person.send(f"{PHONE}/invites/{one.id}/revoke", {})
    assert "Revoked" in (await person.look(PHONE)).source
    await person.look(link.removeprefix(BASE), 410)


async def test_mistakes_are_said_beside_their_fields(person: Person) -> None:
    wrong = Page((await person.send(PHONE + "/invites", LINK | {"hours": "0", "days": "many"}, 422)).text)
    assert said(wrong) == {"hours": "Write a number above 0, 720 at most.", "days": "Write a number."}
    await person.gateway.config.put("peers", "words", people("words", PASSWORD), ME)
    await person.send("/access/users/bob/devices", {"device": "phone"})
    path = "/access/users/bob/devices/phone/invites"
    wrong = Page((await person.send(path, LINK | {"peer": "words"}, 422)).text)
    assert "give the user one first" in said(wrong)["peer"]
    assert not person.gateway.invitations.all()
    change = people("people", CERTIFICATE, remote_id="elsewhere.example")
    await person.gateway.config.put("peers", "people", change, ME)
    wrong = Page((await person.send(PHONE + "/invites", LINK, 422)).text)
    assert "anna+phone@example.com" in said(wrong)["peer"]


@pytest.mark.parametrize("text", ["https://vpn.example/join/" + "A" * 43, "x"])
def test_the_drawing_is_the_code(text: str) -> None:
    """Each dark module, and no other, is in the path; four white ones are around it."""
    drawing = qr_code(text)
    matrix = segno.make(text, error="m", micro=False).matrix
    assert drawing.size == len(matrix) + 8
    drawn = {
        (int(x) + step, int(y))
        for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\3z", drawing.path)
        for step in range(int(length))
    }
    assert drawn == {(x + 4, y + 4) for y, row in enumerate(matrix) for x, dark in enumerate(row) if dark}
    assert re.fullmatch(r"(M\d+ \d+h(\d+)v1h-\2z)+", drawing.path)
