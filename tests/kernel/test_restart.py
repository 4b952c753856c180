"""A gateway that is killed and started again: what it protected or dropped goes nowhere in the clear meanwhile."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.ike.plane import (
    AddInterface,
    AddPolicy,
    AddRoute,
    AddState,
    Direction,
    Interface,
    Policy,
    Refused,
    RemovePolicy,
    Route,
)
from gateway.policy.selectors import Selector
from tests.kernel.conftest import Child, Site
from tests.kernel.test_interfaces import links
from tests.kernel.test_policies import KILLED, THEM, US, out, shown
from tests.lab.appliance import Appliance, until
from tests.lab.in_kernel import in_kernel
from tests.lab.namespaces import Namespace, Network, two_sites

pytestmark = [in_kernel, pytest.mark.requires("root", "netns", "esp")]

PORT = 7777
DROPPED, ON_DEMAND, ROUTED, SHUNTED, FREE = (f"10.{number}.0.1" for number in (2, 3, 4, 9, 8))
# As fast as it can, from an address inside to one of each child, to one of a shunt and to one that nothing names.
SENDER = """
    import contextlib, socket, sys
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("10.1.0.1", 0))
    sock.setblocking(False)
    print("sending", flush=True)
    while True:
        for place in sys.argv[1:]:
            with contextlib.suppress(OSError):
                sock.sendto(place.encode(), (place, 7777))
"""


def child(name: str, inside: str, **more: object) -> dict[str, Any]:
    net = f"{inside.rpartition('.')[0]}.0/24"
    return {"name": name, "local_selectors": ["10.1.0.0/24"], "remote_selectors": [net], "start": "passive", **more}


CHILDREN = [
    child("dropped", DROPPED),
    child("on-demand", ON_DEMAND, start="on-demand"),
    child("routed", ROUTED, interface_id=7),
]
SHUNT = {
    "name": "never",
    "action": "drop",
    "local_selectors": ["10.1.0.0/24"],
    "remote_selectors": ["10.9.0.0/24"],
    "priority": 10,
}
DOCUMENT = {
    "peers": [
        {
            "name": "right",
            "local_id": "left.example",
            "remote_id": "right.example",
            "remote_addresses": ["192.0.2.2"],
            "children": CHILDREN,
        }
    ],
    "psks": [{"name": "right", "secret": "correct horse battery staple", "remote_ids": ["right.example"]}],
    "shunts": [SHUNT],
}


@pytest.fixture
def ends() -> Iterator[tuple[Namespace, Namespace]]:
    """Each place is routed to the right in the clear, where it is, too."""
    with Network() as network:
        left, right = two_sites(network)
        for place in (ON_DEMAND, ROUTED, SHUNTED, FREE):
            right.address("lo", f"{place}/32")
        for place in (DROPPED, ON_DEMAND, ROUTED, SHUNTED, FREE):
            left.route(f"{place}/32", "via", "192.0.2.2")
        right.route("10.1.0.0/24", "via", "192.0.2.1")
        yield left, right


class Listener:
    """Hears what comes in the clear to any of these places, each with a buffer of its own."""

    def __init__(self, ns: Namespace, places: tuple[str, ...]) -> None:
        self.sockets: dict[str, socket.socket] = {}
        for place in places:
            with ns.entered():
                sock = self.sockets[place] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((place, PORT))
            sock.setblocking(False)

    def heard(self) -> set[str]:
        """Where something came since the last time."""
        found = set()
        for place, sock in self.sockets.items():
            with contextlib.suppress(BlockingIOError):
                while sock.recv(64):
                    found.add(place)
        return found

    def heard_until_free(self) -> set[str]:
        """The same, but not before something came to where nothing keeps it: the sender is at work."""
        found: set[str] = set()

        def came() -> bool:
            found.update(self.heard())
            return FREE in found

        until(came, "the sender sends")
        return found

    def close(self) -> None:
        for sock in self.sockets.values():
            sock.close()


def test_nothing_leaves_in_the_clear_across_a_kill_and_a_restart(
    ends: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    left, right = ends
    places = (DROPPED, ON_DEMAND, ROUTED, SHUNTED, FREE)
    listener = Listener(right, places)
    gateway = Appliance(left, tmp_path, "kernel")
    gateway.start()
    gateway.apply(DOCUMENT)
    until(lambda: "ipsec7" in left.ip("route", "show", "table", "7296"), "it is laid")
    until(lambda: "10.3.0.0/24" in left.ip("route", "show", "table", "7296"), "the trap is laid")
    command = left.command(sys.executable, "-c", textwrap.dedent(SENDER), *places)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
        try:
            assert sender.stdout
            assert sender.stdout.readline() == "sending\n"
            until(lambda: FREE in listener.heard(), "it sends")
            gateway.kill()
            assert listener.heard_until_free() == {FREE}
            gateway.start()
            came = listener.heard_until_free()
            until(lambda: "10.3.0.0/24" in left.ip("route", "show", "table", "7296"), "the trap is laid again")
            assert came | listener.heard_until_free() == {FREE}
        finally:
            os.kill(sender.pid, signal.SIGKILL)
    assert gateway.stop() == 0
    assert left.ip("xfrm", "policy") == ""
    assert "ipsec7" not in left.ip("link")
    listener.close()


ROUTED_AWAY = """
    import time
    from gateway.dataplane.kernel import KernelPlane
    from gateway.ike.plane import AddInterface, AddRoute, Interface, Route
    from gateway.policy.selectors import Selector
    plane = KernelPlane()
    ours, nets = Selector.parse("10.1.0.0/24"), [Selector.parse(f"10.{n}.0.0/24") for n in (4, 5)]
    plane.apply([AddInterface(Interface("ipsec7", 7)), AddInterface(Interface("ipsec8", 8))])
    plane.apply([AddRoute(Route(net, (ours,), "192.0.2.2", "ipsec7")) for net in nets])
    print("ready", flush=True)
    time.sleep(60)
"""


def killed(site: Site, script: str) -> None:
    """What a process did that is dead."""
    command = site.ns.command(sys.executable, "-c", textwrap.dedent(script))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "ready\n"
        other.kill()


def test_what_a_killed_process_protected_is_shut_until_it_is_replaced_or_swept(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    killed(left, KILLED)
    with left.ns.entered():
        said = left.plane.shut()
    assert said == "removed 1 states that an earlier process left; its 2 policies are shut for now"
    assert left.xfrm("state") == ""
    assert len(shut := shown(left)) == 2
    assert all("action block" in line and "tmpl" not in line for line in shut)
    wanted = out("10.1.0.0/24", "10.2.0.0/24")
    child = Child(sites)
    child.allocate()
    state = AddState(child.state(0, inbound=False))
    left.plane.apply([state])
    with pytest.raises(Refused):
        left.plane.apply([AddPolicy(wanted), state])
    assert sorted(shown(left)) == sorted(shut)
    left.plane.apply([AddPolicy(wanted)])
    assert sorted("action block" in line for line in shown(left)) == [False, True]
    with left.ns.entered():
        assert left.plane.sweep().startswith("removed 0 states, 1 policies")
    assert left.plane.policies() == [wanted]
    assert len(shown(left)) == 1
    left.plane.apply([RemovePolicy(wanted)])
    assert shown(left) == []


def test_neighbours_are_still_found_after_a_restart(sites: tuple[Site, Site]) -> None:
    """The exemption from policies that the killed process made is taken over, not swept with the rest."""
    left = sites[0]
    killed(left, KILLED.replace("10.1.0.0/24", "fd01::/64").replace("10.2.0.0/24", "fd02::/64"))
    discovery = "src ::/0 dst ::/0 proto ipv6-icmp"
    assert discovery in left.xfrm("policy")
    wanted = Policy(Direction.OUT, Selector.parse("fd01::/64"), Selector.parse("fd02::/64"), US, THEM, 1)
    with left.ns.entered():
        left.plane.shut()
        left.plane.apply([AddPolicy(wanted)])
        left.plane.sweep()
    assert discovery in left.xfrm("policy")
    left.plane.apply([RemovePolicy(wanted)])
    assert left.xfrm("policy") == ""


@pytest.mark.requires("xfrm-interface")
def test_what_led_into_an_interface_leads_there_until_it_is_replaced_or_swept(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    killed(left, ROUTED_AWAY)
    before = links(left)["ipsec7"].split(":")[0]
    with left.ns.entered():
        left.plane.shut()
        assert left.ns.ip("route", "show", "table", "7296").count("dev ipsec7") == 2
        left.plane.apply([AddInterface(Interface("ipsec7", 7))])
        left.plane.apply([AddRoute(Route(Selector.parse("10.4.0.0/24"), (), "192.0.2.2", "ipsec7"))])
        left.plane.apply([AddRoute(Route(Selector.parse("10.5.0.0/25"), (), "192.0.2.2"))])
        said = left.plane.sweep()
    assert said.startswith("removed 0 states, 0 policies, 1 XFRM interfaces and "), said
    assert {name: line.split(":")[0] for name, line in links(left).items()} == {"ipsec7": before}
    table = left.ns.ip("route", "show", "table", "7296")
    assert "10.4.0.0/24 dev ipsec7" in table
    assert table.count("dev ipsec7") == 1
    assert "10.5.0.0/24" not in table
    assert "7296" in left.ns.ip("rule")
