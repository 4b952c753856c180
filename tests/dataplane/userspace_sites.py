"""Two sites in network namespaces, with a userspace data plane each in a process of its own."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.lab.namespaces import Namespace

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
