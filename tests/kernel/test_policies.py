"""Policies in a real kernel: what they match, who wins, whose they are."""

import os
import re
import signal
import subprocess
import sys
import textwrap

import pytest

from gateway.ike.plane import (
    AddPolicy,
    AddState,
    Direction,
    Policy,
    Refused,
    RemovePolicy,
)
from gateway.policy.selectors import Selector
from tests.kernel.conftest import Child, Site
from tests.lab.in_kernel import in_kernel

pytestmark = [in_kernel, pytest.mark.requires("root", "netns", "esp")]

US, THEM = "192.0.2.1", "192.0.2.2"


def out(source: str, destination: str, reqid: int = 1, spi: int | None = None) -> Policy:
    return Policy(Direction.OUT, Selector.parse(source), Selector.parse(destination), US, THEM, reqid, spi)


def shown(site: Site) -> list[str]:
    """Every policy that `ip xfrm policy` shows, each on one line."""
    lines = [" ".join(part.split()) for part in re.split(r"\n(?=src )", site.ns.ip("xfrm", "policy")) if part.strip()]
    return [line for line in lines if "priority 1 ptype" not in line]  # neighbour discovery's exemption


def test_the_three_policies_of_a_child_as_ip_shows_them(sites: tuple[Site, Site]) -> None:
    child = Child(sites, reqid=5).install()
    spi = child.spis[1]
    pinned = f"proto esp spi 0x{spi:08x} reqid 5 mode tunnel"
    priority = 2 + 20_001 * 200_000 + 175_424  # behind every shunt
    tail = "proto esp reqid 5 mode tunnel"
    assert sorted(shown(sites[0])) == sorted(
        [
            f"src 10.1.0.0/24 dst 10.2.0.0/24 dir out priority {priority} ptype main tmpl src {US} dst {THEM} {pinned}",
            f"src 10.2.0.0/24 dst 10.1.0.0/24 dir fwd priority {priority} ptype main tmpl src {THEM} dst {US} {tail}",
            f"src 10.2.0.0/24 dst 10.1.0.0/24 dir in priority {priority} ptype main tmpl src {THEM} dst {US} {tail}",
        ]
    )
    assert set(sites[0].plane.policies()) == set(child.policies(0))


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        ("10.1.0.0/16[tcp/443]", "10.2.0.0/16[tcp]", ["proto tcp sport 443"]),
        ("10.1.0.0/16[udp]", "10.2.0.0/16[udp/53]", ["proto udp dport 53"]),
        ("10.1.0.0/16[gre]", "10.2.0.0/16[gre]", ["proto gre"]),
        ("10.1.0.0/16[icmp/2048-2303]", "10.2.0.0/16[icmp]", ["proto icmp type 8"]),
        ("fd01::/64[icmpv6/32768]", "fd02::/64[icmpv6]", ["proto ipv6-icmp type 128 code 0"]),
    ],
)
def test_protocols_and_ports_as_ip_shows_them(
    sites: tuple[Site, Site], source: str, destination: str, expected: list[str]
) -> None:
    policy = out(source, destination)
    sites[0].plane.apply([AddPolicy(policy)])
    assert [line.split(" dir ")[0].split("dst ")[1].split(" ", 1)[1] for line in shown(sites[0])] == expected
    assert sites[0].plane.policies() == [policy]
    sites[0].plane.apply([RemovePolicy(policy)])
    assert shown(sites[0]) == []


def test_ranges_become_the_prefixes_that_cover_them(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    policy = out("10.1.0.1-10.1.0.6", "10.2.0.0/24[tcp/1024-65535]")
    left.plane.apply([AddPolicy(policy)])
    sources = {"10.1.0.1/32", "10.1.0.2/31", "10.1.0.4/31", "10.1.0.6/32"}
    lines = shown(left)
    assert {line.split()[1] for line in lines} == sources
    assert len(lines) == 4 * 6  # 1024-2047, 2048-4095, 4096-8191, 8192-16383, 16384-32767, 32768-65535
    assert left.plane.policies() == [policy]
    left.plane.apply([RemovePolicy(policy)])
    assert shown(left) == []


def test_too_many_prefixes_are_refused_with_their_number(sites: tuple[Site, Site]) -> None:
    wide = out("10.1.0.1-10.1.255.254[tcp/1-65534]", "10.2.0.1-10.2.255.254")
    with pytest.raises(Refused, match=r"need 30 x 30 x 30 of them; at most 256 are allowed"):
        sites[0].plane.apply([AddPolicy(wide)])
    assert shown(sites[0]) == []


def test_ordering_it_again_replaces_and_keeps_its_place(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    left.plane.apply([AddPolicy(out("10.1.0.0/24", "10.2.0.0/24", 1))])
    left.plane.apply([AddPolicy(out("10.1.0.0/24", "10.2.0.0/24", 2, 0xC0000001))])
    (line,) = shown(left)
    assert line.endswith("spi 0xc0000001 reqid 2 mode tunnel")
    assert left.plane.policies() == [out("10.1.0.0/24", "10.2.0.0/24", 2, 0xC0000001)]
    left.plane.apply([RemovePolicy(out("10.1.0.0/24", "10.2.0.0/24", 1))])
    assert shown(left) == []


def test_a_replacement_that_fails_with_its_batch_is_put_back(sites: tuple[Site, Site]) -> None:
    child = Child(sites)
    child.allocate()
    left = sites[0]
    first, second = out("10.1.0.0/24", "10.2.0.0/24", 1), out("10.1.0.0/24", "10.2.0.0/24", 2)
    state = AddState(child.state(0, inbound=False))
    left.plane.apply([AddPolicy(first), state])
    before = shown(left)
    with pytest.raises(Refused):
        left.plane.apply([AddPolicy(second), RemovePolicy(second), AddPolicy(second), state])
    assert shown(left) == before
    assert left.plane.policies() == [first]
    left.plane.apply([RemovePolicy(first)])
    assert shown(left) == []


def test_two_of_ours_that_share_a_prefix_do_not_remove_it_for_each_other(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    first, second = out("10.1.0.0-10.1.0.4", "10.2.0.0/24", 1), out("10.1.0.4", "10.2.0.0/24", 2)
    left.plane.apply([AddPolicy(first), AddPolicy(second)])
    shared = [line for line in shown(left) if line.startswith("src 10.1.0.4/32")]
    assert len(shared) == 1
    assert "reqid 2" in shared[0]
    left.plane.apply([AddPolicy(first)])  # stays behind the later one
    assert set(left.plane.policies()) == {first, second}
    left.plane.apply([RemovePolicy(second)])
    (shared,) = ([line for line in shown(left) if line.startswith("src 10.1.0.4/32")],)
    assert "reqid 1" in shared[0]
    left.plane.apply([RemovePolicy(first)])
    assert shown(left) == []


def test_the_narrower_selector_wins(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    pairs = [
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("10.1.0.0/16", "0.0.0.0/0"),
        ("10.1.0.0/16", "10.2.0.0/16"),
        ("10.1.0.0/16[tcp]", "10.2.0.0/16[tcp]"),
        ("10.1.0.0/16[tcp]", "10.2.0.0/16[tcp/443]"),
        ("10.1.0.0/16", "10.2.0.0/17"),
        ("10.1.0.1", "10.2.0.1"),
    ]
    left.plane.apply([AddPolicy(out(*pair)) for pair in pairs])
    found = {tuple(line.split()[1:4:2]): int(line.split("priority ")[1].split()[0]) for line in shown(left)}
    assert len(shown(left)) == len(pairs)
    priorities = [int(line.split("priority ")[1].split()[0]) for line in shown(left)]
    assert len(set(priorities)) == len(pairs)
    assert found["0.0.0.0/0", "0.0.0.0/0"] > found["10.1.0.0/16", "0.0.0.0/0"] > found["10.1.0.0/16", "10.2.0.0/17"]
    assert found["10.1.0.1/32", "10.2.0.1/32"] == min(priorities)


def test_anothers_policy_for_the_same_traffic_stays_and_ours_is_refused(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    left.ns.ip("xfrm", "policy", "add", *"src 10.1.0.0/24 dst 10.2.0.0/24 dir out action block".split())
    before = shown(left)
    policy = out("10.1.0.0/24", "10.2.0.0/24")
    with pytest.raises(Refused, match=r"adding policy out 10\.1\.0\.0/24 to 10\.2\.0\.0/24: the kernel says .*EEXIST"):
        left.plane.apply([AddPolicy(policy)])
    left.plane.apply([RemovePolicy(policy)])
    assert shown(left) == before
    assert left.plane.policies() == []


def exemptions(site: Site) -> list[str]:
    return sorted(line.split("proto ")[1] for line in site.ns.ip("xfrm", "policy").split("\nsrc") if "type 13" in line)


def test_neighbour_discovery_is_exempt_as_long_as_there_is_a_policy_for_ipv6(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    first, second = out("fd01::/64", "fd02::/64"), out("fd01::/64", "fd03::/64")
    left.plane.apply([AddPolicy(out("10.1.0.0/24", "10.2.0.0/24"))])
    assert exemptions(left) == []
    left.plane.apply([AddPolicy(first), AddPolicy(second)])
    assert len(exemptions(left)) == 6
    assert len(left.plane.policies()) == 3
    left.plane.apply([RemovePolicy(first)])
    assert len(exemptions(left)) == 6
    left.plane.apply([RemovePolicy(second)])
    assert exemptions(left) == []


def test_an_exemption_that_another_made_stays(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    left.ns.ip("xfrm", "policy", "add", *"src ::/0 dst ::/0 proto ipv6-icmp type 133 dir in action allow".split())
    before = left.ns.ip("xfrm", "policy")
    policy = out("fd01::/64", "fd02::/64")
    left.plane.apply([AddPolicy(policy)])
    left.plane.apply([RemovePolicy(policy)])
    assert left.ns.ip("xfrm", "policy") == before


KILLED = """
    import sys, time
    from gateway.dataplane.kernel import KernelPlane
    from gateway.ike.plane import AddPolicy, AddRoute, AddState, Direction, EspState, Policy, Route
    from gateway.crypto.suites import by_keyword
    from gateway.policy.selectors import Selector
    plane = KernelPlane()
    ours, theirs = Selector.parse("10.1.0.0/24"), Selector.parse("10.2.0.0/24")
    spi = plane.allocate_spi("192.0.2.2", "192.0.2.1")
    plane.apply([
        AddState(EspState(spi, "192.0.2.2", "192.0.2.1", True, 1, by_keyword("aes256gcm16"), bytes(36))),
        AddPolicy(Policy(Direction.IN, theirs, ours, "192.0.2.2", "192.0.2.1", 1)),
        AddPolicy(Policy(Direction.OUT, ours, theirs, "192.0.2.1", "192.0.2.2", 1)),
        AddRoute(Route(theirs, (ours,), "192.0.2.2")),
    ])
    print("ready", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_swept_and_nothing_else(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    left.ns.ip("xfrm", "policy", "add", *"src 10.77.0.0/16 dst 10.78.0.0/16 dir out action block".split())
    survivors = Policy(Direction.FORWARD, Selector.parse("10.8.0.0/16"), Selector.parse("10.9.0.0/16"), THEM, US, 8)
    left.plane.apply([AddPolicy(survivors)])
    command = left.ns.command(sys.executable, "-c", textwrap.dedent(KILLED))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "ready\n"
        with left.ns.entered():
            assert left.plane.sweep() == ""  # it lives
        assert len(shown(left)) == 4
        assert "10.2.0.0/24" in left.ns.ip("route", "show", "table", "7296")
        os.kill(other.pid, signal.SIGKILL)
    assert len(shown(left)) == 4
    with left.ns.entered():
        sentence = left.plane.sweep()
    assert sentence == "removed 1 states, 2 policies and 2 routes that an earlier process left"
    assert sorted(line.split()[1] for line in shown(left)) == ["10.77.0.0/16", "10.8.0.0/16"]
    assert left.xfrm("state") == ""
    assert left.ns.ip("route", "show", "table", "all").count("7296") == 0
    assert "7296" not in left.ns.ip("rule")
