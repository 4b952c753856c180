"""A real gateway on the memory data plane with its API in this process, and another one to talk with."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI

from gateway.dataplane.memory import MemoryPlane
from gateway.service.access import Scope
from gateway.service.gateway import Gateway
from gateway.service.manage import Terms
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.keyring import open_secrets
from tests.lab.ports import free_ports
from web.app import create_app
from web.problems import MEANINGS

HOST = "https://gw.example:8443"
ALL = tuple(Scope)
ME = Terms("tests")
NET = {"name": "net", "local_selectors": ["10.1.0.0/24"], "remote_selectors": ["10.2.0.0/24"]}
SUN: dict[str, Any] = {
    "local_id": "moon.example",
    "remote_id": "sun.example",
    "remote_addresses": ["192.0.2.1"],
    "children": [{**NET, "start": "passive"}],
}
SECRET = "only the two of us know this"
KEY = {"secret": "the quick brown fox jumps", "remote_ids": ["sun.example"]}


@asynccontextmanager
async def running(data: Path) -> AsyncIterator[Gateway]:
    """A gateway that listens on free ports."""
    ike, nat = free_ports(2)
    database = Database(data / "config.db")
    box = open_secrets(database, data, time.time(), environment={})
    settings = Settings(data=data, ike_port=ike, nat_port=nat, plane="memory", public_name="gw.example")
    gateway = Gateway(settings, database, box, MemoryPlane())
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


@dataclass
class Api:
    """The API of one gateway, called without a network."""

    gateway: Gateway
    app: FastAPI
    data: Path

    def client(self, token: str | None = None, **headers: str) -> httpx2.AsyncClient:
        """A caller with a token, or nobody; cookies that it is given it keeps."""
        if token:
            headers["authorization"] = f"Bearer {token}"
        transport = httpx2.ASGITransport(app=self.app)
        return httpx2.AsyncClient(transport=transport, base_url=HOST, headers=headers)

    async def token(self, scopes: Sequence[Scope] = ALL, name: str = "tests") -> str:
        return (await self.gateway.config.access.create_token(name, scopes, "tests")).text


@asynccontextmanager
async def served(data: Path) -> AsyncIterator[Api]:
    async with running(data) as gateway:
        yield Api(gateway, create_app(gateway), data)


def problem(response: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem document of an answer, which must be one, with all its members."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["type"] == f"/problems/{slug}"
    assert slug in MEANINGS
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert document["instance"] == response.request.url.path
    assert document["request_id"] == response.headers["x-request-id"]
    for error in document["errors"]:
        assert error.keys() == {"pointer", "code", "detail"}
    return document


def sun_at(far: Gateway) -> dict[str, Any]:
    return {
        "name": "sun",
        "local_id": "moon.example",
        "remote_id": "sun.example",
        "remote_addresses": ["127.0.0.1"],
        "remote_port": far.settings.nat_port,
        "retransmit": {"base": 0.2, "tries": 3},
        "children": [{**NET, "start": "passive"}],
    }


async def configure(client: httpx2.AsyncClient, far: Gateway, secret: str = SECRET) -> None:
    sun = sun_at(far)
    psk = {"name": "sun", "secret": secret, "remote_ids": ["sun.example"]}
    answer = await client.put("/api/v1/config", json={"apiVersion": "ikegate/v1", "peers": [sun], "psks": [psk]})
    assert answer.status_code == 200, answer.text
