"""What becomes of an invitation when its device or user goes, or is revoked, while the link is made, seen or used."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.service.devices import is_revoked
from gateway.service.invitations import Invitations, NoInvitation
from gateway.service.manage import Conflict, NotFound
from tests.web.api_lab import Api, served
from tests.web.joining_lab import ME, invited, reread, welcome


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with served(tmp_path) as found:
        await welcome(found.gateway)
        yield found


class Held:
    """A method that waits in its thread, before or after its work, until it is let go."""

    def __init__(self, links: Invitations, method: str, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self._go_on = asyncio.Event(), asyncio.Event()
        self._loop, self._when = asyncio.get_running_loop(), when
        self._work = getattr(links, method)
        monkeypatch.setattr(links, method, self._held)

    def _held(self, *asked: Any) -> Any:
        if self._when == "before":
            self._wait()
        done = self._work(*asked)
        if self._when == "after":
            self._wait()
        return done

    def _wait(self) -> None:
        self._loop.call_soon_threadsafe(self.reached.set)
        asyncio.run_coroutine_threadsafe(self._go_on.wait(), self._loop).result(10)

    def let_go(self) -> None:
        self._go_on.set()


async def another_phone(api: Api) -> None:
    """The device goes, and another of the same name comes."""
    await api.gateway.config.delete("devices", "anna/phone", ME)
    await api.gateway.config.put("devices", "anna/phone", {}, ME)


WHEN = pytest.mark.parametrize("when", ["before", "after"])


def all_taken_back(api: Api) -> None:
    for links in (api.gateway.invitations, reread(api)):
        assert {one.state(time.time()) for one in links.all()} == {"revoked"}


@WHEN
async def test_a_device_that_goes_while_its_link_is_looked_at_takes_the_link_along(
    api: Api, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    links, path = api.gateway.invitations, await invited(api)
    writing = Held(links, "_write", when, monkeypatch)
    looking = asyncio.create_task(links.opened(links.find(path.removeprefix("/join/"), "192.0.2.1")))
    await writing.reached.wait()
    await another_phone(api)
    writing.let_go()
    await looking
    all_taken_back(api)


@WHEN
async def test_a_device_that_goes_while_its_link_is_used_takes_the_link_along(
    api: Api, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    links, path = api.gateway.invitations, await invited(api)
    writing = Held(links, "_write", when, monkeypatch)
    taking = asyncio.create_task(links.take(path.removeprefix("/join/"), "swanctl", "192.0.2.1"))
    await writing.reached.wait()
    await another_phone(api)
    writing.let_go()
    with pytest.raises(NoInvitation, match="taken back"):
        await taking
    all_taken_back(api)
    assert not api.gateway.config.inventory.devices["anna/phone"].certificate


@WHEN
async def test_a_device_that_goes_while_it_is_invited_is_not_invited(
    api: Api, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = api.gateway.invitations
    writing = Held(links, "_write", when, monkeypatch)
    inviting = asyncio.create_task(links.create("anna/phone", "tests"))
    await writing.reached.wait()
    await another_phone(api)
    writing.let_go()
    with pytest.raises(Conflict, match="removed or revoked"):
        await inviting
    all_taken_back(api)


async def test_a_user_who_goes_while_the_key_is_made_leaves_a_link_that_is_over(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    links, path = api.gateway.invitations, await invited(api)
    making = Held(links, "_file", "before", monkeypatch)
    taking = asyncio.create_task(links.take(path.removeprefix("/join/"), "swanctl", "192.0.2.1"))
    inviting = asyncio.create_task(links.create("anna/phone", "tests"))
    await making.reached.wait()
    await api.gateway.config.delete("users", "anna", ME)
    making.let_go()
    with pytest.raises(NoInvitation, match="taken back"):
        await taking
    with pytest.raises(NotFound, match="no device"):
        await inviting
    all_taken_back(api)


async def test_a_device_that_is_revoked_while_it_takes_its_file_is_revoked(api: Api) -> None:
    """Whichever comes first: the certificate that it has in the end is worth nothing."""
    gateway, path = api.gateway, await invited(api)
    await gateway.invitations.take(path.removeprefix("/join/"), "swanctl", "192.0.2.1")
    path = await invited(api)
    async with gateway.config._writing:
        taking = asyncio.create_task(gateway.invitations.take(path.removeprefix("/join/"), "swanctl", "192.0.2.1"))
        while not gateway.config._writing._waiters:
            await asyncio.sleep(0.01)
        revoking = asyncio.create_task(gateway.devices.revoke("anna/phone", ME))
        while len(gateway.config._writing._waiters) < 2:
            await asyncio.sleep(0.01)
    await asyncio.gather(taking, revoking)
    assert is_revoked(gateway.config.inventory, gateway.config.inventory.devices["anna/phone"])


async def test_a_device_that_was_revoked_meanwhile_gets_no_certificate(api: Api) -> None:
    gateway, path = api.gateway, await invited(api)
    await gateway.invitations.take(path.removeprefix("/join/"), "swanctl", "192.0.2.1")
    path, before = await invited(api), gateway.config.inventory.devices["anna/phone"]
    async with gateway.config._writing:
        revoking = asyncio.create_task(gateway.devices.revoke("anna/phone", ME))
        while not gateway.config._writing._waiters:
            await asyncio.sleep(0.01)
        taking = asyncio.create_task(gateway.invitations.take(path.removeprefix("/join/"), "swanctl", "192.0.2.1"))
        while len(gateway.config._writing._waiters) < 2:
            await asyncio.sleep(0.01)
    await revoking
    with pytest.raises(NoInvitation, match="taken back"):
        await taking
    assert gateway.config.inventory.devices["anna/phone"] == before
    assert [one.state(time.time()) for one in reread(api).all()] == ["revoked", "used"]


async def test_a_link_that_is_taken_back_while_the_key_is_made_gives_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    links, path = api.gateway.invitations, await invited(api)
    making = Held(links, "_file", "after", monkeypatch)
    taking = asyncio.create_task(links.take(path.removeprefix("/join/"), "swanctl", "192.0.2.1"))
    await making.reached.wait()
    await another_phone(api)
    making.let_go()
    with pytest.raises(NoInvitation, match="taken back"):
        await taking
    assert not api.gateway.config.inventory.devices["anna/phone"].certificate
