"""One change of the configuration, worked out and checked before anything is stored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.policy.changes import Changes
from gateway.policy.snapshot import Snapshot
from gateway.policy.widening import widened
from gateway.service.differences import Difference, differences
from gateway.service.documents import API_VERSION, Document, as_document, places, pointer_of, validated
from gateway.service.edits import numbered, with_document, with_losses_revoked
from gateway.storage.compiling.snapshot import compile_snapshot
from gateway.storage.findings import Pointers
from gateway.storage.kind_names import SINGULAR
from gateway.storage.objects import CHILDREN, KINDS, SETTINGS, ConfigObject, Invalid, Inventory
from gateway.storage.peers import ChildObject, PeerObject


class NotFound(Exception):
    """There is no such object; the text is a sentence."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"There is no {what} {name!r}.")
        self.what = what
        self.name = name


class Conflict(Exception):
    """The object is in use; `used_by` names by what, as paths under /api/v1."""

    def __init__(self, text: str, used_by: tuple[str, ...]) -> None:
        super().__init__(text)
        self.used_by = used_by


class PreconditionFailed(Exception):
    """The object is not (any more) what the caller thinks; `etag` is what it is now, None when it does not exist."""

    def __init__(self, text: str, etag: str | None) -> None:
        super().__init__(text)
        self.etag = etag


@dataclass(frozen=True, slots=True)
class Terms:
    """Who changes, why, and under which condition.

    `if_match` and `if_none_match` are HTTP's headers (RFC 9110 13.1); `dry_run` checks and tells, stores nothing.
    `wanted` is asked when it is this change's turn, after those that came before it.
    """

    author: str
    comment: str = ""
    dry_run: bool = False
    if_match: str | None = None
    if_none_match: str | None = None
    wanted: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class Written:
    """What a change did, or in a dry run would do.

    `document` is the object as it is then (None when it is gone, and for whole documents), `secret` whether one is
    kept of it, `impact` what it means for tunnels, `warnings` who reaches more than before, `revision` the
    configuration's number afterwards. Nothing differed: `changed` is False.
    """

    changed: bool
    created: bool
    dry_run: bool
    revision: int
    etag: str | None
    document: dict[str, Any] | None
    secret: bool = False
    differences: tuple[Difference, ...] = ()
    impact: Changes = field(default_factory=Changes)
    warnings: tuple[str, ...] = ()


Edit = Callable[[Inventory], Inventory]
Target = tuple[str, str] | None  # (kind, name); children are ("children", "peer/child")


@dataclass(frozen=True, slots=True)
class Plan:
    """The next inventory with its policy, and how it differs from the present one."""

    old: Inventory
    new: Inventory
    snapshot: Snapshot
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...] = ()


def work_out(
    old: Inventory, present: Snapshot, edit: Edit, target: Target, document: Mapping[str, Any] | None, now: float
) -> Plan:
    """The change made and checked at a moment, nothing stored. Raises what `edit` raises, and Invalid."""
    edited = with_losses_revoked(old, edit(old), now)
    found = differences(old, edited)
    new = numbered(old, edited, old.revision + 1) if found else edited
    pointers = places(validated(Document, document)) if document is not None else _pointers(target)
    try:
        snapshot = compile_snapshot(new, pointers, (old, present), now)
    except Invalid as error:
        raise _inside_child(error, edited, target) from None
    return Plan(old, new if found else old, snapshot, found, widened(present, snapshot) if found else ())


def _pointers(target: Target) -> Pointers:
    """Mistakes in the object itself are named from its root, mistakes that it makes elsewhere by kind and name."""
    kind, _, name = ("", "", "") if target is None else (target[0], "", target[1])
    if kind == CHILDREN:
        kind, name = "peers", name.partition("/")[0]
    return lambda where, who: "" if (where, who) == (kind, name) else pointer_of([where, who])


def _inside_child(error: Invalid, edited: Inventory, target: Target) -> Invalid:
    if target is None or target[0] != CHILDREN:
        return error
    peer, _, name = target[1].partition("/")
    names = [child.name for child in edited.peers[peer].children]
    prefix = f"/children/{names.index(name)}" if name in names else "/children/"
    return Invalid([replace(one, pointer=one.pointer.removeprefix(prefix)) for one in error.errors])


def written(plan: Plan, target: Target, terms: Terms, impact: Changes) -> Written:
    document = etag = None
    created = False
    if target is not None and target in plan.new.changed:
        document = as_document(object_of(plan.new, *target))
        etag = None if terms.dry_run and plan.differences else etag_of(plan.new, *target)
        created = target not in plan.old.changed
    return Written(
        changed=bool(plan.differences),
        created=created,
        dry_run=terms.dry_run,
        revision=plan.old.revision if terms.dry_run else plan.new.revision,
        etag=etag,
        document=document,
        secret=target in plan.new.secrets,
        differences=plan.differences,
        impact=impact,
        warnings=plan.warnings,
    )


def object_of(inventory: Inventory, kind: str, name: str) -> ConfigObject | ChildObject:
    if kind == CHILDREN:
        peer, _, child = name.partition("/")
        return child_of(peer_of(inventory, peer), child)
    thing = inventory.objects(kind).get(name)
    if thing is None:
        raise NotFound(SINGULAR[kind], name)
    return thing


def peer_of(inventory: Inventory, name: str) -> PeerObject:
    peer = inventory.peers.get(name)
    if peer is None:
        raise NotFound("peer", name)
    return peer


def child_of(peer: PeerObject, name: str) -> ChildObject:
    child = peer.child(name)
    if child is None:
        raise NotFound("child", f"{peer.name}/{name}")
    return child


def etag_of(inventory: Inventory, kind: str, name: str) -> str:
    return f'"{inventory.changed[kind, name]}"'


def check_terms(now: Inventory, target: tuple[str, str], terms: Terms) -> None:
    """RFC 9110 13.1.1, 13.1.2: only strong comparison, a weak tag never matches."""
    etag = etag_of(now, *target) if target in now.changed else None
    if terms.if_match is not None and not _matches(terms.if_match, etag):
        raise PreconditionFailed(
            "The object has been changed since; read it again." if etag else "There is no such object.", etag
        )
    if terms.if_none_match is not None and _matches(terms.if_none_match, etag):
        raise PreconditionFailed("The object is there already.", etag)
    if not terms.wanted():
        raise PreconditionFailed("What was changed meanwhile speaks against it.", etag)


def check_revision(now: Inventory, terms: Terms) -> None:
    etag = f'"{now.revision}"'
    if terms.if_match is not None and not _matches(terms.if_match, etag):
        raise PreconditionFailed("The configuration has been changed since; read it again.", etag)


def _matches(header: str, etag: str | None) -> bool:
    if header.strip() == "*":
        return etag is not None
    return etag is not None and etag in (tag.strip() for tag in header.split(","))


def as_inventory(document: Mapping[str, Any]) -> Inventory:
    """A stored document as an inventory to compare."""
    kinds = {kind: document.get(kind, ()) for kind in KINDS}
    entries = validated(Document, {"apiVersion": API_VERSION, **kinds, SETTINGS[0]: document.get(SETTINGS[0])})
    return with_document(Inventory(), entries, prune=True)
