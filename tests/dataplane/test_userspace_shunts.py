"""What the userspace data plane lets past or drops by a policy: real packets and routing rules in namespaces."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from gateway.dataplane.userspace import UserspacePlane
from gateway.dataplane.userspace_packets import Flow
from gateway.dataplane.userspace_policies import PolicyTable
from gateway.ike.plane import Action, AddPolicy, AddRoute, Direction, Order, Policy, Refused, RemovePolicy, Route
from gateway.policy.selectors import Selector
from tests.lab.namespaces import Namespace, Network, two_sites

needs = pytest.mark.requires("root", "tun", "netns", "ping")


def policy(source: str, destination: str, action: Action, priority: int | None = None) -> Policy:
    return Policy(
        Direction.OUT, Selector.parse(source), Selector.parse(destination), "", "", 0, action=action, priority=priority
    )


DOWN = policy("10.1.0.0/24", "10.2.0.0/24", Action.DROP)
EVERYTHING = Route(Selector.parse("0.0.0.0/0"), (Selector.parse("10.1.0.0/24"),), "192.0.2.2")


@pytest.fixture
def sites(network: Network) -> tuple[Namespace, Namespace]:
    left, right = two_sites(network)
    left.route("default", "via", "192.0.2.2")
    right.route("default", "via", "192.0.2.1")
    return left, right


@pytest.fixture
def plane(sites: tuple[Namespace, Namespace]) -> Iterator[UserspacePlane]:
    with sites[0].entered():
        made = UserspacePlane()
    yield made
    made.close()
    assert rules(sites[0]) == []


def rules(site: Namespace) -> list[str]:
    """Those that are not there by default."""
    words = site.ip("rule").splitlines() + site.ip("-6", "rule").splitlines()
    return [" ".join(line.split()) for line in words if not line.startswith(("0:", "32766:", "32767:"))]


def leaves_by(site: Namespace, source: str, target: str, *words: str) -> str:
    done = site.run("ip", "route", "get", target, "from", source, *words, check=False)
    return done.stdout.split(" dev ")[1].split()[0] if done.returncode == 0 else "nowhere"


@needs
async def test_traffic_of_a_tunnel_that_is_down_is_dropped_not_leaked(
    sites: tuple[Namespace, Namespace], plane: UserspacePlane
) -> None:
    left, _ = sites
    plane.listen(lambda event: None)
    assert await asyncio.to_thread(left.ping, "10.2.0.1", source="10.1.0.1")
    plane.apply([AddPolicy(DOWN)])
    assert not await asyncio.to_thread(left.ping, "10.2.0.1", source="10.1.0.1", wait=0.3)
    assert not await asyncio.to_thread(left.ping, "10.2.0.1", wait=0.3), "with the source that the route gives it"
    assert plane.drops.blocked == 2
    assert plane.policies() == (DOWN,)
    for again in ([AddPolicy(DOWN._replace(action=Action.PASS))], [RemovePolicy(DOWN)]):
        plane.apply([AddPolicy(DOWN)])
        assert leaves_by(left, "10.1.0.1", "10.2.0.1") == "ikegate0"
        plane.apply(again)
        assert leaves_by(left, "10.1.0.1", "10.2.0.1") == "to-right"


@needs
async def test_a_tunnel_for_all_traffic_that_is_down_stops_its_own_sources_and_nobody_else(
    sites: tuple[Namespace, Namespace], plane: UserspacePlane
) -> None:
    """Who asks for the peer's address must get through, and who administers the gateway from afar."""
    left, _ = sites
    plane.listen(lambda event: None)
    wall = policy("10.1.0.0/24", "0.0.0.0/0", Action.DROP)
    plane.apply([AddPolicy(wall), AddPolicy(policy("fd01::/64", "::/0", Action.DROP))])
    assert not await asyncio.to_thread(left.ping, "10.2.0.1", source="10.1.0.1", wait=0.3)
    assert leaves_by(left, "fd01::1", "2001:db8::2") == "nowhere"
    assert await asyncio.to_thread(left.ping, "10.2.0.1")
    assert await asyncio.to_thread(left.ping, "10.2.0.1", source="192.0.2.1")
    assert leaves_by(left, "192.0.2.1", "203.0.113.1") == "to-right"
    # A narrower tunnel that is up, and shunts, are not stopped by it.
    narrower = Route(Selector.parse("10.3.0.0/24"), (Selector.parse("10.1.0.0/24"),), "192.0.2.2")
    plane.apply([AddRoute(narrower), AddPolicy(policy("10.1.0.0/24", "203.0.113.0/24", Action.PASS, 5))])
    assert leaves_by(left, "10.1.0.1", "10.3.0.1") == "ikegate0"
    assert leaves_by(left, "10.1.0.1", "203.0.113.1") == "to-right"
    with pytest.raises(Refused, match="no route"):
        plane.apply([RemovePolicy(wall), AddRoute(Route(Selector.parse("10.7.0.0/24"), (), "no address"))])
    assert leaves_by(left, "10.1.0.1", "10.2.0.1") == "nowhere"
    up = Policy(Direction.OUT, wall.source, wall.destination, "192.0.2.1", "192.0.2.2", 1, 0x1002)
    plane.apply([AddPolicy(up), AddRoute(EVERYTHING)])
    assert leaves_by(left, "10.1.0.1", "10.2.0.1") == "ikegate0"
    plane.apply([AddPolicy(wall)])
    assert leaves_by(left, "10.1.0.1", "10.2.0.1") == "ikegate0", "while the route is there, it leads to the policy"


@needs
def test_ike_passes_though_all_traffic_is_dropped(sites: tuple[Namespace, Namespace], plane: UserspacePlane) -> None:
    left, right = sites
    plane.apply([AddPolicy(policy("0.0.0.0/0", "0.0.0.0/0", Action.DROP))])
    plane.apply([AddPolicy(policy("0.0.0.0/0", "10.0.0.0-255.255.255.255", Action.DROP, 0))])
    with contextlib.ExitStack() as stack:

        def bound(site: Namespace, port: int) -> socket.socket:
            with site.entered():
                sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind(("0.0.0.0", port))
            sock.settimeout(1)
            return sock

        ours, adopted, another, theirs = bound(left, 500), bound(left, 4500), bound(left, 501), bound(right, 500)
        plane.exempt(ours)
        plane.adopt(adopted, lambda *_: None)
        plane.settle()
        with contextlib.suppress(OSError):
            another.sendto(b"leak", ("192.0.2.2", 500))
        for sock, said in ((ours, b"question"), (adopted, b"another")):
            sock.sendto(said, ("192.0.2.2", 500))
            assert theirs.recvfrom(100) == (said, ("192.0.2.1", sock.getsockname()[1]))
        theirs.sendto(b"answer", ("192.0.2.1", 500))
        assert ours.recv(100) == b"answer"


@needs
def test_ike_over_ipv6_passes_too(sites: tuple[Namespace, Namespace], plane: UserspacePlane) -> None:
    left, right = sites
    assert any(left.ping("2001:db8::2", wait=0.5) for _ in range(20)), "the kernel takes its time with a new link"
    plane.apply([AddPolicy(policy("2001:db8::/64", "2001:db8::/64", Action.DROP, 0))])
    plane.apply([AddPolicy(policy("::/0", "2000::/3", Action.DROP))])
    with contextlib.ExitStack() as stack:
        sockets = []
        for site, port in ((left, 500), (left, 501), (right, 500)):
            with site.entered():
                sock = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
            sock.bind(("::", port))
            sock.settimeout(1)
            sockets.append(sock)
        ours, another, theirs = sockets
        plane.exempt(ours)
        plane.settle()
        with contextlib.suppress(OSError):
            another.sendto(b"leak", ("2001:db8::2", 500))
        ours.sendto(b"question", ("2001:db8::2", 500))
        assert theirs.recv(100) == b"question"
        theirs.sendto(b"answer", ("2001:db8::1", 500))
        assert ours.recv(100) == b"answer"


@needs
def test_shunts_go_by_priority_then_by_narrowness(sites: tuple[Namespace, Namespace], plane: UserspacePlane) -> None:
    left, _ = sites
    blocked = policy("10.1.0.0/24", "10.2.0.0/16", Action.DROP, 100)
    passing = policy("10.1.0.0/24", "10.2.0.0/24", Action.PASS, 100)
    last = policy("10.1.0.0/24", "0.0.0.0/0", Action.DROP, 101)
    orders: list[Order] = [AddRoute(EVERYTHING), AddPolicy(last), AddPolicy(blocked), AddPolicy(passing)]
    plane.apply(orders)
    expected = {"10.2.0.1": "to-right", "10.2.1.1": "nowhere", "203.0.113.1": "nowhere"}
    assert {target: leaves_by(left, "10.1.0.1", target) for target in expected} == expected
    assert left.ping("10.2.0.1", source="10.1.0.1"), "in the clear"
    assert left.ping("10.2.0.1"), "of a socket without an address, too"
    foremost = blocked._replace(priority=99)
    plane.apply([AddPolicy(foremost)])
    assert leaves_by(left, "10.1.0.1", "10.2.0.1") == "nowhere"
    assert plane.policies() == (last, passing, foremost)
    plane.apply([RemovePolicy(blocked)])
    assert leaves_by(left, "10.1.0.1", "10.2.1.1") == "nowhere"
    plane.apply([RemovePolicy(last)])
    assert leaves_by(left, "10.1.0.1", "10.2.1.1") == "ikegate0"
    assert leaves_by(left, "10.1.0.1", "10.2.0.1") == "to-right"
    plane.apply([RemovePolicy(passing)])
    assert leaves_by(left, "10.1.0.1", "10.2.0.1") == "ikegate0"
    assert not any("lookup main" in line or "blackhole" in line for line in rules(left))


@needs
def test_a_shunt_may_name_protocols_and_ports(sites: tuple[Namespace, Namespace], plane: UserspacePlane) -> None:
    left, _ = sites
    plane.apply([AddRoute(EVERYTHING), AddPolicy(policy("10.1.0.0/24", "0.0.0.0/0[tcp/22-23]", Action.PASS, 3))])
    for port, device in ((21, "ikegate0"), (22, "to-right"), (23, "to-right"), (24, "ikegate0")):
        assert leaves_by(left, "10.1.0.1", "10.2.0.1", "ipproto", "tcp", "dport", str(port)) == device
    assert leaves_by(left, "10.1.0.1", "10.2.0.1", "ipproto", "udp", "dport", "22") == "ikegate0"


@needs
def test_a_shunt_for_ipv6_and_for_what_is_forwarded(sites: tuple[Namespace, Namespace], plane: UserspacePlane) -> None:
    left, _ = sites
    drop = policy("fd01::/64", "fd02::/64", Action.DROP, 3)
    plane.apply([AddPolicy(drop), AddPolicy(drop._replace(direction=Direction.FORWARD, source=drop.destination))])
    assert leaves_by(left, "fd01::1", "fd02::1") == "nowhere"
    assert sum("blackhole" in line for line in rules(left)) == 2


@needs
@pytest.mark.parametrize(
    ("shunt", "why"),
    [
        (policy("10.1.0.0/24", "10.2.0.0/24[tcp/1024-65535]", Action.PASS, 1), "takes ports from 1 to 65534, or all"),
        (policy("10.1.0.0/24", "10.2.0.0/24[icmp/2048]", Action.DROP, 1), "tells no ICMP types apart"),
    ],
)
def test_what_rules_cannot_say_is_refused_and_changes_nothing(
    sites: tuple[Namespace, Namespace], plane: UserspacePlane, shunt: Policy, why: str
) -> None:
    good = policy("10.1.0.0/24", "10.2.0.0/24", Action.DROP, 1)
    plane.apply([AddPolicy(good)])
    before = rules(sites[0])
    with pytest.raises(Refused, match=why):
        plane.apply([RemovePolicy(good), AddPolicy(shunt)])
    nowhere = Route(Selector.parse("10.7.0.0/24"), (), "no address")
    with pytest.raises(Refused, match="no route to"):
        plane.apply([RemovePolicy(good), AddRoute(nowhere)])
    assert plane.policies() == (good,)
    assert [line.split(":")[1] for line in rules(sites[0])] == [line.split(":")[1] for line in before]


KILLED = """
    import os, signal
    from gateway.dataplane.userspace import UserspacePlane
    from gateway.ike.plane import AddPolicy
    from tests.dataplane.test_userspace_shunts import *
    plane = UserspacePlane()
    plane.apply([AddPolicy(policy("10.1.0.0/24", "10.2.0.0/24", Action.DROP, 7))])
    os.kill(os.getpid(), signal.SIGKILL)
"""


@needs
def test_the_rules_of_a_killed_process_are_swept(sites: tuple[Namespace, Namespace]) -> None:
    left, _ = sites
    done = subprocess.run(left.command(sys.executable, "-c", textwrap.dedent(KILLED)), check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert any("blackhole" in line for line in rules(left))
    left.ip("rule", "add", "from", "10.9.0.0/16", "blackhole", "priority", "1600")
    with left.entered():
        plane = UserspacePlane()
    plane.close()
    assert rules(left) == ["1600: from 10.9.0.0/16 blackhole"]


WEB = Flow(4, 6, int.from_bytes(bytes([10, 1, 0, 5])), int.from_bytes(bytes([10, 2, 0, 5])), 40000, 443)


def test_what_comes_through_a_tunnel_is_dropped_where_a_shunt_goes_first() -> None:
    table = PolicyTable()
    admitting = Policy(
        Direction.IN, Selector.parse("10.1.0.0/24"), Selector.parse("10.2.0.0/24"), "192.0.2.2", "192.0.2.1", 1
    )
    table.add(admitting)
    assert table.admits(1, WEB)
    wide = policy("10.1.0.0/16", "10.2.0.0/16", Action.DROP)._replace(direction=Direction.IN)
    for blocking, admitted in (
        (wide, True),
        (wide._replace(source=Selector.parse("10.1.0.5"), destination=Selector.parse("10.2.0.0/24")), False),
        (wide._replace(priority=9), False),
        (wide._replace(priority=9, action=Action.PASS), False),
        (wide._replace(priority=9, source=Selector.parse("10.3.0.0/16")), True),
    ):
        table.add(blocking)
        assert table.admits(1, WEB) is admitted
        table.remove(blocking)
    assert table.admits(1, WEB)
    table.add(admitting._replace(action=Action.DROP))
    assert not table.admits(1, WEB)
    table.remove(admitting)
    assert not table.policies()


def test_an_outbound_shunt_wins_over_a_narrower_child() -> None:
    table = PolicyTable()
    child = policy("10.1.0.5", "10.2.0.5", Action.PROTECT)
    shunts = [policy("10.1.0.0/16", "10.2.0.0/16", Action.DROP, 2), policy("10.0.0.0/8", "10.0.0.0/8", Action.PASS, 1)]
    for each in (child, *shunts):
        table.add(each)
    found = []
    while best := table.outbound(WEB):
        found.append(best)
        table.remove(best)
    assert found == [shunts[1], shunts[0], child]
