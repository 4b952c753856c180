"""Two userspace data planes in two network namespaces: real TUN devices, routes, ping and TCP; nothing stays behind."""

import re
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.dataplane.userspace_sites import SENT_OCTETS, ends, lies_there, transfer
from tests.lab.namespaces import Network, two_sites


@pytest.mark.parametrize("outer", ["v4", "v6"])
def test_ping_and_tcp_pass_in_every_mixture_of_families(network: Network, outer: str) -> None:
    left, right = two_sites(network)
    with ends(left, right, outer) as (one, two):
        assert left.ping("10.2.0.1", count=2)
        assert right.ping("fd01::1", source="fd02::1", count=2, size=1300)
        assert left.ping("10.2.0.1", size=3000), "fragments of the inner packet"
        for addresses in (("10.1.0.1", "10.2.0.1"), ("fd01::1", "fd02::1")):
            transfer(left, right, addresses)
        transfer(right, left, ("10.2.0.1", "10.1.0.1"))
        both = "00001001", "00001002"
        for _ in range(30):  # the last segment may still be on its way
            ours, theirs = one.ask("counters")["counters"], two.ask("counters")["counters"]
            if all(ours[spi]["packets"] == theirs[spi]["packets"] for spi in both):
                break
            time.sleep(0.1)
        for spi in both:
            assert (ours[spi]["octets"], ours[spi]["packets"]) == (theirs[spi]["octets"], theirs[spi]["packets"])
            assert abs(time.time() - ours[spi]["last_used"]) < 60
        assert ours["00001002"]["octets"] > 2 * SENT_OCTETS
        assert ours["00001001"]["octets"] > SENT_OCTETS
        assert one.drops() == two.drops() == {}
    assert lies_there(left) == lies_there(right) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"encr": "chacha20poly1305", "esn": True},
        {"encr": "aes256", "integ": "sha256"},
        {"encr": "aes128ctr", "integ": "sha512"},
    ],
    ids=lambda settings: settings["encr"],
)
def test_other_ciphers_pass(network: Network, settings: dict[str, Any]) -> None:
    left, right = two_sites(network)
    with ends(left, right, **settings) as (one, _):
        assert left.ping("10.2.0.1", count=2)
        transfer(left, right, ("10.1.0.1", "10.2.0.1"))
        assert one.drops() == {}


def test_a_path_with_a_small_mtu_still_passes(network: Network) -> None:
    left, right = network.namespace("left"), network.namespace("right")
    network.link(left, right, "192.0.2.1/24", "192.0.2.2/24", mtu=1300)
    left.address("lo", "10.1.0.1/24", "fd01::1/64")
    right.address("lo", "10.2.0.1/24", "fd02::1/64")
    with ends(left, right) as (one, two):
        assert left.ping("10.2.0.1", size=1372)
        transfer(left, right, ("10.1.0.1", "10.2.0.1"))
        assert one.drops() == two.drops() == {}


def test_all_traffic_into_the_tunnel_but_what_goes_to_the_peer_itself(network: Network) -> None:
    left, right = two_sites(network)
    everything: dict[str, Any] = {"left_ours": ["10.1.0.0/24", "fd01::/64"], "left_theirs": ["0.0.0.0/0", "::/0"]}
    with ends(left, right, **everything) as (one, _):
        for target, device in (
            ("10.2.0.1", "ikegate0"),
            ("203.0.113.9", "ikegate0"),
            ("2001:db8:f::9", "ikegate0"),
            ("192.0.2.2", "to-right"),
            ("224.0.0.251", None),
        ):
            found = left.run("ip", "route", "get", target, check=False)
            assert (re.search(r"dev (\S+)", found.stdout) or [None, None])[1] == device, found.stdout
        assert "src 10.1.0.1" in left.ip("route", "get", "203.0.113.9")
        assert "src fd01::1" in left.ip("route", "get", "2001:db8:f::9")
        left.sysctl("net.ipv4.conf.all.rp_filter", 1)
        left.sysctl("net.ipv4.conf.to-right.rp_filter", 1)
        assert left.ping("10.2.0.1")
        assert left.ping("192.0.2.2"), "the outer address stays outside"
        assert one.drops() == {}
    assert lies_there(left) == []


def test_forged_packets_from_the_network_do_nothing_but_count(network: Network) -> None:
    left, right = two_sites(network)
    strike = "import socket; sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
    strike += "forged = bytes.fromhex('0000100100000001') + bytes(60); "
    strike += "[sock.sendto(data, ('192.0.2.1', 4500)) for data in (forged, b'1234', bytes(64))]"
    with ends(left, right) as (one, _):
        right.run(sys.executable, "-c", strike)
        heard = one.line()
        assert heard == {"ike": bytes(60).hex(), "peer": heard["peer"], "ours": "192.0.2.1"}
        assert heard["peer"][0] == "192.0.2.2"
        assert one.drops() == {"forged": 1, "too_short": 1}
        assert left.ping("10.2.0.1")


def test_a_trap_acquires_and_the_next_packet_passes(network: Network) -> None:
    left, right = two_sites(network)
    with ends(left, right, left_trap=True, left_routes=[]) as (one, _):  # the trap brings its own
        assert not left.ping("10.2.0.1", wait=0.3)
        assert one.line()["event"] == "Acquire"
        assert one.ask("states") == {"done": "states"}
        assert left.ping("10.2.0.1")


def test_the_packet_that_met_a_trap_passes_when_its_state_comes(network: Network) -> None:
    left, right = two_sites(network)
    with ends(left, right, left_trap=True, left_routes=[]) as (one, _):
        command = left.command("ping", "-n", "-q", "-c", "1", "-W", "5", "10.2.0.1")
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as pinging:
            assert one.line()["event"] == "Acquire"
            assert one.ask("states") == {"done": "states"}
            assert "1 received" in pinging.communicate(timeout=10)[0]
        assert one.drops() == {}


def test_close_removes_everything_and_a_killed_run_is_no_hindrance(network: Network) -> None:
    left, right = two_sites(network)
    for _ in range(2):
        with ends(left, right) as (one, two):
            assert lies_there(left)
            assert two.ask("close") == {"done": "close"}
            assert lies_there(right) == []
            one.process.send_signal(signal.SIGKILL)
            one.process.wait(5)
    assert not any("dev ikegate" in line for line in lies_there(left)), (
        "a killed run leaves no device and no route into it"
    )
