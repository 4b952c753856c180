"""A secret goes in and never comes out: not in an answer, an error, an event, a log line, a revision or a file."""

import base64
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.web.api_lab import HOST, NET, SUN, Api
from tests.web.test_api_access import PARAMETERS, PUBLIC

V1 = "/api/v1"
CANARY = "canary7f3a-Fluegel-schlaegt"
NEXT = "canary9b1e-singt-noch-immer"
PASSWORD = "canary55aa long walk beach"


def _shapes(secret: str) -> list[bytes]:
    """Every form in which it could slip through."""
    raw = secret.encode()
    return [
        raw,
        raw.hex().encode(),
        raw.hex().upper().encode(),
        base64.b64encode(raw)[:-4],
        base64.urlsafe_b64encode(raw)[:-4],
        quote(secret).encode(),
        repr(raw).encode()[2:-1],
        raw[::-1],
    ]


def _found(where: bytes, secrets: Iterable[str]) -> list[bytes]:
    return [shape for secret in secrets for shape in _shapes(secret) if shape in where]


@pytest.fixture
def seen() -> list[bytes]:
    """Everything that an answer said, in its headers and its body."""
    return []


def _recording(client: httpx2.AsyncClient, seen: list[bytes]) -> None:
    async def record(response: httpx2.Response) -> None:
        await response.aread()
        kept = [value for name, value in response.headers.raw if name.lower() != b"set-cookie"]
        seen.append(b"\n".join([*kept, response.content]))

    client.event_hooks = {"response": [record]}


async def _write_everywhere(client: httpx2.AsyncClient) -> None:
    """Good and bad ways to bring the secret in."""
    document: dict[str, Any] = {
        "apiVersion": "ikegate/v1",
        "psks": [{"name": "doc", "secret": CANARY}],
        "peers": [{"name": "sun", **SUN, "children": [NET]}],
    }
    yaml = {"content-type": "application/yaml"}
    await client.put(f"{V1}/psks/key", json={"secret": CANARY, "remote_ids": ["sun.example"]})
    await client.put(f"{V1}/psks/hex", json={"secret": "0x" + CANARY.encode().hex()})
    await client.put(f"{V1}/psks/base", json={"secret": "0s" + base64.b64encode(CANARY.encode()).decode()})
    await client.put(f"{V1}/config", json=document)
    await client.put(f"{V1}/config?dry_run=true", json={**document, "psks": [{"name": "doc", "secret": NEXT}]})
    await client.patch(f"{V1}/psks/key", json={"secret": NEXT})
    await client.patch(f"{V1}/psks/hex?dry_run=true", json={"secret": NEXT})
    await client.put(f"{V1}/psks/doc", json={"secret": CANARY, "description": "the same again"})
    for body in (
        {"secret": CANARY, "surplus": CANARY[:3]},
        {"secret": [CANARY]},
        {"secret": {"value": CANARY}},
        {"secret": "0x" + CANARY},
        {"secret": "0s" + CANARY + "!"},
        {"secret": CANARY * 200},
        {"secret": CANARY, "remote_ids": 7},
        {"secret": CANARY, "name": "another"},
        CANARY,
        [CANARY],
    ):
        assert (await client.put(f"{V1}/psks/bad", json=body)).status_code == 422
        entry = {**body, "name": "BAD"} if isinstance(body, dict) else body
        assert (await client.put(f"{V1}/config", json={**document, "psks": [entry]})).status_code == 422
    for text in (f"psks: [{{name: a, secret: {CANARY}", f"apiVersion: ikegate/v1\npsks: [{{secret: {CANARY}}}]"):
        assert (await client.put(f"{V1}/config", content=text, headers=yaml)).status_code == 422
    broken = f'{{"secret": "{CANARY}"'
    await client.put(f"{V1}/psks/bad", content=broken, headers={"content-type": "application/json"})
    await client.put(f"{V1}/config", content=broken, headers={"content-type": "application/json"})
    await client.put(f"{V1}/psks/bad", json={"secret": CANARY}, headers={"if-match": '"77"'})
    await client.delete(f"{V1}/psks/base")
    await client.post(f"{V1}/revisions/3/actions/restore")


async def _read_everywhere(api: Api, client: httpx2.AsyncClient) -> int:
    count = 0
    paths = api.app.openapi()["paths"]
    for path, methods in paths.items():
        if "get" not in methods or path.endswith("/events"):
            continue
        for name in ("key", "hex", "doc", "sun"):
            await client.get(path.format(**{**PARAMETERS, "name": name, "child": "net"}))
            count += 1
    for number in range(1, api.gateway.config.revision + 1):
        await client.get(f"{V1}/revisions/{number}")
        await client.get(f"{V1}/revisions/{number}/diff")
        await client.get(f"{V1}/revisions/{number}/diff?against=1")
    await client.get(f"{V1}/config/export?format=json")
    await client.get(f"{V1}/events/history?limit=500")
    return count


def _stored(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_a_secret_never_comes_out(
    api: Api, client: httpx2.AsyncClient, seen: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _recording(client, seen)
    await _write_everywhere(client)
    assert await _read_everywhere(api, client) > 60
    await client.post(f"{V1}/peers/sun/actions/connect")

    secrets = {psk.secret.decode() for psk in api.gateway.config.snapshot().psks}
    assert secrets == {CANARY, NEXT}, "the canaries are really in there"
    assert len(seen) > 100
    assert _found(b"\n".join(seen), secrets) == []
    assert _found(caplog.text.encode(), secrets) == []
    events = repr(api.gateway.journal.latest(10_000)) + repr(api.gateway.journal.latest(10_000)[0].data)
    assert _found(events.encode(), secrets) == []
    config = api.gateway.config
    shown = repr([config.inventory, config.snapshot(), api.gateway.status(), api.gateway.attempts(), config.export()])
    assert _found(shown.encode(), secrets) == []
    files = _stored(api.data)
    assert b"SQLite format 3" in files
    assert _found(files, secrets) == []


async def test_credentials_never_come_out(api: Api, seen: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    access = api.gateway.config.access
    link = access.setup_link("gw.example:8443") or ""
    setup_token = link.partition("=")[2]
    async with api.client(origin=HOST) as browser:
        _recording(browser, seen)
        await browser.post(f"{V1}/setup", json={"token": setup_token, "name": "root", "password": PASSWORD[:9]})
        await browser.post(f"{V1}/setup", json={"token": setup_token, "name": "root", "password": PASSWORD})
        await browser.post(f"{V1}/auth/session", json={"name": PASSWORD, "password": "x"})
        await browser.post(f"{V1}/auth/session", json={"name": "root", "password": [PASSWORD]})
        await browser.post(f"{V1}/auth/session", json={"name": "root", "password": PASSWORD, "surplus": 1})
        await browser.post(f"{V1}/auth/session", json={"name": "root", "password": PASSWORD + "x" * 2000})
        await browser.post(f"{V1}/auth/session", json={"name": "root", "password": PASSWORD})
        session = browser.cookies["__Host-ikegate"]
        made = await access.create_token("ansible", ["config:read"], "root")  # type: ignore[list-item]
        for path, methods in api.app.openapi()["paths"].items():
            if "get" in methods and not path.endswith("/events") and ("GET", path) not in PUBLIC:
                await browser.get(path.format(**PARAMETERS))
        secrets = [PASSWORD, setup_token, session, made.text.split("_", 2)[2][:43]]
        everywhere = b"\n".join([*seen, caplog.text.encode(), repr(api.gateway.journal.latest(1000)).encode()])
        assert _found(everywhere, secrets) == []
        assert _found(_stored(api.data), secrets) == []


async def test_the_keys_of_states_never_come_out(api: Api, client: httpx2.AsyncClient) -> None:
    from gateway.crypto import suites
    from gateway.ike.plane import AddState, EspState

    encr = suites.encryption(20, 256)
    assert encr is not None
    key = b"0123456789abcdefghijklmnopqrstuvwxyz"
    spi = api.gateway._plane.allocate_spi("192.0.2.1", "192.0.2.2")
    api.gateway._plane.apply([AddState(EspState(spi, "192.0.2.1", "192.0.2.2", True, 1, encr, key))])
    shown = await client.get(f"{V1}/kernel/states")
    assert [int(state["spi"], 16) for state in shown.json()["items"]] == [spi]
    assert _found(shown.content, [key.decode()]) == []
