"""Two gateways with the kernel's data plane each, and children between them that a test configures by hand."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gateway.crypto.suites import Encryption, Integrity, by_keyword
from gateway.dataplane.kernel import KernelPlane
from gateway.ike.plane import (
    AddPolicy,
    AddRoute,
    AddState,
    Direction,
    Encapsulation,
    EspState,
    Order,
    Policy,
    Route,
)
from gateway.ike.plane_events import PlaneEvent
from gateway.policy.selectors import Selector
from tests.lab.namespaces import Namespace, Network, two_sites

ANY = {4: "0.0.0.0", 6: "::"}
OUTER = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
INNER = {4: ("10.1.0.0/24", "10.2.0.0/24"), 6: ("fd01::/64", "fd02::/64")}
HOSTS = {4: ("10.1.0.1", "10.2.0.1"), 6: ("fd01::1", "fd02::1")}


def cipher(keyword: str) -> Encryption:
    row = by_keyword(keyword)
    assert isinstance(row, Encryption)
    return row


def mac(keyword: str) -> Integrity:
    row = by_keyword(keyword)
    assert isinstance(row, Integrity)
    return row


@dataclass
class Site:
    """One gateway: its namespace, its data plane, and which end of a pair of addresses it is."""

    ns: Namespace
    plane: KernelPlane
    end: int

    def outer(self, version: int) -> str:
        return OUTER[version][self.end]

    def host(self, version: int) -> str:
        return HOSTS[version][self.end]

    def xfrm(self, *words: str) -> str:
        """What `ip xfrm` shows here, as one line a word."""
        return " ".join(self.ns.ip("xfrm", *words).split())


@dataclass
class Child:
    """A CHILD_SA between the two sites; `spis` are the inbound SPIs of left and right."""

    sites: tuple[Site, Site]
    encr: Encryption = field(default_factory=lambda: cipher("aes256gcm16"))
    integ: Integrity | None = None
    esn: bool = False
    window: int = 128
    encapsulated: bool = False
    outer: int = 4
    inner: int = 4
    selectors: tuple[str, str] | None = None
    reqid: int = 1
    spis: list[int] = field(default_factory=list)
    state_also: dict[str, Any] = field(default_factory=dict)
    policy_also: dict[str, Any] = field(default_factory=dict)
    interface: str = ""

    def key(self, end: int, octets: int) -> bytes:
        """The key with which `end` sends."""
        return bytes((17 * end + 29 * i + 1) % 256 for i in range(octets))

    def state(self, end: int, *, inbound: bool) -> EspState:
        """As it lies at one end."""
        here, there = self.sites[end], self.sites[1 - end]
        sender = 1 - end if inbound else end
        addresses = (there.outer(self.outer), here.outer(self.outer))
        plain = EspState(
            spi=self.spis[end if inbound else 1 - end],
            source=addresses[0 if inbound else 1],
            destination=addresses[1 if inbound else 0],
            inbound=inbound,
            reqid=self.reqid,
            encr=self.encr,
            encr_key=self.key(sender, self.encr.key_material_octets),
            integ=self.integ,
            integ_key=self.key(sender, self.integ.key_octets) if self.integ else b"",
            esn=self.esn,
            replay_window=self.window,
            encapsulation=Encapsulation(4500, 4500) if self.encapsulated else None,
        )
        return replace(plain, **self.state_also)

    def ends(self, end: int) -> tuple[Selector, Selector]:
        """The traffic's selectors, own side first."""
        texts = self.selectors or INNER[self.inner]
        return Selector.parse(texts[end]), Selector.parse(texts[1 - end])

    def policies(self, end: int, *, trap: bool = False) -> list[Policy]:
        ours, theirs = self.ends(end)
        here, there = (self.sites[e].outer(self.outer) for e in (end, 1 - end))
        pin = None if trap else self.spis[1 - end]
        found = [
            Policy(Direction.IN, theirs, ours, there, here, self.reqid),
            Policy(Direction.FORWARD, theirs, ours, there, here, self.reqid),
            Policy(Direction.OUT, ours, theirs, here, there, self.reqid, pin),
        ]
        return [policy._replace(**self.policy_also) for policy in found]

    def route(self, end: int) -> Route:
        ours, theirs = self.ends(end)
        return Route(theirs, (ours,), self.sites[1 - end].outer(self.outer), self.interface)

    def allocate(self) -> None:
        for end, site in enumerate(self.sites):
            peer = self.sites[1 - end]
            self.spis.append(site.plane.allocate_spi(peer.outer(self.outer), site.outer(self.outer)))

    def trap(self, end: int) -> list[Order]:
        return [*map(AddPolicy, self.policies(end, trap=True)), AddRoute(self.route(end))]

    def orders(self, end: int) -> list[Order]:
        states: list[Order] = [AddState(self.state(end, inbound=True)), AddState(self.state(end, inbound=False))]
        return [*states, *map(AddPolicy, self.policies(end)), AddRoute(self.route(end))]

    def install(self) -> "Child":
        self.allocate()
        for end, site in enumerate(self.sites):
            site.plane.apply(self.orders(end))
        return self

    def pings(self, count: int = 1, size: int = 56) -> bool:
        left, right = self.sites
        return left.ns.ping(right.host(self.inner), source=left.host(self.inner), count=count, size=size)


@pytest.fixture(scope="module")
def namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    """Once for a file: making them takes seconds in a User-Mode-Linux guest."""
    with Network() as network:
        yield two_sites(network)


@pytest.fixture
def sites(namespaces: tuple[Namespace, Namespace]) -> Iterator[tuple[Site, Site]]:
    made: list[Site] = []
    for end, namespace in enumerate(namespaces):
        with namespace.entered():
            made.append(Site(namespace, KernelPlane(), end))
    yield made[0], made[1]
    for site in made:
        site.plane.close()
        for what in ("state", "policy"):  # what a test put there as another's
            site.ns.ip("xfrm", what, "flush")


def port_4500(site: Site, version: int) -> socket.socket:
    """A socket for IKE and ESP in UDP, adopted by the data plane."""
    with site.ns.entered():
        sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    if version == 6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((ANY[version], 4500))
    sock.settimeout(3)
    assert site.plane.adopt(sock, lambda *_: None) is False
    return sock


async def told(site: Site, cause: Callable[[], object], count: int = 1, seconds: float = 5) -> list[PlaneEvent]:
    """The events that come after `cause`, at least `count` unless time runs out."""
    events: list[PlaneEvent] = []
    enough = asyncio.Event()

    def hear(event: PlaneEvent) -> None:
        events.append(event)
        if len(events) >= count:
            enough.set()

    site.plane.listen(hear)
    await asyncio.to_thread(cause)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(enough.wait(), seconds)
    return events
