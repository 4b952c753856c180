"""The token by which the command on the same machine gets in: it is another one with each start."""

import json
from pathlib import Path

import pytest

from gateway.cli.connection import Connection, Target
from tests.cli.served import Served


def test_a_gateway_that_started_meanwhile_is_asked_with_its_own_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It listens before it has written its token: what lies there until then is from its last run."""
    with Served(tmp_path) as gateway:
        path = gateway.data / "cli-token"
        door = path.read_text()
        monkeypatch.setenv("IKEGATE_DATA", str(gateway.data))
        path.write_text(json.dumps({**gateway.door, "token": "ikg_of_the_last_run"}))
        target = Target.from_environment()
        path.write_text(door)
        with Connection(target) as connection:
            assert connection.get("/status")["peers"] == []
