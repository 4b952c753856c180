"""Access profiles with strongSwan as the road warrior: what it reaches, and how fast an edit is felt."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.dataplane.access_rules import AccessRules
from gateway.ike.plane import AddressRules, LayRules
from tests.interop.tunnels import Net, Pair, Tunnel, text_of
from tests.lab.appliance import Plain, until
from tests.lab.namespaces import Namespace, Network

SERVER = {4: "10.3.0.10", 6: "fd03::10"}
OTHER = "10.4.0.10"
INTERNET = {4: "198.18.0.1", 6: "2001:db8:ffff::1"}
WEB, MAIL = 8080, 8025
POOL: Plain = {"name": "people", "networks": ["10.99.0.0/24", "fd00:99::/64"]}
SOON = 5.0
"""Seconds in which an edit is to be felt."""


@dataclass
class Scene:
    """The pair, and behind our gateway a server and a host of the internet that knows no way to virtual addresses."""

    pair: Pair
    server: Namespace
    internet: Namespace

    def warrior(self, name: str, *asked: str) -> Tunnel:
        """anna, who asks for these networks and comes again when she is sent away."""
        theirs = {"local_ts": "dynamic", "start_action": "none", "close_action": "start", "remote_ts": ",".join(asked)}
        net = Net(left=asked, right=(), ours={"remote_selectors": [], "start": "passive"}, theirs=theirs)
        return Tunnel(
            name=name,
            left_id="gate.people.lab",
            right_id="anna@people.lab",
            nets=(net,),
            ours={"remote_addresses": [], "pools": ["people"]},
            theirs={"vips": "0.0.0.0,::"},
        )

    def up(self, wanted: Tunnel, /, **profile: Any) -> dict[int, str]:
        """Her virtual addresses, by IP version."""
        sections = {"connections": {wanted.name: wanted.connection()}, "secrets": {"ike-anna": wanted.their_psk()}}
        self.pair.charon.load(text_of(sections))
        self.pair.gateway.apply(
            {
                "proposals": wanted.proposals(),
                "peers": [wanted.peer()],
                "psks": [wanted.psk()],
                "pools": [POOL],
                "users": [{"name": "anna", "login": "anna@people.lab", "groups": ["staff"]}],
                "access_profiles": [{"name": "staff", "groups": ["staff"], **profile}],
            },
            prune=True,
        )
        self.pair.charon.initiate(wanted.child_name(wanted.nets[0]))
        return self.addresses(wanted)

    def addresses(self, tunnel: Tunnel) -> dict[int, str]:
        # while she comes again, strongSwan has the one that goes beside the one that comes
        until(lambda: len(self.pair.theirs(tunnel)) == 1, "she is here once")
        (sa,) = self.pair.theirs(tunnel)
        return {6 if ":" in one else 4: one for one in sa["local-vips"]}

    def edit(self, **profile: Any) -> float:
        """When her profile became another."""
        self.pair.gateway.apply({"access_profiles": [{"name": "staff", "groups": ["staff"], **profile}]}, prune=False)
        return time.monotonic()

    def down(self, tunnel: Tunnel) -> None:
        self.pair.charon.terminate(tunnel.name)
        self.pair.gone(tunnel)

    def connects(self, source: str, target: str, port: int, wait: float = 1.0) -> bool:
        """Whether she reaches a TCP port from her virtual address."""
        with self.pair.right.entered():
            sock = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET)
        with sock:
            sock.settimeout(wait)
            try:
                sock.bind((source, 0))  # while she comes again she has no address
                sock.connect((target, port))
            except OSError:
                return False
            return True

    def access(self, tunnel: Tunnel) -> Plain:
        (sa,) = self.pair.gateway.ike_sas(tunnel.name)
        found: Plain = sa["access"]
        return found


@pytest.fixture(scope="module")
def scene(plane: str, request: pytest.FixtureRequest) -> Iterator[Scene]:
    if why := lacking():
        pytest.skip(f"this kernel's nftables do not do what access profiles need: {why}")
    pair: Pair = request.getfixturevalue("pair")
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        server, internet = network.namespace("server"), network.namespace("internet")
        network.link(pair.left, server, "10.3.0.1/24 10.4.0.1/24 fd03::1/64", f"{SERVER[4]}/24 {OTHER}/24 fd03::10/64")
        server.route("default", "via", "10.3.0.1")
        server.route("::/0", "via", "fd03::1")
        network.link(pair.left, internet, "203.0.113.1/24 2001:db8:1::1/64", "203.0.113.2/24 2001:db8:1::2/64")
        internet.address("lo", f"{INTERNET[4]}/32", f"{INTERNET[6]}/128")
        pair.left.route("198.18.0.0/15", "via", "203.0.113.2")
        pair.left.route("2001:db8:ffff::/64", "via", "2001:db8:1::2")
        for where, family, address in (
            (server, socket.AF_INET, "0.0.0.0"),
            (server, socket.AF_INET6, "::"),
            (internet, socket.AF_INET, "0.0.0.0"),
            (internet, socket.AF_INET6, "::"),
        ):
            for port in (WEB, MAIL):
                with where.entered():
                    listening = socket.create_server((address, port), family=family)
                stack.enter_context(listening)
        yield Scene(pair, server, internet)


def lacking() -> str:
    """Why this kernel cannot hold the rules, looked at before anything is started."""
    with Network() as network, network.namespace("probe").entered():
        rules = AccessRules("probe", "meta ipsec exists", "rt ipsec missing")
        rules.obey([LayRules(AddressRules("10.99.0.99", None, masquerade=True))])
        why = " and ".join(rules.shortcomings())
        rules.close()
    return why


def soon(reached: Callable[[], bool], since: float, what: str) -> None:
    until(reached, what, seconds=SOON)
    assert time.monotonic() - since < SOON


def test_networks_and_ports_of_the_profile_are_reached_and_no_others(scene: Scene) -> None:
    tunnel = scene.warrior("split", "10.3.0.0/24", "10.4.0.0/24", "fd03::/64")
    hers = scene.up(tunnel, networks=[f"{SERVER[4]}[tcp/{WEB}]", f"{SERVER[4]}[icmp]", "fd03::/64"])
    (child,) = scene.pair.gateway.children(tunnel.name)
    assert sorted(child["local_selectors"]) == [f"{SERVER[4]}/32", "fd03::/64"]
    assert scene.pair.right.ping(SERVER[4], source=hers[4])
    assert scene.connects(hers[4], SERVER[4], WEB, wait=10)
    assert not scene.connects(hers[4], SERVER[4], MAIL)
    assert scene.connects(hers[6], SERVER[6], MAIL, wait=10)
    assert scene.server.ping(hers[4]), "what the server begins is answered"
    scene.pair.renew(tunnel, initiator="theirs")
    scene.pair.renew(tunnel, initiator="ours", net=tunnel.nets[0])
    assert scene.connects(hers[4], SERVER[4], WEB, wait=10)
    assert not scene.connects(hers[4], SERVER[4], MAIL), "nor after rekeys"
    until(lambda: scene.access(tunnel)["dropped_packets"] > 0, "what was dropped is counted", seconds=15)
    until(lambda: scene.access(tunnel)["passed_packets"] > 5, "what passed is counted", seconds=15)
    access = scene.access(tunnel)
    assert (access["profile"], access["group"], access["tunnel"]) == ("staff", "staff", "split")
    assert access["passed_octets"] > 200 and access["dropped_octets"] >= 40
    scene.down(tunnel)


def test_an_edit_of_ports_is_felt_at_once_also_by_what_is_connected(scene: Scene) -> None:
    tunnel = scene.warrior("ports", "10.3.0.0/24")
    hers = scene.up(tunnel, networks=[f"{SERVER[4]}[tcp/{WEB}]"])
    (before,) = scene.pair.gateway.ike_sas(tunnel.name)
    with scene.pair.right.entered():
        old = socket.socket()
    with old:
        old.bind((hers[4], 0))
        old.settimeout(10)
        old.connect((SERVER[4], WEB))
        since = scene.edit(networks=[f"{SERVER[4]}[tcp/{MAIL}]"])
        soon(lambda: scene.connects(hers[4], SERVER[4], MAIL), since, "the other port is reached")
        dropped = scene.access(tunnel)["dropped_packets"]
        old.send(b"is anybody there")
        assert not scene.connects(hers[4], SERVER[4], WEB)
        until(lambda: scene.access(tunnel)["dropped_packets"] >= dropped + 2, "the old connection is cut", seconds=15)
    (after,) = scene.pair.gateway.ike_sas(tunnel.name)
    assert after["id"] == before["id"]
    scene.down(tunnel)


def test_an_edit_of_networks_brings_her_back_with_these(scene: Scene) -> None:
    tunnel = scene.warrior("nets", "10.3.0.0/24", "10.4.0.0/24")
    hers = scene.up(tunnel, networks=["10.3.0.0/24"])
    assert scene.connects(hers[4], SERVER[4], WEB, wait=10)
    assert not scene.connects(hers[4], OTHER, WEB)
    since = scene.edit(networks=["10.4.0.0/24"])
    soon(lambda: scene.connects(hers[4], OTHER, WEB), since, "the other network is reached")
    assert not scene.connects(hers[4], SERVER[4], WEB)
    assert scene.addresses(tunnel) == hers
    scene.down(tunnel)


def test_a_full_tunnel_with_masquerade_reaches_hosts_without_a_way_back(scene: Scene) -> None:
    tunnel = scene.warrior("full", "0.0.0.0/0", "::/0")
    hers = scene.up(tunnel, tunnel="full", masquerade=True)
    for version, address in hers.items():
        assert scene.connects(address, INTERNET[version], WEB, wait=10)
        assert scene.connects(address, SERVER[version], WEB, wait=10)
    since = scene.edit(tunnel="full")
    soon(lambda: not scene.connects(hers[4], INTERNET[4], WEB), since, "nothing is masqueraded any more")
    assert not scene.connects(hers[6], INTERNET[6], WEB)
    assert scene.connects(hers[4], SERVER[4], WEB, wait=10), "who knows a way back answers"
    since = scene.edit(tunnel="full", masquerade=True, networks=[f"{INTERNET[4]}[tcp/{MAIL}]"])
    soon(lambda: scene.connects(hers[4], INTERNET[4], MAIL), since, "the allowed port is reached again")
    assert not scene.connects(hers[4], INTERNET[4], WEB)
    assert not scene.connects(hers[4], SERVER[4], MAIL)
    assert not scene.pair.right.ping("10.3.0.1", source=hers[4], wait=1), "nor is the gateway itself"
    scene.down(tunnel)


def test_what_a_killed_process_left_goes_with_the_next_start(scene: Scene) -> None:
    tunnel, gateway = scene.warrior("killed", "10.3.0.0/24"), scene.pair.gateway
    hers = scene.up(tunnel, networks=[f"{SERVER[4]}[tcp/{WEB}]"])
    assert hers[4] in tables(scene)
    gateway.kill()
    assert hers[4] in tables(scene), "shut as before"
    gateway.start()
    assert "ikegate_access" not in tables(scene)
    scene.pair.charon.request("terminate", {"ike": tunnel.name, "force": "yes", "timeout": "-1"})
    until(lambda: not scene.pair.theirs(tunnel), "strongSwan gave it up")


def tables(scene: Scene) -> str:
    return scene.pair.left.run("nft", "list", "ruleset").stdout
