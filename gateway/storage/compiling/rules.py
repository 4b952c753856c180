"""What holds for the whole gateway, from documents to policy: shunts, blocked sources, settings, interfaces."""

import ipaddress
from collections.abc import Collection, Iterable

from gateway.policy.peers import Peer, Shunt, ShuntAction
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import EngineSettings
from gateway.storage.compiling.post_quantum import demand_of
from gateway.storage.findings import Findings, Pointers, destination
from gateway.storage.objects import Inventory
from gateway.storage.rules import SettingsObject


def compile_shunts(inventory: Inventory, pointer: Pointers, found: Findings) -> tuple[Shunt, ...]:
    shunts: list[Shunt] = []
    for name, document in sorted(inventory.shunts.items()):
        at = pointer("shunts", name)
        local = found.parse_all(f"{at}/local_selectors", "invalid-selector", Selector.parse, document.local_selectors)
        remote = found.parse_all(
            f"{at}/remote_selectors", "invalid-selector", Selector.parse, document.remote_selectors
        )
        if local and remote and not {one.version for one in local} & {one.version for one in remote}:
            found.add(f"{at}/remote_selectors", "no-common-version", "the two sides have no IP version in common")
        action = ShuntAction(document.action)
        shunts.append(Shunt(name, action, local, remote, document.priority, document.description))
    return tuple(shunts)


def compile_settings(document: SettingsObject, at: str, found: Findings) -> EngineSettings:
    if document.retry_limit < document.retry_base:
        detail = f"the wait begins at {document.retry_base:g} s and grows: write at least that, or a lower retry_base"
        found.add(f"{at}/retry_limit", "below-base", detail)
    if document.cookie_threshold > document.half_open_limit:
        detail = "no cookie would ever be asked for: write at most half_open_limit"
        found.add(f"{at}/cookie_threshold", "above-limit", detail)
    compile_redirect(document.redirect_to, at, found)
    said = document.model_dump()
    said["post_quantum"] = demand_of(document.post_quantum, said.pop("post_quantum_from"), at, found)
    return EngineSettings(**said)


def compile_redirect(to: str, at: str, found: Findings) -> str:
    """Where somebody is sent; empty for nowhere."""
    return (found.parse(f"{at}/redirect_to", "invalid-address", _redirect, to) if to else "") or ""


def _redirect(text: str) -> str:
    if "/" in text:
        raise ValueError(f"{text!r} is a network; peers are sent to one address or DNS name")
    return destination(text)


def blocked_at(inventory: Inventory, now: float) -> tuple[str, ...]:
    """The networks that are blocked at a moment (Unix time, seconds)."""
    blocks = inventory.blocks.items()
    return tuple(sorted(name for name, one in blocks if one.expires_at is None or one.expires_at > now))


def next_expiry(inventory: Inventory, now: float) -> float | None:
    """When the next block runs out (Unix time, seconds)."""
    ends = (one.expires_at for one in inventory.blocks.values() if one.expires_at is not None)
    return min((end for end in ends if end > now), default=None)


def check_blocks(blocked: Collection[str], peers: Iterable[Peer], pointer: Pointers, found: Findings) -> None:
    """Nobody blocks a peer whose address is configured: that tunnel would die without a word."""
    prefixes: dict[tuple[int, int], dict[int, str]] = {}
    for entry in blocked:
        network = ipaddress.ip_network(entry)
        host_bits = network.max_prefixlen - network.prefixlen
        prefixes.setdefault((network.version, host_bits), {})[int(network.network_address) >> host_bits] = entry
    for peer in peers if prefixes else ():
        for wanted in peer.remote_addresses if peer.enabled else ():
            try:
                address = ipaddress.ip_address(wanted)
            except ValueError:
                continue
            for (version, host_bits), known in prefixes.items():
                text = known.get(int(address) >> host_bits) if version == address.version else None
                if text is not None:
                    detail = f"{text} holds {wanted} of peer {peer.name!r}: block less, or disable that peer first"
                    found.add(f"{pointer('blocks', text)}/network", "blocks-peer", detail)


def check_interfaces(peers: Iterable[Peer], unchanged: Collection[str], pointer: Pointers, found: Findings) -> None:
    """An XFRM interface has one name, its name no second id, and one enabled peer, with whom it comes and goes.

    Of two that do not fit, the one that is not in `unchanged` is told.
    """
    by_id: dict[int, tuple[str, str]] = {}
    by_name: dict[str, int] = {}
    enabled = (peer for peer in peers if peer.enabled)
    for peer in sorted(enabled, key=lambda peer: peer.name not in unchanged):
        for index, child in enumerate(peer.children):
            number, name = child.interface_id, child.interface_name
            if not number:
                continue
            at = f"{pointer('peers', peer.name)}/children/{index}"
            owner, known = by_id.setdefault(number, (peer.name, name))
            if owner != peer.name:
                detail = f"peer {owner!r} has the interface {number} already; choose another interface_id"
                found.add(f"{at}/interface_id", "interface-in-use", detail)
            elif known != name:
                detail = f"interface {number} is named {known} and {name}: give it one name, or another interface_id"
                found.add(f"{at}/interface", "interface-named-twice", detail)
            elif by_name.setdefault(name, number) != number:
                detail = f"interface {by_name[name]} is named {name} already; choose another name"
                found.add(f"{at}/interface", "interface-in-use", detail)
