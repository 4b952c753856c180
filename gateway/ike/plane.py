"""The data plane as the engine sees it: what lies there, and the orders that the engine gives."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from gateway.crypto.suites import Encryption, Integrity
from gateway.policy.peers import Mark, Mode, Offload
from gateway.policy.selectors import Selector


class Refused(Exception):
    """The data plane could not do what it was told; nothing of the batch stays. `why` is a sentence for a person."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Direction(StrEnum):
    """Where a policy looks at packets (XFRM_POLICY_IN, _OUT, _FWD)."""

    IN = "in"
    OUT = "out"
    FORWARD = "fwd"


class StateKey(NamedTuple):
    """What names an ESP state in a kernel: its destination address and its SPI."""

    destination: str
    spi: int


class Encapsulation(NamedTuple):
    """ESP in UDP (RFC 3948): the ports of the packet's source and destination."""

    source_port: int
    destination_port: int


class Limits(NamedTuple):
    """How much one state may carry, 0 is any. At a soft limit it reports Expire and goes on, at a hard one it ends."""

    soft_octets: int = 0
    soft_packets: int = 0
    hard_octets: int = 0
    hard_packets: int = 0


NO_LIMITS = Limits()


@dataclass(slots=True)
class EspState:
    """One direction of a CHILD_SA; `source` and `destination` are the outer addresses.

    `original` are the addresses that the peer itself sees as source and destination, where transport mode crosses a
    NAT and checksums must be mended (RFC 3948 3.1.2). `selectors` narrow a transport mode state to (source,
    destination). `copy_df` False clears the outer DF bit. `device` is where `offload` takes place.
    """

    spi: int
    source: str
    destination: str
    inbound: bool
    reqid: int
    encr: Encryption
    encr_key: bytes = field(repr=False)
    integ: Integrity | None = None
    integ_key: bytes = field(default=b"", repr=False)
    esn: bool = False
    replay_window: int = 128
    encapsulation: Encapsulation | None = None
    mode: Mode = Mode.TUNNEL
    limits: Limits = NO_LIMITS
    interface_id: int = 0
    mark: Mark | None = None
    original: tuple[str, str] | None = None
    selectors: tuple[Selector, Selector] | None = None
    copy_dscp: bool = False
    copy_df: bool = True
    offload: Offload = Offload.NONE
    mss: int = 0

    @property
    def key(self) -> StateKey:
        return StateKey(self.destination, self.spi)


class Action(StrEnum):
    """What a policy does with its packets."""

    PROTECT = "protect"
    PASS = "pass"  # noqa: S105  no password
    DROP = "drop"


class Policy(NamedTuple):
    """Which packets go through (OUT) or must have come through (IN, FORWARD) the states of `reqid`.

    A selector's range may need several prefixes in a kernel; the driver splits it. `spi` pins OUT to one state. Equal
    direction, selectors, interface and mark name the same policy: ordering it again replaces it in one step, also with
    another action. With `spi` None an OUT policy that protects is a trap: the first packet makes an Acquire.

    `priority` None lets narrower selectors win; a number (0 wins over all) is a shunt's and wins over None. The tunnel
    addresses of a policy that does not protect mean nothing.
    """

    direction: Direction
    source: Selector
    destination: Selector
    tunnel_source: str
    tunnel_destination: str
    reqid: int
    spi: int | None = None
    action: Action = Action.PROTECT
    mode: Mode = Mode.TUNNEL
    priority: int | None = None
    interface_id: int = 0
    mark: Mark | None = None

    @property
    def key(self) -> "PolicyKey":
        return self.direction, self.source, self.destination, self.interface_id, self.mark


PolicyKey = tuple[Direction, Selector, Selector, int, Mark | None]


class Route(NamedTuple):
    """Traffic to `destination` must leave towards `remote` (outer address), from an address of ours in `sources`.

    With `interface` it goes into that XFRM interface instead; `remote` may then be empty, when it is not known.
    """

    destination: Selector
    sources: tuple[Selector, ...]
    remote: str
    interface: str = ""


class Interface(NamedTuple):
    """An XFRM interface (IFLA_XFRM_IF_ID); it is there as long as somebody wants it."""

    name: str
    interface_id: int


class AddressRules(NamedTuple):
    """What a tunnel may bring from a peer's virtual address: packets for `allowed`, or any (None).

    Answers to what came from elsewhere are no matter of these. With `masquerade` what leaves by no tunnel gets our own
    address. Where the CHILD_SAs' selectors alone would let more in, the rules are `strict`: without them it must not
    be; else a driver that cannot lay them says so by `shortcomings`.
    """

    address: str
    allowed: tuple[Selector, ...] | None
    masquerade: bool = False
    strict: bool = False


class RuleCounters(NamedTuple):
    """What came from a virtual address since its rules lie there: passed on, and dropped."""

    passed_packets: int = 0
    passed_octets: int = 0
    dropped_packets: int = 0
    dropped_octets: int = 0


@dataclass(slots=True)
class AddState:
    state: EspState


@dataclass(slots=True)
class RemoveState:
    """Also gives back an SPI that was allocated and never used. The absent is removed without complaint."""

    key: StateKey
    inbound: bool


@dataclass(slots=True)
class AddPolicy:
    policy: Policy


@dataclass(slots=True)
class RemovePolicy:
    policy: Policy


@dataclass(slots=True)
class AddRoute:
    route: Route


@dataclass(slots=True)
class RemoveRoute:
    route: Route


@dataclass(slots=True)
class MoveState:
    """The state `key` goes on as `state`: same SPI, keys and sequence numbers, other addresses or ports (RFC 4555)."""

    key: StateKey
    state: EspState


@dataclass(slots=True)
class SkipSequence:
    """The outbound state `key` goes on with sequence numbers higher by at least `by` (RFC 6311 5.2)."""

    key: StateKey
    by: int


@dataclass(slots=True)
class Expect:
    """ESP for this allocated SPI may come before its state is added: keep it for a moment, where that can be.

    Until the SPI is given back or its state added. Never refused.
    """

    key: StateKey


@dataclass(slots=True)
class AddInterface:
    """Refused by drivers that have no XFRM interfaces, in words that say so. Adding again counts one more wish."""

    interface: Interface


@dataclass(slots=True)
class RemoveInterface:
    interface: Interface


@dataclass(slots=True)
class AddAddress:
    """A virtual address of ours, lent by the gateway that we call. Adding again counts one more wish."""

    address: str


@dataclass(slots=True)
class RemoveAddress:
    address: str


@dataclass(slots=True)
class LayRules:
    """In the place of those that the address has; what was counted stays. Such orders make a batch of their own."""

    rules: AddressRules


@dataclass(slots=True)
class LiftRules:
    """The absent are lifted without complaint."""

    address: str


Order = (
    AddState
    | RemoveState
    | AddPolicy
    | RemovePolicy
    | AddRoute
    | RemoveRoute
    | MoveState
    | SkipSequence
    | Expect
    | AddInterface
    | RemoveInterface
    | AddAddress
    | RemoveAddress
    | LayRules
    | LiftRules
)


@dataclass(frozen=True, slots=True)
class Counters:
    """What went through one state since it was added; ESP payload octets as the driver counts them."""

    octets: int = 0
    packets: int = 0
    replays: int = 0
    forged: int = 0
    last_used: float = 0.0
