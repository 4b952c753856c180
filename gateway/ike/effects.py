"""What comes out of the engine: datagrams, things that happened, and questions to the outside."""

from dataclasses import dataclass, field

from gateway.crypto.keys import IkeKeys
from gateway.crypto.rows import PseudoRandom
from gateway.ike.path import Path
from gateway.ike.plane import EspState
from gateway.policy.pools import Lease
from gateway.policy.visits import Visit


@dataclass(slots=True)
class Send:
    """A datagram to leave on this path; the transport adds the non-ESP marker where the path is marked.

    `dscp` (0-63) goes into its IP header.
    """

    data: bytes
    path: Path
    dscp: int = 0


@dataclass(slots=True)
class Event:
    """Something happened. `kind` is dotted, `text` a sentence, `data` small JSON-safe facts without secrets."""

    kind: str
    text: str
    peer: str | None = None
    data: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class Locate:
    """Where is `host` (an address or a DNS name), and from which address of ours do we reach it (of `sources`, if any)?

    Of several addresses of a name, `turn` tells which to take first: 0 the first one, 1 the next, and round again.
    Answered by `engine.located(token, …)`.
    """

    token: int
    host: str
    sources: tuple[str, ...]
    turn: int = 0


@dataclass(slots=True)
class Solve:
    """Which keys solve this puzzle (`gateway.ike.puzzles.Search`)? It takes seconds of a processor.

    Answered by `engine.solved(token, …)`.
    """

    token: int
    prf: PseudoRandom
    data: bytes
    difficulty: int


@dataclass(slots=True)
class Ask:
    """A question to somebody outside who may be slow; its type tells whom. Answered by `engine.answered(token, …)`."""

    token: int
    question: object


@dataclass(slots=True)
class Withdraw:
    """Nobody waits for the answer to that Ask any longer."""

    token: int


@dataclass(slots=True)
class KeysMade:
    """Key material for the key log, given out only when the engine was told to (`log_keys`).

    `intermediate` is the message ID of the IKE_INTERMEDIATE exchange that an IKE SA's keys protect, and nothing after
    it; 0 for the keys that it keeps.
    """

    spi_i: bytes
    spi_r: bytes
    encr: str
    integ: str
    intermediate: int = 0
    ike: IkeKeys | None = field(default=None, repr=False)
    states: tuple[EspState, ...] = field(default=(), repr=False)


@dataclass(slots=True)
class Leased:
    """An address of a pool is held from now on, or no longer: to be written down, and given back to a new engine.

    It takes the place of what was written down for the same pool and address.
    """

    lease: Lease


@dataclass(slots=True)
class Entered:
    """The IKE SA of somebody who comes in by a RADIUS server's word stands."""

    visit: Visit


@dataclass(slots=True)
class Left:
    """No IKE SA of the visit is left; `cause` and `why` as the last one closed."""

    visit: Visit
    cause: str
    why: str


@dataclass(slots=True)
class CodeUsed:
    """The user's one-time code of this step (RFC 6238) is good no more: to be written down, for a new engine."""

    user: str
    step: int


Effect = Send | Event | Locate | Solve | Ask | Withdraw | KeysMade | Leased | Entered | Left | CodeUsed
