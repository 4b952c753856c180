"""What a peer calls itself, all the way: events, log, API and pages show it as harmless text."""

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path as File

import pytest

from gateway.ike.effects import Send
from gateway.ike.engine import Engine
from gateway.ike.path import Path
from gateway.ike.sa import Lifecycle
from gateway.service.gateway import Gateway
from gateway.wire import payloads as wire
from gateway.wire.numbers import IdType
from tests.hostile.abuses import HOSTILE_TEXT
from tests.hostile.rogue import AUTH, Rogue
from tests.hostile.test_secrets import assert_silent, reachable, secrets_of
from tests.simulation.network import SECRET
from tests.web.console_lab import LAB
from tests.web.console_person import Person, setup, visiting

KINDS = (IdType.ID_FQDN, IdType.ID_RFC822_ADDR, IdType.ID_KEY_ID, 99)
PAGES = ("/", "/tunnels", "/tunnels/anybody", "/tunnels/anybody/history", "/sessions", "/attempts", "/events")
API = ("status", "attempts?limit=50", "ike-sas", "child-sas", "events/history?limit=200")


@dataclass
class Wire:
    """What passes between a rogue and a gateway that really serves."""

    gateway: Gateway
    carried: list[tuple[float, str, str, bytes]] = field(default_factory=list)

    @property
    def network(self) -> "Wire":
        return self

    @property
    def engine(self) -> Engine:
        return self.gateway._engine

    def receive(self, datagram: bytes, path: Path) -> None:
        runner = self.gateway._runner
        effects = self.engine.receive(datagram, path, runner.clock())
        self.carried += [(0.0, path.local, one.path.remote, one.data) for one in effects if isinstance(one, Send)]
        runner.perform([one for one in effects if not isinstance(one, Send)])


@pytest.fixture
async def person(tmp_path: File) -> AsyncIterator[Person]:
    async with visiting(tmp_path) as found:
        await setup(found)
        child = {"name": "net", "local_selectors": ["10.1.0.0/24"], "remote_selectors": ["10.66.0.0/24"]}
        anybody = {
            "name": "anybody",
            "remote_id": "%any",
            "local_id": "gate.example",
            "unique": "never",
            "children": [{**child, "start": "passive"}],
        }
        document = {
            "apiVersion": "ikegate/v1",
            "peers": [anybody],
            "psks": [{"name": "all", "secret": SECRET.decode()}],
        }
        await found.gateway.config.apply(document, LAB)
        yield found


def attack(gateway: Gateway) -> list[Rogue]:
    """Peers with hostile names, one for each kind, that get in; and one for each that does not hold the key."""
    line, rogues = Wire(gateway), []
    for number, kind in enumerate(KINDS * 2):
        rogue = Rogue(line, True, seed=number)  # type: ignore[arg-type]
        rogue.path = Path("192.0.2.1", f"192.0.2.{100 + number}")
        rogue.secret = SECRET if number < len(KINDS) else b"no key"
        rogue.call(None, wire.VendorId(HOSTILE_TEXT))
        name = wire.IDi(kind, HOSTILE_TEXT + bytes((0x30 + number,)))
        child = rogue.child(bytes((0, 9, 9, number)))
        rogue.request(AUTH, name, rogue.proof(name), *child, wire.VendorId(HOSTILE_TEXT))
        rogues.append(rogue)
    return rogues


async def test_a_hostile_name_is_text_wherever_it_is_shown(person: Person, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        rogues = attack(person.gateway)
    standing = [rogue for rogue in rogues if rogue.sa is not None and rogue.sa.state is Lifecycle.ESTABLISHED]
    assert len(standing) == len(KINDS)
    shown = [record.getMessage() for record in caplog.records]
    shown += [text for record in person.gateway.journal.latest(500) for text in (record.text, json.dumps(record.data))]
    assert len(shown) > 16
    assert all(text.isprintable() for text in shown), [text for text in shown if not text.isprintable()]

    for path in PAGES:
        page = await person.look(path)
        assert "<script>alert" not in page.source
        assert not any(octet in page.source for octet in ("\x1b", "\x07", "\x00"))
    numbers = [attempt.id for attempt in person.gateway.attempts(limit=50)]
    assert len(numbers) == len(rogues)
    told = 0
    for number in numbers:
        page = await person.look(f"/attempts/{number}")
        told += "&lt;script&gt;alert" in page.source
        assert "<script>alert" not in page.source
    assert told > 0


async def test_the_api_says_a_hostile_name_as_data(person: Person) -> None:
    attack(person.gateway)
    said = ""
    for path in API:
        answer = await person.get(f"/api/v1/{path}", accept="application/json")
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "application/json"
        answer.json()
        assert not any(ord(character) < 0x20 for character in answer.text.replace("\n", ""))
        said += answer.text
    assert "fake" in said


async def test_no_key_of_a_standing_sa_is_said_anywhere(person: Person, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        rogues = attack(person.gateway)
    engine, plane = person.gateway._engine, person.gateway._plane
    secrets = secrets_of(reachable(engine.core, plane, [rogue.keys for rogue in rogues]))
    assert len(secrets) > 20
    said = [record.getMessage() for record in caplog.records] + [repr(person.gateway.status())]
    said += [repr(record) for record in person.gateway.journal.latest(500)]
    said += [repr(one) for one in (*person.gateway.kernel_states(), *person.gateway.kernel_policies())]
    paths = [*PAGES, *(f"/api/v1/{path}" for path in (*API, "kernel/states", "kernel/policies", "peers", "psks"))]
    paths += [f"/{where}attempts/{one.id}" for one in person.gateway.attempts(limit=50) for where in ("", "api/v1/")]
    for path in paths:
        answer = await person.get(path)
        assert answer.status_code == 200, path
        said.append(answer.text)
    assert_silent(said, secrets)
