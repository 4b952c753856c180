"""What is fuzzed, as functions of octets alone; `tests.hostile.guided` seeks the octets, by coverage.

Each raises for what must not be. The same octets do the same every time.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress

from gateway.wire.describe import describe
from gateway.wire.message import build, build_payloads, parse, parse_payloads
from gateway.wire.outcome import Drop
from tests.hostile.fuzz import Story, well_formed
from tests.hostile.parsers import PARSERS, seeds
from tests.hostile.rogue import AUTH, CREATE, INFORM, STATES, Inner
from tests.hostile.scene import Scene

_STEPS = 60


class Exhausted(Exception):
    """There are no octets left to decide by."""


class Octets(random.Random):
    """Chance that comes from octets: what is decided is what they say."""

    def __init__(self, octets: bytes) -> None:
        super().__init__(0)
        self._octets, self._at = octets, 0

    def take(self, count: int) -> bytes:
        found = self._octets[self._at : self._at + count]
        self._at += count
        if len(found) < count:
            raise Exhausted
        return found

    def random(self) -> float:
        return int.from_bytes(self.take(2)) / 65536

    def getrandbits(self, k: int, /) -> int:
        octets = self.take((k + 7) // 8)
        return int.from_bytes(octets) >> (8 * len(octets) - k)


def codec(octets: bytes) -> None:
    """Any octets are a message or dropped; what is a message is built to the same octets, and can be described."""
    with suppress(Drop):
        message = parse(octets)
        assert build(message) == octets
        describe(message)
    if octets:
        with suppress(Drop):
            assert build_payloads(parse_payloads(octets[0], octets[1:])) == (octets[0], octets[1:])


def inside(octets: bytes) -> None:
    """In a state of the SA, one message after the other under its keys, its decrypted inside being these octets."""
    chance = Octets(octets)
    scene = Scene()
    with suppress(Exhausted):
        rogue = list(STATES.values())[chance.take(1)[0] % len(STATES)](scene)
        while rogue.keys is not None:
            kind, first, length, padding = chance.take(4)
            exchange = (AUTH, CREATE, INFORM, kind)[kind % 4]
            body = chance.take(length * 2 if kind & 4 else length)
            sealed = Inner(first, body, bytes((padding,)) if kind & 8 else b"\0")
            asked = [message for message in rogue.heard() if not message.response and message.message_id]
            if kind & 16 and asked:
                rogue.respond(octets=sealed)
            else:
                rogue.ask(rogue.seal(exchange, sealed))
    scene.assert_serves()
    scene.assert_forgets()


def engine(octets: bytes) -> None:
    """A gateway's life; what happens in it, and what the peers say, is decided by these octets."""
    story = Story(0, _CORPUS)
    story.chance = Octets(octets)
    with suppress(Exhausted):
        story.live(_STEPS)
        return
    story.end()


def parsers(octets: bytes) -> None:
    """The first octet chooses the parser: EAP, RADIUS, certificates, lists, OCSP, selectors, containers, tickets."""
    if octets:
        PARSERS[octets[0] % len(PARSERS)](octets[1:])


TARGETS: dict[str, Callable[[bytes], None]] = {made.__name__: made for made in (codec, inside, engine, parsers)}
_CORPUS = well_formed()


def beginnings(target: str) -> Iterator[bytes]:
    """Octets that lead into a target's depth."""
    if target == "codec":
        yield from _CORPUS
    elif target == "parsers":
        yield from seeds()
    elif target == "inside":
        for state in range(len(STATES)):
            for data in _CORPUS[:: max(1, len(_CORPUS) // 8)]:
                yield bytes((state, 2, data[16], min(len(data) - 28, 255), 0)) + data[28:283]
    else:
        for seed in range(20):
            yield random.Random(seed).randbytes(300)
