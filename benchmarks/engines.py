"""CPU time of two engines without sockets, microseconds for each exchange: `python -m benchmarks.engines [--quick]`.

Handshakes, plain and hybrid, and rekeys, in batches: what a batch of datagrams costs one end is measured as one. The
least of the batches counts: take ratios, not absolutes. Nothing is asserted.
"""

import argparse
import os
import time
from collections.abc import Iterable

from benchmarks.end import HYBRID, IKE, RESPONDER, configuration
from gateway.dataplane.memory import MemoryPlane
from gateway.ike.effects import Effect, Locate, Send
from gateway.ike.engine import Engine
from gateway.ike.path import IKE_PORT, NAT_PORT, Path
from gateway.service.memory import tidy

_EACH = 50  # below every threshold for cookies
_US = "192.0.2.1"


class End:
    """An engine and the CPU seconds that it has cost."""

    def __init__(self, role: str, count: int, proposal: str) -> None:
        self.engine = Engine(MemoryPlane(), os.urandom)
        self.engine.apply(configuration(role, count, proposal), 0.0)
        self.spent = 0.0

    def receive(self, datagrams: list[tuple[bytes, Path]], now: float) -> list[Effect]:
        found: list[Effect] = []
        started = time.process_time()
        for data, path in datagrams:
            found += self.engine.receive(data, path, now)
        self.spent += time.process_time() - started
        return found


class Pair:
    """Two ends joined by a network that loses nothing."""

    def __init__(self, count: int, proposal: str) -> None:
        self.initiator, self.responder = End("initiator", count, proposal), End("responder", count, proposal)
        self.now = 1.0

    def connect(self, clients: range) -> None:
        begun: list[Effect] = []
        for number in clients:
            _, asked = self.initiator.engine.connect(f"c{number}", None, self.now)
            for effect in asked:
                if isinstance(effect, Locate):
                    begun += self.initiator.engine.located(effect.token, (_US, RESPONDER), "", self.now)
        self._carry(begun)

    def rekey(self, clients: range, child: str | None) -> None:
        begun: list[Effect] = []
        for number in clients:
            begun += self.initiator.engine.rekey(f"c{number}", child, self.now)[1]
        self._carry(begun)

    def _carry(self, begun: list[Effect]) -> None:
        """Until nobody has anything left to say."""
        ends, sent = [self.responder, self.initiator], _arriving(begun)
        while sent:
            sent = _arriving(ends[0].receive(sent, self.now))
            ends.reverse()
        self.now += 1.0


def _arriving(effects: Iterable[Effect]) -> list[tuple[bytes, Path]]:
    """What was sent, as the other end sees it."""
    return [
        (
            sent.data,
            Path(sent.path.remote, sent.path.local, NAT_PORT if sent.path.marked else IKE_PORT, sent.path.marked),
        )
        for sent in effects
        if isinstance(sent, Send)
    ]


def _least(pair: Pair, what: str, batches: int) -> tuple[float, float]:
    """Microseconds for each: of who answers, and of who asks once it has begun."""
    costs = []
    for number in range(batches):
        clients = range(number * _EACH, (number + 1) * _EACH)
        pair.responder.spent = pair.initiator.spent = 0.0
        if what == "handshake":
            pair.connect(clients)
        else:
            pair.rekey(clients, "net" if what == "rekey of the CHILD_SA" else None)
        costs.append((pair.responder.spent / _EACH * 1e6, pair.initiator.spent / _EACH * 1e6))
    answering, asking = zip(*costs, strict=True)
    return min(answering), min(asking)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten batches of each, not forty")
    batches = 10 if parser.parse_args(words).quick else 40
    for name, proposal in (("X25519", IKE), ("X25519, ML-KEM-768", HYBRID)):
        pair = Pair(batches * _EACH, proposal)
        tidy()
        for what in ("handshake", "rekey of the CHILD_SA", "rekey of the IKE SA"):
            answering, asking = _least(pair, what, batches)
            print(f"{name + ': ' + what:44} answering {answering:6.0f} us   asking {asking:6.0f} us", flush=True)
        standing = [sa for sa in pair.responder.engine.ike_sas() if sa.children]
        if len(standing) != batches * _EACH:
            raise SystemExit(f"{len(standing)} of {batches * _EACH} IKE SAs stand with their child")


if __name__ == "__main__":
    main()
