"""What our authorities revoked, by plain HTTP for anybody: their lists and OCSP answers, and nothing else.

Both are signed, and who checks a certificate cannot be asked to trust TLS first (RFC 5280 8, RFC 6960 A.1). Whoever
calls is a stranger: one request a connection, bounded in size, time and number.
"""

import asyncio
import base64
import binascii
import contextlib
import ipaddress
import logging
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from gateway.crypto.revoking import MAX_REQUEST
from gateway.service.issuing import Issuing
from gateway.service.manage import Configuration, Invalid, NotFound
from gateway.service.throttle import Budget, network_of
from gateway.service.tls import own_addresses
from gateway.settings import ANY_HOST, Settings

DEADLINE = 10.0  # seconds, for all of a connection
MOST_CONNECTIONS = 128
MOST_OF_ONE = 16
_HEAD = 8 * 1024
_LIST, _ANSWER = "application/pkix-crl", "application/ocsp-response"
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 413: "Content Too Large"}
_REASONS |= {429: "Too Many Requests"}
_TARGET = re.compile(r"/([a-z0-9][a-z0-9._-]{0,62})/(crl|ocsp)(?:/(.*))?", re.DOTALL)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; without a media type there is nothing in it."""

    status: int
    body: bytes = field(default=b"", repr=False)
    media_type: str = "text/plain"
    age: int = 0

    def octets(self, *, head: bool) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {_REASONS[self.status]}", f"Content-Type: {self.media_type}"]
        lines += [f"Content-Length: {len(self.body)}", "Connection: close", f"Cache-Control: max-age={self.age}"]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + (b"" if head else self.body)


class _Wrong(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def published_at(settings: Settings, authority: str) -> str:
    """Where we tell by HTTP what an authority revoked; empty where we do not, or do not know our own address."""
    if not settings.http_port:
        return ""
    here = [one for one in own_addresses() if not ipaddress.ip_address(one).is_loopback]
    found = settings.http_host if settings.http_host != ANY_HOST else settings.public_name or next(iter(here), "")
    host = f"[{found}]" if ":" in found else found
    return f"http://{host}:{settings.http_port}/{authority}" if found else ""


class Publishing:
    """The listener; used on one event loop. `problems` are why it does not listen, as sentences."""

    def __init__(self, config: Configuration, issuing: Issuing, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._issuing = issuing
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], str] = {}
        self._each = Budget(burst=40, period=0.25)
        self._all = Budget(burst=200, period=0.01)
        self.problems: tuple[str, ...] = ()

    async def open(self, host: str, port: int) -> None:
        """Listen, if the port is free."""
        try:
            self._server = await asyncio.start_server(self._connected, sock=_bound(host, port), limit=_HEAD)
        except OSError as error:
            why = f"TCP port {port} is not free for it ({error.strerror or error})"
            self.problems = (f"Lists of revoked certificates are not served by HTTP: {why}",)
            _log.error(self.problems[0])

    @property
    def port(self) -> int:
        """The one that is bound."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server else 0

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        source = network_of(str((writer.get_extra_info("peername") or ("",))[0]))
        try:
            if task is None or not self._has_room(source):
                return
            self._open[task] = source
            async with asyncio.timeout(DEADLINE):
                await self._serve(source, reader, writer)
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # a stranger who does not speak HTTP, or went away
        finally:
            if task is not None:
                self._open.pop(task, None)
            writer.transport.abort()  # or what a stranger does not read stays here

    def _has_room(self, source: str) -> bool:
        return len(self._open) < MOST_CONNECTIONS and list(self._open.values()).count(source) < MOST_OF_ONE

    async def _serve(self, source: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method = head[0].partition(" ")[0]
        try:
            reply = await self._answered(source, method, head, reader)
        except _Wrong as wrong:
            reply = Reply(wrong.status)
        writer.write(reply.octets(head=method == "HEAD"))
        await writer.drain()

    async def _answered(self, source: str, method: str, head: list[str], reader: asyncio.StreamReader) -> Reply:
        now = self._clock()
        if self._each.wait(now, source) or self._all.wait(now, ""):
            raise _Wrong(429)
        self._each.spend(now, source)
        self._all.spend(now, "")
        words = head[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise _Wrong(400)
        found = _TARGET.fullmatch(_path(words[1]))
        if found is None:
            raise _Wrong(404)
        authority, what, asked = found.groups()
        try:
            if what == "crl":
                return self._list(authority, method, asked)
            return await self._ocsp(authority, method, asked, head, reader)
        except (NotFound, Invalid):
            raise _Wrong(404) from None

    def _list(self, authority: str, method: str, more: str | None) -> Reply:
        if more is not None:
            raise _Wrong(404)
        if method not in ("GET", "HEAD"):
            raise _Wrong(405)
        return Reply(200, self._config.revocation_list(authority), _LIST, 60)

    async def _ocsp(
        self, authority: str, method: str, asked: str | None, head: list[str], reader: asyncio.StreamReader
    ) -> Reply:
        """RFC 6960 A.1: the request is the body of a POST, or in base64 at the end of a GET's address."""
        if method == "POST" and asked is None:
            question = await _body(head, reader)
        elif method == "GET" and asked:
            question = _decoded(asked)
        else:
            raise _Wrong(405)
        return Reply(200, await asyncio.to_thread(self._issuing.answer_ocsp, authority, question), _ANSWER)


def _path(target: str) -> str:
    """The path of a request's target; through a proxy it is a whole address (RFC 9112 3.2.2)."""
    if target.lower().startswith("http://"):
        target = "/" + target[len("http://") :].partition("/")[2]
    return target.partition("?")[0]


def _decoded(asked: str) -> bytes:
    try:
        return base64.b64decode(unquote(asked), validate=True)
    except (ValueError, binascii.Error):
        raise _Wrong(400) from None


async def _body(head: list[str], reader: asyncio.StreamReader) -> bytes:
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    length = fields.get("content-length", "")
    if not length.isdecimal() or len(length) > 9:
        raise _Wrong(400)
    if int(length) > MAX_REQUEST:
        raise _Wrong(413)
    return await reader.readexactly(int(length))


def _bound(host: str, port: int) -> socket.socket:
    """The wildcard address is for IPv4 and IPv6 where the system has both. Raises OSError."""
    if host == ANY_HOST and socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
