"""A database in a folder of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.storage.database import Database
from gateway.storage.keyring import open_secrets
from gateway.storage.secrets import SecretBox


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "config.db")
    yield opened
    opened.close()


@pytest.fixture
def box(database: Database, tmp_path: Path) -> SecretBox:
    return open_secrets(database, tmp_path, now=0.0, environment={})
