"""Floods against a gateway process on loopback while honest peers connect: who gets in, how fast, and at what cost.

`python -m benchmarks.floods [--seconds N] [--rate N] [KIND …]`. The senders use addresses all over 127.0.0.0/8. The
honest client calls ever again with one identity after the other. CPU is the gateway's, memory its resident set.
Nothing is asserted; `benchmarks.soak` judges.
"""

import argparse
import asyncio
import gc
import json
import os
import random
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.end import ESP, IKE, SECRET
from gateway.dataplane.memory import MemoryPlane
from gateway.ike.engine import Engine
from gateway.policy.identities import Identity, IdentityPattern
from gateway.policy.peers import Child, Peer, Psk, Retransmission, Start
from gateway.policy.proposals import Proposal
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.service.journal import Journal, Record
from gateway.service.runner import Runner
from gateway.service.transport import Transport
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build
from gateway.wire.numbers import ExchangeType, Protocol

HOST = "127.0.0.1"
RATE = 20_000
SECONDS = 10.0
_CLIENTS = 4096
_PATIENCE = 20.0
_PKTINFO = struct.Struct("=i4s4s")
_IP_PKTINFO = 8
_BURST = 0.005


def free_ports(count: int) -> list[int]:
    """UDP ports of loopback that nobody has now."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _peer(name: str, theirs: str, ours: str, nets: tuple[str, str], port: int) -> Peer:
    child = Child(
        "net",
        (Selector.parse(nets[0]),),
        (Selector.parse(nets[1]),),
        (Proposal.parse(ESP, Protocol.ESP),),
        Start.PASSIVE,
        rekey_time=0.0,
    )
    return Peer(
        name,
        IdentityPattern.parse(theirs),
        (Proposal.parse(IKE, Protocol.IKE),),
        (child,),
        Identity.parse(ours),
        remote_addresses=(HOST,) if port else (),
        remote_port=port or 500,
        dpd_delay=0.0,
        rekey_time=0.0,
        retransmission=Retransmission(tries=8, base=0.5, factor=1.5),
    )


def _runner(peers: list[Peer], ports: tuple[int, int], journal: Journal) -> Runner:
    """Engine and sockets as in production, but on loopback alone and over a data plane in memory."""
    plane = MemoryPlane()
    runner = Runner(Engine(plane, os.urandom), ports, plane, journal, None)
    runner.transport = Transport(*ports, runner.receive, host=HOST)
    problem = runner.open()
    if problem:
        raise OSError(problem)
    runner.apply(Snapshot.build(1, peers, [Psk("all", SECRET.encode())], EngineSettings(keepalive=0.0)))
    return runner


async def serve(ike: int, nat: int) -> None:
    """The gateway under fire; each line on its input is answered with what it counted."""
    peers = [_peer("clients", "*.example", "gw.example", ("10.2.0.0/16", "172.16.0.0/12"), 0)]
    journal = Journal()
    runner = _runner(peers, (ike, nat), journal)
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print("{}", flush=True)
    while await reader.readline():
        core = runner.engine.core
        runner.outages.changed.clear()  # the service writes both into its database every five seconds
        runner.outages.gone.clear()
        gc.collect()
        kept = {"sas": len(core.sas), "records": len(journal), "attempts": len(core.attempts)}
        kept["blocks"] = sys.getallocatedblocks()
        print(json.dumps({**kept, "counters": dict(core.counters)}), flush=True)


# --- those who mean no good ---


def _opening(chance: random.Random, nonce: bytes = bytes(32)) -> bytes:
    """A right IKE_SA_INIT; its public value is a point of the curve that costs the gateway a key exchange."""
    offer = wire.SA([Proposal.parse(IKE, Protocol.IKE).to_wire(1, b"")])
    payloads: list[wire.Payload] = [offer, wire.KE(31, chance.randbytes(31) + b"\x07"), wire.Nonce(nonce)]
    payloads += [wire.Notify(0, b"", kind, chance.randbytes(20)) for kind in (16388, 16389)]
    return build(Message(chance.randbytes(8), bytes(8), ExchangeType.IKE_SA_INIT, True, False, 0, payloads))


def _spoofed(chance: random.Random) -> Iterator[tuple[bytes, bytes]]:
    """Openings, each from an address that is seen once."""
    first = _opening(chance)
    while True:
        yield chance.randbytes(8) + first[8:], b"\x7f" + bytes((chance.randint(1, 254),)) + chance.randbytes(2)


def _half_open(chance: random.Random) -> Iterator[tuple[bytes, bytes]]:
    """Openings of few sources that never go on."""
    first = _opening(chance)
    while True:
        yield chance.randbytes(8) + first[8:], b"\x7f\x09\x09" + bytes((chance.randint(1, 8),))


def _malformed(chance: random.Random) -> Iterator[tuple[bytes, bytes]]:
    """Openings with a few octets wrong, and noise."""
    first = _opening(chance)
    while True:
        data = bytearray(chance.randbytes(8) + first[8:])
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(16, len(data))] = chance.randrange(256)
        octets = bytes(data) if chance.random() < 0.8 else chance.randbytes(chance.randint(0, 600))
        yield octets, b"\x7f\x0a" + chance.randbytes(2)


def _replayed(chance: random.Random) -> Iterator[tuple[bytes, bytes]]:
    """The same few openings and sealed messages over and over."""
    stock = [_opening(chance) for _ in range(50)]
    for exchange in (35, 36, 37):
        sealed = wire.SK(41, chance.randbytes(200))
        stock.append(build(Message(chance.randbytes(8), chance.randbytes(8), exchange, True, False, 1, [sealed])))
    while True:
        yield chance.choice(stock), b"\x7f\x0b\x0b" + bytes((chance.randint(1, 250),))


KINDS: dict[str, Callable[[random.Random], Iterator[tuple[bytes, bytes]]]] = {
    "spoofed": _spoofed,
    "half-open": _half_open,
    "malformed": _malformed,
    "replayed": _replayed,
}


def send(kind: str, port: int, rate: float, seconds: float) -> int:
    """Send at that rate from many addresses of loopback; how many went out."""
    sent, started = 0, time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        flood = KINDS[kind](random.Random(kind))
        while (passed := time.monotonic() - started) < seconds:
            for _ in range(int(rate * min(passed + _BURST, seconds)) - sent):
                data, source = next(flood)
                info = [(socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, source, bytes(4)))]
                sock.sendmsg((data,), info, 0, (HOST, port))
                sent += 1
            time.sleep(_BURST)
    return sent


# --- those who want a tunnel ---


class Caller(Journal):
    """Many clients of one process; each call is timed from the command to the installed child."""

    def __init__(self, port: int) -> None:
        super().__init__(100)
        self.took: list[float] = []
        self.failed: list[str] = []
        self._since: dict[str, tuple[float, asyncio.Future[None]]] = {}
        self._next = 0
        peers = [self._client(n, port) for n in range(_CLIENTS)]
        ike, nat = free_ports(2)
        self._runner = _runner(peers, (ike, nat), self)

    @staticmethod
    def _client(number: int, port: int) -> Peer:
        net = f"172.16.{number >> 8}.{number & 255}/32"
        return _peer(f"c{number}", "gw.example", f"c{number}.example", (net, "10.2.0.0/16"), port)

    def write(self, at: float, kind: str, text: str, peer: str | None = None, **data: Any) -> Record:
        if peer in self._since and kind in ("child-sa.installed", "ike-sa.failed", "exchange.failed"):
            started, done = self._since.pop(peer)
            if kind == "child-sa.installed":
                self.took.append(time.perf_counter() - started)
            else:
                self.failed.append(text)
            done.set_result(None)
        return super().write(at, kind, text, peer, **data)

    async def call(self) -> None:
        """One client connects, and leaves again."""
        name, self._next = f"c{self._next % _CLIENTS}", self._next + 1
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._since[name] = time.perf_counter(), done
        runner = self._runner
        runner.perform(runner.engine.connect(name, None, runner.clock())[1])
        try:
            await asyncio.wait_for(done, _PATIENCE)
        except TimeoutError:
            del self._since[name]
            self.failed.append(f"nothing came of it within {_PATIENCE:g} s")
        runner.perform(runner.engine.disconnect(name, None, runner.clock())[1])

    async def close(self) -> None:
        await self._runner.stop()


@dataclass(slots=True)
class Outcome:
    """What one flood did; latencies in seconds, memory in octets."""

    kind: str
    sent: int
    took: list[float]
    failed: list[str]
    cpu: float
    seconds: float
    memory: tuple[int, int]
    sas: int
    counters: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        tries = len(self.took) + len(self.failed)
        middle = statistics.median(self.took) * 1000 if self.took else float("nan")
        worst = max(self.took, default=float("nan")) * 1000
        before, after = (octets / 2**20 for octets in self.memory)
        return (
            f"{self.kind:10} {self.sent / self.seconds:8,.0f}/s  honest {len(self.took)} of {tries}, median "
            f"{middle:.1f} ms, worst {worst:.0f} ms  CPU {100 * self.cpu / self.seconds:.0f} %  memory {before:.1f} to "
            f"{after:.1f} MiB, {self.sas} SAs left"
        )


class Target:
    """The gateway's process."""

    def __init__(self) -> None:
        self.ike, self.nat = free_ports(2)
        words = [sys.executable, "-m", "benchmarks.floods", "--serve", str(self.ike), str(self.nat)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the gateway ended with {self.process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._answer()

    @property
    def memory(self) -> int:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    @property
    def cpu(self) -> float:
        return time.clock_gettime((~self.process.pid << 3) | 2)  # the clock that clock_getcpuclockid(3) names

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def target() -> Iterator[Target]:
    one = Target()
    try:
        yield one
    finally:
        one.close()


async def flood(gateway: Target, kind: str | None, rate: float, seconds: float, pause: float = 0.05) -> Outcome:
    """One flood (None: peace) with an honest call every so often."""
    caller = Caller(gateway.nat)
    try:
        for _ in range(20):  # what both processes need to be warm
            await caller.call()
        caller.took.clear()
        before, started, spent = gateway.memory, time.monotonic(), gateway.cpu
        words = [sys.executable, "-m", "benchmarks.floods", "--send", str(kind), str(gateway.ike), str(rate)]
        sender = None
        if kind:
            pipe = asyncio.subprocess.PIPE
            sender = await asyncio.create_subprocess_exec(*words, "--seconds", str(seconds), stdout=pipe)
        while time.monotonic() - started < seconds:
            await caller.call()
            await asyncio.sleep(pause)
        sent = int((await sender.communicate())[0]) if sender else 0
        passed = time.monotonic() - started
        found = gateway.ask()
        cost, after = gateway.cpu - spent, gateway.memory
    finally:
        await caller.close()
    return Outcome(
        kind or "peace", sent, caller.took, caller.failed, cost, passed, (before, after), found["sas"],
        found["counters"],
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floods", description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], help="which floods; all of them if none is named")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long each lasts")
    parser.add_argument("--rate", type=float, default=RATE, help="datagrams a second")
    parser.add_argument("--serve", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--send", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(*options.serve))
        return 0
    if options.send:
        kind, port, rate = options.send
        print(send(kind, int(port), float(rate), options.seconds))
        return 0
    with target() as gateway:
        for kind in (None, *(options.kinds or KINDS)):
            outcome = asyncio.run(flood(gateway, kind, options.rate, options.seconds))
            print(outcome, flush=True)
            for text in sorted(set(outcome.failed))[:3]:
                print(f"           failed: {text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
