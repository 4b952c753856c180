"""ESP that comes before its state, in a kernel whose nftables have queues (CONFIG_NFT_QUEUE, family inet)."""

import asyncio
import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.dataplane.kernel_early import PATIENCE, EarlyPackets
from gateway.ike.plane import Expect, RemoveState, StateKey
from tests.kernel.conftest import Child, Site, port_4500
from tests.lab.appliance import until
from tests.lab.in_kernel import in_kernel

pytestmark = [in_kernel, pytest.mark.requires("root", "netns", "esp", "ping", "nft-queue")]

PINGS = 20


@pytest.fixture
def ports(sites: tuple[Site, Site]) -> Iterator[Callable[[int], None]]:
    made: list[socket.socket] = []
    yield lambda version: made.extend(port_4500(site, version) for site in sites)
    for sock in made:
        sock.close()


def early(sites: tuple[Site, Site], **what: object) -> Child:
    """A child that stands on the right, and on the left has its SPI alone."""
    child = Child(sites, **what)  # type: ignore[arg-type]
    child.allocate()
    sites[1].plane.apply(child.orders(1))
    return child


def flood(child: Child, tmp_path: Path) -> subprocess.Popen[bytes]:
    """Pings from the right, all under way before the left has a state; they wait two seconds for their answers."""
    left, right = child.sites
    words = ["-q", "-i", "0.01", "-c", str(PINGS), "-W", "2", "-I", right.host(child.inner), left.host(child.inner)]
    process = right.ns.start("ping", *words, output=tmp_path / "ping")
    until(lambda: counted(right, child) == PINGS, "all are sent")
    return process


def counted(site: Site, child: Child) -> int:
    """The packets that a site has sent through the child."""
    counters = site.plane.counters().get(child.state(site.end, inbound=False).key)
    return counters.packets if counters else 0


def dropped(site: Site) -> dict[str, int]:
    """Why the site's kernel dropped packets that it should have let through, and how many."""
    lines = site.ns.run("cat", "/proc/net/xfrm_stat").stdout.splitlines()
    return {name: int(number) for name, number in map(str.split, lines) if name.startswith("XfrmIn") and number != "0"}


def expect(site: Site, child: Child) -> None:
    site.plane.apply([Expect(StateKey(site.outer(child.outer), child.spis[site.end]))])


def received(process: subprocess.Popen[bytes], tmp_path: Path) -> bool:
    process.wait(10)
    return f"{PINGS} received" in (tmp_path / "ping").read_text()


@pytest.mark.parametrize("encapsulated", [False, True], ids=["esp", "udp"])
@pytest.mark.parametrize("outer", [4, 6])
def test_packets_before_their_state_are_kept_and_none_is_lost(
    sites: tuple[Site, Site], ports: Callable[[int], None], tmp_path: Path, encapsulated: bool, outer: int
) -> None:
    left = sites[0]
    if encapsulated:
        ports(outer)
    child = early(sites, outer=outer, encapsulated=encapsulated)
    expect(left, child)
    process = flood(child, tmp_path)
    left.plane.apply(child.orders(0))
    assert received(process, tmp_path)
    assert child.pings()


def test_what_comes_later_does_not_overtake_what_waits(sites: tuple[Site, Site], tmp_path: Path) -> None:
    """Else what waits is outside of the replay window when its turn comes."""
    left, right = sites
    child = early(sites)
    expect(left, child)
    code = f"""
import socket, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(({right.host(child.inner)!r}, 0))
while True:
    sock.sendto(bytes(8), ({left.host(child.inner)!r}, 9))
    time.sleep(0.0002)
"""
    process = right.ns.start(sys.executable, "-c", code, output=tmp_path / "sender")
    until(lambda: counted(right, child) > 600, "many are sent", pause=0.01)
    left.plane.apply(child.orders(0))
    sent = counted(right, child)
    until(lambda: counted(right, child) > sent + 100, "and more")
    process.kill()
    process.wait()
    assert not dropped(left)
    assert left.plane.counters()[child.state(0, inbound=True).key].packets > 600


def test_what_is_not_expected_is_lost(sites: tuple[Site, Site], tmp_path: Path) -> None:
    child = early(sites)
    process = flood(child, tmp_path)
    sites[0].plane.apply(child.orders(0))
    assert not received(process, tmp_path)


def test_an_spi_that_is_given_back_is_expected_no_more(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    child = early(sites)
    expect(left, child)
    assert "elements" in left.ns.run("nft", "list", "ruleset").stdout
    left.plane.apply([RemoveState(child.state(0, inbound=True).key, inbound=True)])
    assert "elements" not in left.ns.run("nft", "list", "ruleset").stdout


async def test_packets_whose_state_never_comes_are_dropped_in_time(sites: tuple[Site, Site], tmp_path: Path) -> None:
    left = sites[0]
    child = early(sites)
    left.plane.listen(lambda _: None)
    expect(left, child)
    process = flood(child, tmp_path)
    before = time.monotonic()
    while not left.plane._early._kept:
        await asyncio.sleep(0.01)
    while left.plane._early._kept and time.monotonic() < before + 5:
        await asyncio.sleep(0.05)
    assert time.monotonic() - before < PATIENCE + 1
    process.send_signal(signal.SIGINT)
    process.wait(10)
    left.plane.apply(child.orders(0))
    assert child.pings()


def test_the_rules_go_with_the_process_however_it_ends(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    code = """
from gateway.dataplane.kernel_early import EarlyPackets
import time
early = EarlyPackets()
early.expect(0x12345678)
print(sorted(early.expected), flush=True)
time.sleep(60)
"""
    command = left.ns.command(sys.executable, "-c", code)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "[305419896]\n"
        assert "ikegate_early" in left.ns.run("nft", "list", "ruleset").stdout
        process.kill()
    until(lambda: "ikegate_early" not in left.ns.run("nft", "list", "ruleset").stdout, "the table is gone")


def test_two_processes_have_a_queue_each(sites: tuple[Site, Site], caplog: pytest.LogCaptureFixture) -> None:
    left = sites[0]
    child = early(sites)
    expect(left, child)
    with caplog.at_level(logging.INFO), left.ns.entered():
        other = EarlyPackets()
        other.expect(5)
    assert other.expected == {5}
    other.close()
    assert not caplog.text
    assert left.plane._early.expected == {child.spis[0]}
