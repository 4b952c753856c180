"""The API: the history of events, and the stream of those that happen."""

import asyncio
import datetime as dt
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
import uvicorn

from gateway.service.gateway import Gateway
from gateway.service.tls import ensure_certificate, server_context
from tests.web.api_lab import Api, configure

V1 = "/api/v1"


async def test_the_history_of_events(client: httpx2.AsyncClient, far: Gateway) -> None:
    await configure(client, far)
    await client.post(f"{V1}/peers/sun/actions/connect?wait=20")
    everything = (await client.get(f"{V1}/events/history?limit=500")).json()["items"]
    assert [event["id"] for event in everything] == sorted((event["id"] for event in everything), reverse=True)
    topics = {event["kind"].partition(".")[0] for event in everything}
    assert {"config", "ike-sa", "admin"} <= topics
    config = (await client.get(f"{V1}/events/history?topics=config,admin")).json()["items"]
    assert {event["kind"].partition(".")[0] for event in config} == {"config", "admin"}
    of_sun = (await client.get(f"{V1}/events/history?peer=sun")).json()["items"]
    assert of_sun
    assert {event["peer"] for event in of_sun} == {"sun"}
    page = (await client.get(f"{V1}/events/history?limit=2")).json()
    rest = (await client.get(f"{V1}/events/history?limit=500&before={page['next_cursor']}")).json()
    assert page["items"] + rest["items"] == everything


@asynccontextmanager
async def _online(api: Api) -> AsyncIterator[tuple[str, ssl.SSLContext, uvicorn.Server]]:
    """The API behind the gateway's own certificate, on a port of loopback."""
    made = ensure_certificate(api.data, ["localhost"], ["127.0.0.1"], dt.datetime.now(dt.UTC))
    config = uvicorn.Config(
        api.app,
        host="127.0.0.1",
        port=0,
        lifespan="off",
        log_level="warning",
        timeout_graceful_shutdown=5,
        ssl_context_factory=lambda *_: server_context(made.certificate, made.key),
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"https://localhost:{port}", ssl.create_default_context(cafile=str(made.certificate)), server
    finally:
        server.should_exit = True
        await serving


async def _events(lines: AsyncIterator[str], count: int) -> list[dict[str, Any]]:
    """The next events of a stream, each with its id and its name."""
    found: list[dict[str, Any]] = []
    event: dict[str, Any] = {}
    async for line in lines:
        name, _, value = line.partition(": ")
        if not line and "data" in event:
            found.append(json.loads(event["data"]) | {"event": event["event"], "stream_id": event["id"]})
            if len(found) == count:
                return found
        event = event | {name: value} if line else {}
    return found


async def test_events_arrive_as_they_happen_and_resume_where_they_stopped(api: Api) -> None:
    headers = {"authorization": f"Bearer {await api.token()}"}
    async with (
        _online(api) as (url, context, _),
        httpx2.AsyncClient(base_url=url, verify=context, headers=headers) as web,
    ):
        async with web.stream("GET", f"{V1}/events?topics=config") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert stream.headers["cache-control"] in ("no-store", "no-cache")
            lines = stream.aiter_lines()
            assert (await anext(lines)).startswith(": ")
            await web.put(f"{V1}/peers/a", json={})
            await api.token(name="noise")
            await web.put(f"{V1}/peers/b", json={})
            first, second = await asyncio.wait_for(_events(lines, 2), 20)
        assert (first["event"], first["kind"]) == ("config.changed", "config.changed")
        assert first["text"].startswith("Added peer a")
        assert second["text"].startswith("Added peer b")
        assert first["stream_id"] == str(first["id"])
        resume = {"last-event-id": first["stream_id"]}
        async with web.stream("GET", f"{V1}/events?topics=config", headers=resume) as stream:
            assert await asyncio.wait_for(_events(stream.aiter_lines(), 1), 20) == [second]
        beyond = {"last-event-id": "999999"}  # given out by a process before this one
        async with web.stream("GET", f"{V1}/events?topics=config", headers=beyond) as stream:
            assert await asyncio.wait_for(_events(stream.aiter_lines(), 2), 20) == [first, second]


async def test_an_open_stream_does_not_hold_up_a_stop(api: Api) -> None:
    headers = {"authorization": f"Bearer {await api.token()}"}
    async with (
        _online(api) as (url, context, server),
        httpx2.AsyncClient(base_url=url, verify=context, headers=headers) as web,
        web.stream("GET", f"{V1}/events") as stream,
    ):
        lines = stream.aiter_lines()
        await anext(lines)
        api.gateway.journal.end()
        server.should_exit = True
        assert [line async for line in lines if line.startswith("data")] == []


async def test_a_stream_ends_with_its_token(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await api.gateway.config.access.create_token("short", ["state:read"], "tests")  # type: ignore[list-item]
    follow = api.gateway.journal.follow
    monkeypatch.setattr(api.gateway.journal, "follow", lambda last: follow(last, idle=0.2))
    headers = {"authorization": f"Bearer {made.text}"}
    async with (
        _online(api) as (url, context, _),
        httpx2.AsyncClient(base_url=url, verify=context, headers=headers) as web,
        web.stream("GET", f"{V1}/events?topics=none") as stream,
    ):
        lines = stream.aiter_lines()
        await anext(lines)
        await api.gateway.config.access.delete_token(made.token.id, "tests")
        async with asyncio.timeout(10):
            async for _ in lines:
                pass
