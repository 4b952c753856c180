"""Exchange scripts and what they may ask; run by our own driver, this is not asyncio.

A script is an `async def` that reads like the RFC's ladder. Each `await` hands a question to `gateway.ike.driver`, and
the answer comes back on that line; what the outside does wrong is raised there: TimedOut, Refused, Closed.
"""

from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from types import coroutine
from typing import Any, TypeVar

from gateway.crypto.rows import PseudoRandom
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType
from gateway.wire.payloads import Payload

Answer = TypeVar("Answer")
Script = Coroutine["Question", Any, Answer]


class TimedOut(Exception):
    """The peer did not answer any of our transmissions."""

    def __init__(self, label: str, tries: int, lost: str = "") -> None:
        """`lost` says in a clause what got lost for its size, where that is why."""
        super().__init__(f"no answer to {label} after {tries} transmissions{f'; {lost}' if lost else ''}")
        self.label = label
        self.tries = tries
        self.lost = lost


class Closed(Exception):
    """The SA ended while the script waited."""


class Unreachable(Exception):
    """The name does not resolve or no route leads there; `why` is a sentence."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(slots=True)
class AskPeer:
    """Send a request and wait for its response."""

    exchange: int
    payloads: list[Payload]
    tries: int = 0
    """Transmissions, where they are not what the peer's configuration says."""
    turn: int = 0
    """Not 0 for a synchronisation of message IDs (RFC 6311), sent once: which try it is, and so how long to wait."""


@dataclass(slots=True)
class AskWhere:
    """Where is this host, and from where do we reach it? The answer is a tuple (our address, its address)."""

    host: str
    sources: tuple[str, ...]
    turn: int = 0


@dataclass(slots=True)
class AskSolution:
    """Which four keys solve this puzzle? The answer is the body of a PS payload, empty when none were found."""

    prf: PseudoRandom
    data: bytes
    difficulty: int


class NoAnswer(Exception):
    """Whoever was asked outside gave no answer; `why` is a sentence."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(slots=True)
class AskOutside:
    """Put the question to somebody who may be slow, for up to `patience` seconds."""

    question: object
    patience: float


@dataclass(slots=True)
class Respond:
    """As responder: answer the request with these, and wait for the peer's next one of the same exchange."""

    payloads: list[Payload]


Question = AskPeer | AskWhere | AskSolution | AskOutside | Respond


@coroutine
def _suspend(question: Question) -> Generator[Question, Any, Any]:
    return (yield question)


async def ask_peer(exchange: int, payloads: list[Payload], *, tries: int = 0) -> Message:
    """The peer's response, decrypted where the exchange is protected. Raises TimedOut, Closed."""
    answer: Message = await _suspend(AskPeer(exchange, payloads, tries))
    return answer


async def ask_after_failover(payloads: list[Payload], turn: int) -> Message:
    """The response to an INFORMATIONAL with the message ID zero (RFC 6311 5.1), sent once. Raises TimedOut, Closed."""
    answer: Message = await _suspend(AskPeer(ExchangeType.INFORMATIONAL, payloads, turn, turn))
    return answer


async def ask_where(host: str, sources: tuple[str, ...] = (), turn: int = 0) -> tuple[str, str]:
    """Our address and the host's. Raises Unreachable, Closed."""
    answer: tuple[str, str] = await _suspend(AskWhere(host, sources, turn))
    return answer


async def ask_solution(prf: PseudoRandom, data: bytes, difficulty: int) -> bytes:
    """The solution of a puzzle, sought outside: it takes long. Raises Closed."""
    answer: bytes = await _suspend(AskSolution(prf, data, difficulty))
    return answer


async def ask_outside(question: object, patience: float) -> Any:
    """The answer to a question whose kind the service knows. The peer waits meanwhile. Raises NoAnswer, Closed."""
    return await _suspend(AskOutside(question, patience))


async def respond(payloads: list[Payload]) -> Message:
    """The peer's next request, decrypted, after an answer that is not the last one. Raises Closed."""
    request: Message = await _suspend(Respond(payloads))
    return request
