"""A bad network under virtual time: it loses, delays, doubles and reorders what real engines send to each other."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.dataplane.memory import MemoryPlane
from gateway.ike.effects import Ask, CodeUsed, Effect, Entered, Event, KeysMade, Left, Locate, Send, Solve, Withdraw
from gateway.ike.engine import Engine
from gateway.ike.fragments import ip_overhead
from gateway.ike.path import Path
from gateway.ike.plane import Action, Policy
from gateway.policy.identities import Identity, IdentityPattern
from gateway.policy.peers import Child, Peer, Psk, Retransmission, Start
from gateway.policy.proposals import Proposal
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import Snapshot
from gateway.service.tls_machine import make_tls
from gateway.wire.message import Message, parse, parse_header
from gateway.wire.numbers import ExchangeType, Protocol
from tests.ike.solving import solve

UNIX_OFFSET = 1_700_000_000.0 - 1000.0
"""The network's clock begins at 1000, and in November 2023."""
SECRET = b"correct horse battery staple"
IKE = (Proposal.parse("aes256gcm16-prfsha256-x25519-ecp256", Protocol.IKE),)
ESP = (Proposal.parse("aes256gcm16-x25519", Protocol.ESP),)


@dataclass(slots=True)
class Weather:
    """How bad: chances per datagram, and delays in seconds."""

    loss: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.01
    jitter: float = 0.0


class Outside:
    """Somebody whom an engine asks, such as a RADIUS server."""

    withdrawn = 0
    """Questions that nobody waits for any more."""

    def answer(self, question: Any) -> tuple[float, object]:
        """How long it thinks (seconds), and what it says."""
        raise NotImplementedError


@dataclass(slots=True)
class Host:
    """One end: an engine, its data plane, and what it said happened."""

    name: str
    address: str
    engine: Engine
    plane: MemoryPlane
    events: list[Event] = field(default_factory=list)
    keys: list[KeysMade] = field(default_factory=list)
    visits: list[Entered | Left] = field(default_factory=list)
    codes: list[CodeUsed] = field(default_factory=list)
    alive: bool = True
    outside: Outside | None = None
    """Who answers its questions."""

    def protecting(self) -> list[Policy]:
        """The policies that protect; those that drop while a child is down are not among them."""
        return [policy for policy in self.plane.policies() if policy.action is Action.PROTECT]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    @property
    def sas(self) -> list[object]:
        return list(self.engine.ike_sas())


@dataclass(slots=True, eq=False)
class Letter:
    """A datagram on its way, held back until it is delivered, or lost when nobody ever does."""

    sender: str
    to: str
    data: bytes
    path: Path

    def is_about(self, exchange: ExchangeType, *, response: bool) -> bool:
        header = parse_header(self.data)
        return (header.exchange, header.response) == (exchange, response)


class Network:
    """Joins hosts. `run` moves the clock from event to event; the same seed gives the same story."""

    def __init__(self, seed: int, weather: Weather | None = None) -> None:
        self.random = random.Random(seed)
        self.weather = weather or Weather()
        self.now = 1000.0
        self.hosts: dict[str, Host] = {}
        self.nat: dict[str, tuple[str, int]] = {}
        """Inside address -> (outside address, port shift): datagrams leave with that source, answers come back."""
        self.carried: list[tuple[float, str, str, bytes]] = []
        self.cut: set[tuple[str, str]] = set()
        self.names: dict[str, str] = {}
        """DNS; a name without an address does not resolve."""
        self.mtu = 65_535
        """Larger IP datagrams are lost."""
        self.loses: Callable[[bytes], bool] = lambda data: False
        """Which others the path loses."""
        self.holding = False
        """Whether datagrams wait in `held` until the test delivers them."""
        self.held: list[Letter] = []
        self._flying: list[tuple[float, int, str, str, bytes, Path]] = []
        self._thinking: list[tuple[float, int, Host, int, object]] = []
        self._count = 0

    def host(self, name: str, address: str) -> Host:
        source = random.Random(self.random.getrandbits(64))
        plane = MemoryPlane(source.randbytes, remember=True)
        engine = _engine(plane, source, source.randbytes(32))
        host = Host(name, address, engine, plane)
        self.hosts[address] = host
        return host

    def apply(self, host: Host, snapshot: Snapshot) -> None:
        _, effects = host.engine.apply(snapshot, self.now)
        self.perform(host, effects)

    def perform(self, host: Host, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._send(host, effect)
                case Event():
                    host.events.append(effect)
                case KeysMade():
                    host.keys.append(effect)
                case Entered() | Left():
                    host.visits.append(effect)
                case Solve():
                    solution = solve(effect.prf, effect.data, effect.difficulty)
                    self.perform(host, host.engine.solved(effect.token, solution, self.now))
                case CodeUsed():
                    host.codes.append(effect)
                case Ask() if host.outside is not None:
                    delay, answer = host.outside.answer(effect.question)
                    self._count += 1
                    heapq.heappush(self._thinking, (self.now + delay, self._count, host, effect.token, answer))
                case Withdraw() if host.outside is not None:
                    host.outside.withdrawn += 1
                case Locate():
                    there = self.names.get(effect.host, effect.host)
                    found, why = (host.address, there) if there else None, "" if there else "it does not resolve"
                    self.perform(host, host.engine.located(effect.token, found, why, self.now))

    def reboot(self, host: Host, snapshot: Snapshot, *, same_secret: bool = True) -> None:
        """The host forgets every SA, without a word to anybody, and starts again with this configuration."""
        source = random.Random(self.random.getrandbits(64))
        secret = host.engine.core.crash_secret if same_secret else source.randbytes(32)
        host.plane = MemoryPlane(source.randbytes, remember=True)
        host.engine = _engine(host.plane, source, secret)
        host.alive = True
        self.apply(host, snapshot)

    def move(self, host: Host, address: str) -> None:
        """The host has another address from now on: what is sent to the old one is lost."""
        del self.hosts[host.address]
        host.address = address
        self.hosts[address] = host
        self.perform(host, host.engine.network_changed((address,), self.now))

    def _send(self, host: Host, send: Send) -> None:
        path, weather = send.path, self.weather
        source, port = path.local or host.address, 4500 if path.marked else 500
        if self.hosts.get(source) is not host:
            return  # no such address of ours: the kernel refuses it
        if source in self.nat:
            source, shift = self.nat[source][0], self.nat[source][1]
            port += shift
        self.carried.append((self.now, source, path.remote, send.data))
        inside = self._inside(path)
        if len(send.data) + ip_overhead(path) > self.mtu or self.loses(send.data):
            return
        if (path.local, inside) in self.cut or self.random.random() < weather.loss:
            return
        if self.holding:
            self.held.append(Letter(host.name, inside, send.data, Path(inside, source, port, path.marked)))
            return
        for _ in range(2 if self.random.random() < weather.duplicate else 1):
            when = self.now + weather.delay + self.random.random() * weather.jitter
            self._count += 1
            arriving = Path(inside, source, port, path.marked)
            heapq.heappush(self._flying, (when, self._count, host.address, inside, send.data, arriving))

    def take(self, sender: Host, exchange: ExchangeType, *, response: bool = False, spi_i: bytes = b"") -> Letter:
        """The oldest held message of this kind, on the IKE SA with this SPIi; StopIteration where there is none."""
        wanted = (one for one in self.held if one.sender == sender.name and one.is_about(exchange, response=response))
        letter = next(one for one in wanted if one.data.startswith(spi_i))
        self.held.remove(letter)
        return letter

    def deliver(self, letter: Letter) -> None:
        target = self.hosts[letter.to]
        self.perform(target, target.engine.receive(letter.data, letter.path, self.now))

    def read(self, letter: Letter) -> Message:
        """A held message as its receiver will read it."""
        message = parse(letter.data)
        sa = self.hosts[letter.to].engine.core.sas[message.spi_r if message.initiator else message.spi_i]
        assert sa.protection is not None
        sa.protection.open(letter.data, message)
        return message

    def let_go(self) -> None:
        """Hold nothing back any longer; what is held arrives in the order in which it was sent."""
        self.holding = False
        while self.held:
            self.deliver(self.held.pop(0))

    def _inside(self, path: Path) -> str:
        """Who gets what is sent to this address and port: behind a router it takes a mapping."""
        routed = [(address, shift) for address, (outside, shift) in self.nat.items() if outside == path.remote]
        found = [address for address, shift in routed if path.port in (500 + shift, 4500 + shift)]
        return found[0] if found else "nobody" if routed else path.remote

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        end = self.now + seconds
        while True:
            ticks = [
                (when, host)
                for host in self.hosts.values()
                if host.alive and (when := host.engine.next_deadline()) is not None
            ]
            tick = min(ticks, key=lambda entry: entry[0], default=None)
            flight = self._flying[0][0] if self._flying else float("inf")
            thought = self._thinking[0][0] if self._thinking else float("inf")
            nearest = min(flight, thought, tick[0] if tick else float("inf"))
            if nearest > end:
                break
            self.now = max(self.now, nearest)
            if thought <= nearest:
                _, _, host, token, answer = heapq.heappop(self._thinking)
                self.perform(host, host.engine.answered(token, answer, self.now))
            elif flight <= nearest:
                _, _, _, to, data, path = heapq.heappop(self._flying)
                if (target := self.hosts.get(to)) and target.alive:
                    self.perform(target, target.engine.receive(data, path, self.now))
            elif tick:
                self.perform(tick[1], tick[1].engine.tick(self.now))
        self.now = end


def _engine(plane: MemoryPlane, source: random.Random, secret: bytes) -> Engine:
    """With secrets that are the same after a reboot, unless `secret` is another."""
    return Engine(
        plane,
        source.randbytes,
        log_keys=True,
        crash_secret=secret,
        ticket_secret=secret[::-1],
        unix_offset=UNIX_OFFSET,
        tls=make_tls,
    )


def peer(
    name: str,
    *,
    me: str,
    them: str,
    remote: str | None,
    mine: str = "10.1.0.0/24",
    theirs: str = "10.2.0.0/24",
    start: Start = Start.ALWAYS,
    **more: object,
) -> Peer:
    """A peer with one child, `net`."""
    child = Child("net", (Selector.parse(mine),), (Selector.parse(theirs),), ESP, start)
    base = Peer(
        name,
        IdentityPattern.parse(them),
        IKE,
        (child,),
        Identity.parse(me),
        remote_addresses=(remote,) if remote else (),
        retransmission=Retransmission(tries=6, base=1.0, factor=1.5),
    )
    return replace(base, **more)  # type: ignore[arg-type]


def right_end(*, remote: str | None = "192.0.2.1", start: Start = Start.PASSIVE, **more: object) -> Peer:
    """The left end, as the right one is configured for it: it waits to be called, unless told otherwise."""
    return peer(
        "left",
        me="right.example",
        them="left.example",
        remote=remote,
        mine="10.2.0.0/24",
        theirs="10.1.0.0/24",
        start=start,
        **more,
    )


def psk(secret: bytes = SECRET, *ids: str) -> Psk:
    return Psk("key", secret, (), tuple(IdentityPattern.parse(one) for one in ids))


def two(
    network: Network,
    *,
    left: Peer | None = None,
    right: Peer | None = None,
    left_key: bytes = SECRET,
    right_key: bytes = SECRET,
) -> tuple[Host, Host]:
    """Two gateways that want one tunnel; the left one calls unless told otherwise."""
    a, b = network.host("left", "192.0.2.1"), network.host("right", "192.0.2.2")
    left = left or peer("right", me="left.example", them="right.example", remote="192.0.2.2")
    right = right or right_end()
    network.apply(b, Snapshot.build(1, [right], [psk(right_key)]))
    network.apply(a, Snapshot.build(1, [left], [psk(left_key)]))
    return a, b
