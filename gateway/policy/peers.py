"""Peers, their children and their keys, as the administrator wants them."""

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.policy.identities import Identity, IdentityPattern
from gateway.policy.proposals import Proposal
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


@dataclass(frozen=True, slots=True)
class Child:
    """One CHILD_SA wanted with a peer: which traffic, protected how, started when."""

    name: str
    local: tuple[Selector, ...]
    remote: tuple[Selector, ...]
    proposals: tuple[Proposal, ...]
    start: Start = Start.ALWAYS
    rekey_time: float = 3600.0
    replay_window: int = 128
    description: str = ""


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
    `local_id` None stands for our address as the peer sees it used.
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
        return next((wanted for wanted in self.remote_addresses if "/" not in wanted), None)


@dataclass(frozen=True, slots=True)
class Psk:
    """A pre-shared key and whose it is; an empty list of identities stands for anybody."""

    name: str
    secret: bytes = field(repr=False)
    local_ids: tuple[IdentityPattern, ...] = ()
    remote_ids: tuple[IdentityPattern, ...] = ()
