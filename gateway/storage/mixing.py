"""Post-quantum pre-shared keys for the engine, and what peers may say of them."""

from gateway.policy.ppks import Ppk
from gateway.storage.findings import Findings, Pointers
from gateway.storage.objects import Inventory, PeerObject


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
