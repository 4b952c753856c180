"""What the userspace data plane lets neither out nor in past its device, and what it leaves alone, in namespaces."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.dataplane.userspace import UserspacePlane
from gateway.ike.plane import (
    Action,
    AddPolicy,
    AddressRules,
    AddRoute,
    Direction,
    LayRules,
    Order,
    Policy,
    RemovePolicy,
    RemoveRoute,
    Route,
)
from gateway.ike.plane_protocol import Mended
from gateway.policy.selectors import Selector
from tests.dataplane.test_userspace_shunts import leaves_by, policy, rules
from tests.dataplane.userspace_sites import ends
from tests.lab.namespaces import Namespace, Network, two_sites

pytestmark = pytest.mark.requires("root", "tun", "netns", "ping")

OURS, THEIRS = "10.1.0.0/24", "10.2.0.0/24"
OURS6, THEIRS6 = "fd01::/64", "fd02::/64"


def both_ways(local: str, remote: str, action: Action = Action.PROTECT, priority: int | None = None) -> list[Policy]:
    """What a child or a shunt lays: out, in and forward."""
    out = policy(local, remote, action, priority)
    if action is Action.PROTECT:
        out = out._replace(tunnel_source="192.0.2.1", tunnel_destination="192.0.2.2", reqid=1, spi=0x1002)
    back = out._replace(source=out.destination, destination=out.source, spi=None)
    return [out, back._replace(direction=Direction.IN), back._replace(direction=Direction.FORWARD)]


def laying(policies: list[Policy]) -> list[Order]:
    return [AddPolicy(one) for one in policies]


@pytest.fixture
def sites(network: Network) -> tuple[Namespace, Namespace, Namespace]:
    """Left and right on a cable, each with a way to the other's net, and a host 10.1.0.5 on left's own net."""
    left, right = two_sites(network)
    lan = network.namespace("lan", forward=False)
    network.link(left, lan, "10.1.0.254/24 fd01::fe/64", "10.1.0.5/24 fd01::5/64")
    left.ip("address", "delete", "10.1.0.1/24", "dev", "lo")
    left.ip("address", "delete", "fd01::1/64", "dev", "lo")
    lan.route("default", "via", "10.1.0.254")
    lan.route("::/0", "via", "fd01::fe")
    for site, net, net6, way, way6 in (
        (left, "10.0.0.0/8", "fd02::/64", "192.0.2.2", "2001:db8::2"),
        (right, "10.1.0.0/24", "fd01::/64", "192.0.2.1", "2001:db8::1"),
    ):
        site.route(net, "via", way)
        site.route(net6, "via", way6)
    for site, address in ((left, "2001:db8::2"), (lan, "fd01::fe")):
        assert any(site.ping(address, wait=0.5) for _ in range(20)), "the kernel takes its time with a new link"
    return left, right, lan


@pytest.fixture
def plane(sites: tuple[Namespace, Namespace, Namespace]) -> Iterator[UserspacePlane]:
    with sites[0].entered():
        made = UserspacePlane()
    yield made
    made.close()
    assert rules(sites[0]) == []
    assert "ikegate" not in sites[0].run("nft", "list", "ruleset").stdout


def arrives(sender: Namespace, receiver: Namespace, source: str, target: str) -> bool:
    """Whether a datagram gets through one way, whatever becomes of an answer."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with contextlib.ExitStack() as stack:
        made = []
        for site, address in ((sender, source), (receiver, target)):
            with site.entered():
                made.append(stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)))
            made[-1].bind((address, 0))
        sending, receiving = made
        receiving.settimeout(0.3)
        try:
            sending.sendto(b"in the clear", receiving.getsockname()[:2])
            return receiving.recv(100) == b"in the clear"
        except (TimeoutError, OSError):
            return False


@pytest.mark.parametrize("action", [Action.PROTECT, Action.DROP], ids=["up", "down"])
def test_nothing_of_a_child_comes_in_in_the_clear(
    sites: tuple[Namespace, Namespace, Namespace], plane: UserspacePlane, action: Action
) -> None:
    """Neither for this machine itself nor for a host behind it, whether the tunnel stands or not."""
    left, right, lan = sites
    ways = [("10.2.0.1", left, "10.1.0.254"), ("10.2.0.1", lan, "10.1.0.5")]
    ways += [("fd02::1", left, "fd01::fe"), ("fd02::1", lan, "fd01::5")]
    for source, receiver, target in ways:
        assert arrives(right, receiver, source, target), "a way that there never was"
    laid = both_ways(OURS, THEIRS, action) + both_ways(OURS6, THEIRS6, action)
    plane.apply(laying(laid))
    plane.settle()
    assert [arrives(right, receiver, source, target) for source, receiver, target in ways] == [False] * 4
    assert arrives(right, left, "192.0.2.2", "10.1.0.254"), "what no policy names is a firewall's matter"
    plane.apply([RemovePolicy(one) for one in laid])
    plane.settle()
    assert all(arrives(right, receiver, source, target) for source, receiver, target in ways)


def test_nothing_of_a_child_goes_out_past_the_device(
    sites: tuple[Namespace, Namespace, Namespace], plane: UserspacePlane
) -> None:
    """Whatever rule of another's leads it elsewhere."""
    left, right, lan = sites
    plane.apply(
        [*laying(both_ways(OURS, THEIRS)), AddRoute(Route(Selector.parse(THEIRS), (Selector.parse(OURS),), ""))]
    )
    left.ip("rule", "add", "to", THEIRS, "lookup", "main", "priority", "100")
    try:
        assert leaves_by(left, "10.1.0.254", "10.2.0.1") == "to-right"
        plane.settle()
        assert not arrives(left, right, "10.1.0.254", "10.2.0.1")
        assert not arrives(lan, right, "10.1.0.5", "10.2.0.1")
        plane.apply(laying(both_ways("10.1.0.5", THEIRS, Action.PASS, 7)))
        plane.settle()
        assert arrives(lan, right, "10.1.0.5", "10.2.0.1"), "a shunt goes first"
        assert not arrives(left, right, "10.1.0.254", "10.2.0.1")
    finally:
        left.ip("rule", "delete", "priority", "100")


def test_shunts_hold_inward_by_their_order_protocol_and_ports(
    sites: tuple[Namespace, Namespace, Namespace], plane: UserspacePlane
) -> None:
    left, right, _ = sites
    plane.apply(laying(both_ways(OURS, THEIRS, Action.DROP, 5)))
    plane.apply(laying(both_ways("10.1.0.0/24[icmp]", "10.2.0.0/24[icmp]", Action.PASS, 4)))
    plane.settle()
    assert not arrives(right, left, "10.2.0.1", "10.1.0.254")
    assert right.ping("10.1.0.254", source="10.2.0.1")
    echo = policy("10.2.0.0/24[icmp/8]", "10.1.0.0/24[icmp/8]", Action.DROP)._replace(direction=Direction.IN)
    plane.apply([AddPolicy(echo), AddPolicy(policy("10.9.0.0/24[udp/1-7]", "10.8.0.0/24[udp/9]", Action.DROP))])
    plane.settle()
    assert right.ping("10.1.0.254", source="10.2.0.1"), "what lets pass comes first"
    plane.apply([RemovePolicy(one) for one in both_ways("10.1.0.0/24[icmp]", "10.2.0.0/24[icmp]", Action.PASS, 4)])
    plane.apply([RemovePolicy(one) for one in both_ways(OURS, THEIRS, Action.DROP, 5)])
    plane.settle()
    assert not right.ping("10.1.0.254", source="10.2.0.1", wait=0.3), "echo requests are dropped by their type"
    assert arrives(right, left, "10.2.0.1", "10.1.0.254")


def test_a_child_for_everything_leaves_alone_what_is_not_its_own(
    sites: tuple[Namespace, Namespace, Namespace], plane: UserspacePlane, network: Network
) -> None:
    """This machine's traffic from its outer address, another network behind it, and the child's own side."""
    left, right, lan = sites
    guests = network.namespace("guests", forward=False)
    network.link(left, guests, "10.7.0.254/24", "10.7.0.5/24")
    guests.route("default", "via", "10.7.0.254")
    right.route("10.7.0.0/24", "via", "192.0.2.1")
    everything = Route(Selector.parse("0.0.0.0/0"), (Selector.parse(OURS),), "192.0.2.9")
    sixth = Route(Selector.parse("::/0"), (Selector.parse(OURS6),), "2001:db8::9")
    plane.apply(
        [*laying(both_ways(OURS, "0.0.0.0/0") + both_ways(OURS6, "::/0")), AddRoute(everything), AddRoute(sixth)]
    )
    plane.settle()
    assert leaves_by(left, "10.1.0.254", "203.0.113.1") == "ikegate0"
    assert leaves_by(left, "fd01::fe", "2001:db8:f::1") == "ikegate0"
    assert "dev ikegate0 table 45000001 src 10.1.0.254" in left.ip("route", "get", "203.0.113.1"), (
        "of a socket without an address"
    )
    assert "dev ikegate0" in left.ip("route", "get", "2001:db8:f::1")
    assert arrives(left, right, "192.0.2.1", "10.2.0.1"), "from our outer address to another host"
    assert arrives(left, right, "2001:db8::1", "fd02::1")
    assert arrives(guests, right, "10.7.0.5", "10.2.0.1"), "forwarded for another network"
    assert arrives(lan, left, "10.1.0.5", "10.1.0.254"), "our own side hears us"
    assert arrives(left, lan, "10.1.0.254", "10.1.0.5"), "and we it"
    assert arrives(left, lan, "fd01::fe", "fd01::5")
    assert not arrives(lan, right, "10.1.0.5", "192.0.2.2"), "all else of this side goes into the tunnel alone"
    assert not arrives(right, lan, "192.0.2.2", "10.1.0.5")
    another = Route(Selector.parse("10.2.0.0/24"), (Selector.parse("10.7.0.0/24"),), "192.0.2.9")
    plane.apply([AddRoute(another)])
    assert leaves_by(left, "10.7.0.254", "10.2.0.1") == "ikegate0"
    assert leaves_by(left, "10.7.0.254", "203.0.113.1") == "nowhere"
    plane.apply([RemoveRoute(another), RemoveRoute(everything), RemoveRoute(sixth)])
    assert leaves_by(left, "10.7.0.254", "10.2.0.1") == "to-right"
    assert rules(left) == []


def test_a_host_behind_us_hears_the_whole_world_through_a_tunnel_for_everything(
    sites: tuple[Namespace, Namespace, Namespace],
) -> None:
    left, right, lan = sites
    right.address("lo", "203.0.113.9/32", "2001:db8:f::9/128")
    ours, all_there_is = [OURS, OURS6], ["0.0.0.0/0", "::/0"]
    theirs: dict[str, Any] = {"left_ours": ours, "left_theirs": all_there_is, "ours": all_there_is, "theirs": ours}
    with ends(left, right, **theirs):
        assert lan.ping("203.0.113.9")
        assert lan.ping("2001:db8:f::9")
        assert right.ping("10.1.0.5", source="203.0.113.9"), "and is heard"


KILLED = """
    import os, signal
    from tests.dataplane.test_userspace_clear import *
    plane = UserspacePlane()
    plane.apply(laying(both_ways(OURS, THEIRS)))
    plane.apply([AddRoute(Route(Selector.parse("0.0.0.0/0"), (Selector.parse(OURS),), "192.0.2.9"))])
    plane.settle()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_protected_stays_shut_when_the_process_is_killed(
    sites: tuple[Namespace, Namespace, Namespace],
) -> None:
    left, right, lan = sites
    done = subprocess.run(left.command(sys.executable, "-c", textwrap.dedent(KILLED)), check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert not arrives(right, lan, "10.2.0.1", "10.1.0.5")
    assert not arrives(lan, right, "10.1.0.5", "10.2.0.1")
    with left.entered():
        plane = UserspacePlane()
    assert rules(left) == []
    assert "throw" not in left.ip("route", "show", "table", "all")
    assert not arrives(right, lan, "10.2.0.1", "10.1.0.5"), "not yet: nobody knows what will be wanted"
    plane.apply(laying(both_ways("10.1.0.9", THEIRS)))
    plane.settle()
    assert not arrives(right, lan, "10.2.0.1", "10.1.0.5"), "not yet: more may be wanted"
    plane.sweep()
    plane.settle()
    assert arrives(right, lan, "10.2.0.1", "10.1.0.5")
    plane.close()
    assert "ikegate" not in left.run("nft", "list", "ruleset").stdout


KILLED_WITH_RULES = """
    import os, signal
    from tests.dataplane.test_userspace_clear import *
    planes = [UserspacePlane(), UserspacePlane()]
    for plane in planes:
        plane.apply([LayRules(AddressRules("10.9.0.2", None))])
    print(*(plane.device for plane in planes))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_rules_of_access_profiles_go_with_the_device_that_is_gone_and_no_others(
    sites: tuple[Namespace, Namespace, Namespace], plane: UserspacePlane
) -> None:
    left, _, _ = sites
    plane.apply([LayRules(AddressRules("10.9.0.3", None))])
    left.run("nft", "add", "table", "inet", "ikegate_access_7296")  # of the kernel's plane
    done = subprocess.run(left.command(sys.executable, "-c", textwrap.dedent(KILLED_WITH_RULES)), check=False)
    assert done.returncode == -signal.SIGKILL
    tables = left.run("nft", "list", "tables").stdout
    assert tables.count("ikegate_access") == 4
    with left.entered():
        following = UserspacePlane()
    tables = left.run("nft", "list", "tables").stdout
    following.close()
    left.run("nft", "delete", "table", "inet", "ikegate_access_7296")
    assert following.device == "ikegate1"
    assert sorted(re.findall(r"ikegate_access_(\w+)", tables)) == ["7296", plane.device]


def test_a_machine_without_nft_is_told_of(
    sites: tuple[Namespace, Namespace, Namespace], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.dataplane.nft._BESIDE", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    with sites[0].entered():
        plane = UserspacePlane()
    plane.apply(laying(both_ways(OURS, THEIRS)))
    plane.apply(laying(both_ways(OURS6, THEIRS6)))
    plane.settle()
    plane.close()
    assert caplog.text.count("what a tunnel protects may come in in the clear, past the tunnel: the command nft") == 1


def ways(site: Namespace) -> str:
    """Our routes, in an order that does not depend on when they were laid."""
    return "\n".join(sorted(line for line in site.ip("route", "show", "table", "all").splitlines() if "4500" in line))


def test_what_somebody_removed_is_put_back(
    sites: tuple[Namespace, Namespace, Namespace], plane: UserspacePlane
) -> None:
    left, _, _ = sites
    there, sixth = (Route(Selector.parse(a), (Selector.parse(b),), "") for a, b in ((THEIRS, OURS), (THEIRS6, OURS6)))
    plane.apply([*laying(both_ways(OURS, THEIRS)), AddRoute(there), AddRoute(sixth)])
    plane.settle()
    tables = ways(left)
    before = rules(left), tables, left.run("nft", "list", "ruleset").stdout
    assert plane.mend().routes == 0
    left.run("nft", "flush", "ruleset")
    for table in re.findall(r"dev ikegate0 table (\d+)", tables):
        for family in ("-4", "-6"):
            left.run("ip", family, "route", "flush", "table", table, check=False)
    for line in before[0]:
        for family in ("-4", "-6"):
            left.run("ip", family, "rule", "delete", "priority", line.split(":")[0], check=False)
    assert leaves_by(left, "10.1.0.254", "10.2.0.1") == "to-right"
    assert plane.mend().routes > 0
    plane.settle()
    assert ways(left) == tables
    assert left.run("nft", "list", "ruleset").stdout == before[2]
    assert sorted(rules(left)) == sorted(before[0])
    assert leaves_by(left, "10.1.0.254", "10.2.0.1") == "ikegate0"
    left.ip("address", "add", "10.1.0.77/32", "dev", "lo")
    left.ip("address", "delete", "10.1.0.254/24", "dev", "to-lan")
    assert plane.mend().routes == 1
    assert "src 10.1.0.77" in left.ip("route", "get", "10.2.0.1"), "our addresses are others now"


@pytest.mark.parametrize(
    "words", ["flush ruleset", "delete table inet ikegate_clear_0", "flush table inet ikegate_clear_0"]
)
def test_rules_that_another_program_removed_are_laid_again_at_the_next_look(
    sites: tuple[Namespace, Namespace, Namespace], plane: UserspacePlane, words: str
) -> None:
    """Nobody tells of that, and what is protected could come in in the clear."""
    left, _, _ = sites

    def look() -> bool:
        plane.look()
        plane.settle()
        return plane.look()

    plane.apply(laying(both_ways(OURS, THEIRS)))
    plane.settle()
    before = left.run("nft", "list", "ruleset").stdout
    assert not look()
    left.run("nft", *words.split())
    assert look()
    assert left.run("nft", "list", "ruleset").stdout == before
    assert plane.mend() == Mended(tables=1)
    assert not look()
    assert plane.mend() == Mended()


def test_what_a_killed_process_left_drops_until_what_is_wanted_is_ordered(
    sites: tuple[Namespace, Namespace, Namespace],
) -> None:
    left, _, _ = sites
    rule = f"ip saddr {OURS} ip daddr {THEIRS} drop"
    left.run("nft", "add", "table", "inet", "ikegate_clear_0")
    chain = "{ type filter hook output priority mangle; }"
    left.run("nft", "add", "chain", "inet", "ikegate_clear_0", "output", chain)
    left.run("nft", "add", "rule", "inet", "ikegate_clear_0", "output", *rule.split())
    with left.entered():
        plane = UserspacePlane()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock, contextlib.closing(plane):
        sock.bind(("0.0.0.0", 0))
        plane.exempt(sock)
        plane.settle()
        assert rule in left.run("nft", "list", "ruleset").stdout
        plane.apply(laying(both_ways(OURS6, THEIRS6)))
        plane.settle()
        assert rule in left.run("nft", "list", "ruleset").stdout, "more is to come"
        plane.sweep()
        plane.settle()
        after = left.run("nft", "list", "ruleset").stdout
        assert rule not in after
        assert "fd01::-" in after
    assert left.run("nft", "list", "ruleset").stdout == ""
