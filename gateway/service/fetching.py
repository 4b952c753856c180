"""Fetches small files by HTTP from where others say: lists of revoked certificates and OCSP answers.

Whoever issues a certificate chooses the address, so the request must not reach what only we can: every address of the
name is checked, and the connection goes to a checked address, never to the name again (DNS rebinding). No redirect is
followed, no proxy asked, no cookie kept; size and time have limits.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

LIMIT = 4 * 1024 * 1024  # octets
DEADLINE = 10.0  # seconds, for all of it
_HEAD_LIMIT = 16 * 1024
# Of clouds (Amazon, Azure, Alibaba), outside link-local.
_METADATA = tuple(map(ipaddress.ip_address, ("fd00:ec2::254", "168.63.129.16", "100.100.100.200")))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052
# Public is what `ipaddress` calls global, in IPv6 within what IANA gives out for unicast alone. Outside of that are,
# though called global by some version of Python: site-local addresses (fec0::/10, RFC 3879), IPv4-compatible and
# -translated ones (::/96, ::ffff:0:0:0/96), local translation to an IPv4 address that we cannot tell (64:ff9b:1::/48,
# RFC 8215), segment identifiers (5f00::/16, RFC 9602), and all that is reserved.
_UNICAST = ipaddress.ip_network("2000::/3")
_CALLED_GLOBAL = (
    ipaddress.ip_network("192.0.0.0/24"),  # protocols (RFC 6890), and where Oracle's cloud kept its metadata
    ipaddress.ip_network("192.88.99.0/24"),  # relays of 6to4, given up (RFC 7526)
    ipaddress.ip_network("3fff::/20"),  # documentation (RFC 9637)
)
# Networks that may be ours: asked where that is allowed. Laboratories have those for documentation and measuring.
_PRIVATE = tuple(
    ipaddress.ip_network(one)
    for one in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),  # RFC 1918
        "100.64.0.0/10",  # RFC 6598
        *("fc00::/7", "fec0::/10"),  # RFC 4193, RFC 3879
        *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15"),  # RFC 5737, RFC 2544
        *("2001:db8::/32", "3fff::/20"),  # RFC 3849, RFC 9637
    )
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]


class FetchFailed(Exception):
    """Nothing came; the text is the end of a sentence that begins with the address."""


@dataclass(frozen=True, slots=True)
class Place:
    """An address that was split and found to be one of ours to ask."""

    host: str
    port: int
    target: str


def place_of(uri: str) -> Place:
    """Raises FetchFailed for what is not plain HTTP to a host."""
    try:
        parts = urlsplit(uri)
        port = parts.port or 80
    except ValueError:
        raise FetchFailed("is no address") from None
    if parts.scheme.lower() != "http":
        raise FetchFailed("is not fetched: only http:// is, as lists and answers are signed themselves")
    if not parts.hostname or parts.username is not None or not uri.isascii() or any(sign <= " " for sign in uri):
        raise FetchFailed("is no address of a host")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.hostname, port, target)


def refused(text: str, private: bool, *, loopback: bool = False) -> str:
    """Why an address is not asked, as the end of a sentence; empty when it is. `private` allows those of our networks.

    This machine itself (`loopback`) is not one of them: what listens there alone trusts whoever asks. Link-local
    addresses, where clouds keep their keys, are never asked, nor is what is neither public nor anybody's network.
    """
    address = _inner(ipaddress.ip_address(text.partition("%")[0]))
    ours = any(address in network for network in _PRIVATE)
    if address.is_loopback:
        return (
            "" if loopback else f"leads to {address}, which is this machine itself (IKEGATE_FETCH_LOOPBACK allows that)"
        )
    if address in _METADATA or not (ours or _is_public(address)):
        return f"leads to {address}, which is never asked"
    if ours and not private:
        return f"leads to {address}, which is not public; allow private addresses for this authority if that is meant"
    return ""


def _is_public(address: Address) -> bool:
    if address.is_multicast or (address.version == 6 and address not in _UNICAST):
        return False
    return address.is_global and not any(address in network for network in _CALLED_GLOBAL)


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it does: an outer form must not hide it."""
    if isinstance(address, ipaddress.IPv6Address):
        for found in (address.ipv4_mapped, address.sixtofour, address.teredo[1] if address.teredo else None):
            if found is not None:
                return found
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def fetch(
    uri: str,
    *,
    private: bool = False,
    loopback: bool = False,
    body: bytes | None = None,
    media_type: str = "",
    resolver: Resolve = resolve,
) -> bytes:
    """What is at the address; with a `body` of a media type what a POST of it answers. Raises FetchFailed."""
    place = place_of(uri)
    try:
        async with asyncio.timeout(DEADLINE):
            address = await _checked(place, private, loopback, resolver)
            return await _exchange(place, address, body, media_type)
    except TimeoutError:
        raise FetchFailed(f"did not answer within {DEADLINE:g} seconds") from None
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise FetchFailed(f"cannot be fetched: {str(error) or type(error).__name__}") from None


async def _checked(place: Place, private: bool, loopback: bool, resolver: Resolve) -> str:
    """An address of the host that may be asked: none when one of them may not, for then somebody plays tricks."""
    try:
        addresses = await resolver(place.host, place.port)
    except OSError:
        raise FetchFailed("has a name that is not found") from None
    for address in addresses:
        if why := refused(address, private, loopback=loopback):
            raise FetchFailed(why)
    if not addresses:
        raise FetchFailed("has a name without an address")
    return addresses[0]


async def _exchange(place: Place, address: str, body: bytes | None, media_type: str) -> bytes:
    reader, writer = await asyncio.open_connection(address, place.port, limit=_HEAD_LIMIT)
    try:
        host = f"[{place.host}]" if ":" in place.host else place.host
        named = host if place.port == 80 else f"{host}:{place.port}"
        head = [f"{'GET' if body is None else 'POST'} {place.target} HTTP/1.1", f"Host: {named}", "Connection: close"]
        head += ["User-Agent: ikegate", "Accept-Encoding: identity"]
        if body is not None:
            head += [f"Content-Type: {media_type}", f"Content-Length: {len(body)}"]
        writer.write("\r\n".join([*head, "", ""]).encode("ascii") + (body or b""))
        await writer.drain()
        return await _answer(reader)
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The body of an answer (RFC 9112)."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    words = head[0].split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1."):
        raise FetchFailed("answers with something that is not HTTP")
    if words[1] != "200":
        raise FetchFailed(f"answers with status {words[1][:3]}")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if "chunked" in fields.get("transfer-encoding", "").lower():
        return await _chunks(reader)
    length = fields.get("content-length")
    if length is not None:
        if not length.isdecimal() or len(length) > 12 or int(length) > LIMIT:
            raise FetchFailed(_TOO_LARGE)
        return await reader.readexactly(int(length))
    return await _until_end(reader)


_TOO_LARGE = f"has more than {LIMIT} octets"


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    found = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0].strip(), 16):
        if not 0 < size <= LIMIT - len(found):
            raise FetchFailed(_TOO_LARGE)
        found += await reader.readexactly(size)
        await reader.readexactly(2)
    return bytes(found)


async def _until_end(reader: asyncio.StreamReader) -> bytes:
    found = bytearray()
    while part := await reader.read(65_536):
        found += part
        if len(found) > LIMIT:
            raise FetchFailed(_TOO_LARGE)
    return bytes(found)
