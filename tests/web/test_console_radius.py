"""RADIUS servers, as a person sets them up without script."""

import pytest

from tests.web.console_lab import LAB
from tests.web.console_markup import Page
from tests.web.console_person import Person
from tests.web.forms import values
from tests.web.test_console_rules import said

SECRET = "a secret of two"
FIRST = {"name": "first", "address": "192.0.2.9", "secret": SECRET}
PEOPLE = {
    "name": "people",
    "remote_id": "%any",
    "remote_auth": [{"method": "eap", "eap_methods": ["radius"]}],
    "children": [{"name": "net", "local_selectors": ["10.8.0.0/16"], "remote_selectors": ["10.9.0.0/16"]}],
}


async def test_a_server_is_made_changed_and_deleted(person: Person) -> None:
    assert "No RADIUS server is set up" in (await person.look("/access")).source
    config = person.gateway.config
    offered = values(await person.look("/access/radius/new"))
    assert offered["accounting"] == "yes" and "dynamic" not in offered
    assert (offered["port"], offered["timeout"], offered["priority"]) == ("1812", "2", "100")
    answer = await person.send("/access/radius/new", offered | FIRST | {"timeout": "0,5", "priority": "7"})
    assert answer.headers["location"] == "/access"
    server = config.inventory.radius["first"]
    assert (server.address, server.port, server.accounting_port) == ("192.0.2.9", 1812, 1813)
    assert (server.timeout, server.tries, server.priority) == (0.5, 3, 7)
    assert [one.secret for one in config.snapshot().radius] == [SECRET.encode()]
    for path in ("/access", "/access/radius/first", "/access/radius/first/delete", "/events"):
        assert SECRET not in (await person.look(path)).source

    shown = values(await person.look("/access/radius/first"))
    assert (shown["secret"], shown["timeout"]) == ("", "0.5")
    await person.send("/access/radius/first", shown | {"tries": "5", "port": ""})
    assert (config.inventory.radius["first"].tries, config.inventory.radius["first"].port) == (5, 1812)
    assert config.inventory.secrets["radius", "first"] == SECRET.encode()
    shown = values(await person.look("/access/radius/first"))
    assert (shown["accounting"], shown["interim_interval"]) == ("yes", "0")
    told = {key: text for key, text in shown.items() if key != "accounting"}
    changed = {"secret": "another secret", "dynamic": "yes", "interim_interval": "300"}
    await person.send("/access/radius/first", told | changed)
    server = config.inventory.radius["first"]
    assert (server.accounting, server.dynamic, server.interim_interval) == (False, True, 300)
    shown = values(await person.look("/access/radius/first"))
    assert shown["dynamic"] == "yes" and "accounting" not in shown
    assert config.inventory.secrets["radius", "first"] == b"another secret"
    assert "No peer asks" in (await person.look("/access/radius/first/delete")).source
    await person.send("/access/radius/first/delete", {})
    assert not config.inventory.radius


async def test_servers_stand_in_the_order_in_which_they_are_asked(person: Person) -> None:
    await person.send("/access/radius/new", FIRST | {"name": "zulu", "priority": "1"})
    await person.send("/access/radius/new", FIRST | {"name": "alpha", "address": "2001:db8::9"})
    await person.send("/access/radius/new", FIRST | {"name": "beta", "address": "192.0.2.10"})
    page = await person.look("/access")
    rows = [one.text.strip() for one in page.all("th") if one.attributes["scope"] == "row"]
    assert rows == ["zulu", "alpha", "beta"] == [one.name for one in person.gateway.config.snapshot().radius]


@pytest.mark.parametrize(
    ("change", "field", "text"),
    [
        ({"address": "radius.example"}, "address", "radius.example"),
        ({"address": ""}, "address", "This is needed."),
        ({"secret": ""}, "secret", "This is needed."),
        ({"port": "0"}, "port", "greater than or equal to 1"),
        ({"interim_interval": "86401"}, "interim_interval", "less than or equal to 86400"),
        ({"timeout": "soon"}, "timeout", "Write a number."),
        ({"tries": "2.5"}, "tries", "Write a whole number."),
        ({"name": "First!"}, "name", "Use 1 to 63 of a-z"),
    ],
)
async def test_mistakes_are_said_beside_their_fields(
    person: Person, change: dict[str, str], field: str, text: str
) -> None:
    page = Page((await person.send("/access/radius/new", FIRST | change, 422)).text)
    assert said(page).keys() == {field}
    assert text in said(page)[field]
    assert SECRET not in page.source
    assert not person.gateway.config.inventory.radius


async def test_the_last_server_of_people_goes_only_when_its_name_is_typed(person: Person) -> None:
    await person.send("/access/radius/new", FIRST)
    await person.send("/access/radius/new", FIRST | {"name": "second", "address": "192.0.2.10"})
    await person.gateway.config.apply({"apiVersion": "ikegate/v1", "peers": [PEOPLE]}, LAB)
    page = await person.look("/access")
    assert "/tunnels/people" in {one.attributes["href"] for one in page.all("a")}
    assert "The others are asked" in (await person.look("/access/radius/second/delete")).source
    await person.send("/access/radius/second/delete", {})
    assert "Type first exactly" in (await person.send("/access/radius/first/delete", {}, 422)).text
    assert "first" in person.gateway.config.inventory.radius
    await person.send("/access/radius/first/delete", {"confirm": "first"})
    assert not person.gateway.config.inventory.radius
