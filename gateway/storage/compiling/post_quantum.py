"""What keys rest on against quantum computers: pre-shared keys for the engine, and what is demanded of peers."""

from collections.abc import Sequence

from gateway.policy.ppks import Ppk
from gateway.policy.proposals import Proposal
from gateway.policy.quantum import Demand, PostQuantum
from gateway.storage.findings import Findings, Pointers
from gateway.storage.objects import Inventory
from gateway.storage.peers import PeerObject


def compile_ppks(inventory: Inventory, pointer: Pointers, found: Findings) -> list[Ppk]:
    """For the engine; no two of one identity, which could not be told apart."""
    made: list[Ppk] = []
    known: dict[str, str] = {}
    for name, document in inventory.ppks.items():
        at, secret = pointer("ppks", name), inventory.secrets.get(("ppks", name))
        if other := known.get(document.identity):
            found.add(f"{at}/identity", "duplicate", f"the key {other!r} has this identity, too")
        known[document.identity] = name
        if secret is None:
            found.add(f"{at}/secret", "missing", "a new key needs its secret")
            continue
        made.append(Ppk(name, document.identity, secret))
    return made


def check_ppks(inventory: Inventory, pointer: Pointers, found: Findings) -> None:
    """What peers say of their keys."""
    for name, peer in inventory.peers.items():
        if peer.ppks or peer.ppk_required:
            check_peer(inventory, peer, pointer("peers", name), found)


def check_peer(inventory: Inventory, peer: PeerObject, at: str, found: Findings) -> None:
    """What one peer says of its keys; `at` points to it."""
    for index, ppk in enumerate(peer.ppks):
        if ppk not in inventory.ppks:
            found.add(f"{at}/ppks/{index}", "unknown", f"there is no post-quantum pre-shared key {ppk!r}")
    if peer.ppk_required and not peer.ppks:
        found.add(f"{at}/ppk_required", "without-keys", "name the keys of which one is required, in ppks")


def demand_of(demand: str, begins: float | None, at: str, found: Findings) -> PostQuantum:
    """What is demanded, and from when on; `at` points to who says so."""
    if begins is not None and demand != Demand.REQUIRE:
        found.add(f"{at}/post_quantum_from", "nothing-required", "a day is for what is required: choose `require`")
    return PostQuantum(Demand(demand), begins or 0.0)


def compile_demand(peer: PeerObject, suites: Sequence[Proposal], at: str, found: Findings) -> PostQuantum | None:
    """What a peer itself demands; None where it leaves that to the settings."""
    if peer.post_quantum == "default":
        if peer.post_quantum_from is not None:
            detail = "a day is for what is required: choose `require` for this peer, or a day in the settings"
            found.add(f"{at}/post_quantum_from", "nothing-required", detail)
        return None
    if peer.post_quantum == "require" and not peer.ppks and not any(one.post_quantum for one in suites):
        detail = "its proposals have no ML-KEM and it has no PPK: name modern-pq-ike in ike_proposals, or a key in ppks"
        found.add(f"{at}/post_quantum", "without-means", detail)
    return demand_of(peer.post_quantum, peer.post_quantum_from, at, found)
