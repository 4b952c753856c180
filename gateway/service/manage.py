"""The use cases of configuration: every change is checked, stored as a revision, and pushed to the engine."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gateway.policy.changes import Changes, changes
from gateway.policy.snapshot import Snapshot
from gateway.service.access import Access
from gateway.service.differences import Difference, differences, summary
from gateway.service.documents import (
    Document,
    Writer,
    as_document,
    export,
    merge_patch,
    pointer_of,
    unique_names,
    validated,
)
from gateway.service.edits import brought_back, cut_off, laid, used_by, with_document, with_further, without_object
from gateway.service.expiry import Expiry
from gateway.service.journal import Journal
from gateway.service.planning import (
    Conflict,
    Edit,
    NotFound,
    Plan,
    PreconditionFailed,
    Target,
    Terms,
    Written,
    as_inventory,
    check_revision,
    check_terms,
    child_of,
    etag_of,
    object_of,
    peer_of,
    work_out,
    written,
)
from gateway.service.revocation import RevocationLists
from gateway.service.seeds import first_inventory
from gateway.storage.compiling.rules import blocked_at, next_expiry
from gateway.storage.compiling.snapshot import compile_snapshot
from gateway.storage.database import Database, StorageFailed
from gateway.storage.invites import take_back_invites
from gateway.storage.kind_names import SINGULAR
from gateway.storage.objects import CHILDREN, ConfigObject, FieldError, Invalid, Inventory, kind_of_secret
from gateway.storage.peers import ChildObject, PeerObject, ProposalObject, PskObject
from gateway.storage.repositories import (
    Revision,
    add_revision,
    find_revision,
    forget_revisions,
    later_documents,
    list_revisions,
    load_inventory,
    save_inventory,
)
from gateway.storage.secrets import SecretBox

__all__ = [
    "Configuration",
    "Conflict",
    "FieldError",
    "Invalid",
    "NotFound",
    "PreconditionFailed",
    "StorageFailed",
    "Terms",
    "Written",
]

REVISIONS_KEPT = 1000
_log = logging.getLogger(__name__)


class Configuration:
    """The configuration of one gateway: read from memory, written to the database first.

    Writing methods are coroutines of the event loop that `push` belongs to; they check and store in a thread, one after
    the other, and call `push` and the journal in the loop. `push` takes the new snapshot and tells what it changed.
    `cut_off` hears there of devices that are gone or revoked, and when (Unix seconds).
    """

    def __init__(
        self,
        database: Database,
        secrets: SecretBox,
        push: Callable[[Snapshot], Changes],
        journal: Journal,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._push = push
        self._journal = journal
        self.cut_off: Callable[[set[str], float], None] = lambda _devices, _at: None
        self._clock = clock
        self._writer = Writer()
        self._writing = asyncio.Lock()
        self.access = Access(database, journal, clock)
        with database.read() as session:
            self._inventory = load_inventory(session, secrets)
        if not self._inventory.revision:
            self._begin()
        snapshot = compile_snapshot(self._inventory, lambda kind, name: pointer_of([kind, name]), now=clock())
        self._lists = RevocationLists()
        self._snapshot = self._lists.lay(self._inventory, snapshot, clock())
        self._expiry = Expiry(clock, self._expired)
        self._expiring: asyncio.Task[None] | None = None

    def _begin(self) -> None:
        first = first_inventory()
        self._store(
            Plan(self._inventory, first, Snapshot(), ()), Revision(1, self._clock(), "ikegate", "", "First start")
        )
        self._inventory = first

    # Reading: from memory, never blocking.

    def snapshot(self) -> Snapshot:
        """What the engine should do, at the present revision."""
        return self._snapshot

    @property
    def inventory(self) -> Inventory:
        """All objects; a frozen value that later changes do not touch."""
        return self._inventory

    @property
    def revision(self) -> int:
        return self._inventory.revision

    def object(self, kind: str, name: str) -> ConfigObject | ChildObject:
        """An object of one of KINDS, or the child that `("children", "peer/child")` names. Raises NotFound."""
        return object_of(self._inventory, kind, name)

    def peer(self, name: str) -> PeerObject:
        """Raises NotFound."""
        return peer_of(self._inventory, name)

    def child(self, peer: str, name: str) -> ChildObject:
        """Raises NotFound."""
        return child_of(self.peer(peer), name)

    def peers(self) -> list[PeerObject]:
        return sorted(self._inventory.peers.values(), key=lambda peer: peer.name)

    def proposals(self) -> list[ProposalObject]:
        return sorted(self._inventory.proposals.values(), key=lambda proposal: proposal.name)

    def psks(self) -> list[PskObject]:
        return sorted(self._inventory.psks.values(), key=lambda psk: psk.name)

    def etag(self, kind: str, name: str) -> str:
        """The entity tag of an object, or of `("children", "peer/child")`; for a missing one KeyError."""
        return etag_of(self._inventory, kind, name)

    def used_by(self, kind: str, name: str) -> tuple[str, ...]:
        """Paths of the objects that refer to this one."""
        return used_by(self._inventory, kind, name)

    def export(self) -> dict[str, Any]:
        """The whole configuration as a document, without secrets."""
        return export(self._inventory)

    # Revisions: these read the database; call them in a thread.

    def revisions(self, below: int | None = None, limit: int = 100) -> list[Revision]:
        """The newest first, those with a number under `below`."""
        with self._database.read() as session:
            return list_revisions(session, below, limit)

    def revision_document(self, number: int) -> tuple[Revision, dict[str, Any]]:
        """A revision and the document as it was after it. Raises NotFound."""
        with self._database.read() as session:
            found = find_revision(session, number)
        if found is None:
            raise NotFound("revision", str(number))
        return found

    def revision_differences(self, number: int, against: int | None = None) -> tuple[Difference, ...]:
        """What revision `number` changed from `against` (default: the one before it). Raises NotFound."""
        with self._database.read() as session:
            before = list_revisions(session, number, 1) if against is None else []
        if against is None and not before:
            return differences(Inventory(), as_inventory(self.revision_document(number)[1]))
        old = self.revision_document(before[0].number if against is None else against)[1]
        return differences(as_inventory(old), as_inventory(self.revision_document(number)[1]))

    # Writing.

    async def put(self, kind: str, name: str, document: Mapping[str, Any], terms: Terms) -> Written:
        """Create or replace an object. A key without `secret` keeps the one it has.

        Raises Invalid, PreconditionFailed; for a child of no peer NotFound.
        """

        def edit(now: Inventory) -> Inventory:
            if kind == CHILDREN:
                peer_of(now, name.partition("/")[0])
            check_terms(now, (kind, name), terms)
            return laid(now, kind, name, document)

        return await self._write(edit, (kind, name), terms)

    async def patch(self, kind: str, name: str, patch: Mapping[str, Any], terms: Terms) -> Written:
        """Change an object by a merge patch (RFC 7396). Raises NotFound, Invalid, PreconditionFailed."""

        def edit(now: Inventory) -> Inventory:
            present = object_of(now, kind, name)
            check_terms(now, (kind, name), terms)
            return laid(now, kind, name, merge_patch(as_document(present), patch))

        return await self._write(edit, (kind, name), terms)

    async def put_secret(self, word: str, name: str, secret: bytes | None, terms: Terms) -> Written:
        """Put what is sealed besides beside an object, or with None take it away: a word of FURTHER.

        Raises NotFound, PreconditionFailed.
        """
        kind = kind_of_secret(word)

        def edit(now: Inventory) -> Inventory:
            object_of(now, kind, name)
            check_terms(now, (kind, name), terms)
            return with_further(now, word, name, secret)

        return await self._write(edit, (kind, name), terms)

    async def delete(self, kind: str, name: str, terms: Terms) -> Written:
        """Raises NotFound, PreconditionFailed, and Conflict while something refers to it."""

        def edit(now: Inventory) -> Inventory:
            object_of(now, kind, name)
            check_terms(now, (kind, name), terms)
            if users := used_by(now, kind, name):
                raise Conflict(f"{SINGULAR[kind].capitalize()} {name!r} is in use.", users)
            return without_object(now, kind, name)

        return await self._write(edit, (kind, name), terms)

    async def apply(self, document: Mapping[str, Any], terms: Terms, *, prune: bool = False) -> Written:
        """Lay a whole document over the configuration; `prune` takes away what is not in it. One revision.

        Keys without `secret` keep theirs. `if_match` compares with the configuration's revision. Raises Invalid,
        PreconditionFailed.
        """

        def edit(now: Inventory) -> Inventory:
            check_revision(now, terms)
            entries = validated(Document, document)
            unique_names(entries)
            return with_document(now, entries, prune)

        return await self._write(edit, None, terms, document)

    async def restore(self, number: int, terms: Terms) -> Written:
        """Make the configuration what it was at a revision. Raises NotFound, Invalid.

        Keys keep their present secrets; certificates and authorities that still are stay as they are, and so does
        every device whose user is in it, with the authority that issued its certificate: going back takes no device
        from anybody, and brings none back. An authority that comes back has revoked what it had when it went.
        """
        _, document = await asyncio.to_thread(self.revision_document, number)

        def edit(now: Inventory) -> Inventory:
            check_revision(now, terms)
            with self._database.read() as session:
                return brought_back(now, document, later_documents(session, number))

        comment = terms.comment or f"Back to revision {number}"
        return await self._write(edit, None, replace(terms, comment=comment), document)

    async def _write(
        self, edit: Edit, target: Target, terms: Terms, document: Mapping[str, Any] | None = None
    ) -> Written:
        """One change from check to push. Once stored it is pushed, even if whoever asked has gone away."""
        return await asyncio.shield(asyncio.ensure_future(self._change(edit, target, terms, document)))

    async def _change(self, edit: Edit, target: Target, terms: Terms, document: Mapping[str, Any] | None) -> Written:
        async with self._writing:
            old = self._inventory
            plan = await asyncio.to_thread(self._worked_out, old, edit, target, document)
            if not plan.differences:
                return written(plan, target, terms, Changes())
            if terms.dry_run:
                return written(plan, target, terms, await asyncio.to_thread(changes, self._snapshot, plan.snapshot))
            text = summary(plan.differences)
            revision = Revision(plan.new.revision, self._clock(), terms.author, terms.comment, text)
            lost = await asyncio.to_thread(self._store, plan, revision)
            self._inventory, self._snapshot = plan.new, plan.snapshot
            self.cut_off(lost, revision.at)
            impact = self._push(plan.snapshot)
            self.watch()
            sentence = f"{text} (revision {revision.number}, by {terms.author})"
            _log.info("%s", sentence)
            self._journal.write(
                revision.at, "config.changed", sentence, revision=revision.number, author=terms.author, summary=text
            )
            for warning in plan.warnings:
                _log.warning("%s", warning)
                self._journal.write(revision.at, "access.wider", warning, revision=revision.number)
            return written(plan, target, terms, impact)

    def _worked_out(self, old: Inventory, edit: Edit, target: Target, document: Mapping[str, Any] | None) -> Plan:
        now = self._clock()
        plan = work_out(old, self._snapshot, edit, target, document, now)
        return replace(plan, snapshot=self._lists.lay(plan.new, plan.snapshot, now))

    # Lists of revoked certificates grow old by themselves.

    def revocation_list(self, authority: str) -> bytes:
        """The list of an authority of ours in DER. Raises NotFound, Invalid."""
        return self._lists.own(self._inventory, authority, self._clock())

    async def lay_lists(
        self,
        fetched: Mapping[str, tuple[bytes, ...]] | None = None,
        answers: Mapping[str, tuple[bytes, ...]] | None = None,
    ) -> Changes:
        """Push the same configuration with lists that are fresh, and what was fetched: lists and OCSP answers."""
        async with self._writing:
            if fetched is not None:
                self._lists.fetched = fetched
            if answers is not None:
                self._lists.answers = answers
            laid = await asyncio.to_thread(self._lists.lay, self._inventory, self._snapshot, self._clock())
            before = self._snapshot
            if (laid.authorities, laid.credentials) == (before.authorities, before.credentials):
                return Changes()
            self._snapshot = laid
            return self._push(laid)

    # Blocks run out by themselves.

    def watch(self) -> None:
        """Wait for the block that runs out next; call it once in the event loop, changes do it by themselves."""
        self._expiry.wait_for(next_expiry(self._inventory, self._clock()))

    def stop(self) -> None:
        """Wait no more."""
        self._expiry.cancel()
        if self._expiring:
            self._expiring.cancel()

    def _expired(self) -> None:
        self._expiring = asyncio.get_running_loop().create_task(self._let_in())

    async def _let_in(self) -> None:
        """Push the same configuration without the blocks that ran out; it stays the same revision."""
        async with self._writing:
            now = self._clock()
            blocked = blocked_at(self._inventory, now)
            over = [network for network in self._snapshot.blocked if network not in set(blocked)]
            if over:
                self._snapshot = replace(self._snapshot, blocked=blocked)
                self._push(self._snapshot)
                text = f"No longer blocked, the time is over: {', '.join(over)}"
                _log.info("%s", text)
                self._journal.write(now, "block.expired", text, networks=over)
            self.watch()

    def _store(self, plan: Plan, revision: Revision) -> set[str]:
        """The devices that it cuts off; their links are taken back with it."""
        lost = cut_off(plan.old, plan.new)
        with self._database.write() as session:
            take_back_invites(session, lost, revision.at)
            save_inventory(session, self._secrets, plan.old, plan.new)
            add_revision(session, revision, self._writer.text(plan.new))
            session.flush()
            forget_revisions(session, REVISIONS_KEPT)
        return lost
