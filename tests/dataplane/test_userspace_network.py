"""Two userspace data planes in two network namespaces: real TUN devices, routes, ping and TCP; nothing stays behind."""

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from gateway.dataplane.driver import Driver
from gateway.dataplane.tun import Tun
from gateway.dataplane.userspace import UserspacePlane
from gateway.ike.plane import (
    AddPolicy,
    AddRoute,
    AddState,
    Direction,
    Encapsulation,
    EspState,
    Order,
    Policy,
    Refused,
    RemovePolicy,
    RemoveRoute,
    RemoveState,
    Route,
    SkipSequence,
    StateKey,
)
from gateway.policy.selectors import Selector
from tests.dataplane.test_userspace_paths import row
from tests.lab.namespaces import Namespace, Network, two_sites

pytestmark = [pytest.mark.requires("root", "tun", "netns", "ping"), pytest.mark.timeout(90)]

OUTER = {"v4": ("192.0.2.1", "192.0.2.2"), "v6": ("2001:db8::1", "2001:db8::2")}
NETS = (["10.1.0.0/24", "fd01::/64"], ["10.2.0.0/24", "fd02::/64"])


@dataclass
class Remote:
    """A process of `tests.dataplane.userspace_end`."""

    ns: Namespace
    process: subprocess.Popen[str]

    def line(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, what: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return self.line()

    def drops(self) -> dict[str, int]:
        counted = self.ask("counters")["drops"]
        # Link-local noise of the kernel's own that leaves by the TUN device: it has no policy, as it should.
        return {why: count for why, count in counted.items() if count and why != "no_policy"}


@contextlib.contextmanager
def ends(left: Namespace, right: Namespace, outer: str = "v4", **settings: Any) -> Iterator[tuple[Remote, Remote]]:
    """The tunnel between the two sites' nets; `settings` are for both ends, `left_…` for one."""
    here, there = OUTER[outer]
    own = {name.removeprefix("left_"): settings.pop(name) for name in list(settings) if name.startswith("left_")}
    one = {"here": here, "there": there, "ours": NETS[0], "theirs": NETS[1], "spi_in": 0x1001, "spi_out": 0x1002}
    two = {"here": there, "there": here, "ours": NETS[1], "theirs": NETS[0], "spi_in": 0x1002, "spi_out": 0x1001}
    started: list[Remote] = []
    try:
        for ns, what in ((left, {**one, **settings, **own}), (right, {**two, **settings})):
            command = ns.command(sys.executable, "-m", "tests.dataplane.userspace_end", json.dumps(what))
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            started.append(Remote(ns, process))
        for remote in started:
            assert remote.line() == {"ready": "ikegate0"}
        yield started[0], started[1]
    finally:
        for remote in started:
            with remote.process:  # closes the pipes and waits
                remote.process.terminate()


def lies_there(ns: Namespace) -> list[str]:
    """What a data plane would have left in a namespace: device, rules, routes."""
    words = [ns.ip("link"), ns.ip("rule"), ns.ip("-6", "rule")]
    words += [ns.ip(family, "route", "show", "table", "all") for family in ("-4", "-6")]
    return [line for text in words for line in text.splitlines() if "ikegate" in line or "4500" in line]


RECEIVE = """
import hashlib, socket, sys
listening = socket.create_server((sys.argv[1], 7000), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print("listening", flush=True)
connection, digest = listening.accept()[0], hashlib.sha256()
while data := connection.recv(1 << 16):
    digest.update(data)
connection.sendall(digest.digest())
"""
SEND = """
import hashlib, socket, sys
connection = socket.create_connection((sys.argv[2], 7000), 20, (sys.argv[1], 0))
block = bytes(range(256)) * 1001
digest = hashlib.sha256()
for number in range(int(sys.argv[3])):
    data = number.to_bytes(2, "big") + block
    connection.sendall(data)
    digest.update(data)
connection.shutdown(socket.SHUT_WR)
sys.exit(connection.recv(64) != digest.digest())
"""
BLOCKS = 40
SENT_OCTETS = BLOCKS * (2 + 256 * 1001)


def transfer(source: Namespace, destination: Namespace, addresses: tuple[str, str], blocks: int = BLOCKS) -> None:
    """So many quarters of a megabyte over TCP; what arrived must be what was sent."""
    command = destination.command(sys.executable, "-c", RECEIVE, addresses[1])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"
        done = source.run(sys.executable, "-c", SEND, *addresses, str(blocks), check=False, timeout=40)
        assert done.returncode == 0, done.stderr
        server.wait(10)


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


# -- one plane, in this process


def selector(text: str) -> Selector:
    return Selector.parse(text)


STATE = EspState(
    0x1001, "192.0.2.2", "192.0.2.1", True, 1, row("aes256gcm16"), bytes(36), encapsulation=Encapsulation(4500, 4500)
)
POLICY = Policy(Direction.OUT, selector("10.1.0.0/24"), selector("10.2.0.0/24"), "192.0.2.1", "192.0.2.2", 1, 0x1002)
ROUTE = Route(selector("10.2.0.0/24"), (selector("10.1.0.0/24"),), "192.0.2.2")


@pytest.fixture
def site(network: Network) -> Namespace:
    return two_sites(network)[0]


@pytest.fixture
def plane(site: Namespace) -> Iterator[UserspacePlane]:
    with site.entered():
        made = UserspacePlane()
    yield made
    made.close()
    assert lies_there(site) == []


def test_keeps_what_it_was_told_without_the_keys(plane: UserspacePlane) -> None:
    out = replace(STATE, spi=0x1002, source="192.0.2.1", destination="192.0.2.2", inbound=False)
    plane.apply([AddState(STATE), AddState(out), AddPolicy(POLICY), AddRoute(ROUTE)])
    assert list(plane.states()) == [replace(STATE, encr_key=b""), replace(out, encr_key=b"")]
    assert list(plane.policies()) == [POLICY]
    assert list(plane.routes()) == [ROUTE]
    assert set(plane.counters()) == {STATE.key, out.key}
    plane.apply([RemoveState(STATE.key, True), RemoveState(out.key, False), RemovePolicy(POLICY), RemoveRoute(ROUTE)])
    plane.apply([RemoveState(STATE.key, True), RemoveState(out.key, False), RemovePolicy(POLICY), RemoveRoute(ROUTE)])
    assert not plane.states()
    assert not plane.policies()
    assert not plane.routes()


BAD_KEY = AddState(replace(STATE, spi=0x1003, encr_key=bytes(3)))
NOWHERE = AddRoute(Route(selector("10.7.0.0/24"), (), "no address"))


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (AddState(STATE), "00001001 to 192.0.2.1 exists"),
        (AddState(replace(STATE, destination="2001:db8::1")), "exists"),
        (BAD_KEY, "octets of key"),
        (NOWHERE, "no route to 10.7.0.0/24"),
    ],
    ids=["twice", "spi", "key", "route"],
)
def test_a_batch_is_carried_out_whole_or_not(plane: UserspacePlane, site: Namespace, last: Order, why: str) -> None:
    with pytest.raises(Refused, match=why):
        plane.apply([AddState(STATE), AddPolicy(POLICY), AddRoute(ROUTE), last])
    assert not plane.states()
    assert not plane.policies()
    assert not plane.routes()
    assert not [line for line in lies_there(site) if "10.2.0.0" in line or "192.0.2.2" in line]
    plane.apply([AddState(STATE)])
    with pytest.raises(Refused):
        plane.apply([RemoveState(STATE.key, True), last, AddState(STATE), AddState(STATE)])
    assert [each.key for each in plane.states()] == [STATE.key]


def test_a_state_given_another_peer_address_keeps_its_window_and_counts(plane: UserspacePlane) -> None:
    plane.apply([AddState(STATE)])
    before = plane._inbound.find(STATE.spi)
    assert before is not None
    before.esp.window.accept(40)
    before.packets = 3
    moved = replace(STATE, source="192.0.2.99", encapsulation=Encapsulation(61000, 4500))
    plane.apply([RemoveState(STATE.key, True), AddState(moved)])
    after = plane._inbound.find(STATE.spi)
    assert after is not None
    assert after.peer == ("192.0.2.99", 61000)
    assert not after.esp.window.fresh(40)
    assert plane.counters()[STATE.key].packets == 3
    other_key = replace(STATE, encr_key=bytes(35) + b"\1")
    plane.apply([RemoveState(STATE.key, True), AddState(other_key)])
    assert plane.counters()[STATE.key].packets == 0


def test_an_outbound_state_skips_sequence_numbers(plane: UserspacePlane) -> None:
    sending = replace(STATE, inbound=False, source="192.0.2.1", destination="192.0.2.2")
    with pytest.raises(Refused, match="no state with SPI"):
        plane.apply([SkipSequence(sending.key, 5)])
    plane.apply([AddState(sending), SkipSequence(sending.key, 5)])
    found = plane._outbound.find(sending.key)
    assert found is not None
    assert found.esp.sequence == 5


def test_allocated_spis_differ_for_all_our_addresses(site: Namespace) -> None:
    answers = [b"\0\0\0\7", b"\0\0\1\0", b"\0\0\1\0", b"\0\0\1\1", b"\0\0\1\1", b"\0\0\1\2", b"\0\0\1\0"]
    with site.entered():
        plane = UserspacePlane(random=lambda _: answers.pop(0))
    with contextlib.closing(plane):
        assert plane.allocate_spi("192.0.2.2", "192.0.2.1") == 256
        assert plane.allocate_spi("192.0.2.2", "2001:db8::1") == 257
        assert plane.allocate_spi("192.0.2.2", "192.0.2.1") == 258
        plane.apply([RemoveState(StateKey("192.0.2.1", 256), True)])
        assert plane.allocate_spi("192.0.2.2", "192.0.2.1") == 256


def test_a_route_lies_there_as_long_as_one_wants_it(plane: UserspacePlane, site: Namespace) -> None:
    wider = Route(selector("10.2.0.0-10.2.0.255"), (), "192.0.2.2")
    assert wider.destination == ROUTE.destination
    plane.apply([AddRoute(ROUTE), AddRoute(ROUTE), AddRoute(wider)])

    def lines() -> list[str]:
        return site.ip("route", "show", "table", "all").splitlines()

    for order in (RemoveRoute(ROUTE), RemoveRoute(ROUTE)):
        plane.apply([order])
        assert any("10.2.0.0/24 dev ikegate0" in line for line in lines())
    plane.apply([RemoveRoute(wider)])
    assert not any("10.2.0.0" in line for line in lines())
    around = Route(selector("192.0.2.0/24"), (), "192.0.2.2")
    plane.apply([AddRoute(around)])
    assert any("throw 192.0.2.2" in line for line in lines()), "where the peer is, inside what it is asked for"
    plane.apply([RemoveRoute(around)])
    assert not any("throw" in line for line in lines())


def test_a_trap_brings_its_route_until_it_is_replaced_or_lifted(plane: UserspacePlane, site: Namespace) -> None:
    trap = POLICY._replace(spi=None, destination=selector("10.2.0.0/24[tcp/443]"))

    def lines() -> str:
        return "".join(re.findall(r"10.2.0.0/24 dev ikegate0 .*src 10.1.0.1", site.ip("route", "show", "table", "all")))

    for gone in ([AddPolicy(trap._replace(spi=0x1002))], [RemovePolicy(trap)]):
        plane.apply([AddPolicy(trap)])
        plane.apply([AddPolicy(trap)])
        assert lines()
        plane.apply(gone)
        assert not lines()
    plane.apply([AddPolicy(trap)])
    plane.apply([AddPolicy(trap._replace(spi=0x1002)), AddRoute(ROUTE)])
    assert lines()
    plane.apply([RemovePolicy(trap), RemoveRoute(ROUTE)])
    assert not lines()


def test_a_range_that_is_no_prefix_needs_several_routes(plane: UserspacePlane, site: Namespace) -> None:
    plane.apply([AddRoute(Route(selector("10.2.0.1-10.2.0.6"), (), "192.0.2.2"))])
    found = re.findall(r"^(\S+) dev ikegate0", site.ip("route", "show", "table", "all"), re.MULTILINE)
    assert found == ["10.2.0.1", "10.2.0.2/31", "10.2.0.4/31", "10.2.0.6"]


NAMES = ("ikegate0", "ikegate1")


def test_two_planes_take_the_next_device_and_their_own_tables(plane: UserspacePlane, site: Namespace) -> None:
    with site.entered():
        second = UserspacePlane()
    assert (plane.device, second.device) == ("ikegate0", "ikegate1")
    plane.apply([AddRoute(ROUTE)])
    second.apply([AddRoute(ROUTE)])
    tables = [set(re.findall(rf"dev {name} .*table (\d+)", site.ip("route", "show", "table", "all"))) for name in NAMES]
    assert all(tables)
    assert not tables[0] & tables[1]
    second.close()
    assert "ikegate1" not in site.ip("route", "show", "table", "all")
    assert "ikegate0" in site.ip("route", "show", "table", "all")
    rules = site.ip("rule")
    assert any(f"lookup {table}" in rules for table in tables[0])
    assert not any(f"lookup {table}" in rules for table in tables[1])


def test_a_device_that_cannot_be_made_is_refused_with_its_reason(plane: UserspacePlane, site: Namespace) -> None:
    with site.entered(), pytest.raises(Refused, match=r"no TUN device ikegate0: .*busy"):
        Tun("ikegate0")


async def test_a_device_deleted_by_somebody_is_said_once(
    plane: UserspacePlane, site: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    plane.listen(lambda event: None)
    site.ip("link", "delete", "ikegate0")
    async with asyncio.timeout(20):
        while not caplog.records:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "ikegate0 is gone" in caplog.text


def test_close_twice_and_without_a_loop_is_silent(plane: UserspacePlane) -> None:
    plane.close()
    plane.close()
    assert not plane.states()


def test_its_name_and_description_say_what_it_is(plane: UserspacePlane) -> None:
    driver: Driver = plane
    assert driver.name == "userspace"
    assert plane.needs_encapsulation
    assert "ikegate0" in plane.describe()
