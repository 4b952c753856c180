"""The web server of the gateway: uvicorn on our loop, with our sockets, our TLS and our way to stop."""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from gateway.cli.patience import PatientProtocol
from gateway.service.tls import server_context
from gateway.settings import ANY_HOST

GRACE = 5  # seconds for answers under way once the streams were ended
FAREWELL = 1.0
_BACKLOG = 512


class WebPortTaken(Exception):
    """The console's port cannot be bound; the text says why and what to do."""


class Server(uvicorn.Server):
    """Leaves signals to whoever runs it: after the web server there is a gateway to be stopped.

    An open event stream would hold up uvicorn for ever, so `end_streams` is called first.
    """

    def __init__(self, app: ASGIApp, certificate: Path, key: Path, end_streams: Callable[[], None]) -> None:
        def context(_config: uvicorn.Config, _default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
            return server_context(certificate, key)

        config = uvicorn.Config(
            app,
            http=PatientProtocol,
            ssl_context_factory=context,
            lifespan="off",  # the app has none, and a stop at once would end the wait for its end with a traceback
            log_config=None,
            access_log=False,
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
        )
        super().__init__(config)
        self._end_streams = end_streams

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        hanging_up = asyncio.get_running_loop().create_task(self._hang_up())
        try:
            await super().shutdown(sockets)
        finally:
            hanging_up.cancel()

    async def _hang_up(self) -> None:
        """A connection that has said goodbye is not kept for a client that does not answer TLS's farewell."""
        while True:
            await asyncio.sleep(FAREWELL)
            for connection in list(self.server_state.connections):
                if connection.transport.is_closing():
                    connection.transport.abort()

    def stop(self) -> None:
        """Finish; called a second time, without waiting for anybody."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._end_streams()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; the wildcard address is for IPv4 and IPv6 where the system has both. Raises WebPortTaken."""
    try:
        if host == ANY_HOST and socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise WebPortTaken(_advice(host, port, error)) from None


def _advice(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"TCP port {port} is taken by another process (another gateway?): see `ss -ltnp sport = :{port}`, "
            "or choose another port in IKEGATE_WEB_PORT."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"TCP port {port} needs a privilege: run as root, or choose one from 1024 in IKEGATE_WEB_PORT."
    return f"{host} port {port} cannot be bound: {error.strerror}. IKEGATE_WEB_HOST names the address."
