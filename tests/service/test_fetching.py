"""What may be fetched and what not: addresses inside, names that change, answers without an end."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.service import fetching
from gateway.service.fetching import FetchFailed, fetch, place_of, refused

INSIDE = [
    "127.0.0.1",
    "127.9.9.9",
    "10.0.0.1",
    "172.16.3.4",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "192.0.2.1",
    "::1",
    "fc00::1",
    "fd12::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "64:ff9b::a00:1",
    "fec0::1",
    "feff::1",
    "3fff::1",
]
NEVER = [
    "0.0.0.0",
    "169.254.169.254",
    "224.0.0.1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "fd00:ec2::254",
    "168.63.129.16",
    "100.100.100.200",
    "::ffff:169.254.169.254",
    "2002:a9fe:a9fe::",
    "64:ff9b::a9fe:a9fe",
    "0.1.2.3",
    "192.0.0.8",
    "192.0.0.192",
    "192.88.99.1",
    "240.0.0.1",
    "255.255.255.255",
    "::a00:1",
    "::ffff:0:a00:1",
    "64:ff9b:1::a9fe:a9fe",
    "100::1",
    "2001:2::1",
    "2001:10::1",
    "4000::1",
    "5f00::1",
    "fe00::1",
    "ff0e::1",
]
# Where `is_global` of Python 3.11 says otherwise than we do; later ones know some of them.
WRONGLY_GLOBAL = [
    *(
        "192.0.0.8",
        "192.0.0.192",
        "fec0::1",
        "feff::1",
        "3fff::1",
        "192.88.99.1",
        "::a00:1",
        "::ffff:0:a00:1",
        "64:ff9b:1::a9fe:a9fe",
    ),
    *("4000::1", "5f00::1", "fe00::1", "ff0e::1", "224.0.0.1", "ff02::1", "168.63.129.16"),
]
INNER_COUNTS = ["2002:7f00:1::", "2002:a00:1::1", "64:ff9b::a00:1", "2002:a9fe:a9fe::", "64:ff9b::a9fe:a9fe"]


@pytest.mark.parametrize("address", [*INSIDE, *NEVER])
def test_addresses_inside_are_not_asked(address: str) -> None:
    assert refused(address, private=False)


@pytest.mark.parametrize("address", [*INSIDE, *NEVER])
def test_the_library_agrees_but_for_what_is_named(address: str) -> None:
    if ipaddress.ip_address(address.partition("%")[0]).is_global:
        assert address in (*WRONGLY_GLOBAL, *INNER_COUNTS)


@pytest.mark.parametrize("address", NEVER)
def test_some_are_not_asked_whatever_is_allowed(address: str) -> None:
    assert "never asked" in refused(address, private=True)


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "fec0::1", "3fff::1"])
def test_our_own_networks_are_asked_when_that_is_allowed(address: str) -> None:
    assert refused(address, private=True) == ""


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "2002:7f00:1::"])
def test_this_machine_is_asked_only_where_that_is_set(address: str) -> None:
    assert "this machine itself" in refused(address, private=True)
    assert refused(address, private=False, loopback=True) == ""


@pytest.mark.parametrize("address", ["9.9.9.9", "2620:fe::fe", "::ffff:9.9.9.9", "64:ff9b::909:909"])
def test_public_addresses_are_asked(address: str) -> None:
    assert refused(address, private=False) == ""


@pytest.mark.parametrize(
    "uri",
    [
        "https://ca.example/crl",
        "ldap://ca.example/crl",
        "file:///etc/passwd",
        "http://",
        "http:///crl",
        "http://user@ca.example/",
        "http://ca.example:99999/",
        "http://ca.example/a\r\nHost: x",
        "http://ca.example/a b",
        "gopher://127.0.0.1:11211/_stats",
        "",
    ],
)
def test_only_plain_http_to_a_host(uri: str) -> None:
    with pytest.raises(FetchFailed):
        place_of(uri)


@asynccontextmanager
async def serving(answer: Callable[[bytes], list[bytes]]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server on loopback that answers with these parts; its port, and what it was sent."""
    seen: list[bytes] = []
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
        seen.append(head + await reader.readexactly(length))
        parts = answer(seen[-1])
        for part in parts:
            writer.write(part)
        if not parts:
            await ended.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], seen
    finally:
        ended.set()
        server.close()


async def _here(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"hello and more"],
        [b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"],
    ],
)
async def test_a_body_in_every_frame(parts: list[bytes]) -> None:
    async with serving(lambda _: parts) as (port, seen):
        assert await fetch(f"http://ca.example:{port}/a?b=c", loopback=True, resolver=_here) == b"hello"
    assert seen[0].startswith(b"GET /a?b=c HTTP/1.1\r\nHost: ca.example:%d\r\n" % port)


async def test_a_question_is_posted() -> None:
    async with serving(lambda _: [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]) as (port, seen):
        uri = f"http://ca.example:{port}/ocsp"
        found = await fetch(uri, loopback=True, body=b"?", media_type="application/ocsp-request", resolver=_here)
    assert found == b"ok"
    assert seen[0].startswith(b"POST /ocsp HTTP/1.1")
    assert seen[0].endswith(b"Content-Type: application/ocsp-request\r\nContent-Length: 1\r\n\r\n?")


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n"], "status 302"),
        ([b"HTTP/1.1 404 No\r\n\r\n"], "status 404"),
        ([b"SSH-2.0-OpenSSH\r\n\r\n"], "not HTTP"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"], "more than"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"], "more than"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"], "cannot be fetched"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n"], "more than"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnope\r\n"], "cannot be fetched"),
        ([b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 4000], "cannot be fetched"),
        ([b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 65_536] * 65], "more than"),
        ([b"\r\n\r\n"], "not HTTP"),
    ],
)
async def test_answers_that_are_none(parts: list[bytes], told: str) -> None:
    async with serving(lambda _: parts) as (port, _):
        with pytest.raises(FetchFailed, match=told):
            await fetch(f"http://ca.example:{port}/", loopback=True, resolver=_here)


async def test_silence_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "DEADLINE", 0.2)
    async with serving(lambda _: []) as (port, _):
        with pytest.raises(FetchFailed, match="did not answer within"):
            await fetch(f"http://ca.example:{port}/", loopback=True, resolver=_here)


async def test_nothing_is_sent_to_an_address_inside() -> None:
    async with serving(lambda _: [b"HTTP/1.1 200 OK\r\n\r\nsecret"]) as (port, seen):
        for host in ("127.0.0.1", "[::ffff:127.0.0.1]", "localhost"):
            with pytest.raises(FetchFailed, match=r"not public|this machine itself"):
                await fetch(f"http://{host}:{port}/latest/meta-data/")
    assert seen == []


async def test_a_name_with_one_address_inside_is_not_asked_at_all() -> None:
    async def mixed(host: str, port: int) -> list[str]:
        return ["9.9.9.9", "127.0.0.1"]

    with pytest.raises(FetchFailed, match=r"leads to 127\.0\.0\.1"):
        await fetch("http://ca.example/", resolver=mixed)


async def test_a_name_is_asked_for_once_so_that_it_cannot_turn_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the second answer of the name would be loopback; the connection goes to the first."""
    answers = [["203.0.113.7"], ["127.0.0.1"]]
    connected: list[tuple[str, int]] = []

    async def turning(host: str, port: int) -> list[str]:
        return answers.pop(0)

    async def noted(host: str, port: int, **_: object) -> None:
        connected.append((host, port))
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(
        fetching, "refused", lambda text, private, *, loopback: "" if text == "203.0.113.7" else "is inside"
    )
    monkeypatch.setattr(asyncio, "open_connection", noted)
    with pytest.raises(FetchFailed, match="refused"):
        await fetch("http://ca.example/crl", resolver=turning)
    assert connected == [("203.0.113.7", 80)]
    assert len(answers) == 1
