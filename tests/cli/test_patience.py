"""The console's port under callers who never finish what they say."""

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from gateway.cli.patience import HEAD, OF_ONE_SOURCE
from tests.cli.served import Served

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n"
HALF = REQUEST[:30]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("patience")) as made:
        yield made


def call(gateway: Served, source: str = "127.0.0.1") -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    port = urlsplit(gateway.door["url"]).port
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0)))


def heard(connection: ssl.SSLSocket) -> bytes:
    """What comes first; nothing when the connection is cut."""
    try:
        return connection.recv(4096)
    except (ConnectionError, ssl.SSLError):
        return b""


def status(connection: ssl.SSLSocket) -> int:
    """Of a whole answer, which leaves nothing behind."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


@pytest.mark.parametrize("before", [b"", REQUEST], ids=["first", "second"])
def test_half_a_request_is_not_waited_for(gateway: Served, before: bytes) -> None:
    with call(gateway) as connection:
        if before:
            connection.sendall(before)
            assert status(connection) == 200
        begun = time.monotonic()
        for octet in HALF[:4]:  # a drop at a time gains nothing
            connection.sendall(bytes((octet,)))
            time.sleep(0.5)
        assert heard(connection) == b""
        assert HEAD - 1 < time.monotonic() - begun < HEAD + 10


def test_one_source_does_not_hold_the_whole_port(gateway: Served) -> None:
    with ExitStack() as held:
        for _ in range(OF_ONE_SOURCE):
            held.enter_context(call(gateway)).sendall(HALF)
        with call(gateway) as late:
            assert heard(late) == b""
        with call(gateway, "127.0.0.2") as other:
            other.sendall(REQUEST)
            assert status(other) == 200


def test_what_comes_whole_is_answered_however_long_the_connection_stands(gateway: Served) -> None:
    body = b'{"token": "x", "name": "root", "password": "a long walk on the beach"}'
    length = f"Content-Length: {len(body)}"
    head = f"POST /api/v1/setup HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
    with call(gateway) as connection:
        for _ in range(4):  # longer in all than one head may take
            connection.sendall(head.encode())
            time.sleep(3)
            connection.sendall(body)
            assert status(connection) in (403, 429)
