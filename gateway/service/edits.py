"""How one inventory becomes the next: objects put, children put, objects taken away, whole documents laid over."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from gateway.service.documents import Document, opened_secret, psk_object, read_child, read_object
from gateway.storage.objects import (
    CHILDREN,
    KINDS,
    SETTINGS,
    BlockObject,
    ChildObject,
    ConfigObject,
    Inventory,
    PeerObject,
    ProposalObject,
    PskObject,
    SettingsObject,
    ShuntObject,
)


def laid(inventory: Inventory, kind: str, name: str, document: Mapping[str, Any]) -> Inventory:
    """The inventory with the object that the document describes, at its address. Raises Invalid.

    A child's peer must be there.
    """
    if kind == CHILDREN:
        peer, _, child = name.partition("/")
        return _with_child(inventory, inventory.peers[peer], read_child(child, document))
    return with_object(inventory, *read_object(kind, name, document))


def with_object(inventory: Inventory, thing: ConfigObject, secret: bytes | None = None) -> Inventory:
    """The object added or put in the place of its namesake; without `secret` a key keeps the one it has."""
    match thing:
        case ProposalObject():
            return replace(inventory, proposals={**inventory.proposals, thing.name: thing})
        case PskObject():
            secrets = inventory.secrets if secret is None else {**inventory.secrets, thing.name: secret}
            return replace(inventory, psks={**inventory.psks, thing.name: thing}, secrets=secrets)
        case PeerObject():
            return replace(inventory, peers={**inventory.peers, thing.name: thing})
        case ShuntObject():
            return replace(inventory, shunts={**inventory.shunts, thing.name: thing})
        case BlockObject():
            return replace(inventory, blocks={**inventory.blocks, thing.name: thing})
        case SettingsObject():
            return replace(inventory, settings=thing)


def without_object(inventory: Inventory, kind: str, name: str) -> Inventory:
    if kind == CHILDREN:
        peer, _, child = name.partition("/")
        return _without_child(inventory, inventory.peers[peer], child)
    kept = {key: thing for key, thing in inventory.objects(kind).items() if key != name}
    secrets = inventory.secrets
    if kind == "psks":
        secrets = {key: secret for key, secret in secrets.items() if key != name}
    changes: dict[str, Any] = {kind: kept}
    return replace(inventory, secrets=secrets, **changes)


def _with_child(inventory: Inventory, peer: PeerObject, child: ChildObject) -> Inventory:
    """The child added at the end, or put in the place of its namesake."""
    if peer.child(child.name) is None:
        children = (*peer.children, child)
    else:
        children = tuple(child if one.name == child.name else one for one in peer.children)
    return with_object(inventory, peer.model_copy(update={"children": children}))


def _without_child(inventory: Inventory, peer: PeerObject, name: str) -> Inventory:
    children = tuple(child for child in peer.children if child.name != name)
    return with_object(inventory, peer.model_copy(update={"children": children}))


def with_document(inventory: Inventory, document: Document, prune: bool) -> Inventory:
    """Every object of the document put; with `prune`, everything that is not in it taken away. Raises Invalid.

    Settings that are taken away are what they were at the beginning.
    """
    secrets = dict(inventory.secrets)
    psks: dict[str, PskObject] = {} if prune else dict(inventory.psks)
    for index, entry in enumerate(document.psks):
        secret = opened_secret(entry.secret, f"/psks/{index}/secret")
        if secret is not None:
            secrets[entry.name] = secret
        psks[entry.name] = psk_object(entry)
    kept = Inventory() if prune else inventory
    return replace(
        inventory,
        proposals=_laid_over(kept.proposals, document.proposals),
        psks=dict(sorted(psks.items())),
        peers=_laid_over(kept.peers, document.peers),
        secrets={name: secret for name, secret in secrets.items() if name in psks},
        shunts=_laid_over(kept.shunts, document.shunts),
        blocks=_laid_over(kept.blocks, document.blocks),
        settings=document.settings or kept.settings,
    )


Entry = TypeVar("Entry", ProposalObject, PeerObject, ShuntObject, BlockObject)


def _laid_over(kept: Mapping[str, Entry], entries: Iterable[Entry]) -> dict[str, Entry]:
    return dict(sorted({**kept, **{entry.name: entry for entry in entries}}.items()))


def numbered(old: Inventory, new: Inventory, revision: int) -> Inventory:
    """The new inventory as `revision`: what differs from the old one says so, the rest keeps its number."""
    changed: dict[tuple[str, str], int] = {}
    for kind in (*KINDS, SETTINGS[0]):
        before = old.objects(kind)
        for name, thing in new.objects(kind).items():
            same = before.get(name) is thing or before.get(name) == thing
            if kind == "psks":
                same = same and old.secrets.get(name) == new.secrets.get(name)
            changed[kind, name] = old.changed[kind, name] if same else revision
    for peer in new.peers.values():
        changed.update(_children(old.peers.get(peer.name), peer, old.changed, revision))
    return replace(new, revision=revision, changed=changed)


def _children(
    old: PeerObject | None, new: PeerObject, known: Mapping[tuple[str, str], int], revision: int
) -> dict[tuple[str, str], int]:
    before = {child.name: child for child in old.children} if old else {}
    numbers: dict[tuple[str, str], int] = {}
    for child in new.children:
        key = ("children", f"{new.name}/{child.name}")
        numbers[key] = known[key] if before.get(child.name) == child else revision
    return numbers


def used_by(inventory: Inventory, kind: str, name: str) -> tuple[str, ...]:
    """Which objects refer to this one, as the addresses of the API write them."""
    found: list[str] = []
    for peer in inventory.peers.values() if kind == "proposals" else ():
        if name in peer.ike_proposals:
            found.append(f"peers/{peer.name}")
        found += [f"peers/{peer.name}/children/{child.name}" for child in peer.children if name in child.esp_proposals]
    return tuple(found)
