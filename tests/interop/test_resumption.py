"""Libreswan 5: session resumption (RFC 5723), and rekeys without end; both over the kernel's ESP."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.test_libreswan import CROSSINGS, Ends, endure, load, meeting
from tests.interop.tunnels import HOSTS, INNER, OUTER, Net, Tunnel
from tests.lab.appliance import until
from tests.lab.libreswan5 import Libreswan5

pytestmark = [pytest.mark.in_kernel, pytest.mark.requires("root", "netns", "esp", "libreswan5", "ping")]

SUITE = ("aes256gcm16-prfsha512-ecp256", "aes_gcm256-sha2_512;dh19", "aes256gcm16", "aes_gcm256")


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    with meeting(tmp_path_factory.mktemp("libreswan5"), Libreswan5) as found:
        yield found


def established(ends: Ends, name: str) -> int:
    """The number of our IKE SA of that name, once it stands."""
    found = until(lambda: ends.gateway.ike_sas(name), f"{name} is up at our end")
    return int(found[-1]["id"])


def tunnel_of(name: str) -> Tunnel:
    quick = {"tries": 2, "base": 0.4, "factor": 1.0}
    return Tunnel(name=name, ike=SUITE[0], nets=(Net(esp=SUITE[2]),), ours={"dpd_delay": 1, "retransmit": quick})


def come_back(ends: Ends, tunnel: Tunnel) -> None:
    """Our end gives it up while the cable is cut, and calls again with the ticket that it has."""
    ends.left.ip("link", "set", "to-right", "down")
    until(lambda: not ends.gateway.ike_sas(tunnel.name), "our end has given it up")
    ends.left.ip("link", "set", "to-right", "up")
    ends.left.ip("route", "replace", INNER[4][1], "via", OUTER[4][1], "src", HOSTS[4][0])
    assert not ends.gateway.connect(tunnel.name)["ok"]  # it wants a shorter proof than RFC 5723 4.3.3 does
    done = ends.gateway.connect(tunnel.name)
    assert done["ok"], f"{done['text']}\n{ends.pluto.tail()}"


def test_we_come_back_to_libreswan_with_its_ticket(ends: Ends) -> None:
    tunnel = tunnel_of("to-pluto")
    load(ends, tunnel, SUITE[1], SUITE[3], **{"session-resumption": "yes"})
    ends.up(tunnel, "ours")
    assert ends.pings()
    before = established(ends, tunnel.name)
    come_back(ends, tunnel)
    assert established(ends, tunnel.name) != before
    attempt = ends.gateway.attempt(tunnel.name)
    assert "resumed" in attempt["steps"][1]["text"], f"{attempt}"
    assert ends.pings()
    assert (done := ends.gateway.disconnect(tunnel.name))["ok"], done
    ends.pluto.whack("--name", tunnel.name, "--delete")  # with the IKE SA that it did not miss


def test_libreswan_comes_back_to_us_with_our_ticket(ends: Ends) -> None:
    tunnel = tunnel_of("from-pluto")
    load(ends, tunnel, SUITE[1], SUITE[3], **{"session-resumption": "yes"})
    ends.up(tunnel, "theirs")
    before = established(ends, tunnel.name)
    counted = ends.gateway.status()["counters"]
    ends.pluto.whack("--name", tunnel.name, "--suspend")  # it deletes the IKE SA, and keeps the ticket all the same
    ends.pluto.initiate(tunnel.name)
    until(lambda: established(ends, tunnel.name) != before, "another IKE SA stands")
    counters = ends.gateway.status()["counters"]
    assert counters.get("resumed", 0) == counted.get("resumed", 0) + 1, f"{counters}\n{ends.pluto.tail()}"
    assert counters["tickets-given"] == counted["tickets-given"] + 1
    assert ends.pings()
    until(lambda: len(ends.gateway.ike_sas(tunnel.name)) == 1, "the old one is gone")
    ends.pluto.whack("--name", tunnel.name, "--delete")


@pytest.mark.parametrize("initiator", ["ours", "theirs", "both"])
@pytest.mark.requires("iperf3", "nft-queue")
@pytest.mark.timeout(60 + 6 * CROSSINGS)
def test_rekeys_without_end(ends: Ends, tmp_path: Path, initiator: str) -> None:
    """No packet is lost and nothing doubles when libreswan 5 rekeys, or we do, or both at once.

    Like 4.10, as responder it sends on the new CHILD_SA before its answer is out. When the CHILD_SA that it made last
    is deleted, it removes its policies, also where another one for the same packets stands.
    """
    endure(ends, tmp_path, initiator)
