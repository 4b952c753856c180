"""`ikegate serve`: one process, one event loop: IKE, data plane, REST API and console."""

import asyncio
import contextlib
import datetime as dt
import logging
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from gateway import __version__
from gateway.cli.absent import AbsentPlane
from gateway.cli.local import SETUP_LINK, write_door, write_private
from gateway.cli.packets import with_port
from gateway.cli.server import Server, WebPortTaken, bind
from gateway.cli.systemd import keep_alive, notify
from gateway.dataplane.choose import open_driver
from gateway.dataplane.driver import Driver
from gateway.ike.plane import Refused
from gateway.service.access import Access, Scope
from gateway.service.documents import read_text
from gateway.service.gateway import Gateway
from gateway.service.manage import Invalid, Terms
from gateway.service.memory import tidy
from gateway.service.tls import ServerCertificate, ensure_certificate, own_addresses, own_names
from gateway.settings import ANY_HOST, InvalidSetting, Settings
from gateway.storage.database import Database, StorageUnusable
from gateway.storage.keyring import open_secrets
from gateway.storage.secrets import KekUnusable
from web.app import create_app

log = logging.getLogger("ikegate")

LOCAL_TOKEN = "local-command"  # noqa: S105  a token's name
TOKEN_LIFETIME = 366 * 86_400.0
TOKEN_RENEWAL = 30 * 86_400.0
SETUP_RENEWAL = 50 * 60.0  # a setup link is good for an hour
_LEVELS = ("debug", "info", "warning", "error")


class CannotServe(Exception):
    """The gateway does not start; the text says why and what to do."""


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A document to lay over the configuration at start, as `ikegate apply -f` takes it.",
)
def serve(path: Path | None) -> None:
    """Run the gateway until it is told to stop.

    Settings come from the environment: IKEGATE_DATA (folder), IKEGATE_PLANE (auto, kernel, userspace, memory),
    IKEGATE_WEB_HOST, IKEGATE_WEB_PORT, IKEGATE_IKE_PORT, IKEGATE_NAT_PORT, IKEGATE_PUBLIC_NAME, IKEGATE_KEK_FILE,
    IKEGATE_KEY_LOG (folder; writes session keys), IKEGATE_LOG_LEVEL, IKEGATE_LISTEN (addresses and interfaces at
    which IKE is served, with commas between; empty: all), IKEGATE_CRASH_TOKENS (on, off), IKEGATE_FETCH_LOOPBACK
    (on, off: whether lists of revoked certificates may be fetched from this machine), IKEGATE_HTTP_HOST and
    IKEGATE_HTTP_PORT (where our authorities' lists and OCSP answers are served by plain HTTP; 0: nowhere).
    """
    try:
        settings = Settings.from_environment()
        _start_log(settings.log_level)
        document = _document(path)
        asyncio.run(_serve(settings, document))
    except (InvalidSetting, CannotServe, StorageUnusable, KekUnusable, WebPortTaken) as error:
        raise click.ClickException(str(error)) from None


def _start_log(level: str) -> None:
    if level not in _LEVELS:
        raise InvalidSetting(f"IKEGATE_LOG_LEVEL={level}: use {', '.join(_LEVELS)}")
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(message)s")
    for name in ("uvicorn", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel("WARNING")


def _document(path: Path | None) -> Mapping[str, Any] | None:
    if path is None:
        return None
    try:
        return read_text(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CannotServe(f"{path} cannot be read: {error}") from None
    except Invalid as error:
        raise CannotServe(_mistakes(path.name, error)) from None


def _mistakes(name: str, invalid: Invalid) -> str:
    return "\n".join([f"{name} is not valid:", *(f"  {one.pointer or '/'}: {one.detail}" for one in invalid.errors)])


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is opened before anything is started, so that a start that fails leaves nothing behind."""

    settings: Settings
    gateway: Gateway
    certificate: ServerCertificate
    web: socket.socket
    addresses: list[str]

    @property
    def access(self) -> Access:
        return self.gateway.config.access

    @property
    def authority(self) -> str:
        """Where people open the console: the public name, or the address by which others reach this machine."""
        here = [address for address in self.addresses if not address.startswith("127.") and address != "::1"]
        host = self.settings.public_name or (here or ["127.0.0.1"])[0]
        if self.settings.web_host != ANY_HOST and not self.settings.public_name:
            host = self.settings.web_host
        return with_port(host, self.port)

    @property
    def port(self) -> int:
        """The one that is bound: IKEGATE_WEB_PORT=0 takes any."""
        return int(self.web.getsockname()[1])

    @property
    def local_url(self) -> str:
        host = "127.0.0.1" if self.settings.web_host == ANY_HOST else self.settings.web_host
        return f"https://{with_port(host, self.port)}"


async def _serve(settings: Settings, document: Mapping[str, Any] | None) -> None:
    with _opened(settings) as parts:
        gateway = parts.gateway
        app = create_app(gateway)
        server = Server(app, parts.certificate.certificate, parts.certificate.key, gateway.journal.end)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.stop)
        keepers: list[asyncio.Task[None]] = []
        try:
            await gateway.start()
            if document is not None:
                await _apply(gateway, document)
            keepers = await _open_doors(parts)
            _introduce(parts)
            tidy()
            notify("READY=1")
            await server.serve([parts.web])
        finally:
            notify("STOPPING=1")
            for keeper in keepers:
                keeper.cancel()
                with suppress(asyncio.CancelledError):
                    await keeper
            (settings.data / SETUP_LINK).unlink(missing_ok=True)  # the next start makes a new one
            await gateway.stop()
            log.info("stopped")


@contextlib.contextmanager
def _opened(settings: Settings) -> Iterator[_Parts]:
    web = bind(settings.web_host, settings.web_port)
    with contextlib.ExitStack() as until_stopped:
        until_stopped.callback(web.close)
        database = Database(settings.data / "config.db")
        until_stopped.callback(database.close)
        secrets = open_secrets(database, settings.data, time.time(), settings.kek_file)
        addresses = own_addresses()
        now = dt.datetime.now(dt.UTC)
        certificate = ensure_certificate(settings.data, own_names(settings.public_name), addresses, now)
        plane, problems = _plane(settings.plane)
        until_stopped.callback(plane.close)
        yield _Parts(settings, Gateway(settings, database, secrets, plane, problems), certificate, web, addresses)


def _plane(wanted: str) -> tuple[Driver, tuple[str, ...]]:
    """Without a data plane there is still a console that says so."""
    try:
        return open_driver(wanted), ()
    except Refused as refused:
        problem = f"There is no data plane, so no tunnel can carry anything: {refused}"
        log.error(problem)
        return AbsentPlane(str(refused)), (problem,)


async def _apply(gateway: Gateway, document: Mapping[str, Any]) -> None:
    try:
        written = await gateway.config.apply(document, Terms("ikegate serve --config", "At start"))
    except Invalid as error:
        raise CannotServe(_mistakes("the document of --config", error)) from None
    log.info("--config: %s", f"now revision {written.revision}" if written.changed else "nothing differed")


async def _open_doors(parts: _Parts) -> list[asyncio.Task[None]]:
    """The local command's token, and while there is no administrator the setup link; both are renewed in time."""
    await _renew_token(parts)
    _renew_setup(parts)
    loop = asyncio.get_running_loop()
    return [loop.create_task(work) for work in (_keep_token(parts), _keep_setup(parts), keep_alive())]


async def _renew_token(parts: _Parts) -> None:
    access = parts.access
    for token in await asyncio.to_thread(access.tokens):
        if token.name == LOCAL_TOKEN:
            await access.delete_token(token.id, "ikegate")
    made = await access.create_token(LOCAL_TOKEN, tuple(Scope), "ikegate", TOKEN_LIFETIME)
    write_door(parts.settings.data, parts.local_url, made.text)


async def _keep_token(parts: _Parts) -> None:
    while True:
        await asyncio.sleep(TOKEN_RENEWAL)
        await _renew_token(parts)


def _renew_setup(parts: _Parts) -> None:
    path = parts.settings.data / SETUP_LINK
    link = parts.access.setup_link(parts.authority)
    if link is None:
        path.unlink(missing_ok=True)
    else:
        write_private(path, link + "\n")


async def _keep_setup(parts: _Parts) -> None:
    renewed = time.monotonic()
    while parts.access.setup_needed:
        await asyncio.sleep(1)
        if time.monotonic() - renewed >= SETUP_RENEWAL:
            renewed = time.monotonic()
            _renew_setup(parts)
            if parts.access.setup_needed:
                log.info("the setup link was renewed: `ikegate setup-url` shows it")
    (parts.settings.data / SETUP_LINK).unlink(missing_ok=True)


def _introduce(parts: _Parts) -> None:
    lines = [
        ("data plane", parts.gateway.data_plane),
        ("IKE", ", ".join(parts.gateway.listening) or "not listening"),
        ("console", f"https://{parts.authority}"),
        ("fingerprint", f"SHA-256 {parts.certificate.fingerprint}"),
    ]
    if parts.access.setup_needed:
        link = (parts.settings.data / SETUP_LINK).read_text(encoding="ascii").strip()
        lines.append(("setup", f"{link}\n{'':14}makes the first administrator; once, and within the hour"))
    lines += [("PROBLEM", problem) for problem in parts.gateway.problems]
    click.echo(f"ikegate {__version__}")
    for name, text in lines:
        click.echo(f"  {name:11} {text}")
