"""The commands for devices and invitations, against a real gateway over TLS."""

import http.client
import json
import re
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.cli.connection import Connection, Target
from gateway.cli.local import read_door
from tests.cli.served import Served, ask
from tests.web.joining_lab import CERTIFICATE, people

LINK = re.compile(r"^https://\S+/join/[A-Za-z0-9_-]{43}$")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """At which people can come in by certificates of its own authority; anna has no device yet."""
    with Served(tmp_path_factory.mktemp("gate")) as gateway:
        door = read_door(gateway.data)
        with Connection(Target.to_door(door, door.url)) as connection:
            connection.post("/authorities/actions/create", {"name": "ca", "common_name": "Lab CA"})
        assert gateway.ask("issue", "gate", "--authority", "ca", "--for", "gw.example").exit_code == 0
        document = {
            "apiVersion": "ikegate/v1",
            "pools": [{"name": "people", "networks": ["10.99.0.0/24"]}],
            "users": [{"name": "anna", "login": "anna@example.com"}, {"name": "bob"}],
            "peers": [people("people", CERTIFICATE)],
        }
        assert gateway.apply(document).exit_code == 0
        yield gateway


@pytest.fixture
def fresh(gate: Served) -> Iterator[Served]:
    yield gate
    for one in gate.told("devices"):
        user, _, device = one["name"].partition("/")
        door = read_door(gate.data)
        with Connection(Target.to_door(door, door.url)) as connection:
            connection.delete(f"/users/{user}/devices/{device}")


def take(link: str) -> None:
    """The file, as the person takes it."""
    parts = urlsplit(link)
    assert parts.port
    context = ssl._create_unverified_context()  # made at this start, and on loopback
    connection = http.client.HTTPSConnection("127.0.0.1", parts.port, context=context)
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "text/html"}
    connection.request("POST", parts.path, "platform=swanctl", headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()


def link_of(gate: Served, *words: str) -> str:
    done = gate.ask("invite", *words)
    assert done.exit_code == 0, done.output
    link = done.stdout.splitlines()[-1]
    assert LINK.fullmatch(link), done.stdout
    return link


def test_a_device_is_added_invited_set_up_invited_again_and_revoked(fresh: Served) -> None:
    assert fresh.ask("devices").stdout == "No devices are there.\n"
    unknown = fresh.ask("invite", "anna/phone")
    assert (unknown.exit_code, "There is no device 'anna/phone'" in unknown.stderr) == (1, True)
    link = link_of(fresh, "anna/phone", "--add", "--days", "20", "--for", "2h")
    assert re.search(r"^anna/phone +none yet", fresh.ask("devices").stdout, re.MULTILINE)
    take(link)
    assert re.search(r"^anna/phone +swanctl +20", fresh.ask("devices", "anna").stdout, re.MULTILINE)
    assert fresh.ask("devices", "bob").stdout == "No devices are there.\n"
    link_of(fresh, "anna/phone", "--again")
    told: list[dict[str, Any]] = fresh.told("invites", "anna/phone")
    assert [(one["state"], one["days"]) for one in told] == [("used", 20.0), ("open", 20.0)]
    assert "/join/" not in fresh.ask("invites").stdout + json.dumps(told)
    assert fresh.ask("revoke-invite", told[1]["id"]).stdout == "The link is good for nothing any more.\n"
    assert [one["state"] for one in fresh.told("invites", "anna/phone")] == ["used", "revoked"]
    revoked = fresh.ask("revoke-device", "anna/phone", "--reason", "key-compromise")
    assert revoked.stdout == "The certificate of anna/phone is revoked.\n"
    assert re.search(r"^anna/phone +swanctl +revoked", fresh.ask("devices").stdout, re.MULTILINE)


def test_a_link_as_a_document_has_its_terms(fresh: Served) -> None:
    made = fresh.told("invite", "anna/desk", "--add", "--on-demand")
    assert (made["on_demand"], made["peer"], LINK.fullmatch(made["link"]) is not None) == (True, "people", True)
    again = fresh.told("invite", "anna/desk", "--add")
    assert again["on_demand"] is False, "adding what is there changes nothing"
    assert [one["state"] for one in fresh.told("invites", "anna/desk")] == ["revoked", "open"]


@pytest.mark.parametrize("words", [("invite", "phone"), ("invite", "anna/phone", "--again", "--days", "3")])
def test_what_makes_no_sense_is_said_before_anybody_is_asked(words: tuple[str, ...]) -> None:
    done = ask(*words)
    assert done.exit_code == 2
    assert "is no device" in done.stderr or "leave the others out" in done.stderr
