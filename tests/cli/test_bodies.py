"""How long the body of a request may take on the console's port: as long as it gets on."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn

from gateway.cli import patience

STILL, RATE = 1.0, 200.0
OCTETS = 800
Talk = Callable[[asyncio.StreamWriter], Any]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with how many octets came, which it reads slowly where it is asked to."""
    came, more = 0, True
    while more:
        if scope["path"] == "/slowly":
            await asyncio.sleep(0.4)
        message = await receive()
        came, more = came + len(message.get("body", b"")), message.get("more_body", False)
        if message["type"] == "http.disconnect":
            return
    told = str(came).encode()
    headers = [(b"connection", b"close"), (b"content-length", str(len(told)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(patience, "STILL", STILL)
    monkeypatch.setattr(patience, "RATE", RATE)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, http=patience.PatientProtocol, lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


async def told(port: int, path: str, octets: int, talk: Talk) -> tuple[bytes, float]:
    """What is answered, nothing when the connection is cut, and after how many seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begun = time.monotonic()
    writer.write(f"POST {path} HTTP/1.1\r\nHost: g\r\nContent-Length: {octets}\r\n\r\n".encode())
    talking = asyncio.create_task(talk(writer))
    try:
        answer = await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        answer = b""
    took = time.monotonic() - begun
    talking.cancel()
    writer.close()
    return answer.rpartition(b"\r\n\r\n")[2], took


def every(seconds: float, octets: int, times: int) -> Talk:
    async def talk(writer: asyncio.StreamWriter) -> None:
        for _ in range(times):
            writer.write(bytes(octets))
            await asyncio.sleep(seconds)

    return talk


async def test_a_body_that_gets_on_comes_in_however_long_it_takes(port: int) -> None:
    answer, took = await told(port, "/", 3 * OCTETS, every(0.2, 80, 30))
    assert answer == str(3 * OCTETS).encode()
    assert took > 4 * STILL


async def test_a_drop_at_a_time_gains_nothing(port: int) -> None:
    answer, took = await told(port, "/", OCTETS, every(0.2, 1, 100))
    assert answer == b""
    assert STILL * 0.9 < took < 4 * STILL


async def test_what_came_at_once_buys_no_long_silence(port: int) -> None:
    answer, took = await told(port, "/", 50_000, every(30, 40_000, 1))
    assert answer == b""
    assert STILL * 0.9 < took < 4 * STILL


async def test_who_is_kept_waiting_is_not_slow(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "STILL", 0.2)
    octets = 4_000_000
    answer, took = await told(port, "/slowly", octets, every(0, octets, 1))
    assert answer == str(octets).encode()
    assert took > 0.4
