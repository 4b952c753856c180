"""TCP through our userspace ESP beside strongSwan's kernel-libipsec, in alternating rounds of one run.

`python -m benchmarks.esp` as root. Each pair of gateways has two network namespaces and a cable of its own, and
only one pair works at a time. The cables segment in software and receive with GRO, like a plain network card. Next to
the throughput stands what the two gateway processes of a pair spent: Mbit per second of their CPU time.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.strongswan import CONNECTION
from tests.lab.charon import Charon, CharonError
from tests.lab.namespaces import CommandFailedError, Namespace, Network, two_sites
from tests.lab.userspace import first_missing, missing

INNER = "10.2.0.1"
# A cable that takes batches whole would spare us, and only us, what a network card costs. With TSO a veth makes no GRO.
_LIKE_A_CARD = ("tx-udp-segmentation", "off", "tso", "off", "gro", "on")


@dataclass(slots=True)
class Pair:
    """Two gateways with a tunnel between their nets, and what was measured with them."""

    name: str
    left: Namespace
    right: Namespace
    pids: tuple[int, int]
    mbits: list[float] = field(default_factory=list)
    per_cpu: list[float] = field(default_factory=list)

    def measure(self, seconds: float, folder: Path) -> None:
        """One TCP flow from left to right for that long."""
        server = self.right.start("iperf3", "-s", "-1", "-B", INNER, output=folder / "iperf3-server")
        _wait_for_server(self.right)
        before = sum(map(_cpu_seconds, self.pids))
        done = self.left.run("iperf3", "-c", INNER, "-B", "10.1.0.1", "-t", f"{seconds:g}", "-J", timeout=seconds + 30)
        spent = sum(map(_cpu_seconds, self.pids)) - before
        server.wait(10)
        received = json.loads(done.stdout)["end"]["sum_received"]
        self.mbits.append(received["bits_per_second"] / 1e6)
        self.per_cpu.append(received["bytes"] * 8e-6 / spent)

    def line(self) -> str:
        return (
            f"{self.name:28} {statistics.median(self.mbits):7.0f} Mbit/s ({min(self.mbits):.0f}-{max(self.mbits):.0f})"
            f"   {statistics.median(self.per_cpu):6.0f} Mbit per CPU-second of both gateways"
        )


def _wait_for_server(ns: Namespace) -> None:
    deadline = time.monotonic() + 5
    while not ns.run("ss", "-Hltn", "sport = :5201").stdout:
        if time.monotonic() > deadline:
            raise CommandFailedError("iperf3 -s does not listen")
        time.sleep(0.05)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _sites(network: Network) -> tuple[Namespace, Namespace]:
    left, right = two_sites(network)
    for ns, device in ((left, "to-right"), (right, "to-left")):
        done = ns.run("ethtool", "-K", device, *_LIKE_A_CARD, check=False)
        if done.returncode:
            raise CommandFailedError(f"ethtool cannot make {device} like a network card: {done.stderr.strip()}")
    return left, right


@contextlib.contextmanager
def ours(cipher: str) -> Iterator[Pair]:
    """Two processes of `tests.dataplane.userspace_end` with states by hand."""
    with Network() as network:
        left, right = _sites(network)
        settings = [
            {"here": "192.0.2.1", "there": "192.0.2.2", "ours": ["10.1.0.0/24"], "theirs": ["10.2.0.0/24"]},
            {"here": "192.0.2.2", "there": "192.0.2.1", "ours": ["10.2.0.0/24"], "theirs": ["10.1.0.0/24"]},
        ]
        spis = ({"spi_in": 0x1001, "spi_out": 0x1002}, {"spi_in": 0x1002, "spi_out": 0x1001})
        ends: list[subprocess.Popen[str]] = []
        try:
            for ns, setting, spi in zip((left, right), settings, spis, strict=True):
                words = (sys.executable, "-m", "tests.dataplane.userspace_end")
                command = ns.command(*words, json.dumps({**setting, **spi, "encr": cipher}))
                ends.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for end in ends:
                assert end.stdout is not None
                if not end.stdout.readline():
                    raise CommandFailedError(f"our end did not start: status {end.wait(5)}")
            yield Pair("ikegate userspace ESP", left, right, (ends[0].pid, ends[1].pid))
        finally:
            for end in ends:
                end.terminate()
                end.wait(10)


@contextlib.contextmanager
def theirs(cipher: str, folder: Path) -> Iterator[Pair]:
    """Two strongSwan with kernel-libipsec, a pre-shared key and one child."""
    with Network() as network, contextlib.ExitStack() as stack:
        left, right = _sites(network)
        ends = (
            (left, "192.0.2.1", "192.0.2.2", "10.1.0.0/24", "10.2.0.0/24"),
            (right, "192.0.2.2", "192.0.2.1", "10.2.0.0/24", "10.1.0.0/24"),
        )
        charons: list[Charon] = []
        for ns, here, there, inner, outer in ends:
            charon = stack.enter_context(Charon(ns, folder / here))
            who = {"here": here, "ours": here, "there": there, "theirs": there}
            what = {"local": inner, "remote": outer, "ike": "default", "esp": cipher}
            charon.load(CONNECTION.format(**who, **what, secret="only for this benchmark"))
            charons.append(charon)
        charons[0].initiate("net")
        pids = [charon.process.pid for charon in charons if charon.process is not None]
        yield Pair("strongSwan kernel-libipsec", left, right, (pids[0], pids[1]))


def compare(rounds: int, seconds: float, cipher: str) -> int:
    """Measure, print, and say what is missing; the exit status."""
    needs = first_missing("root", "tun", "netns", "iperf3")
    if needs:
        print(f"cannot measure: {needs}", file=sys.stderr)
        return 2
    absent = missing("charon")
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        pairs = [stack.enter_context(ours(cipher))]
        if absent:
            print(f"no comparison: {absent}", file=sys.stderr)
        else:
            pairs.append(stack.enter_context(theirs(cipher, folder)))
        for number in range(rounds):
            for pair in pairs if number % 2 == 0 else pairs[::-1]:
                pair.measure(seconds, folder)
                print(f"round {number + 1}: {pair.name:28} {pair.mbits[-1]:7.0f} Mbit/s", flush=True)
    print(f"\none TCP flow, {cipher}, median (lowest-highest) of {rounds} rounds of {seconds:g} s")
    for pair in pairs:
        print(pair.line())
    if len(pairs) == 2:
        for what, mine, other in (
            ("throughput", pairs[0].mbits, pairs[1].mbits),
            ("per CPU-second", pairs[0].per_cpu, pairs[1].per_cpu),
        ):
            ratios = [a / b for a, b in zip(mine, other, strict=True)]
            print(f"ratio of {what}: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    return 0 if len(pairs) == 2 else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.esp", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each pair is measured (default 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one measurement (default 4)")
    parser.add_argument(
        "--cipher", default="aes256gcm16", help="ESP proposal in strongSwan's words (default aes256gcm16)"
    )
    options = parser.parse_args()
    try:
        return compare(options.rounds, options.seconds, options.cipher)
    except (CommandFailedError, CharonError, subprocess.TimeoutExpired) as failure:
        print(f"cannot measure: {failure}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
