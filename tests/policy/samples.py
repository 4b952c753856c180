"""Peers and keys to compare and to find."""

from gateway.policy.identities import IdentityPattern
from gateway.policy.peers import (
    Child,
    Peer,
    Psk,
)
from gateway.policy.proposals import Proposal
from gateway.policy.selectors import Selector
from gateway.wire.numbers import Protocol

IKE = (Proposal.parse("aes256gcm16-prfsha256-x25519", Protocol.IKE),)
ESP = (Proposal.parse("aes256gcm16", Protocol.ESP),)
NET = Child("net", (Selector.parse("10.1.0.0/24"),), (Selector.parse("10.2.0.0/24"),), ESP)


def peer(name: str, *remote: str) -> Peer:
    return Peer(name, IdentityPattern.parse(f"{name}.example"), IKE, (NET,), remote_addresses=remote)


def key(name: str, local: tuple[str, ...], remote: tuple[str, ...]) -> Psk:
    return Psk(name, name.encode(), tuple(map(IdentityPattern.parse, local)), tuple(map(IdentityPattern.parse, remote)))
