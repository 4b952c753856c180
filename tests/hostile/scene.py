"""A gateway under attack, with an honest peer beside the rogue one to show that it still serves."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sized

from gateway.ike.admission import Budget
from gateway.ike.effects import Effect
from gateway.ike.engine import Engine
from gateway.ike.fragments import Pool
from gateway.ike.path import Path
from gateway.ike.sa import Lifecycle
from gateway.policy.peers import Peer, Start
from gateway.policy.ppks import Ppk
from gateway.policy.snapshot import EngineSettings, Snapshot
from tests.simulation.network import Network, peer, psk

GATE, HONEST, ROGUE = "192.0.2.1", "192.0.2.2", "192.0.2.66"
ROGUE_NET = "10.66.0.0/24"
PPK = Ppk("shared", "shared.ppk", bytes(range(32)))
"""A key of the rogue's that it may do without."""
PATTERNS = ("*.pattern.example", "*@pattern.example", "10.0.0.0/8", "O=Pattern, CN=*", "CN=exact, O=Name")
"""What further peers of the gateway expect to be: each kind of comparison that an identity can meet."""

MAY_GROW = {
    "counters",
    "attempts",
    "out",
    "_numbers",
    "_reqids",
    "_of_reqid",
    "failures",
    "held",
    "_heap",
    "_counters",
    "single_pairs",
    "kept",
    "_gone",
    "_fingerprints",
    "_keys",
}
"""What the core keeps by design: bounded by other means, as budgets are too, or by the configuration."""

BY_PEER = ("offers", "redirects", "seen")
"""The books of `Extensions` that may have an entry for each configured peer; `books` counts what they have beyond."""


class Scene:
    """One gateway, `gate`, that knows the peers `rogue` and `honest`."""

    def __init__(self, seed: int = 1, settings: EngineSettings | None = None, **rogue: object) -> None:
        self.network = Network(seed)
        self.chance = random.Random(seed)
        self.gate = self.network.host("gate", GATE)
        self.honest = self.network.host("honest", HONEST)
        self.engine: Engine = self.gate.engine
        base: dict[str, object] = {"me": "gate.example", "them": "rogue.example", "remote": ROGUE, "theirs": ROGUE_NET}
        base["ppks"] = (PPK.name,)
        peers = [
            peer("rogue", start=Start.PASSIVE, **(base | rogue)),  # type: ignore[arg-type]
            peer("honest", me="gate.example", them="honest.example", remote=HONEST, start=Start.PASSIVE),
        ]
        for pattern in PATTERNS:
            ends = {"me": "gate.example", "them": pattern, "theirs": "10.77.0.0/24"}
            peers.append(peer(f"pattern {pattern}", remote=None, start=Start.PASSIVE, **ends))  # type: ignore[arg-type]
        self.network.apply(self.gate, Snapshot.build(1, peers, [psk()], settings or EngineSettings(), ppks=[PPK]))
        self.network.apply(self.honest, Snapshot.build(1, [self._mirror()], [psk()]))
        self.before = self.books()

    @staticmethod
    def _mirror() -> Peer:
        ends = {"me": "honest.example", "them": "gate.example", "mine": "10.2.0.0/24", "theirs": "10.1.0.0/24"}
        return peer("gate", remote=GATE, start=Start.PASSIVE, **ends)  # type: ignore[arg-type]

    def receive(self, datagram: bytes, path: Path) -> None:
        self.network.perform(self.gate, self.engine.receive(datagram, path, self.network.now))

    def do(self, action: Callable[[Engine, float], list[Effect]]) -> None:
        """Let something of the gateway's own happen."""
        self.network.perform(self.gate, action(self.engine, self.network.now))

    def connect(self, name: str = "rogue") -> None:
        self.do(lambda engine, now: engine.connect(name, None, now)[1])

    def books(self) -> dict[str, int]:
        """The size of everything that the core and its data plane keep, whatever its name."""
        plane, core = self.gate.plane, self.engine.core
        found = dict(_sizes("", core))
        for name in BY_PEER:
            found[f"extensions.{name}"] = len(getattr(core.extensions, name).keys() - core.snapshot.peers.keys())
        lying = {"states": plane.states(), "policies": plane.policies(), "held": plane.held, "routes": plane.routes()}
        return found | {f"plane.{name}": len(kept) for name, kept in lying.items()}

    def assert_serves(self) -> None:
        """The honest peer connects, and its tunnel stands on both ends."""
        start = self.network.now
        for host, name in ((self.honest, "gate"),):
            _, effects = host.engine.connect(name, None, self.network.now)
            self.network.perform(host, effects)
        self.network.run(1)
        for host in (self.honest, self.gate):
            name = "gate" if host is self.honest else "honest"
            sa = host.engine.core.established(name)
            assert sa is not None and sa.state == Lifecycle.ESTABLISHED, f"{host.name} does not serve at {start}"
            names = [child.name for child in sa.children.values()]
            assert names == ["net"], f"{host.name} has {names} at {start}"

    def assert_forgets(self) -> None:
        """When every SA is closed nothing of them is left."""
        self.network.run(200)  # what is half done times out
        self.network.perform(self.gate, self.engine.stop(self.network.now))
        self.network.run(200)
        assert self.engine.stopped
        grown = Counter(self.books())
        grown.subtract(self.before)
        kept = {name: count for name, count in grown.items() if count > 0}
        if "data-plane.refused" in self.gate.kinds():  # what it refused to remove, or to replace, may lie there still
            kept.pop("plane.policies", None)
        assert kept == {}, kept


def _sizes(prefix: str, thing: object) -> Iterator[tuple[str, int]]:
    """Each collection that an object of the engine holds, and those of the objects that it is made of."""
    names = getattr(thing, "__dict__", None) or getattr(type(thing), "__slots__", ())
    for name in names:
        kept = getattr(thing, name)
        if name in MAY_GROW or isinstance(kept, str | bytes | Budget):
            continue
        if isinstance(kept, Pool):
            yield prefix + name, kept.used
        elif isinstance(kept, Sized):
            yield prefix + name, len(kept)
        elif type(kept).__module__.startswith("gateway.ike"):
            yield from _sizes(f"{prefix}{name}.", kept)
