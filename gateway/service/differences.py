"""Two configurations compared: what was added, changed and removed, and in a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.service.documents import as_document, pointer_of
from gateway.storage.kind_names import SINGULAR
from gateway.storage.objects import KINDS, SETTINGS, Inventory


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs; a secret shows as `(secret)` and `(another secret)`."""

    pointer: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Difference:
    """One object that differs: `action` is `add`, `change` or `remove`."""

    kind: str
    name: str
    action: str
    fields: tuple[FieldChange, ...] = ()


def differences(old: Inventory, new: Inventory) -> tuple[Difference, ...]:
    """What was added, changed and removed, by kind and name."""
    found: list[Difference] = []
    for kind in (*KINDS, SETTINGS[0]):
        was, now = old.objects(kind), new.objects(kind)
        for name in new.touched(old, kind):
            if name not in was:
                found.append(Difference(kind, name, "add"))
            elif name not in now:
                found.append(Difference(kind, name, "remove"))
            elif fields := _field_changes(kind, name, old, new):
                found.append(Difference(kind, name, "change", fields))
    return tuple(found)


def _field_changes(kind: str, name: str, old: Inventory, new: Inventory) -> tuple[FieldChange, ...]:
    was, now = old.objects(kind)[name], new.objects(kind)[name]
    found: list[FieldChange] = []
    if was is not now and was != now:
        found += _changes(as_document(was), as_document(now), "")
    before, after = old.secrets_of(kind, name), new.secrets_of(kind, name)
    for secret in sorted(one for one in before.keys() | after.keys() if before.get(one) != after.get(one)):
        found.append(FieldChange(f"/{secret}", "(secret)", "(another secret)"))
    return tuple(found)


def _changes(was: Mapping[str, Any], now: Mapping[str, Any], at: str) -> list[FieldChange]:
    found: list[FieldChange] = []
    for key in [*was, *(key for key in now if key not in was)]:
        before, after = was.get(key), now.get(key)
        if before == after:
            continue
        pointer = at + pointer_of([key])
        if key == "children":
            before, after = _by_name(before), _by_name(after)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _changes(before, after, pointer)
        else:
            found.append(FieldChange(pointer, before, after))
    return found


def _by_name(children: list[dict[str, Any]] | None) -> dict[str, Any]:
    return {child["name"]: child for child in children or ()}


def summary(found: tuple[Difference, ...]) -> str:
    """The differences in one sentence."""
    words = {"add": "Added", "change": "Changed", "remove": "Removed"}
    if len(found) > 4:
        counted = [f"{words[action].lower()} {number}" for action in words if (number := _count(found, action))]
        return f"{len(found)} objects: {', '.join(counted)}"
    return "; ".join(f"{words[one.action]} {_named(one)}" for one in found)


def _named(one: Difference) -> str:
    return "settings" if one.kind == SETTINGS[0] else f"{SINGULAR[one.kind]} {one.name}"


def _count(found: tuple[Difference, ...], action: str) -> int:
    return sum(one.action == action for one in found)
