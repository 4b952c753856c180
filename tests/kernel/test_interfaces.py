"""XFRM interfaces and what leads through them, in a kernel that has them (CONFIG_XFRM_INTERFACE)."""

import re
import signal
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from gateway.ike.plane import (
    AddInterface,
    AddPolicy,
    AddRoute,
    AddState,
    Interface,
    Refused,
    RemoveInterface,
    RemoveRoute,
    Route,
)
from gateway.ike.plane_events import Acquire
from gateway.policy.selectors import Selector
from tests.kernel.conftest import Child, Site, told
from tests.lab.in_kernel import in_kernel

pytestmark = [in_kernel, pytest.mark.requires("root", "netns", "esp", "ping")]

IPSEC7 = Interface("ipsec7", 7)


@pytest.fixture
def sites(sites: tuple[Site, Site]) -> tuple[Site, Site]:
    why = ""
    try:
        sites[0].plane.apply([AddInterface(IPSEC7)])
    except Refused as refused:
        why = refused.why
    if why:
        assert why == "the interface ipsec7: this kernel has no XFRM interfaces (CONFIG_XFRM_INTERFACE, Linux 4.19)"
        assert links(sites[0]) == {}
        pytest.skip("this kernel has no XFRM interfaces")
    sites[0].plane.apply([RemoveInterface(IPSEC7)])
    return sites


def links(site: Site) -> dict[str, str]:
    """Every XFRM interface and what `ip link` says of it."""
    lines = [" ".join(part.split()) for part in re.split(r"\n(?=\d+: )", site.ns.ip("-d", "link"))]
    return {line.split(": ")[1].split("@")[0]: line for line in lines if " xfrm " in line or "xfrm if_id" in line}


def test_it_is_there_and_up_as_long_as_somebody_wants_it(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    left.plane.apply([AddInterface(IPSEC7)])
    left.plane.apply([AddInterface(IPSEC7)])
    line = links(left)["ipsec7"]
    assert "if_id 0x7" in line
    assert "UP" in line.split(">")[0]
    assert "alias ikegate" in line
    assert "fe80" not in left.ns.ip("address", "show", "dev", "ipsec7")
    left.plane.apply([RemoveInterface(IPSEC7)])
    assert "ipsec7" in links(left)
    left.plane.apply([AddInterface(IPSEC7), RemoveInterface(IPSEC7), RemoveInterface(IPSEC7)])
    assert links(left) == {}
    left.plane.apply([RemoveInterface(IPSEC7)])


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("inner", [4, 6])
def test_what_is_routed_into_it_is_protected_and_nothing_else(sites: tuple[Site, Site], outer: int, inner: int) -> None:
    """All traffic is in the selectors; the route alone says what goes in. Two children share them."""
    left, right = sites
    everything = ("0.0.0.0/0", "0.0.0.0/0") if inner == 4 else ("::/0", "::/0")
    children = []
    for number in (7, 8):
        also: dict[str, Any] = {"interface_id": number}
        child = Child(
            sites, outer=outer, inner=inner, selectors=everything, reqid=number, state_also=also, policy_also=also
        )
        child.allocate()
        children.append(child)
        for end, site in enumerate(sites):
            site.plane.apply([AddInterface(Interface(f"ipsec{number}", number)), *child.orders(end)[:-1]])
    used, idle = children
    for end, site in enumerate(sites):
        inside = Selector.parse(("10.2.0.0/24", "10.1.0.0/24")[end] if inner == 4 else ("fd02::/64", "fd01::/64")[end])
        ours = Selector.parse(("10.1.0.0/24", "10.2.0.0/24")[end] if inner == 4 else ("fd01::/64", "fd02::/64")[end])
        site.plane.apply([AddRoute(Route(inside, (ours,), sites[1 - end].outer(outer), "ipsec7"))])
    assert used.pings(count=3, size=1200)
    assert left.ns.ping(right.outer(outer), source=left.outer(outer)), "past the interface, in the clear"
    for end, site in enumerate(sites):
        counters = site.plane.counters()
        assert {counters[used.state(end, inbound=inbound).key].packets for inbound in (True, False)} == {3}
        assert {counters[idle.state(end, inbound=inbound).key].packets for inbound in (True, False)} == {0}
        assert {state.interface_id for state in site.plane.states()} == {7, 8}
        assert {policy.interface_id for policy in site.plane.policies()} == {7, 8}
        site.plane.close()
        assert links(site) == {}
        assert "7296" not in site.ns.ip("route", "show", "table", "all")


async def test_a_packet_into_an_interface_meets_the_trap_of_its_id_alone(sites: tuple[Site, Site]) -> None:
    left, right = sites
    everything = ("0.0.0.0/0", "0.0.0.0/0")
    also: dict[str, Any] = {"interface_id": 7}
    child = Child(sites, selectors=everything, reqid=42, policy_also=also, state_also=also, interface="ipsec7")
    child.allocate()
    route = Route(Selector.parse("10.2.0.0/24"), (Selector.parse("10.1.0.0/24"),), "192.0.2.2", "ipsec7")
    left.plane.apply([AddInterface(IPSEC7), *map(AddPolicy, child.policies(0, trap=True)), AddRoute(route)])
    assert left.ns.ping("192.0.2.2", source="192.0.2.1"), "not routed into it"
    events = await told(left, child.pings)
    assert set(events) == {Acquire(42)}
    assert right.plane.states() == []


def test_a_refused_batch_takes_back_the_interface_it_made(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    child = Child(sites).install()
    route = Route(Selector.parse("10.7.0.0/24"), (), "192.0.2.2", "ipsec7")
    with pytest.raises(Refused, match="EEXIST"):
        left.plane.apply([AddInterface(IPSEC7), AddRoute(route), AddState(child.state(0, inbound=False))])
    assert links(left) == {}
    left.plane.apply([AddInterface(IPSEC7), AddRoute(route)])
    with pytest.raises(Refused, match="EEXIST"):
        left.plane.apply([RemoveRoute(route), RemoveInterface(IPSEC7), AddState(child.state(0, inbound=False))])
    assert "dev ipsec7" in left.ns.ip("route", "show", "table", "7296")


def test_anothers_interface_is_used_if_it_fits_and_stays(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    left.ns.ip("link", "add", "ipsec7", "type", "xfrm", "if_id", "7")
    left.ns.ip("link", "add", "dummy7", "type", "xfrm", "if_id", "9")
    try:
        left.plane.apply([AddInterface(IPSEC7)])
        for wrong, why in (
            (Interface("dummy7", 10), "dummy7 exists already, and is one of id 9"),
            (Interface("lo", 10), "lo exists already, and is no XFRM interface"),
            (Interface("other7", 7), "making the XFRM interface other7: the kernel says"),
            (Interface("a name with spaces", 11), "cannot name an interface"),
            (Interface("far-too-long-for-it", 11), "cannot name an interface"),
        ):
            with pytest.raises(Refused, match=why):
                left.plane.apply([AddInterface(wrong)])
        left.plane.apply([RemoveInterface(IPSEC7)])
        assert set(links(left)) == {"ipsec7", "dummy7"}
    finally:
        for name in ("ipsec7", "dummy7"):
            left.ns.ip("link", "delete", name)


def test_a_route_into_an_interface_that_is_not_there_is_refused(sites: tuple[Site, Site]) -> None:
    route = Route(Selector.parse("10.7.0.0/24"), (), "192.0.2.2", "ipsec9")
    with pytest.raises(Refused, match="there is no XFRM interface ipsec9"):
        sites[0].plane.apply([AddRoute(route)])


KILLED = """
    import os, signal
    from gateway.dataplane.kernel import KernelPlane
    from gateway.ike.plane import AddInterface, Interface
    KernelPlane().apply([AddInterface(Interface("ipsec7", 7))])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_swept(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    done = subprocess.run(left.ns.command(sys.executable, "-c", textwrap.dedent(KILLED)), check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    left.ns.ip("link", "add", "ipsec9", "type", "xfrm", "if_id", "9")
    left.plane.apply([AddInterface(Interface("ipsec8", 8))])
    assert set(links(left)) == {"ipsec7", "ipsec8", "ipsec9"}
    with left.ns.entered():
        assert "1 XFRM interfaces" in left.plane.sweep()
    assert set(links(left)) == {"ipsec8", "ipsec9"}
    left.ns.ip("link", "delete", "ipsec9")
