"""Pre-shared keys, post-quantum ones, and proposals: whose they are, who uses them, how strong they are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.crypto import suites
from gateway.crypto.suites import Algorithm, Encryption, Integrity
from gateway.policy.authentication import Method
from gateway.policy.identities import IdentityPattern
from gateway.policy.peers import Peer, Psk
from gateway.policy.proposals import InvalidProposal, Proposal
from gateway.policy.snapshot import Snapshot
from gateway.storage.objects import Inventory
from gateway.storage.peers import PeerObject, ProposalObject
from gateway.wire.numbers import Protocol

PROTOCOLS = {"ike": Protocol.IKE, "esp": Protocol.ESP}
_STRONG, _FAIR = 128, 112  # bits; NIST SP 800-57 part 1: 112 until 2030


@dataclass(frozen=True, slots=True)
class PskRow:
    name: str
    description: str
    local_ids: tuple[str, ...]
    remote_ids: tuple[str, ...]
    used_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PpkRow:
    name: str
    description: str
    identity: str
    used_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite with its verdict; `css` is strong, fair or weak; an invalid one is no suite at all."""

    keywords: str
    verdict: str
    css: str
    invalid: bool = False


@dataclass(frozen=True, slots=True)
class ProposalRow:
    name: str
    description: str
    protocol: str
    suites: tuple[Suite, ...]
    used_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pick:
    """One line of a pick list."""

    keyword: str
    label: str
    remark: str
    css: str


def psk_rows(inventory: Inventory, snapshot: Snapshot) -> tuple[PskRow, ...]:
    return tuple(
        PskRow(psk.name, psk.description, psk.local_ids, psk.remote_ids, peers_of_key(snapshot, psk.name))
        for _, psk in sorted(inventory.psks.items())
    )


def peers_of_key(snapshot: Snapshot, name: str) -> tuple[str, ...]:
    """The peers that this key may prove."""
    return tuple(peer.name for peer in snapshot.peers.values() if name in keys_of_peer(snapshot, peer))


def keys_of_peer(snapshot: Snapshot, peer: Peer) -> tuple[str, ...]:
    """The keys that may prove this peer: the one that the engine would take, or all that could come into question."""
    methods = {*(one.method for one in peer.local_auth), *(one.method for one in peer.remote_auth)}
    if Method.PSK not in methods:
        return ()
    if peer.remote_id.exact is not None and peer.local_id is not None:
        best = snapshot.psk_for(peer.local_id, peer.remote_id.exact)
        return (best.name,) if best else ()
    return tuple(psk.name for psk in snapshot.psks if _may_prove(psk, peer))


def _may_prove(psk: Psk, peer: Peer) -> bool:
    if peer.local_id is not None and psk.local_ids and not any(one.matches(peer.local_id) for one in psk.local_ids):
        return False
    return not psk.remote_ids or any(_overlap(one, peer.remote_id) for one in psk.remote_ids)


def _overlap(key: IdentityPattern, peer: IdentityPattern) -> bool:
    if peer.exact is not None:
        return key.matches(peer.exact)
    if key.exact is not None:
        return peer.matches(key.exact)
    return key.text == peer.text or "%any" in (key.text, peer.text)


def ppk_rows(inventory: Inventory) -> tuple[PpkRow, ...]:
    return tuple(
        PpkRow(name, ppk.description, ppk.identity, peers_of_ppk(inventory, name))
        for name, ppk in sorted(inventory.ppks.items())
    )


def peers_of_ppk(inventory: Inventory, ppk: str) -> tuple[str, ...]:
    """The peers that name this post-quantum pre-shared key."""
    return tuple(name for name, peer in sorted(inventory.peers.items()) if ppk in peer.ppks)


def proposal_rows(inventory: Inventory) -> tuple[ProposalRow, ...]:
    return tuple(
        ProposalRow(
            one.name, one.description, one.protocol, verdicts(one.suites, one.protocol), users(inventory, one.name)
        )
        for one in sorted(inventory.proposals.values(), key=_proposal_order)
    )


def _proposal_order(proposal: ProposalObject) -> tuple[bool, str]:
    return proposal.protocol != "ike", proposal.name


def users(inventory: Inventory, proposal: str) -> tuple[str, ...]:
    """The peers that name this proposal."""
    return tuple(name for name, peer in sorted(inventory.peers.items()) if proposal in _named(peer))


def _named(peer: PeerObject) -> set[str]:
    return {*peer.ike_proposals, *(name for child in peer.children for name in child.esp_proposals)}


def verdicts(texts: Iterable[str], protocol: str) -> tuple[Suite, ...]:
    return tuple(verdict(text, protocol) for text in texts)


def verdict(text: str, protocol: str) -> Suite:
    """How strong a suite is: as strong as its weakest algorithm, and what is there for old peers only."""
    try:
        proposal = Proposal.parse(text, PROTOCOLS[protocol])
    except InvalidProposal as error:
        return Suite(text, str(error), "weak", invalid=True)
    if proposal.weak:
        return Suite(text, f"weak: {', '.join(proposal.weak)}", "weak")
    rows: list[Algorithm] = [*proposal.encr, *proposal.integ, *proposal.prf, *proposal.ke]
    bits = min(row.strength for row in rows)
    css = "strong" if bits >= _STRONG else "fair" if bits >= _FAIR else "weak"
    return Suite(text, f"at least {bits} bits", css)


def picks(protocol: str) -> tuple[tuple[str, tuple[Pick, ...]], ...]:
    """The pick lists for a protocol, each in order of preference."""
    combined = [row for row in suites.ENCRYPTIONS if row.aead]
    plain = [row for row in suites.ENCRYPTIONS if not row.aead]
    lists: list[tuple[str, Iterable[Algorithm]]] = [
        ("Encryption with its own integrity", combined),
        ("Encryption that needs an integrity algorithm", plain),
        ("Integrity", suites.INTEGRITIES),
    ]
    if protocol == "ike":
        lists.append(("Pseudo-random function", suites.PRFS))
    title = "Key exchange" if protocol == "ike" else "Key exchange at rekeying (forward secrecy)"
    lists.append((title, suites.KEY_EXCHANGES))
    return tuple((title, tuple(_pick(row, protocol) for row in rows)) for title, rows in lists)


def _pick(row: Algorithm, protocol: str) -> Pick:
    if row.weak:
        return Pick(row.keyword, row.label, "weak", "weak")
    if isinstance(row, Encryption | Integrity):
        status = row.ike_status if protocol == "ike" else row.esp_status
    else:
        status = row.status
    return Pick(row.keyword, row.label, status.value if status.value != "MAY" else "", "strong")


def suites_of_picks(keywords: Iterable[str], protocol: str) -> list[str]:
    """What was picked as suites: combined-mode and other ciphers apart (RFC 7296 3.3), each with what it can use."""
    rows = [row for row in (suites.by_keyword(word) for word in keywords) if row is not None]
    ciphers = [row for row in rows if isinstance(row, Encryption)]
    others = [row for row in rows if not isinstance(row, Encryption)]
    found = []
    for aead in (True, False):
        mine = [row for row in ciphers if row.aead is aead]
        rest = [row for row in others if not (aead and isinstance(row, Integrity))]
        if mine or (not ciphers and aead and rest):
            found.append("-".join(row.keyword for row in [*mine, *rest]))
    return found


def proposal_options(inventory: Inventory, protocol: str, current: tuple[str, ...]) -> list[tuple[str, str]]:
    """A select's options: each proposal, and the present combination if it is more than one."""
    options = [
        (name, f"{name}: {one.description}" if one.description else name)
        for name, one in sorted(
            inventory.proposals.items(), key=lambda item: (not item[0].startswith("modern"), item[0])
        )
        if one.protocol == protocol
    ]
    joined = ",".join(current)
    if len(current) > 1:
        options.insert(0, (joined, f"{', '.join(current)} (as now)"))
    return options


def suggested_key_name(inventory: Inventory, tunnel: str) -> str:
    """A free name for the key of a new tunnel."""
    if tunnel not in inventory.psks:
        return tunnel
    return next(
        name
        for number in range(2, len(inventory.psks) + 3)
        if (name := f"{tunnel[:59]}-{number}") not in inventory.psks
    )


def key_names(inventory: Inventory) -> list[tuple[str, str]]:
    described: Mapping[str, str] = {name: psk.description for name, psk in sorted(inventory.psks.items())}
    return [(name, f"{name}: {text}" if text else name) for name, text in described.items()]
