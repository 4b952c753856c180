"""How one inventory becomes the next: objects put, children put, objects taken away, whole documents laid over."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from gateway.crypto.containers import read_certificates
from gateway.service.documents import Document, as_document, pointer_of, read_child, read_object, split_entry, validated
from gateway.storage.access_profiles import AccessProfileObject
from gateway.storage.devices import DeviceObject
from gateway.storage.identity import AuthorityObject, RevokedFields
from gateway.storage.objects import CHILDREN, KINDS, SETTINGS, ConfigObject, Inventory, kind_of_secret
from gateway.storage.peers import ChildObject, PeerObject
from gateway.storage.rules import SettingsObject

Thing = TypeVar("Thing", bound=ConfigObject)


def laid(inventory: Inventory, kind: str, name: str, document: Mapping[str, Any]) -> Inventory:
    """The inventory with the object that the document describes, at its address. Raises Invalid.

    A child's peer must be there.
    """
    if kind == CHILDREN:
        peer, _, child = name.partition("/")
        return _with_child(inventory, inventory.peers[peer], read_child(child, document))
    return with_object(inventory, kind, *read_object(kind, name, document))


def with_object(inventory: Inventory, kind: str, thing: ConfigObject, secret: bytes | None = None) -> Inventory:
    """The object added or put in the place of its namesake; without `secret` it keeps the one it has."""
    if isinstance(thing, SettingsObject):
        return replace(inventory, settings=thing)
    thing = _still_issued(inventory, _still_revoked(inventory, thing))
    changes: dict[str, Any] = {kind: {**inventory.objects(kind), thing.name: thing}}
    if secret is not None:
        changes["secrets"] = {**inventory.secrets, (kind, thing.name): secret}
    return replace(inventory, **changes)


def _still_revoked(inventory: Inventory, thing: Thing) -> Thing:
    """What was revoked stays so, whatever is written over its authority: going back to a revision brings none back."""
    if not isinstance(thing, AuthorityObject) or thing.name not in inventory.authorities:
        return thing
    before = inventory.authorities[thing.name]
    known = {one.serial: one for one in (*thing.revoked, *before.revoked)}
    return thing.model_copy(update={"revoked": tuple(known[serial] for serial in sorted(known))})


def _still_issued(inventory: Inventory, thing: Thing) -> Thing:
    """A device that is written without its certificate keeps what it has."""
    before = inventory.devices.get(thing.name) if isinstance(thing, DeviceObject) else None
    if before is None or not isinstance(thing, DeviceObject) or thing.certificate:
        return thing
    fields = ("certificate", "authority", "previous_certificate", "previous_authority")
    kept = {name: getattr(before, name) for name in fields}
    return thing.model_copy(update={**kept, "platform": thing.platform or before.platform})


def with_losses_revoked(old: Inventory, new: Inventory, now: float) -> Inventory:
    """A device's certificate that is no device's any more is revoked, whichever way it was lost (Unix seconds)."""
    touched = new.touched(old, "devices")
    held = {certificate for one in new.devices.values() for _, certificate in one.certificates} if touched else set()
    for name in touched:
        reason = "superseded" if name in new.devices else "cessation-of-operation"
        for authority, certificate in old.devices[name].certificates if name in old.devices else ():
            if certificate not in held:
                new = with_revoked(new, authority, certificate, now, reason)
    return new


def with_revoked(inventory: Inventory, authority: str, certificate: str, now: float, reason: str) -> Inventory:
    """An authority that has taken its word about a certificate (PEM) back; none that is gone has."""
    held = inventory.authorities.get(authority)
    serial = _serial(certificate)
    if held is None or any(one.serial == serial for one in held.revoked):
        return inventory
    entry = RevokedFields.model_validate({"serial": serial, "at": float(int(now)), "reason": reason})
    changed = held.model_copy(update={"revoked": (*held.revoked, entry)})
    return replace(inventory, authorities={**inventory.authorities, authority: changed})


def cut_off(old: Inventory, new: Inventory) -> set[str]:
    """Devices that are no more, and those whose certificate is revoked from now on: no link of theirs is good."""
    cut = {name for name in new.touched(old, "devices") if name in old.devices and name not in new.devices}
    for name in new.touched(old, "authorities"):
        before, after = old.authorities.get(name), new.authorities.get(name)
        fresh = {one.serial for one in after.revoked} if after else set()
        fresh -= {one.serial for one in before.revoked} if before else set()
        if fresh:
            by_it = ((one.name, own) for one in _devices_by(new, name) for _, own in one.certificates)
            cut |= {device for device, certificate in by_it if _serial(certificate) in fresh}
    return cut


def _serial(certificate: str) -> str:
    return f"{read_certificates(certificate.encode())[0].serial_number:x}"


def without_object(inventory: Inventory, kind: str, name: str) -> Inventory:
    """The inventory without the object; a user's devices go with him."""
    if kind == CHILDREN:
        peer, _, child = name.partition("/")
        return _without_child(inventory, inventory.peers[peer], child)
    changes: dict[str, Any] = {kind: {key: thing for key, thing in inventory.objects(kind).items() if key != name}}
    if kind == "users":
        changes["devices"] = {key: device for key, device in inventory.devices.items() if device.user != name}
    secrets = {
        (word, owner): secret
        for (word, owner), secret in inventory.secrets.items()
        if (kind_of_secret(word), owner) != (kind, name)
    }
    return replace(inventory, secrets=secrets, **changes)


def with_further(inventory: Inventory, word: str, name: str, secret: bytes | None) -> Inventory:
    """What is sealed besides put beside an object, or with None taken away: a word of FURTHER."""
    kept = {place: octets for place, octets in inventory.secrets.items() if place != (word, name)}
    return replace(inventory, secrets=kept if secret is None else {**kept, (word, name): secret})


def _with_child(inventory: Inventory, peer: PeerObject, child: ChildObject) -> Inventory:
    """The child added at the end, or put in the place of its namesake."""
    if peer.child(child.name) is None:
        children = (*peer.children, child)
    else:
        children = tuple(child if one.name == child.name else one for one in peer.children)
    return with_object(inventory, "peers", peer.model_copy(update={"children": children}))


def _without_child(inventory: Inventory, peer: PeerObject, name: str) -> Inventory:
    children = tuple(child for child in peer.children if child.name != name)
    return with_object(inventory, "peers", peer.model_copy(update={"children": children}))


def with_document(inventory: Inventory, document: Document, prune: bool) -> Inventory:
    """Every object of the document put; with `prune`, everything that is not in it taken away. Raises Invalid.

    Settings that are taken away are what they were at the beginning.
    """
    kept = Inventory() if prune else inventory
    secrets = dict(inventory.secrets)
    changes: dict[str, Any] = {"settings": document.settings or kept.settings}
    for kind in KINDS:
        things = dict(kept.objects(kind))
        for index, entry in enumerate(getattr(document, kind)):
            thing, secret = split_entry(kind, entry, pointer_of([kind, index]))
            things[entry.name] = _still_issued(inventory, _still_revoked(inventory, thing))
            if secret is not None:
                secrets[kind, entry.name] = secret
        changes[kind] = dict(sorted(things.items()))
    changes["secrets"] = {
        (word, name): secret for (word, name), secret in secrets.items() if name in changes[kind_of_secret(word)]
    }
    return replace(inventory, **changes)


def brought_back(now: Inventory, document: Mapping[str, Any], later: Iterable[Mapping[str, Any]]) -> Inventory:
    """The inventory as an older document has it, but for what cannot go back: see `Configuration.restore`.

    `later` are the documents after it, the newest first. Raises Invalid.
    """
    kept = {kind: _as_now(now, kind, document) for kind in ("authorities", "certificates")}
    gone = {one["name"]: one for one in kept["authorities"] if one["name"] not in now.authorities}
    _revoke_until_gone(gone, later)
    users = {one["name"] for one in document.get("users", ())}
    kept["authorities"] = [gone.get(one["name"], one) for one in kept["authorities"]]
    devices = [one for one in now.devices.values() if one.user in users]
    kept["devices"] = [as_document(one) for one in devices]
    needed = {authority for one in devices for authority, _ in one.certificates}
    lacking = needed - {one["name"] for one in kept["authorities"]}
    kept["authorities"] += [as_document(now.authorities[name]) for name in sorted(lacking)]
    return with_document(now, validated(Document, {**document, **kept}), prune=True)


def _as_now(now: Inventory, kind: str, document: Mapping[str, Any]) -> list[Any]:
    """The objects of an older document, each as it is now if it still is: its key, which no document has, is."""
    present = now.objects(kind)
    entries = document.get(kind, ())
    return [as_document(present[one["name"]]) if one["name"] in present else one for one in entries]


def _revoke_until_gone(authorities: dict[str, Any], later: Iterable[Mapping[str, Any]]) -> None:
    """Put what each had revoked when it was there last, by the newest document that has it."""
    sought = set(authorities)
    for document in later if sought else ():
        for one in document.get("authorities", ()):
            name = one["name"]
            if name in sought and one["certificate"] == authorities[name]["certificate"]:
                authorities[name] = {**authorities[name], "revoked": one.get("revoked", [])}
                sought.discard(name)
        if not sought:
            break


def numbered(old: Inventory, new: Inventory, revision: int) -> Inventory:
    """The new inventory as `revision`: what differs from the old one says so, the rest keeps its number."""
    changed = dict(old.changed)
    for kind in (*KINDS, SETTINGS[0]):
        before, after = old.objects(kind), new.objects(kind)
        for name in new.touched(old, kind):
            was, thing = before.get(name), after.get(name)
            if thing is None:
                del changed[kind, name]
            elif was != thing or old.secrets_of(kind, name) != new.secrets_of(kind, name):
                changed[kind, name] = revision
            if isinstance(was, PeerObject):
                for child in was.children:
                    del changed["children", f"{name}/{child.name}"]
            if isinstance(thing, PeerObject):
                changed.update(_children(was if isinstance(was, PeerObject) else None, thing, old.changed, revision))
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
    match kind:
        case "proposals":
            peers = tuple(path for peer in inventory.peers.values() for path in _uses_of_proposal(peer, name))
            return peers + _profiles_that(inventory, lambda one: name in (*one.esp_proposals, *one.ike_proposals))
        case "ppks":
            return _peers_that(inventory, lambda peer: name in peer.ppks)
        case "certificates":
            return _peers_that(inventory, lambda peer: any(one.certificate == name for one in peer.local_auth))
        case "pools":
            peers = _peers_that(inventory, lambda peer: name in peer.pools)
            return peers + _profiles_that(inventory, lambda one: name in one.pools)
        case "access_profiles":
            return tuple(f"users/{one.name}" for one in inventory.users.values() if one.access_profile == name)
        case "authorities":
            peers = _peers_that(inventory, lambda peer: any(name in one.authorities for one in peer.remote_auth))
            issued = (f"certificates/{one.name}" for one in inventory.certificates.values() if one.authority == name)
            held = (f"users/{one.user}/devices/{one.name.partition('/')[2]}" for one in _devices_by(inventory, name))
            return (*peers, *issued, *held)
    return ()


def _devices_by(inventory: Inventory, authority: str) -> list[DeviceObject]:
    return [one for one in inventory.devices.values() if authority in (one.authority, one.previous_authority)]


def _peers_that(inventory: Inventory, use: Callable[[PeerObject], bool]) -> tuple[str, ...]:
    return tuple(f"peers/{peer.name}" for peer in inventory.peers.values() if use(peer))


def _profiles_that(inventory: Inventory, use: Callable[[AccessProfileObject], bool]) -> tuple[str, ...]:
    return tuple(f"access-profiles/{one.name}" for one in inventory.access_profiles.values() if use(one))


def _uses_of_proposal(peer: PeerObject, name: str) -> list[str]:
    own = [f"peers/{peer.name}"] if name in peer.ike_proposals else []
    return own + [f"peers/{peer.name}/children/{child.name}" for child in peer.children if name in child.esp_proposals]
