"""Somebody who uses the console of a real gateway with forms alone, as a browser without script does."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2

from gateway.crypto.authority import Wanted
from gateway.service.gateway import Gateway
from gateway.service.issuing import Order
from tests.web.console_lab import LAB, SECRET, free_ports, make_gateway
from tests.web.console_markup import Page
from web.app import create_app

BASE = "https://gateway.example:8443"
PASSPHRASE = "tulip morning lantern"


@dataclass(slots=True)
class Person:
    """Somebody with a browser: asks for pages, keeps cookies, says where a form was sent from."""

    client: httpx2.AsyncClient
    gateway: Gateway

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.client.get(path, headers={name.replace("_", "-"): text for name, text in headers.items()})

    async def look(self, path: str, status: int = 200, **headers: str) -> Page:
        answer = await self.get(path, **headers)
        assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text[:500]}"
        page = Page(answer.text)
        assert page.faults == [], path
        return page

    async def send(self, path: str, form: Mapping[str, str], status: int = 303) -> httpx2.Response:
        answer = await self.client.post(path, data=dict(form))
        assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text[:2000]}"
        if status != 303:
            assert Page(answer.text).faults == []
        return answer


@contextlib.asynccontextmanager
async def visiting(data: Path) -> AsyncIterator[Person]:
    """A gateway that nobody has set up yet, and a person before it."""
    ports = free_ports(2)
    gateway = make_gateway(data, (ports[0], ports[1]))
    await gateway.start()
    headers = {"accept": "text/html", "sec-fetch-site": "same-origin"}
    transport = httpx2.ASGITransport(create_app(gateway))
    async with httpx2.AsyncClient(transport=transport, base_url=BASE, headers=headers) as client:
        yield Person(client, gateway)
    await gateway.stop()


async def setup(person: Person) -> None:
    link = person.gateway.config.access.setup_link("gateway.example:8443")
    assert link is not None
    token = link.partition("#token=")[2]
    form = {"token": token, "name": "anna", "password": PASSPHRASE, "again": PASSPHRASE}
    answer = await person.send("/setup", form)
    assert answer.headers["location"] == "/"


async def configure(person: Person) -> None:
    child = {"name": "net", "local_selectors": ["10.1.0.0/16"], "remote_selectors": ["10.2.0.0/16"], "start": "passive"}
    peer = {"name": "branch", "remote_id": "branch.example", "local_id": "gw.example", "children": [child]}
    psk = {"name": "branch", "secret": SECRET, "remote_ids": ["branch.example"]}
    shunt = {
        "name": "branch",
        "action": "drop",
        "local_selectors": ["10.1.0.0/16"],
        "remote_selectors": ["10.9.0.0/16"],
    }
    blocks = [{"network": "198.51.100.0/24", "reason": "scans"}, {"network": "2001:db8::/32", "expires_at": 1}]
    document = {"apiVersion": "ikegate/v1", "peers": [peer], "psks": [psk], "shunts": [shunt], "blocks": blocks}
    document["ppks"] = [{"name": "branch", "identity": "2026.branch", "secret": "0x" + "5a" * 32}]
    document["radius"] = [{"name": "branch", "address": "192.0.2.9", "secret": SECRET}]
    document["pools"] = [{"name": "branch", "networks": ["10.99.0.0/24"]}]
    document["access_profiles"] = [{"name": "branch", "networks": ["10.1.0.80[tcp/443]"], "groups": ["staff"]}]
    document["users"] = [{"name": "branch", "addresses": ["10.99.0.7"], "enabled": False}]
    await person.gateway.config.apply(document, LAB)
    await person.gateway.issuing.create_authority(Order("branch-ca", Wanted("Lab")), LAB)
    await person.gateway.issuing.generate(Order("branch-own", Wanted("gw", ("gw.example",))), "branch-ca", LAB)
