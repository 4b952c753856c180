"""The API of a real gateway, and callers of it; and a person before its console."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from gateway.service.gateway import Gateway
from tests.web.api_lab import ME, SECRET, Api, running, served
from tests.web.console_person import Person, setup, visiting


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with served(tmp_path / "here") as made:
        yield made


@pytest.fixture
async def client(api: Api) -> AsyncIterator[httpx2.AsyncClient]:
    """A token that may do everything."""
    async with api.client(await api.token()) as made:
        yield made


@pytest.fixture
async def nobody(api: Api) -> AsyncIterator[httpx2.AsyncClient]:
    async with api.client() as made:
        yield made


@pytest.fixture
async def person(tmp_path: Path) -> AsyncIterator[Person]:
    """The first administrator, who has just made the account."""
    async with visiting(tmp_path) as found:
        await setup(found)
        yield found


@pytest.fixture
async def far(tmp_path: Path) -> AsyncIterator[Gateway]:
    """The other end: it knows `moon.example`, who calls it."""
    async with running(tmp_path / "far") as made:
        child = {
            "name": "net",
            "local_selectors": ["10.2.0.0/24"],
            "remote_selectors": ["10.1.0.0/24"],
            "start": "passive",
        }
        moon = {"name": "moon", "local_id": "sun.example", "remote_id": "moon.example", "children": [child]}
        psk = {"name": "moon", "secret": SECRET, "remote_ids": ["moon.example"]}
        await made.config.apply({"apiVersion": "ikegate/v1", "peers": [moon], "psks": [psk]}, ME)
        yield made
