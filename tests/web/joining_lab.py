"""A gateway at which people can come in by certificates of our own authority."""

import time
from typing import Any

from gateway.crypto.authority import Wanted
from gateway.service.gateway import Gateway
from gateway.service.invitations import Invitations
from gateway.service.issuing import Order
from gateway.service.manage import Terms
from tests.web.api_lab import HOST, Api

ME = Terms("tests")
LOGIN = "anna@example.com"
CERTIFICATE = [{"method": "certificate", "authorities": ["ca"]}]
PASSWORD = [{"method": "eap", "eap_methods": ["mschapv2"]}]
BOTH = [*CERTIFICATE, *PASSWORD]
SECRET = "her secret words"


def people(name: str, remote_auth: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A peer for persons."""
    return {
        "name": name,
        "local_id": "gw.example",
        "local_auth": [{"method": "certificate", "certificate": "gate"}],
        "remote_auth": remote_auth,
        "pools": ["people"],
        "children": [
            {"name": "net", "local_selectors": ["10.1.0.0/24"], "remote_selectors": [], "start": "passive"},
        ],
        **more,
    }


async def welcome(gateway: Gateway, *peers: dict[str, Any]) -> None:
    """An authority, a pool, the user anna with a phone, and a peer for people."""
    await gateway.issuing.create_authority(Order("ca", Wanted("Lab CA")), ME)
    await gateway.issuing.generate(Order("gate", Wanted("gate", ("gw.example",))), "ca", ME)
    document = {
        "apiVersion": "ikegate/v1",
        "pools": [{"name": "people", "networks": ["10.99.0.0/24"]}],
        "users": [{"name": "anna", "login": LOGIN, "password": SECRET}, {"name": "bob"}],
        "devices": [{"name": "anna/phone"}],
        "peers": list(peers) or [people("people", CERTIFICATE)],
    }
    await gateway.config.apply(document, ME)


async def invited(api: Api, **terms: object) -> str:
    """The path of a new link."""
    async with api.client(await api.token(name=f"t{time.monotonic_ns()}")) as admin:
        made = await admin.post("/api/v1/users/anna/devices/phone/invites", json=terms)
    assert made.status_code == 201, made.text
    link: str = made.json()["link"]
    assert link.startswith(f"{HOST}/join/")
    return link.removeprefix(HOST)


def reread(api: Api) -> Invitations:
    """What is known of links after a restart."""
    gate = api.gateway
    return Invitations(gate.config, gate.devices, gate._database, gate.journal, "gw.example")
