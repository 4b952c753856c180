"""What policies that pass and drop do to real packets beside children, and to IKE."""

import contextlib
import socket

import pytest

from gateway.ike.plane import Action, AddPolicy, Direction, Policy, RemovePolicy
from gateway.policy.selectors import Selector
from tests.kernel.conftest import HOSTS, OUTER, Child, Site
from tests.lab.in_kernel import in_kernel

pytestmark = [in_kernel, pytest.mark.requires("root", "netns", "esp", "ping")]


def shunt(action: Action, source: str, destination: str, priority: int | None = 100, **also: Direction) -> Policy:
    ends = Selector.parse(source), Selector.parse(destination)
    return Policy(also.get("direction", Direction.OUT), *ends, "", "", 0, action=action, priority=priority)


def both_ways(action: Action, left: str, right: str, priority: int | None = 100) -> list[AddPolicy]:
    """As they lie at the left end."""
    policies = [shunt(action, left, right, priority)]
    for direction in (Direction.IN, Direction.FORWARD):
        policies.append(shunt(action, right, left, priority, direction=direction))
    return [AddPolicy(policy) for policy in policies]


def protected(site: Site) -> int:
    """The packets that went out under ESP."""
    counters = site.plane.counters()
    return sum(counters[state.key].packets for state in site.plane.states() if not state.inbound)


@pytest.mark.parametrize("version", [4, 6])
def test_a_shunt_that_drops_wins_over_a_child_and_one_that_passes_over_that(
    sites: tuple[Site, Site], version: int
) -> None:
    left, right = sites
    child = Child(sites, outer=version, inner=version).install()
    assert child.pings()
    everything = ("10.0.0.0/8", "10.0.0.0/8") if version == 4 else ("fc00::/7", "fc00::/7")
    drops = both_ways(Action.DROP, *everything)
    left.plane.apply(drops)
    assert not left.ns.ping(HOSTS[version][1], source=HOSTS[version][0], wait=0.3)
    assert protected(left) == 1
    if version == 6:  # unlike ARP, neighbour discovery answers for the addresses of a device alone
        for site, device, host in ((left, "to-right", "fd02::1"), (right, "to-left", "fd01::1")):
            other, its = (right, "to-left") if site is left else (left, "to-right")
            mac = other.ns.run("cat", f"/sys/class/net/{its}/address").stdout.strip()
            site.ns.ip("neighbour", "replace", host, "lladdr", mac, "dev", device)
    # In the clear, which takes both ends: what arrives without protection is refused where a policy wants it.
    passes = both_ways(Action.PASS, *HOSTS[version], 99)
    left.plane.apply(passes)
    assert not left.ns.ping(HOSTS[version][1], source=HOSTS[version][0], wait=0.3)
    swapped = [
        AddPolicy(order.policy._replace(source=order.policy.destination, destination=order.policy.source))
        for order in passes
    ]
    right.plane.apply(swapped)
    assert left.ns.ping(HOSTS[version][1], source=HOSTS[version][0])
    assert (protected(left), protected(right)) == (1, 1)
    left.plane.apply([RemovePolicy(order.policy) for order in (*drops, *passes)])
    right.plane.apply([RemovePolicy(order.policy) for order in swapped])
    assert child.pings()
    assert protected(left) == 2


@pytest.mark.parametrize("direction", [Direction.IN, Direction.FORWARD])
def test_what_comes_in_or_is_forwarded_is_dropped_by_its_own_policy(
    sites: tuple[Site, Site], direction: Direction
) -> None:
    left, right = sites
    left.plane.apply([AddPolicy(shunt(Action.DROP, "192.0.2.2", "0.0.0.0/0", direction=direction))])
    reached = right.ns.ping(OUTER[4][0], source=OUTER[4][1], wait=0.3)
    assert reached is (direction is Direction.FORWARD)
    # The router's own address beyond it: forwarded to nobody, but refused before that.
    right.ns.route("10.99.0.0/24", "via", "192.0.2.1")
    left.ns.ip("link", "add", "beyond", "type", "dummy")
    left.ns.address("beyond", "10.99.0.1/24")
    left.ns.ip("link", "set", "beyond", "up")
    try:
        right.ns.ping("10.99.0.77", source=OUTER[4][1], wait=0.3)
        counted = left.ns.run("cat", "/sys/class/net/beyond/statistics/tx_packets").stdout
        assert direction is Direction.IN or int(counted) == 0
    finally:
        left.ns.ip("link", "delete", "beyond")
        right.ns.ip("route", "delete", "10.99.0.0/24")


def test_a_tunnel_that_is_down_drops_and_comes_up_in_one_step(sites: tuple[Site, Site]) -> None:
    left, right = sites
    child = Child(sites)
    down = [policy._replace(action=Action.DROP, spi=None) for policy in Child(sites, spis=[1, 2]).policies(0)]
    left.plane.apply([AddPolicy(policy) for policy in down])
    right.ns.route("10.1.0.0/24", "via", "192.0.2.1")
    left.ns.route("10.2.0.0/24", "via", "192.0.2.2")
    try:
        assert not left.ns.ping("10.2.0.1", source="10.1.0.1", wait=0.3)
        assert not right.ns.ping("10.1.0.1", source="10.2.0.1", wait=0.3), "nor in the clear from there"
        child.install()
        assert child.pings(count=2)
        left.plane.apply([AddPolicy(policy) for policy in down])
        assert not left.ns.ping("10.2.0.1", source="10.1.0.1", wait=0.3)
        left.plane.apply([AddPolicy(policy) for policy in child.policies(0)])
        assert child.pings()
        assert protected(left) == 3
    finally:
        right.ns.ip("route", "delete", "10.1.0.0/24")
        left.ns.ip("route", "delete", "10.2.0.0/24")


def test_a_wide_drop_without_a_priority_leaves_a_narrower_child_alone(sites: tuple[Site, Site]) -> None:
    """So the rest of two nets can be shut while a child carries one protocol of them."""
    left, right = sites
    Child(sites, selectors=("10.1.0.0/24[tcp]", "10.2.0.0/24[tcp/7000]")).install()
    left.plane.apply(both_ways(Action.DROP, "10.1.0.0/24", "10.2.0.0/24", None))
    assert not left.ns.ping("10.2.0.1", source="10.1.0.1", wait=0.3)
    with right.ns.entered():
        server = socket.create_server(("10.2.0.1", 7000))
        other = socket.create_server(("10.2.0.1", 7001))
    with server, other:
        for port, reached in ((7000, True), (7001, False)):
            with left.ns.entered():
                client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            with client:
                client.settimeout(1)
                client.bind(("10.1.0.1", 0))
                assert (client.connect_ex(("10.2.0.1", port)) == 0) is reached
    assert protected(left) >= 2


@pytest.mark.parametrize("version", [4, 6])
def test_ike_passes_though_everything_is_dropped(sites: tuple[Site, Site], version: int) -> None:
    left, right = sites
    all_of_it = "0.0.0.0/0" if version == 4 else "::/0"
    left.plane.apply(both_ways(Action.DROP, all_of_it, all_of_it, 0))
    with contextlib.ExitStack() as stack:
        sockets = []
        for site, port in ((left, 500), (left, 501), (right, 500)):
            with site.ns.entered():
                sock = stack.enter_context(
                    socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
                )
            sock.bind((site.outer(version), port))
            sock.settimeout(1)
            sockets.append(sock)
        ours, another, theirs = sockets
        left.plane.exempt(ours)
        with contextlib.suppress(OSError):
            another.sendto(b"leak", (right.outer(version), 500))
        ours.sendto(b"question", (right.outer(version), 500))
        assert theirs.recv(100) == b"question"
        theirs.sendto(b"answer", (left.outer(version), 500))
        assert ours.recv(100) == b"answer"
        theirs.sendto(b"more", (left.outer(version), 501))
        with pytest.raises(TimeoutError):
            another.recv(100)
