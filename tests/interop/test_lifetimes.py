"""Rekeying and deleting, begun by either end, while packets flow."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.planes import roles
from tests.interop.tunnels import HOSTS, INNER, Net, Pair, Tunnel
from tests.lab.appliance import Plain, until

TUNNEL = Tunnel(
    name="site",
    ike="aes128gcm16-prfsha256-x25519",
    nets=(Net(esp="aes128gcm16-x25519"), Net(name="six", left=(INNER[6][0],), right=(INNER[6][1],))),
)
NET = TUNNEL.nets[0]


@pytest.fixture
def tunnel(pair: Pair) -> Iterator[Tunnel]:
    """Up with both its children, begun by us."""
    pair.load(TUNNEL)
    pair.up(TUNNEL, initiator="ours")
    until(lambda: len(pair.gateway.children(TUNNEL.name)) == 2, "two children")
    yield TUNNEL
    if pair.gateway.peer(TUNNEL.name)["ike_sas"]:
        pair.down(TUNNEL)


@dataclass
class Flow:
    """What became of a stream of pings: how many were answered, and which numbers of them were not."""

    answered: int = 0
    lost: tuple[int, ...] = ()


@contextmanager
def flow(pair: Pair, folder: Path) -> Iterator[Flow]:
    """A ping every 20 ms from our side while the block runs."""
    counted = Flow()
    output = folder / "pings"
    left, right = HOSTS[4]
    process = pair.left.start("ping", "-n", "-i", "0.02", "-W", "1", "-I", left, right, output=output)
    try:
        until(lambda: output.read_text().count("time=") > 3, "pings are answered")
        yield counted
        seen = output.read_text().count("time=")
        until(lambda: output.read_text().count("time=") > seen + 3, "pings are still answered")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(5)
    numbers = [int(number) for number in re.findall(r"icmp_seq=(\d+) .*time=", output.read_text())]
    counted.answered = len(numbers)
    counted.lost = tuple(sorted(set(range(1, max(numbers))) - set(numbers)))  # the last may be still under way


def child_of(pair: Pair, name: str = "net", tunnel: Tunnel = TUNNEL) -> Plain:
    """Our one CHILD_SA of that name, when strongSwan has just one too."""

    def alone() -> Plain | None:
        found = [child for child in pair.gateway.children(tunnel.name) if child["name"] == name]
        theirs = [child for child in pair.their_children(tunnel) if child["name"] == f"{tunnel.name}-{name}"]
        return found[0] if len(found) == len(theirs) == 1 else None

    found = until(alone, f"one CHILD_SA {name} at each end", seconds=20)
    assert found
    return found


def rekey_child(pair: Pair, who: str, tunnel: Tunnel = TUNNEL) -> None:
    """Rekey the child from one end, and see a new one at both with the old one gone."""
    old = child_of(pair, tunnel=tunnel)
    pair.renew(tunnel, initiator=who, net=NET)
    new = child_of(pair, tunnel=tunnel)
    (theirs,) = (child for child in pair.their_children(tunnel) if child["name"] == tunnel.child_name(NET))
    assert (theirs["spi-in"], theirs["spi-out"]) == (new["spi_out"], new["spi_in"])
    assert new["spi_in"] != old["spi_in"] and new["spi_out"] != old["spi_out"]
    assert new["algorithms"] == NET.esp
    assert new["rekeys"] == old["rekeys"] + 1
    # What was counted is not lost with the old SA.
    assert new["packets_in"] >= old["packets_in"]


def rekey_ike(pair: Pair, who: str) -> None:
    """Rekey the IKE SA from one end; its children stay what they are."""
    (old,) = pair.gateway.ike_sas(TUNNEL.name)
    new = pair.renew(TUNNEL, initiator=who)
    assert new["spi_i"] != old["spi_i"]
    assert new["initiator"] is (who == "ours")
    assert [child["id"] for child in new["children"]] == [child["id"] for child in old["children"]]
    assert (new["local_id"], new["remote_id"]) == TUNNEL.ids()


@roles
def test_no_packet_is_lost_when_a_child_is_rekeyed(pair: Pair, tunnel: Tunnel, initiator: str, tmp_path: Path) -> None:
    with flow(pair, tmp_path) as pings:
        for _ in range(3):
            rekey_child(pair, initiator)
    assert pings.lost == ()


@roles
def test_no_packet_is_lost_when_the_ike_sa_is_rekeyed(
    pair: Pair, tunnel: Tunnel, initiator: str, tmp_path: Path
) -> None:
    with flow(pair, tmp_path) as pings:
        for _ in range(3):
            rekey_ike(pair, initiator)
    assert pings.lost == ()
    # What the new IKE SA inherited it can also rekey, and delete.
    other = "theirs" if initiator == "ours" else "ours"
    rekey_child(pair, other)
    pair.down(tunnel, initiator=other)


@roles
def test_what_was_counted_outlives_a_rekey(pair: Pair, initiator: str) -> None:
    tunnel = Tunnel(name=f"counted-{initiator}", nets=TUNNEL.nets)
    pair.load(tunnel)
    pair.up(tunnel, initiator="ours")
    assert pair.left.ping(HOSTS[4][1], source=HOSTS[4][0], count=5)
    # The data plane is asked for its counters once a second at most.
    until(lambda: child_of(pair, tunnel=tunnel)["packets_in"] == 5, "five packets are counted")
    rekey_child(pair, initiator, tunnel)
    assert pair.left.ping(HOSTS[4][1], source=HOSTS[4][0], count=2)
    until(lambda: child_of(pair, tunnel=tunnel)["packets_in"] == 7, "seven packets are counted")
    wanted = next(child for child in pair.gateway.peer(tunnel.name)["children"] if child["name"] == "net")
    assert (wanted["packets_in"], wanted["packets_out"]) == (7, 7)
    pair.down(tunnel)


def test_both_rekey_at_once(pair: Pair, tunnel: Tunnel, tmp_path: Path) -> None:
    """RFC 7296 2.8.1: whoever wins, one child is left and no packet lost."""
    with flow(pair, tmp_path) as pings:
        for _ in range(3):
            old = child_of(pair)["spi_in"]
            pair.charon.rekey(child=tunnel.child_name(NET))
            pair.gateway.ask("rekey", peer=tunnel.name, child="net", wait=0)
            until(lambda old=old: child_of(pair)["spi_in"] != old, "a new child", seconds=60)
        until(lambda: pair.settled(tunnel), "both ends are through with it", seconds=60)
    assert pings.lost == ()
    assert pair.pings()


@roles
def test_either_end_deletes_a_child(pair: Pair, tunnel: Tunnel, initiator: str) -> None:
    if initiator == "ours":
        assert (done := pair.gateway.disconnect(tunnel.name, "six"))["ok"], done
    else:
        pair.charon.request("terminate", {"child": tunnel.child_name(tunnel.nets[1])})
    until(lambda: len(pair.their_children(tunnel)) == len(pair.gateway.children(tunnel.name)) == 1, "one child left")
    assert len(pair.gateway.ask("states")) == 2
    assert pair.pings(4)
    assert not pair.left.ping(HOSTS[6][1], source=HOSTS[6][0], wait=0.2)


@roles
def test_either_end_deletes_the_ike_sa(pair: Pair, tunnel: Tunnel, initiator: str) -> None:
    pair.down(tunnel, initiator=initiator)
    assert pair.gateway.ask("states") == []
    # what it protected is dropped from now on, and nothing else lies there
    assert {policy[7] for policy in pair.gateway.ask("policies")} == {"drop"}


@roles
def test_a_child_is_rekeyed_when_its_time_comes(pair: Pair, initiator: str) -> None:
    ours = {"rekey_time": 2.0} if initiator == "ours" else {}
    theirs = {"rekey_time": "2", "rand_time": "0", "life_time": "20"} if initiator == "theirs" else {}
    timed = Tunnel(name=f"timed-{initiator}", nets=(Net(ours=ours, theirs=theirs),))
    pair.load(timed)
    pair.up(timed, initiator=initiator)
    first = pair.gateway.children(timed.name)[0]  # on a busy machine its time may have come already

    def renewed() -> bool:
        ids = [child["id"] for child in pair.gateway.children(timed.name)]
        return len(ids) == 1 and ids != [first["id"]]

    until(renewed, "a new child by itself", seconds=20)
    assert pair.pings()
    pair.down(timed)


@roles
def test_an_ike_sa_is_rekeyed_when_its_time_comes(pair: Pair, initiator: str) -> None:
    ours = {"rekey_time": 2.0} if initiator == "ours" else {}
    theirs = {"rekey_time": "2", "rand_time": "0", "over_time": "20"} if initiator == "theirs" else {}
    timed = Tunnel(name=f"timed-ike-{initiator}", ours=ours, theirs=theirs)
    pair.load(timed)
    pair.up(timed, initiator=initiator)
    first = pair.gateway.ike_sas(timed.name)[0]

    def renewed() -> bool:
        ids = [sa["id"] for sa in pair.gateway.ike_sas(timed.name)]
        return len(ids) == 1 and ids != [first["id"]]

    until(renewed, "a new IKE SA by itself", seconds=20)
    assert pair.pings()
    pair.down(timed)
