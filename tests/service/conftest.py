"""The bench that tests of the use cases work at."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.service.manage import Configuration
from tests.service.bench import Bench
from tests.service.years import Elsewhere, Years


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    made.open()
    yield made
    made.database.close()


@pytest.fixture
def config(bench: Bench) -> Configuration:
    return bench.config


@pytest.fixture
def years(tmp_path: Path) -> Iterator[Years]:
    made = Years(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()
