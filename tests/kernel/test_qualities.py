"""What one state has and another has not: mode, limits, marks, and what is copied to the outer header."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from subprocess import PIPE, Popen

import pytest

from gateway.dataplane.kernel import KernelPlane
from gateway.ike.plane import AddPolicy, AddState, Direction, Encapsulation, EspState, Limits, Policy, Refused
from gateway.ike.plane_events import Expire
from gateway.policy.peers import Mark, Mode, Offload
from gateway.policy.selectors import Selector
from tests.kernel.conftest import OUTER, Child, Site, cipher, port_4500, told
from tests.lab.in_kernel import in_kernel
from tests.lab.namespaces import Namespace, Network

pytestmark = [in_kernel, pytest.mark.requires("root", "netns", "esp", "ping")]


def transport(sites: tuple[Site, Site], version: int = 4, encapsulated: bool = False) -> Child:
    child = Child(
        sites,
        outer=version,
        inner=version,
        encapsulated=encapsulated,
        selectors=OUTER[version],
        state_also={"mode": Mode.TRANSPORT},
        policy_also={"mode": Mode.TRANSPORT},
    )
    child.allocate()
    for end, site in enumerate(sites):
        site.plane.apply(child.orders(end)[:-1])  # the way to the peer is there
    return child


@pytest.mark.parametrize("encapsulated", [False, True], ids=["esp", "udp"])
@pytest.mark.parametrize("version", [4, 6])
def test_transport_mode_carries_what_the_hosts_say(sites: tuple[Site, Site], version: int, encapsulated: bool) -> None:
    sockets = [port_4500(site, version) for site in sites] if encapsulated else []
    child = transport(sites, version, encapsulated)
    left, right = OUTER[version]
    assert sites[0].ns.ping(right, source=left, count=3, size=600)
    for site in sites:
        assert {counted.packets for counted in site.plane.counters().values()} == {3}
        assert {state.mode for state in site.plane.states()} == {Mode.TRANSPORT}
        assert len(site.plane.policies()) == 3
    assert child.state(0, inbound=True).key in sites[0].plane.counters()
    for sock in sockets:
        sock.close()


def test_a_transport_state_has_its_own_selectors(sites: tuple[Site, Site]) -> None:
    child = Child(sites, selectors=OUTER[4], state_also={"mode": Mode.TRANSPORT})
    child.allocate()
    theirs, ours = Selector.parse("192.0.2.2[tcp/80]"), Selector.parse("192.0.2.1[tcp]")
    state = replace(child.state(0, inbound=True), selectors=(theirs, ours))
    sites[0].plane.apply([AddState(state)])
    assert "sel src 192.0.2.2/32 dst 192.0.2.1/32 proto tcp sport 80" in sites[0].xfrm("state")


@pytest.fixture
def natted(network: Network) -> Iterator[tuple[Namespace, Namespace]]:
    """A host behind a NAT router, and a server."""
    host, router, server = (network.namespace(name) for name in ("host", "router", "server"))
    network.link(host, router, "10.9.0.2/24", "10.9.0.1/24")
    network.link(router, server, "192.0.2.9/24", "192.0.2.2/24")
    host.route("default", "via", "10.9.0.1")
    router.masquerade("to-server")
    return host, server


@pytest.mark.parametrize(
    "limits",
    [Limits(soft_packets=2, hard_packets=4), Limits(soft_octets=150, hard_octets=400)],
    ids=["packets", "octets"],
)
@pytest.mark.parametrize("inbound", [False, True], ids=["outbound", "inbound"])
async def test_each_limit_is_told_once(sites: tuple[Site, Site], limits: Limits, inbound: bool) -> None:
    left = sites[0]
    child = Child(sites)
    child.allocate()
    sites[1].plane.apply(child.orders(1))
    limited = replace(child.state(0, inbound=inbound), limits=limits)
    other = child.state(0, inbound=not inbound)
    left.plane.apply([AddState(limited), AddState(other), *child.orders(0)[2:]])
    (read,) = (state for state in left.plane.states() if state.key == limited.key)
    assert read.limits == limits
    assert left.plane.counters().keys() == {limited.key, other.key}

    def slowly() -> None:  # a second after it was added the kernel forgets that it has warned
        child.pings(count=2)
        child.pings(count=8)

    events = await told(left, slowly, count=2, seconds=8)
    await asyncio.sleep(0.3)
    assert [event for event in events if isinstance(event, Expire)] == [
        Expire(limited.key, hard=False),
        Expire(limited.key, hard=True),
    ]
    assert limited.key not in left.plane.counters()


def test_windows_of_nothing(sites: tuple[Site, Site]) -> None:
    for esn, window in ((False, 0), (True, 4096)):
        child = Child(sites, esn=esn, window=0).install()
        (read,) = (state for state in sites[0].plane.states() if state.inbound)
        assert (read.esn, read.replay_window) == (esn, window)
        assert child.pings(count=2)
        for site in sites:
            site.plane.close()
        return_to_life(sites)


def return_to_life(sites: tuple[Site, Site]) -> None:
    for site in sites:
        with site.ns.entered():
            site.plane = type(site.plane)()


class Tap:
    """The IPv4 packets of a protocol that arrive in a namespace."""

    def __init__(self, site: Site, protocol: int) -> None:
        with site.ns.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        self._socket.setblocking(False)
        self._protocol = protocol

    def read(self) -> list[bytes]:
        found = []
        while True:
            try:
                data, address = self._socket.recvfrom(2000)
            except BlockingIOError:
                return found
            if data[9] == self._protocol and address[2] != socket.PACKET_OUTGOING:  # type: ignore[attr-defined]
                found.append(data)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def tap(sites: tuple[Site, Site]) -> Iterator[Tap]:
    made = Tap(sites[1], socket.IPPROTO_ESP)
    yield made
    made.close()


@pytest.mark.parametrize(("copied", "outside"), [(True, 0xB8), (False, 0)])
def test_dscp_is_copied_outside_only_if_wanted_and_ecn_always(
    sites: tuple[Site, Site], tap: Tap, copied: bool, outside: int
) -> None:
    Child(sites, state_also={"copy_dscp": copied}).install()
    for ecn in (0, 1):
        sites[0].ns.run("ping", "-c", "1", "-Q", str(0xB8 | ecn), "-I", "10.1.0.1", "10.2.0.1")
        (packet,) = tap.read()
        assert packet[1] == outside | ecn
    assert {state.copy_dscp for state in sites[0].plane.states()} == {copied}


def test_congestion_outside_is_carried_inside(sites: tuple[Site, Site]) -> None:
    """What a router marks outside is marked inside where the ends know ECN (RFC 6040 4.2).

    For ends that do not, Linux passes the packet on without the mark, where the RFC has it dropped.
    """
    left, right = sites
    rule = "add rule ip congested out ip protocol esp ip ecn set ce"
    chain = "add chain ip congested out { type filter hook postrouting priority 300; }"
    done = left.ns.run("nft", "-f", "-", stdin=f"add table ip congested\n{chain}\n{rule}\n", check=False)
    if done.returncode:
        pytest.skip(f"this kernel cannot mark congestion: {done.stderr.splitlines()[0]}")
    Child(sites).install()
    inside = Tap(right, socket.IPPROTO_ICMP)
    try:
        for sent, received in ((1, 3), (2, 3), (0, 0)):
            left.ns.run("ping", "-c", "1", "-Q", str(sent), "-I", "10.1.0.1", "10.2.0.1")
            assert [packet[1] for packet in inside.read() if packet[20] == 8] == [received]
    finally:
        inside.close()
        left.ns.run("nft", "delete", "table", "ip", "congested")


@pytest.mark.parametrize("copied", [True, False])
def test_df_is_copied_outside_only_if_wanted(sites: tuple[Site, Site], tap: Tap, copied: bool) -> None:
    Child(sites, state_also={"copy_df": copied}).install()
    for hint, inner in (("do", True), ("dont", False)):
        sites[0].ns.run("ping", "-c", "1", "-M", hint, "-I", "10.1.0.1", "10.2.0.1")
        (packet,) = tap.read()
        assert bool(packet[6] & 0x40) is (inner and copied)
    assert {state.copy_df for state in sites[0].plane.states()} == {copied}


def test_marks_tell_children_of_the_same_selectors_apart(sites: tuple[Site, Site]) -> None:
    children = []
    for value in (7, 8):
        mark = {"mark": Mark(value, 0xFF)}
        children.append(Child(sites, reqid=value, state_also=mark, policy_also=mark).install())
    for number, (value, child) in enumerate(zip((7, 8), children, strict=True)):
        sites[0].ns.run("ping", "-c", "2", "-i", "0.2", "-m", str(value), "-I", "10.1.0.1", "10.2.0.1", check=False)
        counted = [sites[0].plane.counters()[each.state(0, inbound=False).key].packets for each in children]
        assert counted == ([2, 0], [2, 2])[number]
        # What arrives bears the mark, and so is admitted by the policies that have it.
        assert sites[1].plane.counters()[child.state(1, inbound=True).key].packets == 2
    assert "XfrmInTmplMismatch" not in rejected(sites[1])
    assert {state.mark for state in sites[1].plane.states() if state.inbound} == {Mark(7, 0xFF), Mark(8, 0xFF)}
    for site in sites:
        assert len(site.plane.policies()) == 6


def rejected(site: Site) -> set[str]:
    """The kernel's counters of refused packets that are not zero."""
    text = site.ns.run("cat", "/proc/net/xfrm_stat", check=False).stdout
    return {line.split()[0] for line in text.splitlines() if line.split()[1] != "0"}


@pytest.mark.parametrize("offload", [Offload.CRYPTO, Offload.PACKET])
def test_offload_to_a_device_that_cannot_is_refused_and_nothing_stays(
    sites: tuple[Site, Site], offload: Offload
) -> None:
    left = sites[0]
    child = Child(sites, state_also={"offload": offload})
    child.allocate()
    with pytest.raises(Refused, match=r"(crypto|packet) offload:") as refused:
        left.plane.apply(child.orders(0))
    assert "192.0.2.2" in refused.value.why or "the kernel says" in refused.value.why
    assert left.plane.states() == []
    assert left.plane.policies() == []


def test_another_spi_in_the_policy_moves_outbound_traffic_without_a_loss(sites: tuple[Site, Site]) -> None:
    """The old inbound state lingers, as after a rekey, and what is under way still arrives."""
    left, right = sites
    old, new = Child(sites).install(), Child(sites)
    new.key = lambda end, octets: bytes((7 * end + 3 * i + 2) % 256 for i in range(octets))  # type: ignore[method-assign]
    new.allocate()
    for end, site in enumerate(sites):
        site.plane.apply([AddState(new.state(end, inbound=inbound)) for inbound in (True, False)])
    command = left.ns.command("ping", "-q", "-i", "0.01", "-c", "300", "-I", "10.1.0.1", "10.2.0.1")
    with Popen(command, stdout=PIPE, text=True) as pinging:
        switches = 0
        while pinging.poll() is None:
            for child in (new, old):
                for end, site in enumerate(sites):
                    site.plane.apply([AddPolicy(child.policies(end)[2])])
                    switches += 1
        assert pinging.stdout
        text = pinging.stdout.read()
    assert "300 received" in text, text
    assert switches > 20
    for child in (old, new):
        assert right.plane.counters()[child.state(1, inbound=True).key].packets > 0
    assert {counted.replays for counted in right.plane.counters().values()} == {0}


def test_checksums_behind_a_nat_in_transport_mode(natted: tuple[Namespace, Namespace]) -> None:
    """TCP between a host behind a NAT and a server: its checksum was made for an address that the server never sees."""
    host, server = natted
    key = bytes(range(36))
    with ExitStack() as stack:
        for site, ours, theirs, spis in (
            (host, "10.9.0.2", "192.0.2.2", (0xC1, 0xC2)),
            (server, "192.0.2.2", "192.0.2.9", (0xC2, 0xC1)),
        ):
            with site.entered():
                plane = stack.enter_context(closing(KernelPlane()))
                sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind(("0.0.0.0", 4500))
            plane.adopt(sock, lambda *_: None)
            if site is host:
                sock.sendto(b"\xff", (theirs, 4500))  # the router maps the port to itself
            ends = Selector.of_address(ours), Selector.of_address(theirs)
            original = ("10.9.0.2", "192.0.2.2") if site is server else None
            states = [
                EspState(
                    spi, *addresses, inbound, 1, cipher("aes256gcm16"), key, mode=Mode.TRANSPORT,
                    encapsulation=Encapsulation(4500, 4500), original=original if inbound else None,
                )
                for spi, addresses, inbound in ((spis[0], (theirs, ours), True), (spis[1], (ours, theirs), False))
            ]  # fmt: skip
            policies = [
                Policy(Direction.OUT, *ends, ours, theirs, 1, spis[1], mode=Mode.TRANSPORT),
                Policy(Direction.IN, *ends[::-1], theirs, ours, 1, mode=Mode.TRANSPORT),
            ]
            plane.apply([*map(AddState, states), *map(AddPolicy, policies)])
        with server.entered():
            listening = stack.enter_context(socket.create_server(("192.0.2.2", 7000)))
        with host.entered():
            client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        client.settimeout(5)
        client.connect(("192.0.2.2", 7000))
        connection = stack.enter_context(listening.accept()[0])
        client.sendall(b"question" * 1000)
        assert connection.recv(8).startswith(b"question")
        connection.sendall(b"answer")
        assert client.recv(6) == b"answer"
        assert connection.getpeername()[0] == "192.0.2.9"
        assert all(counted.packets for counted in plane.counters().values())
