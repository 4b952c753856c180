"""A configuration on a database of its own, with a recorder where the engine would be told."""

from dataclasses import dataclass, field
from pathlib import Path

from gateway.policy.changes import Changes, changes
from gateway.policy.snapshot import Snapshot
from gateway.service.journal import Journal
from gateway.service.manage import Configuration
from gateway.storage.database import Database
from gateway.storage.keyring import open_secrets


@dataclass
class Pushed:
    """Keeps the snapshots that were pushed, and answers with the policy's own comparison."""

    snapshots: list[Snapshot] = field(default_factory=lambda: [Snapshot()])

    def __call__(self, snapshot: Snapshot) -> Changes:
        found = changes(self.snapshots[-1], snapshot)
        self.snapshots.append(snapshot)
        return found


@dataclass
class Clock:
    """Unix time that moves when told."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """What a test of the use cases works with; `reopen` is a restart of the process."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    journal: Journal = field(default_factory=Journal)
    pushed: Pushed = field(default_factory=Pushed)
    database: Database = field(init=False)
    config: Configuration = field(init=False)

    def open(self) -> None:
        self.database = Database(self.folder / "config.db")
        box = open_secrets(self.database, self.folder, self.clock(), environment={})
        self.config = Configuration(self.database, box, self.pushed, self.journal, self.clock)

    def reopen(self) -> None:
        self.database.close()
        self.open()
