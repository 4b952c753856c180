"""Tunnels with strongSwan that somebody else on this machine disturbs, and what the status says of it."""

import time
from collections.abc import Callable

from tests.interop.planes import kernel_only, userspace_only
from tests.interop.test_outages import ALWAYS, heard
from tests.interop.tunnels import HOSTS, Net, Pair, Tunnel
from tests.lab.appliance import Plain, until

WANTED = ALWAYS


def stands(pair: Pair, tunnel: Tunnel = WANTED) -> None:
    pair.load(tunnel)
    pair.gateway.connect(tunnel.name)  # what an earlier test took down stays so until it is wanted
    until(lambda: heard(pair), "the tunnel is up")


def told(pair: Pair) -> Plain:
    status: Plain = pair.gateway.peer(WANTED.name)
    return status


def last_outage(pair: Pair) -> Plain:
    found: Plain = pair.gateway.ask("outages", peer=WANTED.name)[0]
    return found


@kernel_only
def test_somebody_flushes_the_states(pair: Pair) -> None:
    stands(pair)
    (before,) = pair.gateway.children(WANTED.name)
    pair.left.ip("xfrm", "state", "flush")
    until(lambda: heard(pair), "the tunnel is back", 10)
    outage = last_outage(pair)
    assert outage["reason"] == "its states were removed from the data plane, and not by this gateway"
    assert outage["ended_at"] - outage["began_at"] < 2
    (after,) = pair.gateway.children(WANTED.name)
    assert after["id"] != before["id"]
    assert after["ike_sa"] == before["ike_sa"], "the IKE SA stands as it was"
    until(lambda: len(pair.their_children(WANTED)) == 1, "strongSwan was told of the end")
    pair.down(WANTED)


@kernel_only
def test_somebody_deletes_one_state(pair: Pair) -> None:
    stands(pair)
    (before,) = pair.gateway.children(WANTED.name)
    time.sleep(5)  # a look at everything takes place once in so many seconds
    words = f"src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x{before['spi_out']}".split()
    pair.left.ip("xfrm", "state", "delete", *words)
    until(lambda: heard(pair), "the tunnel is back", 10)
    assert "not by this gateway" in last_outage(pair)["reason"]
    pair.down(WANTED)


@kernel_only
def test_somebody_flushes_the_policies(pair: Pair) -> None:
    stands(pair)
    (before,) = pair.gateway.children(WANTED.name)
    lying = pair.left.ip("xfrm", "policy", "count")
    pair.left.ip("xfrm", "policy", "flush")
    until(lambda: pair.left.ip("xfrm", "policy", "count") == lying, "all of them are back", 10)
    assert heard(pair, wait=5)
    assert [child["id"] for child in pair.gateway.children(WANTED.name)] == [before["id"]], "the keys are the same"
    pair.tap.plain()
    pair.down(WANTED)


def test_our_own_cable_is_cut_and_mended(pair: Pair) -> None:
    """The kernel takes the routes of a device that goes down: they come back with it, and their source address."""
    longer = Tunnel(name=WANTED.name, nets=(Net(ours={"start": "always"}),), ours={"dpd_delay": 300})
    stands(pair, longer)
    assert pair.left.ping(HOSTS[4][1]), "without a source address of its own"
    pair.left.ip("link", "set", "to-right", "down")
    until(lambda: told(pair)["state"] == "down", "the status knows")
    assert told(pair)["reason"] == "net: nothing can be sent to 192.0.2.2: Network is unreachable"
    assert told(pair)["children"][0]["state"] == "down"
    pair.left.ip("link", "set", "to-right", "up")
    until(lambda: told(pair)["state"] == "up", "and knows again", 20)
    assert told(pair)["reason"] == ""
    until(lambda: pair.left.ping(HOSTS[4][1], wait=0.5), "routes are back as well", 10)
    pair.down(longer)


@userspace_only
def test_somebody_takes_the_device_down_or_away(fresh_pair: Callable[..., Pair]) -> None:
    pair = fresh_pair()
    stands(pair)
    (before,) = pair.gateway.children(WANTED.name)
    device = pair.left.ip("-o", "link", "show", "type", "tun").split()[1].rstrip(":")
    pair.left.ip("link", "set", device, "down")
    until(lambda: "UP" in pair.left.ip("link", "show", device).split("<")[1].split(">")[0].split(","), "it is up again")
    until(lambda: heard(pair), "packets pass again, by the routes that went with it", 10)
    until(lambda: told(pair)["state"] == "up", "and the status knows")
    assert [child["id"] for child in pair.gateway.children(WANTED.name)] == [before["id"]], "nothing was negotiated"
    pair.left.ip("link", "delete", device)
    until(lambda: told(pair)["state"] == "down", "the status knows")
    assert told(pair)["reason"] == f"net: the TUN device {device} is gone: restart ikegate"
    pair.gateway.stop()
    pair.gateway.start()
    until(lambda: heard(pair), "what the sentence says helps", 20)
