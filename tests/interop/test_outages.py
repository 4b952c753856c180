"""Tunnels with strongSwan that break: it is killed and comes back, the cable is cut, and what that looks like.

OUTAGE_SECONDS=600 keeps the silent path dead for so long, with the product's own intervals and waits.
"""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.policy.peers import Retransmission
from tests.interop.planes import CHARON_PLUGINS, userspace_only
from tests.interop.tap import Tap
from tests.interop.tunnels import HOSTS, INNER, OUTER, Net, Pair, Tunnel, text_of
from tests.lab.appliance import Appliance, Plain, until
from tests.lab.charon import Charon
from tests.lab.names import name_server
from tests.lab.namespaces import Network, two_sites

QUICK = {"dpd_delay": 1, "retransmit": {"tries": 3, "base": 0.3, "factor": 1.5}}
ALWAYS = Tunnel(name="always", nets=(Net(ours={"start": "always"}),), ours=QUICK)
PASSIVE = Tunnel(name="passive", ours=QUICK)
LONG = float(os.environ.get("OUTAGE_SECONDS", "0"))
LIMITS = {"retry_base": 0.5, "retry_limit": 4.0}
PRODUCT = {"dpd_delay": 30, "retransmit": {"tries": 5, "base": 2.0, "factor": 1.8}}
PRODUCT_LIMITS = {"retry_base": 2.0, "retry_limit": 300.0}
SLOW = replace(ALWAYS, name="slow", ours=PRODUCT)


def load_theirs(pair: Pair, tunnel: Tunnel) -> None:
    """After a restart strongSwan knows nothing."""
    pair.charon.load(
        text_of({"connections": {tunnel.name: tunnel.connection()}, "secrets": {"ike-key": tunnel.their_psk()}})
    )


def start(fresh_pair: Callable[..., Pair], tunnel: Tunnel) -> Pair:
    """The tunnel's ends, with a way for its traffic past the tunnel: what is not dropped would be seen in the clear."""
    pair = fresh_pair()
    pair.left.route(INNER[4][1], "via", OUTER[4][1])
    pair.right.route(INNER[4][0], "via", OUTER[4][0])
    pair.load(tunnel)
    return pair


def heard(pair: Pair, wait: float = 0.2) -> bool:
    return pair.left.ping(HOSTS[4][1], source=HOSTS[4][0], wait=wait)


def outages(pair: Pair, tunnel: Tunnel) -> list[Plain]:
    """The oldest first."""
    found: list[Plain] = pair.gateway.ask("outages", peer=tunnel.name)
    return found[::-1]


def due(tunnel: Tunnel, limits: dict[str, float]) -> float:
    """One interval of liveness checks, the longest wait between two calls, and the patience of a call under way."""
    patience = Retransmission(**tunnel.ours["retransmit"])
    call = sum(patience.wait(turn + 1, 1.0) for turn in range(patience.tries))
    return float(tunnel.ours["dpd_delay"]) + 1.2 * limits["retry_limit"] + call


def assert_told(pair: Pair, tunnel: Tunnel, back: float, limits: dict[str, float]) -> Plain:
    """What the timeline says of the last outage: how it began and ended, and that it ended soon after `back`."""
    outage = outages(pair, tunnel)[-1]
    assert (outage["kind"], outage["child"]) == ("failure", "net")
    assert "the peer does not answer" in outage["reason"], outage
    assert outage["last_failure"], outage
    assert outage["ended_by"] == "we called and the peer answered"
    assert back - 1 < outage["ended_at"] < back + due(tunnel, limits), (back, outage)
    assert state(pair, tunnel) == "up"
    return outage


def blackhole(pair: Pair, what: str) -> None:
    """Whatever the right end would send to us is lost, over both IP versions: MOBIKE would else move to the other."""
    for version, outer in OUTER.items():
        pair.right.ip(f"-{version}", "rule", what, "priority", "1", "blackhole", "to", outer[0])


def state(pair: Pair, tunnel: Tunnel) -> str:
    return str(pair.gateway.peer(tunnel.name)["state"])


def test_strongswan_is_killed_and_comes_back(fresh_pair: Callable[..., Pair]) -> None:
    pair = start(fresh_pair, ALWAYS)
    pair.gateway.ask("limit", **LIMITS)
    until(lambda: heard(pair), "the tunnel is up")
    pair.tap.plain()
    pair.charon.kill()
    until(lambda: state(pair, ALWAYS) != "up", "the silence is noticed")
    until(lambda: outages(pair, ALWAYS), "the outage is noticed")
    until(lambda: outages(pair, ALWAYS)[-1]["attempts"], "it is called in vain")
    for _ in range(3):
        assert not heard(pair)
    assert pair.tap.plain() == [], "nothing leaves in the clear"
    assert not pair.right.ping(HOSTS[4][0], source=HOSTS[4][1], wait=0.2), "nor comes in"
    pair.charon.start()
    load_theirs(pair, ALWAYS)
    back = time.time()
    until(lambda: heard(pair), "the tunnel is back", 60)
    assert_told(pair, ALWAYS, back, LIMITS)
    assert pair.tap.plain() == []
    pair.down(ALWAYS)
    assert not heard(pair), "an administrator's disconnect opens nothing either"
    assert pair.tap.plain() == []
    assert outages(pair, ALWAYS)[-1]["kind"] == "administrator"


def test_a_rebooted_strongswan_that_calls_us_is_believed_at_once(fresh_pair: Callable[..., Pair]) -> None:
    pair = start(fresh_pair, PASSIVE)
    pair.up(PASSIVE, initiator="theirs")
    assert heard(pair, wait=5)
    (before,) = pair.gateway.ike_sas(PASSIVE.name)
    pair.charon.kill()
    pair.charon.start()
    load_theirs(pair, PASSIVE)
    pair.charon.initiate(PASSIVE.child_name(PASSIVE.nets[0]))
    until(lambda: heard(pair), "the tunnel is back")
    (after,) = pair.gateway.ike_sas(PASSIVE.name)
    assert after["id"] != before["id"]
    assert len(pair.gateway.children(PASSIVE.name)) == 1
    pair.down(PASSIVE)


def test_the_cable_is_cut_and_mended(fresh_pair: Callable[..., Pair]) -> None:
    pair = start(fresh_pair, ALWAYS)
    until(lambda: heard(pair), "the tunnel is up")
    pair.tap.plain()
    pair.right.ip("link", "set", "to-left", "down")
    until(lambda: outages(pair, ALWAYS), "the outage is noticed", 20)
    until(lambda: len(pair.gateway.ask("attempts", peer=ALWAYS.name)) > 4, "it is called in vain", 60)
    pair.right.ip("link", "set", "to-left", "up")
    pair.right.route(INNER[4][0], "via", OUTER[4][0])
    until(lambda: heard(pair), "the tunnel is back long before the next call would have been due", 8)
    (outage,) = outages(pair, ALWAYS)
    assert outage["kind"] == "failure"
    assert outage["attempts"] >= 2
    assert outage["ended_by"]
    assert pair.tap.plain() == []
    pair.down(ALWAYS)


@pytest.mark.timeout(120 + 2 * LONG)
def test_a_path_that_dies_without_a_sign_comes_back(fresh_pair: Callable[..., Pair]) -> None:
    """No device goes down and no ICMP error comes: both ends learn of it by silence alone, and so of its return."""
    tunnel, limits = (SLOW, PRODUCT_LIMITS) if LONG else (ALWAYS, LIMITS)
    pair = start(fresh_pair, tunnel)
    pair.gateway.ask("limit", **limits)
    until(lambda: heard(pair), "the tunnel is up")
    pair.tap.plain()
    blackhole(pair, "add")
    dead = time.time()
    until(lambda: outages(pair, tunnel), "the outage is noticed", due(tunnel, limits))
    until(lambda: outages(pair, tunnel)[-1]["attempts"] >= 4, "it is called in vain", 10 * due(tunnel, limits))
    assert state(pair, tunnel) != "up"
    time.sleep(max(0.0, dead + LONG - time.time()))
    blackhole(pair, "delete")
    back = time.time()
    until(lambda: heard(pair), "the tunnel is back", due(tunnel, limits) + 5)
    outage = assert_told(pair, tunnel, back, limits)
    print(f"dead for {back - dead:.0f} s, back after {outage['ended_at'] - back:.1f} s: {outage}")  # noqa: T201  what a run by hand is for
    assert pair.tap.plain() == []
    pair.down(tunnel)


def test_ike_itself_passes_where_everything_else_is_dropped(fresh_pair: Callable[..., Pair]) -> None:
    every = {"local_selectors": ["0.0.0.0/0"], "remote_selectors": ["0.0.0.0/0"]}
    wide = Tunnel(name="wide", nets=(Net(ours=every),), ours=QUICK)
    pair = start(fresh_pair, wide)
    outside = OUTER[4][1]
    assert not pair.left.ping(outside, wait=0.2)
    pair.up(wide, initiator="ours")
    assert heard(pair, wait=5)
    assert not pair.left.ping(outside, wait=0.2), "what strongSwan narrowed away stays dropped"
    pair.down(wide)
    assert not pair.left.ping(outside, wait=0.2)
    assert not heard(pair)
    pair.up(wide, initiator="theirs")
    assert heard(pair, wait=5)
    pair.down(wide)
    pair.gateway.apply({"peers": []}, prune=True)
    until(lambda: pair.left.ping(outside, wait=0.2), "with the peer goes what it dropped")


@userspace_only
def test_a_gateway_of_ours_that_was_killed_proves_it_to_another(plane: str, tmp_path: Path) -> None:
    """RFC 6290 with two processes: the secret of the tokens outlives the one that is killed."""
    there = replace(ALWAYS, ours={**QUICK, "dpd_delay": 2, "retransmit": {"tries": 9, "base": 4, "factor": 1.5}})
    with ExitStack() as stack:
        left, right = two_sites(stack.enter_context(Network()))
        caller = stack.enter_context(Appliance(left, tmp_path / "caller", plane))
        called = stack.enter_context(Appliance(right, tmp_path / "called", plane))
        mirrored = there.peer() | {"local_id": there.ids()[1], "remote_id": there.ids()[0], "remote_addresses": []}
        mirrored["children"] = [
            child
            | {
                "local_selectors": child["remote_selectors"],
                "remote_selectors": child["local_selectors"],
                "start": "passive",
            }
            for child in mirrored["children"]
        ]
        key = there.psk() | {"local_ids": [], "remote_ids": []}
        called.apply({"proposals": there.proposals(), "peers": [mirrored], "psks": [key]})
        caller.apply({"proposals": there.proposals(), "peers": [there.peer()], "psks": [key]})
        until(lambda: caller.children(there.name), "the tunnel is up")
        called.kill()
        called.start()
        until(lambda: caller.ask("outages", peer=there.name), "the restart is noticed", 15)
        until(lambda: caller.children(there.name), "the tunnel is back")
        (outage,) = caller.ask("outages", peer=there.name)
        assert "crash detection token" in outage["reason"]
        assert outage["ended_at"] - outage["began_at"] < 5
        assert left.ping(HOSTS[4][1], source=HOSTS[4][0])


def test_the_cable_is_pulled_the_peer_reboots_and_its_name_leads_elsewhere(plane: str, tmp_path: Path) -> None:
    """All three at once, by the resolver of this machine: nobody helps, and the timeline says why."""
    moved = "192.0.2.7"
    both = f"{OUTER[4][1]},{moved}"
    named = replace(
        ALWAYS,
        name="named",
        ours={**QUICK, "remote_addresses": ["vpn.example"], "mobike": False},
        theirs={"local_addrs": both, "mobike": "no"},
    )
    with ExitStack() as stack:
        left, right = two_sites(stack.enter_context(Network()))
        names = stack.enter_context(name_server(left))
        names.known["vpn.example"] = OUTER[4][1]
        (tmp_path / "charon").mkdir()
        charon = stack.enter_context(Charon(right, tmp_path / "charon", CHARON_PLUGINS[plane]))
        gateway = stack.enter_context(Appliance(left, tmp_path / "gateway", plane))
        gateway.ask("limit", **LIMITS)
        pair = Pair(left, right, gateway, charon, Tap(left, "to-right"))
        stack.callback(pair.tap.close)
        pair.load(named)
        until(lambda: heard(pair), "the tunnel is up")
        right.ip("link", "set", "to-left", "down")
        charon.kill()
        right.ip("address", "delete", f"{OUTER[4][1]}/24", "dev", "to-left")
        right.ip("address", "add", f"{moved}/24", "dev", "to-left")
        until(lambda: [one for one in outages(pair, named) if one["attempts"]], "it is noticed, and called in vain", 40)
        assert gateway.peer(named.name)["state"] != "up"
        right.ip("link", "set", "to-left", "up")
        charon.start()
        load_theirs(pair, named)
        asked = len(names.asked)
        names.known["vpn.example"] = moved
        back = time.time()
        until(lambda: heard(pair), "the tunnel is back", 60)
        assert names.asked[asked:], "the name was looked up again"
        (sa,) = gateway.ike_sas(named.name)
        assert sa["remote"].startswith(moved)
        assert len(outages(pair, named)) == 1
        assert_told(pair, named, back, LIMITS)
