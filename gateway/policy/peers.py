"""Peers, their children and their keys, as the administrator wants them."""

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from gateway.policy.authentication import LocalAuth, RemoteAuth
from gateway.policy.identities import Identity, IdentityPattern
from gateway.policy.proposals import Proposal
from gateway.policy.quantum import PostQuantum
from gateway.policy.selectors import Selector


class Start(StrEnum):
    """The one state a child is wanted in."""

    ALWAYS = "always"
    ON_DEMAND = "on-demand"
    PASSIVE = "passive"


class Unique(StrEnum):
    """What a second IKE SA with the same identities does to the first."""

    REPLACE = "replace"
    KEEP = "keep"
    NEVER = "never"


class PpkExchange(StrEnum):
    """In which exchange a post-quantum pre-shared key is mixed in: IKE_INTERMEDIATE (RFC 9867), so that it protects the
    IKE SA and the identities too, or IKE_AUTH (RFC 8784)."""

    EITHER = "either"
    INTERMEDIATE = "intermediate"
    AUTH = "auth"


class Mode(StrEnum):
    """How ESP wraps a packet (RFC 4301 3.2): whole in a new one, or its payload alone."""

    TUNNEL = "tunnel"
    TRANSPORT = "transport"


class WhenDown(StrEnum):
    """What becomes of a child's packets while no CHILD_SA can carry them."""

    DROP = "drop"
    PASS = "pass"  # noqa: S105  no password


class Offload(StrEnum):
    """What of ESP a network device does (XFRM_OFFLOAD_PACKET and its older, crypto-only form)."""

    NONE = "none"
    CRYPTO = "crypto"
    PACKET = "packet"


class Mark(NamedTuple):
    """Only packets whose mark, under the mask, has this value (struct xfrm_mark)."""

    value: int
    mask: int = 0xFFFFFFFF

    @classmethod
    def parse(cls, text: str) -> "Mark":
        """Read `0x10/0xff`, `16/255`, or `0x10` for all bits. Raises ValueError with what would be right."""
        value, slash, mask = text.strip().partition("/")
        try:
            read = cls(_bits(value), _bits(mask) if slash else 0xFFFFFFFF)
        except ValueError:
            raise ValueError(f"{text!r} is no mark: write 32 bits and which of them count, such as 0x10/0xff") from None
        if read.value & ~read.mask:
            likely = cls(read.value & read.mask, read.mask)
            raise ValueError(f"{text!r} has bits beyond its mask; did you mean {likely.text}?")
        return read

    @property
    def text(self) -> str:
        return f"{self.value:#x}/{self.mask:#x}"


class ShuntAction(StrEnum):
    """What a shunt does with its packets."""

    PASS = "pass"  # noqa: S105  no password
    DROP = "drop"


def _bits(text: str) -> int:
    """32 bits, hexadecimal after 0x. Raises ValueError."""
    bits = int(text, 16 if text[:2].lower() == "0x" else 10) if text.isalnum() and text.isascii() else -1
    if not 0 <= bits <= 0xFFFFFFFF:
        raise ValueError
    return bits


@dataclass(frozen=True, slots=True)
class Shunt:
    """Traffic that never enters a tunnel: let past in the clear, or dropped. A lower `priority` wins over a higher one.

    Priorities are compared among shunts alone; every shunt wins over every child.
    """

    name: str
    action: ShuntAction
    local: tuple[Selector, ...]
    remote: tuple[Selector, ...]
    priority: int = 100
    description: str = ""


@dataclass(frozen=True, slots=True)
class Child:
    """One CHILD_SA wanted with a peer: which traffic, protected how, started when.

    Times are seconds, 0 means never. `rekey_octets` and `rekey_packets` count either direction; 0 is no limit.
    `interface_id` other than 0 makes the child route-based: only what is routed into the XFRM interface of that id
    (named `interface`, or `ipsec<id>`) is protected. `single_pair` asks for a CHILD_SA for each pair of selectors, for
    peers that cannot hold several. `mss` other than 0 clamps TCP's maximum segment size in SYN packets. No `remote`
    selectors stand for the addresses of our pools that the peer holds, no `local` ones for those that it gave us. With
    `groups` it is for users of one of these alone.
    """

    name: str
    local: tuple[Selector, ...]
    remote: tuple[Selector, ...]
    proposals: tuple[Proposal, ...]
    start: Start = Start.ALWAYS
    rekey_time: float = 3600.0
    replay_window: int = 128
    description: str = ""
    mode: Mode = Mode.TUNNEL
    rekey_octets: int = 0
    rekey_packets: int = 0
    idle_timeout: float = 0.0
    when_down: WhenDown = WhenDown.DROP
    interface_id: int = 0
    interface: str = ""
    mark: Mark | None = None
    single_pair: bool = False
    offload: Offload = Offload.NONE
    copy_dscp: bool = False
    copy_df: bool = True
    mss: int = 0
    groups: tuple[str, ...] = ()

    @property
    def interface_name(self) -> str:
        """The XFRM interface's name; empty for a policy-based child."""
        return self.interface or f"ipsec{self.interface_id}" if self.interface_id else ""


@dataclass(frozen=True, slots=True)
class Retransmission:
    """How long we ask again before the peer is gone: waits of `base * factor**n` seconds with jitter (RFC 7296 2.1)."""

    tries: int = 5
    base: float = 2.0
    factor: float = 1.8
    jitter: float = 0.1

    def wait(self, sent: int, chance: float) -> float:
        """Seconds to wait after the `sent`-th transmission (1 is the first); `chance` is in 0..1."""
        exact: float = self.base * self.factor ** (sent - 1)
        return exact * (1 + self.jitter * (2 * chance - 1))


@dataclass(frozen=True, slots=True)
class Peer:
    """One other end of IKE: where it is, who it is, how we prove ourselves, and its children.

    `remote_addresses` holds addresses, networks or DNS names; empty means that it calls us from anywhere.
    `local_id` None stands for our address as the peer sees it used. Times are seconds, 0 means never.
    `fragment_octets` is the largest IP datagram that an IKE message may fill before it is sent in fragments (RFC 7383);
    0 does not fragment. `dscp` marks IKE's own datagrams (0-63). Each end proves itself in one round or several (RFC
    4739). `pools` names those that it is given addresses from, the first that has one; a child without
    remote selectors is then for these addresses. With `virtual_ip` we ask the peer for addresses when we call it; a
    child without local selectors is then for these.
    `redirect_to` is another gateway, an address or a DNS name, to which this peer is sent when it has proven itself.
    `ppks` names its post-quantum pre-shared keys, the best first; we accept any, and offer all of them in
    IKE_INTERMEDIATE, the first in IKE_AUTH, as `ppk_exchange` allows. With `ppk_required` there is no IKE SA without
    one. `post_quantum` None stands for what the settings demand of all.
    """

    name: str
    remote_id: IdentityPattern
    proposals: tuple[Proposal, ...]
    children: tuple[Child, ...] = ()
    local_id: Identity | None = None
    local_addresses: tuple[str, ...] = ()
    remote_addresses: tuple[str, ...] = ()
    remote_port: int = 500
    enabled: bool = True
    dpd_delay: float = 30.0
    rekey_time: float = 14400.0
    retransmission: Retransmission = Retransmission()
    force_encapsulation: bool = False
    unique: Unique = Unique.REPLACE
    description: str = ""
    reauth_time: float = 0.0
    mobike: bool = True
    fragment_octets: int = 1280
    childless: bool = False
    redirect: bool = True
    resumption: bool = True
    dscp: int = 0
    local_auth: tuple[LocalAuth, ...] = (LocalAuth(),)
    remote_auth: tuple[RemoteAuth, ...] = (RemoteAuth(),)
    pools: tuple[str, ...] = ()
    virtual_ip: bool = False
    redirect_to: str = ""
    ppks: tuple[str, ...] = ()
    ppk_required: bool = False
    ppk_exchange: PpkExchange = PpkExchange.EITHER
    post_quantum: PostQuantum | None = None

    def child(self, name: str) -> Child | None:
        return next((child for child in self.children if child.name == name), None)

    def accepts_address(self, address: str) -> int:
        """How particularly this address is configured: 3 the address itself, 2 a network, 1 any, 0 not at all.

        A DNS name counts as any: an address is no proof, the identity is.
        """
        if not self.remote_addresses:
            return 1
        best = 0
        for wanted in self.remote_addresses:
            if wanted == address:
                return 3
            try:
                network = ipaddress.ip_network(wanted)
            except ValueError:
                best = max(best, 1)
                continue
            if ipaddress.ip_address(address) in network:
                best = max(best, 2)
        return best

    @property
    def dialable(self) -> str | None:
        """The first single address or name that we can call, or None when only the peer can begin."""
        return next(iter(self.places), None)

    @property
    def places(self) -> tuple[str, ...]:
        """All single addresses and names that we can call, in the order in which they are tried."""
        return tuple(wanted for wanted in self.remote_addresses if "/" not in wanted)

    @property
    def names(self) -> tuple[str, ...]:
        """Those of `places` that are DNS names."""
        return tuple(place for place in self.places if ":" not in place and not place.replace(".", "").isdecimal())


@dataclass(frozen=True, slots=True)
class Psk:
    """A pre-shared key and whose it is; an empty list of identities stands for anybody."""

    name: str
    secret: bytes = field(repr=False)
    local_ids: tuple[IdentityPattern, ...] = ()
    remote_ids: tuple[IdentityPattern, ...] = ()
