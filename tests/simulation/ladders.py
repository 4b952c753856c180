"""Two gateways whose messages pass one by one, in the order that a ladder draws."""

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.ike.attempt_log import payload_name
from gateway.ike.exchanges.collisions import CROSSING
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle
from gateway.wire.numbers import ExchangeType
from tests.simulation.network import Host, Network, peer, right_end, two

CHILD, INFO = ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL


class Ladder:
    """A on the left, B on the right, one tunnel between them that stands; nothing moves but what the test lets pass."""

    def __init__(self, seed: int = 1, **more: object) -> None:
        self.network = Network(seed)
        left = peer("right", me="left.example", them="right.example", remote="192.0.2.2", **more)
        right = right_end(**more)
        self.a, self.b = two(self.network, left=left, right=right)
        self.network.run(1)
        self.old, self.other_old = self.sa(self.a), self.sa(self.b)
        self.child, self.other_child = self.only(self.a), self.only(self.b)
        self.network.holding = True

    def sa(self, host: Host) -> IkeSa:
        (found,) = (sa for sa in host.engine.ike_sas() if sa.state == Lifecycle.ESTABLISHED)
        return found

    def children(self, host: Host) -> list[ChildSa]:
        return [child for sa in host.engine.ike_sas() for child in sa.children.values()]

    def only(self, host: Host) -> ChildSa:
        (child,) = self.children(host)
        return child

    def rekey(self, host: Host, child: str | None = None) -> None:
        (name,) = host.engine.core.snapshot.peers
        begun, effects = host.engine.rekey(name, child, self.network.now)
        assert len(begun) == 1
        self.network.perform(host, effects)

    def disconnect(self, host: Host, child: str | None = None) -> None:
        (name,) = host.engine.core.snapshot.peers
        self.network.perform(host, host.engine.disconnect(name, child, self.network.now)[1])

    def connect(self, host: Host, child: str | None = None) -> None:
        (name,) = host.engine.core.snapshot.peers
        self.network.perform(host, host.engine.connect(name, child, self.network.now)[1])

    @contextmanager
    def nonces(self, host: Host, first: int) -> Iterator[None]:
        """The host's nonces begin with this octet; at other times chance gives them, and it may be lower or higher."""
        core, chance = host.engine.core, host.engine.core.random
        core.random = lambda octets: bytes((first,)) + chance(octets - 1) if octets == 32 else chance(octets)
        yield
        core.random = chance

    def request(self, sender: Host, exchange: ExchangeType, on: IkeSa | None = None) -> list[str]:
        """The sender's oldest held request (on this IKE SA) arrives; the names of its payloads."""
        return self._pass(sender, exchange, response=False, on=on)

    def response(self, sender: Host, exchange: ExchangeType) -> list[str]:
        return self._pass(sender, exchange, response=True)

    def _pass(self, sender: Host, exchange: ExchangeType, *, response: bool, on: IkeSa | None = None) -> list[str]:
        letter = self.network.take(sender, exchange, response=response, spi_i=on.spi_i if on else b"")
        names = [payload_name(payload) for payload in self.network.read(letter).payloads]
        self.network.deliver(letter)
        return names

    def out_of_patience(self) -> None:
        """Nobody waits any longer for the answer to his own rekey before he gives his."""
        self.network.run(CROSSING + 0.01)

    def lose(self, sender: Host, exchange: ExchangeType, *, response: bool = False) -> None:
        self.network.take(sender, exchange, response=response)

    def settle(self, seconds: float = 60.0) -> None:
        """What is held arrives, and nothing is held any longer."""
        self.network.let_go()
        self.network.run(seconds)
