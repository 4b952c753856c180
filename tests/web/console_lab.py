"""A real gateway with its console on loopback, a second real gateway to talk with, and Chromium to look at it."""

import asyncio
import contextlib
import datetime as dt
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from gateway.dataplane.memory import MemoryPlane
from gateway.service.gateway import Gateway
from gateway.service.manage import Terms
from gateway.service.tls import ensure_certificate
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.keyring import open_secrets
from tests.lab.ports import free_ports
from web.app import create_app

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
PASSPHRASE = "tulip morning lantern"
SECRET = "correct horse battery staple of the lab"
LAB = Terms(author="lab")


def make_gateway(data: Path, ports: tuple[int, int]) -> Gateway:
    """A gateway on the memory data plane; call it on the loop that it is to live on."""
    settings = Settings(data=data, ike_port=ports[0], nat_port=ports[1], plane="memory")
    database = Database(data / "config.db")
    return Gateway(settings, database, open_secrets(database, data, time.time(), environment={}), MemoryPlane())


@dataclass(slots=True)
class Lab:
    """`here` serves its console at `url`; `far` is another gateway, at 127.0.0.1 and UDP port `far_port`."""

    data: Path
    url: str = ""
    setup_link: str = ""
    far_port: int = 0
    here: Gateway = field(init=False)
    far: Gateway = field(init=False)
    loop: asyncio.AbstractEventLoop = field(init=False)
    _ready: threading.Event = field(default_factory=threading.Event)
    _failure: BaseException | None = None
    _server: uvicorn.Server = field(init=False)

    @contextlib.contextmanager
    def running(self) -> Iterator["Lab"]:
        thread = threading.Thread(target=self._run, name="lab")
        thread.start()
        try:
            if not self._ready.wait(30) or self._failure:
                raise RuntimeError("the lab's gateways did not start") from self._failure
            yield self
        finally:
            if self._failure is None:
                self._server.should_exit = True
            thread.join(30)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as failure:
            self._failure = failure
            self._ready.set()
            raise

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        ports = free_ports(4)
        self.far_port = ports[3]
        self.here = make_gateway(self.data / "here", (ports[0], ports[1]))
        self.far = make_gateway(self.data / "far", (ports[2], ports[3]))
        await self.here.start()
        await self.far.start()
        await self._mirror()
        certificate = ensure_certificate(self.data, ["localhost"], ["127.0.0.1"], dt.datetime.now(dt.UTC))
        config = uvicorn.Config(
            create_app(self.here),
            host="127.0.0.1",
            port=0,
            ssl_certfile=str(certificate.certificate),
            ssl_keyfile=str(certificate.key),
            log_level="warning",
            lifespan="off",
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        serving = asyncio.create_task(self._server.serve())
        while not self._server.started and not serving.done():
            await asyncio.sleep(0.02)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"https://localhost:{port}"
        self.setup_link = self.here.config.access.setup_link(f"localhost:{port}") or ""
        self._ready.set()
        while not self._server.should_exit:
            await asyncio.sleep(0.05)
        self.here.journal.end()
        await serving
        await self.here.stop()
        await self.far.stop()

    async def _mirror(self) -> None:
        """What the other side has configured: it lets `here.example` in, with SECRET."""
        child = {
            "name": "net",
            "local_selectors": ["10.2.0.0/24"],
            "remote_selectors": ["10.1.0.0/16"],
            "start": "passive",
        }
        peer = {"name": "here", "local_id": "far.example", "remote_id": "here.example", "children": [child]}
        psk = {"name": "here", "secret": SECRET, "remote_ids": ["here.example"]}
        await self.far.config.apply({"apiVersion": "ikegate/v1", "peers": [peer], "psks": [psk]}, LAB)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=15_000)  # what a page shows is the matter here, not how soon a busy machine shows it
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def visitor(
    browser: Browser, lab: Lab, *, script: bool = True, phone: bool = False, dark: bool = False, outage: bool = False
) -> Iterator[BrowserContext]:
    """Somebody at a browser; fails when the browser complains about a page, but for an `outage` that a test makes."""
    complaints: list[str] = []
    context = browser.new_context(
        base_url=lab.url,
        ignore_https_errors=True,
        java_script_enabled=script,
        viewport={"width": 360, "height": 740} if phone else {"width": 1280, "height": 860},
        color_scheme="dark" if dark else "light",
        locale="en-GB",
        timezone_id="UTC",
    )
    context.set_default_timeout(10_000)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    try:
        yield context
    finally:
        context.close()
    # A form that is refused is answered 422, and Chromium remarks on that.
    harmless = ["the server responded with a status of 4", *(["net::ERR_"] if outage else [])]
    assert [text for text in complaints if not any(part in text for part in harmless)] == []


def on_loop(lab: Lab, work: Any) -> Any:
    """Wait for a coroutine that runs on the gateways' own loop."""
    future: Future[Any] = asyncio.run_coroutine_threadsafe(work, lab.loop)
    return future.result(20)


def set_up(page: Page, lab: Lab, *, script: bool) -> None:
    """The first administrator: with script the token comes with the address, without it is pasted."""
    page.goto(lab.setup_link)
    token = page.get_by_label("Setup token")
    if script:
        expect(token).to_be_hidden()
        expect(page.get_by_text("came with the address")).to_be_visible()
        expect(page).to_have_url(re.compile("^[^#]*$"))
    else:
        token.fill(lab.setup_link.partition("#token=")[2])
    page.get_by_label("Your name").fill("anna")
    page.get_by_label("Passphrase", exact=True).fill(PASSPHRASE)
    page.get_by_label("Passphrase again").fill(PASSPHRASE)
    page.get_by_role("button", name="Create the administrator").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("No tunnel is set up yet")


def sign_in(page: Page) -> None:
    page.get_by_label("Name", exact=True).fill("anna")
    page.get_by_label("Passphrase").fill(PASSPHRASE)
    page.get_by_role("button", name="Sign in").click()
