"""Peers with their children, proposals and pre-shared keys, from documents to policy."""

import base64
import binascii

from gateway.policy.identities import Identity, IdentityPattern
from gateway.policy.peers import (
    Child,
    Mark,
    Mode,
    Offload,
    Peer,
    PpkExchange,
    Psk,
    Retransmission,
    Start,
    Unique,
    WhenDown,
)
from gateway.policy.proposals import Proposal
from gateway.policy.selectors import Selector
from gateway.storage.compiling.people import check_addressing
from gateway.storage.compiling.post_quantum import compile_demand
from gateway.storage.compiling.proposals import Suites, referred
from gateway.storage.compiling.rules import compile_redirect
from gateway.storage.compiling.trust import Trust, compile_local, compile_remote
from gateway.storage.findings import Findings, address, destination
from gateway.storage.peers import ChildObject, PeerObject, ProposalObject, PskObject
from gateway.wire.numbers import Protocol

_PROTOCOLS = {"ike": Protocol.IKE, "esp": Protocol.ESP}
MAX_SECRET_OCTETS = 1024
_LEAST_FRAGMENT = 576  # RFC 791: what every IPv4 host must take
_LEAST_MSS = 536  # of such a datagram without its two headers


def parse_secret(text: str) -> bytes:
    """A pre-shared key's octets: text, hexadecimal after `0x` or base64 after `0s` (strongSwan). Raises ValueError."""
    try:
        if text.startswith("0x"):
            secret = bytes.fromhex(text[2:])
        elif text.startswith("0s"):
            secret = base64.b64decode(text[2:], validate=True)
        else:
            secret = text.encode()
    except (ValueError, binascii.Error):
        # The sentence does not repeat the text: it is a secret.
        raise ValueError("after 0x comes hexadecimal, after 0s base64") from None
    if not 0 < len(secret) <= MAX_SECRET_OCTETS:
        raise ValueError(f"a key has 1 to {MAX_SECRET_OCTETS} octets")
    return secret


def compile_proposal(document: ProposalObject, at: str, found: Findings) -> tuple[Proposal, ...]:
    """The suites of a proposal object, best first."""
    protocol = _PROTOCOLS[document.protocol]
    return found.parse_all(
        f"{at}/suites", "invalid-proposal", lambda text: Proposal.parse(text, protocol), document.suites
    )


def compile_psk(document: PskObject, secret: bytes | None, at: str, found: Findings) -> Psk | None:
    local = found.parse_all(f"{at}/local_ids", "invalid-identity", IdentityPattern.parse, document.local_ids)
    remote = found.parse_all(f"{at}/remote_ids", "invalid-identity", IdentityPattern.parse, document.remote_ids)
    if secret is None:
        found.add(f"{at}/secret", "missing", "a new key needs its secret")
        return None
    return Psk(document.name, secret, local, remote)


def compile_peer(
    document: PeerObject, suites: Suites, trust: Trust, password: bytes | None, at: str, found: Findings
) -> Peer | None:
    """The peer for the engine; None when something was found that leaves no peer. `password` is ours for EAP."""
    before = len(found.errors)
    remote_id = found.parse(f"{at}/remote_id", "invalid-identity", IdentityPattern.parse, document.remote_id)
    local_id = None
    if document.local_id is not None:
        local_id = found.parse(f"{at}/local_id", "invalid-identity", Identity.parse, document.local_id)
    children = _compile_children(document, suites, at, found)
    elsewhere = compile_redirect(document.redirect_to, at, found)
    _check_fragments(document, at, found)
    check_addressing(document, at, found)
    peer_proposals = referred(document.ike_proposals, "ike", suites, f"{at}/ike_proposals", found)
    local = found.parse_all(f"{at}/local_addresses", "invalid-address", address, document.local_addresses)
    remote = found.parse_all(f"{at}/remote_addresses", "invalid-address", destination, document.remote_addresses)
    local_auth = compile_local(document, password, trust, at, found)
    remote_auth = compile_remote(document, trust, at, found)
    _check_transport(document, children, {"local_selectors": local, "remote_selectors": remote}, at, found)
    if len(found.errors) > before or remote_id is None:
        return None
    retransmit = document.retransmit
    return Peer(
        name=document.name,
        remote_id=remote_id,
        proposals=peer_proposals,
        children=children,
        local_id=local_id,
        local_addresses=local,
        remote_addresses=remote,
        remote_port=document.remote_port,
        enabled=document.enabled,
        dpd_delay=document.dpd_delay,
        rekey_time=document.rekey_time,
        retransmission=Retransmission(retransmit.tries, retransmit.base, retransmit.factor, retransmit.jitter),
        force_encapsulation=document.force_encapsulation,
        unique=Unique(document.unique),
        description=document.description,
        reauth_time=document.reauth_time,
        mobike=document.mobike,
        fragment_octets=document.fragment_octets,
        childless=document.childless,
        redirect=document.redirect,
        resumption=document.resumption,
        dscp=document.dscp,
        local_auth=local_auth,
        remote_auth=remote_auth,
        pools=document.pools,
        virtual_ip=document.virtual_ip,
        redirect_to=elsewhere,
        ppks=document.ppks,
        ppk_required=document.ppk_required,
        ppk_exchange=PpkExchange(document.ppk_exchange),
        post_quantum=compile_demand(document, peer_proposals, at, found),
    )


def _check_fragments(document: PeerObject, at: str, found: Findings) -> None:
    if 0 < document.fragment_octets < _LEAST_FRAGMENT:
        detail = f"write 0 to send IKE messages whole, or {_LEAST_FRAGMENT} to 65535 octets"
        found.add(f"{at}/fragment_octets", "too-small", detail)


def _check_transport(
    document: PeerObject, children: tuple[Child, ...], ends: dict[str, tuple[str, ...]], at: str, found: Findings
) -> None:
    """Transport mode protects what the two ends say to each other (RFC 4301 5.1): its networks must hold them.

    `ends` are the configured addresses, by the field with the networks of that side.
    """
    places = {child.name: index for index, child in enumerate(document.children)}
    for child in children:
        sides = {"local_selectors": child.local, "remote_selectors": child.remote}
        for name, selectors in sides.items() if child.mode == Mode.TRANSPORT else ():
            known = _ranges(ends[name])
            if known and not any(selector.narrow(end) for selector in selectors for end in known):
                found.add(
                    f"{at}/children/{places[child.name]}/{name}",
                    "transport-without-ends",
                    "transport mode protects what the two gateways themselves say: "
                    f"add {', '.join(ends[name])} here, or choose tunnel mode",
                )


def _ranges(addresses: tuple[str, ...]) -> list[Selector]:
    """Addresses and networks as selectors; none when a DNS name is among them, for that may stand for any."""
    try:
        return [Selector.parse(address) for address in addresses]
    except ValueError:
        return []


def _compile_children(document: PeerObject, suites: Suites, at: str, found: Findings) -> tuple[Child, ...]:
    names = [child.name for child in document.children]
    for index, name in enumerate(names):
        if name in names[:index]:
            found.add(f"{at}/children/{index}/name", "duplicate", f"there is another child {name!r}")
    return tuple(
        child
        for index, entry in enumerate(document.children)
        if (child := _compile_child(entry, suites, f"{at}/children/{index}", found))
    )


def _compile_child(document: ChildObject, suites: Suites, at: str, found: Findings) -> Child | None:
    before = len(found.errors)
    local = found.parse_all(f"{at}/local_selectors", "invalid-selector", Selector.parse, document.local_selectors)
    remote = found.parse_all(f"{at}/remote_selectors", "invalid-selector", Selector.parse, document.remote_selectors)
    if local and remote and not {one.version for one in local} & {one.version for one in remote}:
        found.add(f"{at}/remote_selectors", "no-common-version", "our networks and theirs have no IP version in common")
    child_proposals = referred(document.esp_proposals, "esp", suites, f"{at}/esp_proposals", found)
    mark = None
    if document.mark is not None:
        mark = found.parse(f"{at}/mark", "invalid-mark", Mark.parse, document.mark)
    _check_child(document, at, found)
    if len(found.errors) > before:
        return None
    return Child(
        name=document.name,
        local=local,
        remote=remote,
        proposals=child_proposals,
        start=Start(document.start),
        rekey_time=document.rekey_time,
        replay_window=document.replay_window,
        description=document.description,
        mode=Mode(document.mode),
        rekey_octets=document.rekey_octets,
        rekey_packets=document.rekey_packets,
        idle_timeout=document.idle_timeout,
        when_down=WhenDown(document.when_down),
        interface_id=document.interface_id,
        interface=document.interface,
        mark=mark,
        single_pair=document.single_pair,
        offload=Offload(document.offload),
        copy_dscp=document.copy_dscp,
        copy_df=document.copy_df,
        mss=document.mss,
        groups=document.groups,
    )


def _check_child(document: ChildObject, at: str, found: Findings) -> None:
    """What fits badly together, each with the way out."""
    if document.idle_timeout and document.start == "always":
        detail = "a child that is always up never idles: choose start on-demand or passive, or idle_timeout 0"
        found.add(f"{at}/idle_timeout", "always-up", detail)
    if document.interface and not document.interface_id:
        detail = f"give the interface {document.interface} an interface_id other than 0, or leave its name away"
        found.add(f"{at}/interface", "no-interface-id", detail)
    if 0 < document.mss < _LEAST_MSS:
        found.add(f"{at}/mss", "too-small", f"write 0 to leave segments alone, or {_LEAST_MSS} to 65495 octets")
