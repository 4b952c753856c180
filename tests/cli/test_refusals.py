"""What the commands say of a request that the gateway refuses, and of an answer that lacks what they know."""

import json
from typing import Any

import pytest
import yaml

from gateway.cli import connection
from tests.cli.served import Served, document


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("block", "abc"), "Not valid:\n  /path/network: 'abc' is no network such as 192.0.2.0/24 or 2001:db8::/64"),
        (("issue", "x", "--authority", "y", "--days", "-1"), "Not valid:\n  /days: Input should be greater than 0"),
        (("status", "nobody"), "There is no peer 'nobody'."),
        (("status",), "The token is not valid, or not any more: make one in the console and set IKEGATE_TOKEN."),
    ],
)
def test_a_mistake_is_told_once(lone: Served, words: tuple[str, ...], said: str) -> None:
    token = {"IKEGATE_TOKEN": "bad"} if words == ("status",) else {}
    done = lone.ask(*words, **token)
    assert (done.exit_code, done.stderr) == (1, f"Error: {said}\n")


def test_what_refers_to_an_object_is_told_beside_the_text() -> None:
    body = json.dumps({"title": "In use", "detail": "Pool 'a' is in use.", "used_by": ["/peers/b"]}).encode()
    refusal = connection._refusal(409, body)
    assert (refusal.summary, refusal.mistakes) == ("Pool 'a' is in use.", [("in use by", "/peers/b")])


def test_an_older_gateway_that_warns_of_nothing_is_understood(lone: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    put = connection.Connection.put

    def older(*words: Any, **query: Any) -> Any:
        return {name: value for name, value in put(*words, **query).items() if name != "warnings"}

    monkeypatch.setattr(connection.Connection, "put", older)
    text = yaml.safe_dump(document("moon", "sun", 500))
    assert lone.ask("diff", "-f", "-", stdin=text).exit_code == 2
    assert "Stored as revision " in lone.ask("apply", "-f", "-", stdin=text).stdout
