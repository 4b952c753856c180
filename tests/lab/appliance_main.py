"""One gateway, ordered about by lines of JSON: what `tests.lab.appliance` starts in a namespace.

Each line on stdin is `{"do": name, …arguments}`; each line on stdout is `{"ok": answer}` or `{"error": sentence}`.
SIGTERM, or the end of stdin, ends it in good order.
"""

import asyncio
import base64
import datetime as dt
import json
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import httpx2

from gateway.cli.server import Server, bind
from gateway.dataplane.choose import open_driver
from gateway.ike.plane import Refused
from gateway.policy.changes import Changes
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.service.access import Scope
from gateway.service.gateway import Gateway
from gateway.service.manage import Conflict, Invalid, NotFound, PreconditionFailed, Terms
from gateway.service.tls import ensure_certificate, own_addresses
from gateway.settings import ANY_HOST, Settings
from gateway.storage.database import Database
from gateway.storage.keyring import open_secrets
from web.app import create_app

REFUSALS = (Invalid, NotFound, Conflict, PreconditionFailed, Refused, KeyError, TypeError)


class Desk:
    """Takes the orders for one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.limits: dict[str, Any] = {}
        self._token: str | None = None
        self._serving: asyncio.Task[None] | None = None
        # The engine's limits have no place in the configuration, so they are put into every snapshot on its way.
        # Configuration got its way to the engine when it was made: this one takes its place.
        self._push = gateway.config._push
        gateway.config._push = self._with_limits

    def _with_limits(self, snapshot: Snapshot) -> Changes:
        return self._push(replace(snapshot, settings=replace(EngineSettings(), **self.limits)))

    async def limit(self, **limits: Any) -> None:
        """Other limits for the engine (fields of EngineSettings), from now on."""
        self.limits = limits
        self._with_limits(self.gateway.config.snapshot())

    async def apply(self, document: dict[str, Any], prune: bool = False) -> Any:
        return await self.gateway.config.apply(document, Terms("test"), prune=prune)

    async def patch(self, kind: str, name: str, document: dict[str, Any]) -> Any:
        return await self.gateway.config.patch(kind, name, document, Terms("test"))

    async def delete(self, kind: str, name: str) -> Any:
        return await self.gateway.config.delete(kind, name, Terms("test"))

    async def status(self) -> Any:
        return self.gateway.status()

    async def attempts(self, peer: str | None = None, limit: int = 20) -> Any:
        return self.gateway.attempts(peer=peer, limit=limit)

    async def connect(self, peer: str, child: str | None = None, wait: float = 10) -> Any:
        return await self.gateway.actions.connect(peer, child, wait)

    async def disconnect(self, peer: str, child: str | None = None, wait: float = 10) -> Any:
        return await self.gateway.actions.disconnect(peer, child, wait)

    async def rekey(self, peer: str, child: str | None = None, wait: float = 10) -> Any:
        return await self.gateway.actions.rekey(peer, child, wait)

    async def redirect(self, peer: str, to: str) -> Any:
        return await self.gateway.actions.redirect(peer, to)

    async def fail_over(self, peer: str, behind: int) -> Any:
        """As if this were the standby of a cluster, which had not heard of the last exchanges in either direction."""
        engine = self.gateway._runner.engine
        for sa in engine.core.of_peer(peer):
            sa.requests.next_id = max(0, sa.requests.next_id - behind)
            sa.responses.expected, sa.responses.last_response = max(0, sa.responses.expected - behind), ()
        told, effects = engine.take_over(peer, self.gateway._runner.clock())
        self.gateway._runner.perform(effects)
        return told

    async def outages(self, peer: str) -> Any:
        return self.gateway.outages(peer)

    async def states(self) -> Any:
        return self.gateway.kernel_states()

    async def policies(self) -> Any:
        return self.gateway.kernel_policies()

    async def events(self) -> Any:
        return self.gateway.journal.since(0)

    async def serve(self, port: int) -> Any:
        """The console and the API over TLS, as `ikegate serve` has them; answers the file of its certificate."""
        data = self.gateway.settings.data
        made = ensure_certificate(data, [], own_addresses(), dt.datetime.now(dt.UTC))
        server = Server(create_app(self.gateway), made.certificate, made.key, lambda: None)
        self._serving = asyncio.get_running_loop().create_task(server.serve([bind(ANY_HOST, port)]))
        return str(made.certificate)

    async def rest(self, method: str, path: str, body: Any = None) -> Any:
        """A request to the REST API of this gateway, by a token with every scope, as if over the network."""
        if self._token is None:
            self._token = (await self.gateway.config.access.create_token("lab", tuple(Scope), "lab")).text
        transport = httpx2.ASGITransport(app=create_app(self.gateway))
        headers = {"authorization": f"Bearer {self._token}"}
        async with httpx2.AsyncClient(transport=transport, base_url="https://gateway.lab", headers=headers) as client:
            answer = await client.request(method, f"/api/v1{path}", json=body)
        kind = answer.headers.get("content-type", "")
        content = answer.json() if "json" in kind else base64.b64encode(answer.content).decode()
        return {"status": answer.status_code, "content": content}


def plain(thing: Any) -> Any:
    """Any answer as JSON knows it."""
    if is_dataclass(thing) and not isinstance(thing, type):
        return {field.name: plain(getattr(thing, field.name)) for field in fields(thing)}
    if isinstance(thing, bytes):
        return thing.hex()
    if isinstance(thing, Mapping):
        return {str(key): plain(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple | set | frozenset):
        return [plain(one) for one in thing]
    return thing if thing is None or isinstance(thing, str | int | float | bool) else str(thing)


async def serve(desk: Desk, lines: asyncio.StreamReader, ended: asyncio.Event) -> None:
    """One order after the other, until stdin ends."""
    while line := await lines.readline():
        order = json.loads(line)
        act: Callable[..., Awaitable[Any]] = getattr(desk, order.pop("do"))
        try:
            answer = {"ok": plain(await act(**order))}
        except REFUSALS as refusal:
            answer = {"error": f"{type(refusal).__name__}: {refusal}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    ended.set()


async def main() -> None:
    settings = Settings.from_environment()
    settings.data.mkdir(parents=True, exist_ok=True)
    database = Database(settings.data / "config.db")
    secrets = open_secrets(database, settings.data, time.time())
    gateway = Gateway(settings, database, secrets, open_driver(settings.plane))
    await gateway.start()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    lines = asyncio.StreamReader(limit=2**24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    orders = loop.create_task(serve(Desk(gateway), lines, ended))
    sys.stdout.write(json.dumps({"ok": {"problems": gateway.problems, "plane": gateway.status().data_plane}}) + "\n")
    sys.stdout.flush()
    await ended.wait()
    orders.cancel()
    await asyncio.gather(orders, return_exceptions=True)
    await gateway.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    asyncio.run(main())
