"""Fuzzing of the codec, of what stands behind real keys, and of the whole engine with its state.

`FUZZ_SECONDS=600 python -m tests.hostile.fuzz [target] [seed]` goes on from a seed that it prints, and stops at the
first failure with the seed that shows it again. The tests run some seeds of each target.
"""

import os
import random
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace

from gateway.ike.path import Path
from gateway.ike.plane import StateKey
from gateway.ike.plane_events import Acquire, Disturbed, EventsLost, Expire, Remapped, UnknownSpi
from gateway.policy.peers import Child, Shunt, ShuntAction, Start, Unique, WhenDown
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.wire import payloads as wire
from gateway.wire.message import build, build_payloads, parse, parse_header, parse_payloads
from gateway.wire.numbers import ExchangeType, NotifyType, Protocol
from gateway.wire.outcome import Drop
from tests.hostile.abuses import ABUSES
from tests.hostile.mutation import damaged, rearranged, with_true_length
from tests.hostile.rogue import AUTH, CREATE, INFORM, INTERMEDIATE, STATES, Inner, Rogue, delete, mixing
from tests.hostile.scene import BY_PEER, GATE, HONEST, PPK, ROGUE, Scene
from tests.simulation.network import Weather

MOST = 4000
"""No collection of the engine's may grow beyond this, whatever one story does."""

Corpus = Sequence[bytes]

_SUPPORTED = (
    NotifyType.IKEV2_FRAGMENTATION_SUPPORTED,
    NotifyType.REDIRECT_SUPPORTED,
    NotifyType.CHILDLESS_IKEV2_SUPPORTED,
    NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED,
    NotifyType.IKEV2_MESSAGE_ID_SYNC_SUPPORTED,
    NotifyType.USE_PPK,
    NotifyType.USE_PPK_INT,
)
_BESIDE_AUTH = (
    NotifyType.MOBIKE_SUPPORTED,
    NotifyType.TICKET_REQUEST,
    NotifyType.USE_TRANSPORT_MODE,
    NotifyType.ESP_TFC_PADDING_NOT_SUPPORTED,
    NotifyType.INITIAL_CONTACT,
)


def codec(seed: int, corpus: Corpus) -> None:
    """Any octets are a message or dropped, and what is a message is built to the same octets."""
    chance = random.Random(seed)
    for _ in range(200):
        octets = damaged(chance, chance.choice(corpus))
        if chance.random() < 0.8:
            octets = with_true_length(octets)
        try:
            message = parse(octets)
        except Drop:
            pass
        else:
            assert build(message) == octets
        first, inside = chance.choice((0, *range(33, 55))), octets[28:]
        try:
            payloads = parse_payloads(first, inside)
        except Drop:
            continue
        assert build_payloads(payloads) == (first, inside)


def inside(seed: int, corpus: Corpus) -> None:
    """One state of the SA; some messages under its keys; an honest peer is served after, and nothing stays."""
    chance = random.Random(seed)
    scene = Scene(seed)
    rogue = chance.choice([*STATES.values(), mixing])(scene)
    for _ in range(chance.randint(1, 6)):
        if rogue.keys is None:
            break
        _say(chance, rogue, corpus)
    scene.assert_serves()
    scene.assert_forgets()


def _words(chance: random.Random, rogue: Rogue) -> list[wire.Payload]:
    """Something that a peer could say, not always at the right time."""
    match chance.randrange(10):
        case 0:
            return [*rogue.credentials(), *rogue.child()]
        case 5:
            return _moving(chance)
        case 6:
            kinds = chance.sample([int(kind) for kind in NotifyType], 4)
            sizes = [chance.choice((0, 4, 8, 16, 32)) for _ in kinds]
            return [wire.Notify(0, b"", kind, chance.randbytes(size)) for kind, size in zip(kinds, sizes, strict=True)]
        case 1:
            return rogue.new_child(chance.randbytes(4))
        case 2 if rogue.sa and rogue.sa.children:
            named = next(iter(rogue.sa.children.values())).spi_out.to_bytes(4)
            return rogue.new_child(chance.randbytes(4), wire.Notify(Protocol.ESP, named, 16393, b""))
        case 3 if rogue.sa and rogue.sa.children:
            return [delete(next(iter(rogue.sa.children.values())).spi_out.to_bytes(4))]
        case 4:
            return [delete(protocol=Protocol.IKE)]
        case 7:
            return _pre_shared_keys(chance)
    made = chance.choice(list(ABUSES.values()))(rogue)
    return [] if isinstance(made, Inner) else list(made)


def _pre_shared_keys(chance: random.Random) -> list[wire.Payload]:
    """Names of post-quantum pre-shared keys, more or less (RFC 8784 3, RFC 9867 3.1)."""
    kinds = NotifyType.PPK_IDENTITY_KEY, NotifyType.PPK_IDENTITY, NotifyType.NO_PPK_AUTH
    names = PPK.ppk_id, PPK.ppk_id[:-1], b"", b"\2"
    return [
        wire.Notify(0, b"", chance.choice(kinds), chance.choice(names) + chance.randbytes(chance.choice((0, 7, 8, 32))))
        for _ in range(chance.choice((1, 2, 40)))
    ]


def _moving(chance: random.Random) -> list[wire.Payload]:
    """MOBIKE, more or less (RFC 4555 3)."""
    found = [
        wire.Notify(0, b"", NotifyType.NAT_DETECTION_SOURCE_IP, chance.randbytes(20)),
        wire.Notify(0, b"", NotifyType.NAT_DETECTION_DESTINATION_IP, chance.randbytes(20)),
        wire.Notify(0, b"", NotifyType.COOKIE2, chance.randbytes(chance.choice((7, 8, 16, 64, 65)))),
        wire.Notify(0, b"", NotifyType.ADDITIONAL_IP4_ADDRESS, chance.choice((b"\xc0\0\2\x43", b"", bytes(4)))),
        wire.Notify(0, b"", NotifyType.ADDITIONAL_IP6_ADDRESS, chance.randbytes(chance.choice((16, 3)))),
        wire.Notify(0, b"", NotifyType.NO_ADDITIONAL_ADDRESSES, b""),
        wire.Notify(0, b"", NotifyType.UPDATE_SA_ADDRESSES, b""),
    ]
    return list(chance.sample(found, chance.randint(1, len(found))))


def _say(chance: random.Random, rogue: Rogue, corpus: Corpus) -> None:
    """A request that is due, or the response that is waited for, with some of it wrong."""
    payloads = rearranged(chance, _words(chance, rogue), _words(chance, rogue))
    try:
        sealed = Inner(*build_payloads(payloads))
    except (ValueError, struct.error, AttributeError, TypeError):
        return  # altered so far that it cannot be written
    if chance.random() < 0.3:
        sealed = Inner(sealed.first, damaged(chance, sealed.octets), chance.choice((b"\0", b"\0\0\2", b"\xff")))
    if len(sealed.octets) > 60_000 or sealed.first > 255:
        return
    asked = [message for message in rogue.heard() if not message.response and message.message_id]
    exchange = chance.choice((AUTH, CREATE, CREATE, INFORM, INFORM, INTERMEDIATE, chance.randrange(256)))
    number, response = rogue.next_id, False
    if asked and chance.random() < 0.5:
        exchange, number, response = asked[-1].exchange, asked[-1].message_id, True
    if chance.random() < 0.05:
        number = chance.choice((0, number + 1, number - 1, 0xFFFFFFFF)) & 0xFFFFFFFF
    if chance.random() < 0.2:
        total = chance.choice((1, 2, 3, 65535))
        for part in {1, 2, total, chance.randint(1, total)}:
            if part <= total:
                piece = Inner(sealed.first, sealed.octets[part - 1 :: total][:500], sealed.padding)
                rogue.deliver(rogue.seal(exchange, piece, response=response, message_id=number, fragment=(part, total)))
        return
    datagram = rogue.seal(exchange, sealed, response=response, message_id=number)
    if response:
        rogue.deliver(datagram)
    else:
        rogue.ask(datagram)


class Story:
    """A gateway's life with rogue peers, an honest one, a bad data plane and an administrator who cannot decide."""

    def __init__(self, seed: int, corpus: Corpus) -> None:
        self.chance = random.Random(seed)
        self.scene = Scene(seed)
        self.corpus = corpus
        self.rogues: list[Rogue] = []
        self.configured = self.scene.engine.core.snapshot
        self.steps: list[Callable[[], None]] = [
            self.appear, self.speak, self.speak, self.speak, self.repeat, self.strange, self.wait, self.plane,
            self.refuse, self.configure, self.command, self.honest,
        ]  # fmt: skip

    def live(self, count: int) -> None:
        for _ in range(count):
            self.chance.choice(self.steps)()
            sizes = self.scene.books()
            assert max(sizes.values()) < MOST, max(sizes.items(), key=lambda entry: entry[1])
            assert not [name for name in BY_PEER if sizes[f"extensions.{name}"]], "of a peer that is gone"
        self.end()

    def appear(self) -> None:
        made = Rogue(self.scene, self.chance.random() < 0.7, seed=self.chance.getrandbits(30))
        if self.chance.random() < 0.3:
            made.identity = self.chance.choice((b"honest.example", b"a.pattern.example", b"", b"\xff" * 3000))
        if self.chance.random() < 0.2:
            made.path = self.somewhere()
        if made.initiator:
            made.call(None, *self.some(_SUPPORTED))
            if made.keys is not None and self.chance.random() < 0.8:
                made.authenticate(*self.some(_BESIDE_AUTH), child=self.chance.random() < 0.8)
        elif "rogue" in self.scene.engine.core.snapshot.peers:
            self.scene.connect()
            calls = [m for m in made.heard() if m.exchange == ExchangeType.IKE_SA_INIT and not m.response]
            if not calls or self.scene.engine.core.sas.get(calls[-1].spi_i) is None:
                return
            made.answer_call()
            if self.chance.random() < 0.8:
                self.answer(made)
        self.rogues = [*self.rogues[-3:], made]

    def some(self, kinds: Sequence[int]) -> list[wire.Payload]:
        return [wire.Notify(0, b"", kind, b"") for kind in kinds if self.chance.random() < 0.5]

    @staticmethod
    def answer(made: Rogue) -> None:
        if any(not m.response and m.exchange == AUTH for m in made.heard()):
            made.respond(*made.credentials(), *made.child())

    def speak(self) -> None:
        able = [rogue for rogue in self.rogues if rogue.keys is not None]
        if able:
            rogue = self.chance.choice(able)
            if self.chance.random() < 0.1:
                rogue.path = self.somewhere()
            _say(self.chance, rogue, self.corpus)

    def repeat(self) -> None:
        carried = self.scene.network.carried
        if not carried:
            return
        for _ in range(self.chance.choice((1, 3, 20))):
            data = self.chance.choice(carried)[3]
            if self.chance.random() < 0.5:
                data = with_true_length(damaged(self.chance, data))
            self.scene.receive(data, self.somewhere())

    def strange(self) -> None:
        for _ in range(self.chance.choice((1, 5))):
            data = self.chance.choice(self.corpus)
            self.scene.receive(damaged(self.chance, data) if self.chance.random() < 0.5 else data, self.somewhere())

    def somewhere(self) -> Path:
        remote = self.chance.choice((ROGUE, HONEST, "198.51.100.9", "2001:db8::9"))
        return Path(GATE, remote, self.chance.choice((500, 4500, 1)), self.chance.random() < 0.3)

    def wait(self) -> None:
        bad = Weather(loss=0.2, duplicate=0.2, delay=0.05, jitter=1.0)
        self.scene.network.weather = self.chance.choice((Weather(), Weather(), bad))
        self.scene.network.run(self.chance.choice((0.01, 0.5, 3.0, 31.0, 200.0, 4000.0)))

    def plane(self) -> None:
        keys = [state.key for state in self.scene.gate.plane.states()] or [StateKey(GATE, 7)]
        key, other = self.chance.choice(keys), self.chance.choice((ROGUE, HONEST, "198.51.100.9"))
        event = self.chance.choice((
            Acquire(self.chance.randrange(4090, 4110)),
            Expire(key, hard=False),
            Expire(key, hard=True),
            Expire(StateKey("192.0.2.9", 9), hard=True),
            Remapped(key, other, self.chance.choice((1, 4500, 65535))),
            UnknownSpi(self.chance.getrandbits(32), other),
            EventsLost(),
            Disturbed(),
        ))  # fmt: skip
        self.scene.do(lambda engine, now: engine.kernel(event, now))

    def refuse(self) -> None:
        plane = self.scene.gate.plane
        self.chance.choice((plane.fail_next, plane.fail_next_allocation))("the fuzzer does not want it")

    def configure(self) -> None:
        chance, was = self.chance, self.configured
        peers = [peer for peer in was.peers.values() if chance.random() < 0.8]
        peers = [replace(peer, dpd_delay=chance.choice((0.0, 5.0, 30.0))) for peer in peers]
        if chance.random() < 0.5:
            peers = [replace(p, children=tuple(self.another(c) for c in p.children)) for p in peers]
            peers = [
                replace(
                    p,
                    unique=chance.choice(list(Unique)),
                    mobike=chance.random() < 0.5,
                    childless=chance.random() < 0.3,
                    fragment_octets=chance.choice((0, 576, 1280)),
                )
                for p in peers
            ]
        settings = EngineSettings(
            cookie_threshold=chance.choice((0, 64)),
            half_open_limit=chance.choice((1, 10_000)),
            attempts_kept=50,
            puzzles=chance.random() < 0.3,
            redirect_to=chance.choice(("", "", "198.51.100.1")),
        )
        blocked = chance.choice(((), (), ("192.0.2.66",), ("192.0.2.0/24", "2001:db8::/32")))
        net = Selector.parse("10.99.0.0/24")
        shunts = [Shunt("by", chance.choice(list(ShuntAction)), (net,), (net,))] if chance.random() < 0.3 else []
        self.apply(Snapshot.build(2, peers, was.psks, settings, blocked=blocked, shunts=shunts, ppks=[PPK]))

    def another(self, child: Child) -> Child:
        """The same child with other wishes."""
        chance = self.chance
        return replace(
            child,
            rekey_time=chance.choice((9.0, 3600.0)),
            start=chance.choice(list(Start)),
            single_pair=chance.random() < 0.2,
            idle_timeout=chance.choice((0.0, 20.0)),
            interface_id=chance.choice((0, 0, 7)),
            when_down=chance.choice(list(WhenDown)),
            rekey_packets=chance.choice((0, 1000)),
        )

    def apply(self, snapshot: Snapshot) -> None:
        self.scene.do(lambda engine, now: engine.apply(snapshot, now)[1])

    def command(self) -> None:
        chance, engine = self.chance, self.scene.engine
        peer, child = chance.choice(("rogue", "honest")), chance.choice((None, "net"))
        if peer not in engine.core.snapshot.peers:
            return
        numbers = [sa.id for sa in engine.ike_sas()]
        match chance.randrange(4):
            case 0:
                self.scene.do(lambda e, now: e.connect(peer, child, now)[1])
            case 1:
                self.scene.do(lambda e, now: e.disconnect(peer, child, now)[1])
            case 2:
                self.scene.do(lambda e, now: e.rekey(peer, child, now)[1])
            case _ if numbers:
                self.scene.do(lambda e, now: e.terminate(chance.choice(numbers), now))

    def honest(self) -> None:
        network, host = self.scene.network, self.scene.honest
        call = self.chance.choice((host.engine.connect, host.engine.disconnect, host.engine.rekey))
        network.perform(host, call("gate", None, network.now)[1])
        network.run(self.chance.choice((0.0, 0.02, 1.0)))

    def end(self) -> None:
        """Who is honest and calls anew is served, and nothing stays."""
        self.peace()
        self.scene.assert_serves()
        self.scene.assert_forgets()

    def peace(self) -> None:
        """Everything configured as at first, the data plane willing, the honest peer at rest."""
        plane = self.scene.gate.plane
        plane._refuse_apply.clear()
        plane._refuse_allocation.clear()
        self.scene.network.weather = Weather()
        self.apply(self.configured)
        network, host = self.scene.network, self.scene.honest
        network.perform(host, host.engine.disconnect("gate", None, network.now)[1])
        network.run(400)


def engine(seed: int, corpus: Corpus) -> None:
    """A whole story."""
    Story(seed, corpus).live(40)


TARGETS: dict[str, Callable[[int, Corpus], None]] = {"codec": codec, "inside": inside, "engine": engine}


def well_formed() -> list[bytes]:
    """A corpus where there are no recordings: what two of our own gateways say."""
    scene = Scene()
    for make in STATES.values():
        make(scene)
    scene.assert_serves()
    return [data for *_, data in scene.network.carried if parse_header(data)]


def main(words: list[str]) -> int:
    names = words[:1] or list(TARGETS)
    start = int(words[1]) if len(words) > 1 else int.from_bytes(os.urandom(4))
    seconds = float(os.environ.get("FUZZ_SECONDS", "60"))
    corpus = well_formed()
    print(f"from seed {start}, {seconds:g} s, {len(corpus)} datagrams to begin with", flush=True)  # noqa: T201
    for name in names:
        deadline, seed = time.monotonic() + seconds / len(names), start
        while time.monotonic() < deadline:
            try:
                TARGETS[name](seed, corpus)
            except Exception:  # noqa: BLE001  whatever it is, it is the finding
                traceback.print_exc()
                print(f"again with: python -m tests.hostile.fuzz {name} {seed}", file=sys.stderr)  # noqa: T201
                return 1
            seed += 1
        print(f"{name}: {seed - start} rounds without a failure", flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
